"""Filters as matrices, and at work on signals: closed forms and identities."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch

import aliascope as al
from aliascope.commands.main import main
from aliascope.filters.attenuation import folded_share, pass_band_loss
from aliascope.filters.decimation import filtered
from aliascope.filters.kernels import kernel, response
from aliascope.filters.names import FilterName

torch.set_num_threads(1)

NAMES = list(al.filters())
SIZES = (1, 2, 3, 7, 13, 14, 27, 56)
RATES = (2, 3, 4, 16)
SPECTRAL = ("ideal", "ideal-circular", "hamming")
KERNELS = [name for name in NAMES if name not in SPECTRAL]


def boundaries(name):
    return ("mirror", "circular") if name in SPECTRAL else ("mirror", "circular", "zero")


CASES = [(name, boundary) for name in NAMES for boundary in boundaries(name)]


@pytest.mark.parametrize(("name", "boundary"), CASES)
def test_constant_maps_stay_constant_whatever_their_size(name, boundary):
    for size, rate in itertools.product(SIZES, RATES):
        rows = al.filter_matrix(name, size, rate, boundary).sum(dim=1)
        if boundary == "zero":  # what is beyond the ends takes its part
            assert rows.max() < 1.2
            continue
        assert (rows - 1).abs().max() < 1e-12


@pytest.mark.parametrize(("name", "boundary"), CASES)
def test_the_matrix_is_every_rateth_row_of_the_filter_without_decimation(name, boundary):
    for size, rate in itertools.product(SIZES, RATES):
        d = al.filter_matrix(name, size, rate, boundary)
        assert d.shape == (math.ceil(size / rate), size) and d.dtype == torch.float64
        assert torch.equal(d, al.filters.dense_matrix(name, size, rate, boundary)[::rate])


@pytest.mark.parametrize("name", NAMES)
def test_at_rate_one_nothing_is_filtered(name):
    assert torch.equal(al.filter_matrix(name, 9, 1), torch.eye(9, dtype=torch.float64))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", SIZES)
def test_ideal_is_the_low_part_decimated_to_the_bit(size, rate):
    x = torch.randn(3, size, dtype=torch.float64)
    n = -(-size // rate)
    p = al.filters.dense_matrix("ideal", size, rate)
    low = al.low_pass(x, (rate,))
    if size > 1:
        assert torch.equal(x @ p.T, low)
    assert al.filter_matrix("ideal", size, rate).shape == (n, size)
    # A map with nothing beyond comes out exactly.
    assert torch.allclose(low @ al.filter_matrix("ideal", size, rate).T, low[:, ::rate], atol=1e-12)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [size for size in SIZES if size > 2])
def test_ideal_circular_keeps_the_bins_that_numpy_calls_slow(size, rate):
    frequency = np.fft.fftfreq(size)
    kept = np.abs(np.round(frequency * size)) * 2 * rate < size
    p = al.filters.dense_matrix("ideal-circular", size, rate).numpy()
    assert np.allclose(np.fft.fft(p, axis=0) @ np.fft.ifft(np.eye(size), axis=0), np.diag(kept))


def test_from_14_to_7_a_constant_map_stays_and_7_bins_are_kept():
    p = al.filters.dense_matrix("ideal-circular", 14, 2)
    assert torch.linalg.matrix_rank(p) == 7
    assert torch.allclose(al.filter_matrix("ideal-circular", 14, 2).sum(1), torch.ones(7).double())


def test_hamming_weighs_each_coefficient():
    size, rate = 20, 2
    c = al.filters.dense_matrix("hamming", size, rate)
    for k in range(size):
        wave = torch.cos(math.pi * k * (torch.arange(size, dtype=torch.float64) + 0.5) / size)
        weight = 0.54 + 0.46 * math.cos(math.pi * k * rate / size) if k * rate < size else 0
        assert torch.allclose(c @ wave, weight * wave, atol=1e-12)


@pytest.mark.parametrize("k", range(2, 8))
def test_blur_is_binomial_at_rate_2(k):
    row = torch.tensor([math.comb(k - 1, j) for j in range(k)]).double() / 2 ** (k - 1)
    assert torch.allclose(kernel(FilterName.read(f"blur:{k}"), 2), row)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("k", range(2, 8))
def test_blur_has_nulls_where_decimation_folds_onto_a_constant(k, rate):
    nulls = torch.arange(1, rate // 2 + 1, dtype=torch.float64) / rate
    assert response(FilterName.read(f"blur:{k}"), rate, nulls).max() < 1e-12
    taps = kernel(FilterName.read(f"blur:{k}"), rate)
    assert len(taps) == (k - 1) * (rate - 1) + 1
    at = torch.arange(len(taps)) - (len(taps) - 1) / 2
    assert math.isclose((taps * at**2).sum(), (k - 1) * (rate**2 - 1) / 12)


@pytest.mark.parametrize("name", KERNELS)
def test_a_filter_means_the_same_at_every_rate(name):
    """Where what is kept is half as wide, so is the response, nearly."""
    at = torch.linspace(0, 1, 20, dtype=torch.float64)
    filter = FilterName.read(name)
    wide, narrow = (response(filter, rate, at / (2 * rate)) for rate in (4, 16))
    assert (wide - narrow).abs().max() < 0.05


def test_box_is_the_mean_of_rate_samples():
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    y = filtered(x, (4,), "box", "zero")
    want = torch.nn.functional.avg_pool1d(torch.nn.functional.pad(x, (1, 2)), 4, 4)
    assert torch.allclose(y, want)


@pytest.mark.parametrize("a", [2, 3])
def test_lanczos_is_an_interpolating_kernel_stretched(a):
    taps = kernel(FilterName.read(f"lanczos:{a}"), 3)
    middle = (len(taps) - 1) // 2
    assert len(taps) == 2 * (3 * a - 1) + 1
    assert taps[middle + 3 :: 3].abs().max() < 1e-12 and torch.allclose(taps, taps.flip(0))


def test_white_noise_that_still_folds_is_as_published():
    """Of protocols: binomials of 2 to 7 taps, one axis, rate 2."""
    shares = [f"{100 * folded_share(f'blur:{k}', 2):.1f}" for k in range(2, 8)]
    assert shares == ["18.2", "7.6", "3.3", "1.5", "0.7", "0.3"]
    losses = [pass_band_loss(f"blur:{k}", 2) for k in range(2, 8)]
    assert math.isclose(losses[0], -20 * math.log10(math.cos(math.pi / 8)))
    assert [round(loss, 1) for loss in (losses[0], losses[-1])] == [0.7, 4.1]


@pytest.mark.parametrize("rate", [2, 4])
def test_the_share_that_folds_is_that_of_noise(rate):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 1, 512, generator=generator, dtype=torch.float64)
    for name in ("blur:2", "blur:3", "lanczos:2", "box"):
        low = filtered(x, (rate,), name, "circular", decimated=False)
        spectrum = torch.fft.rfft(low).abs().square().sum((0, 1))
        beyond = torch.fft.rfftfreq(512) > 0.5 / rate
        assert abs(float(spectrum[beyond].sum() / spectrum.sum()) - folded_share(name, rate)) < 0.01


SHAPES = [
    ((2, 3, 20), (2,)),
    ((2, 3, 9, 12), (2, 3)),
    ((2, 3, 7, 13), (4, 1)),
    ((1, 2, 5, 6, 7), (2, 2, 2)),
    ((1, 2, 1, 2, 27), (2, 2, 4)),
]


@pytest.mark.parametrize(("shape", "rate"), SHAPES)
@pytest.mark.parametrize(("name", "boundary"), CASES)
def test_both_ways_give_what_the_matrices_give(shape, rate, name, boundary):
    x = torch.randn(shape, dtype=torch.float64)
    want = whole = x
    for axis, r in enumerate(rate, start=-len(rate)):
        d = al.filter_matrix(name, x.shape[axis], r, boundary)
        f = al.filters.dense_matrix(name, x.shape[axis], r, boundary)
        want = (want.movedim(axis, -1) @ d.T).movedim(-1, axis)
        whole = (whole.movedim(axis, -1) @ f.T).movedim(-1, axis)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for layout in {torch.contiguous_format, layouts.get(x.ndim, torch.contiguous_format)}:
        signal = x.contiguous(memory_format=layout)
        for way in ("product", "auto") if name in SPECTRAL else ("product", "convolution"):
            y = filtered(signal, rate, name, boundary, way=way)
            assert torch.allclose(y, want, atol=1e-12)
            assert y.is_contiguous(memory_format=layout)
            z = filtered(signal, rate, name, boundary, decimated=False, way=way)
            assert torch.allclose(z, whole, atol=1e-12)


def test_half_precision_is_converted_and_comes_back():
    x = torch.randn(1, 2, 14, 14)
    with torch.autocast("cpu", torch.bfloat16):
        y = filtered(x.bfloat16(), (2, 2), "ideal")
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, filtered(x.bfloat16().float(), (2, 2), "ideal").bfloat16())


@pytest.mark.parametrize("name", ["blur:3", "blur:4", "ideal", "ideal-circular"])
def test_gradients_are_those_of_the_product(name):
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: filtered(x, (2, 3), name), x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: al.filter_matrix("blur:9", 8, 2), "'blur:9' names no filter; the filters are"),
        (lambda: al.filter_matrix("ideal", 8, 2, "zero"), "pass 'mirror' or 'circular'"),
        (lambda: al.filter_matrix("box", 8, 2, "reflect"), "boundary is 'reflect'"),
        (lambda: al.filter_matrix("box", 0, 2), "size is 0"),
        (lambda: al.filter_matrix("box", 8, 0), "rate is 0"),
    ],
)
def test_what_is_no_filter_is_refused_in_one_sentence(call, words):
    with pytest.raises(al.AliascopeError, match=words) as error:
        call()
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_the_command_lists_what_each_filter_is_worth(capsys):
    main_quietly(["filters", "--rate", "2,4", "--json"])
    content = json.loads(capsys.readouterr().out)
    rows = {(row["filter"], row["rate"]): row for row in content["filters"]}
    assert len(rows) == 2 * (len(NAMES) + 1)
    assert abs(rows["none", 2]["white_folds"] - 0.5) < 1e-3
    assert abs(rows["none", 4]["white_folds"] - 0.75) < 1e-3
    assert rows["ideal", 4]["white_folds"] == rows["ideal", 2]["one_over_f_folds"] == 0
    assert round(100 * rows["blur:3", 2]["white_folds"], 1) == 7.6
    main_quietly(["filters", "--csv"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("filter,rate,white_folds") and len(lines) == 2 * (len(NAMES) + 1)
    main_quietly(["filters"])
    assert "blur:3" in capsys.readouterr().out


def main_quietly(args):
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 0
