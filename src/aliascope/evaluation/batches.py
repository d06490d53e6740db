"""One batch under one condition: attacked, run opened, and written as a part."""

from __future__ import annotations

import contextlib
import warnings

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.data import Batch as ImageBatch
from aliascope.errors import AliascopeError, OutOfMemoryError
from aliascope.evaluation.options import Options
from aliascope.evaluation.probe import no_sites, on_device, probe, refusing_images
from aliascope.interventions import Intervention
from aliascope.models.execution import compiled, compiling, products_in, settle_layout
from aliascope.models.predictions import Features, catching_features, record_predictions
from aliascope.protocols.attacks import vanishing_gradients
from aliascope.protocols.intervening import interventions_of
from aliascope.runs.conditions import Condition
from aliascope.runs.store import Store
from aliascope.seam.opening import evaluating
from aliascope.tasks.models import LoadedModel


class BatchRunner:
    """Attacks a batch, runs it under Scope, and writes it as one part."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: Options,
        store: Store,
        device: str,
        engine: str = "auto",
        workspace: int | None = None,
        compile: bool = False,
    ) -> None:
        self.loaded, self.options, self.store = loaded, options, store
        self.device = torch.device(device)
        self.model: nn.Module = loaded.model
        self.attacked: nn.Module = self.model
        self._compile = compile
        self._layout: torch.memory_format | None = None
        handlers: list[Intervention] = []
        if options.intervene:
            handlers = interventions_of(options.intervene, probe(loaded, device).sites)
        self.scope = options.scope(
            loaded.network, store, engine=engine, workspace=workspace, handlers=handlers
        )
        self.attack = options.make_attack()
        self.features: Features | None = None
        self._gradients_checked = False
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> BatchRunner:
        self.model = on_device(self.loaded, str(self.device))
        self.attacked = compiled(self.model) if self._compile else self.model
        self._exit.enter_context(evaluating(self.model))
        if self.options.save_features:
            self.features = self._exit.enter_context(catching_features(self.loaded.network))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def run(self, batch: ImageBatch, number: int, condition: Condition) -> None:
        """Measure one batch under one condition, as the part of that number."""
        samples = pd.DataFrame({"sample": batch.indices.numpy(), "name": batch.names})
        if (batch.labels >= 0).any():
            samples["label"] = batch.labels.numpy()
        images = self._images_of(batch)
        eps = condition.get("eps")
        if len(samples) and eps is not None:
            images = self._disturbed(images, batch.labels.to(self.device), eps, number)
        while True:
            try:
                self._measure(batch, images, samples.copy(), number, condition)
                return
            except OutOfMemoryError:
                left = self.scope.halve_workspace(self.device.type)
                if left is None:
                    raise
            self._say_less(left)

    def _say_less(self, left: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"{self.device} is out of memory; measuring goes on with a workspace of "
            f"{left / 2**20:g} MB.",
            stacklevel=2,
        )

    def tables_of(self, images: Tensor, samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Make tables to keep with a part, before it is measured; none here."""
        return {}

    def _measure(
        self,
        batch: ImageBatch,
        images: Tensor,
        samples: pd.DataFrame,
        number: int,
        condition: Condition,
    ) -> None:
        if not self.store.has_run():
            raise AliascopeError(
                f"{self.store.folder} was removed, or its run.json, while the run was under way; "
                "evaluate again."
            )
        tables = {}
        if len(samples):
            with (
                products_in(self.options.precision, self.device),
                refusing_images(self.loaded.name, images.shape[-2:]),
            ):
                tables = self.tables_of(images, samples)
        with (
            products_in(self.options.precision, self.device),
            self.scope,
            self.scope.batch(
                samples, number=number, unreadable=batch.bad, condition=condition
            ) as part,
        ):
            if len(samples) == 0:
                return
            part.tables.update(tables)
            with refusing_images(self.loaded.name, images.shape[-2:]):
                output = self.model(images)
            if not any(site.supported for site in self.scope.sites):
                raise AliascopeError(no_sites(self.loaded.name, self.scope.sites))
            record_predictions(part.samples, output)
            if self.features is not None and self.features.last is not None:
                part.arrays["features"] = self.features.last.float().cpu().numpy()
            kept = samples["sample"].to_numpy() < self.options.start + self.options.pixels_kept
            if kept.any():
                part.arrays["pixels"] = images.float().cpu().numpy()[kept]

    def _images_of(self, batch: ImageBatch) -> Tensor:
        """Move a batch to the device, in the memory format that the model is fast in."""
        images = batch.images.to(self.device, non_blocking=True)
        if len(images) == 0:
            return images
        if self._layout is None:
            with refusing_images(self.loaded.name, images.shape[-2:]):
                self._layout = settle_layout(self.model, images.shape[1:], self.device)
        return images.contiguous(memory_format=self._layout)

    def _disturbed(self, images: Tensor, labels: Tensor, eps: float, number: int) -> Tensor:
        assert self.attack is not None
        if (labels < 0).any():
            raise AliascopeError(
                "An attack needs the images' labels, and these have none; give class folders."
            )
        if not self._gradients_checked:
            self._gradients_checked = True
            lost = vanishing_gradients(self.model, images, labels)
            if lost:
                warnings.warn(
                    f"The loss of {lost} of the first {len(images)} images has no gradient, so "
                    "attacks that follow it are weaker than they look.",
                    stacklevel=2,
                )
        seed = self.options.seed * 1_000_003 + number
        with (
            refusing_images(self.loaded.name, images.shape[-2:]),
            compiling(),
            products_in(self.options.precision, self.device),
        ):
            return self.attack.perturb(self.attacked, images, labels, eps, seed)
