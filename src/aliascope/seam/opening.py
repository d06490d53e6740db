"""A model opened: its sites run as dense operation, handlers, decimation, while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.seam.tracking import ROOT

_active = threading.Lock()


def original_module(model: nn.Module) -> nn.Module:
    """Return the module to instrument: that behind ``torch.compile``, or the model itself.

    Parameters
    ----------
    model : nn.Module
        Module as the user has it.

    Returns
    -------
    nn.Module
        Module whose Python forward can be intercepted.

    Raises
    ------
    AliascopeError
        If it is no module, or is or holds TorchScript, which does not run through Python.

    Examples
    --------
    >>> original_module(nn.ReLU())
    ReLU()
    """
    if not isinstance(model, nn.Module):
        raise AliascopeError(
            f"The model is a {type(model).__name__}, but it must be a torch.nn.Module."
        )
    model = getattr(model, "_orig_mod", model)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise AliascopeError(
                f"Module {name or ROOT!r} is TorchScript, whose operations cannot be intercepted; "
                "measure the nn.Module that it was made from."
            )
    return model


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run in eval mode and without gradients; give each module its own mode back afterwards.

    Examples
    --------
    >>> model = nn.Dropout()
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    with contextlib.suppress(NotImplementedError):  # exported programs have no other mode
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _eager_compiled_modules() -> contextlib.AbstractContextManager[Any]:
    """Have compiled modules run as their originals; without torch.compile there are none."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def _batch_size(args: Sequence[Any]) -> int | None:
    """Count the samples of a pass: the first tensor's first axis, or the images in a list.

    Of three axes the first may be samples, (N, C, L), or channels, (C, H, W): the first site knows.
    """
    for arg in args:
        if isinstance(arg, Tensor) and arg.ndim > 0:
            return None if arg.ndim == 3 else len(arg)
        if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor):
            return len(arg)
    return None
