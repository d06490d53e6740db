"""Which module of a model is running, and where calls of the model begin and end."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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

OWN = ("forward", "__call__")
"""Methods of the model that are a pass."""


@dataclass
class Call:
    """A call of the model, or of one of its modules from outside.

    Attributes
    ----------
    module : nn.Module
        That was called.
    inputs : list
        Its arguments, in no particular form.
    frame : FrameType or None
        Of the model's own forward, where no hook tells of that: under a ``__call__`` of its own, or
        as a generator.
    """

    module: nn.Module
    inputs: Any
    frame: FrameType | None = field(default=None, repr=False)


class ModuleTracker:
    """Follow a model's modules while it runs, through torch's global hooks.

    Global hooks need no change to the model, and see modules that are called in any order.

    Parameters
    ----------
    model : nn.Module
        Whose modules to follow; others are ignored.
    begin : callable
        Called as ``begin(call)`` when a module of the model is entered from outside.
    end : callable
        Called as ``end(completed, output)`` when it is left; ``completed`` is False after an
        exception.
    again : callable
        Gives the context to be in while autograd runs a checkpointed module's forward again. (Torch
        calls ``backward`` and ``grad`` with function modes off.)

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU())
    >>> calls = []
    >>> end = lambda completed, output: calls.append(completed)
    >>> with ModuleTracker(model, calls.append, end, contextlib.nullcontext):
    ...     _ = model(torch.zeros(1))
    >>> calls
    [Call(module=Sequential(...), inputs=[tensor([0.])]), True]
    """

    def __init__(
        self,
        model: nn.Module,
        begin: Callable[[Call], None],
        end: Callable[[bool, Any], None],
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
        self._running: list[tuple[nn.Module, FrameType]] = []
        self._again_from: int | None = None
        self._exit = contextlib.ExitStack()
        self._thread = 0
        self._exception_before: BaseException | None = None

    @property
    def path(self) -> str | None:
        """Path of the innermost module that runs; None while no hook tells of any."""
        self._let_go_of_interrupted()
        return self._names[self._running[-1][0]] if self._running else None

    def name_of(self, module: nn.Module) -> str:
        """Path of a module of the model."""
        return self._names[module]

    def names(self) -> Iterator[tuple[str, nn.Module]]:
        """Path and module of each."""
        return ((name, module) for module, name in self._names.items())

    def own_call(self) -> Call | None:
        """Find the model's own forward under way, and its arguments, where no hook tells of it."""
        found = None
        for frame in _frames(sys._getframe(1)):
            code = frame.f_code
            if code.co_name not in OWN or not code.co_argcount:
                continue
            if frame.f_locals.get(code.co_varnames[0]) is self._model:
                found = frame
        return None if found is None else Call(self._model, _arguments_of(found), found)

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
        self._forget_again()

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in self._names:
            return
        caller = sys._getframe(1)
        if in_backward():
            if self._again_from is None:
                self._again_from = len(self._running)
                self._running_again.enter_context(self._again())
            self._running.append((module, caller))
            return
        if threading.get_ident() != self._thread:
            raise AliascopeError(
                "The model ran in another thread than its Scope was entered in; "
                "run it in the same thread (nn.DataParallel: measure its .module)."
            )
        self._let_go_of_interrupted()
        if not self._running:
            self._begin(Call(module, [*args, *_keywords_of(caller).values()]))
            self._exception_before = sys.exc_info()[1]
        self._running.append((module, caller))

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if all(module is not running for running, _ in self._running):
            return
        while self._running.pop()[0] is not module:
            pass
        if in_backward():
            if len(self._running) == self._again_from:
                self._again_from = None
                self._running_again.close()
        elif not self._running:
            self._end(sys.exc_info()[1] is self._exception_before, output)

    def _forget_again(self) -> None:
        """Forget a second run that was interrupted; torch put its modes back after backward."""
        self._again_from = None
        self._running_again.pop_all()

    def _let_go_of_interrupted(self) -> None:
        """Notice the end of modules of which no hook told, as after Ctrl-C."""
        if in_backward() or not self._running or _on_stack(self._running[-1][1]):
            return
        self._forget_again()
        while self._running and not _on_stack(self._running[-1][1]):
            self._running.pop()
        if not self._running:
            self._end(False, None)


def generator_frame(output: Any) -> FrameType | None:
    """Frame of a generator, in which the forward that gave it has yet to run; else None."""
    if inspect.isgenerator(output):
        return output.gi_frame
    return output.cr_frame if inspect.iscoroutine(output) else None


def in_backward() -> bool:
    """Say whether autograd is running, as when checkpointed modules run their forward again.

    Examples
    --------
    >>> x = torch.ones(1, requires_grad=True)
    >>> _ = x.register_hook(lambda gradient: print(in_backward()))
    >>> x.backward()
    True
    >>> in_backward()
    False
    """
    return bool(torch._C._current_graph_task_id() != -1)


def in_checkpoint() -> bool:
    """Say whether a forward is under way that autograd will run again.

    Examples
    --------
    >>> from torch.utils.checkpoint import checkpoint
    >>> look = lambda x: print(in_checkpoint())
    >>> checkpoint(look, torch.ones(1, requires_grad=True), use_reentrant=True)
    True
    >>> in_checkpoint()
    False
    """
    if torch.is_grad_enabled():  # checkpointing without reentry packs what is saved
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
        return hooks is not None
    checkpoint = sys.modules.get("torch.utils.checkpoint")
    if checkpoint is None:
        return False
    code = checkpoint.CheckpointFunction.forward.__code__
    return any(frame.f_code is code for frame in _frames(sys._getframe(1)))


def in_checkpointed_function() -> bool:
    """Say whether what autograd will run again is a function, with no module around what runs now.

    No hook tells of it in backward, so that nothing can be put in its place there.

    Examples
    --------
    >>> from torch.utils.checkpoint import checkpoint
    >>> look = lambda x: print(in_checkpointed_function())
    >>> checkpoint(look, torch.ones(1), use_reentrant=False)
    True
    >>> in_checkpointed_function()
    False
    """
    checkpoint = sys.modules.get("torch.utils.checkpoint")
    if checkpoint is None:
        return False
    ends = (inspect.unwrap(checkpoint.checkpoint), checkpoint.CheckpointFunction.forward)
    codes = [end.__code__ for end in ends]
    for frame in _frames(sys._getframe(1)):
        if frame.f_code is nn.Module._call_impl.__code__:
            return False
        if any(frame.f_code is code for code in codes):
            return True
    return False


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _on_stack(frame: FrameType) -> bool:
    """Say whether a call is still under way."""
    return any(each is frame for each in _frames(sys._getframe()))


def _keywords_of(caller: FrameType) -> Any:
    """Keyword arguments of a module's call, which global hooks before it are not given."""
    return caller.f_locals.get("kwargs", {})


def _arguments_of(frame: FrameType) -> list[Any]:
    """Arguments of a method under way, but for the first."""
    code, values = frame.f_code, frame.f_locals
    named = code.co_argcount + code.co_kwonlyargcount
    arguments = [values.get(name) for name in code.co_varnames[1:named]]
    rest = iter(code.co_varnames[named:])
    if code.co_flags & inspect.CO_VARARGS:
        arguments += values.get(next(rest), ())
    if code.co_flags & inspect.CO_VARKEYWORDS:
        arguments += values.get(next(rest), {}).values()
    return arguments
