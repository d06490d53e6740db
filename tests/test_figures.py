from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy import stats
from torch import nn

import aliascope as al
from ablation_runs import made_ablation, moved
from aliascope import figures
from aliascope.categories import COLUMNS
from aliascope.commands import tables
from aliascope.figures.bars import sorted_channels
from aliascope.figures.layout import fitted, text_width
from aliascope.figures.shades import PALEST, contrast, shade
from aliascope.palette import PALETTES, RING_ORDER
from aliascope.runs.comparisons import comparison, over_epsilon
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.mean_spectrum import mean_spectrum
from aliascope.runs.store import Store
from energy_runs import energy_run


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


def caption_of(figure):
    (text,) = artists(figure, "caption")
    return " ".join(text.get_text().split())


def described(path):
    """Describe a site as a part of a run does."""
    return {
        "path": path,
        "number": 1,
        "op": "conv",
        "rate": [2, 2],
        "dense_shape": [1, 8, 8],
        "grid": "seed",
        "supported": True,
        "reason": "",
        "recomposition_error": 0.0,
    }


def measurement_of(counts, names=("a",), store=None, number=0, eps=None, **columns):
    """Make a measurement with one more part of these counts, (samples, sites, 4)."""
    counts = np.asarray(counts)
    n, s, _ = counts.shape
    if store is None:
        store = Store.temporary()
        store.write_run({})
    table = pd.DataFrame(counts.reshape(-1, 4), columns=COLUMNS)
    table.insert(0, "site", np.tile(np.arange(s), n))
    table.insert(0, "sample", np.repeat(np.arange(n), s))
    samples = pd.DataFrame({"sample": range(n), **columns})
    condition = CLEAN if eps is None else Condition.of("pgd", eps=eps)
    store.begin(number).commit(
        samples, table, [described(name) for name in names], condition=condition
    )
    return al.Measurement(store)


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
    *_, words = artists(figure, "percentage")  # the fourth, or the line of all four
    assert words.get_text().endswith(f"{100 * (category == 3).mean():.1f} %")


def test_the_percentages_below_a_map_follow_the_accounting(detailed):
    category = detailed.category_map("0", 0)[0]
    parts = np.array([(category == c).sum() for c in range(4)], dtype=float)
    parts[0] += parts[2]
    figure = figures.pixels(detailed, "0", 0, 0, accounting="published")
    shown = [text.get_text() for text in artists(figure, "percentage/")]
    assert shown == [f"{100 * part / parts.sum():.1f} %" for part in parts]
    assert "published accounting" in caption_of(figure)


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
    """Fourteen images of which eight are right; one site, fractions in thousandths."""
    tangled = np.random.default_rng(1).integers(300, 500, 14)
    counts = np.stack([900 - tangled, np.full(14, 60), np.full(14, 40), tangled], axis=1)
    right = [True] * 8 + [False] * 6
    return measurement_of(counts[:, None], top1=right), counts / 1000


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


def test_few_images_are_points_with_their_median_and_no_box(judged):
    measurement, fractions = judged
    few = al.Measurement(measurement.store)
    few.samples = few.samples.assign(top1=[True] * 11 + [False] * 3)
    figure = figures.boxes(few)
    assert not artists(figure, "box/tangled/incorrect")
    (points,), (median,) = (artists(figure, f"{g}/tangled/incorrect") for g in ("points", "median"))
    assert list(points.get_ydata()) == pytest.approx(list(fractions[11:, 3]))
    assert list(median.get_ydata()) == pytest.approx([np.median(fractions[11:, 3])] * 2)


def test_fractions_of_zero_are_drawn_at_the_edge_and_the_caption_says_so():
    counts = [[[5 + i, 5, 0, 10 - i]] for i in range(6)]
    figure = figures.boxes(measurement_of(counts, top1=[True] * 3 + [False] * 3))
    (points,) = artists(figure, "points/aliased/correct")
    low, high = figure.axes[0].get_ylim()
    assert all(low < y < 0.25 for y in points.get_ydata()) and 0 < low < high < 1
    assert "Images at 0 are drawn at the lower edge" in caption_of(figure)


