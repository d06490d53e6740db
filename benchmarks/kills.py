"""Whether work survives kill -9: commands killed at random, gone on with, and compared.

    python -m benchmarks.kills [--kills 30] [--seed 0]

Each command runs undisturbed once. Then it is killed at random times, several times a run, and goes
on until it ends. Its result must be that of the undisturbed run, and what was done before a kill
must not be done again. The exit status is 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import aliascope as al

REPOSITORY = Path(__file__).parents[1]

MOST_KILLS = 4
"""Of one run."""

WITHIN_START = 0.2
"""Share of the kills that come before the command has begun to work."""

PARTS = "parts/*[0-9]"
"""Those of a run that are whole."""

Kept = dict[str, Any]
"""Each piece of work that is done, with what changes when it is done again."""

Result = dict[str, Any]
"""What a command ends in: tables, hashes, bytes and texts by name."""


@dataclass
class Command:
    """A command and how to read what it leaves.

    Attributes
    ----------
    name : str
        As the table has it.
    arguments : str
        Of ``aliascope``; OUT stands for the folder that it writes.
    count : callable
        Counts the pieces of work that are done, from the folder.
    kept : callable
        Reads them.
    result : callable
        Reads the result from the folder.
    going_on : str
        What is added to go on.
    """

    name: str
    arguments: str
    count: Callable[[Path], int]
    kept: Callable[[Path], Kept]
    result: Callable[[Path], Result]
    going_on: str = "--resume"


@dataclass
class Record:
    """What became of a command: one entry of ``reached`` a run, with one number a kill."""

    start: float
    whole: float
    pieces: int
    reached: list[list[int]] = field(default_factory=list)
    drafts: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def work(self) -> float:
        """Seconds from the first piece of work to the end."""
        return self.whole - self.start

    @property
    def kills(self) -> int:
        """Count those of all runs."""
        return sum(map(len, self.reached))


def network() -> Any:
    """Make a small network with two sites, for 36 × 36 pixels and 4 classes."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 9 * 9, 4),
    )


# -- what the commands read -----------------------------------------------------------------------


def noise(rng: np.random.Generator, side: int) -> Image.Image:
    """Make a picture of noise."""
    return Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))


def write_photographs(folder: Path, count: int) -> None:
    """Write pictures into four class folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / str(number % 4)
        place.mkdir(parents=True, exist_ok=True)
        noise(rng, 48).save(place / f"{number:04d}.png")


def write_archive(folder: Path, count: int) -> None:
    """Write val.tar, with images named as in ImageNet's, and labels.csv."""
    rng = np.random.default_rng(0)
    wnids = ["n01440764", "n02119022", "n07753592", "n15075141"]
    rows = []
    with tarfile.open(folder / "val.tar", "w") as tar:
        for number in range(1, count + 1):
            content = io.BytesIO()
            noise(rng, 40).save(content, "JPEG")
            member = tarfile.TarInfo(f"ILSVRC2012_val_{number:08d}.JPEG")
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
            rows.append(f"{member.name},{wnids[number % 4]}\n")
    (folder / "labels.csv").write_text("".join(rows))


# -- what the commands leave ----------------------------------------------------------------------


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_draft(path: Path) -> bool:
    """Whether a file is half-written, or in a folder that is."""
    return any(part.endswith((".tmp", ".part")) for part in path.parts)


