"""Training of one network: the published recipe, resumable after every epoch."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.models.devices import check_device
from aliascope.models.execution import fast_layout, products_in
from aliascope.oscillations.images import Oscillations
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.training_folder import COMPLETE, RUNNING, TrainingFolder, best_epoch
from aliascope.version import __version__

KEPT_BYTES = 2**29
"""A set of images up to this size is made once and kept on the device, a larger one per batch."""

EVALUATION_BATCH = 250
"""Images in a pass without gradients."""


Progress = Callable[[int, int, list[dict[str, Any]]], None]
"""Told of every step: images seen so far, images in all, and the epochs' rows so far."""


@dataclass(frozen=True)
class Machine:
    """Where and in which way to compute; what depends on it differs by rounding only.

    Parameters
    ----------
    device : str
        Such as "cpu" or "cuda:0".
    compile : bool
        Compile the network with ``torch.compile``.
    deterministic : bool
        Refuse operations whose result may change from run to run (see
        ``torch.use_deterministic_algorithms``); on the CPU all of these networks repeat anyway.
    """

    device: str = "cpu"
    compile: bool = False
    deterministic: bool = False

    def describe(self) -> dict[str, Any]:
        """As training.json records it."""
        on_gpu = torch.device(self.device).type == "cuda"
        return {
            "device": self.device,
            "name": torch.cuda.get_device_name(self.device) if on_gpu else _processor(),
            "threads": torch.get_num_threads(),
            "compile": self.compile,
            "deterministic": self.deterministic,
            "aliascope": __version__,
            "torch": torch.__version__,
        }


class Scores(NamedTuple):
    """Mean over images."""

    loss: float
    accuracy: float


