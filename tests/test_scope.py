"""A model under Scope gives what it gives without, is left as it was, and is measured."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.categories import COLUMNS
from aliascope.runs.store import Store
from aliascope.spectrum import folds
from sites_shared import On

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """Two strided layers, and a site in a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.stem(x))))
        return F.avg_pool2d(x, 2).mean((2, 3))


class Stumbling(Net):
    """Raises in the middle of its forward when told to."""

    error: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.error is not None:
            raise self.error
        return self.pool(x)


def pictures(n: int = 2, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side)


def measured(model: nn.Module, *inputs: Any, **options: Any) -> al.Measurement:
    with al.Scope(model, **options) as scope:
        model(*inputs)
    return scope.measurement()


def names(model: nn.Module, *inputs: Any) -> list[str]:
    return [site.name for site in al.find_sites(model, *inputs)]


# -- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side", "sites"),
    [("resnet18", 64, 8), ("googlenet", 64, 5), ("swin_t", 64, 4)],
)
def test_a_model_gives_the_same_output(name: str, side: int, sites: int) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    x = pictures(2, side)
    with torch.inference_mode():
        plain = model(x)
        with al.Scope(model) as scope:
            opened = model(x)
    torch.testing.assert_close(opened, plain, rtol=1e-4, atol=1e-5)
    assert len(scope.sites) == sites
    assert all(site.supported or "drops nothing" in site.reason for site in scope.sites)
    assert all(site.recomposition_error < 1e-5 for site in scope.sites)
    assert len(scope.measurement().samples) == 2


def test_a_model_in_training_updates_its_statistics_once() -> None:
    model, x = Net(), pictures()
    other = copy.deepcopy(model)
    other(x)
    measured(model, x)
    assert model.norm.num_batches_tracked == 1
    torch.testing.assert_close(model.norm.running_mean, other.norm.running_mean)


def test_random_numbers_are_drawn_as_they_are_without_scope() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Dropout()), pictures()
    torch.manual_seed(1)
    plain = model(x)
    torch.manual_seed(1)
    with al.Scope(model):
        assert torch.equal(model(x) == 0, plain == 0)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_is_measured(precision: torch.dtype) -> None:
    model, x = Net().eval().to(precision), pictures().to(precision)
    plain = model(x)
    with al.Scope(model) as scope:
        opened = model(x)
    assert opened.dtype == precision
    torch.testing.assert_close(opened, plain, rtol=0.02, atol=0.02)
    exact = measured(copy.deepcopy(model).float(), x.float()).fractions("overall")[COLUMNS]
    close = scope.measurement().fractions("overall")[COLUMNS]
    np.testing.assert_allclose(close, exact, atol=0.1)


def test_autocast_and_channels_last_change_nothing() -> None:
    model = Net().eval().to(memory_format=torch.channels_last)
    x = pictures().to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(x)
        with al.Scope(model) as scope:
            opened = model(x)
    assert opened.dtype == plain.dtype
    torch.testing.assert_close(opened, plain, rtol=0.02, atol=0.02)
    assert [site.supported for site in scope.sites] == [True] * 3
    assert len(scope.measurement().counts) == 6


# -- the model is given back as it was ------------------------------------------------------------


def everything(model: nn.Module) -> list[Any]:
    """All that could be changed in a model: attributes, hooks, modes, and values."""
    seen: list[Any] = []
    for name, module in model.named_modules():
        attributes = {
            key: dict(value) if isinstance(value, dict) else value
            for key, value in vars(module).items()
            if key not in ("_parameters", "_buffers", "_modules")
        }
        seen.append((name, type(module), module.forward.__func__, attributes))
    return seen


def global_hooks() -> list[int]:
    module = torch.nn.modules.module
    return [len(hooks) for key, hooks in vars(module).items() if key.startswith("_global")
            and isinstance(hooks, dict)]  # fmt: skip