def hashes(folder: Path) -> Result:
    """Hash every file, so that leftovers show as well."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_of(folder)
    }


def matching(pattern: str) -> Callable[[Path], int]:
    """Make a function that counts the files and folders of a pattern."""
    return lambda folder: sum(1 for _ in folder.glob(pattern))


def parts_kept(folder: Path) -> Kept:
    """Give the whole parts, each with its files and when they were written."""
    return {
        part.name: {str(path): path.stat().st_mtime_ns for path in files_of(part)}
        for part in sorted(folder.glob(PARTS))
    }


def run_result(folder: Path) -> Result:
    """Read the tables under every condition, and hash the parts' tables and arrays."""
    measurement = al.load(folder)
    found: Result = {
        name: digest
        for name, digest in hashes(folder).items()
        # run.json has the time, part.json the rounding of a process's first batch
        if Path(name).name not in ("run.json", "part.json")
    }
    for condition in measurement.conditions:
        at, name = measurement.at(condition), condition.name
        found |= {f"samples, {name}": at.samples, f"values, {name}": at.values}
    found["status"] = measurement.run["status"]
    return found


def epochs_kept(folder: Path) -> Kept:
    """Give the lines of history.csv; in seconds, those of an epoch run again would differ."""
    history = folder / "history.csv"
    lines = history.read_text().splitlines()[1:] if history.is_file() else []
    return {f"epoch {number}": line for number, line in enumerate(lines, start=1)}


