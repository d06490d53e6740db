"""Products of what is measured in their own precision, whatever a program has chosen for speed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def unrounded(device_type: str) -> Iterator[None]:
    """Multiply in float32 or wider within the context: without autocast, TF32 and the like.

    ``torch.set_float32_matmul_precision("high")``, which training scripts like to begin with,
    leaves 10 bits of a float32 on a GPU and "medium" 7, on a processor too: a share of energy is
    then off by 1e-4 and more.

    Parameters
    ----------
    device_type : str
        "cpu" or "cuda".

    Examples
    --------
    >>> with unrounded("cpu"):
    ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
    """
    with contextlib.ExitStack() as stack:
        if torch.is_autocast_enabled(device_type):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        backends: Any = torch.backends
        if hasattr(backends.cuda.matmul, "fp32_precision"):
            for backend in (backends.cuda.matmul, backends.mkldnn.matmul):
                _set_for(stack, backend)
        elif (before := torch.get_float32_matmul_precision()) != "highest":  # before torch 2.9
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, before)
        yield


def _set_for(stack: contextlib.ExitStack, backend: Any) -> None:
    before = backend.fp32_precision
    if before != "ieee":
        backend.fp32_precision = "ieee"
        stack.callback(_restore, backend, before)


def _restore(backend: Any, before: str) -> None:
    """Let it follow what is set for all backends again, or have a precision of its own."""
    backend.fp32_precision = "none"
    if backend.fp32_precision != before:
        backend.fp32_precision = before
