from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from scipy import stats
from torch import nn

import aliascope as al
from aliascope import figures, tables
from aliascope.categories import COLUMNS
from aliascope.figures.adversarial import over_epsilon
from aliascope.figures.boxes import comparison
from aliascope.figures.palette import PALETTES
from aliascope.figures.pie import RING_ORDER
from aliascope.store import Store


@pytest.fixture(scope="module")
def measurement():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2, 2))
    return al.measure(model, [torch.rand(6, 3, 40, 40)])


def wedges(figure, ring):
    found = {w.get_gid(): w for w in figure.axes[0].patches if str(w.get_gid()).startswith(ring)}
    return {name: (w.theta2 - w.theta1) / 360 for name, w in found.items()}, found


@pytest.mark.parametrize("accounting", ["exact", "published"])
def test_the_outer_ring_is_the_mean_over_sites(measurement, accounting):
    shares, _ = wedges(figures.pie(measurement, accounting=accounting), "outer/")
    overall = measurement.fractions("overall", accounting).iloc[0]
    assert list(shares) == [f"outer/{c}" for c in RING_ORDER]
    assert np.allclose(list(shares.values()), overall[list(RING_ORDER)].astype(float), atol=1e-6)


def test_the_inner_ring_is_each_sites_share_of_the_mean(measurement):
    shares, _ = wedges(figures.pie(measurement), "inner/")
    by_site = measurement.fractions("site")
    assert len(shares) == 4 * 3
    for category in RING_ORDER:
        for site in by_site.index:
            expected = by_site.loc[site, category] / 3
            assert shares[f"inner/{category}/{site}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", list(PALETTES))
def test_the_outer_ring_has_the_palettes_colours(measurement, name):
    _, found = wedges(figures.pie(measurement, colours=name), "outer/")
    for category in RING_ORDER:
        assert to_hex(found[f"outer/{category}"].get_facecolor()) == PALETTES[name][category]


def test_every_category_is_named_with_its_percentage(measurement):
    texts = [text.get_text() for text in figures.pie(measurement).axes[0].texts]
    overall = measurement.fractions("overall").iloc[0]
    for label, column in (("non-aliased", "non_aliased"), ("tangled", "tangled")):
        assert f"{label}\n{100 * overall[column]:.1f} %" in texts


def test_every_site_is_listed_beside_the_ring_however_many():
    blocks = [nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)) for _ in range(40)]
    figure = figures.pie(al.measure(nn.Sequential(*blocks), [torch.rand(1, 3, 8, 8)]))
    text = "\n".join(t.get_text() for t in figure.texts)
    assert all(f"{i}.0" in text for i in range(40))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figures_are_saved_whole_in_three_formats(measurement, tmp_path, ending):
    path = figures.save(figures.pie(measurement), tmp_path / "new" / f"ring.{ending}")
    assert path.stat().st_size > 5000
    assert [entry.name for entry in path.parent.iterdir()] == [f"ring.{ending}"]


def test_a_bar_is_as_long_as_its_fraction():
    lengths = [len(tables.bar(f, width=8).rstrip()) for f in (0, 0.5, 1)]
    assert lengths == [0, 4, 8]


def test_the_table_nests_sites_by_module():
    names = [
        "stem",
        "layer2.0.conv1",
        "layer2.0.downsample.0",
        "layer3.0.conv1#1",
        "layer3.0.conv1#2",
    ]
    assert tables.nested(names) == [
        (0, "stem", "stem"),
        (0, "layer2.0", None),
        (1, "conv1", "layer2.0.conv1"),
        (1, "downsample.0", "layer2.0.downsample.0"),
        (0, "layer3.0.conv1", None),
        (1, "#1", "layer3.0.conv1#1"),
        (1, "#2", "layer3.0.conv1#2"),
    ]


def test_a_module_that_is_a_site_and_holds_sites_has_one_line_for_both():
    assert tables.nested(["a", "a.b"]) == [(0, "a", "a"), (1, "b", "a.b")]


def artists(figure, gid):
    return list(figure.findobj(lambda a: str(a.get_gid() or "").startswith(gid)))


# -- pixels and their colours --------------------------------------------------------------------


@pytest.fixture(scope="module")
def detailed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2))
    return al.measure(model, [torch.rand(3, 3, 20, 23)], detail="folds")


