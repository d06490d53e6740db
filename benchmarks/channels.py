"""Drawing channels: how much time for how much width of the intervals.

    python -m benchmarks.channels [MODEL] [--channels 4 8 16 32] [--threads 1]

MODEL is measured on the 20 photographs that foolbox ships, all channels and some. Time of the
processor over that of a plain pass, medians of turns in one process; half the width of the 95 %
intervals, in points, mean over sites; and how far the values of sites are from those of all
channels, root mean square over sites and seeds.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

import aliascope as al
from aliascope.commands.allocation import keep_freed_memory
from aliascope.data import sample_files
from aliascope.tasks.models import load_model
from benchmarks.overhead import median_seconds

BATCH = 10


def measured(model: nn.Module, images: Tensor, **options: Any) -> al.Measurement:
    """Measure energy and categories of the images."""
    with al.Scope(model, measures=["energy", "categories"], **options) as scope, torch.no_grad():
        for batch in torch.split(images, BATCH):
            model(batch.contiguous(memory_format=torch.channels_last))
    return scope.measurement()


def columns_of(measurement: al.Measurement) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give energy and tangled by site, and half the widths of their intervals, in points."""
    energy, fractions = measurement.energy(), measurement.fractions()
    both = energy.join(fractions)
    values = both[["aliased_energy", "tangled"]]
    widths = {name: (both[f"{name}_high"] - both[f"{name}_low"]) / 2 for name in values}
    return 100 * values, 100 * pd.DataFrame(widths)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="efficientnet_lite0")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--channels", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--seeds", type=int, default=5, help="draws to compare (default 5)")
    parser.add_argument("--repeats", type=int, default=3, help="timed turns (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    loaded = load_model(arguments.model, weights=arguments.weights)
    prepare = loaded.preprocessing
    images = torch.stack([prepare(Image.open(file).convert("RGB")) for file, _ in sample_files()])
    model = loaded.network.eval().to(memory_format=torch.channels_last)

    def plain() -> None:
        with torch.no_grad():
            for batch in torch.split(images, BATCH):
                model(batch.contiguous(memory_format=torch.channels_last))

    def opened() -> None:
        with al.Scope(model, detail=None), torch.no_grad():
            plain()

    ways: dict[str, Callable[[], object]] = {"plain": plain, "opened": opened}
    for count in [*arguments.channels, None]:
        ways[str(count or "all")] = lambda count=count: measured(model, images, channels=count)
    seconds = median_seconds(ways, arguments.repeats, time.process_time)
    every, _ = columns_of(measured(model, images))
    print(
        f"{arguments.model}, {len(images)} photographs, {arguments.threads} threads, "
        f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}\n"
        f"opened: {seconds['opened'] / seconds['plain']:.2f} × plain\n\n"
        "| channels | × plain | ± energy, points | ± tangled | off, energy | off, tangled |\n"
        "|---:|---:|---:|---:|---:|---:|"
    )
    for count in [*arguments.channels, None]:
        found = [
            columns_of(measured(model, images, channels=count, channels_seed=seed))
            for seed in range(arguments.seeds if count else 1)
        ]
        half = np.mean([widths.mean() for _, widths in found], axis=0)
        off = np.sqrt(np.mean([((values - every) ** 2).mean() for values, _ in found], axis=0))
        ratio = seconds[str(count or "all")] / seconds["plain"]
        cells = [f"{x:.1f}" for x in (*half, *off)]
        print(f"| {count or 'all'} | {ratio:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
