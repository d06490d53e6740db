"""How the cost of counting grows: over image size, batch, channels and rate.

    python -m benchmarks.growth [--device cuda] [-o docs/images/growth.png] [--json FILE]

One dense signal of random numbers at a time, counted by the engine that `auto` takes; the figure is
time per value of the dense signal, so that a flat line is a cost in proportion and a step a cliff.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from aliascope.measures.engines import count_categories
from aliascope.spectrum import Criterion

SERIES: dict[str, list[dict[str, Any]]] = {
    "size": [{"size": n} for n in (64, 96, 128, 192, 224, 256, 384, 512, 768, 1024)],
    "batch": [{"batch": n} for n in (1, 2, 4, 8, 16, 32)],
    "channels": [{"channels": n} for n in (1, 3, 8, 16, 32, 64, 128, 256)],
    "rate": [{"rate": n} for n in (2, 3, 4, 8, 14, 16, 32)],
}
STANDARD = {"size": 112, "batch": 1, "channels": 64, "rate": 2}
LARGEST = 2**26
"""Values of the largest dense signal; where a series would exceed it, it has fewer channels."""


def seconds(device: str, repeats: int, size: int, batch: int, channels: int, rate: int) -> float:
    dense = torch.randn(batch, channels, size, size, device=device)
    times = []
    for i in range(repeats + 1):
        began = time.perf_counter()
        count_categories(dense, (rate, rate), Criterion())
        if dense.is_cuda:
            torch.cuda.synchronize()
        if i:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 4, sharey=True), SERIES, strict=True):
        here = [row for row in rows if row["series"] == name]
        axes.loglog([row[name] for row in here], [row["ns a value"] for row in here], "o-", ms=3)
        axes.set_xlabel(name)
        powers = [2**i for i in range(11)]
        shown = [n for n in powers if here[0][name] <= n <= here[-1][name]]
        axes.set_xticks(shown if len(shown) < 5 else shown[::2])
        axes.set_yticks([1, 2, 5, 10, 20, 50, 100])
        axes.set_ylim(1, 130)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.grid(lw=0.4)
    figure.axes[0].set_ylabel("ns a value")
    figure.savefig(path, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="figure")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = []
    print(f"{'series':10}{'size':>6}{'batch':>6}{'channels':>9}{'rate':>5}{'ms':>10}  ns a value")
    for name, settings in SERIES.items():
        for setting in settings:
            case = {**STANDARD, **setting}
            most = LARGEST // (case["batch"] * case["size"] ** 2)
            case["channels"] = max(1, min(case["channels"], most))
            taken = seconds(chosen.device, chosen.repeats, **case)
            values = case["batch"] * case["channels"] * case["size"] ** 2
            rows.append(
                {"series": name, **case, "seconds": taken, "ns a value": 1e9 * taken / values}
            )
            print(
                f"{name:10}{case['size']:6}{case['batch']:6}{case['channels']:9}{case['rate']:5}"
                f"{1e3 * taken:10.2f}{rows[-1]['ns a value']:12.2f}",
                flush=True,
            )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")
    if chosen.output:
        draw(rows, chosen.output)


if __name__ == "__main__":
    main()
