"""What filtering a ResNet-50 costs, beside kornia's blur pooling and composer's arrangement.

``python -m benchmarks.filters`` times a batch of images through a plain ResNet-50, through one
filtered by ``blur:3`` at every site (placed at the output and at the input), and through one whose
modules were replaced as others do: composer's (blur, then the strided convolution; dense max-pool,
then blur) and kornia's ``BlurPool2D`` after the dense operation. It also compares what they give
away from the border. composer's package is not needed: its arrangement is written out below.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import aliascope as al


class BlurThenConv(nn.Module):
    """composer's BlurConv2d with ``blur_first``: a zero-padded binomial, then the convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("blur", (taps[:, None] * taps)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Blur, then convolve with stride."""
        c = x.shape[1]
        blurred = F.conv2d(x, self.blur.expand(c, 1, 3, 3), None, 1, 1, 1, c)
        return self.conv(blurred)


class PoolThenBlur(nn.Module):
    """composer's BlurMaxPool2d: a max pool of stride 1, then a strided depthwise binomial."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(pool.kernel_size, 1, pool.padding)
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("blur", (taps[:, None] * taps)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Pool, then blur with stride."""
        x = self.pool(x)
        c = x.shape[1]
        return F.conv2d(x, self.blur.expand(c, 1, 3, 3), None, 2, 1, 1, c)


class ConvThenKornia(nn.Module):
    """The convolution at stride 1, then kornia's BlurPool2D."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        from kornia.filters import BlurPool2D

        self.conv, self.pool = conv, BlurPool2D(3, 2)
        self.conv.stride = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve densely, then blur with stride."""
        return self.pool(self.conv(x))


class PoolThenKornia(nn.Module):
    """The pool at stride 1, then kornia's BlurPool2D."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        from kornia.filters import BlurPool2D

        self.dense = nn.MaxPool2d(pool.kernel_size, 1, pool.padding)
        self.pool = BlurPool2D(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Pool densely, then blur with stride."""
        return self.pool(self.dense(x))


def replaced(
    model: nn.Module, conv: Callable[[nn.Conv2d], nn.Module], pool: Callable[..., nn.Module]
) -> nn.Module:
    """Replace strided convolutions and pools, by module surgery."""
    for name, module in list(model.named_modules()):
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            setattr(parent, name.rpartition(".")[2], conv(module))
        elif isinstance(module, nn.MaxPool2d):
            setattr(parent, name.rpartition(".")[2], pool(module))
    return model


def resnet50() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None).eval()


def ways(channels_last: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    models = {"plain": resnet50()}
    for place in ("output", "input"):
        models[f"blur:3, {place}"] = resnet50()
        al.antialias(models[f"blur:3, {place}"], "blur:3", place=place)
    zero = models["blur:3, input, zero"] = resnet50()
    al.antialias(zero, "blur:3", place="input", boundary="zero")
    ideal = models["ideal, output"] = resnet50()
    al.antialias(ideal, "ideal")
    models["composer's arrangement"] = replaced(resnet50(), BlurThenConv, PoolThenBlur)
    try:
        models["kornia's blur pooling"] = replaced(resnet50(), ConvThenKornia, PoolThenKornia)
    except ImportError:
        print("kornia is not installed and left out.")
    if channels_last:
        for model in models.values():
            model.to(memory_format=torch.channels_last)
    return dict(models)


@torch.no_grad()
def time_all(batch: int, repeats: int, channels_last: bool) -> None:
    """Let the ways take turns, and print the medians of the processor's time.

    That of all threads together: what others do on the machine meanwhile counts less than on a
    clock.
    """
    x = torch.randn(batch, 3, 224, 224)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    models = ways(channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        model(x)
    for _ in range(repeats):
        for name, model in models.items():
            began = time.process_time()
            model(x)
            seconds[name].append(time.process_time() - began)
    layout = "channels last" if channels_last else "channels first"
    print(f"ResNet-50, 224 × 224, batch {batch}, {layout}, {torch.get_num_threads()} threads")
    print(f"{'':28}{'CPU ms an image':>16}{'× plain':>10}{'lowest × plain':>16}")
    for name, each in seconds.items():
        ms = 1000 * statistics.median(each) / batch
        ratios = [a / b for a, b in zip(each, seconds["plain"], strict=True)]
        lowest = min(each) / min(seconds["plain"])
        print(f"{name:28}{ms:16.1f}{statistics.median(ratios):10.2f}{lowest:16.2f}")


@torch.no_grad()
def compare() -> None:
    """Print the largest differences of one site's output, away from the border and at it."""
    torch.manual_seed(0)
    x = torch.randn(2, 16, 56, 57)
    conv = nn.Conv2d(16, 32, 3, 2, 1)
    pool = nn.MaxPool2d(3, 2, 1)
    pairs = [
        ("convolution, composer's", BlurThenConv(conv), conv, "input"),
        ("max pool, composer's", PoolThenBlur(pool), pool, "output"),
    ]
    try:
        dense = nn.Conv2d(16, 32, 3, 2, 1)
        dense.load_state_dict(conv.state_dict())
        pairs.append(("convolution, kornia's", ConvThenKornia(dense), conv, "output"))
        pairs.append(("max pool, kornia's", PoolThenKornia(pool), pool, "output"))
    except ImportError:
        pass
    print(f"{'':28}{'interior':>12}{'border':>10}{'zero boundary':>16}")
    for name, theirs, ours, place in pairs:
        want = theirs(x)
        got = {}
        for boundary in ("mirror", "zero"):
            with al.antialias(ours, "blur:3", place=place, boundary=boundary):
                got[boundary] = (ours(x) - want).abs()
        inner = got["mirror"][..., 2:-2, 2:-2].max()
        border, zero = got["mirror"].max(), got["zero"].max()
        print(f"{name:28}{inner:12.1e}{border:10.1e}{zero:16.1e}")


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    chosen = parser.parse_args()
    compare()
    print()
    time_all(chosen.batch, chosen.repeats, chosen.channels_last)


if __name__ == "__main__":
    main()
