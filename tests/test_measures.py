"""The measures: faster ways to compute what energy.py and spectrum.py define, per sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import aliascope as al
from aliascope.categories import COLUMNS, Category
from aliascope.energy import least_varying, white_energy
from aliascope.filters.decimation import filtered
from aliascope.measures import DEFAULT, MEASURES
from aliascope.measures.energy import _basis, _weighed_apart, energies, varying
from aliascope.measures.engines import ENGINES, count_categories
from aliascope.measures.first_samples import LEVELS
from aliascope.precision import unrounded
from aliascope.seam import parts
from aliascope.spectrum import FOLD_SCALES, Criterion
from sites_shared import On

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.pool(F.relu(self.stem(x))), 3)


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.movedim(0, -1).contiguous().movedim(-1, 0) if layout == "odd" else x


# -- energy ----------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    size=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    data=st.data(),
    channels=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    layout=st.sampled_from(["first", "last", "odd"]),
    mean=st.sampled_from([0.0, 2.0, 30.0]),
)
def test_energies_are_those_of_the_definition(
    size: list[int], data: Any, channels: int, dtype: torch.dtype, layout: str, mean: float
) -> None:
    rate = tuple(data.draw(st.integers(1, 6)) for _ in size)
    x = laid_out((torch.randn(3, channels, *size) + mean).to(dtype), layout)
    sums = energies(x, rate)
    expected = al.aliased_energy(x, rate).double()
    found = sums[..., 1] / sums[..., 0]
    assert torch.equal(found.isnan(), expected.isnan()) or max(size) == 1
    close = 1e-9 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(found.nan_to_num(), expected.nan_to_num(), rtol=0, atol=close)
    assert (sums[..., 2] <= sums[..., 1] + 1e-6 * sums[..., 0]).all()
    assert (sums[..., 1] <= sums[..., 3] + 1e-6 * sums[..., 0]).all()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(3, 45), st.integers(3, 45)),
    rate=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    channels=st.integers(2, 40),
    double=st.booleans(),
    cut=st.sampled_from(["none", "channels", "columns"]),
    mean=st.sampled_from([0.0, 2.0, 30.0]),
)
def test_energies_are_the_same_compiled(
    size: tuple[int, int],
    rate: tuple[int, int],
    channels: int,
    double: bool,
    cut: str,
    mean: float,
) -> None:
    dtype = torch.float64 if double else torch.float32
    x = laid_out(torch.randn(2, channels, *size, dtype=dtype) + mean, "last")
    x = {"none": x, "channels": x[:, channels // 3 :], "columns": x[..., 1:]}[cut]
    sums, expected = energies(x, rate), energies(x, rate, "torch")
    close = 1e-10 if double else 3e-6
    torch.testing.assert_close(sums, expected, rtol=close, atol=close * float(expected.max()))


@pytest.mark.parametrize("mean", [1e3, -1e4])
def test_a_mean_that_rules_a_map_takes_no_digits_from_what_varies(mean: float) -> None:
    x = laid_out(torch.randn(2, 20, 37, 30) + mean, "last")
    x[:, :, ::8] += 5  # rows that the constant is taken from
    expected = energies(x.double(), (2, 2), "torch")
    for each in (x, x.contiguous()):
        torch.testing.assert_close(energies(each, (2, 2)), expected, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("side", [14, 15])
def test_the_edges_are_the_cut_one_coefficient_away(side: int) -> None:
    from aliascope.energy import cosines, outer, within

    x = torch.randn(1, 1, side, side, dtype=torch.float64)
    c = cosines(side)
    squares = (c @ x[0, 0] @ c.T).square()
    squares[0, 0] = 0
    for column, shift in ((1, 0), (2, 1), (3, -1)):
        beyond = ((1 - outer([within(side, 2, shift)] * 2)) * squares).sum()
        torch.testing.assert_close(energies(x, (2, 2))[0, 0, column], beyond)


def test_what_is_low_passed_has_none_and_a_constant_is_not_defined() -> None:
    for layout in ("first", "last"):
        low = laid_out(al.low_pass(torch.randn(4, 8, 56, 57) + 10, (2, 2)), layout)
        sums = energies(low, (2, 2))
        assert float((sums[..., 1] / sums[..., 0]).max()) < 1e-6
        for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
            constant = laid_out(torch.full((1, 2, 28, 28), 3.3).to(dtype), layout)
            assert (energies(constant, (2, 2)) == 0).all()


def test_white_noise_has_what_white_noise_has() -> None:
    with al.Scope(nn.MaxPool2d(1, 2), measures=["energy"]) as scope:
        scope.model(torch.randn(8, 32, 28, 28))
    row = scope.measurement().energy(by="site").iloc[0]
    assert row["white"] == pytest.approx(white_energy((28, 28), (2, 2)))
    assert row["aliased_energy_low"] - 0.01 < row["white"] < row["aliased_energy_high"] + 0.01


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("detail", ["site", "channel", "pixel"])
def test_a_run_has_the_energies_of_its_dense_signals(
    layout: torch.memory_format, in_parts: bool, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_parts:
        monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    dense: dict[str, list[Tensor]] = {}
    model = Net().eval().to(memory_format=layout)
    keep = On(lambda site, x: dense.setdefault(site.path, []).append(x.clone()))
    with torch.no_grad(), al.Scope(model, detail=detail, handlers=[keep]) as scope:
        for _ in range(2):
            model(torch.rand(3, 3, 36, 40).contiguous(memory_format=layout))
    m = scope.measurement()
    for row, (name, each) in enumerate(dense.items()):
        signal = torch.cat(each)
        rate = (3, 3) if name == "(root)" else (2, 2)
        share = al.aliased_energy(signal, rate)
        found = m.values.loc[m.values["site"] == row, "aliased_energy"].to_numpy()
        np.testing.assert_allclose(found, share.nanmean(dim=1).numpy(), atol=3e-6)
        varying = signal.double() - signal.double().mean(dim=(2, 3), keepdim=True)
        weight = varying.square().sum(dim=(2, 3))
        weight = weight.masked_fill(share.isnan(), 0)
        of_channel = (share.nan_to_num().double() * weight).sum(0) / weight.sum(0)
        by_channel = m.energy(by="channel").loc[name, "aliased_energy"].to_numpy()
        np.testing.assert_allclose(by_channel, of_channel.numpy(), atol=1e-5)
        of_site = m.energy(by="site").loc[name]
        assert of_site["aliased_energy"] == pytest.approx(float(of_channel.nanmean()), abs=1e-5)
        assert of_site["edge_low"] <= of_site["aliased_energy"] <= of_site["edge_high"]


def test_windows_of_a_sample_are_weighed_together() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x.view(-1, 3, 12, 12), 1, 2)

    x = torch.randn(2, 4, 3, 12, 12) * torch.tensor([1.0, 5, 0.1, 2]).view(1, 4, 1, 1, 1)
    m = al.measure(Windows(), [x], measures=["energy"])
    sums = energies(x.view(8, 3, 12, 12), (2, 2)).view(2, 4, 3, 4).sum(dim=1)
    expected = (sums[..., 1] / sums[..., 0]).mean(dim=1)
    np.testing.assert_allclose(m.values["aliased_energy"], expected.numpy(), rtol=1e-6)


# -- floor and thresholds --------------------------------------------------------------------------


@pytest.mark.parametrize("in_parts", [False, True])
def test_the_floor_is_the_categories_of_the_low_part(
    in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_parts:
        monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    dense: list[Tensor] = []
    model = nn.Conv2d(3, 4, 3, stride=2)
    keep = On(lambda site, x: dense.append(x.clone()))
    with torch.no_grad(), al.Scope(model, handlers=[keep], floor_samples=4) as scope:
        for _ in range(2):
            model(torch.rand(3, 3, 20, 24))
    m = scope.measurement()
    low = al.low_pass(torch.cat(dense), (2, 2))
    counts = count_categories(low, (2, 2), Criterion(fold_scale="auto")).sum(dim=1)
    columns = [f"floor_{column}" for column in COLUMNS]
    found = m.values[columns].to_numpy()
    np.testing.assert_array_equal(found[:4], counts[:4].numpy())
    assert np.isnan(found[4:]).all()
    fractions = m.floor(by="site").loc["(root)"]
    assert fractions["n"] == 4
    np.testing.assert_allclose(
        fractions[COLUMNS].astype(float), (counts[:4] / counts.sum(1)[:4, None]).mean(0)
    )


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "auto"])
@pytest.mark.parametrize("reference", ["max", "mean"])
@pytest.mark.parametrize(("size", "rate"), [((14, 13), (2, 2)), ((12, 16), (3, 4)), ((21,), (2,))])
def test_every_threshold_is_counted_as_by_itself(
    engine: str, reference: str, size: tuple[int, ...], rate: tuple[int, ...]
) -> None:
    x = torch.randn(2, 3, *size).cumsum(-1)
    criterion = Criterion(reference=reference, grid="native", fold_scale="auto")
    counts = count_categories(x, rate, criterion, levels=LEVELS, engine=engine)
    assert counts.shape == (2, 3, len(LEVELS), 4)
    for k, level in enumerate(LEVELS):
        category = al.classify(
            x, rate, threshold_db=level, reference=reference, grid="native", fold_scale="auto"
        ).flatten(2)
        expected = torch.stack([(category == c).sum(dim=2) for c in Category], dim=2)
        assert torch.equal(counts[:, :, k], expected)


def test_thresholds_of_a_run_agree_with_its_own_threshold() -> None:
    m = al.measure(Net().eval(), [torch.rand(3, 3, 36, 40)], threshold_db=25.0)
    at = m.thresholds(by="site").xs(25, level="threshold_db")
    np.testing.assert_allclose(at[COLUMNS], m.fractions(by="site")[COLUMNS], rtol=1e-12)


def test_no_floor_samples_leave_both_out() -> None:
    m = al.measure(Net().eval(), [torch.rand(3, 3, 36, 40)], floor_samples=0)
    assert not [column for column in m.values if "floor" in column or "db" in column]
    with pytest.raises(al.AliascopeError, match="floor"):
        m.floor()
    with pytest.raises(al.AliascopeError, match="hreshold"):
        m.thresholds()


# -- the scale of folds ----------------------------------------------------------------------------


def test_auto_is_unit_at_two_by_two_and_as_far_below_a_contribution_elsewhere() -> None:
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(al.classify(x, (2, 2), fold_scale="auto"), al.classify(x, (2, 2)))
    levels = {scale: Criterion(fold_scale=scale) for scale in FOLD_SCALES}
    for rate in ((2, 2), (4, 4), (16, 16), (2,), (3, 1)):
        below = levels["contribution"].ratio_for(rate) / levels["auto"].ratio_for(rate)
        assert below == pytest.approx(16)
    assert [Criterion().grid_for(rate) for rate in ((2, 2), (2, 3), (4, 4))] == [
        *("seed", "native", "native")
    ]


def test_a_smooth_patch_embedding_is_not_tangled_by_construction() -> None:
    n = torch.arange(224.0)
    bump = torch.exp(-((n - 111.5) ** 2) / (2 * 40**2)) * (1 + 0.3 * torch.cos(0.15 * n))
    x = bump * bump[:, None] + 0.003 * torch.randn(8, 224, 224)
    unit, auto = (
        al.classify(x, (16, 16), grid="native", fold_scale=scale) for scale in ("unit", "auto")
    )
    tangled = [float((each == Category.TANGLED).float().mean()) for each in (unit, auto)]
    assert tangled[0] > 0.3 and tangled[1] < 0.1


# -- which measures --------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [*[[name] for name in MEASURES], list(DEFAULT)])
def test_measures_are_made_by_name(names: list[str]) -> None:
    m = al.measure(nn.AvgPool2d(2), [torch.rand(2, 3, 12, 12)], measures=names)
    assert len(m.values) == 2 and len(m.samples) == 2
    repr(m)


@pytest.mark.parametrize(
    ("measures", "words"),
    [
        (["entropy"], "no measure 'entropy'"),
        ([], "it must name one or more"),
        ("energy", "name one"),
    ],
)
def test_measures_that_are_none_are_refused(measures: Any, words: str) -> None:
    with pytest.raises(al.AliascopeError, match=words):
        al.Scope(nn.AvgPool2d(2), measures=measures)


def test_not_finite_is_said_by_energy_too() -> None:
    x = torch.rand(2, 3, 12, 12)
    x[1, 2, 3, 3] = torch.inf
    refused = pytest.raises(al.AliascopeError, match=r"NaN or infinite .*sample 1, channel 2")
    with refused:
        al.measure(nn.AvgPool2d(2), [x], measures=["energy"])


def test_what_is_kept_between_signals_suits_whoever_comes_next() -> None:
    from aliascope.energy import cosines
    from aliascope.measures.energy import _basis

    x = torch.randn(1, 2, 19, 19, dtype=torch.float64, requires_grad=True)
    for cache in (cosines, _basis):
        cache.cache_clear()
    with torch.inference_mode(), torch.device("meta"):
        energies(x.detach(), (2, 2))
    al.aliased_energy(x, (2, 2)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    share = energies(x, (2, 2))[..., 1] / energies(x, (2, 2))[..., 0]
    torch.testing.assert_close(share, al.aliased_energy(x, (2, 2)))


@pytest.mark.parametrize("layout", ["first", "last"])
def test_what_varies_is_summed_around_the_mean(layout: str) -> None:
    x = torch.randn(2, 21, 9, 14) * 3 + 40
    expected = x.double().var(dim=(2, 3), correction=0) * 9 * 14
    torch.testing.assert_close(varying(laid_out(x, layout), (2, 2)), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("layout", ["first", "last"])
def test_weighing_and_counting_never_wait_for_a_device(layout: str) -> None:
    # On meta, whatever asks for a value raises, as whatever does on a GPU waits.
    x = laid_out(torch.empty(2, 3, 16, 12, device="meta"), layout)
    assert energies(x, (2, 3)).shape == (2, 3, 4)
    for levels in (None, (10.0, 20.0)):
        count_categories(x, (2, 2), Criterion(), levels=levels)


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("mean", [0.0, 30.0, 1e4])
def test_weighing_as_on_a_gpu_gives_the_same(layout: str, mean: float) -> None:
    x = laid_out(torch.randn(2, 5, 16, 13) + mean, layout)
    x[0, 1] = 2.5  # a constant, of which nothing is defined
    bases = [_basis(n, 2, x.device, x.dtype) for n in x.shape[2:]]
    last = layout == "last"
    found = _weighed_apart(x.movedim(1, -1) if last else x, bases, least_varying(x.dtype), last)
    expected = energies(x.double(), (2, 2))
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-6 * float(expected.max()))
    assert (found[0, 1] == 0).all()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_rounded_products_of_a_program_do_not_reach_what_is_measured(precision: str) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2)), torch.randn(2, 3, 40, 40)
    dense = torch.randn(2, 8, 38, 38)

    def found() -> list[Tensor]:
        with torch.no_grad():
            measured = al.measure(model, [x], measures=["energy"])
            values = torch.from_numpy(measured.values["aliased_energy"].to_numpy())
            ideal = filtered(dense, (2, 2), "ideal")
            return [values, al.aliased_energy(dense, (2, 2)), al.low_pass(dense, (2, 2)), ideal]

    exact = found()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        again = found()
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    for one, other in zip(exact, again, strict=True):
        assert torch.equal(one, other)


def test_what_a_program_sets_for_all_products_reaches_them_after_measuring_too() -> None:
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        pytest.skip("torch before 2.9 has one precision")
    before = backends.fp32_precision
    kept = backends.cuda.matmul.fp32_precision
    try:
        backends.cuda.matmul.fp32_precision = "none"
        backends.fp32_precision = "tf32"
        with unrounded("cpu"):
            assert backends.cuda.matmul.fp32_precision == "ieee"
        assert backends.cuda.matmul.fp32_precision == "tf32"
        backends.fp32_precision = "ieee"
        assert backends.cuda.matmul.fp32_precision == "ieee"
    finally:
        backends.fp32_precision = before
        backends.cuda.matmul.fp32_precision = kept
