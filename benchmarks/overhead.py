"""What measuring costs: time of a measured forward pass over a plain one, and its peak memory.

    python -m benchmarks.overhead [MODEL ...] [--all] [--batch 16] [--device cuda] [--json FILE]

Times are medians over rounds in which the ways take turns, in one process; each memory figure is
the peak of a process of its own. Models are torchvision's by name, or whatever `aliascope sites
--model` takes, with random weights: timm:NAME, FILE.py:FUNCTION. `--all` measures six well-known
ones and puts the ratios beside those aimed at. The way `straightforward` takes more than 24 GiB for
some; `--ways plain measured` leaves it out.
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
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import aliascope as al
from aliascope.commands.allocation import keep_freed_memory
from aliascope.spectrum import Criterion, bin_counts

MODELS = ("resnet34", "resnet50", "convnext_tiny", "vit_b_16", "efficientnet_lite0", "swin_t")

AIMED = {
    "resnet34": (1.35, 1.7, 2.4),
    "resnet50": (1.55, 1.95, 2.5),
    "convnext_tiny": (1.25, 1.55, 2.0),
    "vit_b_16": (2.3, 2.9, 3.0),
    "efficientnet_lite0": (1.2, 1.9, 4.0),
    "swin_t": (1.1, 1.4, 1.9),
}
"""Of opened, energy and measured, over plain."""

WAYS = (
    *("plain", "opened", "energy", "categories", "measured"),
    *("categories with torch", "straightforward"),
)
"""``opened``: sites run at stride 1, nothing is measured. ``measured``: the default, after the
first 16 images, of which floor and thresholds are measured too."""


class Straightforward:
    """Counts as one would at first: a complex FFT of the padded signal, and masks over folds."""

    whole = True

    def begin(self, batch: object) -> None:
        """Keep nothing between passes."""

    def take(self, site: al.Site, dense: Tensor, part: object) -> None:
        """Count, for the time that it takes."""
        r, s = site.rate
        m, n = bin_counts(dense.shape[2:], site.rate, Criterion().grid_for(site.rate))
        spectrum = torch.fft.fft2(dense, s=(r * m, s * n))
        folds = spectrum.reshape(*dense.shape[:2], r, m, s, n).permute(0, 1, 2, 4, 3, 5)
        level = folds.mean(dim=(2, 3)).abs().square().amax(dim=(-2, -1))
        threshold = level[:, :, None, None, None, None] * Criterion().power_ratio
        passes = folds.abs().square() > threshold
        n_passing = passes.flatten(2, 3).sum(dim=2)
        rows = torch.where(2 * torch.arange(m) < m, 0, r - 1)
        columns = torch.where(2 * torch.arange(n) < n, 0, s - 1)
        home = passes[:, :, rows[:, None], columns, torch.arange(m)[:, None], torch.arange(n)]
        masks = (n_passing == 0, (n_passing == 1) & home, (n_passing == 1) & ~home, n_passing > 1)
        torch.stack([mask.flatten(2).sum(dim=2) for mask in masks], dim=2)

    def end(self) -> None:
        """Give nothing."""

    def describe(self) -> dict[str, str]:
        """Say what it is."""
        return {"name": "straightforward"}


def make_model(name: str) -> nn.Module:
    """Make a model with random weights, whose cost is that of trained ones."""
    if name == "efficientnet_lite0" or ":" in name:
        from aliascope.tasks.models import load_model

        return load_model(name, weights="none").network.eval()
    return torchvision.models.get_model(name, weights=None).eval()


def prepared(arguments: argparse.Namespace, name: str) -> tuple[nn.Module, Tensor]:
    """Model and images, on the device and in the memory format that was asked for."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    model = make_model(name).to(arguments.device)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    return model.to(memory_format=layout), images.to(arguments.device, memory_format=layout)


