from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import aliascope as al
from aliascope.energy import cosines, least_varying, outer, white_energy, within
from tests_shared import signals

SHAPES = [
    ((7,), (2,)),
    ((12,), (3,)),
    ((65,), (16,)),
    ((8, 8), (2, 2)),
    ((13, 10), (3, 4)),
    ((9, 14), (1, 2)),
    ((28, 35), (16, 5)),
    ((5, 6, 7), (2, 2, 3)),
    ((6, 4, 9), (2, 1, 4)),
]


def basis_vector(size, coefficient):
    """One DCT coefficient as a signal, from the cosine itself."""
    signal = torch.ones((), dtype=torch.float64)
    for n, k in zip(size, coefficient, strict=True):
        place = torch.arange(n, dtype=torch.float64) + 0.5
        signal = signal[..., None] * torch.cos(math.pi * k * place / n)
    return signal


# -- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "rate"),
    [((7,), (2,)), ((12,), (3,)), ((6, 8), (2, 4)), ((5, 6), (2, 1)), ((4, 5, 6), (2, 2, 3))],
)
def test_a_coefficient_is_within_where_k_times_r_is_below_n_and_counts_half_on_the_cut(size, rate):
    for coefficient in itertools.product(*map(range, size)):
        if not any(coefficient):
            continue
        inside = 1.0
        for k, n, r in zip(coefficient, size, rate, strict=True):
            if r > 1 and k * r == n:
                inside *= 0.5
            elif k * r > n and r > 1:
                inside = 0.0
        signal = basis_vector(size, coefficient)
        assert float(al.aliased_energy(signal, rate)) == pytest.approx(1 - inside, abs=1e-12)
        low = al.low_pass(signal, rate)
        kept = all(k * r < n or r == 1 for k, n, r in zip(coefficient, size, rate, strict=True))
        assert torch.allclose(low, signal if kept else torch.zeros_like(signal), atol=1e-12)


def test_energies_of_cosines_add_up_to_the_share_that_arithmetic_says():
    slow, fast, cut = (basis_vector((16,), (k,)) for k in (3, 11, 8))
    for a, b, c in [(1, 1, 0), (2, 1, 0), (1, 0, 1), (3, 1, 2)]:
        expected = (b**2 + c**2 / 2) / (a**2 + b**2 + c**2)
        assert float(al.aliased_energy(a * slow + b * fast + c * cut, (2,))) == pytest.approx(
            expected
        )


@pytest.mark.parametrize(("n", "rate"), [(16, 2), (15, 2), (24, 3), (32, 4), (64, 16)])
def test_white_noise_has_the_white_baseline(n, rate):
    inside = sum(1.0 if k * rate < n else 0.5 if k * rate == n else 0.0 for k in range(n))
    expected = 1 - (inside**2 - 1) / (n**2 - 1)
    noise = torch.randn(400, n, n, generator=torch.Generator().manual_seed(n))
    energy = al.aliased_energy(noise, (rate, rate))
    error = float(energy.std()) / math.sqrt(len(energy))
    assert abs(float(energy.mean()) - expected) < 4 * error
    assert white_energy((n, n), (rate, rate)) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 7, 12, 33])
def test_the_transform_keeps_energy(n):
    c = cosines(n)
    assert torch.allclose(c @ c.T, torch.eye(n, dtype=torch.float64), atol=1e-12)
    signal = torch.randn(n, dtype=torch.float64)
    assert float((c @ signal).square().sum()) == pytest.approx(float(signal.square().sum()))


@pytest.mark.parametrize(("size", "rate"), SHAPES)
def test_low_and_high_part_share_the_energy_without_a_rest(size, rate):
    signal = torch.randn(3, *size, dtype=torch.float64)
    low = al.low_pass(signal, rate)
    axes = tuple(range(1, signal.ndim))
    parts = low.square().sum(axes) + (signal - low).square().sum(axes)
    assert torch.allclose(parts, signal.square().sum(axes))


@pytest.mark.parametrize(("size", "rate"), SHAPES)
def test_scipys_cosine_transform_gives_the_same_share(size, rate):
    signal = torch.randn(4, *size, dtype=torch.float64) + 3
    axes = tuple(range(1, signal.ndim))
    power = scipy.fft.dctn(signal.numpy(), axes=axes, norm="ortho") ** 2
    power[(slice(None), *[0] * len(size))] = 0
    inside = np.ones(())
    for n, r in zip(size, rate, strict=True):
        k = np.arange(n) * r
        along = np.where(k < n, 1.0, np.where(k == n, 0.5, 0.0)) if r > 1 else np.ones(n)
        inside = inside[..., None] * along
    expected = 1 - (power * inside).sum(axes) / power.sum(axes)
    assert np.allclose(al.aliased_energy(signal, rate).numpy(), expected, atol=1e-12)


