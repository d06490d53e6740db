"""The function mode in which sites run filtered: dense operation, filter, decimation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aliascope.errors import AliascopeError
from aliascope.seam.interception import rate_at
from aliascope.seam.opening import opened
from aliascope.seam.tracking import ROOT, in_checkpoint, in_checkpointed_function
from aliascope.sites import Site, Split, Stepped, Unsupported, rule_for
from aliascope.sites.calls import all_axes, bind, per_axis
from aliascope.sites.registry import stand_ins

if TYPE_CHECKING:
    from aliascope.filters.installation import Installation

CONVOLUTIONS = frozenset(form for form in all_axes("conv{}d") if not isinstance(form, str))


class Filtering(TorchFunctionMode):
    """Run sites filtered, for one call of a filtered model.

    While the model is opened, the opening's handlers filter; all that is left to do here is what
    they cannot, to filter the input of an operation.

    Parameters
    ----------
    installation : Installation
        The filter, and where.
    model : nn.Module
        The filtered one.
    again : bool
        Whether autograd runs a checkpointed module again.
    """

    def __init__(
        self,
        installation: Installation,
        model: nn.Module,
        again: bool = False,
    ) -> None:
        super().__init__()
        self._of, self._model, self.again = installation, model, again
        self.paths: list[str] = []
        self.at_input = False
        self._numbers: dict[str, int] = {}
        self._stand_ins: dict[Any, Any] = {}
        self._deferring = False
        if not is_traced():
            self._stand_ins = stand_ins()
            opening = opened()
            modules = () if opening is None else opening.model.modules()
            self._deferring = any(model is each for each in modules)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one call: as it is, or filtered."""
        kwargs = kwargs or {}
        known = self._stand_ins.get(function, function) if self._stand_ins else function
        rule = rule_for(known)
        if rule is None:
            return function(*args, **kwargs)
        if is_traced():
            split = rule(known, args, kwargs)
        else:
            try:
                split = rule(known, args, kwargs)
            except Exception:  # a call that its rule does not understand
                return function(*args, **kwargs)
        if isinstance(split, Stepped):
            output = function(*args, **kwargs)
            split.remember(output)
            return output
        if isinstance(split, Unsupported):
            self._count()
        if not isinstance(split, Split):
            return function(*args, **kwargs)
        convolution = _Convolution.of(known, function, args, kwargs)
        if self._of.place == "input" and convolution is not None:
            return self._at_input(convolution, split)
        if self._deferring:
            return function(*args, **kwargs)
        return self._at_output(function, args, kwargs, split, convolution)

    def _at_output(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        split: Split,
        convolution: _Convolution | None,
    ) -> Any:
        if not self._may_take():
            return function(*args, **kwargs)
        if convolution is not None and convolution.commutes(self._of.boundary):
            return self._at_input(convolution, split)
        dense = split.dense()
        signal = dense if split.batched else dense.unsqueeze(0)
        if not signal.is_floating_point() or signal.numel() == 0:
            return function(*args, **kwargs)
        rate = self._wanted(signal.shape[2:], split)
        if rate is None:
            return function(*args, **kwargs)
        kept = self._of.filtered(signal, rate)
        return split.finish(kept if split.batched else kept.squeeze(0))

    def _at_input(self, convolution: _Convolution, split: Split) -> Any:
        """Filter what a convolution is given, and run it strided as it is.

        Where its kernel has one tap, that is the same, and the decimation may come first too.
        """
        if not self._may_take():
            return convolution.run()
        rate = self._wanted(convolution.dense_size(), split)
        signal = convolution.signal
        if rate is None or not signal.is_floating_point() or signal.numel() == 0:
            return convolution.run()
        early = convolution.commutes(self._of.boundary) and not self._deferring
        signal = signal if split.batched else signal.unsqueeze(0)
        kept = self._of.filtered(signal, rate, decimated=early)
        kept = kept if split.batched else kept.squeeze(0)
        before, self.at_input = self.at_input, True
        output = convolution.run(kept, 1 if early else None)
        self.at_input = before
        return output

    # -- which site this is --------------------------------------------------------------------

    def _may_take(self) -> bool:
        """Say whether any site of the module that runs is to be filtered."""
        choice = self._of.choice
        if not isinstance(choice, tuple):
            return True
        path = self._path()
        return any(
            path == name or path.startswith(f"{name}.") or name.startswith(f"{path}#")
            for name in choice
        )

    def _wanted(self, size: Any, split: Split) -> tuple[int, ...] | None:
        """Rate of a site that is to be filtered; None where it is none, or not to be."""
        if any(isinstance(n, torch.SymInt) for n in size):
            raise refusal(
                f"A map of {tuple(size)} samples at {self._path()} has no fixed size, and a filter "
                "is a matrix for one size; fix height and width, only the batch may be dynamic."
            )
        rate = rate_at(size, split.rate)
        if rate is None:
            return None
        number = self._count()
        if self._of.needs_paths or split.phase:
            if split.phase and self._of.found is None:
                raise refusal(
                    f"Whether the slice at {self._path()} drops anything shows only when all of "
                    "the model has run; run the filtered model once before it is traced."
                )
            if not self._of.takes(Site(self._path(), number, split.op, rate)):
                return None
        if not is_traced() and not self.again and in_checkpoint():
            self._prepare_again(number)
        return rate

    def _path(self) -> str:  # no property: torch.compile cannot look one up in a mode
        return self.paths[-1] if self.paths else ROOT

    def _count(self) -> int:
        """Count one more site of the module that runs, and give its number."""
        path = self._path()
        self._numbers[path] = self._numbers.get(path, 0) + 1
        return self._numbers[path]

    def _prepare_again(self, number: int) -> None:
        """See to it that autograd runs a checkpointed module filtered too."""
        if in_checkpointed_function():
            raise AliascopeError(
                "A site is in a checkpointed function that is no module, which autograd would run "
                "again without the filter; checkpoint a module in its place."
            )
        if isinstance(self._of.choice, tuple) and number > 1:
            raise AliascopeError(
                f"Site {self._path()}#{number} is in a checkpointed module, where it cannot be "
                "told from the module's other sites; name the module, without a number."
            )
        self._of.watch(self._model)


