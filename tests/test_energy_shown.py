"""Energy, floor and thresholds where people read them: terminal, figures, page."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from rich.console import Console

import aliascope as al
from aliascope import figures
from aliascope.commands.main import main
from aliascope.commands.site_table import measured_tables, notes
from aliascope.figures.layout import COLUMN, text_width
from aliascope.palette import PALETTES
from aliascope.report import page, words
from aliascope.runs.conditions import Condition
from aliascope.runs.store import Store
from energy_runs import GROUPS, LEVELS, RUN, SITES, energy_run

ONE_RATE = {name: about for name, about in SITES.items() if about[0] == (2, 2)}


@pytest.fixture(scope="module")
def full():
    return al.Measurement(energy_run()[0])


@pytest.fixture(scope="module")
def old():
    return al.Measurement(energy_run(groups=("categories",))[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs") / "run")
    energy_run(store)
    energy_run(store, condition=Condition.of("pgd", eps=0.1))
    return store.folder


def printed(measurement, width=160, **options):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for table in measured_tables(measurement, console, **options):
        console.print(table)
    return console.file.getvalue()


def line_of(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return line


def numbers_in(line):
    return [float(number) for number in re.findall(r"\d+\.\d", line)]


def run(*words):
    """Run the command, and give its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


# -- the terminal --------------------------------------------------------------------------------


def test_a_sites_line_has_energy_interval_white_edge_categories_and_floor_in_this_order(full):
    site, fractions = full.energy().loc["stem.conv"], full.fractions().loc["stem.conv"]
    floor = full.floor().loc["stem.conv"]
    expected = [
        *site[["aliased_energy", "aliased_energy_low", "aliased_energy_high", "white"]],
        *site[["edge_low", "edge_high"]],
        *fractions[["no_pass", "non_aliased", "aliased", "tangled"]],
        floor["aliased"] + floor["tangled"],
    ]
    shown = numbers_in(line_of(printed(full), "stem.conv"))
    assert shown == pytest.approx([100 * x for x in expected], abs=0.0501)


def test_where_rates_differ_each_has_a_row_and_the_categories_their_own(full):
    text = printed(full)
    assert "2×2" in line_of(text, "mean of 4 sites") and "4×4" in line_of(text, "mean of 1 site")
    assert len(numbers_in(line_of(text, "mean of 4 sites"))) == 6
    assert len(numbers_in(line_of(text, "mean of 5 sites"))) == 5
    alone = printed(al.Measurement(energy_run(sites=ONE_RATE)[0]))
    assert len(numbers_in(line_of(alone, "mean of 4 sites"))) == 11