@pytest.fixture(
    params=[None, ValueError("no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def stumbling(request: pytest.FixtureRequest) -> Stumbling:
    model = Stumbling()
    model.pool.eval()
    model.error = request.param
    return model


def test_a_model_is_never_modified(stumbling: Stumbling) -> None:
    values = copy.deepcopy(stumbling.state_dict())
    before, hooks = everything(stumbling), global_hooks()
    with al.Scope(stumbling) as scope:
        try:
            stumbling(pictures())
        except (ValueError, KeyboardInterrupt) as error:
            assert error is stumbling.error
    assert everything(stumbling) == before
    assert global_hooks() == hooks
    for key, value in stumbling.state_dict().items():
        assert torch.equal(value, values[key])
    assert len(scope.sites) == (2 if stumbling.error is None else 1)


def test_finding_sites_gives_every_module_its_own_mode_back() -> None:
    model = Net().train()
    model.norm.eval()
    al.find_sites(model, pictures())
    assert (model.training, model.norm.training, model.pool.training) == (True, False, True)
    with pytest.raises(RuntimeError):
        al.find_sites(model, torch.rand(2, 7, 32, 32))
    assert (model.training, model.norm.training, model.pool.training) == (True, False, True)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("leave", [False, True], ids=["same context", "entered again"])
@pytest.mark.parametrize("named", [False, True], ids=["", "named samples"])
def test_a_scope_goes_on_after_a_pass_that_failed(
    error: BaseException, leave: bool, named: bool
) -> None:
    model = Stumbling()
    scope = al.Scope(model, detail="pixel")

    def good_pass(first: int) -> None:
        if named:
            with scope.batch(pd.DataFrame({"sample": [first, first + 1]})):
                model(pictures())
        else:
            model(pictures())

    def bad_pass() -> None:
        model.error = error
        with pytest.raises(type(error)):
            model(pictures())
        model.error = None

    with scope:
        good_pass(0)
        bad_pass()
        if not leave:
            good_pass(2)
    if leave:
        with scope:
            good_pass(2)
    m = scope.measurement()
    assert list(m.samples["sample"]) == [0, 1, 2, 3]
    assert list(m.sites["name"]) == ["stem", "pool"]
    assert len(m.counts) == 8
    assert [path.name for path in sorted(m.store.folder.glob("parts/*"))] == ["000000", "000001"]


def test_an_error_caught_by_the_model_does_not_end_the_pass() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Stumbling()
            self.inner.error = ValueError("no")
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.inner(x)
            except ValueError:
                return self.pool(x)

    m = measured(Careful(), pictures())
    assert list(m.sites["name"]) == ["inner.stem", "pool"]
    assert len(m.counts) == 4


def test_a_pass_within_an_except_block_is_measured() -> None:
    model = Net()
    try:
        raise ValueError("before")
    except ValueError:
        m = measured(model, pictures())
    assert len(m.samples) == 2


# -- one Scope at a time --------------------------------------------------------------------------


def test_a_second_scope_is_refused_and_the_first_goes_on() -> None:
    model = Net()
    with al.Scope(model) as scope:
        with pytest.raises(al.AliascopeError, match="Another Scope is active in this process"):
            al.Scope(Net()).__enter__()
        with pytest.raises(al.AliascopeError, match="Another Scope is active"):
            scope.__enter__()
        model(pictures())
    assert len(scope.measurement().samples) == 2
    with al.Scope(model):
        pass


def in_thread(work: Callable[[], Any]) -> BaseException | None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_the_model_is_refused_in_another_thread() -> None:
    model, other = Net(), Net()
    with al.Scope(model) as scope:
        error = in_thread(lambda: model(pictures()))
        assert in_thread(lambda: other(pictures())) is None
        model(pictures())
    assert isinstance(error, al.AliascopeError)
    assert "another thread than its Scope was entered in" in str(error)
    assert len(scope.measurement().samples) == 2


def test_a_scope_in_another_thread_is_refused() -> None:
    with al.Scope(Net()):
        error = in_thread(lambda: al.Scope(Net()).__enter__())
    assert isinstance(error, al.AliascopeError)


# -- gradients ------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.Softplus(), nn.AvgPool2d(2))
        self.head = nn.LPPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.reentrant is None:
            x = self.body(x)
        else:
            x = checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True))


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_gradients_are_those_without_scope(reentrant: bool | None) -> None:
    model = Checkpointed(reentrant).double()
    x = torch.rand(2, 3, 75, 75, dtype=torch.float64, requires_grad=True)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        x.grad = None
        model(x).square().sum().backward()
        return [x.grad, *(p.grad for p in model.parameters())]

    plain = gradients()
    with al.Scope(model) as scope, scope.batch(pd.DataFrame({"sample": [0, 1]})):
        opened = gradients()
    for one, other in zip(opened, plain, strict=True):
        torch.testing.assert_close(one, other)
    m = scope.measurement()
    assert list(m.samples["sample"]) == [0, 1]
    assert list(m.sites["name"]) == ["stem", "body.0", "body.2", "(root)", "head"]
    assert len(m.counts) == 10
    with al.Scope(model) as scope:  # without a batch, a pass ends with the forward
        gradients()
    assert scope.measurement().store.part_numbers() == [0]
    pd.testing.assert_frame_equal(scope.measurement().counts, m.counts)


# -- compiled models, and TorchScript -------------------------------------------------------------


def compiled_whole(model: Net) -> nn.Module:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: Net) -> nn.Module:
    model.compile(backend="eager")
    return model


