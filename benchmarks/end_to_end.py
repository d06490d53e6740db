"""From a folder of JPEG files to a run directory: images a second, against images in memory.

    python -m benchmarks.end_to_end [--model torchvision:resnet34] [--images 256] [--workers 0 1 2]

The folder is made of random pictures of ImageNet's usual size and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aliascope.data import Item
from aliascope.data.folders import ImageSet
from aliascope.evaluation.loop import evaluate
from aliascope.evaluation.options import Options
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model


class InMemory(ImageSet):
    """The same images, decoded beforehand."""

    def __init__(self, images: ImageSet) -> None:
        super().__init__(images.name, images.paths, images.names, images.labels, images.transform)
        self.items = [images[i] for i in range(len(images))]

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


def write_photographs(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for i in range(count):
        coarse = generator.integers(0, 255, (47, 63, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        place = folder / str(i % 10)
        place.mkdir(exist_ok=True)
        picture.save(place / f"{i:06d}.jpg", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="torchvision:resnet34")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    loaded = load_model(chosen.model, weights="none")
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photographs")
        folder.mkdir()
        write_photographs(folder, chosen.images)
        images = open_data(str(folder), loaded.preprocessing, num_classes=1000)
        assert isinstance(images, ImageSet)

        def rate(source: ImageSet, name: str, workers: int, count: int) -> float:
            began = time.perf_counter()
            evaluate(
                loaded,
                source,
                Path(place, name),
                Options(batch_size=chosen.batch_size, max_samples=count),
                device=chosen.device,
                workers=workers,
            )
            return count / (time.perf_counter() - began)

        rate(images, "warm", 0, 2 * chosen.batch_size)
        began = time.perf_counter()
        for i in range(min(64, len(images))):
            images[i]
        decoding = (time.perf_counter() - began) / min(64, len(images))
        rates["in memory"] = rate(InMemory(images), "memory", 0, chosen.images)
        for workers in chosen.workers:
            rates[f"{workers} workers"] = rate(images, f"run{workers}", workers, chosen.images)
    best = rates["in memory"]
    cores = best * decoding
    print(f"{chosen.model}, {chosen.device}, {chosen.threads} threads, {os.cpu_count()} cores")
    print(f"decoding: {1e3 * decoding:.1f} ms an image on one core, so {cores:.2f} cores keep up")
    for name, value in rates.items():
        print(f"{name:12}{value:8.1f} images/s{100 * value / best:8.0f} %")
    if chosen.json:
        content = {"rates": rates, "decoding_seconds": decoding, "cores_to_keep_up": cores}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