def training_result(folder: Path) -> Result:
    return {
        "files": [path.name for path in files_of(folder)],
        "history": pd.read_csv(folder / "history.csv").drop(columns="seconds"),
        **{name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")},
    }


def images_kept(folder: Path) -> Kept:
    return {str(path): path.stat().st_mtime_ns for path in files_of(folder) if not is_draft(path)}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        return isinstance(other, pd.DataFrame) and one.equals(other)
    return bool(one == other)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name what two results, or the work before and after a kill, do not share."""
    return [name for name in one | other if not same(one.get(name), other.get(name))]


# -- killing --------------------------------------------------------------------------------------


class Runner:
    """Runs a command in a process group of its own, and kills it.

    Parameters
    ----------
    command : Command
        What to run.
    place : Path
        Where its output goes.
    """

    def __init__(self, command: Command, place: Path) -> None:
        self.command = command
        self._log = place / "output.txt"

    @contextlib.contextmanager
    def running(self, folder: Path, going_on: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """Start the command, and kill its group on leaving where it has not ended."""
        words = shlex.split(self.command.arguments.replace("OUT", str(folder)))
        words += shlex.split(self.command.going_on) if going_on else []
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aliascope", *words],
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode not in (0, -signal.SIGKILL):
            sys.exit(f"{self.command.name} ended with an error:\n{self._log.read_text()}")

    def wait_for(self, pieces: int, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Wait until so many pieces of work are done, or the process has ended."""
        while process.poll() is None and self.command.count(folder) < pieces:
            time.sleep(0.02)

    def undisturbed(self, folder: Path) -> Record:
        """Time a run, and when its first piece of work was done."""
        began = time.monotonic()
        with self.running(folder) as process:
            self.wait_for(1, process, folder)
            start = time.monotonic() - began
            process.wait()
        return Record(start, time.monotonic() - began, self.command.count(folder))

    def finish(self, folder: Path, going_on: bool) -> None:
        """Run to the end."""
        with self.running(folder, going_on) as process:
            process.wait()

    def kill(self, folder: Path, going_on: bool, pieces: int, seconds: float) -> bool:
        """Kill a run some time after so many pieces are there; False where it ended before."""
        with self.running(folder, going_on) as process:
            self.wait_for(pieces, process, folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        return process.returncode != 0


def disturbed(
    runner: Runner, folder: Path, kills: int, record: Record, wanted: Result, rng: random.Random
) -> None:
    """Kill a run at random times, let it end, and note what differs."""
    command = runner.command
    reached: list[int] = []
    record.reached.append(reached)
    before: list[Kept] = []
    drafts: set[Path] = set()
    # By pieces rather than by seconds, as the machine may be busy with other things.
    for pieces in sorted(rng.sample(range(1, record.pieces + 1), kills)):
        seconds = rng.uniform(0, 2 * record.work / record.pieces)
        if rng.random() < WITHIN_START:
            pieces, seconds = 0, rng.uniform(0, record.start)
        if not runner.kill(folder, bool(reached), pieces, seconds):
            break
        before.append(command.kept(folder))
        reached.append(len(before[-1]))
        there = {path for path in files_of(folder) if is_draft(path.relative_to(folder))}
        record.drafts += not there <= drafts
        drafts |= there
        print(
            f"{command.name}: killed with {reached[-1]} of {record.pieces} pieces there"
            + (" and others half-written" if there else ""),
            flush=True,
        )
    else:
        runner.finish(folder, going_on=True)
    after = command.kept(folder)
    for kept in before:
        record.lost += differences(kept, {name: after.get(name) for name in kept})
    record.different += differences(command.result(folder), wanted)


def try_command(command: Command, place: Path, kills: int, rng: random.Random) -> Record:
    """Run a command undisturbed, then killed so many times in all."""
    runner = Runner(command, place)
    whole = place / f"{command.name} whole".replace(" ", "-")
    record = runner.undisturbed(whole)
    wanted = command.result(whole)
    while record.kills < kills:
        several = min(rng.randint(1, MOST_KILLS), kills - record.kills)
        folder = place / f"{command.name} {len(record.reached)}".replace(" ", "-")
        disturbed(runner, folder, several, record, wanted, rng)
    return record


# -- the commands ---------------------------------------------------------------------------------


def commands(place: Path) -> list[Command]:
    """Write what the commands read, and list them."""
    write_photographs(place / "photographs", 96)
    write_archive(place, 12_000)
    evaluate = (
        f"evaluate -m benchmarks.kills:network -d {place}/photographs --resize 40 --crop 36 "
        "--device cpu -o OUT"
    )
    return [
        Command(
            "evaluate", f"{evaluate} -b 2 --detail pixel", matching(PARTS), parts_kept, run_result
        ),
        Command(
            "evaluate --attack",
            f"{evaluate} -b 8 --attack pgd --eps 0,0.005,0.05 --attack-steps 10",
            matching(PARTS),
            parts_kept,
            run_result,
        ),
        Command(
            "oscillations train",
            "oscillations train --network fc-1h-58 --noise 4 --epochs 40 --frequencies 2 "
            "--train-images 400 --validation-images 200 --batch-size 16 --device cpu -o OUT",
            lambda folder: len(epochs_kept(folder)),
            epochs_kept,
            training_result,
        ),
        Command(
            "imagenet prepare",
            f"imagenet prepare {place}/val.tar OUT --labels {place}/labels.csv --images 12000",
            matching("*/*.JPEG"),
            images_kept,
            hashes,
            going_on="",
        ),
    ]


def row(name: str, record: Record) -> str:
    each = "; ".join(" > ".join(map(str, run)) for run in record.reached if run)
    cells = [
        name,
        f"{record.start:.1f}",
        f"{record.whole:.1f}",
        f"{record.kills}",
        f"{each} of {record.pieces}",
        f"{record.drafts}",
        "no" if record.lost else "yes",
        "no" if record.different else "yes",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Kill the commands, and print what became of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30, help="over all commands (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the times (default 0)")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    records: dict[str, Record] = {}
    with tempfile.TemporaryDirectory() as place:
        tried = commands(Path(place))
        share, more = divmod(chosen.kills, len(tried))
        for number, command in enumerate(tried):
            if kills := share + (number < more):
                records[command.name] = try_command(command, Path(place), kills, rng)
    print(
        "\n| command | s to the first piece | s undisturbed | kills | pieces there at each kill "
        "| while writing | kept | identical |\n|---|---|---|---|---|---|---|---|"
    )
    for name, record in records.items():
        print(row(name, record))
    for name, record in records.items():
        for what, names in (("done again", record.lost), ("different", record.different)):
            if names:
                print(f"{name}: {what}: {', '.join(sorted(set(names))[:10])}")
    sys.exit(any(record.lost or record.different for record in records.values()))


if __name__ == "__main__":
    main()