def compiled_submodule(model: Net) -> nn.Module:
    model.stem = torch.compile(model.stem, backend="eager")
    model.pool.compile(backend="eager")
    return model


@pytest.mark.parametrize("how", [compiled_whole, compiled_in_place, compiled_submodule])
def test_a_compiled_model_is_measured_as_its_original(how: Callable[[Net], nn.Module]) -> None:
    model, x = Net().eval(), pictures()
    plain = model(x)
    compiled = how(model)
    compiled(x)
    with al.Scope(compiled) as scope:
        torch.testing.assert_close(compiled(x), plain)
    torch.testing.assert_close(compiled(x), plain)
    m = scope.measurement()
    assert list(m.sites["name"]) == ["stem", "pool", "(root)"]
    assert len(m.samples) == 2


def scripted(model: nn.Module) -> nn.Module:
    return torch.jit.script(model)


def traced(model: nn.Module) -> nn.Module:
    return torch.jit.trace(model, pictures())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("how", [scripted, traced])
def test_torchscript_is_refused_in_one_sentence(how: Callable[[nn.Module], nn.Module]) -> None:
    script = how(nn.MaxPool2d(2))
    for model, name in ((script, r"\(root\)"), (nn.Sequential(nn.ReLU(), script), "1")):
        with pytest.raises(al.AliascopeError, match=f"^Module '{name}' is TorchScript, .*\\.$"):
            al.Scope(model)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(al.AliascopeError, match="The model is a function, but it must be a"):
        al.Scope(lambda x: x)  # type: ignore[arg-type]


def test_an_exported_program_is_measured() -> None:
    program = torch.export.export(Net().eval(), (pictures(),)).module()
    m = measured(program, pictures())
    assert list(m.sites["op"]) == ["conv", "max_pool", "avg_pool"]


# -- names ----------------------------------------------------------------------------------------


def test_a_module_used_twice_is_two_sites() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.pool(x))

    m = measured(Twice(), pictures())
    assert list(m.sites["name"]) == ["pool#1", "pool#2"]
    assert list(m.sites["dense_shape"]) == [(3, 31, 31), (3, 15, 15)]


def test_a_module_with_two_names_has_the_first() -> None:
    pool = nn.MaxPool2d(2)
    assert names(nn.Sequential(pool, nn.ReLU(), pool), pictures()) == ["0#1", "0#2"]


def test_functional_sites_of_one_forward_are_numbered_in_the_order_they_run() -> None:
    class Functional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(x, 2)[:, :, ::2, ::2]
            return F.interpolate(x, scale_factor=0.5)

    sites = al.find_sites(Functional(), pictures())
    assert [(site.name, site.op) for site in sites] == [
        ("(root)#1", "max_pool"),
        ("(root)#2", "slice"),
        ("(root)#3", "interpolate"),
    ]
    assert names(nn.Sequential(Functional()), pictures()) == ["0#1", "0#2", "0#3"]


