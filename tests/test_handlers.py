"""Handlers: their life, the examples of docs/how-to.md, and what is refused."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.runs.conditions import CLEAN
from aliascope.seam import parts
from sites_shared import On

torch.set_num_threads(1)

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to.md"


def examples() -> dict[str, Any]:
    """The classes of the page, made anew."""
    space: dict[str, Any] = {"torch": torch, "al": al}
    for block in re.findall(r"```python\n(class .*?)```", HOW_TO.read_text("utf-8"), re.S):
        exec(block, space)
    return space


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class Twice(nn.Module):
    """Runs one module twice in a pass, perhaps checkpointed, and pools."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            if self.reentrant is None:
                x = F.gelu(self.stem(x))
            else:
                x = checkpoint(lambda x: F.gelu(self.stem(x)), x, use_reentrant=self.reentrant)
        return self.pool(x)


def dense_of(model: Twice, x: Tensor, shrink: bool) -> list[Tensor]:
    """What the sites' dense signals are, computed without Aliascope."""
    seen = []
    for _ in range(2):
        dense = F.conv2d(x, model.stem.weight, model.stem.bias, padding=1)
        seen.append(shrunk(dense) if shrink else dense)
        x = F.gelu(seen[-1][..., ::2, ::2])
    dense = F.avg_pool2d(x, 2, 1)
    return [*seen, shrunk(dense) if shrink else dense]


def shrunk(dense: Tensor) -> Tensor:
    mean = dense.mean(dim=(2, 3), keepdim=True)
    return mean + 0.5 * (dense - mean)


def test_each_example_is_at_most_fifteen_lines() -> None:
    for block in re.findall(r"```python\n(class .*?)```", HOW_TO.read_text("utf-8"), re.S):
        (body,) = ast.parse(block).body
        code = [line for line in ast.unparse(body).splitlines() if line.strip()]
        assert len(code) <= 16, block  # fifteen, and the docstring


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("reentrant", [None, False, True])
def test_the_examples_are_right(
    layout: torch.memory_format,
    in_parts: bool,
    reentrant: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if in_parts:
        monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    space = examples()
    model = Twice(reentrant).to(memory_format=layout)
    x = torch.rand(3, 3, 32, 24).contiguous(memory_format=layout)
    x.requires_grad_(not in_parts)
    for shrink in (False, True):
        expected = dense_of(model, x, shrink)
        (wanted,) = [torch.zeros(0)] if in_parts else torch.autograd.grad(
            expected[-1][..., ::2, ::2].square().sum(), x
        )  # fmt: skip
        counter = space["StridedConvolutions"]()
        handlers = [*([space["Shrink"]()] if shrink else []), space["MeanSquare"](), counter]
        with torch.set_grad_enabled(not in_parts), al.Scope(model, handlers=handlers) as scope:
            output = model(x)
            if not in_parts:
                x.grad = None
                output.square().sum().backward()
        torch.testing.assert_close(output, expected[-1][..., ::2, ::2])
        if not in_parts:
            torch.testing.assert_close(x.grad, wanted)
        assert counter.count == 2
        m = scope.measurement()
        assert m.condition.name == ("shrink by=0.5" if shrink else "clean")
        assert list(m.sites["name"]) == ["stem#1", "stem#2", "pool"]
        for row, dense in enumerate(expected):
            found = m.values.loc[m.values["site"] == row, "mean_square"].to_numpy()
            right = dense.detach().square().flatten(1).mean(dim=1).numpy()
            np.testing.assert_allclose(found, right, rtol=1e-4)


def test_windows_of_a_sample_are_its_own() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x.view(-1, 3, 8, 8), 2)

    x = torch.rand(2, 4, 3, 8, 8)
    with al.Scope(Windows(), handlers=[examples()["MeanSquare"]()]) as scope:
        scope.model(x)
    dense = F.max_pool2d(x.view(-1, 3, 8, 8), 2, 1).view(2, -1)
    found = scope.measurement().values["mean_square"].to_numpy()
    np.testing.assert_allclose(found, dense.square().mean(dim=1).numpy(), rtol=1e-5)


