"""What a user's program may do inside a Scope: it goes on as without, and the numbers are right."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.categories import COLUMNS

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2))


def samples_of(model: nn.Module, *args: Any, **kwargs: Any) -> int:
    with al.Scope(model) as scope:
        model(*args, **kwargs)
    return len(scope.measurement().samples)


# -- passes that cannot be counted do not spoil the others -----------------------------------------


def test_a_pass_of_no_samples_leaves_the_others() -> None:
    model, x = small(), torch.rand(2, 3, 16, 16)
    with al.Scope(model) as scope:
        model(x)
        model(x[:0])
        model(x)
    m = scope.measurement()
    assert list(m.samples["sample"]) == [0, 1, 2, 3] and len(m.counts) == 8


class Deciding(nn.Module):
    """Meets its site only in bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) if x.mean() > 0 else x


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("shape", [(3, 16), (2, 3, 16)])
def test_a_pass_that_meets_no_site_leaves_the_others(shape: tuple[int, ...], keyword: bool) -> None:
    model = Deciding()
    with al.Scope(model) as scope:
        for level in (1.0, -1.0, 1.0):
            x = torch.full(shape, level)
            model(x=x) if keyword else model(x)
    m = scope.measurement()
    n = 1 if len(shape) == 2 else 2
    assert len(m.counts) == 2 * n
    assert set(m.counts["sample"]) <= set(m.samples["sample"])


# -- how many samples ------------------------------------------------------------------------------


class Captioned(nn.Module):
    """Words first, pictures second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor:
        return self.stem(pixel_values)


class Pathways(nn.Module):
    """A slow and a fast view of each video."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Conv3d(3, 4, 3, stride=2)
        self.fast = nn.Conv3d(3, 4, 3, stride=2)

    def forward(self, videos: list[Tensor]) -> tuple[Tensor, Tensor]:
        return self.slow(videos[0]), self.fast(videos[1])


class Conditioned(nn.Module):
    """A time, one for all, and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, time: Tensor, x: Tensor) -> Tensor:
        return self.stem(x) + time


class Waves(nn.Module):
    """One-dimensional signals without channels, or without anything."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 4, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x[None, None])


def videos(n: int) -> list[Tensor]:
    return [torch.rand(n, 3, 4, 16, 16), torch.rand(n, 3, 8, 16, 16)]


@pytest.mark.parametrize(
    ("model", "inputs", "right"),
    [
        (Captioned, (torch.zeros(2, 7), torch.rand(4, 3, 16, 16)), 4),
        (Pathways, (videos(4),), 4),
        (Pathways, (videos(1),), 1),
        (lambda: nn.Conv3d(3, 4, 3, stride=2), (torch.rand(3, 9, 9, 9),), 1),
        (lambda: nn.Conv1d(3, 4, 3, stride=2), (torch.rand(3, 9),), 1),
        (Waves, (torch.rand(9),), 1),
        (Conditioned, (torch.zeros(1), torch.rand(4, 3, 16, 16)), 4),
        (lambda: nn.AvgPool2d(2), (torch.rand(5, 3, 8, 8),), 5),
    ],
    ids=["words first", "pathways", "one of each", "volume", "signal", "wave", "time", "pictures"],
)
def test_samples_are_counted_where_they_are(
    model: Callable[[], nn.Module], inputs: tuple[Any, ...], right: int
) -> None:
    assert samples_of(model(), *inputs) == right


def test_samples_named_by_keyword_are_counted_too() -> None:
    words, pictures = torch.zeros(2, 7), torch.rand(4, 3, 16, 16)
    assert samples_of(Captioned(), input_ids=words, pixel_values=pictures) == 4
    assert samples_of(Captioned(), words, pixel_values=pictures) == 4