def test_the_table_beside_the_boxes_is_scipys_test_and_the_rank_biserial_correlation(judged):
    measurement, fractions = judged
    row = comparison(measurement).loc["tangled"]
    right, wrong = fractions[:8, 3], fractions[8:, 3]
    assert (row["n_correct"], row["n_incorrect"]) == (8, 6)
    assert row["p"] == pytest.approx(stats.mannwhitneyu(right, wrong).pvalue)
    assert row["rank_biserial"] == pytest.approx(np.sign(wrong[:, None] - right).mean())
    assert row["median_correct"] == pytest.approx(np.median(right))
    figure = figures.boxes(measurement)
    assert "8 images classified correctly, ✗ 6 incorrectly" in caption_of(figure)
    (number,) = artists(figure, "number/tangled/median_incorrect")
    assert number.get_text() == f"{100 * np.median(wrong):.1f} %"


@pytest.mark.parametrize(("more_tangled", "sign"), [("incorrect", 1), ("correct", -1)])
def test_the_effect_is_positive_where_incorrect_images_have_more(more_tangled, sign):
    tangled = [[[10 - i, 0, 0, i]] for i in range(10)]
    right = [(i < 5) == (more_tangled == "incorrect") for i in range(10)]
    row = comparison(measurement_of(tangled, top1=right)).loc["tangled"]
    assert row["rank_biserial"] == sign


def test_images_that_are_all_alike_do_not_differ():
    table = comparison(measurement_of([[[4, 3, 2, 1]]] * 8, top1=[True, False] * 4))
    assert (table["p"] == 1).all() and (table["rank_biserial"] == 0).all()


def test_one_site_is_compared_by_its_own_fractions():
    counts = [[[9 - i, 0, 0, i], [9, 0, 0, 0]] for i in range(8)]
    measurement = measurement_of(counts, ("a", "b"), top1=[True, False] * 4)
    assert comparison(measurement, site="a").loc["tangled", "median_correct"] == 3 / 9
    assert comparison(measurement).loc["tangled", "median_correct"] == 1.5 / 9
    assert caption_of(figures.boxes(measurement, site="a")).startswith("At a;")
    with pytest.raises(al.AliascopeError, match="no site 'c'"):
        figures.boxes(measurement, site="c")


def test_when_all_are_right_one_group_is_drawn_and_the_caption_says_so(judged):
    all_right = al.Measurement(judged[0].store)
    all_right.samples = all_right.samples.assign(top1=True)
    figure = figures.boxes(all_right)
    assert len(artists(figure, "box/")) == 4
    assert "all 14 images are classified correctly, so there is nothing" in caption_of(figure)
    assert not artists(figure, "number/tangled/p")


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
    overall = measurement.fractions("overall", accounting).iloc[0]
    ends = [segment[0, 0] for segment in lines.get_segments()]  # from top to bottom
    assert ends[:-1] == pytest.approx(list(100 - 100 * table["tangled_high"]))
    assert ends[-1] == pytest.approx(100 - 100 * overall["tangled_high"])
    (mean,) = artists(figure, "mean/tangled")
    assert mean.get_width() == pytest.approx(100 * overall["tangled"])


def test_sites_stand_from_top_to_bottom_as_they_run(measurement):
    figure = figures.sites(measurement)
    heights = [artists(figure, f"bar/tangled/{name}")[0].get_y() for name in "023"]
    assert heights == sorted(heights, reverse=True)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["0", "2", "3", "mean of 3 sites"]


def test_one_image_has_no_whiskers():
    figure = figures.sites(measurement_of([[[1, 1, 1, 1]]]))
    assert not artists(figure, "intervals") and "whiskers" not in caption_of(figure)


def test_channel_bars_are_sorted_by_tangled_and_add_up_to_one_hundred(detailed):
    figure = figures.channels(detailed, "0")
    (area,) = artists(figure, "area/tangled")
    values = 100 - area.get_data().baseline
    expected = np.sort(detailed.fractions("channel").loc["0", "tangled"])[::-1]
    assert np.allclose(values, 100 * expected)
    assert np.allclose(area.get_data().values, 100)
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
    left, right, bottom, top = drawn.get_extent()
    step_y, step_x = (top - bottom) / 24, (right - left) / 24
    row, column = peaks[0]
    assert bottom + step_y * (23 - row + 0.5) == pytest.approx(-9 / 24)
    assert left + step_x * (column + 0.5) == pytest.approx(0)
    assert mean_spectrum(measurement, "0").outside() == pytest.approx(1)