def test_what_runs_outside_the_model_is_not_its_site() -> None:
    model = Net()
    with al.Scope(model) as scope:
        x = F.avg_pool2d(pictures(2, 64), 2)
        model(x)
        Net()(x)
    assert [site.name for site in scope.sites] == ["stem", "pool", "(root)"]
    assert len(scope.measurement().samples) == 2


# -- samples and batches --------------------------------------------------------------------------


def test_two_passes_are_two_parts_and_twice_the_samples() -> None:
    model = Net().eval()
    with al.Scope(model) as scope:
        model(pictures(2))
        model(pictures(3))
    m = scope.measurement()
    assert list(m.samples["sample"]) == [0, 1, 2, 3, 4]
    assert m.store.part_numbers() == [0, 1]
    assert m.counts.groupby("site")["sample"].apply(list).tolist() == [[0, 1, 2, 3, 4]] * 3


def test_a_sample_counts_the_same_in_any_batch() -> None:
    model, x = Net().eval(), pictures(3)
    with al.Scope(model) as scope:
        for picture in x:
            model(picture[None])
    pd.testing.assert_frame_equal(
        scope.measurement().counts, measured(model, x).counts.sort_values(
            ["sample", "site"], ignore_index=True)
    )  # fmt: skip


def test_image_sizes_may_vary_between_batches() -> None:
    model = Net().eval()
    with al.Scope(model, detail="pixel") as scope:
        model(pictures(2, 32))
        model(pictures(1, 48))
    m = scope.measurement()
    bins = m.counts.loc[m.counts["site"] == 0, COLUMNS].sum(axis=1)
    assert bins.tolist() == [4 * 32 * 32] * 2 + [4 * 48 * 48]
    assert m.category_map("stem", 1).shape == (4, 32, 32)
    assert m.category_map("stem", 2).shape == (4, 48, 48)


def test_a_list_of_images_has_as_many_samples() -> None:
    class Stacking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, images: list[Tensor]) -> Tensor:
            return self.pool(torch.stack(images))

    assert len(measured(Stacking(), [*pictures(3)]).samples) == 3


def test_keyword_inputs_are_counted_at_the_first_site() -> None:
    model = Net()
    with al.Scope(model) as scope:
        model(x=pictures(3))
    assert len(scope.measurement().samples) == 3