def test_a_shift_moves_the_cut_by_one_coefficient():
    assert within(8, 2).tolist() == [1, 1, 1, 1, 0.5, 0, 0, 0]
    assert within(8, 2, shift=-1).tolist() == [1, 1, 1, 0.5, 0, 0, 0, 0]
    assert within(8, 2, shift=1).tolist() == [1, 1, 1, 1, 1, 0.5, 0, 0]
    assert within(7, 2, shift=1).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert within(5, 1, shift=-1).tolist() == [1] * 5


def test_weights_of_axes_multiply_out():
    weights = [torch.rand(2), torch.rand(3), torch.rand(4)]
    assert torch.equal(outer(weights), torch.einsum("i,j,k->ijk", *weights))


# -- the low part --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "rate"), SHAPES)
def test_what_is_band_limited_stays_as_it_is_and_has_nothing_beyond(size, rate, dtype):
    signal = torch.randn(5, *size, dtype=dtype) + 2
    low = al.low_pass(signal, rate)
    assert low.dtype == dtype and low.shape == signal.shape
    assert torch.allclose(
        al.low_pass(low, rate), low, atol=1e-6 if dtype is torch.float32 else 1e-13
    )
    energy = al.aliased_energy(low, rate)
    assert float(energy.max()) < 1e-6


def test_a_large_map_of_large_mean_has_nothing_beyond_in_float32():
    low = al.low_pass(torch.randn(2, 3, 224, 224) + 10, (2, 2))
    assert float(al.aliased_energy(low, (2, 2)).max()) < 1e-6


def test_a_constant_is_its_own_low_part():
    ones = torch.full((9, 14), 0.3, dtype=torch.float64)
    assert torch.allclose(al.low_pass(ones, (3, 16)), ones, atol=1e-12)


# -- where it is not defined ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 1e-3, 777.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_constant_has_no_share(dtype, value):
    constant = torch.full((2, 15, 14), value, dtype=dtype)
    assert al.aliased_energy(constant, (2, 2)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_what_varies_by_rounding_alone_has_no_share(dtype):
    noise = torch.rand(20, 14, 14, dtype=torch.float64) - 0.5
    rounded = (0.7 + torch.finfo(dtype).eps * noise).to(dtype)
    assert al.aliased_energy(rounded, (2, 2)).isnan().all()
    varying = (0.7 + 30 * torch.finfo(dtype).eps * noise).to(dtype)
    assert not al.aliased_energy(varying, (2, 2)).isnan().any()


def test_one_map_without_a_share_leaves_the_others_theirs():
    maps = torch.stack([torch.ones(8, 8), torch.randn(8, 8)])
    assert al.aliased_energy(maps, (2, 2)).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("size", "rate", "defined"),
    [
        ((2,), (2,), False),
        ((3,), (2,), True),
        ((4, 9), (4, 2), False),
        ((5, 9), (4, 2), True),
        ((1, 9), (1, 2), True),
        ((3, 9), (16, 2), False),
    ],
)
def test_an_axis_of_which_one_sample_is_kept_says_nothing(size, rate, defined):
    energy = al.aliased_energy(torch.randn(size), rate)
    assert bool(energy.isnan()) != defined


def test_less_than_the_rounding_of_the_dtype_is_nothing():
    assert least_varying(torch.bfloat16) == 8 * (2.0**-7) ** 2
    assert least_varying(torch.uint8) == least_varying(torch.float32)


# -- what it does not depend on ------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals(), st.floats(0.01, 100), st.floats(-10, 10))
def test_neither_scale_nor_offset_matters(case, scale, offset):
    signal, rate, _ = case
    energy = al.aliased_energy(signal, rate)
    other = al.aliased_energy(-scale * signal + offset, rate)
    assert torch.allclose(energy, other, atol=1e-9, equal_nan=True)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(signals(largest_rate=16))
