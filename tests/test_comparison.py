"""Two runs on the same images, compared: paired, aligned, and refused where that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import aliascope as al
from aliascope.interventions import Remove


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(4)
    )


def images(count=20):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 20, 20, generator=generator), torch.arange(count) % 4


def test_the_interval_is_that_of_a_bootstrap_over_the_same_images():
    x, y = images()
    first = al.measure(net(), [(x, y)], measures=["energy"])
    second = al.measure(net(), [(x + 0.1 * x.roll(1, -1), y)], measures=["energy"])
    row = al.compare(first, second).table().loc[("0", "aliased_energy")]
    a, b = (
        m.values[m.values["site"] == 0].set_index("sample")["aliased_energy"]
        for m in (first, second)
    )
    difference = (b - a).to_numpy()
    rng = np.random.default_rng(0)
    drawn = [rng.choice(difference, len(difference)).mean() for _ in range(20_000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert row["difference"] == pytest.approx(difference.mean())
    width = high - low
    assert abs(row["difference_low"] - low) < 0.15 * width
    assert abs(row["difference_high"] - high) < 0.15 * width
    unpaired = 1.96 * np.sqrt((a.var() + b.var()) / len(a))
    assert row["difference_high"] - row["difference_low"] < unpaired  # far narrower, paired


def test_a_run_compared_with_itself_differs_nowhere():
    x, y = images()
    run = al.measure(net(), [(x, y)])
    found = al.compare(run, run)
    assert (found.table()["difference"] == 0).all()
    assert found.accuracy().mean == 0 and found.agreement() == 1 and found.notes == []


def test_what_an_intervention_takes_is_the_difference():
    x, y = images()
    model = net()
    clean = al.measure(model, [(x, y)], measures=["energy"])
    removed = al.measure(model, [(x, y)], measures=["energy"], handlers=[Remove()])
    found = al.compare(clean, removed, names=("plain", "removed"))
    table = found.table()
    assert (table["after"] < 1e-4).all() and (table["before"] > 0.1).all()
    assert (table["difference_high"] < 0).all()
    assert any(note == "condition: clean → remove" for note in found.notes)


def test_images_are_paired_by_name_whatever_their_order(here):
    from aliascope.evaluation.loop import Options, evaluate
    from aliascope.tasks.images import open_data
    from aliascope.tasks.models import load_model

    loaded = load_model("factories:net", resize=26, crop=24)
    data = open_data("photos", loaded.preprocessing, num_classes=4)
    options = {"measures": ("energy",), "batch_size": 4}
    evaluate(loaded, data, "all", Options(**options))
    evaluate(loaded, data, "some", Options(start=4, max_samples=5, **options))
    found = al.compare("all", "some")
    assert len(found.images) == 5 and found.images["before"].tolist() == [4, 5, 6, 7, 8]
    assert found.table()["difference"].abs().max() < 1e-6
    assert "7 of 12 images of all left out" in found.notes


def test_sites_are_aligned_by_name_and_those_of_one_run_are_named():
    x, y = images()
    longer = nn.Sequential(*list(net())[:3], nn.AvgPool2d(2), nn.Flatten())
    found = al.compare(al.measure(net(), [(x, y)]), al.measure(longer, [(x, y)]))
    assert found.sites["before"].tolist() == ["0", "2"]
    assert found.only_after == ["3"] and "only B has 3" in found.notes


def test_sites_of_other_names_are_aligned_by_order():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.rest = net()[0], net()[1:]

        def forward(self, x):
            return self.rest(self.stem(x))

    x, y = images()
    found = al.compare(al.measure(net(), [(x, y)]), al.measure(Named(), [(x, y)]))
    assert found.sites["after"].tolist() == ["stem", "rest.2"]


def test_overall_averages_sites_of_one_rate():
    x, y = images()
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 1, (1, 2)))
    run = al.measure(model, [x])
    table = al.compare(run, run).table()["before"].xs("aliased_energy", level="value")
    assert table["overall"] == pytest.approx(table[["0", "1"]].mean())
    assert y is not None


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            {"measures": ["categories"]},
            {"measures": ["energy"]},
            "one measured categories",
        ),
        (
            {"measures": ["categories"]},
            {"measures": ["categories"], "threshold_db": 30},
            "threshold_db is 20.0 in one and 30 in the other",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(first, second, words):
    x, y = images()
    runs = [al.measure(net(), [(x, y)], **each) for each in (first, second)]
    with pytest.raises(al.AliascopeError, match=words):
        al.compare(*runs)


def test_energy_is_compared_where_categories_cannot_be():
    x, y = images()
    runs = [al.measure(net(), [(x, y)], threshold_db=t) for t in (20, 30)]
    found = al.compare(*runs)
    assert found.values == ["aliased_energy"]
    assert any("categories were measured with other settings" in note for note in found.notes)


def test_runs_without_an_image_or_site_in_common_are_refused():
    x, y = images()
    first = al.measure(net(), [(x, y)])
    other = nn.Sequential(nn.Identity(), nn.Conv2d(3, 3, 3, 3))
    with pytest.raises(al.AliascopeError, match="no site in common"):
        al.compare(first, al.measure(other, [x]))


def test_the_command_prints_a_table_json_and_csv(here):
    x, y = images()
    al.measure(net(), [(x, y)]).save("one")
    al.measure(net(1), [(x, y)]).save("two")
    command = [sys.executable, "-m", "aliascope", "compare", "one", "two"]

    def run(*more):
        environment = {**os.environ, "COLUMNS": "80"}
        return subprocess.run(
            [*command, *more], capture_output=True, text=True, check=False, env=environment
        )

    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert "difference, points [95 %]" in shown.stdout and "20 images in both" in shown.stdout
    content = json.loads(run("--json").stdout)
    assert content["kind"] == "comparison" and len(content["table"]) == 15
    assert run("--csv").stdout.splitlines()[0].startswith("site,value,before,after,difference")
    alone = subprocess.run([*command[:-1]], capture_output=True, text=True, check=False)
    assert alone.returncode == 2 and "One run is given" in alone.stderr
    missing = run("no-such")
    assert missing.returncode == 2 and "Traceback" not in missing.stderr


# -- figures and pages, from the result ------------------------------------------------------------


def drawn(figure, gid):
    return next(
        artist for axes in figure.axes for artist in axes.get_children() if artist.get_gid() == gid
    )


def test_the_figure_shows_the_table():
    x, y = images()
    found = al.compare(
        al.measure(net(), [(x, y)], measures=["energy"]),
        al.measure(net(1), [(x, y)], measures=["energy"]),
    )
    figure, table = found.plot.comparison(), found.table()
    for end in ("before", "after", "difference"):
        np.testing.assert_allclose(drawn(figure, end).get_xdata(), 100 * table[end])
    with pytest.raises(al.AliascopeError, match="both runs measured aliased_energy"):
        found.plot.comparison(value="tangled")


def test_figures_are_fit_for_papers_and_the_same_each_time(tmp_path):
    from aliascope import figures

    x, y = images()
    figure = al.measure(net(), [(x, y)]).plot.energy()
    for kind in ("pdf", "svg"):
        first, second = (figures.save(figure, tmp_path / f"{n}.{kind}") for n in "ab")
        content = first.read_bytes()
        assert content == second.read_bytes()
        assert b"/Type3" not in content and b"Date" not in content
    assert b"CIDFontType2" in (tmp_path / "a.pdf").read_bytes()  # TrueType
    assert b"aliased energy" in (tmp_path / "a.svg").read_bytes().lower()  # text, not outlines


def test_a_measurement_draws_itself_and_writes_its_page(tmp_path):
    x, y = images()
    m = al.measure(net(), [(x, y)])
    assert {"energy", "pie", "boxes"} <= set(dir(m.plot))
    with pytest.raises(AttributeError, match="no figure 'cake'; there are energy, "):
        m.plot.cake()
    page = m.report(tmp_path / "page.html")
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")