class Windowed(nn.Module):
    """Pools windows of each image, put in the batch; ``extra`` of them belong to none."""

    def __init__(self, extra: int = 0) -> None:
        super().__init__()
        self.extra = extra
        self.pool = nn.MaxPool2d(2)
        self.stem = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        windows = x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(
            n * 4, c, h // 2, w // 2)  # fmt: skip
        self.pool(torch.cat([windows, windows[: self.extra]]))
        return self.stem(x)


def test_windows_of_an_image_count_as_one_sample() -> None:
    x = pictures(2)
    whole = measured(Windowed(), x, detail="pixel")
    counts = whole.counts.loc[whole.counts["site"] == 0, COLUMNS].to_numpy()
    assert counts.sum(axis=1).tolist() == [4 * 3 * 15 * 15] * 2
    for i in range(2):
        windows = [x[i, :, a : a + 16, b : b + 16] for a in (0, 16) for b in (0, 16)]
        alone = [measured(nn.MaxPool2d(2), w[None]).counts[COLUMNS].to_numpy() for w in windows]
        assert np.array_equal(counts[i], np.concatenate(alone).sum(axis=0))
    assert whole.category_map("pool", 1).shape == (4 * 3, 15, 15)


def test_a_batch_that_does_not_divide_into_samples_is_listed() -> None:
    m = measured(Windowed(extra=1), pictures(2))
    site = m.sites.set_index("name").loc["pool"]
    assert not site["supported"]
    assert site["reason"] == "its batch of 9 does not divide into 2 samples"
    assert list(m.fractions("site").index) == ["stem"]


def test_data_may_decide_which_sites_run() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bright, self.dark = nn.AvgPool2d(2), nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.bright(x) if x.mean() > 0.5 else self.dark(x)

    model = Deciding()
    with al.Scope(model) as scope:
        for level in (1.0, 0.0, 1.0):
            model(torch.full((2, 3, 8, 8), level))
    m = scope.measurement()
    assert list(m.sites["name"]) == ["bright", "dark"]
    assert m.counts.groupby("site")["sample"].apply(list).tolist() == [[0, 1, 4, 5], [2, 3]]


def test_a_pass_without_an_image_for_a_site_has_no_counts_there() -> None:
    class Proposing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(2)

        def forward(self, x: Tensor, n: int) -> Tensor:
            return self.head(self.stem(x)[:n])

    model = Proposing()
    with al.Scope(model) as scope:
        assert model(pictures(), 0).shape == (0, 4, 7, 7)
        model(pictures(), 2)
    m = scope.measurement()
    assert m.sites["supported"].all()
    assert m.counts.groupby("site")["sample"].apply(list).tolist() == [[0, 1, 2, 3], [2, 3]]


def test_samples_are_named_by_the_batch() -> None:
    model = Net().eval()
    samples = pd.DataFrame({"sample": [3, 7], "name": ["cat", "dog"]})
    with al.Scope(model) as scope, scope.batch(samples) as batch:
        output = model(pictures())
        batch.samples["score"] = output[:, 0].detach().numpy()
    m = scope.measurement()
    assert m.samples["name"].tolist() == ["cat", "dog"]
    assert m.samples["score"].tolist() == output[:, 0].tolist()
    assert m.counts["sample"].unique().tolist() == [3, 7]


def test_a_batch_is_one_pass() -> None:
    model = Net()
    samples = pd.DataFrame({"sample": [0, 1]})
    with al.Scope(model) as scope:
        refused = pytest.raises(al.AliascopeError, match="ran twice within one batch")
        with refused, scope.batch(samples):
            model(pictures())
            model(pictures())
        refused = pytest.raises(al.AliascopeError, match="A batch is open already")
        with refused, scope.batch(samples), scope.batch(samples):
            pass
        with scope.batch(samples):
            model(pictures())
    assert scope.measurement().store.part_numbers() == [0]


def test_a_batch_that_raises_leaves_no_part() -> None:
    model = Net()
    with al.Scope(model) as scope:
        samples = pd.DataFrame({"sample": [0, 1]})
        with pytest.raises(ValueError, match="later"), scope.batch(samples):
            model(pictures())
            raise ValueError("later")
        with pytest.raises(al.AliascopeError, match="Nothing was measured yet"):
            scope.measurement()


def test_images_that_could_not_be_read_are_kept_with_the_part() -> None:
    scope = al.Scope(Net())
    with scope, scope.batch(pd.DataFrame({"sample": []}, dtype=int), unreadable=[(4, "x", "torn")]):
        pass
    assert scope.measurement().unreadable == [(4, "x", "torn")]


def test_there_is_no_measurement_before_anything_ran() -> None:
    scope = al.Scope(Net())
    with pytest.raises(al.AliascopeError, match="Nothing was measured yet; run the model inside"):
        scope.measurement()
    with pytest.raises(al.AliascopeError, match="has detail=None and measures nothing"):
        al.Scope(Net(), detail=None).measurement()


def test_a_measurement_is_of_the_passes_so_far() -> None:
    model = Net()
    with al.Scope(model) as scope:
        model(pictures())
        early = scope.measurement()
        model(pictures())
    assert (len(early.samples), len(scope.measurement().samples)) == (2, 4)


def test_a_store_of_ones_own_is_written_to(tmp_path: Any) -> None:
    m = measured(Net(), pictures(), store=Store(tmp_path / "run"))
    assert al.load(tmp_path / "run").counts.equals(m.counts)


def test_an_unknown_detail_is_refused() -> None:
    with pytest.raises(al.AliascopeError, match="detail is 'bins', but it must be one of"):
        al.Scope(Net(), detail="bins")


# -- handlers -------------------------------------------------------------------------------------


class Capture(On):
    """Keeps the dense signals."""

    def __init__(self) -> None:
        self.dense: dict[str, Tensor] = {}
        super().__init__(self.keep)

    def keep(self, site: al.Site, dense: Tensor) -> None:
        self.dense[site.path] = dense.detach().clone()


def test_a_handler_sees_the_dense_signal() -> None:
    model, x, capture = Net().eval(), pictures(), Capture()
    with al.Scope(model, detail=None, handlers=[capture]):
        model(x)
    dense = F.conv2d(x, model.stem.weight, model.stem.bias, padding=1)
    assert list(capture.dense) == ["stem", "pool", "(root)"]
    torch.testing.assert_close(capture.dense["stem"], dense)
    torch.testing.assert_close(capture.dense["stem"][..., ::2, ::2], model.stem(x))


def test_a_handler_sees_an_image_without_a_batch_as_a_batch_of_one() -> None:
    model, capture = nn.MaxPool2d(2), Capture()
    with al.Scope(model, detail=None, handlers=[capture]):
        assert model(pictures()[0]).shape == (3, 16, 16)
    assert capture.dense["(root)"].shape == (1, 3, 31, 31)


def test_a_handler_may_change_what_is_decimated() -> None:
    model, x, after = Net().eval(), pictures(), Capture()

    def silence(site: al.Site, dense: Tensor) -> Tensor | None:
        return torch.zeros_like(dense) if site.path == "pool" else None

    assert model(x).abs().sum() > 0
    with al.Scope(model, handlers=[On(silence), after]) as scope:
        assert torch.equal(model(x), torch.zeros(2, 4))
    assert after.dense["pool"].abs().sum() == 0
    by_site = scope.measurement().fractions("site")
    assert by_site.loc["pool", "no_pass"] == 1 > by_site.loc["stem", "no_pass"]


def test_gradients_flow_through_what_a_handler_returns() -> None:
    model, x = nn.AvgPool2d(2), pictures().requires_grad_()
    with al.Scope(model, detail=None, handlers=[On(lambda site, dense: 3 * dense)]):
        model(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.75))


