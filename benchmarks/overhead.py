"""What measuring costs: time of a measured forward pass over a plain one, and its peak memory.

Run as ``python -m benchmarks.overhead``. Times are medians over repeats, taken in turn in one
process; each memory figure is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

import aliascope as al
from aliascope.spectrum import Criterion

WAYS = ("plain", "opened", "measured", "straightforward")


def straightforward(site: al.Site, dense: Tensor) -> None:
    """Count as one would at first: a complex FFT of the padded signal, and masks over its folds."""
    (r, s), (m, n) = site.rate, dense.shape[2:]
    spectrum = torch.fft.fft2(dense, s=(r * m, s * n))
    folds = spectrum.reshape(*dense.shape[:2], r, m, s, n).permute(0, 1, 2, 4, 3, 5)
    level = folds.mean(dim=(2, 3)).abs().square().amax(dim=(-2, -1))
    passes = folds.abs().square() > level[:, :, None, None, None, None] * Criterion().power_ratio
    n_passing = passes.flatten(2, 3).sum(dim=2)
    rows = torch.where(2 * torch.arange(m) < m, 0, r - 1)
    columns = torch.where(2 * torch.arange(n) < n, 0, s - 1)
    home = passes[:, :, rows[:, None], columns, torch.arange(m)[:, None], torch.arange(n)]
    masks = (n_passing == 0, (n_passing == 1) & home, (n_passing == 1) & ~home, n_passing > 1)
    torch.stack([mask.flatten(2).sum(dim=2) for mask in masks], dim=2)


def runner(way: str, model: nn.Module, images: Tensor) -> Callable[[], object]:
    """Make a function that runs the batch once, in one of WAYS."""

    def plain() -> object:
        with torch.no_grad():
            return model(images)

    def scoped(**options: object) -> Callable[[], object]:
        def run() -> object:
            with al.Scope(model, **options):  # type: ignore[arg-type]
                return plain()

        return run

    return {
        "plain": plain,
        "opened": scoped(detail=None),
        "measured": scoped(),
        "straightforward": scoped(detail=None, handlers=[straightforward]),
    }[way]


def median_seconds(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time the functions in turn, after one warming round, so that all see the same machine."""
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for i in range(repeats + 1):
        for way, run in runs.items():
            start = time.perf_counter()
            run()
            if i:
                seconds[way].append(time.perf_counter() - start)
    return {way: statistics.median(values) for way, values in seconds.items()}


def own_peak_gigabytes() -> float:
    """Read this process's peak memory; on Linux since its start, not that of what started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS


def peak_gigabytes(way: str, arguments: argparse.Namespace) -> float:
    """Peak memory of a process that runs the batch three times in one way."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--peak-of", way]
    for name in ("model", "batch", "size", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print times and memory, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet34", help="torchvision model (default resnet34)")
    parser.add_argument("--batch", type=int, default=16, help="images in a pass (default 16)")
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = torchvision.models.get_model(arguments.model, weights=None).eval()
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    if arguments.peak_of:
        run = runner(arguments.peak_of, model, images)
        for _ in range(3):
            run()
        print(own_peak_gigabytes())
        return

    seconds = median_seconds(
        {way: runner(way, model, images) for way in WAYS}, repeats=arguments.repeats
    )
    peaks = {way: peak_gigabytes(way, arguments) for way in WAYS}
    print(
        f"{arguments.model}, {arguments.size}×{arguments.size}, batch {arguments.batch}, float32, "
        f"CPU with {arguments.threads} threads, torch {torch.__version__}; medians of "
        f"{arguments.repeats}"
    )
    print(f"{'':16} {'ms an image':>12} {'× plain':>8} {'peak GiB':>9} {'above plain':>12}")
    for way in WAYS:
        ratio = seconds[way] / seconds["plain"]
        above = peaks[way] - peaks["plain"]
        per_image = 1000 * seconds[way] / arguments.batch
        print(f"{way:16} {per_image:12.1f} {ratio:8.2f} {peaks[way]:9.2f} {above:12.2f}")
    if arguments.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        figures = {"seconds": seconds, "peak_gigabytes": peaks, "machine": machine}
        settings = {k: v for k, v in vars(arguments).items() if k not in ("json", "peak_of")}
        arguments.json.write_text(json.dumps({**settings, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