@pytest.mark.parametrize("colour_bar", [True, False])
def test_the_pixel_plot_holds_the_category_map_with_zero_frequency_in_the_centre(
    detailed, colour_bar
):
    figure = figures.pixels(detailed, "2", 1, 3, colour_bar=colour_bar)
    (drawn,) = artists(figure, "map")
    category = detailed.category_map("2", 1)[3]
    shown = np.asarray(drawn.get_array())
    assert (np.fft.ifftshift(shown) == category).all()
    centre = tuple(n // 2 for n in category.shape)
    assert shown[centre] == category[0, 0]
    colours = [to_hex(drawn.cmap(drawn.norm(c))) for c in range(4)]
    assert colours == list(PALETTES["paper"].values())
    assert len(artists(figure, "bar/")) == (4 if colour_bar else 0)
    (words,) = artists(figure, "percentages")
    assert f"{100 * (category == 3).mean():.1f} %" in words.get_text()


def test_the_colour_bar_has_the_four_colours_in_order():
    bars = artists(figures.colorbar(colours="colour-blind"), "bar/")
    assert [to_hex(b.get_facecolor()) for b in bars] == list(PALETTES["colour-blind"].values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("9", 0, 0), "no site '9'"),
        (("2", 7, 0), "no sample 7"),
        (("2", 0, 4), "channel is 4"),
        (("2", 0, -1), "channel is -1"),
    ],
)
def test_a_pixel_plot_of_what_is_not_there_is_refused(detailed, arguments, words):
    with pytest.raises(al.AliascopeError, match=words):
        figures.pixels(detailed, *arguments)


def test_maps_of_three_axes_are_refused_and_of_one_are_a_row():
    line = al.measure(nn.AvgPool1d(2), [torch.rand(1, 2, 12)], detail="folds")
    assert figures.pixels(line, "(root)", 0).axes[0].images[0].get_array().shape == (1, 11)
    assert len(artists(figures.spectrum(line, "(root)"), "nyquist")) == 1
    solid = al.measure(nn.AvgPool3d(2), [torch.rand(1, 2, 6, 6, 6)], detail="folds")
    for draw in (
        lambda: figures.pixels(solid, "(root)", 0),
        lambda: figures.spectrum(solid, "(root)"),
    ):
        with pytest.raises(al.AliascopeError, match="3 spatial axes"):
            draw()


# -- boxes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """Twelve images of which eight are right; one site, fractions in thousandths."""
    rng = np.random.default_rng(1)
    tangled = rng.integers(300, 500, 12)
    counts = np.stack([900 - tangled, np.full(12, 60), np.full(12, 40), tangled], axis=1)
    samples = pd.DataFrame({"sample": range(12), "top1": [True] * 8 + [False] * 4})
    table = pd.DataFrame(counts, columns=COLUMNS)
    table.insert(0, "site", 0)
    table.insert(0, "sample", range(12))
    store = Store.temporary()
    store.write_run({})
    site = {"name": "a", "path": "a", "number": 1, "op": "conv", "rate": [2, 2], "grid": "seed"}
    site |= {"dense_shape": [1, 8, 8], "supported": True, "reason": "", "recomposition_error": 0.0}
    store.begin(0).commit(samples, table, [site])
    return al.Measurement(store), counts / 1000


def test_each_box_has_the_quartiles_of_its_group(judged):
    measurement, fractions = judged
    figure = figures.boxes(measurement)
    for c, name in enumerate(COLUMNS):
        for group, rows in (("correct", slice(8)), ("incorrect", slice(8, None))):
            (box,) = artists(figure, f"box/{name}/{group}")
            low, high = np.percentile(fractions[rows, c], [25, 75])
            ys = box.get_path().vertices[:, 1]
            assert (min(ys), max(ys)) == pytest.approx((low, high))
    assert figure.axes[0].get_yscale() == "logit"


def test_the_table_beside_the_boxes_is_scipys_test_and_the_rank_biserial_correlation(judged):
    measurement, fractions = judged
    row = comparison(measurement).loc["tangled"]
    right, wrong = fractions[:8, 3], fractions[8:, 3]
    assert (row["n_correct"], row["n_incorrect"]) == (8, 4)
    assert row["p"] == pytest.approx(stats.mannwhitneyu(right, wrong).pvalue)
    pairs = np.sign(right[:, None] - wrong)
    assert row["effect"] == pytest.approx(pairs.mean())
    assert row["median_correct"] == pytest.approx(np.median(right))
    (caption,) = artists(figures.boxes(measurement), "caption")
    assert "8 correct" in caption.get_text() and "4 incorrect" in caption.get_text()