class Diary:
    """Writes down what it is told."""

    def __init__(self, whole: bool = True) -> None:
        self.whole = whole
        self.lines: list[Any] = []

    def begin(self, batch: Any) -> None:
        self.lines.append(("begin", batch.samples, batch.device.type))

    def take(self, site: al.Site, dense: Tensor, part: Any) -> None:
        self.lines.append((str(site), tuple(dense.shape), part.shape, part.index))

    def end(self) -> None:
        self.lines.append("end")

    def describe(self) -> dict[str, str]:
        return {"name": "diary"}


def test_a_handler_has_one_life_a_pass() -> None:
    model, diary = nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), nn.AvgPool2d(2)), Diary()
    with al.Opening(model, [diary]):
        model(torch.rand(2, 3, 9, 9))
        model(torch.rand(1, 3, 9, 9))
    assert [line if line == "end" else line[0] for line in diary.lines] == [
        *["begin", "0", "2", "end"] * 2
    ]
    assert [line[1:] for line in diary.lines if line[0] == "begin"] == [
        ((0, 1), "cpu"),
        ((2,), "cpu"),
    ]
    assert diary.lines[1] == ("0", (2, 3, 8, 8), (2, 3, 8, 8), (slice(0, 2), slice(0, 3)))


def test_in_parts_and_whole_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs whole signals takes none of its parts from another."""
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    model, x = nn.Conv2d(3, 4, 3, stride=2), torch.rand(5, 3, 20, 20)
    whole, cut, plain = Diary(), Diary(whole=False), Diary(whole=False)
    with torch.no_grad(), al.Opening(model, [whole, On(lambda site, dense: 2 * dense), cut]):
        doubled = model(x)
    with torch.no_grad(), al.Opening(model, [plain]):
        model(x)
    assert [line[1] for line in whole.lines[1:-1]] == [(5, 4, 18, 18)]
    assert [line[1] for line in cut.lines[1:-1]] == [(1, 4, 18, 18)] * 5
    assert cut.lines == plain.lines
    torch.testing.assert_close(doubled, 2 * model(x))


def test_counts_come_in_parts_whatever_stands_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    from aliascope.measures import counting

    seen = []
    count = counting.count_categories

    def spying(dense: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(len(dense))
        return count(dense, *arguments, **options)

    monkeypatch.setattr(counting, "count_categories", spying)
    model, x = nn.Conv2d(3, 4, 3, stride=2), torch.rand(5, 3, 20, 20)
    with (
        torch.no_grad(),
        al.Scope(model, handlers=[On(lambda site, dense: None)], floor_samples=0) as scope,
    ):
        model(x)
    assert seen == [1] * 5 and len(scope.measurement().counts) == 5


@pytest.mark.parametrize("reentrant", [False, True])
def test_no_handler_is_called_again_in_backward(reentrant: bool) -> None:
    model, diary = Twice(reentrant), Diary()
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    with al.Opening(model, [diary, On(lambda site, dense: 2 * dense)]):
        model(x).sum().backward()
    assert [line[0] for line in diary.lines if line != "end"] == ["begin", "stem", "stem#2", "pool"]


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_gradients_reach_what_a_handler_learns(reentrant: bool | None) -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    model, x = Twice(reentrant), torch.rand(2, 3, 16, 16, requires_grad=True)
    with al.Opening(model, [On(lambda site, dense: scale * dense)]):
        model(x).square().sum().backward()
    y = x.detach()
    for _ in range(2):
        y = F.gelu(scale * model.stem(y))
    (wanted,) = torch.autograd.grad((scale * F.avg_pool2d(y, 2)).square().sum(), scale)
    torch.testing.assert_close(scale.grad, wanted)


class Written(nn.Module):
    """Writes into a slice of its own, in a module that may be checkpointed."""

    class Body(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = (3 * x)[:, :, ::2, ::2]
            y.mul_(2)
            return y.sin() * y

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.body = Written.Body()

    def forward(self, x: Tensor) -> Tensor:
        if self.reentrant is None:
            return self.body(x)
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


def gradient(model: nn.Module, x: Tensor, times: int = 1) -> Tensor:
    """Of a loss by the input, in a model whose signals are moved and bounded."""
    x = x.clone().requires_grad_()
    with al.Opening(model, [On(lambda site, dense: dense.roll(1, -1).sigmoid())]):
        loss = model(x).square().sum()
        for _ in range(times):
            loss.backward(retain_graph=True)
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", [Twice, Written])
def test_checkpointing_changes_no_gradient(
    kind: type[Twice] | type[Written], reentrant: bool, times: int
) -> None:
    """Neither where the model writes into what it was given, nor where it goes back twice."""
    model, x = kind(), torch.rand(2, 3, 16, 16)
    wanted = times * gradient(model, x)
    model.reentrant = reentrant
    torch.testing.assert_close(gradient(model, x, times), wanted)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_change_that_autograd_could_not_repeat_is_refused(reentrant: bool) -> None:
    """No hook tells of a function that is no module; without a change it runs as it does."""

    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(lambda x: F.avg_pool2d(x.sin(), 2), x, use_reentrant=reentrant)

    model, x = Pooled(), torch.rand(2, 3, 16, 16, requires_grad=True)
    with al.Scope(model) as scope:
        model(x).sum().backward()
    assert len(scope.measurement().samples) == 2
    refused = pytest.raises(al.AliascopeError, match=r"\(root\) in a checkpointed function")
    with al.Opening(model, [On(lambda site, dense: 2 * dense)]), refused:
        model(x)


class Branches(nn.Module):
    """Beside a place that cannot be opened: sites that only path and signal tell apart."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.AvgPool2d(2), nn.AvgPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).sin() * self.b(x).exp() + self.a(x.cos()).tanh()

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.reentrant, self.part = reentrant, Branches.Part()

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(x, 5, mode="bilinear").mean()
        for z in (x, 2 * x):
            again = self.reentrant
            made = self.part(z) if again is None else checkpoint(self.part, z, use_reentrant=again)
            y = y + made.sin()
        return y


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_a_second_run_finds_each_site_again(reentrant: bool | None) -> None:
    model = Branches(reentrant)
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    (wanted,) = torch.autograd.grad(changed_branches(x).square().sum(), x)
    handler = On(lambda site, dense: dense.square() * (2 if site.path == "part.a" else -3))
    with al.Opening(model, [handler]):
        model(x).square().sum().backward()
    torch.testing.assert_close(x.grad, wanted)