class Stacked(nn.Module):
    """Takes apart what it is given, in a way that no one can guess."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x.view(6, 1, 8, 8))


def test_what_cannot_be_counted_is_said_in_one_sentence_that_names_scope_batch() -> None:
    import pandas as pd

    model, x = Stacked(), torch.rand(2 * 3 * 64)
    with al.Scope(model) as scope:
        with pytest.warns(UserWarning, match=r"cannot be told .* scope\.batch"):
            model(x)
        with pytest.raises(al.AliascopeError, match=r"scope\.batch"):
            scope.measurement()
        with scope.batch(pd.DataFrame({"sample": [0, 1]})):
            model(x)
    assert list(scope.measurement().samples["sample"]) == [0, 1]


# -- what is a pass --------------------------------------------------------------------------------


def test_reading_a_parametrised_weight_is_no_pass() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, stride=2)))
    x = torch.rand(2, 3, 16, 16)
    with al.Scope(model) as scope:
        loss = model(x).square().mean() + model[0].weight.square().sum()
    loss.backward()
    assert len(scope.measurement().samples) == 2


class Interrupted(nn.Module):
    """Is interrupted, by Ctrl-C or an error, in the run that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2)
        self.runs, self.at, self.error = 0, 2, BaseException()

    def forward(self, x: Tensor) -> Tensor:
        x, self.runs = self.stem(x), self.runs + 1
        if self.runs == self.at:
            raise self.error
        return self.pool(x)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_pass_that_is_interrupted_leaves_the_others(
    error: BaseException, part: bool, named: bool
) -> None:
    inner, x = Interrupted(), torch.rand(2, 3, 16, 16)
    inner.error = error
    model = nn.ModuleDict({"inner": inner, "other": nn.AvgPool2d(2)}) if part else inner
    with al.Scope(model) as scope:
        for _ in range(3):
            with contextlib.suppress(ValueError, KeyboardInterrupt):
                inner(x)
            F.max_pool2d(x, 2)  # none of the model's
        if named:
            inner.at = inner.runs + 1
            with contextlib.suppress(ValueError, KeyboardInterrupt):
                inner(x)
            with scope.batch():
                inner(x)
    m = scope.measurement()
    samples = 4 + 2 * named
    assert list(m.samples["sample"]) == list(range(samples))
    assert len(m.counts) == 2 * samples and len(scope.sites) == 2


@pytest.mark.parametrize("reentrant", [False, True])
def test_ctrl_c_in_a_checkpoints_second_run_leaves_the_others(reentrant: bool) -> None:
    inner, x = Interrupted(), torch.rand(2, 3, 16, 16, requires_grad=True)
    inner.error = KeyboardInterrupt()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=reentrant)

    model = Net()
    with al.Scope(model) as scope:
        with pytest.raises(KeyboardInterrupt):
            model(x).sum().backward()
        model(x).sum().backward()
    assert len(scope.measurement().counts) == 8


class Overridden(nn.Module):
    """A ``__call__`` of its own, of which no hook tells."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2)

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.body(self.stem(x)), 2)


class Generating(Overridden):
    """Gives its maps one after the other."""

    def __call__(self, x: Tensor) -> Iterator[Tensor]:  # type: ignore[override]
        return nn.Module.__call__(self, x)

    def forward(self, x: Tensor) -> Iterator[Tensor]:  # type: ignore[override]
        x = self.stem(x)
        yield x
        x = self.body(x)
        yield x
        yield F.avg_pool2d(x, 2)


@pytest.mark.parametrize("kind", [Overridden, Generating])
def test_a_call_of_ones_own_and_a_generator_are_one_pass_each(kind: type[nn.Module]) -> None:
    model, x = kind(), torch.rand(2, 3, 32, 32)
    with al.Scope(model) as scope:
        for _ in range(2):
            list(model(x))
    m = scope.measurement()
    assert m.store.part_numbers() == [0, 1]
    assert list(m.samples["sample"]) == [0, 1, 2, 3]
    assert list(m.sites["name"]) == ["stem", "body", "(root)"]
    assert len(m.counts) == 3 * 4


# -- the seam never ends the user's program --------------------------------------------------------


def pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


class Quantised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), 2).dequantize()


class Ragged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nested = torch.nested.nested_tensor([x[:, :4], x[:, :6]])
            try:
                return F.avg_pool2d(nested, 2)
            except (RuntimeError, NotImplementedError):
                return x


class Conjugated(nn.Module):
    """Pools what has the negative bit."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(x, x).conj().imag[:, :, ::2, ::2]


