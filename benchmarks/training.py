"""A training step of ResNet-20, width 16, against a plain eager float32 loop, and making the data.

    python -m benchmarks.training [--device cuda] [--steps 20] [--output FILE.json]

The plain loop makes its images one by one on the CPU, in float32 with plain strides and Adam as it
comes, as a first version would be written. Both train the same images; variants in between say
what each change gives. Medians of steps that alternate between the variants, in one process.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aliascope.models.execution import fastest_precision
from aliascope.oscillations.images import Oscillations
from aliascope.oscillations.networks import find_network
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.training import Machine, Supply, _Session

BATCH = 128


def one_by_one(images: Oscillations, indices: Tensor) -> tuple[Tensor, Tensor]:
    made = [images.batch(index[None]) for index in indices]
    return torch.cat([pixels for pixels, _ in made]), torch.cat([label for _, label in made])


def plain_step(device: torch.device) -> Callable[[], None]:
    images = Recipe("resnet-w-16").images("train")
    network = find_network("resnet-w-16").build(seed=0).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4, foreach=False)

    def step() -> None:
        indices = torch.randint(len(images), (BATCH,))
        pixels, labels = (tensor.to(device) for tensor in one_by_one(images, indices))
        optimizer.zero_grad()
        F.cross_entropy(network(pixels), labels).backward()
        optimizer.step()

    return step


def our_step(device: torch.device, precision: str, compiled: bool = False) -> Callable[[], None]:
    recipe = Recipe("resnet-w-16", precision=precision, train_images=4000, validation_images=400)
    session = _Session(recipe, Machine(str(device), compile=compiled))

    def step() -> None:
        indices = torch.randint(len(session._train), (BATCH,), device=device)
        session.network.train()
        session.step(*session._train.batch(indices))

    return step


def seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def medians(
    calls: dict[str, Callable[[], object]], device: torch.device, steps: int
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(steps):
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    fast = fastest_precision(str(device))

    images = Recipe("resnet-w-16").images("train")
    supply = Supply(images, device)
    indices = torch.randperm(len(images))[:BATCH].to(device)
    calls: dict[str, Callable[[], object]] = {
        "plain loop": plain_step(device),
        "float32": our_step(device, "float32"),
        f"{fast} (default)": our_step(device, fast),
    }
    if chosen.compile:
        calls[f"{fast}, compiled"] = our_step(device, fast, compiled=True)
    calls |= {
        "data: one by one, CPU": lambda: one_by_one(images, indices.cpu()),
        "data: a batch at once": lambda: images.batch(indices),
        "data: from the kept set": lambda: supply.batch(indices),
    }
    result = medians(calls, device, chosen.steps)
    default = result[f"{fast} (default)"]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    machine = f"{gpu or platform.machine()}, {chosen.threads} threads, torch {torch.__version__}"
    print(f"resnet-w-16, batch {BATCH}; {machine}; medians of {chosen.steps}")
    for name, value in result.items():
        print(f"{name:26}{1e3 * value:9.2f} ms{result['plain loop'] / value:9.2f} x the plain loop")
    for name in ("data: a batch at once", "data: from the kept set"):
        print(f"{name}: {100 * result[name] / default:.2f} % of a default step")
    if chosen.output:
        content = {"machine": machine, "batch": BATCH, "seconds": result}
        chosen.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
