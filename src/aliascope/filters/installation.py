"""What stays on a filtered model: which filter, at which sites, and the forward that sees to it.

The root's own ``forward``, an attribute of that one module, enters a function mode in which every
site runs as *dense operation, filter, decimation*. It is an object of the model, so a copy of it,
or one that was pickled, has its own. Where torch.compile or torch.export trace the model, they
trace this with it. (Hooks of the root would not do: torch.compile runs them outside of what it
compiles, so that the mode would be on while the compiled operations, filtered already, run.)
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.filters.decimation import filtered
from aliascope.filters.filtering import Filtering, is_traced, refusal
from aliascope.filters.probing import probe
from aliascope.seam.handlers import Batch
from aliascope.seam.opening import opened
from aliascope.seam.parts import Part
from aliascope.seam.tracking import ROOT, in_backward
from aliascope.sites import Site, SiteList

Choice = Callable[[Site], bool] | tuple[str, ...] | None
"""Which sites: those that a function says yes to; those named, or in modules named; all."""

_running = threading.local()

STRICT = (
    "A filtered model cannot be exported with strict=True, under which torch lets slices past "
    "function modes; pass strict=False to torch.export.export."
)


class Installation:
    """A filter as it stays on a model.

    Parameters
    ----------
    filter, boundary, place : str
        See :func:`aliascope.antialias`.
    choice : callable, tuple of str or None
        Which sites.
    """

    def __init__(self, filter: str, boundary: str, place: str, choice: Choice) -> None:
        self.filter, self.boundary, self.place, self.choice = filter, boundary, place, choice
        self.found: SiteList | None = None
        self.lossless: frozenset[tuple[str, int]] = frozenset()
        self.watched = False
        self._stacks: dict[int, list[Filtering]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stacks": {}}  # a copy made while it runs does not run

    @property
    def _entered(self) -> list[Filtering]:
        """The calls under way in this thread."""
        return self._stacks.setdefault(0 if is_traced() else threading.get_ident(), [])

    def describe(self) -> dict[str, Any]:
        """Say which filter this is, fit for JSON."""
        described: dict[str, Any] = {
            "name": "antialias",
            "filter": self.filter,
            "boundary": self.boundary,
            "place": self.place,
        }
        if self.choice is not None:
            described["sites"] = list(self.choice) if isinstance(self.choice, tuple) else "chosen"
        return described

    def takes(self, site: Site) -> bool:
        """Say whether a site, known by its path below the filtered model, is to be filtered."""
        if (site.path, site.number) in self.lossless:
            return False
        if self.choice is None:
            return True
        if not isinstance(self.choice, tuple):
            return bool(self.choice(site))
        names = (site.path, f"{site.path}#{site.number}")
        return any(name in names or site.path.startswith(f"{name}.") for name in self.choice)

    @property
    def needs_paths(self) -> bool:
        """Whether it matters which module runs."""
        return self.choice is not None or bool(self.lossless)

    @property
    def runs(self) -> bool:
        """Whether a call of the filtered model is under way."""
        return bool(self._entered)

    @property
    def at_input(self) -> bool:
        """Whether the operation under way has its input filtered instead of its dense signal."""
        mode = self._entered[-1] if self._entered else None
        return mode is not None and mode.at_input

    def filtered(self, signal: Tensor, rate: tuple[int, ...], decimated: bool = True) -> Tensor:
        """Filter a signal, (N, C, *size)."""
        return filtered(signal, rate, self.filter, self.boundary, decimated=decimated)

    # -- on the model --------------------------------------------------------------------------

    def install(self, model: nn.Module) -> None:
        """Put a forward of its own on a model."""
        model.forward = FilteredForward(self, model, model.__dict__.get("forward"))
        if self.choice is not None:
            self.watch(model)

    def watch(self, model: nn.Module) -> None:
        """Put hooks on the modules, that tell which one runs, once."""
        if self.watched:
            return
        self.watched = True
        for name, module in model.named_modules():
            path = name.replace("_orig_mod.", "").removesuffix("._orig_mod")
            if path:
                module.register_forward_pre_hook(Enters(self, path), prepend=True)
                module.register_forward_hook(Leaves(self), always_call=True)

    def remove(self, model: nn.Module) -> None:
        """Take it off again, and what watches the modules."""
        if isinstance(forward := model.__dict__.get("forward"), FilteredForward):
            del model.forward
            if forward.before is not None:
                model.forward = forward.before
        self.watched = False
        for module in model.modules():
            for hooks, others in (
                (module._forward_pre_hooks, [module._forward_pre_hooks_with_kwargs]),
                (
                    module._forward_hooks,
                    [module._forward_hooks_with_kwargs, module._forward_hooks_always_called],
                ),
            ):
                kept: dict[int, Any] = hooks
                for key in [k for k, h in kept.items() if getattr(h, "of", None) is self]:
                    del kept[key]
                    for other in others:
                        other.pop(key, None)

    # -- calls ---------------------------------------------------------------------------------

    def run(
        self, model: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Run a model's forward filtered."""
        entered = self._entered
        if entered:  # the model called itself
            return forward(*args, **kwargs)
        if is_traced():
            if torch.compiler.is_dynamo_compiling() and torch.compiler.is_exporting():
                raise refusal(STRICT)
            return self._run_in(Filtering(self, model), entered, forward, args, kwargs)
        if in_backward():  # a checkpoint runs the whole model again
            mode = Filtering(self, model, again=True)
            return self._run_in(mode, entered, forward, args, kwargs)
        other = getattr(_running, "installation", None)
        if other is not None:
            raise AliascopeError(
                "A filtered model ran inside another filtered model; call remove() of one of them."
            )
        self._check_opening(model)
        if self.found is None:
            self.found, self.lossless = probe(model, forward, args, kwargs)
            if self.needs_paths:
                self.watch(model)
        _running.installation = self
        try:
            return self._run_in(Filtering(self, model), entered, forward, args, kwargs)
        finally:
            _running.installation = None

    def _run_in(
        self,
        mode: Filtering,
        entered: list[Filtering],
        forward: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any],
    ) -> Any:
        entered.append(mode)
        try:
            with mode:
                return forward(*args, **kwargs)
        finally:
            entered.remove(mode)

    def enter(self, model: nn.Module, path: str) -> None:
        """Note that a module runs; in backward, where a checkpoint runs it again, filter in it."""
        entered = self._entered
        mode = entered[-1] if entered else None
        if mode is not None:
            mode.paths.append(path)
        elif not is_traced() and in_backward():
            mode = Filtering(self, model, again=True)
            mode.paths.append(path)
            entered.append(mode)
            mode.__enter__()  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Note that a module ended."""
        entered = self._entered
        mode = entered[-1] if entered else None
        if mode is None or not mode.paths:
            return
        mode.paths.pop()
        if mode.again and not mode.paths:
            entered.remove(mode)
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _check_opening(self, model: nn.Module) -> None:
        opening = opened()
        if opening is None or any(model is each for each in opening.model.modules()):
            return
        if any(opening.model is each for each in model.modules()):
            raise AliascopeError(
                "Only a part of a filtered model is opened; open the model that antialias was "
                "called with, or remove its filter."
            )


class FilteredForward:
    """The forward of a filtered model.

    Parameters
    ----------
    of : Installation
        The filter.
    model : nn.Module
        Whose forward this is.
    before : callable or None
        What the model had in its place as an attribute of its own.
    """

    def __init__(
        self, of: Installation, model: nn.Module, before: Callable[..., Any] | None = None
    ) -> None:
        self.of, self.model, self.before = of, model, before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model filtered."""
        forward = self.before or type(self.model).forward.__get__(self.model)
        return self.of.run(self.model, forward, args, kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.before or type(self.model).forward.__get__(self.model))

    @property
    def __code__(self) -> Any:  # torch.export reads it as it does that of a method
        return type(self.model).forward.__code__

    def handler_at(self, path: str) -> FilterHandler:
        """Give what filters in its place, while the model is opened."""
        return FilterHandler(self.of, path)