def test_a_handler_must_keep_the_shape() -> None:
    model = Net()
    with al.Scope(model, handlers=[On(lambda site, dense: dense[..., 1:])]) as scope:
        with pytest.raises(al.AliascopeError, match=r"of stem from shape \(2, 4, 32, 32\) to "):
            model(pictures())
        with pytest.raises(al.AliascopeError, match="Nothing was measured yet"):
            scope.measurement()


def test_an_error_in_a_handler_is_the_callers() -> None:
    def fail(site: al.Site, dense: Tensor) -> None:
        raise LookupError(site.path)

    model = Net()
    with al.Scope(model, handlers=[On(fail)]), pytest.raises(LookupError, match="stem"):
        model(pictures())


# -- values that are not finite -------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("detail", "where"),
    [(detail, "sample 3, channel 2") for detail in ("site", "channel", "folds")],
)
def test_values_that_are_not_finite_are_an_error_that_says_where(
    value: float, detail: str, where: str
) -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2))
    bad = pictures(2)
    bad[1, 2, 20, 20] = value
    if value < 0:
        bad[1, 2] = value  # max pooling forgives a single one
    with al.Scope(model, detail=detail) as scope:
        model(pictures(2))
        with pytest.raises(al.AliascopeError, match=rf"^Site 0 has NaN or .* \({where}\);"):
            model(bad)
        assert len(scope.measurement().samples) == 2
        model(pictures(2))
    m = scope.measurement()
    assert list(m.samples["sample"]) == [0, 1, 2, 3]
    assert m.store.part_numbers() == [0, 1]


# -- what is kept ---------------------------------------------------------------------------------


@pytest.fixture(params=["float32", "float64"])
def kept(request: pytest.FixtureRequest) -> Iterator[tuple[al.Measurement, dict[str, Tensor]]]:
    """A measurement with all there is, and the dense signals it was made from."""
    model, capture = Net().eval(), Capture()
    dtype = getattr(torch, request.param)
    m = measured(model.to(dtype), pictures().to(dtype), detail="folds", handlers=[capture])
    yield m, capture.dense


