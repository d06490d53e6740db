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
from aliascope.interventions import intervention
from aliascope.seam.parts import workspace_of
from aliascope.seam.replay import Replay
from aliascope.seam.signals import Signals
from benchmarks.overhead import machine_of, prepared

MODELS = ["resnet34", "efficientnet_lite0", "convnext_tiny", "swin_t", "densenet121"]


INTERVENTIONS = ["remove", "restore", "gain", "low"]


class Changing:
    """Passes on to the intervention of the moment."""

    # ruff: noqa: D102
    whole = False

    def __init__(self) -> None:
        self.now: Any = intervention("remove", ())

    @property
    def sites(self) -> Any:
        return self.now.sites

    def begin(self, batch: Any) -> None:
        self.now.begin(batch)

    def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor | None:
        return self.now.take(site, dense, part)

    def end(self) -> None:
        self.now.end()

    def describe(self) -> dict[str, Any]:
        return dict(self.now.describe())


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
    handler, clean = Changing(), Times("clean pass")
    times = [clean]
    signals = Signals(workspace_of(images.device.type))
    with al.Opening(model, [handler]) as opening:
        replay = Replay(opening)
        for _ in range(2):  # the first pass compares splits, and is not timed
            plain = seconds(lambda: model(images))[1]
            recorded = seconds(lambda: record(replay, model, images))[1]
        clean.add(plain, recorded)
        for listed in opening.sites:
            if not listed.supported:
                continue
            at_site = Times(listed.name)
            handler.now = intervention("remove", [listed.site])
            model(images)  # not timed, as above
            signals.about(listed.site)
            for name in INTERVENTIONS:
                handler.now = intervention(name, [listed.site])
                one, plain = seconds(lambda: model(images))
                handler.now = intervention(name, [listed.site])
                handler.now.signals = signals
                with opening.keeping_signals(signals):
                    other, replayed = seconds(lambda: replay.run(lambda: model(images)))
                if not torch.equal(one, other):
                    raise RuntimeError(f"{name} at {listed.name} differs")
                at_site.add(plain, replayed)
            times.append(at_site)
        signals.forget()
    return times, replay


def record(replay: Replay, model: nn.Module, images: Tensor) -> None:
    with replay.recording():
        model(images)


def seconds(run: Callable[[], Any]) -> tuple[Any, float]:
    """Run, and give the processor's time of all threads: what others do meanwhile counts less."""
    before = time.process_time()
    return run(), time.process_time() - before


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
