"""What limits measuring: where the time of a measured pass goes.

    python -m benchmarks.limits [MODEL ...] [--batch 8] [--threads 1] [--channels-last]

Time of the processor by what is done, over a plain pass. Each function's own time is taken around
its calls, so that what calls them and the rest of torch's functions is what is left.
"""

from __future__ import annotations

import argparse
import collections
import functools
import time
from collections.abc import Callable
from typing import Any

import torch

import aliascope as al
from aliascope.commands.allocation import keep_freed_memory
from aliascope.measures import energy
from aliascope.measures.engines import lanes
from benchmarks.overhead import add_machine, machine_of, median_seconds, prepared, runner

PIECES: dict[str, tuple[Any, str]] = {
    "energy": (energy, "energies"),
    "counting": (lanes, "count"),
}


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Any:
    """Add the processor's time that a function takes to what was spent."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.process_time() - start

    return wrapper


def main() -> None:
    """Print a table a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["resnet34"], metavar="MODEL")
    add_machine(parser, batch=8, threads=1)
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default 3)")
    arguments = parser.parse_args()
    keep_freed_memory()
    for name in arguments.models:
        model, images = prepared(arguments, name)

        plain = runner("plain", model, images)
        scope = al.Scope(model, measures=["energy", "categories"])

        def measured(scope: al.Scope = scope, plain: Callable[[], object] = plain) -> None:
            with scope:
                plain()

        ways = {"plain": plain, "opened": runner("opened", model, images), "measured": measured}
        base, opened, total = median_seconds(ways, arguments.repeats, time.process_time).values()
        spent: dict[str, float] = collections.defaultdict(float)
        before = [getattr(module, attribute) for module, attribute in PIECES.values()]
        try:
            for piece, (module, attribute) in PIECES.items():
                setattr(module, attribute, timed(getattr(module, attribute), piece, spent))
            for _ in range(arguments.repeats):
                measured()
        finally:
            for (module, attribute), function in zip(PIECES.values(), before, strict=True):
                setattr(module, attribute, function)
        print(
            f"\n{name}, {machine_of(arguments)}; energy and categories {total / base:.2f} × plain"
        )
        print("\n| | × plain |\n|---|---:|\n| the network | 1.00 |")
        print(f"| dense signals | {opened / base - 1:.2f} |")
        left = total - opened
        for piece, seconds in spent.items():
            each = seconds / arguments.repeats
            left -= each
            print(f"| {piece} | {each / base:.2f} |")
        print(f"| what is left | {left / base:.2f} |")


if __name__ == "__main__":
    main()
