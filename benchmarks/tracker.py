"""What a Tracker adds to training: plain and measured steps in turn, in one process.

    python -m benchmarks.tracker [--every 100] [--pairs 7] [--batch 16] [--threads 1]

Trains ResNet-18 at 64 pixels. On a CPU the clock is that of the process (all of its threads),
which other jobs on the machine do not stretch; on a GPU that of the wall. The first measured step
compares every site with its split, and comes before.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torchvision
from torch.nn import functional as F

import aliascope as al


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"every": 100, "pairs": 7, "batch": 16, "size": 64, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).to(chosen.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    images = torch.rand(chosen.batch, 3, chosen.size, chosen.size, device=chosen.device)
    labels = torch.randint(10, (chosen.batch,), device=chosen.device)
    tracker = al.Tracker(model, every=1)

    clock = time.perf_counter if images.is_cuda else time.process_time

    def step() -> float:
        began = clock()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()
        return clock() - began

    def measured() -> float:
        began = clock()
        with tracker.step():
            step()
        return clock() - began

    first, _ = measured(), step()
    plain, steps = [], []
    for _ in range(chosen.pairs):
        plain.append(step())
        steps.append(measured())
    usual, one = statistics.median(plain), statistics.median(steps)
    print(
        f"resnet18, {chosen.size} pixels, batch {chosen.batch}, every {chosen.every}, "
        f"{chosen.device}, {chosen.threads} threads, torch {torch.__version__}: "
        f"a step {1e3 * usual:.1f} ms, a measured one {1e3 * one:.1f} ms "
        f"(the first {1e3 * first:.0f} ms)"
    )
    print(f"added by medians: {100 * (one / usual - 1) / chosen.every:.2f} % of a training's time")
    ratios = [100 * (b / a - 1) / chosen.every for a, b in zip(plain, steps, strict=True)]
    print(f"pair by pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)} %")


if __name__ == "__main__":
    main()
