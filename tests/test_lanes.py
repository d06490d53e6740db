"""What is compiled for several signals at once: transforms, counts and energies, lane by lane."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import aliascope as al
from aliascope.measures.energy import energies
from aliascope.measures.engines import count_categories, half_spectrum, lanes, weighing
from aliascope.measures.engines.compiling import Memory, run
from aliascope.measures.engines.fourier import inner_length, plan, ready, room, transform
from aliascope.measures.engines.vectors import WIDTHS, begin
from aliascope.spectrum import Criterion

LENGTHS = [*range(1, 33), 49, 55, 64, 98, 121, 125, 128, 143, 149, 151, 223, 224, 446, 512, 1021]


def transformed(memory, length, step, filled, radices, twiddles, chirp, y, scratch, width):
    m = begin(memory)
    of_length = ready(length, radices, twiddles, chirp)
    transform(m, 0, step, filled, y, scratch, of_length, width)


def spectrum(numbers, length, step, width):
    """Transform numbers, (filled, width), that lie so far apart, filled up with zeros."""
    kind = numbers.real.dtype
    filled = len(numbers)
    memory = np.full(2 * width * (filled * step + 1 + length + room(length)), np.nan, kind)
    x = memory[: 2 * width * (filled * step + 1)].reshape(-1, 2, width)
    x[: filled * step : step, 0], x[: filled * step : step, 1] = numbers.real, numbers.imag
    x[filled * step] = 0
    y = x.size
    scratch = y + 2 * width * length
    of_length = plan(length, str(kind))
    arguments = (memory, length, step, filled, *of_length, y, scratch, (0,) * width)
    run(transformed, 1, *arguments)  # compiled anew where an engine's source has changed
    out = memory[y:scratch].reshape(length, 2, width)
    return out[:, 0] + 1j * out[:, 1]


@pytest.mark.parametrize(
    ("width", "kind", "bound"),
    [*((width, np.complex64, 1e-6) for width in WIDTHS), (WIDTHS[0], np.complex128, 1e-14)],
)
def test_transforms_are_numpys(width, kind, bound):
    random = np.random.default_rng(0)
    for length in LENGTHS:
        for filled in {length, (length + 1) // 2, 1}:
            parts = random.standard_normal((2, filled, width))
            numbers = (parts[0] + 1j * parts[1]).astype(kind)
            for step in (1, 3):
                found = spectrum(numbers, length, step, width)
                expected = np.fft.fft(numbers.astype(complex), length, axis=0)
                error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
                assert error < bound, (length, filled, step)


def test_lengths_with_a_large_prime_factor_are_transformed_by_others():
    for length in range(1, 700):
        inner = inner_length(length)
        radices = plan(length, "float64").radices
        assert radices.prod() == inner
        assert inner == length or (inner >= 2 * length - 1 and radices.max() <= 8)
    assert inner_length(149) == 149 and inner_length(151) > 300


@pytest.mark.parametrize(
    ("size", "rate"),
    [
        ((223, 223), (2, 2)),
        ((151, 14), (1, 2)),
        ((14, 302), (3, 2)),
        ((353,), (2,)),
        ((9, 1), (3, 1)),
    ],
)
def test_sizes_of_any_factors_are_counted_as_torch_does(size, rate):
    torch.manual_seed(0)
    signal = torch.randn(1, 3, *size, dtype=torch.float64)
    for reference in ("max", "mean"):
        criterion = Criterion(30, reference)
        expected = count_categories(signal, rate, criterion, engine="torch")
        assert torch.equal(count_categories(signal, rate, criterion, engine="numba"), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 16, 24, 37])
def test_a_signals_numbers_depend_on_no_other_signal(layout, channels):
    torch.manual_seed(0)
    signal = torch.randn(5, channels, 20, 14).relu().to(memory_format=layout)
    signal *= torch.logspace(-6, 6, 5).view(5, 1, 1, 1)
    counts = count_categories(signal, (2, 2), Criterion(15), engine="numba")
    weighed = energies(signal, (2, 2))
    for sample in range(5):
        for channel in (0, channels // 2, channels - 1):
            alone = signal[sample : sample + 1, channel : channel + 1]
            own = count_categories(alone, (2, 2), Criterion(15), engine="numba")
            assert torch.equal(own[0, 0], counts[sample, channel])
            assert torch.equal(energies(alone, (2, 2))[0, 0], weighed[sample, channel])


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.skipif(os.cpu_count() == 1, reason="numba has one thread here")
def test_any_number_of_threads_and_any_width_give_the_same(threads, monkeypatch):
    torch.manual_seed(0)
    signal = torch.randn(3, 20, 24, 18)
    found, weighed = [], []
    for count, widths in ((1, WIDTHS), (2, WIDTHS), (2, (8,))):
        threads(count)
        monkeypatch.setattr(lanes, "WIDTHS", widths)
        found.append(count_categories(signal, (2, 3), Criterion(12), engine="numba"))
        weighed.append(energies(signal, (2, 3)))
        assert torch.get_num_threads() == count
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert torch.equal(weighed[0], weighed[1])


def task_of(*shape, rate=(2, 2)):
    return lanes.Task(shape, (1, 1, 1, 1), rate, shape[2:], True)


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("workspace", [1 << 20, 16 << 20, 256 << 20])
def test_lanes_and_threads_fit_the_workspace(threads, workspace):
    for size in (7, 56, 112, 224, 512):
        task, ratios = task_of(4, 64, size, size), np.ones(1, np.float32)
        width, used = lanes._choose_lanes(task, ratios, workspace, threads)
        taken = used * 4 * lanes._places(task, 1, width).end
        assert taken <= workspace or (width, used) == (min(WIDTHS), 1)
        assert 1 <= used <= threads


def test_few_large_signals_take_few_lanes_so_that_no_thread_waits():
    ratios = np.ones(1, np.float32)
    assert lanes._choose_lanes(task_of(1, 64, 28, 28), ratios, None, 2) == (WIDTHS[0], 2)
    assert lanes._choose_lanes(task_of(1, 16, 28, 28), ratios, None, 2)[0] == WIDTHS[0]
    assert lanes._choose_lanes(task_of(1, 16, 512, 512), ratios, None, 2) == (8, 2)
    assert lanes._choose_lanes(task_of(1, 3, 28, 28), ratios, None, 2)[1] == 1


def test_no_signal_at_all_has_no_counts():
    for engine in ("torch", "numba"):
        for signal in (torch.empty(0, 4, 6, 6), torch.randn(3, 4, 9, 9)[:0, :, 1:7, 2:8]):
            counts = count_categories(signal, (2, 2), Criterion(), engine=engine)
            assert counts.shape == (0, 4, 4)
            assert energies(signal, (2, 2), engine).shape == (0, 4, 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_large_maps_of_one_value_have_nothing_that_varies(layout):
    for size, many in ((448, 8), (768, 4)):
        for value in (3.3, 0.1, 1234.5):
            signal = torch.full((1, many, size, size), value).to(memory_format=layout)
            assert (energies(signal, (2, 2)) == 0).all()


def test_the_mean_of_a_large_map_is_as_near_as_torchs():
    torch.manual_seed(0)
    signal = torch.randn(1, 8, 512, 512)
    criterion = Criterion(10, "mean", "native")
    expected = count_categories(signal.double(), (1, 1), criterion, engine="torch")
    counts = count_categories(signal, (1, 1), criterion, engine="numba")
    assert (counts - expected).abs().sum() <= 4


def test_squares_that_overflow_are_no_small_energy():
    signal = torch.tensor([1e20, -1e20]).repeat(1, 8, 8, 4)
    assert not energies(signal, (2, 2))[..., 0].isfinite().any()


def test_views_and_devices_of_torch_change_nothing():
    parts = torch.randn(1, 3, 12, 10, 2, generator=torch.Generator().manual_seed(0))
    signal = torch.view_as_complex(parts).conj().imag
    expected = count_categories(signal.clone(), (2, 2), Criterion(), engine="numba")
    rate = (np.int64(2), np.int64(2))
    with torch.device("meta"):
        assert torch.equal(count_categories(signal, rate, Criterion(), engine="numba"), expected)
    assert torch.equal(energies(signal, (2, 2)), energies(signal.clone(), (2, 2)))


def test_what_has_no_room_in_the_workspace_is_counted_by_torch(monkeypatch):
    signal = torch.randn(1, 4, 200, 200, generator=torch.Generator().manual_seed(0))
    expected = count_categories(signal, (2, 2), Criterion())
    monkeypatch.setattr(lanes, "run", None)
    small = count_categories(signal, (2, 2), Criterion(), workspace=1 << 20)
    assert (small - expected).abs().sum() <= 4
    with pytest.raises(TypeError):
        count_categories(signal, (2, 2), Criterion())


def test_half_precision_is_converted_some_channels_at_a_time():
    signal = torch.randn(2, 10, 16, 16, dtype=torch.bfloat16)
    parts = list(half_spectrum.parts_to_copy(signal, 4 * (4 * 16 * 16 * 4)))
    assert [tuple(part.shape[:2]) for part in parts] == [(1, 4), (1, 4), (1, 2)] * 2
    whole = half_spectrum.parts_to_copy(signal[:, :2], 4 * (1 << 20))
    assert [len(part) for part in whole] == [2]


def test_memory_is_let_go_where_much_less_is_needed():
    memory = Memory()
    large = memory.of(2, 20 << 20, np.dtype("float32"))
    assert memory.of(1, 15 << 20, np.dtype("float32")).base is not large.base
    kept = memory.of(1, 100, np.dtype("float32"))
    assert memory.of(1, 50, np.dtype("float32")).base is kept.base
    assert kept.ctypes.data % 64 == 0


def test_what_is_kept_on_disk_has_all_sources_in_its_name(monkeypatch):
    from aliascope.measures.engines import compiling

    def name():
        compiling._sources.cache_clear()
        return compiling._sources()

    before = name()
    read = Path.read_bytes
    changed = lambda path: read(path) + (b"#" if path.name == "fourier.py" else b"")  # noqa: E731
    monkeypatch.setattr(Path, "read_bytes", changed)
    assert name() != before
    monkeypatch.undo()
    assert name() == before


@pytest.mark.parametrize("level", [1, 13])
def test_thresholds_counted_together_are_those_counted_alone(level):
    torch.manual_seed(0)
    signal = torch.randn(2, 9, 21, 16)
    levels = [3.0 * (i + 1) for i in range(level)]
    together = count_categories(signal, (2, 2), Criterion(), levels=levels, engine="numba")
    for i, each in enumerate(levels):
        alone = count_categories(signal, (2, 2), Criterion(each), engine="numba")
        assert torch.equal(together[:, :, i], alone)


def test_what_is_expanded_or_transposed_is_counted_as_a_copy_is():
    torch.manual_seed(0)
    base = torch.randn(1, 1, 20, 18)
    for signal in (base.expand(3, 20, -1, -1), torch.randn(2, 20, 18, 17).transpose(2, 3)):
        expected = half_spectrum.count(signal, (2, 2), Criterion(), [0.01])
        assert torch.equal(lanes.count(signal, (2, 2), Criterion(), [0.01]), expected)
        assert torch.equal(energies(signal, (2, 2)), energies(signal.contiguous(), (2, 2)))


class Guarded:
    """A thread's memory of which nothing is known, and whose ends nothing may be written beyond."""

    def __init__(self, fill):
        self.fill, self.arrays = fill, []

    def of(self, threads, size, dtype):
        size += -size % 16
        array = np.full(threads * size + 2 * 4096, self.fill, dtype)
        array[:4096] = array[-4096:] = 7
        self.arrays.append(array)
        return array[4096:-4096].reshape(threads, size)

    def check(self):
        for array in self.arrays:
            assert (array[:4096] == 7).all() and (array[-4096:] == 7).all()
        self.arrays.clear()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    rate=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.integers(1, 20),
    last=st.booleans(),
    reference=st.sampled_from(["max", "mean"]),
    levels=st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_nothing_is_read_before_it_is_written_or_written_beyond_the_end(
    size, rate, channels, last, reference, levels, seed
):
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(2, channels, *size, generator=generator)
    signal = signal.to(memory_format=torch.channels_last) if last else signal
    thresholds = [7.0 + 2 * i for i in range(levels)]
    criterion = Criterion(reference=reference)
    found = []
    for fill in (np.nan, 1e30):
        guarded = Guarded(fill)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lanes, "MEMORY", guarded)
            patch.setattr(weighing, "MEMORY", guarded)
            counts = count_categories(signal, rate, criterion, levels=thresholds, engine="numba")
            sums = energies(signal, rate)
            guarded.check()
        found.append((counts, sums))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    double = signal.double()
    expected = count_categories(double, rate, criterion, levels=thresholds, engine="torch")
    assert (counts - expected).abs().sum() <= 4  # a bin or two at a threshold
    assert torch.allclose(sums, energies(double, rate, "torch"), rtol=1e-5, atol=1e-5)


def test_an_engine_of_torch_does_without_compiled_code(monkeypatch):
    model = torch.nn.Conv2d(3, 18, 3, stride=2).eval()
    images = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))

    def measured(engine):
        with torch.no_grad(), al.Scope(model, engine=engine) as scope:
            model(images)
        return scope.measurement().values["aliased_energy"].to_numpy()

    expected = measured("auto")
    for module in (lanes, weighing):
        monkeypatch.setattr(module, "run", None)
    assert np.allclose(measured("torch"), expected, rtol=1e-5)
    with pytest.raises(TypeError):
        measured("auto")
