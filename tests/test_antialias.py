"""Filters on models: installed, measured, trained, copied, compiled, exported, and taken off."""

from __future__ import annotations

import copy
import io
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.commands.main import main
from sites_shared import On

torch.set_num_threads(1)


class Small(nn.Module):
    """A strided convolution, a pool, functional calls, a shortcut of 1 × 1, a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.skip = nn.Conv2d(8, 8, 1, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.conv(x))))
        x = F.avg_pool2d(x, 2)
        x = self.skip(x)[..., ::2, ::2]
        return self.head(x.mean((2, 3)))


class Merging(nn.Module):
    """Space-to-depth between two strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.last = nn.Conv2d(16, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        phases = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.last(torch.cat(phases, 1))


class Volumes(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv3d(1, 4, 3, (1, 2, 2), 1), nn.ReLU(), nn.MaxPool3d(2))


class Signals(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 4, 7, 3, 3), nn.ReLU(), nn.Conv1d(4, 4, 3, 2), nn.ReLU())


def images(*size: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(7))


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def by_hand(x: Tensor, name: str, boundary: str = "mirror") -> Tensor:
    d_h, d_w = (al.filter_matrix(name, n, 2, boundary).to(x) for n in x.shape[-2:])
    return d_h @ x @ d_w.T


# -- what comes out ---------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["mirror", "circular", "zero"])
@pytest.mark.parametrize("name", ["blur:2", "blur:3", "blur:4", "lanczos:3", "ideal"])
def test_a_site_gives_its_dense_signal_filtered_and_decimated(name, boundary):
    if (name, boundary) == ("ideal", "zero"):
        return
    x = images(14, 27)
    for module, dense in (
        (nn.Conv2d(3, 5, 3, 2, 1), lambda m: F.conv2d(x, m.weight, m.bias, 1, 1)),
        (nn.Conv2d(3, 5, 1, 2), lambda m: F.conv2d(x, m.weight, m.bias)),
        (nn.MaxPool2d(3, 2, 1), lambda m: F.max_pool2d(x, 3, 1, 1)),
        (nn.AvgPool2d(2), lambda m: F.avg_pool2d(x, 2, 1)),
    ):
        with al.antialias(module, name, boundary=boundary), torch.no_grad():
            assert torch.allclose(module(x), by_hand(dense(module), name, boundary), atol=1e-5)


def test_sites_without_a_module_and_unbatched_signals_are_filtered_too():
    x = images(16, 16)

    class Functional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, 2)

    net = Functional()
    with al.antialias(net, "blur:3"):
        assert torch.allclose(net(x), by_hand(F.max_pool2d(x, 2, 1), "blur:3"), atol=1e-6)
        assert torch.allclose(net(x[0]), net(x)[0], atol=1e-6)


NETS = {
    "resnet18": (lambda: torchvision.models.resnet18(weights=None), (2, 3, 56, 56)),
    "convnext": (
        lambda: torchvision.models.convnext.ConvNeXt(
            [
                torchvision.models.convnext.CNBlockConfig(8, 16, 1),
                torchvision.models.convnext.CNBlockConfig(16, None, 1),
            ]
        ),
        (2, 3, 56, 56),
    ),
    "volumes": (Volumes, (2, 1, 5, 28, 27)),
    "signals": (Signals, (2, 1, 260)),
    "7": (lambda: nn.Conv2d(3, 4, 3, 2, 1), (2, 3, 7, 7)),
    "13": (lambda: nn.Conv2d(3, 4, 3, 2, 1), (2, 3, 13, 13)),
    "27": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 27, 27)),
    "14 to 7": (lambda: nn.Conv2d(3, 4, 1, 2), (2, 3, 14, 14)),
}


@pytest.mark.parametrize("net", NETS)
def test_ideal_leaves_nothing_beyond_at_any_site(net):
    build, shape = NETS[net]
    torch.manual_seed(0)
    model = build().eval()
    x = torch.randn(shape)
    before = al.measure(model, [x], measures=("energy",)).energy("site")["aliased_energy"]
    assert before.max() > 0.1
    with al.antialias(model, "ideal"):
        after = al.measure(model, [x], measures=("energy",)).energy("site")["aliased_energy"]
    assert list(after.index) == list(before.index) and after.max() < 1e-5


@pytest.mark.parametrize("name", ["ideal", "ideal-circular", "blur:3", "hamming"])
@pytest.mark.parametrize("size", [7, 13, 14, 27])
def test_constant_and_slow_maps_come_out_as_they_were(name, size):
    pool = nn.MaxPool2d(1, 2)  # plain decimation
    with al.antialias(pool, name):
        assert (pool(torch.full((1, 2, size, size), 3.0)) - 3).abs().max() < 1e-5
        if name == "ideal":
            slow = al.low_pass(torch.randn(1, 2, size, size), (2, 2))
            assert torch.allclose(pool(slow), slow[..., ::2, ::2], atol=1e-5)