@pytest.mark.parametrize(("frequency", "outside"), [(3, 0.0), (9, 1.0)])
@pytest.mark.parametrize("grid", ["seed", "native"])
def test_what_lies_beyond_the_new_nyquist_frequency_is_outside(frequency, outside, grid):
    tone = torch.cos(2 * torch.pi * frequency * torch.arange(240) / 24)
    pool = nn.MaxPool1d(1, stride=2)
    measurement = al.measure(pool, [tone.expand(2, 3, 240)], detail="folds", grid=grid)
    mean = mean_spectrum(measurement, "(root)")
    assert mean.outside() == pytest.approx(outside, abs=0.02)
    assert (mean.samples, mean.channels, mean.rate) == (2, 3, (2,))
    (curve,) = artists(figures.spectrum(measurement, "(root)"), "spectrum")
    peak = curve.get_xdata()[np.argmax(curve.get_ydata())]
    assert abs(peak) == pytest.approx(frequency / 24, abs=1 / 480)


def test_the_mean_is_over_samples_and_channels(detailed):
    parts = [np.abs(detailed.folds("0", sample)) ** 2 for sample in range(3)]
    mean = mean_spectrum(detailed, "0").power
    assert mean.sum() == pytest.approx(np.mean(parts, axis=(0, 1)).sum(), rel=1e-5)
    assert mean.shape == tuple(2 * n for n in parts[0].shape[-2:])


def test_a_site_that_is_zero_has_no_spectrum():
    measurement = al.measure(nn.AvgPool2d(2), [torch.zeros(1, 1, 8, 8)], detail="folds")
    with pytest.raises(al.AliascopeError, match="zero in every image"):
        figures.spectrum(measurement, "(root)")


# -- adversarial ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked():
    store = None
    for number, (eps, right) in enumerate([(0.0, 4), (0.001, 3), (0.1, 0)]):
        tangled = np.arange(5) * 10 + number
        counts = np.stack([100 - tangled, *[0 * tangled] * 2, tangled], axis=1)[:, None]
        hits = {"top1": [i < right for i in range(5)], "top5": [True] * 5}
        measurement = measurement_of(counts, store=store, number=number, eps=eps, **hits)
        store = measurement.store
    return al.Measurement(store)


def test_the_curve_has_the_accuracies_and_the_median_and_band_of_aliasing(attacked):
    table = over_epsilon(attacked)
    assert list(table["top1"]) == [0.8, 0.6, 0.0] and list(table["top5"]) == [1, 1, 1]
    assert list(table["aliasing"]) == pytest.approx([0.20, 0.21, 0.22])
    assert table["low"].iloc[0] == pytest.approx(np.percentile([0, 0.1, 0.2, 0.3, 0.4], 1))
    figure = figures.adversarial(attacked)
    (line,) = artists(figure, "top1")
    assert list(line.get_ydata()) == pytest.approx([80, 60, 0])
    assert list(line.get_xdata()) == [0, 0.001, 0.1]
    (median,) = artists(figure, "aliasing")
    assert list(median.get_ydata()) == pytest.approx([20, 21, 22])
    (band,) = artists(figure, "band")
    ys = band.get_paths()[0].vertices[:, 1]
    assert (min(ys), max(ys)) == pytest.approx(
        (100 * table["low"].min(), 100 * table["high"].max())
    )
    assert len(artists(figure, "break")) == 1
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$"]


def test_the_intervals_of_the_accuracies_are_wilsons(attacked):
    (lines,) = artists(figures.adversarial(attacked), "interval/top1")
    known = attacked.accuracy().loc["top1"]
    first = lines.get_segments()[0][:, 1]
    assert list(first) == pytest.approx([100 * known["low"], 100 * known["high"]])


