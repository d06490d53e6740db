"""Interventions at every site: what is computed before the site given back, against plain passes.

python -m benchmarks.replay resnet34 convnext_tiny --batch 16
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import aliascope as al
from aliascope.seam.replay import Replay
from benchmarks.overhead import machine_of, prepared

MODELS = ["resnet34", "efficientnet_lite0", "convnext_tiny", "swin_t", "densenet121"]


def varying(dense: Tensor) -> tuple[Tensor, Tensor]:
    axes = tuple(range(2, dense.ndim))
    mean = dense.mean(axes, keepdim=True)
    return mean, (dense - mean).square().sum(axes, keepdim=True)


def remove(dense: Tensor, low: Tensor) -> Tensor:
    return low


def restore(dense: Tensor, low: Tensor) -> Tensor:
    mean, energy = varying(dense)
    return mean + (low - mean) * (energy / varying(low)[1].clamp_min(1e-12)).sqrt()


def gain(dense: Tensor, low: Tensor) -> Tensor:
    mean, energy = varying(dense)
    return mean + (dense - mean) * (varying(low)[1] / energy.clamp_min(1e-12)).sqrt()


def beyond(dense: Tensor, low: Tensor) -> Tensor:
    return varying(dense)[0] + (dense - low)


INTERVENTIONS = [remove, restore, gain, beyond]


class Intervention:
    """Changes the dense signals of some sites; a life as docs/how-to.md has it."""

    # ruff: noqa: D102
    whole = False

    def __init__(self) -> None:
        self.sites: set[al.Site] = set()
        self.change: Callable[[Tensor, Tensor], Tensor] = remove

    def begin(self, batch: Any) -> None: ...

    def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor:
        return self.change(dense, al.low_pass(dense, site.rate))

    def end(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"name": self.change.__name__}


@dataclass
class Times:
    """Seconds of plain passes and of replayed ones."""

    what: str
    plain: float = 0.0
    replayed: float = 0.0

    def add(self, plain: float, replayed: float) -> None:
        """Add one of each."""
        self.plain, self.replayed = self.plain + plain, self.replayed + replayed


@torch.no_grad()
def compare(model: nn.Module, images: Tensor) -> tuple[list[Times], Replay]:
    """Time the clean pass, and all interventions at each site; plain and replayed take turns."""
    handler, clean = Intervention(), Times("clean pass")
    times = [clean]
    with al.Opening(model, [handler]) as opening:
        replay = Replay(opening)
        for _ in range(2):  # the first pass compares splits, and is not timed
            plain = seconds(lambda: model(images))[1]
            recorded = seconds(lambda: record(replay, model, images))[1]
        clean.add(plain, recorded)
        for listed in opening.sites:
            if not listed.supported:
                continue
            handler.sites, at_site = {listed.site}, Times(listed.name)
            for i, handler.change in enumerate([remove, *INTERVENTIONS]):
                one, plain = seconds(lambda: model(images))
                other, replayed = seconds(lambda: replay.run(lambda: model(images)))
                if not torch.equal(one, other):
                    raise RuntimeError(f"{handler.change.__name__} at {listed.name} differs")
                if i > 0:  # the first is not timed, as above
                    at_site.add(plain, replayed)
            times.append(at_site)
    return times, replay


def record(replay: Replay, model: nn.Module, images: Tensor) -> None:
    with replay.recording():
        model(images)


def seconds(run: Callable[[], Any]) -> tuple[Any, float]:
    before = time.perf_counter()
    return run(), time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--batch", type=int, default=16, help="images in a pass (default 16)")
    parser.add_argument("--size", type=int, default=224, help="pixels a side (default 224)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--channels-last", action="store_true", help="memory format")
    parser.add_argument("--sites", action="store_true", help="show each site as well")
    arguments = parser.parse_args()
    print(machine_of(arguments))
    print(f"{'':22} {'sites':>5} {'plain s':>8} {'replay s':>8} {'ratio':>6} {'kept MiB':>9}")
    for name in arguments.models:
        times, replay = compare(*prepared(arguments, name))
        for each in times if arguments.sites else []:
            ratio = each.replayed / each.plain
            print(f"  {each.what:26} {each.plain:8.2f} {each.replayed:8.2f} {ratio:6.2f}")
        plain, replayed = (sum(getattr(t, way) for t in times) for way in ("plain", "replayed"))
        kept = replay.kept_bytes / 2**20
        print(
            f"{name:22} {len(times) - 1:5} {plain:8.1f} {replayed:8.1f} {replayed / plain:6.2f} "
            f"{kept:9.0f} {replay.reason}",
            flush=True,
        )


if __name__ == "__main__":
    main()
