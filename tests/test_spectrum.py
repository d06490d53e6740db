from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import aliascope as al
from aliascope.categories import Category
from aliascope.spectrum import Criterion, bin_counts, folds, home_folds
from tests_shared import GOLDEN, GOLDEN_NAMES, signals


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_original_codes_categories_are_reproduced_bin_for_bin(name, dtype):
    category = al.classify(
        torch.from_numpy(GOLDEN[f"{name}/signal"]).to(dtype),
        (2, 2),
        threshold_db=float(GOLDEN[f"{name}/threshold_db"]),
        reference=str(GOLDEN[f"{name}/reference"]),
        grid="seed",
    )
    assert (category.numpy() != GOLDEN[f"{name}/category"]).sum() == 0


def test_there_are_five_golden_cases():
    assert len(GOLDEN_NAMES) == 5


# -- tones ---------------------------------------------------------------------------------------


def category_of_tones(tone, size, rate):
    """Work out, without any transform, where a product of cosines lands and what it becomes."""
    bins = [n // r for n, r in zip(size, rate, strict=True)]
    landing = defaultdict(set)
    for signs in itertools.product((1, -1), repeat=len(tone)):
        k = [(s * f) % n for s, f, n in zip(signs, tone, size, strict=True)]
        fold = tuple(f // m for f, m in zip(k, bins, strict=True))
        landing[tuple(f % m for f, m in zip(k, bins, strict=True))].add(fold)
    expected = np.full(bins, Category.NO_PASS, dtype=np.uint8)
    for position, arriving in landing.items():
        home = tuple(
            0 if 2 * m < n else r - 1 for m, n, r in zip(position, bins, rate, strict=True)
        )
        if len(arriving) > 1:
            expected[position] = Category.TANGLED
        else:
            expected[position] = Category.NON_ALIASED if home in arriving else Category.ALIASED
    return expected


def tones(tone, size):
    signal = torch.ones((), dtype=torch.float64)
    for frequency, n in zip(tone, size, strict=True):
        wave = torch.cos(2 * math.pi * frequency * torch.arange(n, dtype=torch.float64) / n)
        signal = signal[..., None] * wave
    return signal


@st.composite
def tone_cases(draw):
    axes = draw(st.integers(1, 3))
    largest = {1: 16, 2: 5, 3: 3}[axes]
    rate = tuple(draw(st.integers(1, largest)) for _ in range(axes))
    bins = tuple(draw(st.integers(1, {1: 12, 2: 9, 3: 5}[axes])) for _ in range(axes))
    size = tuple(r * m for r, m in zip(rate, bins, strict=True))
    tone = tuple(draw(st.integers(0, n // 2)) for n in size)
    return tone, size, rate


@settings(max_examples=300, deadline=None, derandomize=True)
@given(tone_cases())
def test_a_tone_lands_where_arithmetic_says_and_is_what_it_says(case):
    tone, size, rate = case
    category = al.classify(tones(tone, size), rate, grid="native")
    assert (category.numpy() == category_of_tones(tone, size, rate)).all()


@pytest.mark.parametrize("rate", [2, 3, 4, 16])
def test_every_tone_below_the_new_nyquist_rate_is_non_aliased_and_none_above_is(rate):
    bins = 20
    n = rate * bins
    for k in range(1, n // 2):
        seen = set(al.classify(tones((k,), (n,)), (rate,), grid="native").tolist())
        below = 2 * k < bins
        assert (Category.NON_ALIASED in seen) == below, k
        assert bool(seen & {Category.ALIASED, Category.TANGLED}) == (not below), k


def test_a_tone_at_the_new_nyquist_rate_meets_its_own_negative_and_tangles():
    category = al.classify(tones((4,), (16,)), (2,), grid="native")
    assert category.tolist() == [0, 0, 0, 0, 3, 0, 0, 0]


def test_a_constant_is_a_tone_of_frequency_zero():
    category = al.classify(torch.full((12, 9), 0.3), (2, 3), grid="native")
    expected = np.zeros((6, 3))
    expected[0, 0] = Category.NON_ALIASED
    assert (category.numpy() == expected).all()


def test_two_tones_that_fold_onto_each_other_tangle():
    signal = tones((2,), (16,)) + tones((6,), (16,))  # 6 folds onto 8 - 6 = 2
    assert set(al.classify(signal, (2,), grid="native").tolist()) == {0, 3}


@pytest.mark.parametrize("reference", ["max", "mean"])
def test_the_threshold_lies_exactly_as_far_below_the_decimated_level_as_stated(reference):
    # Tones of amplitude 1 and w on one bin: folds 1 and w, decimated level ((1 + w) / 2)^2. Twenty
    # decibels below the largest: w passes when w > (1 + w) / 20, that is above 1 / 19. The mean
    # over 8 bins, of which 2 are filled, is a quarter of the largest.
    limit = 1 / 19 if reference == "max" else 1 / 39
    for w, expected in ((limit * 1.001, {0, 3}), (limit * 0.999, {0, 1})):
        signal = tones((2,), (16,)) + w * tones((6,), (16,))
        category = al.classify(signal, (2,), grid="native", reference=reference)
        assert set(category.tolist()) == expected


# -- deltas, bands, silence ----------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["seed", "native"])
@pytest.mark.parametrize(
    ("size", "rate"),
    [
        ((7,), (2,)),
        ((9, 14), (3, 2)),
        ((5, 6, 7), (2, 2, 2)),
        ((33, 8), (16, 1)),
        ((10, 10), (4, 4)),
    ],
)
def test_all_folds_of_a_delta_are_equal_so_every_bin_is_tangled(size, rate, grid):
    delta = torch.zeros(size)
    delta[(0,) * len(size)] = 3.0
    parts = folds(delta, rate, grid=grid)
    assert torch.allclose(parts.abs(), torch.full_like(parts.abs(), 3.0))
    assert (al.classify(delta, rate, grid=grid) == Category.TANGLED).all()


def test_a_band_limited_signal_survives_decimation():
    spectrum = torch.zeros(24, 36, dtype=torch.complex128)
    rows, columns = torch.fft.fftfreq(24), torch.fft.fftfreq(36)
    band = (rows[:, None].abs() < 1 / 4) & (columns.abs() < 1 / 6)
    spectrum[band] = torch.randn(int(band.sum()), dtype=torch.complex128)
    signal = torch.fft.ifft2(spectrum).real
    category = al.classify(signal, (2, 3), grid="native", threshold_db=60)
    assert set(category.unique().tolist()) <= {Category.NO_PASS, Category.NON_ALIASED}


def test_the_same_signal_shifted_above_the_new_nyquist_rate_is_all_aliased():
    n = torch.arange(64, dtype=torch.float64)
    low = sum(torch.cos(2 * math.pi * k * n / 64 + k) for k in (3, 5, 9))
    shifted = low * torch.cos(math.pi * n)  # moves frequency k to 32 - k
    assert set(al.classify(low, (2,), grid="native").tolist()) == {0, 1}
    assert set(al.classify(shifted, (2,), grid="native").tolist()) == {0, 2}


def test_a_silent_channel_has_no_pass_anywhere():
    signal = torch.randn(2, 8, 8)
    signal[0] = 0
    category = al.classify(signal, (2, 2))
    assert (category[0] == Category.NO_PASS).all()
    assert (category[1] != Category.NO_PASS).any()


def test_at_rate_one_nothing_aliases():
    category = al.classify(torch.randn(3, 9, 11), (1, 1))
    assert set(category.unique().tolist()) <= {Category.NO_PASS, Category.NON_ALIASED}


# -- identities ----------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, derandomize=True)
@given(signals())
def test_the_mean_of_the_folds_is_the_spectrum_of_the_decimated_signal(case):
    signal, rate, grid = case
    axes = len(rate)
    bins = bin_counts(signal.shape[1:], rate, grid)
    mean = folds(signal, rate, grid=grid).mean(dim=tuple(range(1, 1 + axes)))
    decimated = signal[(slice(None), *(slice(None, None, r) for r in rate))]
    expected = torch.fft.fftn(decimated, s=bins, dim=tuple(range(1, 1 + axes)))
    assert mean.shape[1:] == bins
    assert torch.allclose(mean, expected, atol=1e-9 * float(signal.abs().sum() + 1))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(signals(), st.sampled_from(["max", "mean"]), st.floats(0.5, 40))
def test_the_categories_partition_the_bins_and_follow_from_the_passing_folds(
    case, reference, threshold_db
):
    signal, rate, grid = case
    axes = len(rate)
    category = al.classify(
        signal, rate, grid=grid, reference=reference, threshold_db=threshold_db
    ).long()
    assert category.shape[1:] == bin_counts(signal.shape[1:], rate, grid)
    power = folds(signal, rate, grid=grid).abs().square()
    mean = folds(signal, rate, grid=grid).mean(dim=tuple(range(1, 1 + axes))).abs().square()
    level = mean.flatten(1).amax(1) if reference == "max" else mean.flatten(1).mean(1)
    threshold = (level * 10 ** (-threshold_db / 10)).view(2, *[1] * (2 * axes))
    n_passing = (power > threshold).sum(dim=tuple(range(1, 1 + axes)))
    clear = ((power / threshold).log10().abs() > 1e-6).all(dim=1)
    for _ in range(axes - 1):
        clear = clear.all(dim=1)
    agrees = (
        ((category == Category.NO_PASS) == (n_passing == 0))
        & ((category == Category.TANGLED) == (n_passing > 1))
        & (
            ((category == Category.ALIASED) | (category == Category.NON_ALIASED))
            == (n_passing == 1)
        )
    )
    assert bool(agrees[clear].all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals(), st.integers(-300, 300))
def test_a_signals_scale_changes_no_category(case, exponent):
    signal, rate, grid = case
    scaled = signal * 10.0 ** (exponent / 10)
    same = al.classify(signal, rate, grid=grid) == al.classify(scaled, rate, grid=grid)
    assert same.float().mean() > 0.999 or signal.numel() < 50


def test_powers_too_small_for_float32_do_not_vanish():
    signal = torch.randn(4, 16, 16)
    for factor in (2.0**-100, 2.0**100):
        assert torch.equal(al.classify(signal * factor, (2, 2)), al.classify(signal, (2, 2)))


@pytest.mark.parametrize("rate", [(2, 2), (3, 1), (4,)])
def test_dividing_folds_by_their_number_is_raising_the_threshold_by_that_much(rate):
    signal = torch.randn(3, *(24,) * len(rate), dtype=torch.float64)
    shift = 20 * math.log10(math.prod(rate))
    contribution = al.classify(signal, rate, threshold_db=30, fold_scale="contribution")
    assert torch.equal(contribution, al.classify(signal, rate, threshold_db=30 - shift))


def test_bin_half_of_an_even_number_is_at_home_in_the_last_fold_and_none_of_an_odd_one_is():
    even, odd = home_folds((6, 5), (3, 2))
    assert even.tolist() == [0, 0, 0, 2, 2, 2]
    assert odd.tolist() == [0, 0, 0, 1, 1]


def test_grid_auto_oversamples_up_to_rate_two_only():
    assert [Criterion().grid_for(rate) for rate in ((2, 2), (2, 3), (4, 4))] == [
        "seed",
        "native",
        "native",
    ]


def test_half_precision_is_transformed_in_float32():
    signal = torch.randn(2, 16, 16).to(torch.bfloat16)
    assert torch.equal(al.classify(signal, (2, 2)), al.classify(signal.float(), (2, 2)))


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold_db": 0}, "threshold_db is 0"),
        ({"threshold_db": -3}, "threshold_db is -3"),
        ({"threshold_db": float("nan")}, "threshold_db is nan"),
        ({"reference": "median"}, "reference is 'median'"),
        ({"grid": "fine"}, "grid is 'fine'"),
        ({"fold_scale": "none"}, "fold_scale is 'none'"),
        ({"rate": (0, 2)}, r"rate is \(0, 2\)"),
        ({"rate": (2, 2, 2, 2)}, "names 4 spatial axes"),
        ({"rate": ()}, "names 0 spatial axes"),
        ({"signal": torch.zeros(3)}, "too few axes"),
        ({"signal": torch.zeros(3, 0)}, "no samples"),
        ({"signal": torch.full((4, 4), math.nan)}, "NaN or infinite"),
        ({"signal": torch.full((4, 4), math.inf)}, "NaN or infinite"),
        ({"signal": torch.zeros(4, 4, dtype=torch.complex64)}, "complex"),
    ],
)
def test_bad_input_is_named_in_one_sentence(change, words):
    arguments = {"signal": torch.randn(4, 4), "rate": (2, 2), **change}
    with pytest.raises(al.AliascopeError, match=words) as caught:
        al.classify(arguments.pop("signal"), arguments.pop("rate"), **arguments)
    assert "\n" not in str(caught.value)