def runner(way: str, model: nn.Module, images: Tensor) -> Callable[[], object]:
    """Make a function that runs the batch once, in one of WAYS."""

    def plain() -> object:
        with torch.no_grad():
            output = model(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return output

    def scoped(**options: Any) -> Callable[[], object]:
        scope = al.Scope(model, **options)

        def run() -> object:  # as evaluate does, batch after batch
            with scope:
                return plain()

        return run

    makers: dict[str, Callable[[], Callable[[], object]]] = {
        "plain": lambda: plain,
        "opened": lambda: scoped(detail=None),
        "energy": lambda: scoped(measures=["energy"]),
        "categories": lambda: scoped(measures=["categories"]),
        "measured": scoped,
        "categories with torch": lambda: scoped(measures=["categories"], engine="torch"),
        "straightforward": lambda: scoped(detail=None, handlers=[Straightforward()]),
    }
    return makers[way]()


def median_seconds(
    runs: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time the functions in turn, after one warming round, so that all see the same machine."""
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for i in range(repeats + 1):
        for way, run in runs.items():
            start = clock()
            run()
            if i:
                seconds[way].append(clock() - start)
    return {way: statistics.median(values) for way, values in seconds.items()}


def own_peak_gigabytes(device: str) -> float:
    """Read this process's peak memory; on Linux since its start, not that of what started it."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # bytes on macOS


def peak_gigabytes(way: str, name: str, arguments: argparse.Namespace) -> float:
    """Peak memory of a process that runs the batch three times in one way."""
    command = [sys.executable, "-m", "benchmarks.overhead", name, "--peak-of", way]
    for option in ("batch", "size", "threads", "device"):
        command += [f"--{option}", str(getattr(arguments, option))]
    command += ["--channels-last"] if arguments.channels_last else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def add_machine(parser: argparse.ArgumentParser, *, batch: int = 16, threads: int = 2) -> None:
    """Add what decides how a model is run."""
    images = f"images in a pass (default {batch})"
    parser.add_argument("--batch", type=int, default=batch, help=images)
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    count = f"CPU threads (default {threads})"
    parser.add_argument("--threads", type=int, default=threads, help=count)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--channels-last", action="store_true", help="memory format, all ways")


def summary(results: dict[str, Any]) -> str:
    """Put the ratios of all models beside those aimed at, as Markdown."""
    ways = ["opened", "energy", "categories", "measured"]
    lines = ["| × plain | plain, ms an image | " + " | ".join(ways) + " | above plain, GiB |"]
    lines.append("|---|---:" + "|---:" * (len(ways) + 1) + "|")
    for name, found in results.items():
        seconds, peaks = found["seconds"], found["peak_gigabytes"]
        aimed = dict(zip(("opened", "energy", "measured"), AIMED.get(name, ()), strict=False))
        cells = [name, f"{found['ms_plain']:.1f}"]
        for way in ways:
            if way not in seconds:
                cells.append("")
                continue
            aim = f" ({aimed[way]:g})" if way in aimed else ""
            cells.append(f"{seconds[way] / seconds['plain']:.2f}{aim}")
        above = [peaks[way] - peaks["plain"] for way in ways if way in peaks]
        cells.append(f"{max(above):.2f}" if above else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine_of(arguments: argparse.Namespace) -> str:
    """Say in words what the figures were taken on."""
    on_gpu = arguments.device.startswith("cuda")
    where = torch.cuda.get_device_name() if on_gpu else f"CPU with {arguments.threads} threads"
    return f"{where}, {os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"


def main() -> None:
    """Print times and memory, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["resnet34"], metavar="MODEL")
    parser.add_argument("--all", action="store_true", help=f"measure {', '.join(MODELS)}")
    add_machine(parser)
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, help="ways to run (default all)"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument(
        "--keep-memory", action="store_true", help="keep freed memory, as the commands do (glibc)"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.keep_memory and not keep_freed_memory():
        parser.error("--keep-memory is for glibc, with nothing set in MALLOC_* or GLIBC_TUNABLES")

    if arguments.peak_of:
        run = runner(arguments.peak_of, *prepared(arguments, arguments.models[0]))
        for _ in range(3):
            run()
        print(own_peak_gigabytes(arguments.device))
        return

    results = {}
    for name in MODELS if arguments.all else arguments.models:
        model, images = prepared(arguments, name)
        seconds = median_seconds(
            {way: runner(way, model, images) for way in arguments.ways}, repeats=arguments.repeats
        )
        peaks = {}
        if not arguments.no_memory:
            peaks = {way: peak_gigabytes(way, name, arguments) for way in arguments.ways}
        plain_ms = 1000 * seconds["plain"] / arguments.batch
        results[name] = {"seconds": seconds, "peak_gigabytes": peaks, "ms_plain": plain_ms}
        layout = "channels last" if arguments.channels_last else "channels first"
        print(
            f"{name}, {arguments.size}×{arguments.size}, batch {arguments.batch}, float32, "
            f"{layout}; {machine_of(arguments)}; medians of {arguments.repeats}"
            f"{'; freed memory kept' if arguments.keep_memory else ''}"
        )
        print(f"{'':20} {'ms an image':>12} {'× plain':>8} {'peak GiB':>9} {'above plain':>12}")
        for way in arguments.ways:
            ratio = seconds[way] / seconds["plain"]
            per_image = 1000 * seconds[way] / arguments.batch
            memory = f"{peaks[way]:9.2f} {peaks[way] - peaks['plain']:12.2f}" if peaks else ""
            print(f"{way:20} {per_image:12.1f} {ratio:8.2f} {memory}", flush=True)
    if len(results) > 1:
        print("\n" + summary(results) + "\n(in brackets: aimed at)")
    if arguments.json:
        settings = {k: v for k, v in vars(arguments).items() if k not in ("json", "peak_of")}
        content = {**settings, "machine": machine_of(arguments), "results": results}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
