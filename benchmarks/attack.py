"""PGD as `evaluate` runs it, against a plain torchattacks loop on the same images.

    python -m benchmarks.attack [--images 18] [--steps 10] [--compile] [--device cuda] [--json FILE]

EfficientNet-Lite0 with its published weights, on the photographs of the extra `samples`; the ways
take turns, and each tells its robust accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchattacks
from torch import Tensor, nn

from aliascope.models.execution import compiled, products_in, settle_layout
from aliascope.protocols.attacks import Attack
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model
from benchmarks.overhead import machine_of


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.0005, 0.005])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="try torch.compile too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)

    loaded = load_model(chosen.model)
    data = open_data("samples", loaded.preprocessing)
    items = [data[i] for i in range(min(chosen.images, len(data)))]
    images = torch.stack([item.image for item in items]).to(device)
    labels = torch.tensor([item.label for item in items]).to(device)
    plain = loaded.model.to(device)
    fast = load_model(chosen.model).model.to(device)
    layout = settle_layout(fast, images.shape[1:], device)
    laid_out = images.contiguous(memory_format=layout)
    attack = Attack("pgd", chosen.steps)

    def loop(eps: float) -> Tensor:
        torch.manual_seed(0)
        alpha = attack.step_for(eps)
        return torchattacks.PGD(plain, eps=eps, alpha=alpha, steps=chosen.steps)(images, labels)

    ways: dict[str, Callable[[float], Tensor]] = {
        "torchattacks loop": loop,
        "aliascope": lambda eps: attack.perturb(fast, laid_out, labels, eps),
    }
    if chosen.compile:
        quick = compiled(fast)
        ways["aliascope --compile"] = lambda eps: attack.perturb(quick, laid_out, labels, eps)

    def with_bfloat16(eps: float) -> Tensor:
        with products_in("bfloat16", device):
            return attack.perturb(fast, laid_out, labels, eps)

    ways["aliascope --precision bfloat16"] = with_bfloat16
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    robust: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(chosen.repeats + 1):
        for way, run in ways.items():
            began = time.perf_counter()
            results = [run(eps) for eps in chosen.eps]
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                seconds[way].append(time.perf_counter() - began)
            else:
                robust[way] = [accuracy(plain, each, labels) for each in results]
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    steps = len(images) * chosen.steps * len(chosen.eps)
    print(f"{chosen.model}, {len(images)} images, {chosen.steps} steps; {machine_of(chosen)}")
    print(f"clean accuracy {100 * accuracy(plain, images, labels):.0f} %, eps {chosen.eps}")
    for way, median in medians.items():
        hits = ", ".join(f"{100 * each:.0f} %" for each in robust[way])
        faster = medians["torchattacks loop"] / median
        print(f"{way:32}{1e3 * median / steps:8.2f} ms a step{faster:7.2f} ×  robust: {hits}")
    if chosen.json:
        content = {"seconds": medians, "robust": robust, "machine": machine_of(chosen)}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
