"""Aliased energy, floor and thresholds as tables: against numbers worked out by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import aliascope as al
from aliascope import energy as definition
from aliascope.categories import COLUMNS
from aliascope.runs.conditions import Condition
from aliascope.runs.energy import white_energy
from aliascope.runs.store import Store
from energy_runs import GROUPS, LEVELS, SITES, described, energy_run

NAN = float("nan")


def channels_of(*rows):
    columns = ["site", "channel", "varying", "beyond", "beyond_low", "beyond_high"]
    return pd.DataFrame(list(rows), columns=columns).astype({"site": int, "channel": int})


def run_of(*parts, sites):
    """A run of parts, each (ratios of (samples, sites), rows of channels)."""
    store = Store.temporary()
    store.write_run({"detail": "site"})
    first = 0
    for number, (ratios, rows) in enumerate(parts):
        ratios = np.asarray(ratios, dtype=float)
        n, s = ratios.shape
        numbers = np.arange(first, first + n)
        first += n
        values = pd.DataFrame({"sample": np.repeat(numbers, s), "site": np.tile(np.arange(s), n)})
        values["aliased_energy"] = ratios.ravel()
        channels = None if rows is None else channels_of(*rows)
        store.begin(number).commit(
            pd.DataFrame({"sample": numbers}), values, sites, channels=channels
        )
    return al.Measurement(store)


@pytest.fixture
def by_hand():
    """Two sites of rate 2×2 and one of 4×4, in two parts; a channel that never varies."""
    sites = [
        described("patch", (4, 4), (1, 16, 16)),
        described("a", (2, 2), (2, 16, 16)),
        described("b", (2, 2), (2, 9, 12)),
    ]
    first = [
        *((0, 0, 10, 5, 4, 6), (1, 0, 1, 0.5, 0.25, 0.75), (1, 1, 4, 1, 1, 2)),
        *((2, 0, 2, 1, 1, 1), (2, 1, 0, 0, 0, 0)),
    ]
    second = [
        *((0, 0, 10, 7, 6, 8), (1, 0, 3, 1.5, 0.75, 2.25), (1, 1, 6, 4, 2, 5)),
        *((2, 0, 2, 2, 1, 2), (2, 1, 0, 0, 0, 0)),
    ]
    return run_of(
        ([[0.5, 0.3, 0.6], [0.6, 0.4, NAN]], first), ([[0.7, 0.5, 0.8]], second), sites=sites
    )


def test_a_channels_energy_is_the_ratio_of_sums_over_all_samples(by_hand):
    table = by_hand.energy("channel")
    assert list(table.index.names) == ["site", "channel"]
    assert list(table.columns) == ["aliased_energy"]
    assert table.loc[("a", 0)].item() == pytest.approx(2 / 4)
    assert table.loc[("a", 1)].item() == pytest.approx(5 / 10)
    assert np.isnan(table.loc[("b", 1)].item())
    alone = by_hand.energy("channel", site="patch")
    assert alone["aliased_energy"].to_dict() == {0: pytest.approx(12 / 20)}


def test_a_sites_energy_is_the_mean_over_channels_and_leaves_undefined_ones_out(by_hand):
    table = by_hand.energy()
    assert list(table.columns) == [
        *("aliased_energy", "aliased_energy_low", "aliased_energy_high"),
        *("edge_low", "edge_high", "white", "kept"),
    ]
    assert table["aliased_energy"].to_dict() == {
        "patch": pytest.approx(0.6),
        "a": pytest.approx(0.5),
        "b": pytest.approx(0.75),
    }
    assert table.loc["a", "edge_low"] == pytest.approx((1 / 4 + 3 / 10) / 2)
    assert table.loc["a", "edge_high"] == pytest.approx((3 / 4 + 7 / 10) / 2)
    assert table["kept"].to_dict() == {"patch": 4, "a": 8, "b": 5}


def test_intervals_are_students_from_the_spread_of_samples_around_the_value(by_hand):
    row = by_hand.energy().loc["a"]
    half = stats.t.ppf(0.975, 2) * stats.sem([0.3, 0.4, 0.5])
    assert row["aliased_energy_low"] == pytest.approx(0.5 - half)
    assert row["aliased_energy_high"] == pytest.approx(0.5 + half)
    of_two = by_hand.energy(site="b").iloc[0]
    assert (of_two["aliased_energy_low"], of_two["aliased_energy_high"]) == (0, 1)  # kept within


def test_the_models_energy_is_by_rate_and_that_of_most_sites_comes_first(by_hand):
    table = by_hand.energy("overall")
    assert list(table.index) == ["2×2", "4×4"] and table.index.name == "rate"
    assert table["sites"].tolist() == [2, 1]
    assert table["aliased_energy"].tolist() == pytest.approx([0.625, 0.6])
    sites = by_hand.energy()
    for column in ("edge_low", "edge_high", "white"):
        assert table.loc["2×2", column] == pytest.approx(sites.loc[["a", "b"], column].mean())
    # Sample 1 is not defined at b, so b's mean of samples 0 and 2 weighs as much as a's of three.
    a, b = np.array([0.3, 0.4, 0.5]) - 0.4, np.array([0.6, 0.8]) - 0.7
    per_sample = [a[0] / 2 + b[0] * 3 / 4, a[1] / 2, a[2] / 2 + b[1] * 3 / 4]
    half = stats.t.ppf(0.975, 2) * stats.sem(per_sample)
    assert table.loc["2×2", "aliased_energy_high"] == pytest.approx(min(1, 0.625 + half))


def test_a_samples_energy_is_its_mean_over_the_sites_of_the_main_rate(by_hand):
    assert by_hand.energy("sample")["aliased_energy"].tolist() == pytest.approx([0.45, 0.4, 0.65])
    alone = by_hand.energy("sample", site="patch")["aliased_energy"]
    assert alone.to_dict() == {0: 0.5, 1: 0.6, 2: 0.7}


def test_one_sample_has_no_interval_and_a_site_nowhere_defined_no_value():
    sites = [described("a"), described("b", (2, 2), (1, 2, 2))]
    rows = [(0, 0, 4, 1, 1, 1), (1, 0, 0, 0, 0, 0)]
    measurement = run_of(([[0.25, NAN]], rows), sites=sites)
    table = measurement.energy()
    assert table.loc["a", "aliased_energy"] == 0.25 and np.isnan(table.loc["a"].iloc[1])
    assert table.loc["b"].drop("kept").isna().all()
    overall = measurement.energy("overall").iloc[0]
    assert overall["aliased_energy"] == 0.25 and overall["sites"] == 1
    assert "–" in repr(measurement) and json.loads(measurement.to_json())["sites"][1]["energy"]


@pytest.mark.parametrize("size", [(7,), (8,), (32, 32), (13, 28), (6, 9, 12)])
@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_the_white_baseline_is_that_of_the_definition(size, rate):
    for rates in ((rate,) * len(size), (rate, *(1,) * (len(size) - 1))):
        assert white_energy(size, rates) == pytest.approx(definition.white_energy(size, rates))
    assert np.isnan(white_energy((4, 4), (4, 4))) and np.isnan(white_energy((1, 1), (1, 1)))


# -- floor and thresholds ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    store, tables = energy_run()
    values = [pd.concat(each) for each, _ in tables]
    return al.Measurement(store), pd.concat(values, ignore_index=True)


def test_the_floor_is_over_the_samples_it_was_measured_on(made):
    measurement, values = made
    floor = [f"floor_{column}" for column in COLUMNS]
    table = measurement.floor()
    assert list(table.columns) == [*COLUMNS, "n"] and set(table["n"]) == {3}
    at = values[values["site"] == 1][floor].dropna() / 1000
    assert np.allclose(table.loc["layer2.0.conv1", COLUMNS].astype(float), at.mean())
    overall = measurement.floor("overall")
    assert np.allclose(overall[COLUMNS], table[COLUMNS].mean()) and overall["n"].item() == 3
    published = measurement.floor(accounting="published")
    assert np.allclose(published[COLUMNS].sum(axis=1), 1)
    assert (published["no_pass"] > table["no_pass"]).all()


def test_thresholds_give_the_fractions_at_each_level(made):
    measurement, values = made
    table = measurement.thresholds()
    assert list(table.index.names) == ["site", "threshold_db"]
    assert list(table.columns) == [*COLUMNS, "n"] and len(table) == len(SITES) * len(LEVELS)
    assert list(dict.fromkeys(table.index.get_level_values("site"))) == list(SITES)
    at = values[values["site"] == 2][[f"{column}_45db" for column in COLUMNS]].mean() / 1000
    assert np.allclose(table.loc[("layer3.0.conv1", 45), COLUMNS].astype(float), at)
    assert (table["n"] == values["sample"].nunique()).all()
    overall = measurement.thresholds("overall")
    assert list(overall.index) == list(LEVELS) and overall.index.name == "threshold_db"
    means = table.xs(45, level="threshold_db").mean()
    assert np.allclose(overall.loc[45, COLUMNS], means[COLUMNS])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.energy(), r"Energy was not measured .* 'energy' among its measures\.$"),
        (lambda m: m.floor(), r"The floor was not measured .* 'floor' among its measures\.$"),
        (lambda m: m.thresholds("overall"), r"thresholds were not measured .* 'thresholds'"),
    ],
)
def test_what_was_not_measured_is_one_sentence_that_says_what_to_do(call, words):
    for groups in (("categories",), ()):
        measurement = al.Measurement(energy_run(groups=groups)[0])
        assert measurement.measures == groups
        with pytest.raises(al.AliascopeError, match=words):
            call(measurement)


def test_a_floor_of_no_sample_is_not_measured():
    measurement = al.Measurement(energy_run(floor_samples=0)[0])
    assert "floor" not in measurement.measures
    with pytest.raises(al.AliascopeError, match="on no sample of this run"):
        measurement.floor()


def test_energies_without_their_sums_are_refused_but_known_per_sample():
    measurement = run_of(([[0.25], [0.5]], None), sites=[described("a")])
    assert measurement.measures == ()
    with pytest.raises(al.AliascopeError, match="not summed by channel"):
        measurement.energy()


@pytest.mark.parametrize("by", ["site", "sample", "channel", "overall", "model"])
def test_unknown_ways_are_refused(made, by):
    measurement, _ = made
    for table in (measurement.energy, measurement.floor, measurement.thresholds):
        if by == "model" or (by in ("sample", "channel") and table != measurement.energy):
            with pytest.raises(al.AliascopeError, match=f"by is '{by}'"):
                table(by)
        else:
            assert len(table(by))
    with pytest.raises(al.AliascopeError, match="no site 'nowhere'"):
        measurement.energy(site="nowhere")


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0, 0, 4, -1, 1, 1)], "negative or not finite"),
        ([(0, 0, 4, NAN, 1, 1)], "negative or not finite"),
        ([(5, 0, 4, 1, 1, 1)], "does not name every site"),
        ([(0, 0, 4, 1, 1, 1)] * 2, "there twice"),
    ],
)
def test_a_damaged_table_of_channels_is_refused(rows, words):
    measurement = run_of(([[0.25]], rows), sites=[described("a")])
    with pytest.raises(al.AliascopeError, match=rf"channels.parquet is missing or .*{words}"):
        measurement.energy()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("aliased_energy", 1.5, "not within 0 and 1"),
        ("floor_tangled", -1.0, "no counts"),
        ("tangled_20db", NAN, "no counts"),
        ("aliased_20db", None, "has no aliased_20db"),
    ],
)
def test_values_that_no_measure_gives_are_refused(column, value, words):
    store, _ = energy_run(parts=1)
    part = store.part(0)
    values = part.values()
    if value is None:
        values = values.drop(columns=column)
    else:
        values[column] = value
    store.begin(0).commit(part.samples(), values, part.sites, channels=part.channels())
    with pytest.raises(al.AliascopeError, match=words):
        al.Measurement(store)


# -- shown ---------------------------------------------------------------------------------------


def test_the_table_of_all_has_each_number_once(made):
    measurement, _ = made
    table = measurement.table()
    assert list(table.index) == list(SITES) and not table.columns.duplicated().any()
    assert table["aliased_energy"].equals(measurement.energy()["aliased_energy"])
    assert table["tangled"].equals(measurement.fractions()["tangled"])
    assert table["floor_tangled"].equals(measurement.floor()["tangled"])


@pytest.mark.parametrize("groups", [GROUPS, ("energy",), ("categories",), ()])
def test_a_measurement_shows_itself_whatever_was_measured(groups):
    measurement = al.Measurement(energy_run(groups=groups)[0])
    text, html = repr(measurement), measurement._repr_html_()
    for name in SITES:
        assert name in text and name in html
    assert ("aliased energy %" in text) == ("energy" in groups)
    if "energy" in groups:
        value = measurement.energy().loc["head.patch", "aliased_energy"]
        assert re.search(rf"head.patch +4×4 +5×32×32 +{100 * value:.1f} ", text)
        assert re.search(r"mean of 4 +2×2", text) and re.search(r"mean of 1 +4×4", text)
    assert ("with thresholds of 10 to 60 dB" in text) == (groups == GROUPS)


def test_html_escapes_names():
    measurement = run_of(([[0.25]], [(0, 0, 4, 1, 1, 1)]), sites=[described("<b>")])
    assert "&lt;b&gt;" in measurement._repr_html_() and "<b>" not in measurement._repr_html_()


def test_json_has_all_that_is_shown():
    store, _ = energy_run()
    energy_run(store, condition=Condition.of("pgd", eps=0.1))
    measurement = al.Measurement(store)
    content = json.loads(measurement.to_json())
    assert content["condition"] == "clean" and content["images"] == 12
    assert content["settings"]["criterion"]["fold_scale"] == "auto"
    site = content["sites"][1]
    assert site["name"] == "layer2.0.conv1" and site["rate"] == [2, 2]
    assert site["energy"] == measurement.energy().loc[site["name"]].to_dict()
    assert isinstance(site["energy"]["kept"], int)
    assert site["fractions"] == measurement.fractions().loc[site["name"]].to_dict()
    assert site["floor"]["n"] == 3 and len(site["thresholds"]) == len(LEVELS)
    assert content["energy"][0]["rate"] == "2×2" and content["energy"][0]["sites"] == 4
    assert content["thresholds"][0]["threshold_db"] == 10
    assert content["accuracy"]["top1"]["n"] == 12
    attacked = content["conditions"][1]
    assert attacked["condition"] == "pgd eps=0.1"
    assert attacked["fractions"] != content["fractions"]


@pytest.mark.parametrize("groups", [("energy",), ("categories",), ()])
def test_json_leaves_out_what_was_not_measured(groups):
    content = json.loads(al.Measurement(energy_run(groups=groups)[0]).to_json())
    assert ("energy" in content) == ("energy" in groups)
    assert ("fractions" in content["sites"][0]) == ("categories" in groups)
    assert "floor" not in content and "thresholds" not in content["sites"][0]