def test_without_a_zero_the_axis_is_not_broken():
    store = None
    for number, eps in enumerate([0.002, 0.004]):
        measurement = measurement_of([[[1, 1, 1, 1]]], store=store, number=number, eps=eps)
        store = measurement.store
    figure = figures.adversarial(measurement)
    assert not artists(figure, "break") and not artists(figure, "top1")
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0.002", "0.004"]


def test_a_run_without_an_attack_has_no_curve(detailed):
    with pytest.raises(al.AliascopeError, match="not attacked"):
        figures.adversarial(detailed)
    one = measurement_of([[[1, 1, 1, 1]]], eps=0.1)
    with pytest.raises(al.AliascopeError, match=r"only eps 0\.1"):
        figures.adversarial(one)


# -- a paper's widths ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    """Forty sites with long names, half of the images right, attacked at two epsilons."""
    names = [f"backbone.stages.{i // 10}.blocks.{i % 10}.downsample_conv" for i in range(40)]
    counts = np.random.default_rng(0).integers(0, 400, (30, 40, 4))
    right = {"top1": [True, False] * 15, "top5": [True] * 30}
    store = measurement_of(counts, names, eps=0.0, **right).store
    return measurement_of(counts + 9, names, store, 1, 0.001, **right)


FIGURES = {
    "pie": lambda m: figures.pie(m, title="A network"),
    "boxes": lambda m, **k: figures.boxes(m, site=m.sites["name"][7], accounting="published", **k),
    "adversarial": figures.adversarial,
    "sites": lambda m, **k: figures.sites(m, accounting="published", **k),
}
DETAILED = {
    "colorbar": lambda m, **k: figures.colorbar(**k),
    "pixels": lambda m, **k: figures.pixels(m, "0", 0, **k),
    "pixels without bar": lambda m, **k: figures.pixels(m, "0", 0, colour_bar=False, **k),
    "channels": lambda m, **k: figures.channels(m, "0", **k),
    "spectrum": lambda m, **k: figures.spectrum(m, "0", **k),
}


@pytest.mark.parametrize("name", [*FIGURES, *DETAILED])
def test_a_figure_is_one_column_wide_and_can_be_read_there(large, detailed, name):
    figure = FIGURES[name](large) if name in FIGURES else DETAILED[name](detailed)
    figure.set_dpi(300)  # as saved
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    assert width == 3.5
    box = figure.get_tightbbox()
    assert box.x0 >= -1e-9 and box.x1 <= width + 1e-9
    assert box.y0 >= -1e-9 and box.y1 <= height + 1e-9
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            assert text.get_fontsize() >= 6, text


def shown_texts(figure):
    """Texts that are drawn: not the labels of ticks beyond the ends of an axis."""
    FigureCanvasAgg(figure)
    figure.set_dpi(300)  # as saved
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.findobj(lambda artist: hasattr(artist, "xaxis")):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = 1e-6 * (high - low)
            for tick in axis.get_major_ticks():
                if not low - beyond <= tick.get_loc() <= high + beyond or not axes.axison:
                    hidden |= {tick.label1, tick.label2}
            hidden |= {label for tick in axis.get_minor_ticks() for label in (tick.label1,)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in hidden]
    return [text for text in texts if text.get_text().strip()]


RESULTS = {
    **{name: ("large", draw) for name, draw in FIGURES.items() if name != "pie"},
    **{name: ("detailed", draw) for name, draw in DETAILED.items()},
    "pie": ("large", figures.pie),
    "energy": ("energy", figures.energy),
    "thresholds": ("energy", figures.thresholds),
    "ablation": ("ablation", figures.ablation),
    "dose": ("ablation", figures.dose),
    "shift": ("shifts", figures.shift),
    "comparison": ("compared", figures.comparison),
    "tracking": ("history", figures.tracking),
}


@pytest.fixture(scope="module")
def results(large, detailed):
    """Something to draw by each figure."""
    history = pd.DataFrame(np.linspace(0, 1, 24).reshape(4, 6) ** 2, index=[0, 10, 20, 30])
    history.columns = [f"layer{k}.0.downsample.conv" for k in range(6)]
    return {
        "large": large,
        "detailed": detailed,
        "energy": al.Measurement(energy_run()[0]),
        "ablation": made_ablation(doses=(0.0, 0.5, 1.0)),
        "shifts": moved(),
        "compared": al.compare(detailed, detailed),
        "history": history,
    }


