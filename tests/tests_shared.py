"""What several test files share: golden cases, random signals, tiny networks and photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

GOLDEN = np.load(Path(__file__).parent / "golden" / "categories.npz")
GOLDEN_NAMES = sorted({key.split("/")[0] for key in GOLDEN})


@st.composite
def signals(draw, largest_rate=5):
    axes = draw(st.integers(1, 3))
    rate = tuple(draw(st.integers(1, largest_rate if axes < 3 else 3)) for _ in range(axes))
    size = tuple(draw(st.integers(1, {1: 40, 2: 15, 3: 7}[axes])) for _ in range(axes))
    seed = draw(st.integers(0, 2**31))
    signal = torch.randn(
        2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    if draw(st.booleans()):  # natural signals are stronger at low frequencies
        for axis in range(1, axes + 1):
            signal = signal.cumsum(axis)
    return signal, rate, draw(st.sampled_from(["seed", "native"]))


FACTORY = """
import torch
from torch import nn

def tiny():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(4)
    )

def net():
    torch.manual_seed(1)
    model = tiny()
    model(torch.zeros(1, 3, 24, 24))
    return model

def flat():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Deadly(nn.Module):
    def __init__(self, passes):
        super().__init__()
        self.net, self.left = net(), passes

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)

def deadly():
    import os
    return Deadly(int(os.environ.get("PASSES", "1000000")))
"""


def tiny_photos(folder):
    """Write factories.py, and photos/ with 4 classes of 3 images."""
    (folder / "factories.py").write_text(FACTORY)
    rng = np.random.default_rng(0)
    for label in range(4):
        (folder / "photos" / str(label)).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (30, 34, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / str(label) / f"{i}.png")
