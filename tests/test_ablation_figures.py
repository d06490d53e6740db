"""What an ablation is drawn and shown as: figures by their data, the page by its parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import aliascope as al
from ablation_runs import FELL, SITES, STAGE, N, made_ablation, moved
from aliascope import figures
from aliascope.commands.main import main
from aliascope.figures.layout import COLUMN
from aliascope.report import page, write_page
from aliascope.runs.ablation import Ablation
from aliascope.runs.conditions import Condition
from aliascope.runs.effects import beside_energy, effects, energies, over_dose
from aliascope.runs.measurement import Measurement
from aliascope.runs.paired import mean_change, paired_change, share
from aliascope.runs.store import Store
from aliascope.runs.words import in_a_sentence


@pytest.fixture(scope="module")
def found():
    return made_ablation()


@pytest.fixture(scope="module")
def dosed():
    return made_ablation(doses=(0.0, 0.5, 1.0))


def artists(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def caption_of(figure):
    (caption,) = artists(figure, "caption")
    return " ".join(caption.get_text().split())


def ends_of(lines):
    """Ends of a collection of horizontal lines."""
    return [(segment[0][0], segment[-1][0]) for segment in lines.get_segments()]


# -- what is drawn -------------------------------------------------------------------------------


def test_an_effect_is_the_paired_change_to_the_clean_pass(found):
    table = effects(found)
    for name, lost in FELL.items():
        after = np.arange(N) >= lost
        expected = paired_change(np.ones(N), after)
        row = table.loc[STAGE, name]
        assert row["change"] == pytest.approx(-lost / N)
        assert (row["change_low"], row["change_high"]) == (expected.low, expected.high)
    assert (table.loc["head.patch", "change"] == 0).all()


def test_without_labels_it_is_of_agreement_and_without_classes_of_the_output():
    unlabelled, plain = made_ablation(score="agreement"), made_ablation(score="")
    assert effects(unlabelled).loc[(STAGE, "remove"), "change"] == pytest.approx(-16 / N)
    row = effects(plain).loc[STAGE, "remove"]
    expected = mean_change((np.arange(N) < 16).astype(float))
    assert row["change"] == 16 / N and row["change_low"] == expected.low
    assert "change of agreement" in figures.ablation(unlabelled).axes[1].get_xlabel()
    assert "change of output (%)" in figures.ablation(plain).axes[1].get_xlabel()
    assert "agreement with the clean prediction" in caption_of(figures.ablation(unlabelled))


def test_energy_of_a_stage_is_the_mean_of_its_sites_and_of_unlike_rates_is_none(found):
    table = energies(found)
    assert table.loc[STAGE, "aliased_energy"] == pytest.approx(0.25)
    assert table.loc["head.patch", "aliased_energy"] == pytest.approx(0.4)
    assert np.isnan(table.loc["all", "aliased_energy"])  # rates of 2 and 4
    alike = made_ablation(sites=dict.fromkeys(SITES, (2, 2)))
    assert energies(alike).loc["all", "aliased_energy"] == pytest.approx(0.3)
    low, high = table.loc[STAGE, ["aliased_energy_low", "aliased_energy_high"]]
    assert low < 0.25 < high and table.loc[STAGE, "white"] == pytest.approx(0.735, abs=1e-3)


def test_the_figure_has_each_effect_with_its_interval_and_the_control_behind(found):
    figure = figures.ablation(found)
    assert figure.get_figwidth() == COLUMN
    table = effects(found)
    for (sites, name), row in table.iterrows():
        ends = 100 * row["change_low"], 100 * row["change_high"]
        if name == "gain":
            (band,) = artists(figure, f"gain/{sites}")
            assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(ends)
            (line,) = artists(figure, f"mean/{sites}")
            assert line.get_segments()[0][0][0] == pytest.approx(100 * row["change"])
            continue
        (point,) = artists(figure, f"{name}/{sites}")
        assert point.get_xdata() == [pytest.approx(100 * row["change"])]
        (line,) = artists(figure, f"interval/{name}/{sites}")
        assert ends_of(line) == [pytest.approx(ends)]
        assert point.get_ydata()[0] == line.get_segments()[0][0][1]
    low, high = figure.axes[1].get_xlim()
    assert low <= 100 * table["change_low"].min() and high >= 100 * table["change_high"].max()


def test_energy_stands_at_the_height_of_its_stage(found):
    figure = figures.ablation(found)
    (points,) = artists(figure, "energy")
    assert points.get_xdata() == pytest.approx([25, 40])
    lanes = [
        artists(figure, f"{name}/{STAGE}")[0].get_ydata()[0] for name in FELL if name != "gain"
    ]
    assert points.get_ydata()[0] == pytest.approx(np.mean(lanes))
    assert [round(end, 3) for end in ends_of(artists(figure, "intervals")[0])[1]] == [
        round(100 * energies(found).loc["head.patch", f"aliased_energy_{end}"], 3)
        for end in ("low", "high")
    ]


def test_names_and_verdicts_stand_at_their_stages_and_inside_the_figure(found):
    figure = figures.ablation(found)
    figure.draw_without_rendering()
    words = [text.get_text() for text in artists(figure, "name")]
    assert words == ["layer2.0.conv1", "layer2.0.", "downsample.0", "head.patch", "all sites"]
    told = [text.get_text() for text in artists(figure, "verdict")]
    assert told == [str(each) for each in found.verdicts().values()]
    assert told[0] == told[2] == "used"
    width, height = figure.bbox.size
    for text in [each for gid in ("name", "verdict") for each in artists(figure, gid)]:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_long_names_keep_what_tells_them_apart():
    sites = {f"{'encoder.stages.' * 3}{k}.a_very_long_name_of_a_layer": (2, 2) for k in (1, 11)}
    figure = figures.ablation(made_ablation(sites=sites, fell={"remove": 3, "gain": 1}))
    names = [text.get_text() for text in artists(figure, "name")]
    assert len(set(names)) == len(names)


def test_the_caption_says_of_what_images_and_what_chance_there_was(found):
    caption = caption_of(figures.ablation(found))
    assert "40 images, seed 3" in caption and "95 % paired intervals" in caption
    assert "gain, which takes as much energy" in caption and "white noise" in caption
    assert "donor" not in caption
    fell = {name: lost for name, lost in FELL.items() if name != "swap-within"}
    store = Store.temporary()
    options = {"interventions": list(FELL), "recalibrate": 64}
    store.write_run({"status": "complete", "detail": "site", "options": options})
    caption = caption_of(figures.ablation(made_ablation(store, fell=fell)))
    assert "swap-within: no image had a donor" in caption
    assert "batch norm re-estimated from 64 other images" in caption


def test_of_several_doses_the_largest_is_drawn(dosed):
    (point,) = artists(figures.ablation(dosed), f"remove/{STAGE}")
    assert point.get_xdata() == [pytest.approx(-40)]


def test_without_energy_there_are_effects_alone():
    store = Store.temporary()
    made = made_ablation(store)
    made.measurement.values = made.measurement.values.drop(columns="aliased_energy")
    figure = figures.ablation(made)
    assert len(figure.axes) == 1 and not artists(figure, "energy")
    assert "aliased energy" not in caption_of(figure)


# -- over the dose -------------------------------------------------------------------------------


def test_over_the_dose_each_point_is_the_score_with_wilsons_interval(dosed):
    figure = figures.dose(dosed)
    assert len(figure.axes) == 3
    for name in ("remove", "restore", "gain"):
        (line,) = artists(figure, f"{name}/{STAGE}")
        expected = [1 - round(dose * FELL[name]) / N for dose in (0.0, 0.5, 1.0)]
        assert line.get_xdata().tolist() == [0, 0.5, 1]
        assert line.get_ydata() == pytest.approx(100 * np.array(expected))
    (bars,) = artists(figure, f"interval/remove/{STAGE}")
    ends = [segment[:, 1] for segment in bars.get_segments()]
    wilson = share((np.arange(N) >= 8).astype(float))[1:]
    assert ends[1] == pytest.approx(100 * np.array(wilson))
    assert not artists(figure, f"swap-between/{STAGE}")
    (clean,) = artists(figure, f"clean/{STAGE}")
    assert set(clean.get_ydata()) == {100}
    assert over_dose(dosed).loc[(STAGE, "remove", 0.0), "value"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"has one dose \(1\), so there is no curve"),
        ({"doses": (0.5, 1.0), "fell": {"low": 3}}, "neither remove nor restore nor gain"),
    ],
)
def test_a_curve_needs_doses_and_something_to_draw(options, words):
    with pytest.raises(al.AliascopeError, match=words):
        figures.dose(made_ablation(**options))


# -- the commands --------------------------------------------------------------------------------


def command(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    return stop.value.code


ATTACKED = [Condition.of("pgd", eps=0.0), Condition.of("pgd", eps=0.1)]


@pytest.fixture
def attacked(tmp_path):
    for number, condition in enumerate(ATTACKED):
        fell = {name: lost // (1 + number) for name, lost in FELL.items()}
        made_ablation(Store(tmp_path / "run"), number=number, condition=condition, fell=fell)
    return tmp_path / "run"


def test_the_commands_write_figure_and_table(tmp_path, capsys):
    made_ablation(Store(tmp_path / "run"), doses=(0.5, 1.0))
    run = tmp_path / "run"
    assert command("plot", "ablation", run) == 0 and command("plot", "dose", run) == 0
    written = capsys.readouterr().out.splitlines()
    assert [Path(each).name for each in written] == [
        *("ablation.png", "ablation.csv", "dose.png", "dose.csv")
    ]
    table = pd.read_csv(run / "ablation.csv")
    assert list(table.columns[:3]) == ["sites", "intervention", "change"]
    assert {"aliased_energy", "white", "verdict", "why"} <= set(table)
    first = table[(table["sites"] == STAGE) & (table["intervention"] == "remove")].iloc[0]
    assert first["change"] == pytest.approx(-0.4) and first["aliased_energy"] == 0.25
    assert len(pd.read_csv(run / "dose.csv")) == 3 * len(FELL) * 2


def test_under_an_attack_a_condition_may_be_named(attacked, capsys):
    assert command("plot", "ablation", attacked, "--condition", "eps=0.1") == 0
    table = pd.read_csv(attacked / "ablation-eps_0.1.csv").set_index(["sites", "intervention"])
    assert table.loc[(STAGE, "remove"), "change"] == pytest.approx(-8 / N)
    assert command("plot", "ablation", attacked, "--condition", "eps=7") == 2
    assert command("plot", "dose", attacked) == 2
    assert "has one dose (1)" in capsys.readouterr().err
    figure = figures.ablation(Ablation(Store(attacked), "eps=0.1"))
    assert "attacked with ε = 0.1" in caption_of(figure)


def test_a_run_without_an_ablation_is_refused_in_one_sentence(tmp_path, capsys):
    energy_only = Store(tmp_path / "run")
    energy_only.write_run({"status": "complete", "detail": "site"})
    assert command("plot", "ablation", tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert "holds no ablation" in err and err.count("aliascope:") == 1


def test_show_prints_the_ablation_of_a_run(attacked, capsys):
    assert command("show", attacked) == 0
    out = capsys.readouterr().out
    both = [Ablation(Store(attacked), condition).verdicts() for condition in ATTACKED]
    used = sum(verdict == "used" for verdicts in both for verdict in verdicts.values())
    assert out.count(": used") == used >= 2
    assert "pgd eps=0:" in out and "-40.0 [" in out and "-20.0 [" in out
    assert command("show", attacked, "--condition", "eps=0.1") == 0
    out = capsys.readouterr().out
    assert "-20.0 [" in out and "-40.0 [" not in out
    assert "layer2.0.conv1 +\nlayer2.0.downsample.0, aliased energy 25.0 %" in out
    assert command("show", attacked, "--json", "--condition", "eps=0.1") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["ablation"]["verdicts"][STAGE]["verdict"] == both[1][STAGE]
    assert content["ablation"]["condition"] == content["condition"] == "pgd eps=0.1"


# -- the page ------------------------------------------------------------------------------------


def data_of(path):
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0]
    )


def test_the_page_of_an_ablation_needs_no_categories(found, tmp_path):
    data = data_of(write_page(found.measurement, tmp_path / "page.html"))
    assert data["overall"] is None and data["sites"] == [] and data["groups"] is None
    assert data["ablation"]["said"] == in_a_sentence(found)
    (use,) = (each["words"] for each in data["verdict"]["said"] if each["head"] == "Use")
    said = f"{in_a_sentence(found)} Taking it away at {STAGE} changes accuracy by −40.0"
    assert use.startswith(said)
    missing = [each["what"] for each in data["verdict"]["missing"]]
    assert missing == ["How much aliases (categories, floor)", "How consistent it is under shifts"]
    assert [rate["rate"] for rate in data["energy"]["rates"]] == ["2×2", "4×4"]
    about = dict(data["about"])
    assert "swap-between" in about["Interventions"] and "Accounting" not in about


def test_the_page_holds_the_ablations_own_numbers(found, tmp_path):
    block = data_of(write_page(found.measurement, tmp_path / "page.html"))["ablation"]
    table, verdicts = beside_energy(found), found.verdicts()
    assert [stage["name"] for stage in block["stages"]] == found.targets
    for stage in block["stages"]:
        assert (stage["verdict"], stage["why"]) == (
            str(verdicts[stage["name"]]),
            verdicts[stage["name"]].why,
        )
        for name, effect in stage["effects"].items():
            row = table.loc[stage["name"], name]
            assert effect["change"] == pytest.approx(row["change"], abs=1e-5)
            assert effect["low"] == pytest.approx(row["change_low"], abs=1e-5)
    assert block["stages"][-1]["title"] == "all sites" and block["stages"][-1]["energy"] is None
    assert block["stages"][0]["energy"]["value"] == pytest.approx(0.25)
    assert block["control"]["name"] == "gain" and block["curves"] is None
    assert [each["name"] for each in block["interventions"]] == [
        *("remove", "restore", "swap-within", "swap-between", "low")
    ]


def test_of_several_doses_the_page_has_curves(dosed, tmp_path):
    block = data_of(write_page(dosed.measurement, tmp_path / "page.html"))["ablation"]
    assert [point["value"] for point in block["curves"][STAGE]["remove"]] == [1.0, 0.8, 0.6]
    assert set(block["curves"][STAGE]) == {"remove", "restore", "gain"}


def test_a_page_follows_its_condition(attacked):
    measurement = Measurement(Store(attacked), "eps=0.1")
    data = page.page_data(measurement, accounting="exact", colours="paper")
    remove = data["ablation"]["stages"][0]["effects"]["remove"]
    assert remove["change"] == pytest.approx(-8 / N)
    assert [point["energy"]["sites"][0]["name"] for point in data["attack"]] == [
        *("layer2.0.conv1", "layer2.0.conv1")
    ]
    assert [point["harmed"] for point in data["attack"]] == [None, None]


def test_shift_consistency_in_the_same_folder_is_on_the_page(tmp_path):
    made_ablation(Store(tmp_path / "run"))
    run = al.load(tmp_path / "run")
    assert data_of(write_page(run, tmp_path / "page.html"))["consistency"] is None
    found = moved()
    found.save(tmp_path / "run")
    block = data_of(write_page(run, tmp_path / "page.html"))["consistency"]
    (kind,) = block["kinds"]
    row = found.table().iloc[0]
    for key in ("consistency", "consistency_low", "worst_high", "mac"):
        assert kind[key] == pytest.approx(row[key], abs=1e-5)
    assert block["said"] == found.said() and block["labelled"] is False
    assert [0, 1, 0.5] in kind["map"] and [1, -1, 1.0] in kind["map"] and len(kind["map"]) == 8
    assert kind["curve"][0]["consistency"] == pytest.approx(row["consistency"], abs=1e-5)


def test_a_run_without_ablation_and_consistency_has_neither(tmp_path):
    store = Store.temporary()
    store.write_run({})
    with pytest.raises(al.AliascopeError, match="no measured site or image"):
        write_page(Measurement(store), tmp_path / "page.html")