class Writing(nn.Module):
    """Keeps its maps in memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.zeros(2, 3, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.out.zero_()
        torch._C._nn.avg_pool2d(x, 2, out=self.out)
        return self.out.clone()


def under_vmap(model: nn.Module, x: Tensor) -> Tensor:
    return torch.vmap(model)(x)


def under_grad(model: nn.Module, x: Tensor) -> Tensor:
    return torch.func.grad(lambda y: model(y).square().sum())(x)


def under_jvp(model: nn.Module, x: Tensor) -> Tensor:
    return torch.func.jvp(model, (x,), (torch.ones_like(x),))[1]


def under_fake(model: nn.Module, x: Tensor) -> Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        shape = model(mode.from_tensor(x)).shape
    return torch.zeros(shape)


def under_trace(model: nn.Module, x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, (x,))(x)


def under_export(model: nn.Module, x: Tensor) -> Tensor:
    return torch.export.export(model, (x,), strict=False).module()(x)


def on_meta(model: nn.Module, x: Tensor) -> Tensor:
    return torch.zeros(model.to("meta")(x.to("meta")).shape)


def plainly(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "way", "words"),
    [
        (small, under_vmap, "vmap"),
        (small, under_grad, "torch.func"),
        (small, under_jvp, "torch.func"),
        (small, under_fake, "fake"),
        (small, under_trace, "jit.trace"),
        (small, under_export, "export"),
        (small, on_meta, "meta device"),
        (Quantised, plainly, "quantised"),
        (Writing, plainly, "out="),
        (Conjugated, plainly, ""),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_outputs_are_those_without_and_the_site_says_why(
    make: Callable[[], nn.Module], way: Callable[[nn.Module, Tensor], Tensor], words: str
) -> None:
    model, x = make().eval(), torch.rand(2, 3, 8, 8)
    expected = way(model, x)
    with al.Scope(model) as scope:
        for _ in range(2):
            found = way(model, x)
            assert torch.equal(found, expected) or torch.allclose(found, expected, atol=1e-5)
    assert scope.sites
    for site in scope.sites:
        assert len(site.reason) < 250 and "\n" not in site.reason
        if words:
            assert not site.supported and words in site.reason
        else:
            assert site.supported


def test_nested_tensors_fail_as_they_do_without() -> None:
    model, x = Ragged(), torch.rand(2, 3, 8, 8)
    with al.Scope(model) as scope:
        assert torch.equal(model(x), x)
    assert not any(site.supported for site in scope.sites)


def test_a_pass_under_vmap_does_not_spoil_the_others() -> None:
    model, x = small(), torch.rand(2, 3, 8, 8)
    with al.Scope(model) as scope:
        torch.vmap(model)(x)
    with al.Scope(model) as scope:
        model(x)
        torch.func.grad(lambda y: model(y).sum())(x)
    assert len(scope.measurement().samples) == 2


def test_what_torchs_dispatcher_says_is_shortened() -> None:
    @torch.library.custom_op("faults::never", mutates_args=())
    def never(x: Tensor) -> Tensor:
        return x.clone()

    @al.sites.register("faults::never")
    def split(function: Any, args: Any, kwargs: Any) -> Any:
        raise RuntimeError("No kernel. " + "backend " * 1000 + "\nmore")

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.faults.never(x)

    try:
        (site,) = al.find_sites(Net(), torch.rand(1, 1, 4, 4))
    finally:
        al.sites.unregister("faults::never")
    assert not site.supported and len(site.reason) < 300 and "\n" not in site.reason


# -- memory format ---------------------------------------------------------------------------------


class Viewing(nn.Module):
    """Asks for strides that the operation gives, after it."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: F.adaptive_max_pool2d(x.mT, 8).view(len(x), -1),
        lambda x: (
            F.interpolate(x[:, :, 1:-1, 1:-1], size=(7, 7), mode="bilinear")
            .permute(0, 2, 3, 1)
            .view(len(x), -1)
        ),
        lambda x: F.avg_pool2d(x.mT, 2).view(len(x), -1),
        lambda x: F.max_pool2d(x.transpose(1, 2), 2).view(len(x), -1),
    ],
    ids=["adaptive", "interpolate", "average", "maximum"],
)
@pytest.mark.parametrize("last", [False, True])
def test_what_follows_may_view_the_output(
    operation: Callable[[Tensor], Tensor], last: bool
) -> None:
    x = torch.rand(2, 4, 16, 16)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    model = Viewing(operation)
    try:
        plain = model(x)
    except RuntimeError:
        pytest.skip("does not work without Scope either")
    for grad in (True, False):
        with torch.set_grad_enabled(grad), al.Scope(model) as scope:
            opened = model(x)
        torch.testing.assert_close(opened, plain)
        assert [site.supported for site in scope.sites] == [True]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [(1, 12), (12, 12)])
