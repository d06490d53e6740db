"""How a network is computed: in which memory format, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.models.predictions import class_scores

PRECISIONS = ("float32", "bfloat16")
"""Of the products in a pass; weights stay float32."""

SAFE_CHANNELS = 16
"""Channels from which on 1 × 1 convolutions may be channels last on the CPU."""

SAME = 1e-3
"""Largest difference between the outputs in two memory formats, relative to the largest output."""


def check_precision(precision: str) -> None:
    """Refuse a precision that is not known."""
    if precision not in PRECISIONS:
        raise AliascopeError(
            f"precision is {precision!r}, but it must be one of {', '.join(PRECISIONS)}."
        )


def fastest_precision(device: str) -> str:
    """Choose bfloat16 where the device multiplies it natively, else float32.

    Parameters
    ----------
    device : str
        Such as "cpu" or "cuda:0".

    Returns
    -------
    str
        One of `PRECISIONS`.

    Examples
    --------
    >>> fastest_precision("mps")
    'float32'
    """
    kind = torch.device(device).type
    if kind == "cpu":
        capabilities = (
            torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        )
        native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    else:
        native = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def products_in(precision: str, device: torch.device) -> torch.autocast:
    """Compute with products of a precision, within the context."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def compiled(model: nn.Module) -> nn.Module:
    """Compile a model with ``torch.compile``, which begins when it is first run; in eval mode."""
    result: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return result.eval()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Say in one sentence that a compiled model could not be compiled after all."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        raise AliascopeError(
            f"The network cannot be compiled here ({reason}); leave --compile out."
        ) from error


def fast_layout(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Choose channels_last, which is faster on every device, but where it is not safe.

    Seen with torch 2.15 on two threads: the backward pass of a strided 1 × 1 convolution of 8
    channels, channels last, writes past its memory when the batch is odd. With 16 and more it
    does not.

    Examples
    --------
    >>> fast_layout(nn.Conv2d(3, 8, 3), torch.device("cpu"))
    torch.channels_last
    """
    unsafe = device.type == "cpu" and any(
        module.kernel_size == (1, 1) and module.in_channels < SAFE_CHANNELS
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )
    return torch.contiguous_format if unsafe else torch.channels_last


@torch.no_grad()
def settle_layout(
    model: nn.Module, shape: Sequence[int], device: torch.device
) -> torch.memory_format:
    """Move a model to the memory format that it is fast in, unless it does not work there.

    A model that reads the strides of its signals, as ``view`` does, may refuse them channels last;
    so it is tried first, on an image of noise.

    Parameters
    ----------
    model : nn.Module
        In eval mode, on the device; its weights are laid out anew.
    shape : (int, int, int)
        Channels, height and width of its images.
    device : torch.device
        Where it is.

    Returns
    -------
    torch.memory_format
        What the images should be in.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()).eval()
    >>> settle_layout(model, (3, 8, 8), torch.device("cpu"))
    torch.channels_last
    >>> class Viewing(nn.Module):
    ...     def forward(self, x):
    ...         return x.view(len(x), -1)
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), Viewing()).eval()
    >>> settle_layout(model, (3, 8, 8), torch.device("cpu"))
    torch.contiguous_format
    """
    layout = fast_layout(model, device)
    if layout is torch.contiguous_format:
        return layout
    image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).to(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        plain = model(image)
        model.to(memory_format=layout)
        try:
            if _alike(plain, model(image.contiguous(memory_format=layout))):
                return layout
        except Exception:  # whatever its code makes of strides that it does not expect
            pass
    model.to(memory_format=torch.contiguous_format)
    return torch.contiguous_format


def _alike(output: object, other: object) -> bool:
    """Compare class scores or tensors; what is neither cannot be told to be the same."""
    pairs = [class_scores(output), class_scores(other)]
    first, second = (
        scores if scores is not None else value
        for scores, value in zip(pairs, (output, other), strict=True)
    )
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    if first.shape != second.shape:
        return False
    largest = first.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return bool((first - second).abs().max() <= SAME * largest)
