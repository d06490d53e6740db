"""Whether 1, 2 and 4 processes, and shares of an array of jobs, give the same tables.

    python -m benchmarks.processes [--images 20] [--steps 5]

EfficientNet-Lite0 with its published weights on the photographs of the extra `samples`, clean and
under PGD, one thread a process; compared row for row, and timed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aliascope as al


def evaluate(folder: Path, arguments: list[str], processes: int = 1, shards: int = 1) -> float:
    """Run the command in one of the ways; give the seconds."""
    command = ["-m", "aliascope", "evaluate", "-m", "efficientnet_lite0", "-d", "samples"]
    command += ["-b", "2", "--workers", "0", "--device", "cpu", "-o", str(folder), *arguments]
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command = [*launch, str(processes), *command]
    shares = [[f"--shard={k + 1}/{shards}"] for k in range(shards)] if shards > 1 else [[]]
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, *command, *share],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        for share in shares
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"exit codes {codes}")
    return time.perf_counter() - began


def rows_of(folder: Path) -> list[str]:
    """All rows of the tables, under all conditions, as text without rounding."""
    measurement = al.load(folder)
    assert measurement.run["status"] == "complete"
    each = [measurement.at(condition) for condition in measurement.conditions]
    tables = [table for one in each for table in (one.samples, one.counts)]
    return [line for table in tables for line in table.to_csv().splitlines()]


def main() -> None:
    """Print, for each way, whether its rows are those of one process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    chosen = parser.parse_args()
    few = ["--max-samples", str(chosen.images)]
    attack = ["--attack", "pgd", "--eps", "0,0.001,0.005", "--attack-steps", str(chosen.steps)]
    different = 0
    with tempfile.TemporaryDirectory() as place:
        for name, arguments in (("clean", few), ("under PGD", [*few, *attack])):
            ways = {
                "1 process": {},
                "2 processes": {"processes": 2},
                "4 processes": {"processes": 4},
            }
            ways["3 shares"] = {"shards": 3}
            expected: list[str] = []
            for way, how in ways.items():
                folder = Path(place, f"{name}-{way}".replace(" ", "-"))
                seconds = evaluate(folder, arguments, **how)
                rows = rows_of(folder)
                expected = expected or rows
                same = rows == expected
                different += not same
                print(
                    f"{name:10} {way:12} {len(rows):5} rows "
                    f"{'identical' if same else 'DIFFERENT'} {seconds:6.1f} s",
                    flush=True,
                )
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