def test_the_stride_of_a_single_channel_tells_the_format_of_what_follows(
    channels: int, size: tuple[int, int]
) -> None:
    x = torch.rand(2, channels, *size).contiguous(memory_format=torch.channels_last)
    model = nn.Sequential(
        nn.Conv2d(channels, channels, (1, 3), stride=2), nn.Conv2d(channels, 6, 1)
    )
    plain = [model[0](x), model(x)]
    with al.Opening(model):
        opened = [model[0](x), model(x)]
    assert [y.stride() for y in opened] == [y.stride() for y in plain]


def test_a_root_at_what_is_dropped_brings_no_nan_into_gradients() -> None:
    x = torch.rand(2, 3, 9, 9)
    x[:, :, 1::2] = 0  # windows of zeros: those between the rows that are kept
    x.requires_grad_()
    model = nn.LPPool2d(2, (1, 3), stride=2)
    (wanted,) = torch.autograd.grad(model(x).square().sum(), x)
    with al.Scope(model) as scope:
        (opened,) = torch.autograd.grad(model(x).square().sum(), x)
    torch.testing.assert_close(opened, wanted)
    assert [site.supported for site in scope.sites] == [True]


@pytest.mark.parametrize(
    ("dtype", "off", "wrong"),
    [
        (torch.float32, 1e-2, True),
        (torch.float32, 1e-4, False),
        (torch.float16, 0.5, True),
        (torch.float16, 0.01, False),
        (torch.bfloat16, 3.0, True),
        (torch.bfloat16, 0.1, False),
    ],
)
def test_a_split_that_is_off_by_more_than_rounding_is_no_site(
    dtype: torch.dtype, off: float, wrong: bool
) -> None:
    """Of the operation it is to stand for, as a rule with a mistake in it would be."""

    def halved(x: Tensor) -> Tensor:
        return x[..., ::2].clone()

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.overrides.handle_torch_function(halved, (x,), x)

    @al.sites.register(halved)
    def split(function: Any, args: Any, kwargs: Any) -> Any:
        (x,) = args
        return al.sites.Split("halved", (2,), lambda: x + off * (torch.arange(16) == 8).to(dtype))

    try:
        with al.Opening(Net()) as opening:
            opening.model(torch.ones(2, 3, 16, dtype=dtype))
    finally:
        al.sites.unregister(halved)
    (site,) = opening.sites
    assert site.supported is not wrong
    assert site.recomposition_error == pytest.approx(off, rel=0.2)
    assert ("differs from it" in site.reason) is wrong


def test_strides_are_compared_too() -> None:
    from aliascope.seam.recomposition import misfit

    x = torch.rand(2, 3, 4, 4)
    _, reason = misfit(x, x.contiguous(memory_format=torch.channels_last))
    assert "strides" in reason


# -- threads ---------------------------------------------------------------------------------------

THREADS = """
import os, torch, aliascope as al
{before}
threads = torch.get_num_threads()
model = torch.nn.Conv2d(3, 8, 3, stride=2)
m = al.measure(model, [torch.rand(4, 3, 64, 64)])
assert len(m.samples) == 4
assert torch.get_num_threads() == threads, (torch.get_num_threads(), threads)
{after}
"""

