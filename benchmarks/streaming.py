"""Whether memory grows over many images from shards, and how many a second are measured.

    python -m benchmarks.streaming [--images 24000] [--workers 2] [--shards DIR] [--json FILE]

Shards of small JPEG files are made in a temporary folder, or in DIR, where they are left for the
next time. A tiny network is measured on all of them. Memory is what the system counts as resident
(VmRSS) in this process and its children, so that pages they share count in each. Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aliascope.evaluation.loop import evaluate
from aliascope.evaluation.options import Options
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

PER_SHARD = 1000
SIDE = 64
CLASSES = 10
MARKS = (1_000, 5_000, 10_000, 20_000)
"""Images after which memory is printed."""


def tiny() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, CLASSES),
    )


def write_shards(folder: Path, count: int) -> None:
    """Write what is not there yet, each shard whole or not at all."""
    for first in range(0, count, PER_SHARD):
        last = min(first + PER_SHARD, count)
        place = folder / f"{first:06d}-{last:06d}.tar"
        if place.exists():
            continue
        generator = np.random.default_rng(first)
        draft = place.with_suffix(".tmp")
        with tarfile.open(draft, "w") as tar:
            for i in range(first, last):
                coarse = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                jpeg = io.BytesIO()
                picture.save(jpeg, "JPEG", quality=90)
                label = str(i % CLASSES).encode()
                for ending, content in (("jpg", jpeg.getvalue()), ("cls", label)):
                    member = tarfile.TarInfo(f"{i:08d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        draft.replace(place)


def resident(process: int) -> float:
    """VmRSS in MiB of a process and all below it; 0 where it has gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    own = int(lines[0].split()[1]) / 1024 if lines else 0.0
    return own + sum(map(resident, children))


def measure(shards: Path, chosen: argparse.Namespace) -> list[tuple[int, float, float]]:
    """Measure all images, and give images done, MiB and seconds after each batch."""
    loaded = load_model("benchmarks.streaming:tiny", resize=36, crop=32)
    rows: list[tuple[int, float, float]] = []
    began = time.perf_counter()

    def progress(done: int, total: int) -> None:
        rows.append((done, resident(os.getpid()), time.perf_counter() - began))

    with tempfile.TemporaryDirectory() as run:
        evaluate(
            loaded,
            open_data(str(shards), loaded.preprocessing, num_classes=CLASSES),
            Path(run, "run"),
            Options(batch_size=chosen.batch_size, max_samples=chosen.images),
            workers=chosen.workers,
            progress=progress,
        )
    return rows


def show(rows: list[tuple[int, float, float]]) -> dict[str, float]:
    """Print memory at the marks, the largest deviation after the first, and images a second."""
    total = rows[-1][0]
    at = {mark: next(row for row in rows if row[0] >= mark) for mark in MARKS if mark < total}
    at[total] = rows[-1]
    print(f"{'images':>8}{'MiB':>9}{'seconds':>9}")
    for done, memory, seconds in at.values():
        print(f"{done:8,}{memory:9.1f}{seconds:9.1f}")
    base = next(iter(at.values()))
    furthest = max((row for row in rows if row[0] >= base[0]), key=lambda r: abs(r[1] - base[1]))
    deviation = 100 * (furthest[1] / base[1] - 1)
    rate = total / rows[-1][2]
    print(
        f"largest deviation from {base[0]:,} images on: {deviation:+.1f} % (at {furthest[0]:,})\n"
        f"{rate:.0f} images/s, indexing and start included"
    )
    return {"deviation_percent": deviation, "images_per_second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shards", type=Path, metavar="DIR", help="folder to keep the shards in")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as place:
        shards = chosen.shards or Path(place)
        shards.mkdir(parents=True, exist_ok=True)
        write_shards(shards, chosen.images)
        rows = measure(shards, chosen)
    print(f"{chosen.workers} workers, {chosen.threads} threads, {os.cpu_count()} cores")
    found = show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
