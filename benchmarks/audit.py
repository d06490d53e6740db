"""A second look at the same pass, from below: what PyTorch's kernels really decimated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_POOLS = {
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "avg_pool1d",
}
_ADAPTIVE = {"_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d"}
_RESHAPES = {"view", "_unsafe_view", "reshape"}


class Audit(TorchDispatchMode):
    """Count the decimating kernels of a pass.

    Aliascope sees the calls that a model makes; this sees the kernels that they end in, so a
    difference is a site that was missed.

    Attributes
    ----------
    counts : Counter of str
        Kernels that dropped samples, by "conv", "pool", "slice" and "interpolate".
    space_to_depth : int
        Reshapes that moved samples to channels and dropped none, which are no sites.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.space_to_depth = 0
        self._sliced: tuple[Any, int] | None = None
        self._permuted: tuple[int, ...] = ()

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            kind = self._kind(name, args, first)
            if kind:
                self.counts[kind] += 1
            self._note_reshape(name, first)
        return output

    def _kind(self, name: str, args: tuple[Any, ...], output: Tensor) -> str:
        if name == "convolution":
            stepped = max(args[3]) > 1 and not args[6]
            return "conv" if stepped and max(output.shape[2:]) > 1 else ""
        if name in _POOLS:
            axes = int(name[name.index("d") - 1]) if "d" in name else 2
            stride = args[2] if len(args) > 2 and args[2] else args[1]
            return "pool" if max(stride) > 1 and max(output.shape[-axes:]) > 1 else ""
        if name in _ADAPTIVE:
            axes = 3 if "3d" in name else 2
            return "pool" if _shrunk(args[0].shape[-axes:], output.shape[-axes:]) else ""
        if name.startswith("_upsample") or name.startswith("upsample"):
            return "interpolate" if _shrunk(args[0].shape[2:], output.shape[2:]) else ""
        if name == "slice" and len(args) > 4 and args[4] > 1:
            return self._slice_kind(args[0], args[1], output)
        return ""

    def _slice_kind(self, source: Tensor, axis: int, output: Tensor) -> str:
        """Count the second step in a row: one over a single axis is no step over space."""
        twice = self._sliced is not None and self._sliced[0] is source and self._sliced[1] != axis
        self._sliced = (output, axis)
        return "slice" if twice else ""

    def _note_reshape(self, name: str, output: Tensor) -> None:
        if name == "permute" and output.ndim == 6:
            self._permuted = tuple(output.shape)
        elif name in _RESHAPES and self._permuted:
            a, b, c, d, e, f = self._permuted
            self._permuted = ()
            self.space_to_depth += int(_moved(a, b, c, d, e, f, tuple(output.shape)))


def _shrunk(before: Any, after: Any) -> bool:
    return max(after) > 1 and any(a < b for a, b in zip(after, before, strict=True))


def _moved(a: int, b: int, c: int, d: int, e: int, f: int, shape: tuple[int, ...]) -> bool:
    """Tell whether two steps and the channels of (a, ..., f) became one axis of ``shape``."""
    first = b * c * d > max(b, c, d) and min(e, f) > 1 and shape == (a, b * c * d, e, f)
    together = d * e * f
    last = together > max(d, e, f) and min(b, c) > 1
    return first or (last and shape in ((a, b, c, together), (a, b * c, together)))