def test_sites_that_keep_few_samples_are_marked_and_the_mark_explained(full):
    marked = [line for line in printed(full).splitlines() if "~" in line]
    assert len(marked) == 1 and marked[0].strip().startswith("downsample.0")
    assert any(note.startswith("~ ") and "fewer than 7" in note for note in notes(full))


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
@pytest.mark.parametrize("kind", ["full", "old"])
def test_the_table_is_as_full_as_the_terminal_is_wide_and_cuts_no_number(request, kind, width):
    measurement = request.getfixturevalue(kind)
    text = printed(measurement, width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert "█" in text or width <= 100
    tangled = measurement.fractions().loc["head.patch", "tangled"]
    assert f"{100 * tangled:.1f}" in line_of(text, "head.patch")


def test_a_run_of_categories_alone_has_the_table_it_had(old):
    text = printed(old)
    assert "energy" not in text and "floor" not in text and notes(old) == []
    assert len(numbers_in(line_of(text, "95 % interval"))) == 8


def test_a_run_of_energy_alone_has_no_categories():
    text = printed(al.Measurement(energy_run(groups=("energy",))[0]))
    assert "tangled" not in text and "aliased energy" in text


def test_show_ends_with_settings_the_range_over_thresholds_and_where_the_run_is(folder, capsys):
    assert run("show", folder) == 0
    out = capsys.readouterr().out
    where = out.split("12 images, exact accounting")[-1]
    last, where = f"12 images, exact accounting{where}".rsplit("run in ", 1)
    last = " ".join(last.split())
    assert where.strip() == str(folder)
    assert (
        "12 images, exact accounting; a fold counts down to 20 dB below the largest power" in last
    )
    assert "grid auto, fold scale auto" in last
    both = al.load(folder).thresholds("overall")[["aliased", "tangled"]].sum(axis=1)
    ends = f"is {100 * both.min():.1f} to {100 * both.max():.1f} %"
    assert f"with thresholds of 10 to 60 dB aliased + tangled {ends}" in last
    energy = al.load(folder).at("eps=0.1").energy("overall")["aliased_energy"].iloc[0]
    assert f"{100 * energy:.1f}" in line_of(out, "pgd eps=0.1")


def test_show_gives_json_and_csv_and_nothing_else(folder, capsys):
    measurement = al.load(folder)
    assert run("show", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(measurement.to_json())
    chosen = ("--condition", "eps=0.1", "--accounting", "published")
    assert run("show", folder, "--csv", *chosen) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = measurement.at("eps=0.1").table(accounting="published")
    assert [row["site"] for row in rows] == list(SITES)
    assert float(rows[2]["aliased_energy"]) == expected["aliased_energy"].iloc[2]
    assert float(rows[2]["tangled"]) == expected["tangled"].iloc[2]
    assert rows[0]["rate"] == "2×2" and rows[0]["dense_shape"] == "6×32×32"
    assert run("show", folder, "--json", "--csv") == 2
    assert "choose one" in capsys.readouterr().err


def test_show_and_plots_need_no_torch(folder, tmp_path):
    code = (
        "import sys; from aliascope.commands.main import main as command\n"
        "def main(words):\n    try: command(words)\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
    )
    for figure in ("energy", "thresholds"):
        target = str(tmp_path / f"{figure}.png")
        code += f"main(['plot', {figure!r}, {str(folder)!r}, '-o', {target!r}])\n"
    code += f"main(['show', {str(folder)!r}])\nassert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "energy.png").stat().st_size > 5000


# -- figures -------------------------------------------------------------------------------------


def artists(figure, gid):
    return list(figure.findobj(lambda a: str(a.get_gid() or "").startswith(gid)))


def one(figure, gid):
    (artist,) = [each for each in artists(figure, gid) if each.get_gid() == gid]
    return artist


def caption_of(figure):
    return " ".join(one(figure, "caption").get_text().split())


def test_the_main_figure_has_each_sites_and_rates_energy_interval_edge_and_baseline(full):
    figure = figures.energy(full)
    table, rates = full.energy(), full.energy("overall")
    values = [*table["aliased_energy"], *rates["aliased_energy"]]
    points = one(figure, "energy")
    assert points.get_xdata() == pytest.approx([100 * x for x in values])
    rows = list(points.get_ydata())
    assert rows == sorted(rows, reverse=True)
    ends = np.array([line[:, 0] for line in one(figure, "intervals").get_segments()])
    low = [*table["aliased_energy_low"], *rates["aliased_energy_low"]]
    assert ends[:, 0] == pytest.approx([100 * x for x in low])
    white = np.array([line[0, 0] for line in one(figure, "white").get_segments()])
    assert white[-1] == pytest.approx(100 * rates["white"].iloc[-1])
    edge = one(figure, "edge/head.patch")
    assert edge.get_x() == pytest.approx(100 * table.loc["head.patch", "edge_low"])
    assert edge.get_x() + edge.get_width() == pytest.approx(
        100 * table.loc["head.patch", "edge_high"]
    )
    rough = one(figure, "rough")
    assert rough.get_xdata() == pytest.approx(
        [100 * values[list(SITES).index("layer3.0.downsample.0")]]
    )
    assert "hollow" in caption_of(figure)


@pytest.mark.parametrize("accounting", ["exact", "published"])
@pytest.mark.parametrize("colours", list(PALETTES))
def test_beside_it_stand_the_categories_and_their_floor(full, accounting, colours):
    figure = figures.energy(full, accounting=accounting, colours=colours)
    table, floor = full.fractions(accounting=accounting), full.floor(accounting=accounting)
    for name in SITES:
        tangled, aliased = (one(figure, f"{key}/{name}") for key in ("tangled", "aliased"))
        assert tangled.get_width() == pytest.approx(100 * table.loc[name, "tangled"])
        assert tangled.get_x() == pytest.approx(aliased.get_width())
        assert aliased.get_width() == pytest.approx(100 * table.loc[name, "aliased"])
        assert to_hex(tangled.get_facecolor()) == PALETTES[colours]["tangled"]
        both = floor.loc[name, "aliased"] + floor.loc[name, "tangled"]
        light = one(figure, f"floor/{name}")
        assert light.get_width() == pytest.approx(100 * both)
        assert light.get_height() > tangled.get_height()
    overall = full.fractions("overall", accounting).iloc[0]
    assert one(figure, "mean/tangled").get_width() == pytest.approx(100 * overall["tangled"])


def test_the_caption_says_what_it_depends_on(full):
    caption = caption_of(figures.energy(full, accounting="published"))
    for words_ in (
        *(
            "12 images, published accounting",
            "95 % intervals",
            "by rate",
            "20 dB below the largest",
        ),
        *(
            "grid auto, fold scale auto",
            "low part alone",
            "(3 images)",
            "thresholds of 10 to 60 dB",
        ),
    ):
        assert words_ in caption
    alone = caption_of(figures.energy(al.Measurement(energy_run(sites=ONE_RATE)[0])))
    assert "by rate" not in alone


@pytest.mark.parametrize("groups", [("energy",), ("energy", "categories")])
def test_the_main_figure_shows_what_there_is(groups):
    figure = figures.energy(al.Measurement(energy_run(groups=groups)[0]))
    assert len(figure.axes) == len(groups)
    assert not artists(figure, "floor") and "Floor" not in caption_of(figure)


def test_figures_of_what_was_not_measured_are_refused_in_a_sentence(old):
    with pytest.raises(al.AliascopeError, match=r"Energy was not measured"):
        figures.energy(old)
    with pytest.raises(al.AliascopeError, match=r"Other thresholds were not measured"):
        figures.thresholds(old)
    with pytest.raises(al.AliascopeError, match=r"palette is 'neon'"):
        figures.energy(old, colours="neon")


def test_thresholds_are_drawn_a_line_a_site_and_their_mean(full):
    figure = figures.thresholds(full)
    lines = artists(figure, "site/")
    assert [line.get_gid() for line in lines] == [f"site/{name}" for name in SITES]
    table, overall = full.thresholds(), full.thresholds("overall")
    for name, line in zip(SITES, lines, strict=True):
        both = table.loc[name, "aliased"] + table.loc[name, "tangled"]
        assert list(line.get_xdata()) == list(LEVELS)
        assert line.get_ydata() == pytest.approx(100 * both.to_numpy())
    mean = one(figure, "mean")
    assert mean.get_ydata() == pytest.approx(
        100 * (overall["aliased"] + overall["tangled"]).to_numpy()
    )
    assert one(figure, "own").get_xdata()[0] == 20.0
    assert "20 dB (grid auto, fold scale auto)" in caption_of(figure)


def test_long_names_and_many_sites_stay_within_the_column():
    many = {
        f"backbone.stages.{i}.blocks.0.downsample.conv": ((2, 2), (2, 40, 40)) for i in range(30)
    }
    figure = figures.energy(al.Measurement(energy_run(sites=many, parts=1)[0]))
    assert figure.get_size_inches()[0] == COLUMN
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 31
    left = figure.axes[0].get_position().x0 * COLUMN
    assert max(text_width(label) for label in labels) < left


# -- the page ------------------------------------------------------------------------------------


def said(measurement, accounting="exact"):
    return page.page_data(measurement, accounting=accounting, colours="paper")


def test_the_page_holds_the_measurements_energy_floor_and_thresholds(full):
    data = said(full, "published")
    table, rates = full.energy(), full.energy("overall")
    assert [site["name"] for site in data["energy"]["sites"]] == list(SITES)
    for site in data["energy"]["sites"]:
        row = table.loc[site["name"]]
        assert site["value"] == row["aliased_energy"] and site["white"] == row["white"]
        assert site["low"] == row["aliased_energy_low"] and site["edge_high"] == row["edge_high"]
        assert site["rough"] == (row["kept"] < 7)
    assert [rate["rate"] for rate in data["energy"]["rates"]] == ["2×2", "4×4"]
    assert data["energy"]["rates"][0]["value"] == rates["aliased_energy"].iloc[0]
    floor = full.floor(accounting="published").loc["stem.conv"]
    assert data["floor"]["sites"]["stem.conv"] == floor["aliased"] + floor["tangled"]
    assert data["floor"]["n"] == 3
    levels = full.thresholds(accounting="published").loc["stem.conv"]
    both = (levels["aliased"] + levels["tangled"]).tolist()
    assert data["thresholds"]["sites"]["stem.conv"] == pytest.approx(both)
    assert data["thresholds"]["levels"] == list(LEVELS) and data["thresholds"]["own"] == 20.0


def test_the_summary_says_energy_first_then_the_categories_and_what_they_depend_on(full):
    summary = said(full)["summary"]
    text = " ".join(summary).replace(words.NO_BREAK, " ")
    value = full.energy("overall")["aliased_energy"].iloc[0]
    assert f"Averaged over the 4 sites of rate 2×2, {100 * value:.1f} % of the energy" in text
    order = ["of rate 2×2", "of rate 4×4", "the bins of the decimated", "that floor is leakage"]
    places = [text.index(each) for each in [*order, "from 10 to 60 dB"]]
    assert places == sorted(places)
    assert "At layer3.0.downsample.0 an axis keeps fewer than 7 samples" in text


def test_a_page_of_categories_alone_says_nothing_of_energy(old, tmp_path):
    data = said(old)
    assert data["energy"] is data["floor"] is data["thresholds"] is None
    assert "energy" not in " ".join(data["summary"])
    assert page.write_page(old, tmp_path / "page.html").stat().st_size > 10_000


def site(name, value, low, high, rough=False):
    return {"name": name, "value": value, "low": low, "high": high, "rough": rough}


def test_words_on_the_site_with_most_energy_are_as_sure_as_the_intervals():
    clear = words.most_energy([site("a", 0.2, 0.1, 0.3), site("b", 0.6, 0.5, 0.7)])
    assert "that of b: 60.0" in clear and "No other site's interval reaches" in clear
    close = words.most_energy([site("a", 0.4, 0.3, 0.55), site("b", 0.6, 0.5, 0.7)])
    assert "interval of a overlaps" in close and "not settled" in close
    nan = float("nan")
    assert "may change" in words.most_energy([site("a", 0.4, nan, nan), site("b", 0.6, nan, nan)])


def test_words_on_the_floor_say_when_nothing_stands_above_it():
    overall = {"mean": {"aliased": 0.1, "tangled": 0.2}}
    (above,) = words.leaking(overall, {"overall": 0.1, "n": 16})
    assert "cannot be subtracted" in above and "(16 images)" in above
    (below,) = words.leaking(overall, {"overall": 0.4, "n": 1})
    assert "do not stand above it" in below
    assert words.leaking(overall, None) == words.over_thresholds(None) == words.amount(None) == []


def test_words_on_undefined_energy():
    nan = float("nan")
    rate = {"rate": "2×2", "sites": 0, "value": nan}
    only = {"rates": [rate], "sites": [site("a", nan, nan, nan)]}
    text = " ".join(words.amount(only))
    assert "no signal varies" in text and "At 1 site it is not defined" in text


def test_the_run_says_its_measures_as_words(tmp_path):
    store = Store(tmp_path / "run")
    energy_run(store, groups=GROUPS)
    for wrong in ({"measures": "energy"}, {"options": {"floor_samples": "16"}}):
        store.write_run({**RUN, **wrong})
        with pytest.raises(al.AliascopeError, match=r"run\.json has (options )?(measures|floor)"):
            al.load(store.folder)