def changed_branches(x: Tensor) -> Tensor:
    """Branches with that handler, computed without Aliascope."""
    y = F.interpolate(x, 5, mode="bilinear").mean()
    for z in (x, 2 * x):
        a, b, c = (F.avg_pool2d(each, 2).square() for each in (z, z, z.cos()))
        y = y + ((2 * a).sin() * (-3 * b).exp() + (2 * c).tanh()).sin()
    return y


def test_a_checkpoint_in_a_forward_that_goes_back_itself() -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = Twice()

        def forward(self, x: Tensor) -> Tensor:
            return torch.autograd.grad(self.energy(x).square().sum(), x)[0]

    model, x = Force(), torch.rand(2, 3, 16, 16, requires_grad=True)
    forces = []
    for reentrant in (None, False):
        model.energy.reentrant = reentrant
        with al.Opening(model, [On(lambda site, dense: 2 * dense)]):
            forces.append(model(x))
    torch.testing.assert_close(forces[1], forces[0])


def test_what_a_handler_gives_for_a_slice_is_not_written_to() -> None:
    held = torch.ones(2, 3, 16, 16)
    with al.Opening(Written(), [On(lambda site, dense: held)]) as opening:
        opening.model(torch.rand(2, 3, 16, 16))
    assert bool((held == 1).all())