class _Convolution:
    """A call of a strided convolution."""

    def __init__(self, function: Callable[..., Any], call: dict[str, Any]) -> None:
        self._function, self._call = function, call
        self._axes = call["weight"].ndim - 2

    @classmethod
    def of(
        cls,
        known: Callable[..., Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> _Convolution | None:
        """Read a call; None where it is of something else."""
        if known not in CONVOLUTIONS:
            return None
        names = "input weight bias stride padding dilation groups"
        return cls(function, bind(names, args, kwargs, padding=0, dilation=1))

    @property
    def signal(self) -> Tensor:
        """What it is given."""
        signal: Tensor = self._call["input"]
        return signal

    @property
    def _padding(self) -> tuple[int, ...]:
        """Samples that are put around the signal, of both sides together."""
        padding = self._call["padding"]
        if padding == "same":
            return tuple(reach - 1 for reach in self._reach)
        if padding == "valid":
            return (0,) * self._axes
        return tuple(2 * n for n in per_axis(padding, self._axes))

    @property
    def _reach(self) -> tuple[int, ...]:
        """Samples from the first tap to the last."""
        dilation = per_axis(self._call["dilation"], self._axes)
        taps = self._call["weight"].shape[2:]
        return tuple(d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True))

    def dense_size(self) -> tuple[int, ...]:
        """Size of its dense signal."""
        size = self.signal.shape[-self._axes :]
        sides = zip(size, self._padding, self._reach, strict=True)
        return tuple(n + p - reach + 1 for n, p, reach in sides)

    def commutes(self, boundary: str) -> bool:
        """Whether it makes no difference if its input or its output is filtered.

        It does not for a kernel of one tap, as rows that sum to 1 leave the bias alone.
        """
        plain = boundary != "zero" or self._call.get("bias") is None
        return plain and max(self._reach) == 1 and max(self._padding) == 0

    def run(self, signal: Tensor | None = None, stride: int | None = None) -> Any:
        """Run it, with another signal or stride perhaps."""
        call = dict(self._call)
        if signal is not None:
            call["input"] = signal
        if stride is not None:
            call["stride"] = stride
        return self._function(**call)


def refusal(message: str) -> Exception:
    """Make an error; torch.compile can tell of none but Python's own what it says."""
    if torch.compiler.is_dynamo_compiling():
        return RuntimeError(message)
    return AliascopeError(message)


def is_traced() -> bool:
    """Whether torch.compile, torch.export or torch.jit.trace records what runs."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
