"""What a site is, how an operation splits, and the registry of rules that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from aliascope.errors import AliascopeError
from aliascope.sites.split import Split, Stepped, Unsupported

Rule = Callable[
    [Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], "Split | Stepped | Unsupported | None"
]

_rules: dict[Any, Rule] = {}

_places: dict[Any, list[tuple[Any, str]]] = {}

HOMES = (F, torch, torch._C._nn)
"""Where functions are looked up by name, by torch's own code among others."""


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
        answers with a Split, a Stepped, an Unsupported or None.

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
            name = getattr(function, "__name__", "")
            _places.setdefault(
                function, [(h, name) for h in HOMES if getattr(h, name, None) is function]
            )
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
    >>> rule_for("demo::nothing") is None
    True
    """
    for function in functions:
        del _rules[function]


def rule_for(function: Any) -> Rule | None:
    """Look the rule of a function up; None where calls of it never decimate.

    Examples
    --------
    >>> rule_for(torch.relu) is None, rule_for(F.conv2d) is rule_for(torch.conv1d)
    (True, True)
    >>> rule_for(F.conv2d) is rule_for(F.interpolate)
    False
    """
    try:
        rule = _rules.get(function)
    except TypeError:  # not hashable, hence not registered
        return None
    if rule is None and isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return _rules.get(_qualified_name(function))
    return rule


def stand_ins() -> dict[Any, Any]:
    """Find what stands where torch's functions stood: somebody may have wrapped them.

    Returns
    -------
    dict
        The function with a rule, by what is found today in its place.

    Examples
    --------
    >>> original = F.max_pool2d
    >>> F.max_pool2d = lambda *args: original(*args)
    >>> stand_ins() == {F.max_pool2d: original}
    True
    >>> F.max_pool2d = original
    """
    return {
        found: function
        for home, name, function in _homes()
        if (found := getattr(home, name, function)) is not function and found not in _rules
    }


def _homes() -> list[tuple[Any, str, Any]]:
    """Where each function with a rule was when it was registered."""
    return [
        (home, name, function)
        for function, places in _places.items()
        if function in _rules
        for home, name in places
    ]


def _qualified_name(operator: Any) -> str:
    packet = getattr(operator, "overloadpacket", operator)
    return str(packet._qualified_op_name)
