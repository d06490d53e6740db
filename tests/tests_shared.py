"""What several test files share: the golden cases, and random signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

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
