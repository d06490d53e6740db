"""A tracker measures every k-th step of a training, and leaves the training as it is."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import aliascope as al
from aliascope.commands.main import main
from aliascope.runs.tracked import read_tracked


class Net(nn.Module):
    """A strided convolution, a pool in the model's own forward, and perhaps a checkpoint."""

    def __init__(self, reentrant: bool | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.reentrant = reentrant

    def forward(self, x):
        x = F.avg_pool2d(self.stem(x), 2)
        if self.reentrant is None:
            x = self.body(x)
        else:
            x = checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(x.mean(dim=(-2, -1)))


def batches(n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 3, 40, 40, generator=generator) for _ in range(n)]


def trained(model, tracker, way, n=5):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if way == "attached":
        tracker.attach()
    for x in batches(n):
        if way == "step":
            with tracker.step():
                loss = model(x).square().mean()
                loss.backward()
        else:
            loss = model(x).square().mean()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if tracker is not None:
        tracker.remove()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("way", ["step", "attached"])
@pytest.mark.parametrize("reentrant", [None, False, True], ids=str)
def test_training_is_the_same_and_every_second_step_is_measured(way, reentrant):
    plain, tracked = Net(reentrant), Net(reentrant)
    tracked.load_state_dict(plain.state_dict())
    tracker = al.Tracker(tracked, every=2)
    for want, got in zip(
        trained(plain, None, "plain"), trained(tracked, tracker, way), strict=True
    ):
        torch.testing.assert_close(got, want)
    history = tracker.history()
    assert list(history.index) == [0, 2, 4]
    assert list(history.columns) == ["stem", "(root)", "body.0"]
    assert history.gt(0).all(axis=None) and history.lt(1).all(axis=None)
    assert not tracked._forward_hooks and not tracked._forward_pre_hooks
    with al.Scope(tracked):  # nothing is left open
        tracked(batches(1)[0])


def test_a_step_has_what_a_measurement_of_its_batch_has():
    model, (x,) = Net(), batches(1)
    tracker = al.Tracker(model, measures=["energy", "categories", "floor"])
    with tracker.step():
        model(x)
    measured = al.measure(model, [x], floor_samples=4)
    energy, fractions, floor = measured.energy(), measured.fractions(), measured.floor()
    for site in energy.index:
        latest = {name: tracker.latest[f"{name}/{site}"] for name in ("aliased_energy", "tangled")}
        assert latest["aliased_energy"] == pytest.approx(energy["aliased_energy"][site], rel=1e-5)
        assert latest["tangled"] == pytest.approx(fractions["tangled"][site])
        assert tracker.latest[f"floor_tangled/{site}"] == pytest.approx(floor["tangled"][site])


def test_gradients_that_are_accumulated_are_one_step():
    model, (x, y) = Net(), batches(2)
    each = []
    for images in (x, y):
        tracker = al.Tracker(model)
        with tracker.step():
            model(images)
        each.append(tracker.latest["aliased_energy/stem"])
    with tracker.step(100):
        model(x)
        model(y)
    assert tracker.latest_step == 100
    assert tracker.latest["aliased_energy/stem"] == pytest.approx(sum(each) / 2)


def test_only_training_counts_when_attached():
    model, (x,) = Net(), batches(1)
    tracker = al.Tracker(model, every=1).attach()
    model.eval()
    model(x)
    assert tracker.latest_step is None
    model.train()
    model(x)
    assert tracker.latest_step == 0


def test_mixed_precision_is_measured_in_float32():
    model, (x,) = Net(), batches(1)
    tracker = al.Tracker(model, every=1).attach()
    model(x)
    plain = tracker.latest
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(x).square().mean().backward()
    assert tracker.latest_step == 1
    assert tracker.latest == pytest.approx(plain, rel=0.02)


def test_a_compiled_model_runs_compiled_but_on_measured_steps():
    calls = []

    def backend(graph, inputs):
        def run(*args):
            calls.append(1)
            return graph(*args)

        return run

    model = Net()
    compiled = torch.compile(model, backend=backend)
    tracker = al.Tracker(compiled, every=2).attach()
    seen = []
    for x in batches(4):
        before = len(calls)
        compiled(x).mean().backward()
        seen.append(len(calls) > before)
    assert seen == [False, True, False, True]
    assert list(tracker.history().columns) == ["stem", "(root)", "body.0"]
    model.compile(backend=backend)
    with pytest.raises(al.AliascopeError, match="compiled in place"):
        al.Tracker(model).attach()


def test_what_is_not_finite_is_warned_of_and_left_out():
    model, (x,) = Net(), batches(1)
    tracker = al.Tracker(model, every=1)
    warned = pytest.warns(UserWarning, match=r"Step 0 is not measured: Site stem has NaN")
    with warned, tracker.step():
        model(x * torch.inf)
    assert tracker.latest == {}
    with tracker.step():
        model(x)
    assert tracker.latest_step == 1


