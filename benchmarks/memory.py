"""How much memory measuring takes beside the network's own, against the workspace it is given.

    python -m benchmarks.memory [--workspace 64 256] [--device cuda] [--json FILE]

Each figure is the peak of a process of its own, after three batches. On a CPU it is what the
system gave it, allocators' slack included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

import aliascope as al
from benchmarks.overhead import machine_of, own_peak_gigabytes, prepared, runner

CASES = (
    ("resnet34", 224, 16),
    ("resnet34", 1024, 1),
    ("resnet50", 224, 16),
    ("convnext_tiny", 224, 16),
    ("vit_b_16", 224, 16),
    ("efficientnet_lite0", 224, 16),
    ("efficientnet_lite0", 1024, 2),
)
"""Model, pixels a side, images in a batch."""


def peak(
    name: str, size: int, batch: int, workspace: int | None, chosen: argparse.Namespace
) -> float:
    """Peak of a process that runs plain (no workspace) or measured, in GiB."""
    command = [sys.executable, "-m", "benchmarks.memory", "--device", chosen.device]
    command += ["--threads", str(chosen.threads), "--one", name, str(size), str(batch)]
    command += [str(workspace or 0)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def run_one(chosen: argparse.Namespace) -> None:
    """Be such a process."""
    name, size, batch, workspace = chosen.one
    settings = argparse.Namespace(
        device=chosen.device,
        threads=chosen.threads,
        batch=int(batch),
        size=int(size),
        channels_last=True,
    )
    model, images = prepared(settings, name)
    run = runner("plain", model, images)
    if int(workspace):
        scope = al.Scope(model, workspace=int(workspace) << 20)
    for _ in range(3):
        if int(workspace):
            with scope:
                run()
        else:
            run()
    print(own_peak_gigabytes(chosen.device))


def main() -> None:
    """Print a table of peaks, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=int, nargs="+", default=[64, 256], help="MB")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        run_one(chosen)
        return
    rows = []
    print(machine_of(chosen))
    heads = "".join(f"{f'+ at {w} MB':>14}" for w in chosen.workspace)
    print(f"{'model':20}{'pixels':>7}{'batch':>6}{'plain GiB':>11}{heads}")
    for name, size, batch in CASES:
        plain = peak(name, size, batch, None, chosen)
        above = {w: peak(name, size, batch, w, chosen) - plain for w in chosen.workspace}
        rows.append({"model": name, "size": size, "batch": batch, "plain": plain, "above": above})
        more = "".join(f"{value:14.2f}" for value in above.values())
        print(f"{name:20}{size:7}{batch:6}{plain:11.2f}{more}", flush=True)
    if chosen.json:
        content = {"machine": machine_of(chosen), "rows": rows}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