class Enters:
    """Hook of a module of a filtered model: it begins."""

    def __init__(self, of: Installation, path: str) -> None:
        self.of, self.path = of, path

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Tell the installation."""
        self.of.enter(module, self.path)


class Leaves:
    """Hook of a module of a filtered model: it is over."""

    def __init__(self, of: Installation) -> None:
        self.of = of

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Tell the installation."""
        self.of.leave()


class FilterHandler:
    """Filters dense signals through the seam, while the filtered model is opened.

    Parameters
    ----------
    installation : Installation
        Of the model.
    path : str
        Where in the opened model the filtered one is.
    """

    whole = False

    def __init__(self, installation: Installation, path: str) -> None:
        self._of = installation
        self._prefix = "" if path == ROOT else path

    def begin(self, batch: Batch) -> None:
        """Expect a pass."""

    def take(self, site: Site, dense: Tensor, part: Part) -> Tensor | None:
        """Filter a dense signal."""
        below = self._below(site)
        if below is None or not self._of.runs or self._of.at_input:
            return None
        if not dense.is_floating_point() or not self._of.takes(below):
            return None
        return self._of.filtered(dense, site.rate, decimated=False)

    def end(self) -> None:
        """Give nothing."""

    def describe(self) -> Mapping[str, Any]:
        """Say which filter this is."""
        return self._of.describe()

    def _below(self, site: Site) -> Site | None:
        """Name a site as the filtered model does; None where it is none of its."""
        if not self._prefix:
            return site
        if site.path != self._prefix and not site.path.startswith(f"{self._prefix}."):
            return None
        path = site.path[len(self._prefix) + 1 :] or ROOT
        return Site(path, site.number, site.op, site.rate, site.dense_shape)
