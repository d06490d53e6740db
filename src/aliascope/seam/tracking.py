"""Which module of a model is running, and where a pass through the model begins and ends."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from aliascope.errors import AliascopeError

ROOT = "(root)"
"""Name of the model's own forward among module paths."""


class ModuleTracker:
    """Follow a model's modules while it runs, through torch's global hooks.

    Global hooks need no change to the model, and see modules that are called in any order.

    Parameters
    ----------
    model : nn.Module
        Whose modules to follow; others are ignored.
    begin : callable
        Called as ``begin(module, args)`` when a module of the model is entered from outside.
    end : callable
        Called as ``end(completed)`` when it is left; ``completed`` is False after an exception.
    again : callable
        Gives the context to be in while autograd runs a checkpointed module's forward again. (Torch
        calls ``backward`` and ``grad`` with function modes off.)

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU())
    >>> again = contextlib.nullcontext
    >>> tracker = ModuleTracker(model, lambda module, args: None, print, again)
    >>> with tracker:
    ...     _ = model(torch.zeros(1))
    True
    """

    def __init__(
        self,
        model: nn.Module,
        begin: Callable[[nn.Module, tuple[Any, ...]], None],
        end: Callable[[bool], None],
        again: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        self._model = model
        self._begin, self._end, self._again = begin, end, again
        self._running_again = contextlib.ExitStack()
        # A module compiled inside the model is wrapped in one that has no name of its own.
        self._names = {
            module: name.replace("_orig_mod.", "").removesuffix("._orig_mod") or ROOT
            for name, module in model.named_modules()
        }
        self._running: list[nn.Module] = []
        self._exit = contextlib.ExitStack()
        self._thread = 0
        self._frame: FrameType | None = None
        self._exception_before: BaseException | None = None

    @property
    def path(self) -> str | None:
        """Path of the innermost module that runs; None while nothing of the model does."""
        return self._names[self._running[-1]] if self._running else None

    def name_of(self, module: nn.Module) -> str:
        """Path of a module of the model."""
        return self._names[module]

    def __enter__(self) -> ModuleTracker:
        self._thread = threading.get_ident()
        for handle in (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ):
            self._exit.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        self._running.clear()
        self._frame = None

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in self._names:
            return
        if in_backward():
            if not self._running:
                self._running_again.enter_context(self._again())
            self._running.append(module)
            return
        if threading.get_ident() != self._thread:
            raise AliascopeError(
                "The model ran in another thread than its Scope was entered in; "
                "run it in the same thread (nn.DataParallel: measure its .module)."
            )
        if module is self._model and self._running and not _on_stack(self._frame):
            self._running.clear()  # interrupted so that no hook saw it end, as by Ctrl-C
            self._end(False)
        if not self._running:
            self._begin(module, args)
            self._exception_before = sys.exc_info()[1]
            self._frame = sys._getframe(1)
        self._running.append(module)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module not in self._running:
            return
        while self._running.pop() is not module:
            pass
        if self._running:
            return
        if in_backward():
            self._running_again.close()
            return
        self._frame = None
        self._end(sys.exc_info()[1] is self._exception_before)


def in_backward() -> bool:
    """Say whether autograd is running, as when checkpointed modules run their forward again.

    Examples
    --------
    >>> in_backward()
    False
    """
    return bool(torch._C._current_graph_task_id() != -1)


def _on_stack(frame: FrameType | None) -> bool:
    """Say whether a call is still under way."""
    caller: FrameType | None = sys._getframe()
    while caller is not None:
        if caller is frame:
            return True
        caller = caller.f_back
    return False
