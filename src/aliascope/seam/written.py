"""A call written down: which function, of what, and what it gave; told apart from any other."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor

SIMPLE = (
    *(bool, int, float, complex, str, bytes, type(None), type(Ellipsis)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
    *(type, enum.Enum, FunctionType, BuiltinFunctionType, torch._ops.OpOverload),
)
"""Kinds of values that are the same where they are equal."""

_attributes: Any = Tensor
UNTRACEABLE = (
    *(_attributes.data.__get__, _attributes.data.__set__, _attributes.grad.__set__),
    *(Tensor.set_, Tensor.resize_, Tensor.untyped_storage, Tensor.share_memory_),
)
"""Functions after which a tensor's values may change with nothing to tell it by."""

IN_PLACE = frozenset(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "and", "or"))


class Untold(Exception):  # noqa: N818 - no error: something that plain passes are the answer to
    """What cannot be written down, in one clause."""


@dataclass(frozen=True)
class Name:
    """What stands for a tensor.

    Attributes
    ----------
    kind : {"made", "input", "outside"}
        Given by a call of this pass; given to the model; or there before, as a weight is.
    number : int
        Which.
    """

    kind: str
    number: int


@dataclass(frozen=True)
class Made:
    """What a call gave, with names in place of its tensors, so that it can be put together anew."""

    kind: type
    parts: tuple[Any, ...]

    def again(self, tensor: Callable[[Name], Tensor]) -> Any:
        """Put it together, of the tensors that names stand for.

        Examples
        --------
        >>> given = {"a": (torch.ones(1), 3)}
        >>> made = made_of(given, lambda tensor: Name("made", 0))
        >>> made.again(lambda name: torch.zeros(1))
        {'a': (tensor([0.]), 3)}
        """
        parts = [each.again(tensor) if isinstance(each, Made) else each for each in self.parts]
        if self.kind is Name:
            return tensor(self.parts[0])
        if self.kind is object:
            return self.parts[0]
        if self.kind is dict:
            return dict(zip(parts[::2], parts[1::2], strict=True))
        return self.kind(*parts) if hasattr(self.kind, "_fields") else self.kind(parts)


def written(value: Any, name: Callable[[Tensor], Name]) -> Any:
    """Write the arguments of a call so that equal ones are the same call.

    Parameters
    ----------
    value
        Arguments, or one of them.
    name : callable
        Gives what stands for a tensor.

    Raises
    ------
    Untold
        If it holds what may change and stay equal.

    Examples
    --------
    >>> first = written((torch.ones(1), 1), lambda tensor: Name("made", 0))
    >>> [first == written((torch.ones(1), n), lambda tensor: Name("made", 0)) for n in (1, 1.0)]
    [True, False]
    """
    if isinstance(value, Tensor):
        return name(value)
    kind = type(value)
    if isinstance(value, list | tuple):
        return kind, *[written(each, name) for each in value]
    if isinstance(value, Mapping):
        return kind, *[(key, written(each, name)) for key, each in value.items()]
    if isinstance(value, slice):
        return kind, *[written(each, name) for each in (value.start, value.stop, value.step)]
    if isinstance(value, SIMPLE):
        return kind, value
    raise Untold(f"a function is given a {kind.__name__}")


def made_of(value: Any, name: Callable[[Tensor], Name]) -> Made:
    """Write what a call gave.

    Parameters
    ----------
    value
        As given.
    name : callable
        Gives what stands for a tensor.

    Raises
    ------
    Untold
        If it holds anything but tensors and simple values, which may share memory with a tensor.

    Examples
    --------
    >>> made = made_of(torch.Size([2, 3]), lambda tensor: Name("made", 0))
    >>> made.again(lambda name: torch.ones(1))
    torch.Size([2, 3])
    """
    kind = type(value)
    if isinstance(value, Tensor):
        return Made(Name, (name(value),))
    if isinstance(value, SIMPLE):
        return Made(object, (value,))
    if kind is dict:
        each = [made_of(part, name) for pair in value.items() for part in pair]
        return Made(kind, tuple(each))
    if isinstance(value, list | tuple):
        return Made(kind, tuple(made_of(part, name) for part in value))
    raise Untold(f"a function gives a {kind.__name__}")


def may_write(function: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether a call looks as if it changed a tensor that it is given.

    Examples
    --------
    >>> [may_write(f, {}) for f in (torch.relu_, torch.relu, Tensor.__setitem__)]
    [True, False, True]
    """
    if kwargs.get("inplace") or kwargs.get("out") is not None:
        return True
    name = getattr(function, "__name__", "")
    if name == "__setitem__" or name in IN_PLACE:
        return True
    return name.endswith("_") and not name.endswith("__")
