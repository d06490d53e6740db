"""Compile and export filtered models, and say how far each is from the model run as it is.

``python -m benchmarks.exports`` takes ResNet-18, EfficientNet-Lite0, ConvNeXt-atto, Swin-T and a
net of functional calls, of random weights, filters all sites, and prints the largest difference of
the output, relative to the largest output: torch.compile (one graph, ``--backend``), torch.export
and onnxruntime.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import aliascope as al
from benchmarks.architectures import FunctionalUNet


def models(side: int) -> Iterator[tuple[str, nn.Module]]:
    """Make the models."""
    import timm
    import torchvision

    yield "ResNet-18", torchvision.models.resnet18(weights=None)
    yield "functional U-Net", FunctionalUNet((8, 16, 32))
    yield "EfficientNet-Lite0", timm.create_model("efficientnet_lite0")
    yield "ConvNeXt-atto", timm.create_model("convnext_atto")
    yield "Swin-T", torchvision.models.swin_t(weights=None)


@torch.no_grad()
def ways(model: nn.Module, x: Tensor, backend: str) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Give each way to run the model."""
    yield "compile", lambda: torch.compile(model, backend=backend, fullgraph=True)(x)
    yield "export", lambda: torch.export.export(model, (x,), strict=False).module()(x)
    yield "onnx", lambda: _by_onnx(model, x)


def _by_onnx(model: nn.Module, x: Tensor) -> Tensor:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        torch.onnx.export(model, (x,), file, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(file)
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@torch.no_grad()
def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--backend", default="aot_eager")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| model | filter | sites | compile | export | onnx |\n|---|---|---:|---:|---:|---:|")
    x = torch.randn(2, 3, chosen.side, chosen.side)
    for name, model in models(chosen.side):
        model.eval()
        for filter in ("blur:3", "ideal"):
            torch._dynamo.reset()
            with al.antialias(model, filter) as handle:
                want, cells = model(x), []
                for _, run in ways(model, x, chosen.backend):
                    try:
                        cells.append(f"{float((run() - want).abs().max() / want.abs().max()):.1e}")
                    except Exception as error:
                        cells.append(f"{type(error).__name__}: {str(error).splitlines()[0][:80]}")
            print(f"| {name} | {filter} | {len(handle.sites)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