def test_categories_are_those_of_the_definition(kept: Any) -> None:
    m, dense = kept
    for name, signals in dense.items():
        for i, signal in enumerate(signals):
            expected = al.classify(signal, (2, 2))
            assert np.array_equal(m.category_map(name, i), expected.numpy())


def test_folds_are_those_of_the_definition(kept: Any) -> None:
    m, dense = kept
    for name, signals in dense.items():
        for i, signal in enumerate(signals):
            expected = folds(signal, (2, 2)).to(torch.complex64)
            found = torch.from_numpy(m.folds(name, i))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_counts_are_sums_of_categories(kept: Any) -> None:
    m, dense = kept
    for row, name in enumerate(dense):
        for i in range(2):
            counted = np.bincount(m.category_map(name, i).ravel(), minlength=4)
            here = (m.counts["site"] == row) & (m.counts["sample"] == i)
            assert m.counts.loc[here, COLUMNS].to_numpy().tolist() == [counted.tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_detail_counts_the_same(dtype: torch.dtype) -> None:
    model, x = Net().eval().to(dtype), pictures().to(dtype)
    details = ("site", "channel", "pixel", "folds")
    of = {detail: measured(model, x, detail=detail) for detail in details}
    for m in of.values():
        pd.testing.assert_frame_equal(m.counts, of["site"].counts)
        pd.testing.assert_frame_equal(m.fractions("overall"), of["site"].fractions("overall"))
    channels = of["channel"].fractions("channel")
    assert len(channels) == 12
    by_site = channels.groupby("site", sort=False).mean()
    np.testing.assert_allclose(by_site, of["site"].fractions("site")[COLUMNS], rtol=1e-12)
    with pytest.raises(al.AliascopeError, match="Channels were not kept"):
        of["site"].fractions("channel")
    with pytest.raises(al.AliascopeError, match="measure with detail='pixel'"):
        of["channel"].category_map("stem", 0)


def test_values_beyond_single_precision_are_measured_at_every_detail() -> None:
    model, x = nn.AvgPool2d(2), pictures().double()
    for detail in ("site", "pixel"):
        scaled = measured(model, x * 2.0**200, detail=detail).counts
        assert scaled.equals(measured(model, x).counts)


def test_the_choices_reach_the_counts() -> None:
    model, capture, x = nn.MaxPool2d(2), Capture(), pictures()
    choices = {
        "threshold_db": 35.0,
        "reference": "mean",
        "grid": "native",
        "fold_scale": "contribution",
    }
    m = measured(model, x, detail="pixel", handlers=[capture], **choices)
    expected = al.classify(capture.dense["(root)"], (2, 2), **choices)
    assert np.array_equal(m.category_map("(root)", 1), expected[1].numpy())
    assert m.sites["grid"].tolist() == ["native"]


def test_a_model_without_sites_has_samples_and_no_counts() -> None:
    m = measured(nn.ReLU(), pictures())
    assert (len(m.samples), len(m.sites), len(m.counts)) == (2, 0, 0)


def test_unsupported_sites_come_last_and_have_no_fractions() -> None:
    model = nn.Sequential(nn.PixelUnshuffle(2), nn.AdaptiveAvgPool2d(7), nn.MaxPool2d(2))
    m = measured(model, pictures())
    assert list(m.sites["name"]) == ["2", "0", "1"]
    assert list(m.sites["supported"]) == [True, False, False]
    assert list(m.fractions("site").index) == ["2"]


# -- passes that are not a call of the whole model -----------------------------------------------


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.body = nn.MaxPool2d(2)

    def forward(self, x):
        return self.body(self.stem(x))


def test_modules_called_one_after_the_other_are_one_pass_only_where_one_says_so():
    model, x = Halves(), torch.rand(2, 3, 17, 17)
    with al.Scope(model) as scope:
        for _ in range(2):
            with scope.batch():
                model.body(model.stem(x))
    measurement = scope.measurement()
    assert list(measurement.samples["sample"]) == [0, 1, 2, 3]
    assert len(measurement.counts) == 4 * 2
    with al.Scope(model) as scope, pytest.raises(al.AliascopeError, match=r"stem and body"):
        model.body(model.stem(x))


def test_one_module_of_a_model_can_be_measured_alone():
    model, x = Halves(), torch.rand(2, 3, 17, 17)
    with al.Scope(model) as scope:
        model.stem(x)
        model.stem(x)
    assert len(scope.measurement().samples) == 4
    assert list(scope.measurement().sites["name"]) == ["stem"]


def test_a_model_that_calls_itself_is_one_pass():
    class Mirrored(Halves):
        def forward(self, x, again=True):
            y = super().forward(x)
            return y + self(x.flip(-1), again=False) if again else y

    with al.Scope(Mirrored()) as scope:
        scope.model(torch.rand(2, 3, 17, 17))
    measurement = scope.measurement()
    assert len(measurement.samples) == 2
    assert list(measurement.sites["name"]) == ["stem#1", "body#1", "stem#2", "body#2"]


def test_a_single_image_without_a_batch_axis_is_one_sample():
    with al.Scope(Halves()) as scope:
        scope.model(torch.rand(3, 17, 17))
    assert len(scope.measurement().samples) == 1
    assert scope.measurement().sites["supported"].all()


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("way", ["grad", "backward"])
def test_a_checkpointed_module_is_opened_again_in_backward(use_reentrant, way):
    # Max pooling saves its indices, whose size shows whether it was opened.
    class Root(Halves):
        def forward(self, x):
            return checkpoint(self.body, self.stem(x), use_reentrant=use_reentrant)

    seen = []

    def double(site, dense):
        seen.append(site.path)
        return 2 * dense if site.op == "max_pool" else None

    torch.manual_seed(0)
    model, x = Root(), torch.rand(2, 3, 17, 17, requires_grad=True)
    expected = torch.autograd.grad(4 * Halves.forward(model, x).square().sum(), x)[0]
    with al.Scope(model, handlers=[On(double)]) as scope:
        loss = model(x).square().sum()
        if way == "grad" and not use_reentrant:
            (found,) = torch.autograd.grad(loss, x)
        else:
            loss.backward()
            found = x.grad
    assert torch.allclose(found, expected)
    assert seen[:2] == ["stem", "body"] and set(seen[2:]) <= {"body"}
    assert len(scope.measurement().samples) == 2


def test_a_site_that_fails_later_is_left_out_of_every_table():
    class Windows(nn.Module):
        def forward(self, x):
            y = F.avg_pool2d(x, 2)
            return F.max_pool2d(y[: len(x) // 2 * 2].reshape(2, -1, *y.shape[2:]), 2)

    with al.Scope(Windows()) as scope:
        for n in (2, 4):
            scope.model(torch.rand(n, 3, 16, 16))
    measurement = scope.measurement()
    assert list(measurement.sites["supported"]) == [True, False]
    by_site = measurement.fractions("site").iloc[0]
    overall = measurement.fractions("overall").iloc[0]
    assert by_site.equals(overall.rename(by_site.name))
    assert set(measurement.counts["site"]) == {0}


def test_a_store_that_holds_a_run_is_not_written_over(tmp_path):
    al.measure(nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)]).save(tmp_path / "run")
    model = nn.AvgPool2d(2)
    store = Store(tmp_path / "run")
    with al.Scope(model, store=store), pytest.raises(al.AliascopeError, match="holds a run"):
        model(torch.rand(1, 3, 8, 8))


def test_sites_can_be_found_without_memory_on_the_meta_device():
    with torch.device("meta"):
        model, x = Halves(), torch.rand(2, 3, 17, 17)
    assert [site.name for site in al.find_sites(model, x)] == ["stem", "body"]


def test_the_sites_of_an_exported_program_are_found():
    model, x = Halves().eval(), torch.rand(2, 3, 17, 17)
    exported = torch.export.export(model, (x,)).module()
    assert [site.op for site in al.find_sites(exported, x)] == ["conv", "max_pool"]