FORK = """
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # with more, torch itself waits for ever
    al.measure(model, [torch.rand(4, 3, 64, 64)])
    os._exit(0)
import time
for _ in range(300):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    raise SystemExit("the child hangs")
assert status == 0
"""


@pytest.mark.parametrize(
    ("environment", "before", "after"),
    [
        ({"OMP_NUM_THREADS": "1"}, "", ""),
        ({}, "torch.set_num_threads(16)", ""),
        ({"NUMBA_NUM_THREADS": "1"}, "torch.set_num_threads(2)", ""),
        ({}, "torch.set_num_threads(2)", FORK),
    ],
    ids=["one of openmp", "sixteen", "one of numba", "forked"],
)
def test_threads_are_left_as_they_are(environment: dict[str, str], before: str, after: str) -> None:
    code = THREADS.format(before=before, after=after)
    kept = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


# -- what is known by its name, not by the object --------------------------------------------------


class Thinned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2] + x[:, :, 1::2, ::2]


def test_a_slice_of_an_exported_program_is_the_site_that_it_is_without() -> None:
    model, x = Thinned(), torch.rand(2, 3, 8, 8)
    exported = torch.export.export(model, (x,)).module()
    for each in (model, exported):
        with al.Scope(each) as scope:
            assert torch.equal(each(x), model(x))
        assert [(site.op, site.rate, site.supported) for site in scope.sites] == [
            ("slice", (2, 2), True)
        ] * 2
    eager = al.find_sites(model, x)
    assert [site.dense_shape for site in scope.sites] == [site.dense_shape for site in eager]


def test_slices_one_axis_at_a_time_are_one_site() -> None:
    model = Viewing(lambda x: x[:, :, ::2][..., 1::2])
    x = torch.rand(2, 3, 8, 9)
    with al.Scope(model) as scope:
        assert torch.equal(model(x), x[:, :, ::2, 1::2])
    (site,) = scope.sites
    assert (site.rate, site.dense_shape, site.recomposition_error) == ((2, 2), (3, 8, 8), 0.0)
    assert al.find_sites(Viewing(lambda x: x[:, :, ::2]), x) == []


def test_a_wrapped_functional_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("max_pool2d", "conv2d", "interpolate"):
        original = getattr(F, name)
        monkeypatch.setattr(F, name, lambda *a, _original=original, **k: _original(*a, **k))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(F.max_pool2d(self.stem(x), 2), scale_factor=0.5)

    sites = al.find_sites(Net().eval(), torch.rand(2, 3, 33, 33))
    assert [site.op for site in sites] == ["conv", "max_pool", "interpolate"]
    assert all(site.supported for site in sites)


def test_the_convolution_below_the_convolution_is_seen() -> None:
    weight = torch.rand(4, 3, 3, 3)

    def below(x: Tensor) -> Tensor:
        flags = (False, False, False, False)
        return torch._convolution(x, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, *flags)

    (site,) = al.find_sites(Viewing(below), torch.rand(2, 3, 16, 16))
    assert (site.op, site.rate, site.supported) == ("conv", (2, 2), True)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_says_what_cannot_be_seen() -> None:
    from torch.ao import quantization

    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("this machine has no quantised kernels")
    model = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2),
        quantization.DeQuantStub(),
    ).eval()  # fmt: skip
    model.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(model)
    x = torch.rand(2, 3, 16, 16)
    prepared(x)
    quantised = quantization.convert(prepared)
    with al.Scope(quantised) as scope:
        opened = quantised(x)
    assert torch.equal(opened, quantised(x))
    assert [(site.name, site.supported) for site in scope.sites] == [("1", False), ("2", False)]
    assert all("quantised" in site.reason for site in scope.sites)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["attribute", "closure"])
def test_a_model_that_holds_a_traced_function_says_so(how: str) -> None:
    traced = torch.jit.trace(pooled, (torch.rand(1, 3, 8, 8),))

    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 3, 3, stride=2)
            if how == "attribute":
                self.reduce = traced

        def forward(self, x: Tensor) -> Tensor:
            reduce = self.reduce if how == "attribute" else traced
            return reduce(self.stem(x))

    sites = al.find_sites(Holding(), torch.rand(2, 3, 19, 19))
    hidden = [site for site in sites if not site.supported]
    assert len(hidden) == 1 and "TorchScript function" in hidden[0].reason
    assert [site.op for site in sites if site.supported] == ["conv"]