def test_a_share_is_between_nothing_and_all(case):
    signal, rate, _ = case
    energy = al.aliased_energy(signal, rate)
    assert energy.shape == signal.shape[:1]
    assert ((energy >= 0) & (energy <= 1) | energy.isnan()).all()
    if not any(n == 1 for n in signal.shape[1:]):
        lonely = any(r > 1 and n <= r for n, r in zip(signal.shape[1:], rate, strict=True))
        assert bool(energy.isnan().all()) == lonely


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals(), st.randoms(use_true_random=False))
def test_axes_may_change_places_with_their_rates(case, random):
    signal, rate, _ = case
    order = list(range(len(rate)))
    random.shuffle(order)
    moved = signal.permute(0, *(1 + axis for axis in order))
    rates = [rate[axis] for axis in order]
    assert torch.allclose(
        al.aliased_energy(signal, rate), al.aliased_energy(moved, rates), atol=1e-9, equal_nan=True
    )
    low = al.low_pass(signal, rate).permute(0, *(1 + axis for axis in order))
    assert torch.allclose(low, al.low_pass(moved, rates))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals())
def test_turning_an_axis_round_changes_nothing(case):
    signal, rate, _ = case
    assert torch.allclose(
        al.aliased_energy(signal, rate),
        al.aliased_energy(signal.flip(-1), rate),
        atol=1e-9,
        equal_nan=True,
    )


def test_an_axis_of_rate_1_aliases_nothing():
    fast = torch.tensor([1.0, -1.0]).repeat(8)
    assert float(al.aliased_energy(fast.expand(9, 16), (2, 1))) == pytest.approx(0, abs=1e-6)
    assert float(al.aliased_energy(fast.expand(9, 16), (1, 2))) > 0.9
    noise = torch.randn(3, 8, 9)
    assert float(al.aliased_energy(noise, (1, 1)).abs().max()) < 1e-6
    assert torch.equal(al.low_pass(noise, (1, 1)), noise)


def test_memory_format_does_not_matter():
    maps = torch.randn(2, 6, 14, 13)
    last = maps.to(memory_format=torch.channels_last)
    assert torch.allclose(al.aliased_energy(maps, (2, 2)), al.aliased_energy(last, (2, 2)))
    assert torch.allclose(al.low_pass(maps, (2, 2)), al.low_pass(last, (2, 2)), atol=1e-6)


# -- types, gradients, refusals ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.int64])
def test_what_is_narrower_than_float32_is_converted(dtype):
    maps = (20 * torch.rand(3, 12, 12)).to(dtype)
    for function in (al.aliased_energy, al.low_pass):
        found = function(maps, (2, 3))
        assert found.dtype == torch.float32
        assert torch.equal(found, function(maps.float(), (2, 3)))


def test_autocast_does_not_round_the_products():
    maps = torch.randn(2, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        low, energy = al.low_pass(maps, (2, 2)), al.aliased_energy(maps, (2, 2))
    assert torch.equal(low, al.low_pass(maps, (2, 2)))
    assert torch.equal(energy, al.aliased_energy(maps, (2, 2)))


@pytest.mark.parametrize(("size", "rate"), [((9,), (2,)), ((6, 7), (2, 3)), ((4, 4, 3), (2, 2, 1))])
def test_gradients_are_those_of_finite_differences(size, rate):
    signal = torch.randn(2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: al.aliased_energy(x, rate), signal)
    assert torch.autograd.gradcheck(lambda x: al.low_pass(x, rate), signal)


def test_descending_removes_what_aliases():
    signal = torch.randn(16, 16, requires_grad=True)
    for _ in range(100):
        (gradient,) = torch.autograd.grad(al.aliased_energy(signal, (2, 2)), signal)
        signal = (signal - 50 * gradient).detach().requires_grad_()
    assert float(al.aliased_energy(signal, (2, 2)).detach()) < 0.05


@pytest.mark.parametrize("function", [al.low_pass, al.aliased_energy])
@pytest.mark.parametrize(
    ("signal", "rate", "words"),
    [
        (torch.ones(4, 4, dtype=torch.complex64), (2, 2), "complex"),
        (torch.ones(4, 4), (0, 2), "1 or more"),
        (torch.ones(4, 4), (1.5, 2), "whole number"),
        (torch.ones(4, 4), (), "1, 2 or 3"),
        (torch.ones(2, 2, 2, 2), (2, 2, 2, 2), "1, 2 or 3"),
        (torch.ones(4), (2, 2), "too few axes"),
        (torch.ones(4, 0), (2, 2), "no samples"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(function, signal, rate, words):
    with pytest.raises(al.AliascopeError, match=words) as refused:
        function(signal, rate)
    assert "\n" not in str(refused.value)