@pytest.mark.parametrize("name", list(RESULTS))
@pytest.mark.parametrize(("width", "inches", "size"), [("one", 3.5, 12.0), ("two", 7.16, 8.0)])
def test_a_figure_is_laid_out_for_its_width_and_size_of_text(results, name, width, inches, size):
    about, draw = RESULTS[name]
    figure = draw(results[about], width=width, font_size=size, title="A title of a figure")
    texts = shown_texts(figure)
    assert figure.get_figwidth() == inches
    assert {text.get_fontsize() for text in texts} == {size}
    (title,) = artists(figure, "title")
    assert title.get_text() == "A title of a figure"
    boxes = [text.get_window_extent() for text in texts]
    across, up = figure.bbox.size
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.x1 <= across + 1 and box.y0 >= -1 and box.y1 <= up + 1
        assert inside, text.get_text()
    for k, box in enumerate(boxes):
        for other in range(k):
            both = texts[k].get_text(), texts[other].get_text()
            assert not box.padded(-4).overlaps(boxes[other].padded(-4)), both


def test_a_caption_may_be_left_out_and_leaves_no_room(large):
    with_it, without = figures.sites(large), figures.sites(large, caption=False)
    assert not artists(without, "caption")
    assert without.get_figheight() < with_it.get_figheight() - 0.1


@pytest.mark.parametrize(
    ("look", "words"),
    [({"width": "three"}, "width is 'three'"), ({"font_size": 4}, "from 5 to 12 points")],
)
def test_a_width_or_size_that_is_not_there_is_refused(large, look, words):
    with pytest.raises(al.AliascopeError, match=words):
        figures.pie(large, **look)


@pytest.mark.parametrize("colour", sorted({c for p in PALETTES.values() for c in p.values()}))
def test_shades_can_be_seen_on_white_and_told_apart(colour):
    shades = [shade(colour, place) for place in np.linspace(0, 1, 5)]
    seen = [contrast(each) for each in shades]
    assert min(seen) >= PALEST and seen == sorted(seen) and seen[-1] > 1.2 * seen[0]