@pytest.mark.parametrize("way", ["step", "attached"])
def test_an_exception_is_the_users_own_and_leaves_nothing_open(way):
    model, (x,) = Net(), batches(1)
    tracker = al.Tracker(model, every=1)
    if way == "attached":
        tracker.attach()
        with pytest.raises(RuntimeError):
            model(x[:, :2])
    else:
        with pytest.raises(RuntimeError), tracker.step():
            model(x[:, :2])
    assert tracker.latest == {}
    with al.Scope(model):
        pass


def test_what_is_held_is_bounded_and_covers_the_training():
    model, (x,) = nn.AvgPool2d(2), batches(1)
    logged = []
    tracker = al.Tracker(model, every=1, most=4, log=lambda values, step: logged.append(step))
    for _ in range(40):
        with tracker.step():
            model(x)
    steps = list(tracker.history().index)
    assert len(steps) <= 4 and steps[0] == 0 and steps[-1] > 30
    assert logged == list(range(40))


def test_the_table_and_the_figure_say_the_same(tmp_path):
    model = Net()
    tracker = al.Tracker(model, every=1)
    trained(model, tracker, "step", n=3)
    tracker.to_csv(tmp_path / "track.csv")
    table = pd.read_csv(tmp_path / "track.csv").pivot(index="step", columns="site", values="number")
    history = tracker.history()
    pd.testing.assert_frame_equal(table[history.columns], history, check_names=False)
    lines = {line.get_gid(): line for line in tracker.plot().axes[0].lines if line.get_gid()}
    assert list(100 * history["stem"]) == pytest.approx(list(lines["stem"].get_ydata()))
    pd.testing.assert_frame_equal(read_tracked(tmp_path / "track.csv"), history, check_names=False)
    with pytest.raises(SystemExit) as end:
        main(["plot", "tracking", str(tmp_path / "track.csv"), "-o", str(tmp_path / "t.svg")])
    assert not end.value.code and 'id="stem"' in (tmp_path / "t.svg").read_text()
    with pytest.raises(SystemExit) as end:  # laid out as every other figure may be
        main(["plot", "tracking", str(tmp_path / "track.csv"), "--width", "two", "--no-caption"])
    assert not end.value.code and (tmp_path / "tracking-two.png").is_file()


def test_a_file_that_no_tracker_wrote_is_refused_by_name(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "track.csv").write_text("step,site,value,number\n0,stem,tangled,0.5\n")
    for name, words in {"none": "cannot be read", "other": "columns a, b"}.items():
        with pytest.raises(al.AliascopeError, match=words):
            read_tracked(tmp_path / f"{name}.csv")
    with pytest.raises(al.AliascopeError, match="did you mean tangled"):
        read_tracked(tmp_path / "track.csv", "tangeld")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.Tracker(Net(), every=0), "every is 0"),
        (lambda: al.Tracker(Net(), measures=["thresholds"]), "what is tracked is energy"),
        (lambda: al.Tracker(Net()).history(), "No step was measured yet"),
        (lambda: al.Tracker(nn.DataParallel(Net())), "nn.DataParallel"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(al.AliascopeError, match=message):
        make()


def test_a_model_in_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        model = Net()
        plain = copy.deepcopy(model)
        outer = nn.parallel.DistributedDataParallel(model)
        tracker = al.Tracker(outer, every=1).attach()
        (x,) = batches(1)
        outer(x).square().mean().backward()
        plain(x).square().mean().backward()
        assert list(tracker.history().columns) == ["stem", "(root)", "body.0"]
        torch.testing.assert_close(model.stem.weight.grad, plain.stem.weight.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_tracking_loads_nothing_for_tables_or_figures():
    code = (
        "import sys, torch, aliascope as al\n"
        "model = torch.nn.AvgPool2d(2)\n"
        "tracker = al.Tracker(model).attach()\n"
        "model(torch.rand(1, 1, 8, 8))\n"
        "assert tracker.latest\n"
        "names = ('pandas', 'zarr', 'pyarrow', 'scipy.stats', 'matplotlib')\n"
        "print([name for name in names if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(al.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_lightning_trains_with_the_callback(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    tracker = al.Tracker(module, every=2)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.cat(batches(4))), 4)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[tracker.lightning()],
        logger=lightning.loggers.CSVLogger(tmp_path),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert list(tracker.history().index) == [0, 2]
    assert "aliased_energy/net.stem" in tracker.latest
    (logged,) = tmp_path.rglob("metrics.csv")
    assert "aliased_energy/net.stem" in pd.read_csv(logged)


def test_transformers_trains_with_the_callback(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, images, labels=None):
            logits = self.net(images)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    model = Model()
    tracker = al.Tracker(model, every=2)
    data = [{"images": x, "labels": 1} for x in torch.cat(batches(4))]
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(tmp_path),
            max_steps=4,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=data,
        callbacks=[tracker.transformers()],
    )
    trainer.train()
    assert list(tracker.history().index) == [0, 2]
    assert "aliased_energy/net.stem" in tracker.latest