# -- many folds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "rate"),
    [((512, 512), (256, 256)), ((16, 64, 64), (16, 64, 64)), ((32, 64, 64), (16, 64, 64))],
)
def test_as_many_folds_as_there_may_be_are_counted(
    size: tuple[int, ...], rate: tuple[int, ...]
) -> None:
    from aliascope.measures.engines import count_categories
    from aliascope.spectrum import Criterion

    impulse = torch.zeros(1, 1, *size)
    impulse[(0, 0, *[0] * len(size))] = 1
    counts = count_categories(impulse, rate, Criterion(grid="native"), engine="torch")
    bins = 1
    for n, r in zip(size, rate, strict=True):
        bins *= n // r
    assert counts.tolist() == [[[0, 0, 0, bins]]]


# -- lossless groups -------------------------------------------------------------------------------


class Merging(nn.Module):
    """Space to depth, as Swin's patch merging has it; perhaps with a phase forgotten."""

    def __init__(self, last: bool = True, all_of_them: bool = True) -> None:
        super().__init__()
        self.last, self.all_of_them = last, all_of_them
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        phases = [(a, b) for a in (0, 1) for b in (0, 1)][: 4 if self.all_of_them else 3]
        if self.last:
            each = [x[..., a::2, b::2, :] for a, b in phases]
            return torch.cat(each, -1)
        return self.pool(torch.cat([x[..., a::2, b::2] for a, b in phases], 1))


@pytest.mark.parametrize("detail", ["site", "pixel"])
def test_slices_that_keep_every_sample_together_are_no_sites(detail: str) -> None:
    model, x = Merging(last=False), torch.rand(2, 3, 16, 16)
    with al.Scope(model, detail=detail) as scope:
        for _ in range(2):
            torch.testing.assert_close(model(x), model(x))
    m = scope.measurement()
    assert [(site.name, site.supported) for site in scope.sites] == [
        ("(root)", False),
        ("pool", True),
    ]
    assert "4 slices of one tensor cover every phase of the rate 2×2" in scope.sites[0].reason
    assert list(m.sites["name"]) == ["pool", "(root)"]
    assert len(m.counts) == 8 and list(m.fractions("site").index) == ["pool"]
    if detail == "pixel":
        assert m.category_map("pool", 3).shape == (12, 7, 7)


def test_slices_that_forget_a_phase_are_sites() -> None:
    sites = al.find_sites(Merging(last=False, all_of_them=False), torch.rand(2, 3, 16, 16))
    assert [site.supported for site in sites] == [True] * 4
    assert [site.op for site in sites] == ["slice"] * 3 + ["max_pool"]


def test_slices_of_two_tensors_are_no_group() -> None:
    model = Viewing(lambda x: x[..., ::2, ::2] + (x + 1)[..., 1::2, ::2]
                    + x[..., ::2, 1::2] + x[..., 1::2, 1::2])  # fmt: skip
    assert [s.supported for s in al.find_sites(model, torch.rand(1, 3, 8, 8))] == [True] * 4


def test_swin_has_the_same_sites_whoever_wrote_it() -> None:
    timm = pytest.importorskip("timm")
    import torchvision

    ours = torchvision.models.swin_t(weights=None).eval()
    theirs = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2).eval()
    x = torch.rand(1, 3, 64, 64)
    counted = [
        [site.op for site in al.find_sites(model, x) if site.supported] for model in (ours, theirs)
    ]
    assert counted == [["conv"], ["conv"]]
    listed = [site for site in al.find_sites(ours, x) if not site.supported]
    assert len(listed) == 3 and all("drops nothing" in site.reason for site in listed)
    with al.Scope(ours) as scope:
        ours(x)
    assert len(scope.measurement().fractions("site")) == 1
    assert scope.measurement().counts[COLUMNS].sum().sum() > 0