def test_sites_may_be_named_by_site_by_module_and_by_a_function():
    x = images(64, 64)
    model = torchvision.models.resnet18(weights=None).eval()
    with torch.no_grad():
        plain = model(x)
        for sites, found in (
            ("layer2", ["layer2.0.conv1", "layer2.0.downsample.0"]),
            (["conv1", "maxpool"], ["conv1", "maxpool"]),
            (lambda site: site.op == "max_pool", ["maxpool"]),
        ):
            with al.antialias(model, "blur:3", sites=sites) as handle:
                first = model(x)
                assert [site.name for site in handle.sites] == found
                with al.Opening(model) as opening:
                    assert torch.allclose(model(x), first, atol=1e-5)
                assert len(opening.sites) == 8
            assert not torch.allclose(first, plain)
        only = al.antialias(model, "blur:3", sites="maxpool")
        want = by_hand(F.max_pool2d(F.relu(model.bn1(model.conv1(x))), 3, 1, 1), "blur:3")
        seen = []
        model.maxpool.register_forward_hook(lambda module, args, output: seen.append(output))
        model(x)
    assert torch.allclose(seen[-1], want, atol=1e-5)
    only.remove()


def test_one_of_several_sites_of_a_module_may_be_named():
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(F.max_pool2d(x, 2), 2)

    x, model = images(16, 16), Twice()
    with al.antialias(model, "blur:3", sites="(root)#2") as handle:
        want = by_hand(F.max_pool2d(F.max_pool2d(x, 2), 2, 1), "blur:3")
        assert torch.allclose(model(x), want, atol=1e-6)
        with al.Opening(model):
            assert torch.allclose(model(x), want, atol=1e-6)
        assert [site.name for site in handle.sites] == ["(root)#2"]