def test_handlers_are_told_apart_by_identity() -> None:
    """Equal ones are two, and comparing what they hold may be impossible."""

    @dataclasses.dataclass
    class Scaled(On):
        by: Tensor

        def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor:
            return dense * self.by[0]

    model = nn.MaxPool2d(2)
    with al.Scope(model, handlers=[Scaled(torch.ones(2)), Scaled(torch.ones(2))]) as scope:
        model(torch.rand(2, 3, 9, 9))
    assert len(scope.measurement().samples) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dense: dense[..., 1:], r"from shape \(2, 3, 15, 15\) to \(2, 3, 15, 14\)"),
        (lambda dense: dense.double(), "from dtype torch.float32 to torch.float64"),
        (lambda dense: dense.to("meta"), "from device cpu to meta"),
    ],
)
def test_a_change_keeps_shape_dtype_and_device(change: Any, words: str) -> None:
    model = nn.MaxPool2d(2)
    refused = pytest.raises(al.AliascopeError, match=words)
    with al.Opening(model, [On(lambda site, dense: change(dense))]), refused:
        model(torch.rand(2, 3, 16, 16))


def test_what_is_no_handler_is_refused_before_anything_runs() -> None:
    with pytest.raises(al.AliascopeError, match="of type function, which has no 'begin'"):
        al.Opening(nn.MaxPool2d(2), [lambda site, dense: None])  # type: ignore[list-item]


def test_handlers_compute_outside_of_autocast() -> None:
    seen = []

    def product(site: al.Site, dense: Tensor) -> None:
        seen.append((dense.dtype, (dense.float() @ dense.float().mT).dtype))

    model = nn.Conv2d(3, 4, 3, stride=2)
    with torch.autocast("cpu", torch.bfloat16), al.Opening(model, [On(product)]):
        model(torch.rand(2, 3, 16, 16))
    assert seen == [(torch.bfloat16, torch.float32)]


# -- what is kept of changed passes ----------------------------------------------------------------


def test_a_changed_pass_is_never_kept_as_a_clean_one() -> None:
    model, x = nn.MaxPool2d(2), torch.rand(2, 3, 16, 16)
    doubling = [False]
    handler = On(lambda site, dense: 2 * dense if doubling[0] else None)
    with al.Scope(model, handlers=[handler]) as scope:
        model(x)
        doubling[0] = True
        model(x)
    m = scope.measurement()
    assert [condition.name for condition in m.conditions] == ["clean", "on"]
    assert m.condition == CLEAN and list(m.samples["sample"]) == [0, 1]
    assert list(m.at("on").samples["sample"]) == [2, 3]
    assert m.run["handlers"][0] == {"name": "on"}


def test_the_handlers_of_measure_are_called() -> None:
    model, diary = nn.MaxPool2d(2), Diary()
    m = al.measure(model, [torch.rand(2, 3, 16, 16)], handlers=[diary])
    assert [line[0] for line in diary.lines] == ["begin", "(root)", "e"]
    silenced = al.measure(
        model, [torch.rand(2, 3, 16, 16)], handlers=[On(lambda site, dense: 0 * dense)]
    )
    assert silenced.fractions("overall").loc["overall", "no_pass"] == 1
    assert m.fractions("overall").loc["overall", "no_pass"] < 1


class At:
    """Shrinks what it is given at some sites, and keeps whom it met."""

    def __init__(self, *sites: al.Site, whole: bool = True, factor: float = 1.0) -> None:
        self.sites: Any = set(sites)
        self.whole, self.factor = whole, factor
        self.met: list[Any] = []

    def begin(self, batch: Any) -> None:
        self.met.append("begin")

    def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor:
        self.met.append(str(site))
        return dense * self.factor

    def end(self) -> None:
        self.met.append("end")

    def describe(self) -> dict[str, Any]:
        return {"name": "at"}