def test_fifty_five_sites_are_named_in_full_height_and_parted_by_size_of_map():
    sites = {f"net.{i}.downsample_conv": ((2, 2), (2, 64 >> i // 20, 64)) for i in range(55)}
    deep = al.Measurement(energy_run(sites=sites, parts=1, floor_samples=1)[0])
    for draw in (figures.energy, figures.sites):
        figure = draw(deep)
        rows = [label for label in figure.axes[0].get_yticklabels() if label.get_text()]
        assert len({label.get_text() for label in rows}) == 56
        boxes = [text.get_window_extent() for text in shown_texts(figure) if text in rows]
        assert len(boxes) == 56 and min(label.get_fontsize() for label in rows) >= 5
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        lines = [line for line in artists(figure, "stage") if line.axes is figure.axes[0]]
        assert [line.get_ydata()[0] for line in lines] == [-19.5, -39.5]


def test_numbers_in_the_ring_stay_in_their_slices_and_the_table_has_all(large):
    figure = figures.pie(measurement_of([[[970, 10, 10, 10], [500, 2, 0, 498]]], ("stem", "pool")))
    (ring,) = figure.axes
    inside = [text for text in ring.texts if text.get_text() in ("1", "2")]
    assert len(inside) == 3  # no pass of both, tangled of the second
    words = [text.get_text() for text in figure.texts]
    assert {"stem", "97.0", "1.0", "pool", "0.2", "49.8"} <= set(words)
    thin = figures.pie(measurement_of([[[940, 20, 20, 20]]]))
    assert artists(thin, "leader/") and not artists(figures.pie(large), "leader/")


def test_no_test_is_shown_where_a_group_has_fewer_than_three_images():
    counts = [[[5 + i, 5, 1, 10 - i]] for i in range(8)]
    for wrong, tested in ((2, False), (3, True)):
        measurement = measurement_of(counts, top1=[True] * (8 - wrong) + [False] * wrong)
        assert comparison(measurement)["p"].notna().all() == tested
        figure = figures.boxes(measurement)
        assert bool(artists(figure, "number/tangled/p")) == tested
        assert ("No test: a group has fewer than 3 images" in caption_of(figure)) != tested


@pytest.mark.parametrize("size", [20, 23])
def test_the_frequencies_of_a_pixel_plot_are_those_of_its_bins(size):
    m = al.measure(nn.AvgPool2d(2), [torch.rand(1, 1, size, size)], detail="pixel")
    (drawn,) = artists(figures.pixels(m, "(root)", 0), "map")
    left, right, bottom, top = drawn.get_extent()
    columns = drawn.get_array().shape[1]
    centres = left + (right - left) * (np.arange(columns) + 0.5) / columns
    assert centres == pytest.approx(np.fft.fftshift(np.fft.fftfreq(columns)))
    assert (top, bottom) == pytest.approx((left, right))
    assert drawn.axes.get_xlabel() == "across (cycles/sample)"


def test_the_colour_bar_of_a_spectrum_says_what_its_decibels_refer_to(detailed):
    plane, bar = figures.spectrum(detailed, "0").axes
    assert "dB re its largest value" in bar.get_ylabel()
    assert plane.get_xlabel() == "across (cycles/sample)"


def test_channels_are_named_by_their_numbers(detailed):
    figure = figures.channels(detailed, "0")
    order = sorted_channels(detailed, "0").index.get_level_values("channel")
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == [str(number) for number in order]
    assert "channel of 0" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("draw", [figures.sites, figures.channels])
def test_categories_stand_in_their_own_order(detailed, draw):
    figure = draw(detailed, "0") if draw is figures.channels else draw(detailed)
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["no pass", "non-aliased", "aliased", "tangled"]


def test_lines_of_text_do_not_lie_on_each_other(large):
    for figure in (figures.pie(large), figures.sites(large), figures.boxes(large)):
        figure.canvas.draw()
        texts = [*figure.texts, *figure.axes[0].texts, *figure.axes[0].get_yticklabels()]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        boxes = [box.padded(-0.5) for box in boxes]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_of_narrow_neighbours_in_the_ring_stand_apart():
    figure = figures.pie(measurement_of([[[97, 1, 1, 1]]]))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if "%" in text.get_text()]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("top", [1, 4, 8])
@pytest.mark.parametrize("width", ["one", "two"])
def test_a_label_above_the_ring_is_within_the_figure(top, width):
    figure = figures.pie(measurement_of([[[38, 20, top, 42 - top]]]), width=width)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if "%" in text.get_text()]
    assert max(box.y1 for box in boxes) <= figure.bbox.height
    assert max(box.x1 for box in boxes) <= figure.bbox.width
    assert min(box.x0 for box in boxes) >= 0


def test_shortened_names_still_differ(large):
    names = list(large.sites["name"])
    short = fitted(names, 1.2)
    assert len(set(short)) == 40 and all(text_width(name) <= 1.2 for name in short)


@pytest.mark.parametrize("name", [*FIGURES, "pixels", "channels"])
def test_figures_are_drawn_in_the_palettes_colours(large, detailed, name):
    drawn = {
        "pie": lambda: figures.pie(large, colours="colour-blind"),
        "boxes": lambda: figures.boxes(large, colours="colour-blind"),
        "adversarial": lambda: figures.adversarial(large, colours="colour-blind"),
        "sites": lambda: figures.sites(large, colours="colour-blind"),
        "pixels": lambda: figures.pixels(detailed, "0", 0, colours="colour-blind"),
        "channels": lambda: figures.channels(detailed, "0", colours="colour-blind"),
    }[name]()
    gids = {"pie": "outer/tangled", "boxes": "box/tangled/incorrect", "adversarial": "band"}
    gids |= {"sites": "bar/tangled", "pixels": "bar/tangled", "channels": "area/tangled"}
    colour = np.ravel(artists(drawn, gids[name])[0].get_facecolor())[:3]
    assert to_hex(colour) == PALETTES["colour-blind"]["tangled"]


def test_a_caption_says_at_which_epsilon(large):
    assert "attacked with ε = 0.001" in caption_of(figures.sites(large.at("eps=0.001")))
    assert "not attacked" in caption_of(figures.pie(large))