def train(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    *,
    machine: Machine = Machine(),
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a network and keep it in a folder.

    Parameters
    ----------
    recipe : Recipe
        What to train and how.
    folder : path
        Where to keep it (see `training_folder`).
    machine : Machine
        Where to compute.
    resume : bool
        Go on with the training in the folder; where it is complete, only read its result.
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    dict
        The content of training.json: ``accuracy`` is the best epoch's on the validation images,
        as published; ``test_accuracy`` that of its weights, in float32, on as many images of a
        third set, which chose nothing.

    Raises
    ------
    AliascopeError
        If the folder holds a training and `resume` is not given, or another one than `recipe`; if
        the device is not there; if the loss stops being finite.

    Examples
    --------
    >>> import tempfile
    >>> small = Recipe("fc-1h-58", epochs=2, frequencies=2, train_images=256, validation_images=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = train(small, folder)
    >>> result["parameters"], result["status"], result["accuracy"] * 64 % 1  # of 64 images
    (59686, 'complete', 0.0)
    """
    files = TrainingFolder(folder)
    if files.exists():
        content = _check_same(files, recipe, resume)
        if content["status"] == COMPLETE:
            return content
    else:
        files.check_free()
    with _computing(machine):
        session = _Session(recipe, machine)
        kept = files.read_checkpoint() if files.exists() else None
        if kept is not None:
            session.restore(*kept)
        content = {
            "status": RUNNING,
            "recipe": recipe.plain(),
            "published_name": recipe.member.published,
            "parameters": sum(p.numel() for p in session.network.parameters()),
            "machine": machine.describe(),
        }
        files.write(content)
        while not session.ended:
            session.run_epoch(progress)
            files.write_epoch(
                session.history, session.last, session.best, session.optimizer_state()
            )
        files.write_products(session.history, session.last, session.best)
        best = best_epoch(session.history)
        content |= {
            "status": COMPLETE,
            "epochs": len(session.history),
            "best_epoch": best["epoch"],
            "accuracy": best["validation_accuracy"],
            "test_accuracy": session.test().accuracy,
            "seconds": round(sum(row["seconds"] for row in session.history), 1),
        }
        files.finish(content)
    return files.read()


def _check_same(files: TrainingFolder, recipe: Recipe, resume: bool) -> dict[str, Any]:
    content = files.read()
    there = asdict(Recipe.from_plain(content["recipe"]))
    for name, value in asdict(recipe).items():
        if there[name] != value:
            had, wanted = (known if known != "" else "none" for known in (there[name], value))
            raise AliascopeError(
                f"{files.folder} holds a training with {name} {had}, not {wanted}: give "
                "another folder, or the same options."
            )
    if not resume:
        raise AliascopeError(
            f"{files.folder} already holds a training: pass --resume to go on with it, or another "
            "folder."
        )
    return content


class _Session:
    """A network in training, with all that changes from epoch to epoch."""

    def __init__(self, recipe: Recipe, machine: Machine) -> None:
        self.recipe = recipe
        self.device = torch.device(machine.device)
        self.network = recipe.build(recipe.seed)
        self.network.to(self.device)
        self.network.to(memory_format=fast_layout(self.network, self.device))
        self._run = torch.compile(self.network) if machine.compile else self.network
        self._optimizer = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._train = Supply(recipe.images("train"), self.device)
        self._validation = Supply(recipe.images("validation"), self.device)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}

    @property
    def last(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or nothing is left to learn."""
        if not self.history:
            return False
        perfect = self.history[-1]["validation_accuracy"] == 1.0
        return perfect or len(self.history) >= self.recipe.epochs

    def run_epoch(self, progress: Progress | None) -> None:
        epoch = len(self.history)
        began = time.perf_counter()
        rate = self.recipe.rate_at(epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        trained = self._train_once(epoch, progress)
        if not torch.isfinite(torch.tensor(trained.loss)):
            raise AliascopeError(
                f"The loss of {self.recipe.network} is {trained.loss} in epoch {epoch + 1}: train "
                "with a smaller --learning-rate, or with --precision float32."
            )
        validated = self._evaluate(self._run, self._validation, self.recipe.precision)
        self.history.append(
            {
                "epoch": epoch + 1,
                "learning_rate": rate,
                "train_loss": trained.loss,
                "train_accuracy": trained.accuracy,
                "validation_loss": validated.loss,
                "validation_accuracy": validated.accuracy,
                "seconds": round(time.perf_counter() - began, 3),
            }
        )
        if best_epoch(self.history) is self.history[-1]:
            self.best = {name: value.clone() for name, value in self.last.items()}

    def _train_once(self, epoch: int, progress: Progress | None) -> Scores:
        images_in_all = self.recipe.epochs * len(self._train)
        done = epoch * len(self._train)
        totals = torch.zeros(2, device=self.device, dtype=torch.float64)
        self.network.train()
        for indices in torch.split(self._order(epoch), self.recipe.batch_size):
            images, labels = self._train.batch(indices)
            loss, logits = self.step(images, labels)
            totals += _sums(loss * len(labels), logits, labels)
            done += len(labels)
            if progress is not None:
                progress(done, images_in_all, self.history)
        return Scores(*(totals / len(self._train)).tolist())

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train on a batch; give its mean loss and its logits."""
        self._optimizer.zero_grad(set_to_none=True)
        with products_in(self.recipe.precision, self.device):
            logits = self._run(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach(), logits.detach()

    def _order(self, epoch: int) -> Tensor:
        """Give the epoch's order of the training images, a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed((self.recipe.seed << 20) + epoch)
        return torch.randperm(len(self._train), generator=generator).to(self.device)

    def _evaluate(self, run: Callable[[Tensor], Tensor], images: Supply, precision: str) -> Scores:
        totals = torch.zeros(2, device=self.device, dtype=torch.float64)
        self.network.eval()
        with torch.inference_mode():
            for pixels, labels in images.batches(EVALUATION_BATCH):
                with products_in(precision, self.device):
                    logits = run(pixels)
                loss = F.cross_entropy(logits.float(), labels, reduction="sum")
                totals += _sums(loss, logits, labels)
        return Scores(*(totals / len(images)).tolist())

    def test(self) -> Scores:
        """Measure the best weights, in float32, on images that chose nothing."""
        network = self.recipe.build()
        network.load_state_dict(self.best)
        network.to(self.device).eval()
        images = Supply(self.recipe.images("test"), self.device)
        return self._evaluate(network, images, "float32")

    def optimizer_state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts by the names of the parameters."""
        return {
            f"{key}/{name}": value
            for name, parameter in self.network.named_parameters()
            for key, value in self._optimizer.state[parameter].items()
        }

    def restore(self, history: list[dict[str, Any]], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Take up what `TrainingFolder.read_checkpoint` gave."""
        self.history = history
        self.best = {name: value.to(self.device) for name, value in tensors["best"].items()}
        self.network.load_state_dict(tensors["last"])
        for key, value in tensors["adam"].items():
            kind, _, name = key.partition("/")
            parameter = self.network.get_parameter(name)
            if value.shape == parameter.shape:
                # In the parameter's own strides, as the fused step walks through both alike.
                value = torch.empty_like(parameter).copy_(value)
            self._optimizer.state[parameter][kind] = value.detach().to(self.device)


class Supply:
    """Images of a set on a device: kept there where they are few enough, else made per batch.

    Parameters
    ----------
    images : Oscillations
        The set.
    device : torch.device
        Where to make them.
    """

    def __init__(self, images: Oscillations, device: torch.device) -> None:
        self._images = images
        self._device = device
        self._kept: Tensor | None = None
        if len(images) * images.size**2 * 4 <= KEPT_BYTES:
            made = [pixels for pixels, _ in images.batches(EVALUATION_BATCH, device)]
            self._kept = torch.cat(made)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of any indices."""
        if self._kept is None:
            return self._images.batch(indices)
        return self._kept.index_select(0, indices), indices % self._images.classes

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order."""
        for indices in torch.split(torch.arange(len(self), device=self._device), batch_size):
            yield self.batch(indices)


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([loss.double(), (logits.argmax(1) == labels).sum().double()])


@contextlib.contextmanager
def _computing(machine: Machine) -> Iterator[None]:
    """Check the device, and hold torch to deterministic operations while they are asked for."""
    check_device(machine.device)
    if not machine.deterministic:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _processor() -> str:
    # Torch names it since 2.9; Python knows only its kind on most systems.
    names = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(names.get("cpu_name") or platform.processor() or platform.machine())
