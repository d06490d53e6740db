"""What an untrained network's categories are, what they are of its low parts, and its energies.

    python -m benchmarks.floor [--model resnet34] [--sizes 112 224 448] [--images 8] [--unfitted]

Runs a network of torchvision, with random weights of seed 0, on the photographs that come with
foolbox (shorter side to 8/7 of the size, centre crop, ImageNet's normalisation); batch
normalisations are given the mean and variance of what they see. By site: aliased + tangled as
published (20 dB below the maximum, grid seed, unit scale), the same of the low part (the floor),
and aliased energy. Beside ResNet-34 at 224 stand the values of the trained network that Ribeiro and
Schön published (ICASSP 2021), read off their plot to about half a point. Sites of rates above 2
have energy only.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms import v2

import aliascope as al
from aliascope.data import sample_files
from aliascope.energy import white_energy
from aliascope.measures.engines import count_categories
from aliascope.spectrum import Criterion

PUBLISHED = (0, 4, 42, 20, 42, 65, 83, 95)
"""Tangled of the trained ResNet-34 on ImageNet, per cent of bins, by site, about half a point."""

PUBLISHED_CRITERION = Criterion(threshold_db=20, reference="max", grid="seed", fold_scale="unit")


class Numbers:
    """Aliased energy, and aliased + tangled of the signal and of its low part, by site."""

    whole = False

    def __init__(self) -> None:
        self.values: dict[Any, dict[str, list[Tensor]]] = {}
        self.size: dict[Any, tuple[int, ...]] = {}

    def begin(self, batch: Any) -> None:
        """Begin a pass."""

    def take(self, site: Any, dense: Tensor, part: Any) -> None:
        """Measure what comes, whole or in parts."""
        found = {"energy": al.aliased_energy(dense, site.rate)}
        if max(site.rate) <= 2:
            found["measured"] = self._counted(dense, site.rate)
            found["floor"] = self._counted(al.low_pass(dense, site.rate), site.rate)
        self.size[site] = tuple(dense.shape[2:])
        for name, each in found.items():
            self.values.setdefault(site, {}).setdefault(name, []).append(each.flatten())

    def end(self) -> None:
        """End a pass: values are kept over all."""

    def describe(self) -> dict[str, Any]:
        """Say what this is."""
        return {"name": "numbers"}

    def rows(self) -> list[dict[str, Any]]:
        """One row a site, means over all maps."""
        return [
            {
                "site": site.path,
                "rate": list(site.rate),
                "size": list(self.size[site]),
                "white": white_energy(self.size[site], site.rate),
                **{name: float(torch.cat(v).nanmean()) for name, v in values.items()},
            }
            for site, values in self.values.items()
        ]

    @staticmethod
    def _counted(dense: Tensor, rate: tuple[int, ...]) -> Tensor:
        counts = count_categories(dense, rate, PUBLISHED_CRITERION).double()
        return counts[..., 2:].sum(dim=-1) / counts.sum(dim=-1)


def pictures(size: int, count: int) -> Tensor:
    """Photographs as a network expects them, (count, 3, size, size)."""
    prepare = v2.Compose(
        [
            v2.Resize(size * 8 // 7, antialias=True),
            v2.CenterCrop(size),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    prepared = []
    for path, _ in sample_files()[:count]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        prepared.append(prepare(torch.from_numpy(pixels).permute(2, 0, 1)))
    return torch.stack(prepared)


@torch.no_grad()
def measured(name: str, size: int, count: int, fitted: bool = True) -> list[dict[str, Any]]:
    """Run a network on pictures of a size; one row a site."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    if fitted:
        fit(model, pictures(size, count))
    numbers = Numbers()
    with al.Opening(model, [numbers]):
        for images in pictures(size, count).split(2):
            model(images)
    return numbers.rows()


def fit(model: nn.Module, images: Tensor) -> None:
    """Give every batch normalisation the mean and variance of what it sees, as training would."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        model(images)
    for norm in norms:
        norm.eval()


def table(rows: list[dict[str, Any]], name: str, size: int) -> str:
    """Write Markdown."""
    published = name == "resnet34" and size == 224
    counted = any("measured" in row for row in rows)
    head = ["site", "rate", "map"]
    head += ["aliased + tangled, %", "floor, %"] if counted else []
    head += ["aliased energy, %", "white noise, %"]
    head += ["published tangled, trained, %"] if published else []
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for number, row in enumerate(rows):
        cells = [
            f"`{row['site']}`",
            "×".join(map(str, row["rate"])),
            "×".join(map(str, row["size"])),
        ]
        cells += [percent(row.get(key)) for key in (("measured", "floor") if counted else ())]
        cells += [percent(row["energy"]), percent(row["white"])]
        cells += [f"~{PUBLISHED[number]}"] if published else []
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def percent(value: float | None) -> str:
    """Write a share.

    Examples
    --------
    >>> percent(0.123), percent(None)
    ('12.3', '')
    """
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet34", help="of torchvision")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument(
        "--unfitted", action="store_true", help="leave batch normalisations at mean 0, variance 1"
    )
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for size in chosen.sizes:
        results[size] = measured(chosen.model, size, chosen.images, not chosen.unfitted)
        print(f"**{chosen.model}, random weights, {size} × {size}, {chosen.images} photographs**\n")
        print(table(results[size], chosen.model, size), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
