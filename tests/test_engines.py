from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import aliascope as al
from aliascope.measures.engines import NOT_FINITE, count_categories, half_spectrum
from aliascope.spectrum import Criterion, folds
from tests_shared import GOLDEN, GOLDEN_NAMES, signals

ENGINES = ("torch", "numba")

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


def fitting(rate):
    """Engines that count signals of so many axes."""
    return ENGINES if len(rate) <= 2 else ("torch",)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(signals(), CRITERIA)
def test_counts_are_those_of_the_definition(case, criterion):
    signal, rate, _ = case
    signal = signal[:, None]
    expected, allowed = counted(signal, rate, criterion), borderline(signal, rate, criterion)
    for engine in fitting(rate):
        counts = count_categories(signal, rate, criterion, engine=engine)
        assert bool(((counts - expected).abs().sum(dim=2) <= 2 * allowed).all())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(signals(), CRITERIA)
def test_float32_counts_agree_on_every_bin_away_from_the_threshold(case, criterion):
    signal, rate, _ = case
    signal = signal[:, None].float()
    expected, allowed = (
        counted(signal.double(), rate, criterion),
        borderline(signal, rate, criterion),
    )
    for engine in fitting(rate):
        counts = count_categories(signal, rate, criterion, engine=engine)
        assert bool(((counts - expected).abs().sum(dim=2) <= 2 * allowed).all())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_golden_cases_are_counted_without_a_wrong_bin(name, engine):
    criterion = Criterion(
        float(GOLDEN[f"{name}/threshold_db"]), str(GOLDEN[f"{name}/reference"]), "seed"
    )
    signal = torch.from_numpy(GOLDEN[f"{name}/signal"])
    counts = count_categories(signal, (2, 2), criterion, engine=engine)
    category = GOLDEN[f"{name}/category"]
    expected = np.stack([(category == c).sum(axis=(2, 3)) for c in range(4)], axis=2)
    assert (counts.numpy() == expected).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rate", [(16, 16), (20, 13), (7, 1)])
def test_more_than_255_folds_are_counted_right(rate, engine):
    signal = torch.randn(2, 3, 45, 40, dtype=torch.float64)
    for criterion in (Criterion(grid="native", threshold_db=3), Criterion(threshold_db=30)):
        assert torch.equal(
            count_categories(signal, rate, criterion, engine=engine),
            counted(signal, rate, criterion),
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_delta_under_256_folds_is_tangled_and_not_forgotten(engine):
    delta = torch.zeros(1, 1, 32, 32)
    delta[..., 0, 0] = 1
    assert count_categories(delta, (16, 16), Criterion(grid="native"), engine=engine).tolist() == [
        [[0, 0, 0, 4]]
    ]


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    signal = torch.randn(3, 5, 20, 18)
    whole = count_categories(signal, (2, 3), Criterion(), engine="torch")
    monkeypatch.setitem(half_spectrum.BLOCK_BYTES, "cpu", 1)
    assert torch.equal(whole, count_categories(signal, (2, 3), Criterion(), engine="torch"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", ["channels_last", "sliced", "bfloat16"])
def test_any_memory_layout_counts_alike(layout, monkeypatch, engine):
    monkeypatch.setattr(half_spectrum, "CHUNK_BYTES", 5000)
    signal = torch.randn(4, 6, 17, 16).to(torch.bfloat16).float()
    expected = count_categories(signal, (2, 2), Criterion(), engine=engine)
    if layout == "channels_last":
        signal = signal.to(memory_format=torch.channels_last)
    elif layout == "sliced":
        signal = torch.nn.functional.pad(signal, (1, 1, 1, 1))[:, :, 1:-1, 1:-1]
    else:
        signal = signal.to(torch.bfloat16)
    assert torch.equal(count_categories(signal, (2, 2), Criterion(), engine=engine), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_that_is_not_finite_is_marked_and_its_neighbours_are_counted(engine):
    signal = torch.randn(1, 3, 8, 8)
    expected = count_categories(signal, (2, 2), Criterion(), engine=engine)
    signal[0, 1, 7, 7] = float("nan")  # a sample that decimation drops
    counts = count_categories(signal, (2, 2), Criterion(), engine=engine)
    assert (counts[0, 1] == NOT_FINITE).all()
    assert torch.equal(counts[0, [0, 2]], expected[0, [0, 2]])


@pytest.mark.parametrize("engine", ENGINES)
def test_silence_and_extreme_scales_are_counted_like_any_signal(engine):
    signal = torch.randn(1, 1, 16, 16)
    expected = count_categories(signal, (2, 2), Criterion(), engine=engine)
    for factor in (2.0**-120, 2.0**100):
        assert torch.equal(
            count_categories(signal * factor, (2, 2), Criterion(), engine=engine), expected
        )
    assert count_categories(signal * 0, (2, 2), Criterion(), engine=engine)[0, 0].tolist() == [
        256,
        0,
        0,
        0,
    ]


def test_a_workspace_too_small_for_more_works_signal_by_signal():
    signal = torch.randn(2, 3, 120, 130, dtype=torch.float64)
    expected = count_categories(signal, (2, 2), Criterion())
    for engine in ENGINES:
        counts = count_categories(signal, (2, 2), Criterion(), engine=engine, workspace=1 << 20)
        assert torch.equal(counts, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "fortran"}, "engine is 'fortran', but it must be one of auto, torch, numba"),
        ({"workspace": 1000}, "workspace is 1000 bytes"),
        ({"engine": "numba"}, "signals of one or two axes on a CPU, not of 3"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(options, words):
    with pytest.raises(al.AliascopeError, match=words):
        count_categories(torch.zeros(1, 1, 4, 4, 4), (2, 2, 2), Criterion(), **options)


def test_without_numba_torch_counts_and_says_so_once(monkeypatch):
    from aliascope.measures import engines

    signal = torch.randn(1, 2, 12, 12)
    expected = count_categories(signal, (2, 2), Criterion())
    monkeypatch.setattr(engines, "_lanes", lambda: None)
    engines._notice_once.cache_clear()
    with pytest.warns(UserWarning, match="numba cannot be imported"):
        assert torch.equal(count_categories(signal, (2, 2), Criterion()), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count_categories(signal, (2, 2), Criterion())
    with pytest.raises(al.AliascopeError, match="pip install numba"):
        count_categories(signal, (2, 2), Criterion(), engine="numba")
