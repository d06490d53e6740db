"""The folder of a training: written file by file, each whole or not at all, and read back.

Layout::

    training.json            recipe, machine, status, and the result once there is one
    history.csv              one row an epoch
    best.safetensors         weights of the epoch with the best validation accuracy
    last.safetensors         weights of the last epoch
    checkpoint.safetensors   all that is needed to go on; removed when training has ended
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.files import replacing, writing
from aliascope.oscillations.recipe import Recipe

FORMAT = 1
"""Version of the layout above, written to training.json."""

COMPLETE, RUNNING = "complete", "running"

RESULT = ("parameters", "epochs", "best_epoch", "accuracy", "test_accuracy", "seconds")
"""What training.json has of a training that has ended."""


class TrainingFolder:
    """A training's folder.

    Parameters
    ----------
    folder : path
        Need not exist yet. ``~`` is the home folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()

    @property
    def best(self) -> Path:
        """File of the best epoch's weights."""
        return self.folder / "best.safetensors"

    @property
    def last(self) -> Path:
        """File of the last epoch's weights."""
        return self.folder / "last.safetensors"

    @property
    def history(self) -> Path:
        """File of the table of epochs."""
        return self.folder / "history.csv"

    @property
    def _record(self) -> Path:
        return self.folder / "training.json"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def exists(self) -> bool:
        """Whether a training was begun here."""
        return self._record.is_file()

    def check_free(self) -> None:
        """Refuse a folder that holds something else.

        Raises
        ------
        AliascopeError
            If there is a file, other than drafts of a training that did not get far.
        """
        try:
            others = [each for each in self.folder.iterdir() if not each.name.endswith(".tmp")]
        except FileNotFoundError:
            return
        except OSError as error:
            raise AliascopeError(
                f"{self.folder} cannot be written ({error.strerror}); pass another folder."
            ) from error
        if others:
            raise AliascopeError(
                f"{self.folder} is not empty and holds no training; pass another folder with -o."
            )

    def read(self) -> dict[str, Any]:
        """Read training.json.

        Raises
        ------
        AliascopeError
            If it is missing, damaged, or of another layout.
        """
        if not self.exists():
            raise AliascopeError(
                f"{self.folder} holds no training (there is no training.json in it); give a "
                "folder that `aliascope oscillations train -o` wrote."
            )
        try:
            content = json.loads(self._record.read_text(encoding="utf-8"))
            Recipe.from_plain(content["recipe"])
            if content["status"] not in (RUNNING, COMPLETE):
                raise ValueError(f"its status is {content['status']!r}")
            if content["status"] == COMPLETE:
                numbers = [float(content[name]) for name in RESULT]
                if not all(map(math.isfinite, numbers)):
                    raise ValueError("a result is no finite number")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise AliascopeError(
                f"{self._record} does not describe a training ({error}); train again into another "
                "folder."
            ) from None
        if content.get("format") != FORMAT:
            raise AliascopeError(
                f"{self.folder} has training format {content.get('format')}, but this version of "
                f"Aliascope reads format {FORMAT}; install the version that wrote it."
            )
        return content

    def recipe(self) -> Recipe:
        """Recipe of the training that is here."""
        return Recipe.from_plain(self.read()["recipe"])

    def write(self, content: Mapping[str, Any]) -> None:
        """Write training.json."""
        text = json.dumps({"format": FORMAT, **content}, indent=2)
        self._replace(self._record, lambda draft: draft.write_text(f"{text}\n", encoding="utf-8"))

    def write_epoch(
        self,
        history: list[dict[str, Any]],
        last: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
    ) -> None:
        """Keep all of an epoch: the checkpoint first, from which the rest can be made again."""
        entries = {
            **{f"last/{name}": value for name, value in last.items()},
            **{f"best/{name}": value for name, value in best.items()},
            **{f"adam/{name}": value for name, value in optimizer.items()},
        }
        self._save_tensors(self._checkpoint, entries, {"history": json.dumps(history)})
        self.write_products(history, last, best)

    def write_products(
        self,
        history: list[dict[str, Any]],
        last: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
    ) -> None:
        """Write the table of epochs, and the weights of the best and of the last one."""
        self._save_tensors(self.last, last, {"epoch": str(history[-1]["epoch"])})
        self._save_tensors(self.best, best, {"epoch": str(best_epoch(history)["epoch"])})
        table = pd.DataFrame(history).to_csv(index=False, lineterminator="\n")
        self._replace(self.history, lambda draft: draft.write_text(table, encoding="utf-8"))

    def read_checkpoint(self) -> tuple[list[dict[str, Any]], dict[str, dict[str, Tensor]]] | None:
        """Read what `write_epoch` kept: the history, and tensors under "last", "best", "adam".

        Returns
        -------
        tuple or None
            None where no epoch was finished.
        """
        if not self._checkpoint.is_file():
            return None
        groups: dict[str, dict[str, Tensor]] = {"last": {}, "best": {}, "adam": {}}
        try:
            with safe_open(self._checkpoint, framework="pt", device="cpu") as file:
                history = json.loads(file.metadata()["history"])
                for key in file.keys():  # noqa: SIM118 - no mapping
                    group, _, name = key.partition("/")
                    groups[group][name] = file.get_tensor(key)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise AliascopeError(
                f"{self._checkpoint} is damaged ({error}); remove it and train from the start "
                "into another folder."
            ) from None
        return history, groups

    def finish(self, content: Mapping[str, Any]) -> None:
        """Write the result, and remove what was only needed to go on."""
        self.write(content)
        self._checkpoint.unlink(missing_ok=True)
        for draft in self.folder.glob(".*.tmp"):
            draft.unlink(missing_ok=True)

    def _save_tensors(
        self, path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
    ) -> None:
        # Plain strides, and a copy of what two names share, as safetensors wants them.
        plain = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }
        content = save(
            plain, metadata=metadata
        )  # not save_file, whose files only the owner may read
        self._replace(path, lambda draft: draft.write_bytes(content))

    def _replace(self, path: Path, write: Callable[[Path], Any]) -> None:
        remedy = "mend that and train again with --resume, or pass another folder"
        with writing(self.folder, remedy), replacing(path) as draft:
            write(draft)


def best_epoch(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the first of the epochs with the highest validation accuracy."""
    return max(history, key=lambda row: row["validation_accuracy"])
