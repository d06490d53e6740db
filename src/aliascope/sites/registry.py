"""What a site is, how an operation splits, and the registry of rules that say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aliascope.errors import AliascopeError


@dataclass
class Site:
    """One place in one forward pass where a signal is decimated.

    Attributes
    ----------
    name : str
        Path of the module it runs in, with ``#1``, ``#2``, ... when that module runs several sites
        (or the same one again) in one pass; ``(root)`` is the model's own forward.
    op : str
        Kind of operation: "conv", "max_pool", "avg_pool", "lp_pool", "adaptive_pool", "slice",
        "interpolate", or what a registered rule calls it.
    rate : tuple of int
        Decimation rate, per spatial axis; empty where it is not known.
    dense_shape : tuple of int
        (C, *size) of the dense signal when it was first seen; empty where not measured.
    supported : bool
        Whether it could be split and measured.
    reason : str
        Why not, or "".
    recomposition_error : float
        Largest difference between the decimated dense signal and the original operation's output at
        the first batch, relative to the output's largest magnitude; NaN before.
    path : str
        Path of the module, without the number.
    number : int
        Counts the sites of that module in one pass, from 1.

    Examples
    --------
    >>> Site("layer1.0.conv1", "conv", (2, 2)).supported
    True
    """

    name: str
    op: str
    rate: tuple[int, ...] = ()
    dense_shape: tuple[int, ...] = ()
    supported: bool = True
    reason: str = ""
    recomposition_error: float = math.nan
    path: str = ""
    number: int = 1


@dataclass(frozen=True)
class Split:
    """An operation as *dense operation, then decimation*.

    Attributes
    ----------
    op : str
        Kind of operation, for :attr:`Site.op`.
    rate : tuple of int
        Decimation rate per spatial axis; the spatial axes of the dense signal are its last ones.
    dense : callable
        Computes the dense signal, (N, C, *size) or, when ``batched`` is False, (C, *size).
    finish : callable, optional
        From the decimated signal to what the original operation returns, where that is more than
        the decimated signal itself.
    batched : bool
        Whether the dense signal has a batch axis.
    contiguous : bool
        Whether the original returns fresh memory (True) or a view of its input (False).
    part : callable, optional
        Computes the dense signal of some samples and channels, given as two slices of known ends,
        so that a large one need not be there at once.
    samples, channels : int
        Of the dense signal, where ``part`` is given.
    channel_step : int
        Slices of channels must begin and end at multiples of this.
    """

    op: str
    rate: tuple[int, ...]
    dense: Callable[[], Tensor]
    finish: Callable[[Tensor], Any] = field(default=lambda decimated: decimated)
    batched: bool = True
    contiguous: bool = True
    part: Callable[[slice, slice], Tensor] | None = None
    samples: int = 0
    channels: int = 0
    channel_step: int = 1

    @classmethod
    def by_channel(
        cls,
        op: str,
        rate: tuple[int, ...],
        signal: Tensor,
        dense_of: Callable[[Tensor], Tensor],
        finish: Callable[[Tensor], Any] = lambda decimated: decimated,
    ) -> Split:
        """Split an operation that treats all samples and channels of its input alike, each alone.

        Parameters
        ----------
        op, rate, finish
            As for the class.
        signal : Tensor
            Input, (N, C, *size) or (C, *size).
        dense_of : callable
            From the input, or some samples and channels of it, to the dense signal.
        """
        batched = signal.ndim == len(rate) + 2
        return cls(
            op,
            rate,
            lambda: dense_of(signal),
            finish,
            batched=batched,
            part=(lambda samples, channels: dense_of(signal[samples, channels]))
            if batched
            else None,
            samples=signal.shape[0],
            channels=signal.shape[1],
        )

    def kept(self, dense: Tensor) -> Tensor:
        """View every rate-th sample of the last axes."""
        index: Any = (..., *(slice(None, None, r) for r in self.rate))
        return dense[index]

    def decimate(self, dense: Tensor) -> Tensor:
        """Keep every rate-th sample of the last axes."""
        if not self.contiguous:
            return self.kept(dense)
        return self.kept(dense).clone()  # in the memory layout of the dense signal


@dataclass(frozen=True)
class Unsupported:
    """A resampling operation that cannot be split, and why.

    Attributes
    ----------
    op : str
        Kind of operation.
    reason : str
        One clause, for :attr:`Site.reason`.
    rate : tuple of int
        Decimation rate where it is known.
    """

    op: str
    reason: str
    rate: tuple[int, ...] = ()


Rule = Callable[
    [Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], "Split | Unsupported | None"
]

_rules: dict[Any, Rule] = {}


def register(*functions: Any) -> Callable[[Rule], Rule]:
    """Register the rule that says how calls of ``functions`` split.

    Parameters
    ----------
    *functions : callable or str
        Functions that torch's ``__torch_function__`` protocol sees: functionals, tensor methods,
        and custom operators, the latter by qualified name ("library::operator").

    Returns
    -------
    callable
        Decorator for the rule, a function ``(function, args, kwargs)`` that
        answers with a Split, an Unsupported or None.

    Raises
    ------
    AliascopeError
        If a function has a rule already.

    Examples
    --------
    A custom operator that keeps every second sample of the median of three:

    >>> import torch, aliascope as al
    >>> @torch.library.custom_op("demo::median_pool", mutates_args=())
    ... def median_pool(x: torch.Tensor) -> torch.Tensor:
    ...     return x.unfold(-1, 3, 2).median(dim=-1).values.contiguous()
    >>> @al.sites.register("demo::median_pool")
    ... def split_median_pool(function, args, kwargs):
    ...     x = args[0]
    ...     return al.sites.Split(
    ...         "median_pool", (2,), lambda: x.unfold(-1, 3, 1).median(dim=-1).values
    ...     )
    >>> class Net(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.ops.demo.median_pool(x)
    >>> [(site.name, site.op, site.rate) for site in al.find_sites(Net(), torch.rand(1, 1, 9))]
    [('(root)', 'median_pool', (2,))]
    """

    def decorate(rule: Rule) -> Rule:
        for function in functions:
            if function in _rules:
                raise AliascopeError(
                    f"{function} has a rule already; remove it with sites.unregister first."
                )
            _rules[function] = rule
        return rule

    return decorate


def unregister(*functions: Any) -> None:
    """Take rules out of the catalogue, those of this module included.

    Parameters
    ----------
    *functions : callable or str
        As given to :func:`register`.

    Examples
    --------
    >>> _ = register("demo::nothing")(lambda function, args, kwargs: None)
    >>> unregister("demo::nothing")
    """
    for function in functions:
        del _rules[function]


def rule_for(function: Any) -> Rule | None:
    """Look the rule of a function up; None where calls of it never decimate.

    Examples
    --------
    >>> rule_for(torch.relu) is None
    True
    """
    try:
        rule = _rules.get(function)
    except TypeError:  # not hashable, hence not registered
        return None
    if rule is None and isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return _rules.get(_qualified_name(function))
    return rule


def _qualified_name(operator: Any) -> str:
    packet = getattr(operator, "overloadpacket", operator)
    return str(packet._qualified_op_name)
