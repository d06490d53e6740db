from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

import aliascope as al
from aliascope import figures, tables
from aliascope.figures.palette import PALETTES
from aliascope.figures.pie import RING_ORDER


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