def test_when_all_are_right_one_group_is_drawn_and_the_caption_says_so(judged):
    all_right = al.Measurement(judged[0].store)
    all_right.samples = all_right.samples.assign(top1=True)
    figure = figures.boxes(all_right)
    assert len(artists(figure, "box/")) == 4
    assert "nothing to compare" in artists(figure, "caption")[0].get_text()


def test_without_labels_there_are_no_boxes(detailed):
    with pytest.raises(al.AliascopeError, match="no labels"):
        figures.boxes(detailed)


# -- bars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounting", ["exact", "published"])
def test_site_bars_are_as_long_as_the_fractions(measurement, accounting):
    figure = figures.sites(measurement, accounting=accounting)
    table = measurement.fractions("site", accounting)
    for name in COLUMNS:
        for site in table.index:
            (bar,) = artists(figure, f"bar/{name}/{site}")
            assert bar.get_width() == pytest.approx(100 * table.loc[site, name], abs=1e-9)
    (lines,) = artists(figure, "intervals")
    ends = sorted(segment[1, 0] for segment in lines.get_segments())
    assert ends == pytest.approx(sorted(100 * table["tangled_high"]))


def test_channel_bars_are_sorted_by_tangled_and_add_up_to_one_hundred(detailed):
    figure = figures.channels(detailed, "0")
    (area,) = artists(figure, "area/tangled")
    values = area.get_data().values
    expected = np.sort(detailed.fractions("channel").loc["0", "tangled"])[::-1]
    assert np.allclose(values, 100 * expected)
    assert np.allclose(artists(figure, "area/no_pass")[0].get_data().values, 100)
    with pytest.raises(al.AliascopeError, match="no site 'x'"):
        figures.channels(detailed, "x")


# -- spectrum ------------------------------------------------------------------------------------


def test_the_spectrum_is_that_of_the_dense_signal_and_the_box_is_the_new_nyquist_band():
    n = torch.arange(24, dtype=torch.float32)
    tone = torch.cos(2 * torch.pi * 9 * n / 24)[:, None] * torch.ones(24)
    model = nn.Sequential(nn.MaxPool2d(1, stride=(2, 3)))
    measurement = al.measure(model, [tone.expand(2, 1, 24, 24)], detail="folds", grid="native")
    figure = figures.spectrum(measurement, "0")
    (drawn,) = artists(figure, "spectrum")
    level = np.asarray(drawn.get_array())
    assert level.shape == (24, 24)
    peaks = np.argwhere(level > -1)
    assert sorted(map(tuple, peaks.tolist())) == [(12 - 9, 12), (12 + 9, 12)]
    (box,) = artists(figure, "nyquist")
    assert (box.get_height(), box.get_width()) == pytest.approx((1 / 2, 1 / 3))


# -- adversarial ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked():
    store = Store.temporary()
    store.write_run({})
    site = {"name": "a", "path": "a", "number": 1, "op": "conv", "rate": [2, 2], "grid": "seed"}
    site |= {"dense_shape": [1, 8, 8], "supported": True, "reason": "", "recomposition_error": 0.0}
    for number, (eps, right) in enumerate([(0.0, 4), (0.001, 3), (0.1, 0)]):
        hits = [i < right for i in range(5)]
        samples = pd.DataFrame({"sample": range(5), "top1": hits, "top5": [True] * 5})
        tangled = np.arange(5) * 10 + number
        table = pd.DataFrame(
            np.stack([100 - tangled, *[0 * tangled] * 2, tangled], 1), columns=COLUMNS
        )
        table.insert(0, "site", 0)
        table.insert(0, "sample", range(5))
        store.begin(number).commit(samples, table, [site], eps=eps)
    return al.Measurement(store)


def test_the_curve_has_the_accuracies_and_the_median_and_band_of_aliasing(attacked):
    table = over_epsilon(attacked)
    assert list(table["top1"]) == [0.8, 0.6, 0.0] and list(table["top5"]) == [1, 1, 1]
    assert list(table["aliasing"]) == pytest.approx([0.20, 0.21, 0.22])
    assert table["low"].iloc[0] == pytest.approx(np.percentile([0, 0.1, 0.2, 0.3, 0.4], 1))
    figure = figures.adversarial(attacked)
    (line,) = artists(figure, "top1")
    assert list(line.get_ydata()) == pytest.approx([80, 60, 0])
    assert len(artists(figure, "gap")) == 1
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0", "0.001", "0.1"]


def test_a_run_without_an_attack_has_no_curve(detailed):
    with pytest.raises(al.AliascopeError, match="0 epsilons"):
        figures.adversarial(detailed)