def test_slices_that_drop_nothing_are_left_alone_from_the_first_pass_on():
    torch.manual_seed(0)
    model, x = Merging().eval(), images(32, 32)
    with torch.no_grad(), al.antialias(model, "ideal") as handle:
        first = model(x)
        inner = by_hand(F.conv2d(x, model.first.weight, model.first.bias, 1, 1), "ideal")
        merged = torch.cat([inner[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1)
        dense = F.conv2d(merged, model.last.weight, model.last.bias, 1, 1)
        assert torch.allclose(first, by_hand(dense, "ideal"), atol=1e-5)
        assert [site.name for site in handle.sites] == ["first", "last"]
        with al.Opening(model):
            assert torch.allclose(model(x), first, atol=1e-5)


def test_a_filter_at_the_input_agrees_away_from_the_border():
    torch.manual_seed(0)
    x = images(40, 40).double()
    model = nn.Conv2d(3, 6, 3, stride=2, padding=1).double()
    pool = nn.MaxPool2d(3, 2, 1)
    for name in ("blur:3", "blur:5", "lanczos:2"):
        with al.antialias(model, name):
            out = model(x)
        with al.antialias(model, name, place="input"):
            before = model(x)
            with al.Opening(model):
                assert torch.allclose(model(x), before)
        reach = 3
        inner = (..., slice(reach, -reach), slice(reach, -reach))
        assert torch.allclose(out[inner], before[inner])
        assert not torch.allclose(out, before)
        with al.antialias(pool, name):  # not linear: its output is filtered all the same
            want = pool(x)
        with al.antialias(pool, name, place="input"):
            assert torch.equal(pool(x), want)


# -- the model stays as it is ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blur:3", "ideal"])
def test_a_filter_taken_off_leaves_no_trace(name):
    model, x = small(), images(64, 64)
    plain, keys = model(x), list(model.state_dict())
    attributes = {id(m): dict(m.__dict__) for m in model.modules()}
    handle = al.antialias(model, name, sites=["conv", "pool"])
    filtered = model(x)
    assert filtered.shape == plain.shape and not torch.allclose(filtered, plain)
    assert list(model.state_dict()) == keys
    assert handle.installed and "at conv, pool of Small" in repr(handle)
    handle.remove()
    handle.remove()
    assert not handle.installed and "removed" in repr(handle)
    assert torch.equal(model(x), plain)
    for module in model.modules():
        assert module.__dict__.keys() == attributes[id(module)].keys()
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_an_exception_while_it_runs_leaves_no_filter_behind():
    class Interrupted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    model = nn.Sequential(nn.MaxPool2d(2), Interrupted())
    al.antialias(model, "blur:3").model[1].register_forward_pre_hook(lambda *_: None)
    x = images(8, 8)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            model(x)
    assert torch.equal(F.max_pool2d(x, 2), nn.MaxPool2d(2)(x))
    with al.Opening(nn.MaxPool2d(2)) as opening:
        opening.model(x)
    assert len(opening.sites) == 1


def test_the_first_pass_looks_at_the_model_and_changes_nothing():
    model, x = small().train(), images(64, 64)
    twin = copy.deepcopy(model)
    al.antialias(model, "blur:3")
    al.antialias(twin, "blur:3")
    with torch.no_grad():
        copy.deepcopy(twin)(x)
    torch.manual_seed(5)
    model(x)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert model.training and int(model.norm.num_batches_tracked) == 1


# -- one at a time ------------------------------------------------------------------------------


def test_a_second_filter_is_refused():
    model = small()
    inner = al.antialias(model.pool, "blur:3")
    with pytest.raises(al.AliascopeError, match=r"filtered already \(blur:3\); call its remove"):
        al.antialias(model)
    inner.remove()
    al.antialias(model)
    with pytest.raises(al.AliascopeError, match="filtered already"):
        al.antialias(model)
    al.antialias(model.pool)  # what is around it cannot be seen from here, but when it runs
    with pytest.raises(al.AliascopeError, match="inside another filtered model"):
        model(images(32, 32))


def test_two_filtered_models_may_run_one_after_the_other():
    one, two = small(), small()
    al.antialias(one, "blur:3")
    al.antialias(two, "ideal")
    x = images(64, 64)
    first = one(x)
    two(x)
    assert torch.equal(one(x), first)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": "blur"}, "'blur' names no filter"),
        ({"boundary": "reflect"}, "boundary is 'reflect'"),
        ({"place": "before"}, "place is 'before'"),
        ({"sites": "layer9"}, "sites names 'layer9'"),
        ({"sites": []}, "sites is empty"),
        ({"filter": "ideal", "boundary": "zero"}, "cannot be 'zero'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(options, words):
    model = small()
    with pytest.raises(al.AliascopeError, match=words) as error:
        al.antialias(model, **options)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)
    assert al.filters.installed(model) is None


# -- measured as filtered -----------------------------------------------------------------------


class Around(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x * 1)


def test_a_filtered_model_is_measured_as_filtered_and_its_passes_are_clean():
    model, x = torchvision.models.resnet18(weights=None).eval(), images(64, 64)
    plain = al.find_sites(model, x)
    al.antialias(model, "ideal")
    for whole in (model, Around(model)):
        with torch.no_grad():
            output = whole(x)
            with al.Scope(whole, measures=("energy",)) as scope:
                assert torch.allclose(whole(x), output, atol=1e-5)
        measured = scope.measurement()
        assert [condition.name for condition in measured.conditions] == ["clean"]
        assert len(measured.sites) == len(plain)
        assert measured.energy("site")["aliased_energy"].max() < 1e-5
        assert measured.run["handlers"][0] == {
            "name": "antialias",
            "filter": "ideal",
            "boundary": "mirror",
            "place": "output",
        }


def test_other_handlers_see_and_change_what_the_filter_gives():
    model, x = nn.Sequential(nn.MaxPool2d(2)), images(16, 16)
    al.antialias(model, "blur:3")
    seen = []
    with al.Opening(model, [On(lambda site, dense: (seen.append(dense), 2 * dense)[1])]):
        doubled = model(x)
    assert torch.allclose(doubled, 2 * model(x), atol=1e-6)
    assert torch.allclose(seen[0][..., ::2, ::2], model(x), atol=1e-6)
    with al.Scope(model, handlers=[On(lambda site, dense: 2 * dense)]) as scope:
        model(x)
    assert [condition.name for condition in scope.measurement().conditions] == ["on"]


def test_filtering_within_an_opening_and_opening_a_part_are_refused():
    model, x = small(), images(32, 32)
    with al.Opening(model), pytest.raises(al.AliascopeError, match="filter it before"):
        al.antialias(model)
    al.antialias(model)
    with al.Opening(model.conv), pytest.raises(al.AliascopeError, match="Only a part"):
        model(x)
    assert model(x).shape == (2, 4)


def test_an_opening_of_another_model_is_not_disturbed():
    model, x = small(), images(64, 64)
    al.antialias(model, "ideal")
    plain = model(x)
    with al.Opening(nn.MaxPool2d(2)):
        assert torch.equal(model(x), plain)


# -- training -----------------------------------------------------------------------------------


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, 2, 1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(2, 1, 1, 2)
    )
    model.double()
    x = torch.randn(1, 1, 13, 14, dtype=torch.float64, requires_grad=True)
    for name in ("blur:3", "ideal"):
        for place in ("output", "input"):
            with al.antialias(model, name, place=place):
                assert torch.autograd.gradcheck(model, x)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_learns(precision):
    model, x = small().train(), images(64, 64, n=8)
    labels = torch.arange(8) % 4
    al.antialias(model, "blur:3")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = F.cross_entropy(model(x).float(), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.MaxPool2d(2))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant is None:
            return self.block(x)
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    model.zero_grad()
    model(x).square().sum().backward()
    return [x.grad, *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("sites", [None, ["block.0"], "block.2"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_module_is_filtered_again_in_backward(reentrant, sites):
    x = images(32, 32)
    plain, stored = Checkpointed(None), Checkpointed(reentrant)
    al.antialias(plain, "blur:3", sites=sites)
    handle = al.antialias(stored, "blur:3", sites=sites)
    for _ in range(2):
        for want, got in zip(gradients(plain, x), gradients(stored, x), strict=True):
            assert torch.allclose(want, got, atol=1e-5)
    with al.Opening(stored, [On(lambda site, dense: 2 * dense)]):
        twice = gradients(stored, x)
    with al.Opening(plain, [On(lambda site, dense: 2 * dense)]):
        for want, got in zip(gradients(plain, x), twice, strict=True):
            assert torch.allclose(want, got, rtol=1e-4, atol=1e-5)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in stored.modules())


def test_a_checkpointed_function_that_is_no_module_is_refused():
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(lambda x: F.max_pool2d(x, 2), x, use_reentrant=False)

    model = Function()
    al.antialias(model)
    with pytest.raises(al.AliascopeError, match="checkpoint a module"):
        model(images(8, 8).requires_grad_())


def test_in_distributed_data_parallel_the_wrapped_model_is_filtered(tmp_path):
    import torch.distributed as dist

    if not dist.is_available():
        pytest.skip("torch comes without torch.distributed")
    store = f"file://{tmp_path / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        model, x = small().train(), images(64, 64)
        parallel = nn.parallel.DistributedDataParallel(model)
        assert al.antialias(parallel, "blur:3").model is model
        twin = small().train()
        al.antialias(twin, "blur:3")
        parallel(x).square().sum().backward()
        twin(x).square().sum().backward()
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, atol=1e-6)
    finally:
        dist.destroy_process_group()


# -- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [None, "pool"])
def test_a_copy_is_filtered_by_a_filter_of_its_own(sites):
    model, x = small(), images(64, 64)
    plain = model(x)
    handle = al.antialias(model, "blur:5", sites=sites)
    want = model(x)
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    for twin in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(stored, weights_only=False),
    ):
        assert torch.equal(twin(x), want)
        nn.init.zeros_(twin.head.weight)
        nn.init.zeros_(twin.head.bias)
        assert twin(x).abs().max() == 0 and torch.equal(model(x), want)
        al.filters.installed(twin).remove()
        twin.load_state_dict(model.state_dict())
        assert torch.equal(twin(x), plain)
    handle.remove()
    assert torch.equal(model(x), plain)


# -- compiled, exported -------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


CHOICES: list[dict[str, Any]] = [
    {"filter": "blur:3"},
    {"filter": "ideal"},
    {"filter": "blur:5", "place": "input"},
    {"filter": "blur:3", "sites": ["conv", "(root)#1"]},
]


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_as_one_graph_it_is_filtered_once(dynamo, backend, options):
    model, x = small(), images(64, 64)
    al.antialias(model, **options)
    with torch.no_grad():
        want = model(x)
        got = torch.compile(model, backend=backend, fullgraph=True)(x)
    assert torch.allclose(got, want, atol=1e-6)


def test_compiled_before_it_ever_ran_it_is_filtered_too(dynamo):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1, 2))
    x = images(30, 30)
    for name in ("blur:3", "ideal"):
        torch._dynamo.reset()
        with al.antialias(net, name), torch.no_grad():
            got = torch.compile(net, backend="aot_eager", fullgraph=True)(x)
            assert torch.allclose(got, net(x), atol=1e-6)