class Sliced(nn.Module):
    """Several kinds of sites in one module's own forward, of which two slices drop nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        halves = [x[..., i::2, k::2] for i in (0, 1) for k in (0, 1)]
        x = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(x, 2), *halves], dim=1)
        return F.interpolate(x[..., ::2, ::2], scale_factor=0.5)


LOSSLESS = [("(root)", number) for number in (1, 2, 3, 4)]
SLICED = [("stem", 1), *LOSSLESS, *(("(root)", number) for number in (5, 6, 7, 8))]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_a_site_that_nobody_wants_runs_as_it_is(
    layout: torch.memory_format, in_parts: bool, grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with its number, and named as where all are wanted."""
    if in_parts:
        monkeypatch.setitem(parts.PART_BYTES, "cpu", 1)
    model = Sliced().to(memory_format=layout)
    x = torch.rand(2, 3, 64, 64).contiguous(memory_format=layout)
    with torch.set_grad_enabled(grad):
        plain = model(x)
        wanted = al.find_sites(model, x)
        nowhere = At(al.Site("nowhere"))
        with al.Opening(model, [nowhere]) as opening:
            for _ in range(2):
                assert torch.equal(model(x), plain)
    assert nowhere.met == []
    assert repr(opening.sites) == repr(wanted)
    assert [(each.path, each.number) for each in opening.sites if not each.lossless] == [
        site for site in SLICED if site not in LOSSLESS
    ]


@pytest.mark.parametrize("path, number", SLICED)
@pytest.mark.parametrize("whole", [False, True])
def test_only_wanted_sites_are_taken(path: str, number: int, whole: bool) -> None:
    model, site = Sliced(), al.Site(path, number)
    x = torch.rand(2, 3, 64, 64)
    at, rest, once = At(site, whole=whole), At(whole=whole), At(site, whole=whole, factor=3.0)
    with torch.no_grad():
        plain = model(x)
        with al.Opening(model, [at, rest]) as opening:
            torch.testing.assert_close(model(x), plain)
        everywhere = On(lambda where, dense: 3.0 * dense if where == site else None)
        with al.Opening(model, [everywhere]):
            tripled = model(x)
        with al.Opening(model, [once]):
            torch.testing.assert_close(model(x), tripled)
    assert not torch.equal(tripled, plain)
    assert at.met == ["begin", str(site), "end"] and rest.met == ["begin", "end"]
    assert len(opening.sites) == len(al.find_sites(model, x))


def test_which_sites_are_wanted_may_change_between_passes() -> None:
    model, at = Sliced(), At(al.Site("stem"))
    with al.Opening(model, [at]):
        model(torch.rand(1, 3, 32, 32))
        at.sites = [al.Site("(root)", 6)]
        model(torch.rand(1, 3, 32, 32))
        at.sites = None
        model(torch.rand(1, 3, 32, 32))
    met = [*["begin", "stem", "end"], *["begin", "(root)#6", "end"]]
    assert at.met[:6] == met and len(at.met) == 6 + 2 + len(SLICED) - 4


@pytest.mark.parametrize("reentrant", [False, True])
def test_unwanted_sites_of_a_checkpointed_module(reentrant: bool) -> None:
    """Autograd runs them again as they ran: it compares what is saved."""
    x = torch.rand(2, 3, 16, 16)
    found = []
    for how in (None, reentrant):
        model, y = Branches(how), x.clone().requires_grad_()
        with al.Opening(model, [At(al.Site("part.a"), factor=2.0)]):
            model(y).square().sum().backward()
        found.append(y.grad)
    torch.testing.assert_close(found[1], found[0])


def test_a_run_has_what_each_handler_took() -> None:
    model, space = Twice(), examples()
    stem = space["MeanSquare"]()
    stem.sites = {al.Site("stem", 2)}
    with al.Scope(model, measures=["energy"], handlers=[stem]) as scope:
        model(torch.rand(2, 3, 32, 32))
    m = scope.measurement()
    assert list(m.sites["name"]) == ["stem#1", "stem#2", "pool"]
    assert list(m.values["mean_square"].notna()) == 2 * [False, True, False]


@pytest.mark.parametrize("sites", ["stem", 3, al.sites.SiteList()])
def test_sites_that_can_hold_none_are_refused(sites: Any) -> None:
    at = At()
    at.sites = sites
    with pytest.raises(al.AliascopeError, match=r"sites that a handler \(At\) wants are a"):
        al.Opening(nn.AvgPool2d(2), [at])
