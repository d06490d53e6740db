"""A budget is kept unless an interval excludes a bound; the exit code says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import aliascope as al
from aliascope.commands.main import main
from aliascope.data.noise import open_noise
from aliascope.evaluation.filter_costs import filter_costs
from aliascope.evaluation.probe import probe
from aliascope.models.preprocessing import Preprocessing
from aliascope.runs.budget import Bound, judge, read_budget, values_of, written
from aliascope.runs.consistency import Consistency
from aliascope.tasks.models import load_model


@pytest.fixture
def measured():
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.MaxPool2d(2))
    return al.measure(model, [images], measures=["energy"])


def check(*words, cwd):
    environment = {**os.environ, "PYTHONPATH": str(Path(al.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "aliascope", "check", *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )


def test_only_what_the_interval_excludes_fails(measured):
    mean, low, high = values_of(measured).loc[("0", "aliased_energy")]
    limits = {(low + mean) / 2: "open", low - 1e-3: "fails", mean + 1e-3: "holds"}
    for limit, verdict in limits.items():
        bound = Bound("0", "aliased_energy", at_most=limit)
        assert judge([bound], values_of(measured))["verdict"].tolist() == [verdict]
    least = Bound("0", "aliased_energy", at_least=high + 1e-3)
    assert judge([least], values_of(measured))["verdict"].tolist() == ["fails"]


def test_what_is_written_is_kept_by_what_it_was_written_from(measured, tmp_path):
    (tmp_path / "b.toml").write_text(written(values_of(measured)))
    bounds = read_budget(tmp_path / "b.toml")
    assert [bound.site for bound in bounds] == ["0", "1", "overall"]
    assert set(judge(bounds, values_of(measured))["verdict"]) == {"holds"}


def test_what_one_image_cannot_decide_is_open_and_passes():
    model = torch.nn.Sequential(torch.nn.AvgPool2d(2))
    alone = values_of(al.measure(model, [torch.rand(1, 3, 32, 32)], measures=["energy"]))
    verdicts = judge([Bound("0", "aliased_energy", at_most=0.0)], alone)
    assert verdicts["verdict"].tolist() == ["open"] and verdicts["low"].isna().all()


def test_consistency_is_bounded_from_below_by_its_interval():
    rows = pd.DataFrame(
        {"sample": range(10), "dy": 1, "dx": 0, "agree": [1] * 8 + [0] * 2, "change": 0.0}
    )
    values = values_of(None, Consistency(rows))
    mean, low, high = values.loc[("overall", "consistency")]
    assert mean == 0.8 and low < 0.8 < high
    for limit, verdict in {low: "holds", 0.9: "open", high + 0.001: "fails"}.items():
        bound = Bound("overall", "consistency", at_least=limit)
        assert judge([bound], values)["verdict"].tolist() == [verdict]
    assert f"at_least = {low - 0.02:.2f}"[:13] in written(values)


def test_a_cost_is_the_filters_multiply_adds_over_the_plain_networks(here):
    loaded = load_model("factories:net", resize=24, crop=24)
    sites = probe(loaded).sites
    names = [site.name for site in sites]
    none, alone = (
        filter_costs(loaded, None, sites),
        filter_costs(loaded, f"blur:3@{names[0]}", sites),
    )
    assert set(none[0].values()) == {0.0} and none[1] == 0
    assert alone[0][names[1]] == 0 and alone[1] == alone[0][names[0]] > 0
    # 6 maps of 22 samples a side, of 27 products each, kept at 11; then a window of 3 × 3.
    plain = 6 * 27 * 11 * 11 + 150 * 4
    added = 6 * (27 * (22 * 22 - 11 * 11) + 9 * 11 * 11)
    assert alone[1] == pytest.approx(added / plain)


def test_patterns_that_match_nothing_are_refused(measured):
    with pytest.raises(al.AliascopeError, match=r"matches 'layer\*'; there are 0, 1, overall"):
        judge([Bound("layer*", "aliased_energy", at_most=1)], values_of(measured))
    both = judge([Bound("*", "aliased_energy", at_most=1)], values_of(measured))
    assert both["site"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has to hold tables"),
        ("[[bound]]\nsite = 'a'\nvalue = 'tangled'", "at_most or at_least"),
        ("[[bound]]\nsite = 'a'\nvalue = 'entropy'\nat_most = 1", "value is 'entropy'"),
        ("[[bound]]\nsite = 'a'\nvalue = 'tangled'\nat_most = 30", "from 0 to 1"),
        ("[[bound]]\nsite = 'a'\nvalue = 'cost'\nat_most = -1", "0 or more"),
        ("[[bound]]\nsite = 'a'\nvalue = 'consistency'\nat_least = 1", "the model's"),
        ("[[bound]]\nsite = 'a'\nvalue = 'tangeld'\nat_most = 1", "did you mean tangled"),
        ("[[bound]]\nsite = 'a'\nvalue = 'tangled'\natmost = 1", "did you mean at_most"),
        ("[[bounds]]\nsite = 'a'\nvalue = 'tangled'\nat_most = 1", "did you mean bound"),
        ("[[bound", "cannot be read"),
    ],
)
def test_a_budget_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(al.AliascopeError, match=message):
        read_budget(tmp_path / "b.toml")


def test_noise_follows_from_its_seed_and_falls_as_one_over_f():
    recipe = Preprocessing(None, 64, "bilinear", (0.5,), (0.2,))
    images = open_noise("noise:3", recipe, seed=4)
    assert len(images) == 3 and images[0].image.shape == (1, 64, 64)
    assert torch.equal(images[2].image, open_noise("noise:3", recipe, seed=4)[2].image)
    power = sum(
        torch.fft.fft2(image.image[0]).abs()[0].square()
        for image in map(images.__getitem__, range(3))
    )
    assert power[2:6].mean() > 4 * power[8:24].mean()


def test_exit_codes_on_a_made_model(here):
    bound = "[[bound]]\nsite = '0'\nvalue = 'aliased_energy'\nat_most = {}\n"
    (here / "good.toml").write_text(bound.format(1.0))
    (here / "bad.toml").write_text(bound.format(0.0))
    model = ("--model", "factories:net", "--data", "noise:4", "--crop", "24", "--resize", "24")
    good = check("good.toml", *model, cwd=here)
    assert good.returncode == 0, good.stderr
    bad = check("bad.toml", *model, "--json", cwd=here)
    assert bad.returncode == 1, bad.stderr
    (row,) = json.loads(bad.stdout)["bounds"]
    assert (row["site"], row["verdict"]) == ("0", "fails")
    none = check("none.toml", *model, cwd=here)
    assert none.returncode == 2 and "cannot be read" in none.stderr


def test_a_runs_folder_is_checked_with_the_consistency_that_is_in_it(tmp_path, measured):
    measured.save(tmp_path / "run")
    rows = {"sample": range(40), "dy": 1, "dx": 0, "agree": [1] * 20 + [0] * 20, "change": 0.0}
    Consistency(pd.DataFrame(rows)).save(tmp_path / "run")
    bounds = "[[bound]]\nsite = 'overall'\nvalue = 'consistency'\nat_least = {}\n"
    (tmp_path / "bad.toml").write_text(bounds.format(0.9))
    bad = check("bad.toml", "--run", "run", "--csv", cwd=tmp_path)
    assert bad.returncode == 1 and bad.stderr == ""
    assert bad.stdout.splitlines()[1].startswith("overall,consistency,>= 0.9,0.5,")
    new, run = tmp_path / "new.toml", tmp_path / "run"
    for words in (["--write", "--values", "aliased_energy,consistency"], ["--json"]):
        with pytest.raises(SystemExit) as end:
            main(["check", str(new), "--run", str(run), *words])
        assert not end.value.code
    assert [bound.value for bound in read_budget(new)] == ["aliased_energy"] * 3 + ["consistency"]
