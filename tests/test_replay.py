"""Replay: what a changed pass gives from its site on is, bit for bit, what it gives plainly."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision.models
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.seam import keeping, parts
from aliascope.seam.replay import Replay

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


class Change:
    """Changes the dense signals of some sites, and keeps the numbers of the samples it met."""

    def __init__(self, change: Callable[[al.Site, Tensor], Tensor] | None = None) -> None:
        self.whole = False
        self.sites: Any = set()
        self.change = change or (lambda site, dense: al.low_pass(dense, site.rate))
        self.met: list[Any] = []

    def begin(self, batch: Any) -> None:
        self.met.append(batch.samples)

    def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor:
        self.met.append((site.path, site.number, part.shape))
        return self.change(site, dense)

    def end(self) -> None:
        self.met.append("end")

    def describe(self) -> dict[str, Any]:
        return {"name": "change"}


def tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [tensor for value in values for tensor in tensors(value)]


def same(one: Any, other: Any) -> bool:
    """Bit for bit, and in the same memory format."""
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return all(torch.equal(a, b) and a.stride() == b.stride() for a, b in pairs)


def replays(model: nn.Module, x: Tensor, outer: nn.Module | None = None) -> Replay:
    """Each site alone, twice, all sites, and none: plainly and replayed."""
    run = (lambda: model(x)) if outer is None else (lambda: outer(x))
    change = Change()
    with al.Opening(model, [change]) as opening:
        plain = run()
        sites = [each.site for each in opening.sites if each.supported]
        listed = repr(opening.sites)
        replay = Replay(opening)
        with replay.recording():
            assert same(run(), plain)
        for wanted in (*[{site} for site in sites] * 2, set(sites), set()):
            change.sites, change.met = wanted, []
            expected, met = run(), change.met
            change.met = []
            assert same(replay.run(run), expected), wanted
            assert change.met[1:] == met[1:]
            assert not wanted or len(wanted) < len(sites) or not same(expected, plain)
        assert repr(opening.sites).split("\n") == listed.split("\n")
    if not replay.reason:
        assert replay.replayed == 2 * len(sites) + 2
    return replay


# -- architectures -----------------------------------------------------------------------------

MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: torchvision.models.resnet18(), 64),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), 64),
    "densenet121": (lambda: torchvision.models.densenet121(), 64),
    "convnext_atto": (lambda: timm.create_model("convnext_atto"), 64),
    "swin_t": (lambda: torchvision.models.swin_t(), 64),
    "vit_tiny": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64), 64),
    "levit": (lambda: timm.create_model("levit_128s", img_size=64), 64),
    "lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), 64),
    "hrnet": (lambda: timm.create_model("hrnet_w18_small"), 64),
}


@pytest.mark.parametrize("name", MODELS)
def test_replayed_is_plain(name: str) -> None:
    make, size = MODELS[name]
    model, x = make().eval(), torch.rand(2, 3, size, size)
    assert replays(model, x).reason == ""


def test_channels_last_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    model = torchvision.models.resnet18().eval().to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 48, 48).contiguous(memory_format=torch.channels_last)
    assert replays(model, x).reason == ""


def test_outputs_in_a_dictionary() -> None:
    """Features that are alive to the end are given by the record, and are the model's to give."""
    model = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, aux_loss=True
    )
    assert replays(model.eval(), torch.rand(1, 3, 48, 48)).reason == ""


# -- changes in place --------------------------------------------------------------------------


