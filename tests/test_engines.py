from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import aliascope as al
from aliascope.engines import NOT_FINITE, count_categories, half_spectrum
from aliascope.spectrum import Criterion, folds
from tests_shared import GOLDEN, GOLDEN_NAMES, signals

CRITERIA = st.builds(
    Criterion,
    threshold_db=st.floats(1, 40),
    reference=st.sampled_from(["max", "mean"]),
    grid=st.sampled_from(["seed", "native"]),
    fold_scale=st.sampled_from(["unit", "contribution"]),
)


def counted(signal, rate, criterion):
    """Count what the definition says."""
    category = al.classify(
        signal,
        rate,
        threshold_db=criterion.threshold_db,
        reference=criterion.reference,
        grid=criterion.grid_for(rate),
        fold_scale=criterion.fold_scale,
    )
    flat = category.flatten(2)
    return torch.stack([(flat == c).sum(dim=2) for c in range(4)], dim=2)


def borderline(signal, rate, criterion):
    """Count folds closer than 1e-4 (log10 power) to the threshold, per sample and channel."""
    axes = len(rate)
    parts = folds(signal.double(), rate, grid=criterion.grid_for(rate))
    mean = parts.mean(dim=tuple(range(2, 2 + axes))).abs().square().flatten(2)
    level = mean.amax(2) if criterion.reference == "max" else mean.mean(2)
    scale = np.prod(rate) ** 2 if criterion.fold_scale == "contribution" else 1
    power = parts.abs().square().flatten(2) / (level * criterion.power_ratio * scale)[..., None]
    return (power.log10().abs() < 1e-4).sum(dim=2)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(signals(), CRITERIA)
def test_counts_are_those_of_the_definition(case, criterion):
    signal, rate, _ = case
    signal = signal[:, None]
    difference = (
        count_categories(signal, rate, criterion) - counted(signal, rate, criterion)
    ).abs()
    assert bool((difference.sum(dim=2) <= 2 * borderline(signal, rate, criterion)).all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals(), CRITERIA)
def test_float32_counts_agree_on_every_bin_away_from_the_threshold(case, criterion):
    signal, rate, _ = case
    signal = signal[:, None].float()
    difference = (
        count_categories(signal, rate, criterion) - counted(signal.double(), rate, criterion)
    ).abs()
    assert bool((difference.sum(dim=2) <= 2 * borderline(signal, rate, criterion)).all())


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_golden_cases_are_counted_without_a_wrong_bin(name):
    criterion = Criterion(
        float(GOLDEN[f"{name}/threshold_db"]), str(GOLDEN[f"{name}/reference"]), "seed"
    )
    counts = count_categories(torch.from_numpy(GOLDEN[f"{name}/signal"]), (2, 2), criterion)
    category = GOLDEN[f"{name}/category"]
    expected = np.stack([(category == c).sum(axis=(2, 3)) for c in range(4)], axis=2)
    assert (counts.numpy() == expected).all()


@pytest.mark.parametrize("rate", [(16, 16), (20, 13), (7, 1)])
def test_more_than_255_folds_are_counted_right(rate):
    signal = torch.randn(2, 3, 45, 40, dtype=torch.float64)
    for criterion in (Criterion(grid="native", threshold_db=3), Criterion(threshold_db=30)):
        assert torch.equal(
            count_categories(signal, rate, criterion), counted(signal, rate, criterion)
        )


def test_a_delta_under_256_folds_is_tangled_and_not_forgotten():
    delta = torch.zeros(1, 1, 32, 32)
    delta[..., 0, 0] = 1
    assert count_categories(delta, (16, 16), Criterion(grid="native")).tolist() == [[[0, 0, 0, 4]]]


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    signal = torch.randn(3, 5, 20, 18)
    whole = count_categories(signal, (2, 3), Criterion())
    monkeypatch.setitem(half_spectrum.BLOCK_BYTES, "cpu", 1)
    assert torch.equal(whole, count_categories(signal, (2, 3), Criterion()))


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "bfloat16"])
def test_any_memory_layout_counts_alike(layout, monkeypatch):
    monkeypatch.setattr(half_spectrum, "CHUNK_BYTES", 5000)
    signal = torch.randn(4, 6, 17, 16).to(torch.bfloat16).float()
    expected = count_categories(signal, (2, 2), Criterion())
    if layout == "channels_last":
        signal = signal.to(memory_format=torch.channels_last)
    elif layout == "sliced":
        signal = torch.nn.functional.pad(signal, (1, 1, 1, 1))[:, :, 1:-1, 1:-1]
    else:
        signal = signal.to(torch.bfloat16)
    assert torch.equal(count_categories(signal, (2, 2), Criterion()), expected)


def test_a_signal_that_is_not_finite_is_marked_and_its_neighbours_are_counted():
    signal = torch.randn(1, 3, 8, 8)
    expected = count_categories(signal, (2, 2), Criterion())
    signal[0, 1, 7, 7] = float("nan")  # a sample that decimation drops
    counts = count_categories(signal, (2, 2), Criterion())
    assert (counts[0, 1] == NOT_FINITE).all()
    assert torch.equal(counts[0, [0, 2]], expected[0, [0, 2]])


def test_silence_and_extreme_scales_are_counted_like_any_signal():
    signal = torch.randn(1, 1, 16, 16)
    expected = count_categories(signal, (2, 2), Criterion())
    for factor in (2.0**-120, 2.0**100):
        assert torch.equal(count_categories(signal * factor, (2, 2), Criterion()), expected)
    assert count_categories(signal * 0, (2, 2), Criterion())[0, 0].tolist() == [256, 0, 0, 0]