@pytest.mark.parametrize("options", CHOICES)
def test_exported_it_needs_nothing_but_torch(dynamo, options):
    model, x = small(), images(64, 64)
    handle = al.antialias(model, **options)
    want = model(x)
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (x,), strict=False, dynamic_shapes=dynamic)
    assert torch.allclose(program.module()(x), want, atol=1e-6)
    more = images(64, 64, n=5)
    assert torch.allclose(program.module()(more), model(more), atol=1e-6)
    handle.remove()


def test_a_strict_export_is_refused(dynamo):
    model = small()
    al.antialias(model)
    with pytest.raises(Exception, match="pass strict=False"):
        torch.export.export(model, (images(64, 64),), strict=True)


def test_a_map_without_a_fixed_size_is_refused(dynamo):
    model, x = nn.Sequential(nn.MaxPool2d(2)), images(64, 64)
    al.antialias(model)
    dims = ({2: 2 * torch.export.Dim("half")},)
    with pytest.raises(al.AliascopeError, match="fix height and width"):
        torch.export.export(model, (x,), strict=False, dynamic_shapes=dims)


def test_slices_are_looked_at_before_a_trace(dynamo):
    model, x = Merging().eval(), images(32, 32)
    al.antialias(model)
    with pytest.raises(al.AliascopeError, match="run the filtered model once"):
        torch.export.export(model, (x,), strict=False)
    want = model(x)
    got = torch.export.export(model, (x,), strict=False).module()(x)
    assert torch.allclose(got, want, atol=1e-6)
    got = torch.compile(model, backend="eager", fullgraph=True)(x)
    assert torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", ["blur:3", "ideal"])
