"""What limits measuring: where the time of a measured pass goes.

    python -m benchmarks.limits [MODEL ...] [--batch 8] [--threads 1] [--channels-last]

Time of the processor by what is done, over a plain pass. Each function's own time is taken around
its calls, so that what calls them and the rest of torch's functions is what is left. Then what
counting takes by step, of 64 random channels of three sizes, on one thread.
"""

from __future__ import annotations

import argparse
import collections
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit

import aliascope as al
from aliascope.commands.allocation import keep_freed_memory
from aliascope.measures import energy
from aliascope.measures.engines import lanes
from aliascope.measures.engines.compiling import MEMORY
from aliascope.measures.engines.fourier import plan, ready
from aliascope.measures.engines.gathering import flat
from aliascope.measures.engines.vectors import WIDTHS, begin
from benchmarks.overhead import add_machine, machine_of, median_seconds, prepared, runner

PIECES: dict[str, tuple[Any, str]] = {
    "energy": (energy, "energies"),
    "counting": (lanes, "count"),
}


STEPS = ("gather", "scale", "decimated rows", "peak", "rows", "columns", "folds and thresholds")
SIZES = (56, 112, 224)
CHANNELS = 64


@njit
def step_of_counting(step, values, task, plans, places, memory, tallies, finite, width):
    m, tally = begin(memory), begin(tallies)
    of_rows, of_columns = ready(*plans[0]), ready(*plans[0])
    of_decimated = ready(*plans[1])
    for first in range(0, task.shape[1], len(width)):
        if step == 0:
            lanes._gather((begin(values), first), task, m, places.samples, width)
        elif step == 1:
            lanes._scale(task, m, places, finite, width)
        elif step == 2:
            lanes._decimate(task, of_decimated, m, places, width)
        elif step == 3:
            lanes._peak(task, of_decimated, m, places, width)
        elif step == 4:
            lanes._transform_rows(task, of_rows, m, places, width)
        for column in range(task.bins[1] // 2 + 1):
            if step == 5:
                lanes._transform_columns(column, task, of_columns, m, places, width)
            elif step == 6:
                lanes._tally_column(column, task, m, places, 1, tally, width)


def nanoseconds_by_step(size: int, repeats: int) -> list[float]:
    """Time each step of counting signals of a size, per value of the dense signal."""
    shape = (1, CHANNELS, size, size)
    dense = torch.randn(shape).to(memory_format=torch.channels_last)
    task = lanes.Task(shape, dense.stride(), (2, 2), (size, size), True)
    places = lanes._places(task, 1, WIDTHS[0])
    memory = MEMORY.of(1, places.end, np.dtype("float32"))[0]
    tallies, finite = np.zeros(6 * WIDTHS[0], np.int32), np.empty(WIDTHS[0], np.bool_)
    plans = tuple((n, *plan(n, "float32")) for n in (2 * size, size))
    arguments = (flat(dense), task, plans, places, memory, tallies, finite, (0,) * WIDTHS[0])
    ways = {
        step: functools.partial(step_of_counting, i, *arguments) for i, step in enumerate(STEPS)
    }
    return [1e9 * s / dense.numel() for s in median_seconds(ways, repeats).values()]


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
    print(f"\n| counting, ns a value | {' | '.join(f'{n}²' for n in SIZES)} |")
    print("|---|" + "---:|" * len(SIZES))
    columns = [nanoseconds_by_step(size, 5 * arguments.repeats) for size in SIZES]
    for step, *times in zip(STEPS, *columns, strict=True):
        print(f"| {step} | {' | '.join(f'{each:.2f}' for each in times)} |")
    print(f"| together | {' | '.join(f'{sum(column):.2f}' for column in columns)} |")


if __name__ == "__main__":
    main()
