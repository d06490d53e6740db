"""The seam: at each site *dense operation, handlers, decimation* in place of the operation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aliascope import sites
from aliascope.errors import AliascopeError, is_out_of_memory
from aliascope.seam.handlers import Handler
from aliascope.seam.parts import Parts, PartsHandler, plan_parts
from aliascope.seam.recomposition import _check_recomposition, _compare, _first_tensor
from aliascope.seam.tracking import in_backward
from aliascope.sites import Site, Split, Unsupported

Arguments = tuple[Any, ...]


class Seam(TorchFunctionMode):
    """Intercept torch's functions, and open those that decimate.

    Parameters
    ----------
    path : callable
        Gives the path of the module that runs; None where calls are none of the model's.
    handlers : iterable of Handler
        Called in order at each site.
    by_parts : PartsHandler, optional
        Told of the sites, in place of ``handlers``, whose dense signals are too large to be there
        at once.
    """

    def __init__(
        self,
        path: Callable[[], str | None],
        handlers: Iterable[Handler],
        by_parts: PartsHandler | None = None,
    ) -> None:
        super().__init__()
        self._path = path
        self._handlers = handlers
        self._by_parts = by_parts
        self._found: dict[tuple[str, int, str, tuple[int, ...]], Site] = {}
        self._ordinals: Counter[str] = Counter()

    @property
    def sites(self) -> list[Site]:
        """Sites found so far, in the order in which they first ran."""
        return list(self._found.values())

    def new_pass(self) -> None:
        """Count the sites of each module anew."""
        self._ordinals.clear()

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: Arguments = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one call: as it is, or opened."""
        kwargs = kwargs or {}
        path = self._path()
        rule = sites.rule_for(function) if path is not None else None
        if rule is None or path is None:
            return function(*args, **kwargs)
        parts = raw = None
        try:
            found = rule(function, args, kwargs)
            if isinstance(found, Split):
                parts = self._in_parts(found)
                raw = found.dense() if parts is None else None
        except Exception as error:  # a call that its rule does not understand
            # In backward, checkpointing ends the forward early by an exception of its own.
            if in_backward() or is_out_of_memory(error):
                raise
            output = function(*args, **kwargs)  # raises, if it is the call that is wrong
            reason = f"its rule failed on this call ({type(error).__name__}: {error})"
            name = getattr(function, "__name__", "operation")
            self._site(path, Unsupported(name, reason))
            return output
        if isinstance(found, Split):
            if parts is not None:
                return self._open_in_parts(path, found, parts, function, args, kwargs)
            if raw is not None:
                return self._open(path, found, raw, function, args, kwargs)
        if isinstance(found, Unsupported):
            self._site(path, found)
        return function(*args, **kwargs)

    def _open(
        self,
        path: str,
        split: Split,
        raw: Tensor,
        function: Callable[..., Any],
        args: Arguments,
        kwargs: Mapping[str, Any],
    ) -> Any:
        dense = raw if split.batched else raw.unsqueeze(0)
        rate = _rate_at(dense.shape[2:], split.rate)
        if rate is None or dense.numel() == 0:
            return function(*args, **kwargs)
        if dense.dtype == torch.bool or dense.is_complex():
            reason = f"its values are {str(dense.dtype).removeprefix('torch.')}, not real numbers"
            self._site(path, Unsupported(split.op, reason, rate))
            return function(*args, **kwargs)
        site = self._site(path, split, dense.shape, rate)
        if site.supported and math.isnan(site.recomposition_error):
            _check_recomposition(site, split, raw, lambda: function(*args, **kwargs))
        if not site.supported:
            return function(*args, **kwargs)
        for handler in self._handlers:
            changed = handler(site, dense)
            if changed is not None:
                if changed.shape != dense.shape:
                    raise AliascopeError(
                        f"A handler changed the dense signal of {site.name} from shape "
                        f"{tuple(dense.shape)} to {tuple(changed.shape)}; it must keep the shape."
                    )
                dense = changed
        return split.finish(split.decimate(dense if split.batched else dense.squeeze(0)))

    def _in_parts(self, split: Split) -> Parts | None:
        """Plan a dense signal that is larger than it should be at once; None does it whole."""
        if split.part is None or self._by_parts is None or torch.is_grad_enabled():
            return None
        if not self._by_parts.takes_parts:
            return None
        one = split.part(slice(0, 1), slice(0, split.channel_step))
        # A sample or channel that is not there, or a signal that is not real, is no matter of size.
        if one.numel() == 0 or one.dtype == torch.bool or one.is_complex():
            return None
        return plan_parts(split, one, self._by_parts.workspace(one.device.type))

    def _open_in_parts(
        self,
        path: str,
        split: Split,
        parts: Parts,
        function: Callable[..., Any],
        args: Arguments,
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Open a site part by part: of each, the dense signal is measured, decimated and let go."""
        assert split.part is not None and self._by_parts is not None
        rate = _rate_at(parts.shape[2:], split.rate)
        if rate is None:
            return function(*args, **kwargs)
        site = self._site(path, split, parts.shape, rate)
        original = None
        if site.supported and math.isnan(site.recomposition_error):
            original = _first_tensor(function(*args, **kwargs))
        if not site.supported:
            return function(*args, **kwargs)
        decimated: Tensor | None = None
        self._by_parts.begin(site, parts.shape)
        for samples, channels in parts:
            dense = split.part(samples, channels)
            self._by_parts.add(site, dense, samples, channels)
            if decimated is None:
                decimated = parts.empty_like(dense, split.rate)
            decimated[samples, channels] = split.kept(dense)
            del dense  # before the next is made
        assert decimated is not None
        output = split.finish(decimated)
        if original is not None:
            _compare(site, original, _first_tensor(output))
            if not site.supported:
                return function(*args, **kwargs)
        self._by_parts.end(site)
        return output

    def _site(
        self,
        path: str,
        found: Split | Unsupported,
        dense_shape: Sequence[int] = (),
        rate: tuple[int, ...] | None = None,
    ) -> Site:
        """Look the site up, or note a new one; its module's other sites then get numbers too."""
        rate = found.rate if rate is None else rate
        if in_backward():  # run again: nothing is new, and the order may be another
            for site in self._found.values():
                if (site.path, site.op, site.rate) == (path, found.op, rate):
                    return site
            return Site(path, found.op, rate, path=path, recomposition_error=0.0)
        self._ordinals[path] += 1
        key = (path, self._ordinals[path], found.op, rate)
        if key not in self._found:
            of_path = [site for site in self._found.values() if site.path == path]
            shape = tuple(dense_shape[1:])
            site = Site(path, found.op, rate, shape, path=path, number=len(of_path) + 1)
            if of_path:
                of_path[0].name, site.name = f"{path}#1", f"{path}#{site.number}"
            if isinstance(found, Unsupported):
                site.supported, site.reason = False, found.reason
            self._found[key] = site
        return self._found[key]


def _rate_at(size: Sequence[int], rate: Sequence[int]) -> tuple[int, ...] | None:
    """Rate at a dense signal of this size; None where it is no site.

    An axis with a single sample has nothing to drop; an output of one sample per axis keeps no
    frequency but zero.
    """
    kept = [-(-n // r) for n, r in zip(size, rate, strict=True)]
    rate = tuple(1 if n == 1 else r for n, r in zip(size, rate, strict=True))
    return None if max(rate) == 1 or max(kept) == 1 else rate