def test_an_onnx_runtime_gives_the_same(tmp_path, name):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, x = small(), images(64, 64)
    al.antialias(model, name)
    want = model(x)
    torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(got), want, atol=1e-5)


def test_the_way_to_an_onnx_file_and_back_that_the_page_shows(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    page = (Path(__file__).parents[1] / "docs" / "how-to.md").read_text("utf-8")
    section = page.split("## From a pretrained model to a filtered ONNX file")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    assert 'weights="DEFAULT"' in code  # which would have to be downloaded
    monkeypatch.chdir(tmp_path)
    exec(code.replace('weights="DEFAULT"', "weights=None"), {})
    assert (tmp_path / "filtered.onnx").is_file()


# -- from the command line ----------------------------------------------------------------------


def test_a_training_and_what_is_loaded_of_it_are_filtered(tmp_path):
    from aliascope.oscillations import Recipe, train
    from aliascope.tasks.models import load_model

    recipe = Recipe(
        "resnet-w-8",
        epochs=1,
        frequencies=2,
        train_images=32,
        validation_images=16,
        batch_size=16,
        filter="ideal",
    )
    result = train(recipe, tmp_path / "run")
    assert result["recipe"]["filter"] == "ideal"
    with pytest.raises(al.AliascopeError, match="with filter ideal, not none"):
        train(Recipe(**{**vars(recipe), "filter": ""}), tmp_path / "run", resume=True)
    network = load_model(f"oscillations:{tmp_path / 'run'}").network
    assert al.filters.installed(network).describe()["filter"] == "ideal"
    x = torch.randn(2, 1, 32, 32)
    energy = al.measure(network, [x], measures=("energy",)).energy("site")
    assert energy["aliased_energy"].max() < 1e-5
    assert "filter" not in Recipe("resnet-w-8").plain()


def evaluate(*more: str) -> None:
    words = ["evaluate", "-m", "factories:net", "-d", "photos", "--resize", "26", "--crop", "24"]
    words += ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--measures", "energy"]
    with pytest.raises(SystemExit) as end:
        main([*words, "-o", "run", "--workers", "0", *more])
    if end.value.code:
        raise RuntimeError(end.value.code)


def test_evaluate_measures_filtered_and_its_run_says_so(here, capsys):
    evaluate("--filter", "ideal@0")
    assert "filtered by ideal@0" in capsys.readouterr().out
    measured = al.load("run")
    assert measured.run["options"]["filter"] == "ideal@0"
    energy = measured.energy("site")["aliased_energy"]
    assert energy["0"] < 1e-5 < energy["2"]
    assert [condition.name for condition in measured.conditions] == ["clean"]
    evaluate("--filter", "ideal@0", "--resume")
    with pytest.raises(RuntimeError, match="2"):
        evaluate("--resume")
    assert "options filter 'ideal@0', not None" in capsys.readouterr().err
    for wrong, words in (
        ("blur:99", "names no filter"),
        ("blur:3@", "names no site after the @"),
        ("blur:3@9", "sites names '9'"),
    ):
        with pytest.raises(RuntimeError, match="2"):
            evaluate("--filter", wrong, "-o", "other")
        assert words in capsys.readouterr().err
        assert not (here / "other").exists()


def test_the_compiler_is_loaded_by_who_compiles():
    code = "import sys, aliascope.evaluation.loop; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
