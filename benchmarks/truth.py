"""How far each measure is off, on signals of which it is known how much aliases.

    python -m benchmarks.truth [--quick] [--csv FILE] [--worst FILE] [--markdown FILE]
    python -m benchmarks.truth --figure docs/images/floor.png

Truth is that of the signal a map was cut out of, in the new Nyquist sense: the share of its energy
in components that are beyond the new Nyquist rate on any axis. ``benchmarks/signals.py`` makes the
signals. Bias is the mean of measured minus true over the maps of one case (one kind, size, rate,
share and mean); the tables give the worst case of a row, and beside it how widely single maps
spread. The categories count bins and not energy, so for them the column says how far the one may
be read as the other, and for the floor what it is where it should be 0.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import aliascope as al
from aliascope.categories import Category
from aliascope.measures.engines import count_categories
from aliascope.spectrum import Criterion
from benchmarks.signals import GAP, KINDS, components, mixed, photographs

SHARES = (0, 0.003, 0.01, 0.1, 0.3, 0.5)
MEANS = (0, 2, 10)
SIZES = (7, 13, 14, 28, 55, 56, 112, 224)

LIMITED = {"photographs": (2,), "ReLU": (1, 2)}
"""Axes of the kinds made up to 112 samples only: photographs end, and so do fine grids."""

MAPS = {7: 400, 14: 400, 28: 128, 56: 48, 112: 12, 224: 6}
"""Maps of a case, up to each size; a case of one axis has 400."""


@dataclass(frozen=True)
class Setting:
    """Signals of one kind, size and rate; shares and means are gone through for each."""

    kind: str
    axes: int
    size: int
    rate: int
    gap: float

    @property
    def kept(self) -> float:
        """Samples of an axis after decimation."""
        return self.size / self.rate

    @property
    def count(self) -> int:
        """Maps that are made."""
        if self.axes == 1:
            return 400
        maps = next(count for size, count in MAPS.items() if self.size <= size)
        return maps // 4 if self.axes == 3 else maps


def settings(quick: bool) -> Iterator[Setting]:
    """Go through all that are run."""
    kinds = [kind for kind in KINDS if kind != "photographs" or photographs()]
    if quick:
        plan = [(2, 2, (13, 28, 55)), (1, 2, (28,)), (3, 2, (13,)), (2, 4, (56,))]
    else:
        plan = [
            (2, 2, SIZES),
            (2, 3, (13, 28, 56, 112)),
            (2, 4, (14, 28, 56, 112, 224)),
            (2, 16, (56, 112, 224)),
            (1, 2, SIZES),
            (1, 4, (28, 56, 224)),
            (1, 16, (112, 224)),
            (3, 2, (7, 13, 28)),
            (3, 3, (13, 28)),
        ]
    for axes, rate, sizes in plan:
        for size in sizes:
            for kind in kinds:
                if axes not in LIMITED.get(kind, (1, 2, 3)) or (kind in LIMITED and size > 112):
                    continue
                for gap in (GAP, 0.0):
                    yield Setting(kind, axes, size, rate, gap)


# -- measures ------------------------------------------------------------------------------------


def energy(maps: Tensor, rate: Sequence[int]) -> Tensor:
    return al.aliased_energy(maps, rate)


def plain_dft(maps: Tensor, rate: Sequence[int]) -> Tensor:
    return _dft_share(_varying(maps, rate), rate)


def hann(maps: Tensor, rate: Sequence[int]) -> Tensor:
    maps = _varying(maps, rate)
    for axis in range(-len(rate), 0):
        n = maps.shape[axis]
        window = torch.sin(math.pi * (torch.arange(n) + 0.5) / n).square()
        maps = (maps.movedim(axis, -1) * window).movedim(-1, axis)
    return _dft_share(maps, rate)


def mirror_with_hann(maps: Tensor, rate: Sequence[int]) -> Tensor:
    """Continue the map by half its mirror image on either side, and lay a Hann window over all."""
    maps = _varying(maps, rate)
    for axis in range(-len(rate), 0):
        n = maps.shape[axis]
        place = torch.arange(2 * n) - n // 2
        place = torch.where(place < 0, -1 - place, place)
        place = torch.where(place >= n, 2 * n - 1 - place, place)
        window = torch.sin(math.pi * (torch.arange(2 * n) + 0.5) / (2 * n)).square()
        maps = (maps.movedim(axis, -1)[..., place] * window).movedim(-1, axis)
    return _dft_share(maps, rate)


def _varying(maps: Tensor, rate: Sequence[int]) -> Tensor:
    return maps - maps.mean(dim=tuple(range(-len(rate), 0)), keepdim=True)


def _dft_share(maps: Tensor, rate: Sequence[int]) -> Tensor:
    axes = tuple(range(-len(rate), 0))
    power = torch.fft.fftn(maps, dim=axes).abs().square()
    power[(..., *[0] * len(rate))] = 0
    counted = torch.ones(())
    for axis, r in zip(axes, rate, strict=True):
        n = maps.shape[axis]
        folded = 2 * r * torch.minimum(torch.arange(n), n - torch.arange(n))
        inside = (folded < n).float() + 0.5 * (folded == n)
        counted = counted[..., None] * inside
    return 1 - (power * counted).sum(dim=axes) / power.sum(dim=axes)


def categories(maps: Tensor, rate: Sequence[int], fold_scale: str = "unit") -> Tensor:
    """Share of bins that are aliased or tangled, on the published grid at 20 dB."""
    counts = count_categories(maps[:, None], rate, Criterion(grid="seed", fold_scale=fold_scale))
    numbers = counts[:, 0].double()
    return numbers[:, [Category.ALIASED, Category.TANGLED]].sum(dim=1) / numbers.sum(dim=1)


def contribution(maps: Tensor, rate: Sequence[int]) -> Tensor:
    return categories(maps, rate, "contribution")


def floor(maps: Tensor, rate: Sequence[int]) -> Tensor:
    return categories(al.low_pass(maps, rate), rate)


ESTIMATES: dict[str, Callable[[Tensor, Sequence[int]], Tensor]] = {
    "energy": energy,
    "plain DFT": plain_dft,
    "Hann": hann,
    "mirror, Hann": mirror_with_hann,
}
COUNTS: dict[str, Callable[[Tensor, Sequence[int]], Tensor]] = {
    "categories": categories,
    "contribution": contribution,
    "floor": floor,
}
MEASURES = {**ESTIMATES, **COUNTS}

COUNTED = 32
"""Maps of a case whose bins are counted, at most."""


def measured(setting: Setting, shares: Sequence[float] = SHARES) -> list[dict[str, Any]]:
    """Measure all cases of a setting: bias and spread of each measure."""
    size, rate = [setting.size] * setting.axes, [setting.rate] * setting.axes
    slow, fast = components(setting.kind, setting.count, size, setting.rate, setting.gap)
    rows = []
    for share in shares:
        for mean in MEANS:
            maps = mixed(slow, fast, share, mean)
            for name, measure in MEASURES.items():
                if mean and name in ESTIMATES and name != "energy":
                    continue  # they take the mean away first
                if name in COUNTS and setting.rate > 4:
                    continue  # 256 folds of the published grid: tangled through and through
                some = maps[:COUNTED] if name in COUNTS else maps
                off = measure(some, rate).double() - (0 if name == "floor" else share)
                rows.append(
                    {
                        **{key: getattr(setting, key) for key in ("axes", "rate", "kind", "gap")},
                        "size": setting.size,
                        "kept": setting.kept,
                        "share": share,
                        "mean": mean,
                        "measure": name,
                        "bias": float(off.mean()),
                        "spread": float(off.std()),
                        "maps": len(some),
                    }
                )
    return rows


# -- tables --------------------------------------------------------------------------------------


def worst(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Find the largest bias of either sign per group and measure, and the median spread."""
    groups = rows.groupby([*by, "measure"], sort=False, observed=True)
    at = groups["bias"].apply(lambda bias: bias.abs().idxmax())
    table = rows.loc[at].set_index([*by, "measure"])[["bias"]]
    return table.assign(spread=groups["spread"].median()).sort_index(
        level=list(by), sort_remaining=False
    )


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay the worst biases out, a row per kind of signal and a column per measure."""
    by = ["axes", "rate", "kind", "gap", "size"]
    table = worst(rows, by)["bias"].unstack("measure")[list(MEASURES)]
    return table.round(4)


def markdown(table: pd.DataFrame, by: Sequence[str]) -> str:
    """Write worst bias ± spread of each measure, a row per group."""
    names = [name for name in MEASURES if name in table.index.get_level_values("measure")]
    lines = [[*by, *names], ["---"] * len(by) + ["---:"] * len(names)]
    for key, group in table.groupby(level=list(by), observed=True):
        cells = group.droplevel(list(by))
        keys = key if isinstance(key, tuple) else (key,)
        lines.append(
            [f"{k:.3g}" if isinstance(k, float) else str(k) for k in keys]
            + [
                f"{cells.bias[n]:+.3f} ± {cells.spread[n]:.3f}" if n in cells.index else ""
                for n in names
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def report(rows: pd.DataFrame) -> str:
    """All tables."""
    inside = rows[rows.kind != "zero-padded"]
    parts = []

    def add(title: str, chosen: pd.DataFrame, by: Sequence[str]) -> None:
        if len(chosen):
            parts.append(f"**{title}**\n\n{markdown(worst(chosen, by), by)}")

    standard = inside[(inside["axes"] == 2) & (inside["rate"] == 2)]
    for gap, words in ((GAP, f"with a gap of {100 * GAP:.0f} %"), (0.0, "reaching the cut")):
        here = standard[standard.gap == gap]
        add(f"2 axes, rate 2, {words}: by size, all kinds, shares, means", here, ["size"])
        near = here[here["size"].isin((13, 28, 55))]
        only = near[near.measure == "energy"]
        table = only.pivot_table(index=["size", "kind"], columns="share", values="bias")
        parts.append(f"**Energy, {words}: bias by share**\n\n{_pivot(table)}")
    kept = pd.cut(inside.kept, KEPT, labels=KEPT_NAMES, right=False)
    grouped = inside[inside.measure.isin(ESTIMATES)].assign(kept=kept)
    for gap, words in ((GAP, "with a gap"), (0.0, "reaching the cut")):
        by = ["axes", "rate", "kept"]
        add(f"All axes and rates, {words}: by kept samples N/r", grouped[grouped.gap == gap], by)
    estimates = inside[inside.measure.isin(ESTIMATES) & (inside["mean"] == 0)]
    by_gap = estimates.assign(bias=estimates.bias.abs()).groupby(["gap", "measure"])[
        ["bias", "spread"]
    ]
    parts.append(f"**All cases: mean of the bias's size, mean spread**\n\n{_listed(by_gap.mean())}")
    padded = rows[(rows["kind"] == "zero-padded") & (rows["axes"] == 2) & (rows["rate"] == 2)]
    add("Zero-padded, 2 axes, rate 2", padded, ["gap", "size"])
    return "\n".join(parts)


KEPT = [0, 5, 7, 10, 20, 40, 80, 1000]
KEPT_NAMES = ["< 5", "5-7", "7-10", "10-20", "20-40", "40-80", "≥ 80"]


def _listed(table: pd.DataFrame) -> str:
    lines = [["gap", "measure", *table.columns], ["---:", "---", "---:", "---:"]]
    for (gap, measure), row in table.iterrows():
        lines.append([f"{gap:g}", measure, *(f"{value:.3f}" for value in row)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _pivot(table: pd.DataFrame) -> str:
    lines = [["size", "kind", *(f"{share:g}" for share in table.columns)]]
    lines.append(["---", "---"] + ["---:"] * len(table.columns))
    for (size, kind), row in table.iterrows():
        lines.append([str(size), kind, *(f"{bias:+.3f}" for bias in row)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


# -- figure --------------------------------------------------------------------------------------

CURVES: tuple[tuple[str, str, float], ...] = (
    ("flat, mean 0", "flat", 0),
    ("flat, mean 1 sd", "flat", 1),
    ("tones, mean 0", "tones", 0),
    ("1/f, mean 0", "1/f", 0),
    ("1/f, mean 2 sd", "1/f", 2),
    ("photographs, mean 0", "photographs", 0),
    ("ReLU'd 1/f, mean 0.7 sd", "ReLU", 0.7),
)
FIGURE_SIZES = (7, 14, 28, 56, 112, 224)


def curves() -> pd.DataFrame:
    """Aliased + tangled of maps in which nothing aliases, over size; unit scale, rate 2 × 2."""
    rows = [
        {"curve": "constant", "size": n, "found": float(categories(torch.ones(1, n, n), (2, 2)))}
        for n in FIGURE_SIZES
    ]
    for name, kind, mean in CURVES:
        for n in FIGURE_SIZES:
            if (kind == "photographs" and not photographs()) or (kind in LIMITED and n > 112):
                continue
            setting = Setting(kind, 2, n, 2, GAP)
            slow, fast = components(kind, setting.count, (n, n), 2, GAP)
            found = categories(mixed(slow, fast, 0.0, mean), (2, 2)).mean()
            beyond = energy(mixed(slow, fast, 0.0, mean), (2, 2)).mean()
            rows.append({"curve": name, "size": n, "found": float(found), "energy": float(beyond)})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the curves, one column wide."""
    from aliascope.figures.layout import MEDIUM, SMALL, add_axes, figure_with_caption

    caption = (
        "Maps in which nothing aliases: bins that the categories call aliased or tangled (20 dB, "
        "grid seed, unit scale, rate 2 × 2), over the maps' size. sd: standard deviations. "
        "Dashed: aliased energy of the same maps, the highest of all kinds."
    )
    figure, foot = figure_with_caption(2.6, caption)
    axes = add_axes(figure, 0.42, foot + 0.36, 0.08, 0.5)
    for i, (name, group) in enumerate(table.groupby("curve", sort=False)):
        colour = "0.2" if name == "constant" else f"C{i - 1}"
        axes.plot(group["size"], 100 * group["found"], "o-", ms=2.5, lw=1, color=colour, label=name)
    highest = table.groupby("size")["energy"].max()
    axes.plot(highest.index, 100 * highest, "k--", lw=1, label="aliased energy")
    axes.set_xscale("log", base=2)
    axes.set_xticks(FIGURE_SIZES, [str(n) for n in FIGURE_SIZES])
    axes.minorticks_off()
    axes.set_ylim(-2, 102)
    axes.set_xlabel("size of the map, samples", fontsize=MEDIUM, labelpad=2)
    axes.set_ylabel("aliased + tangled, %", fontsize=MEDIUM, labelpad=2)
    axes.grid(lw=0.4)
    figure.legend(
        loc="upper center",
        ncols=3,
        fontsize=SMALL,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.0,
        handletextpad=0.4,
        labelspacing=0.3,
        borderaxespad=0.2,
    )
    figure.savefig(path, dpi=300)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases")
    parser.add_argument("--csv", type=Path, help="every case")
    parser.add_argument("--worst", type=Path, help="the worst bias by axes, rate, kind, gap, size")
    parser.add_argument("--markdown", type=Path, help="the tables; printed otherwise")
    parser.add_argument("--figure", type=Path, help="only draw the categories of what aliases not")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.figure:
        table = curves()
        percent = table.pivot_table(index="curve", columns="size", values="found", sort=False)
        print((100 * percent).round(1).to_string())
        draw(table, chosen.figure)
        return
    began = time.perf_counter()
    rows = pd.DataFrame([row for setting in settings(chosen.quick) for row in measured(setting)])
    if chosen.csv:
        rows.round(6).to_csv(chosen.csv, index=False)
    if chosen.worst:
        wide(rows).to_csv(chosen.worst)
    text = report(rows)
    if chosen.markdown:
        chosen.markdown.write_text(text, encoding="utf-8")
    else:
        print(text)
    print(f"{len(rows)} biases in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
