"""Open one architecture: its sites, how well they recompose, and what opening them costs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import aliascope as al
from aliascope.sites import ListedSite, SiteList
from benchmarks.architectures import Architecture, Inputs, parameters
from benchmarks.audit import Audit

ROUNDING = 1e-4
"""Relative output difference above which the model is compared in double precision as well."""


@torch.no_grad()
def examine(architecture: Architecture, *, largest: float, modest: float) -> dict[str, Any]:
    """Run one architecture plainly and opened.

    Parameters
    ----------
    architecture : Architecture
        What to run.
    largest : float
        Number of parameters above which it is not run.
    modest : float
        Values of all dense signals together, up to which it is measured as well.

    Returns
    -------
    dict
        One result, as a line of the cache holds it; ``skipped`` with the reason if it was not run.
    """
    torch.manual_seed(0)
    count = parameters(architecture.build)
    if count <= largest:
        model = architecture.build().eval()
        count = sum(p.numel() for p in model.parameters())
    if count > largest:
        return {"skipped": f"has {count / 1e6:.0f} M parameters"}
    enliven(model)
    inputs = architecture.inputs(model)
    audit = settle(model, inputs)
    plain, plain_seconds = _timed(model, inputs)
    try:
        with al.Scope(model, detail=None) as scope:
            opened = _tensors(model(*inputs))
            _, opened_seconds = _timed(model, inputs)
    except Exception as error:
        raise RuntimeError(f"ran plainly, but failed when opened: {error}") from error
    sites = scope.sites
    result = {
        "input": _shape(inputs),
        "parameters": count,
        "sites": Counter(site.op for site in sites if site.supported),
        "unsupported": [[site.op, site.reason, site.name] for site in sites if not site.supported],
        "recomposition": max((s.recomposition_error for s in sites if s.supported), default=0.0),
        "worst": max((s for s in sites if s.supported), key=_error, default=None),
        "difference": difference(plain, opened),
        "spread": _spread(plain),
        "seconds": [plain_seconds, opened_seconds],
        "below": audit.counts,
        "space_to_depth": audit.space_to_depth,
        "measured": measured(model, inputs, sites, modest),
    }
    worst = result["worst"]
    result["worst"] = f"{worst.name} ({worst.op}, {worst.rate})" if worst else ""
    if isinstance(result["difference"], str) or result["difference"] > ROUNDING:
        result["double"] = in_double(model, inputs)
    return result


def enliven(model: nn.Module) -> None:
    """Disturb parameters that start out constant, lest a zero hides what comes before it."""
    for parameter in model.parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        low, high = parameter.aminmax()
        if low == high:
            parameter.add_(0.1 * torch.randn_like(parameter))
        elif not (torch.isfinite(low) and torch.isfinite(high)) or max(-low, high) > 1e4:
            parameter.normal_(std=0.02)  # memory that its library leaves to the weights to fill


def settle(model: nn.Module, inputs: Inputs) -> Audit:
    """Run once, fitting each batch normalisation to what it sees, as training would have.

    Returns
    -------
    Audit
        What that run did below the level that Aliascope looks at.
    """
    hooks = [
        module.register_forward_pre_hook(_fit)
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    with Audit() as audit:
        model(*inputs)
    for hook in hooks:
        hook.remove()
    return audit


def _fit(module: nn.Module, args: tuple[Any, ...]) -> None:
    x = args[0]
    axes = [axis for axis in range(x.ndim) if axis != 1]
    if x.numel() // x.shape[1] > 1:
        module.running_mean.copy_(x.mean(axes))
        module.running_var.copy_(x.var(axes) + 1e-3)


def _timed(model: nn.Module, inputs: Inputs) -> tuple[list[Tensor], float]:
    start = time.perf_counter()
    output = model(*inputs)
    return _tensors(output), time.perf_counter() - start


def _tensors(output: Any) -> list[Tensor]:
    """List all tensors of floats in what a model returned."""

    def walk(value: Any) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            if value.is_floating_point():
                yield value
        elif isinstance(value, Mapping):
            for part in value.values():
                yield from walk(part)
        elif isinstance(value, list | tuple):
            for part in value:
                yield from walk(part)

    return list(walk(output))


def difference(plain: list[Tensor], opened: list[Tensor]) -> float | str:
    """Largest difference between two outputs relative to the first one's peak, over its tensors."""
    if [t.shape for t in plain] != [t.shape for t in opened]:
        return "other shapes"
    if not any(t.numel() for t in plain):
        return "no output"
    largest = 0.0
    for a, b in zip(plain, opened, strict=True):
        if a.numel() == 0:
            continue
        if not torch.isfinite(a).all():
            return "not finite"
        peak = float(a.abs().max())
        largest = max(largest, float((a.double() - b.double()).abs().max()) / (peak or 1.0))
    return largest


def _spread(plain: list[Tensor]) -> float:
    """How far the first output varies, relative to its peak: 0 for a constant."""
    first = next((t for t in plain if t.numel() > 1), None)
    if first is None or float(first.abs().max()) == 0:
        return 0.0
    return float((first.max() - first.min()) / first.abs().max())


def in_double(model: nn.Module, inputs: Inputs) -> float | str:
    """Compare the outputs in double precision, where rounding is no excuse."""
    try:
        model = model.double()
        inputs = tuple(
            [t.double() for t in part] if isinstance(part, list) else part.double()
            for part in inputs
        )
        plain = _tensors(model(*inputs))
        with al.Scope(model, detail=None):
            return difference(plain, _tensors(model(*inputs)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:80]


def measured(model: nn.Module, inputs: Inputs, sites: SiteList, modest: float) -> str:
    """Measure the model where its dense signals are modest: "yes", or the reason why not."""
    values = sum(math.prod(site.dense_shape) for site in sites if site.supported)
    if values == 0:
        return "no: nothing to measure"
    if values > modest:
        return f"no: {values / 1e6:.0f} M values"
    try:
        if len(inputs) == 1 and isinstance(inputs[0], Tensor):
            measurement = al.measure(model, inputs, detail="site")
        else:
            with al.Scope(model, detail="site") as scope:
                model(*inputs)
            measurement = scope.measurement()
        fractions = measurement.fractions(by="sample")
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"[:200]
    total = fractions[["no_pass", "non_aliased", "aliased", "tangled"]].sum(axis=1)
    if (abs(total - 1) > 1e-6).any():
        return f"failed: fractions add up to {total.iloc[0]}"
    return "yes"


def _error(site: ListedSite) -> float:
    return site.recomposition_error


def _shape(inputs: Inputs) -> str:
    """Size of the first sample of each input, such as 3×224×224."""
    parts = [part[0] for part in inputs]
    return ", ".join("×".join(str(n) for n in part.shape) for part in parts)
