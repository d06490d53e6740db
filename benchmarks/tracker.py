"""What a Tracker adds to training: whole trainings with and without one, in turn, in one process.

    python -m benchmarks.tracker [--every 100] [--rounds 3] [--batch 16] [--threads 2]

Each round trains ResNet-18 at 64 pixels for ``every`` steps plain, and as many tracked, one of them
measured: so each ratio is that of the time per step. The first measured step compares every site
with its split and comes before the rounds.
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
    for name, value in {"every": 100, "rounds": 3, "batch": 16, "size": 64, "threads": 2}.items():
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

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def measured() -> float:
        began = time.perf_counter()
        with tracker.step():
            step()
        return time.perf_counter() - began

    first, _ = measured(), step()
    plain, steps, ratios = [], [], []
    for _ in range(chosen.rounds):
        here = [step() for _ in range(chosen.every)]
        one = measured()
        with_one = [one, *(step() for _ in range(chosen.every - 1))]
        plain += here
        steps.append(one)
        ratios.append(sum(with_one) / sum(here))
    usual, one = statistics.median(plain), statistics.median(steps)
    print(
        f"resnet18, {chosen.size} pixels, batch {chosen.batch}, every {chosen.every}, "
        f"{chosen.device}, {chosen.threads} threads, torch {torch.__version__}: "
        f"a step {1e3 * usual:.1f} ms, a measured one {1e3 * one:.1f} ms "
        f"(the first {1e3 * first:.0f} ms)"
    )
    print(f"added by medians: {100 * (one / usual - 1) / chosen.every:.2f} % of a training's time")
    print(f"whole rounds, tracked / plain: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
