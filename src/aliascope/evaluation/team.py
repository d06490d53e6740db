"""Several processes on one run: which batches are whose, and the little they tell each other.

Batch k is worked on by process ``k mod size``. Every process writes parts of its own into the same
run directory, so that nothing needs to be gathered: reading the directory is merging.

Processes are told apart in one of two ways. Those that ``torchrun`` starts know of each other
through torch.distributed. Those of a cluster's array of jobs, ``--shard 2/4``, know nothing of each
other: whichever ends last finds all parts there, and concludes the run.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from aliascope.errors import AliascopeError

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=30)
"""How long processes wait for one another; one that dies ends the others, by torchrun."""


class QuietError(Exception):
    """Another process says what went wrong; this one has nothing to add."""


@dataclass(frozen=True)
class Team:
    """One process's share of the batches.

    Parameters
    ----------
    index : int
        Number of this process, from 0.
    size : int
        How many there are.
    connected : bool
        Whether they talk to each other, through torch.distributed.

    Raises
    ------
    AliascopeError
        If there is no such process.

    Examples
    --------
    >>> [k for k in range(7) if Team(1, 3).owns(k)]
    [1, 4]
    """

    index: int = 0
    size: int = 1
    connected: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.size:
            raise AliascopeError(
                f"shard is {self.index + 1}/{self.size}, but shards of {self.size} are counted "
                f"from 1 to {self.size}."
            )

    @classmethod
    def from_shard(cls, text: str) -> Team:
        """Read "2/4", the second of four.

        Examples
        --------
        >>> Team.from_shard("2/4")
        Team(index=1, size=4, connected=False)
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None or not int(match[2]):
            raise AliascopeError(f"shard is {text!r}, but it must be K/N, as in 2/4.")
        return cls(int(match[1]) - 1, int(match[2]))

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all that are connected."""
        return self.index == 0 or not self.connected

    def owns(self, batch: int) -> bool:
        """Whether a batch is this process's."""
        return batch % self.size == self.index

    def first(self, begin: Callable[[], T], join: Callable[[], T]) -> T:
        """Let the first process begin what the others then join.

        Raises
        ------
        AliascopeError
            As ``begin`` or ``join``.
        QuietError
            If the first process could not begin.
        """
        if not self.connected:
            return begin()
        if self.index > 0:
            if self._hear():
                raise QuietError
            return join()
        try:
            result = begin()
        except BaseException:
            self._tell(failed=True)
            raise
        self._tell(failed=False)
        return result

    def wait(self) -> None:
        """Wait until all connected processes have come here."""
        if self.connected:
            self._sum(0)

    def _tell(self, *, failed: bool) -> None:
        self._sum(int(failed))

    def _hear(self) -> bool:
        return self._sum(0) > 0

    def _sum(self, value: int) -> int:
        """Sum a number over the processes, on the CPU; nothing heavier is ever sent."""
        number = torch.tensor([value])
        dist.all_reduce(number)
        return int(number)


@contextlib.contextmanager
def team_of(shard: str | None = None) -> Iterator[Team]:
    """Find out which process of how many this is: told by ``shard``, or by torchrun.

    Parameters
    ----------
    shard : str, optional
        "K/N".

    Raises
    ------
    AliascopeError
        If there is no such shard, or torchrun started several processes besides.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if _launched() else 1
    if shard is not None:
        if size > 1:
            raise AliascopeError(
                f"shard is {shard}, but torchrun started {size} processes, which share the work "
                "by themselves; leave one of the two out."
            )
        yield Team.from_shard(shard)
        return
    if size == 1:
        yield Team()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), connected=True)
    finally:
        dist.destroy_process_group()


def local_device(device: str) -> str:
    """Give each process that torchrun started on a machine a GPU of its own.

    Examples
    --------
    >>> local_device("cpu"), local_device("cuda:1")
    ('cpu', 'cuda:1')
    """
    if device != "cuda" or not _launched():
        return device
    count = max(1, torch.cuda.device_count())
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % count}"


def local_processes() -> int:
    """How many processes torchrun started on this machine.

    Examples
    --------
    >>> local_processes()
    1
    """
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if _launched() else 1


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