class Written(nn.Module):
    """Writes into what is alive across its sites: into a tensor, a view of it, a part of it."""

    def __init__(self, how: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.how = how
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.interpolate(self.down(x), scale_factor=2)
        x = self.how(x, y)
        return F.avg_pool2d(x + F.interpolate(F.max_pool2d(x, 2), scale_factor=2), 2)


def added(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


def rectified_view(x: Tensor, y: Tensor) -> Tensor:
    x[:, 1:3].sub_(0.3).relu_()
    return x * y


def base_of_a_view(x: Tensor, y: Tensor) -> Tensor:
    view = x.permute(0, 2, 3, 1)
    x.mul_(y)
    return x + view.permute(0, 3, 1, 2)


def part_written(x: Tensor, y: Tensor) -> Tensor:
    x[:, 0] = y[:, 1]
    return x


def rectified_unannounced(x: Tensor, y: Tensor) -> Tensor:
    torch.ops.aten.relu_.default(x)
    return x * y


def written_to(x: Tensor, y: Tensor) -> Tensor:
    torch.mul(x, y, out=x)
    return x


WAYS = [added, rectified_view, base_of_a_view, part_written, written_to]


@pytest.mark.parametrize("how", WAYS)
def test_changed_in_place_later(how: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert replays(Written(how), torch.rand(2, 3, 16, 16)).reason == ""


def test_what_changes_without_a_sign_is_learnt() -> None:
    """The first batch has starts fewer; of the next the memory is copied beforehand."""
    model, change = Written(rectified_unannounced), Change()
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        for replayed in (0, 1):
            x = torch.rand(2, 3, 16, 16)
            change.sites, before = set(), replay.replayed
            with replay.recording({al.Site("down")}):
                model(x)
            change.sites = {al.Site("down")}
            for _ in range(2):
                expected = model(x)
                assert same(replay.run(lambda x=x: model(x)), expected)
            assert replay.replayed - before == 2 * replayed
        assert replay.reason == ""


class Views(nn.Module):
    """Base and views of it alive across a site, all of which see what is written to one."""

    def forward(self, x: Tensor) -> Tensor:
        base = x.sin()
        left, right = base[..., :8], base[..., 8:]
        flat = base.flatten(2)
        inside = flat.relu_()
        low = F.max_pool2d(x, 2)
        right += F.interpolate(low, (16, 8))
        assert inside is flat
        return (
            F.avg_pool2d(base * 2, 2) + left.sum() + inside.flatten(1).sum(1)[:, None, None, None]
        )


def test_views_see_what_is_written_to_one() -> None:
    assert replays(Views(), torch.randn(2, 3, 16, 16)).reason == ""


def test_what_is_changed_before_the_site_has_its_value_there() -> None:
    class Early(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.sin()
            y = x.mul_(2)
            low = F.max_pool2d(x, 2)
            y.mul_(3)
            assert x is y
            return F.avg_pool2d(x, 2) * low

    assert replays(Early(), torch.rand(2, 3, 16, 16)).reason == ""


# -- what else models do -----------------------------------------------------------------------


class Running(nn.Module):
    """A model whose forward is one function of two of its modules and the input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.register_buffer("count", torch.zeros(()))
        self.passes = 0

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def by_value(self: Running, x: Tensor) -> Tensor:
    """Goes another way where a value, computed before or after the site, is another."""
    x = x.sin() if x.mean() > 0.4 else x.cos()
    if int(x.argmax()) >= 0:
        x = x + float(x.mean())
    y = self.conv(x)
    return F.max_pool2d(y.exp() if y.std() > 0.3 else y.sinh(), 2)


def interleaved(self: Running, x: Tensor) -> Tensor:
    """Sites of one module, of two kinds, in turn."""
    for _ in range(2):
        x = F.interpolate(self.conv(x), scale_factor=2) + F.interpolate(
            F.max_pool2d(x, 2), scale_factor=2
        )
        x = x * F.interpolate(x[..., ::2, ::2], scale_factor=2)
    return torch.cat([x[..., i::2, k::2] for i in (0, 1) for k in (0, 1)], 1)


def structures(self: Running, x: Tensor) -> dict[str, Any]:
    """Several outputs at once, in dictionaries and tuples, with indices, dead and alive."""
    values, places = x.flatten(2).topk(3)
    pieces = x.split(2, dim=1)
    low, where = F.max_pool2d(pieces[0], 2, return_indices=True)
    _, c, h, w = x.shape
    again = F.max_unpool2d(low, where, 2, output_size=(h, w))
    return {"low": (low, self.conv(x)), "again": [again * c, values + places], "piece": pieces[1]}


def identities(self: Running, x: Tensor) -> Tensor:
    """Asks whether what it is given back is what it gave."""
    x = x + 1
    y = F.dropout(x.contiguous(), 0.5, False)
    assert y is x and x.relu_() is y
    z = self.conv(y)
    return F.avg_pool2d(z * (y is x), 2)


@pytest.mark.parametrize("function", [by_value, interleaved, structures, identities])
def test_other_things_that_models_do(function: Callable[..., Any]) -> None:
    assert replays(Running(function), torch.rand(2, 3, 32, 32)).reason == ""


def random_numbers(self: Running, x: Tensor) -> Tensor:
    return self.conv(x + F.dropout(torch.ones_like(x)).mean() * 0)


def seeded(self: Running, x: Tensor) -> Tensor:
    torch.manual_seed(3)
    y = self.conv(x * torch.rand(1))
    return F.avg_pool2d(y * torch.rand(1), 2)


def counting(self: Running, x: Tensor) -> Tensor:
    self.count += 1
    return F.avg_pool2d(self.conv(x), 2)


def changing_its_input(self: Running, x: Tensor) -> Tensor:
    return F.avg_pool2d(self.conv(x.add_(0)), 2)


def branching(self: Running, x: Tensor) -> Tensor:
    """Otherwise in each pass, and the same in the end."""
    self.passes += 1
    for _ in range(self.passes):
        x.sin()
    return F.avg_pool2d(self.conv(x), 2)


def scaling(self: Running, x: Tensor) -> Tensor:
    """With a number that depends on the pass, and does nothing."""
    self.passes += 1
    return F.avg_pool2d(self.conv(x + 0 * self.passes * x.clamp(0, 2 + self.passes)), 2)


def beside_torch(self: Running, x: Tensor) -> Tensor:
    """Computes where no function mode looks."""
    x = x.sin()
    return F.avg_pool2d(self.conv(torch.from_numpy(x.numpy() * 2)), 2)


def unseen(self: Running, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        x = x.sin()
    return F.avg_pool2d(self.conv(x.cos()), 2)


def through_data(self: Running, x: Tensor) -> Tensor:
    x = x.sin()
    y = self.conv(x)
    x.data.mul_(2)
    return F.avg_pool2d(y, 2) + x.mean()


PLAIN: dict[Callable[..., Any], str] = {
    random_numbers: "random numbers",
    seeded: "random numbers",
    counting: "of its own",
    changing_its_input: "what it is given",
    branching: "not the same",
    scaling: "not the same",
    beside_torch: "gives a ndarray",
    unseen: "sees nothing",
    through_data: "it uses",
}


@pytest.mark.parametrize("function", PLAIN)
def test_what_cannot_be_replayed_runs_plainly(function: Callable[..., Any]) -> None:
    if function is seeded:  # so that it ends with the numbers that it began with
        seeded(Running(seeded), torch.rand(2, 3, 16, 16))
    replay = replays(Running(function), torch.rand(2, 3, 16, 16))
    assert PLAIN[function] in replay.reason
    assert replay.kept_bytes == 0 and replay.replayed == 0


def test_a_generator_runs_plainly() -> None:
    def steps(self: Running, x: Tensor) -> Iterator[Tensor]:
        x = self.conv(x)
        yield x
        yield F.max_pool2d(x, 2)

    model, x, change = Running(steps), torch.rand(1, 3, 16, 16), Change()
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        with replay.recording():
            list(model(x))
        change.sites = {al.Site("conv")}
        assert same(replay.run(lambda: list(model(x))), list(model(x)))
    assert replay.replayed == 0 and replay.reason == "its forward is a generator"


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed(reentrant: bool) -> None:
    def function(self: Running, x: Tensor) -> Tensor:
        return F.avg_pool2d(checkpoint(self.conv, x.sin(), use_reentrant=reentrant), 2)

    replays(Running(function), torch.rand(2, 3, 16, 16))


# -- passes and batches ------------------------------------------------------------------------


class Normalized(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - 0.5) / 0.2).softmax(dim=1)


def test_a_module_around_the_model_runs_as_it_is() -> None:
    model = torchvision.models.resnet18().eval()
    assert replays(model, torch.rand(2, 3, 48, 48), Normalized(model)).reason == ""


def test_another_batch_or_other_weights_are_not_taken_for_the_recorded() -> None:
    model, x, change = Running(by_value), torch.rand(2, 3, 32, 32), Change()
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(x)
        change.sites = {al.Site("(root)")}
        y = torch.rand(2, 3, 32, 32)
        assert same(replay.run(lambda: model(y)), model(y))
        assert same(replay.run(lambda: model(x.clone())), model(x))
        assert (replay.replayed, replay.reason) == (1, "")
        model.conv.weight.mul_(2)
        assert same(replay.run(lambda: model(x)), model(x))
        model.conv.weight.div_(2)
        with replay.recording(), torch.no_grad():
            change.sites = set()
            model(x)
        change.sites = {al.Site("(root)")}
        x.add_(0.1)
        assert same(replay.run(lambda: model(x)), model(x))
        assert (replay.replayed, replay.reason) == (1, "")


@pytest.fixture
def rounded() -> Iterator[Callable[[Tensor], Tensor]]:
    """An operation that recomposes up to rounding alone."""
    name = "replay_test::rounded"

    @torch.library.custom_op(name, mutates_args=())
    def operation(x: Tensor) -> Tensor:
        return x[..., ::2, ::2].clone()

    @al.sites.register(name)
    def split(function: Any, args: Any, kwargs: Any) -> al.sites.Split:
        return al.sites.Split("rounded", (2, 2), lambda: args[0] * (1 + 2e-6))

    yield lambda x: torch.ops.replay_test.rounded(x)
    al.sites.unregister(name)


def test_a_measured_clean_pass_goes_on_with_what_operations_give(
    rounded: Callable[[Tensor], Tensor],
) -> None:
    """What handlers only look at is opened; yet what is kept is what plain passes compute."""

    def function(self: Running, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(rounded(x)), 2)

    model, x, change = Running(function), torch.rand(2, 3, 32, 32), Change()
    looked = Change(lambda site, dense: None)  # type: ignore[arg-type, return-value]
    looked.sites = None
    plain = model(x)
    with al.Opening(model, [change, looked]) as opening:
        assert not same(model(x), plain)
        replay = Replay(opening)
        with replay.recording():
            clean = model(x)
        assert len(looked.met) == 2 * (3 + 2)
        looked.sites = set()
        assert same(clean, plain) and same(model(x), plain)
        for listed in list(opening.sites):
            change.sites = {listed.site}
            assert same(replay.run(lambda: model(x)), model(x))
        assert replay.replayed == len(opening.sites) == 3


def test_what_the_caller_does_to_an_output_does_not_come_back() -> None:
    """A kept feature that the model gives is written to by whom it was given."""

    def function(self: Running, x: Tensor) -> tuple[Tensor, Tensor]:
        features = x.sin()
        return features, F.avg_pool2d(features, 2)

    model, x, change = Running(function), torch.rand(2, 3, 16, 16), Change()
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(x)
        change.sites = {al.Site("(root)")}
        replay.run(lambda: model(x))[0].zero_()
        assert same(replay.run(lambda: model(x)), model(x))
        assert (replay.replayed, replay.reason) == (1, "")


def test_a_handler_that_wants_an_earlier_site_is_given_it() -> None:
    model, x = torchvision.models.resnet18().eval(), torch.rand(2, 3, 64, 64)
    change, look = Change(), Change(lambda site, dense: None)  # type: ignore[arg-type, return-value]
    with al.Opening(model, [change, look]) as opening:
        model(x)
        replay = Replay(opening)
        with replay.recording({al.Site("layer2.0.conv1"), al.Site("layer4.0.conv1")}):
            model(x)
        change.sites, look.sites = {al.Site("layer4.0.conv1")}, {al.Site("layer3.0.conv1")}
        replay.run(lambda: model(x))
        assert [each[0] for each in look.met[1:-1]] == ["layer3.0.conv1"]
        look.sites = {al.Site("conv1")}
        expected = model(x)
        assert same(replay.run(lambda: model(x)), expected) and replay.replayed == 1


def test_a_pass_that_a_handler_changes_is_not_recorded() -> None:
    model, x, change = nn.AvgPool2d(2), torch.rand(1, 1, 8, 8), Change()
    change.sites = None
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(x)
        assert same(replay.run(lambda: model(x)), model(x))
        assert (replay.replayed, replay.reason, replay.kept_bytes) == (0, "", 0)


def test_in_a_held_pass_and_in_a_run() -> None:
    """What does not fit is forgotten, and counts once."""
    for function, replayed in ((by_value, 1), (branching, 0)):
        model, x, change = Running(function), torch.rand(2, 3, 32, 32), Change()
        with al.Scope(model, handlers=[change], measures=["energy"]) as scope:
            scope._measures[0].sites = set()  # type: ignore[attr-defined]
            replay = Replay(scope._opening)
            with scope.batch(), replay.recording():
                model(x)
            change.sites = {al.Site("(root)")}
            with scope.batch():
                output = replay.run(lambda model=model, x=x: model(x))
            assert same(output, model(x)) and replay.replayed == replayed


def test_errors_of_a_handler_are_its_own() -> None:
    model, x, change = nn.AvgPool2d(2), torch.rand(1, 1, 8, 8), Change()
    with al.Opening(model, [change]) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(x)
        change.sites = None
        change.change = lambda site, dense: dense[..., 1:]
        with pytest.raises(al.AliascopeError, match="keep the shape"):
            replay.run(lambda: model(x))
        assert replay.reason == ""


@pytest.mark.parametrize("context", [torch.enable_grad, torch.inference_mode])
def test_only_without_gradients(context: Callable[[], Any]) -> None:
    with al.Opening(nn.AvgPool2d(2)) as opening, context():
        refused = pytest.raises(al.AliascopeError, match=r"torch.no_grad\(\)")
        with refused, Replay(opening).recording():
            pass


# -- memory ------------------------------------------------------------------------------------


def test_only_what_is_alive_is_kept_and_forgotten_memory_is_free() -> None:
    made: list[Any] = []

    class Chain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(5):
                x = x.sin()
                made.append(weakref.ref(x))
            return F.max_pool2d(x, 2)

    model, x = Chain(), torch.rand(1, 1, 16, 16)
    with al.Opening(model) as opening:
        replay = Replay(opening)
        with replay.recording():
            model(x)
        gc.collect()
        assert [ref() is not None for ref in made] == [False] * 4 + [True]
        assert replay.kept_bytes == 2 * 4 * 16 * 16  # the images, and what is pooled
        replay.forget()
        gc.collect()
        assert replay.kept_bytes == 0 and made[-1]() is None


def test_what_is_written_to_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many starts that keep one memory there is one copy."""

    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.sin()
            low = [F.max_pool2d(x * n, 2).mean() for n in range(1, 4)]
            x += sum(low)
            return x

    copies: list[int] = []
    copy = keeping._copy_of
    counted = lambda memory: copies.append(memory.nbytes()) or copy(memory)  # noqa: E731
    monkeypatch.setattr(keeping, "_copy_of", counted)
    with al.Opening(Residual()) as opening:
        replay = Replay(opening)
        with replay.recording():
            opening.model(torch.rand(1, 1, 16, 16))
    assert copies == [1024]


@pytest.mark.parametrize("sites", [None, ["0"]])
def test_a_filtered_model_is_replayed_filtered(sites):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2))
    x = torch.randn(2, 3, 32, 32)
    plain = model(x)
    with al.antialias(model.eval(), "blur:3", sites=sites):
        filtered = model(x)
        assert not torch.allclose(filtered, plain, atol=1e-3)
        with al.Opening(model, [Change()]) as opening:
            replay = Replay(opening)
            with replay.recording():
                recorded = model(x)
        assert torch.allclose(recorded, filtered, atol=1e-6)
        assert replays(model, x).replayed > 0
