"""The page of results: docs/coverage.md."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

Result = dict[str, Any]

LIBRARIES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "transformers")

NO_RULE = {"grid_sample", "roi_pool", "unfold", "pixel_unshuffle", "fractional_pool"}
"""Operations that are listed as unsupported, and that the count of kernels leaves out."""

NO_MEMORY = "its dense signal does not fit into the memory given here"

_INTRO = """\
# Coverage: what Aliascope finds in {run} architectures

Each model below was built with random weights and run in eval mode on one random input of its own
size: once plainly, and once opened, every site computed as dense operation, then decimation. The
table says which sites were found, which operations resample but cannot be split, how well the
split ones recompose, and what the detour costs before anything is measured.

- **recomposition error**: largest difference between a decimated dense signal and the output of
  the operation it stands for, relative to that output's peak; the worst site of the model.
- **output difference**: largest difference between the model's outputs, plain and opened, relative
  to the plain output's peak; of several outputs the worst. In brackets, where it exceeds 1e-4, the
  same in double precision: a difference that vanishes there is rounding.
- **seconds**: one forward pass, plain → opened, one image on one thread; single runs beside
  other work, hence rough.
- **measured**: whether `al.measure(detail="site")` was run on it too, on those whose dense signals
  together hold at most {modest} million values; the fractions must then add up to one.

So that no zero hides an error behind it, parameters that start out constant were disturbed, and
each batch normalisation was fitted to its input. As a check from outside, the kernels that PyTorch
really ran were counted below the level that Aliascope looks at; {audit}.

Versions: {versions}, Python {python}.
Machine: 2 CPU cores, of which 1 thread was used, and 7 GiB of memory at most; no GPU. Made by

```bash
pip install -e '.[coverage,timm]'
python -m benchmarks.coverage -o docs/coverage.md
```
"""


def page(results: Sequence[Result], *, modest: float) -> str:
    """Write the page.

    Parameters
    ----------
    results : sequence of dict
        One per architecture, as :func:`benchmarks.opening.examine` makes them.
    modest : float
        Values of dense signals up to which models were measured.

    Returns
    -------
    str
        Markdown.
    """
    run = [result for result in results if "skipped" not in result]
    skipped = [result for result in results if "skipped" in result]
    intro = _INTRO.format(
        run=len(run),
        modest=f"{modest / 1e6:.0f}",
        audit=_audit(run),
        versions=", ".join(f"{name} {version(name).split('+')[0]}" for name in LIBRARIES),
        python=platform.python_version(),
    )
    parts = [intro, _summary(run, skipped), _notes(run), _table(run), _skipped(skipped)]
    return "\n".join(part for part in parts if part)


def missed(result: Result) -> dict[str, int]:
    """Count the kernels that decimated, by kind, less the sites found; empty where they agree.

    Examples
    --------
    >>> missed({"below": {"conv": 2}, "sites": {"conv": 1}, "unsupported": []})
    {'conv': 1}
    """
    found: Counter[str] = Counter()
    for op, count in result["sites"].items():
        found[_kernel(op)] += count
    for op, _, _ in result["unsupported"]:
        if op not in NO_RULE:
            found[_kernel(op)] += 1
    kinds = sorted({*found, *result["below"]})
    return {k: n for k in kinds if (n := result["below"].get(k, 0) - found[k]) != 0}


def _kernel(op: str) -> str:
    return next((kind for kind in ("pool", "conv") if kind in op), op)


def _audit(run: Sequence[Result]) -> str:
    apart = [result["model"] for result in run if missed(result)]
    if not apart:
        return "they agree with the places found in every model"
    return (
        f"they agree with the places found in {len(run) - len(apart)} of the {len(run)} models "
        f"(apart: {', '.join(apart)}; see the notes)"
    )


def _summary(run: Sequence[Result], skipped: Sequence[Result]) -> str:
    sites = sum(sum(result["sites"].values()) for result in run)
    worst = max(run, key=lambda result: result["recomposition"])
    unsupported = sum(bool(result["unsupported"]) for result in run)
    ratios = sorted(opened / plain for plain, opened in (r["seconds"] for r in run))
    far = sum(not _close(result["difference"]) for result in run)
    measured = Counter(result["measured"].split(":")[0] for result in run)
    kinds: Counter[str] = Counter()
    for result in run:
        kinds.update(result["sites"])
    return (
        f"**{len(run)} architectures, {sites} sites** "
        f"({', '.join(f'{n} {op}' for op, n in kinds.most_common())}). Worst recomposition error "
        f"{worst['recomposition']:.1e} ({worst['model']}). {unsupported} of them have places that "
        f"are not supported; the output of {far} differs by more than 1e-4. Opening takes "
        f"{ratios[len(ratios) // 2]:.2f} times as long as the plain pass (median), without "
        f"measuring. {measured['yes']} were measured as well, {measured['failed']} of them failed. "
        f"{len(skipped)} were skipped.\n"
    )


def _close(value: float | str) -> bool:
    return not isinstance(value, str) and value <= 1e-4


def _notes(run: Sequence[Result]) -> str:
    """Name what a reader of the table would stumble over."""
    moved = [
        f"{result['model']} ({result['space_to_depth']})"
        for result in run
        if result["space_to_depth"] and not any(op in NO_RULE for op, _, _ in result["unsupported"])
    ]
    lines = [
        "## Notes\n",
        "- Space-to-depth by reshape and permute, as in the patch merging of some transformers, "
        "cannot be seen among the calls; it moves samples to channels and drops none. Here (with "
        f"the number of places): {', '.join(moved)}.",
    ]
    lines.append(
        "- A call does not tell what it resamples: where a model resizes its padding mask (the "
        "DETR family) or its position embeddings (Depth Anything, ZoeDepth, Tipsv2) that counts "
        "as well, among the sites at a whole rate and among the unsupported otherwise."
    )
    none = [result["model"] for result in run if not result["sites"] and not result["unsupported"]]
    if none:
        lines.append(f"- Without any site: {', '.join(none)}.")
    flat = [r["model"] for r in run if r["difference"] != "no output" and r["spread"] < 1e-3]
    if flat:
        lines.append(
            "- The output varies by less than a thousandth of its peak, so that its difference "
            f"says little: {', '.join(flat)}."
        )
    rounded = [r["model"] for r in run if isinstance(r.get("double"), float) and r["double"] < 1e-9]
    if rounded:
        lines.append(
            "- The outputs differ by more than 1e-4, but not in double precision, so by rounding "
            "alone, which orders boxes that score almost the same another way: "
            f"{', '.join(rounded)}."
        )
    for result in run:
        if apart := missed(result):
            text = ", ".join(
                f"{abs(n)} {kind} {'fewer' if n > 0 else 'more'}" for kind, n in apart.items()
            )
            lines.append(f"- {result['model']}: {text} among the sites than among the kernels.")
    for result in run:
        if result["measured"].startswith("failed"):
            lines.append(f"- {result['model']} could not be measured: {result['measured'][8:]}")
    return "\n".join(lines) + "\n"


def _table(run: Sequence[Result]) -> str:
    rows = [
        (
            result["model"],
            result["source"],
            result["input"],
            ", ".join(f"{n} {op}" for op, n in result["sites"].items()) or "none",
            _unsupported(result["unsupported"]),
            _number(result["recomposition"]) if result["sites"] else "",
            _number(result["difference"])
            + (f" ({_number(result['double'])})" if "double" in result else ""),
            "{:.2f} → {:.2f}".format(*result["seconds"]),
            result["measured"].split(":")[0],
        )
        for result in run
    ]
    head = (
        *("model", "source", "input", "sites", "unsupported", "recomposition error"),
        *("output difference", "seconds", "measured"),
    )
    return "## Architectures\n\n" + _markdown(head, rows)


def _unsupported(places: Sequence[Sequence[str]]) -> str:
    counts = Counter((op, NO_MEMORY if "memory" in reason else reason) for op, reason, _ in places)
    texts = [f"{n} {op}: {reason}" for (op, reason), n in counts.most_common()]
    more = f"; {len(texts) - 2} further reasons" if len(texts) > 2 else ""
    return "; ".join(texts[:2]) + more


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.0e}" if value else "0"


def _skipped(skipped: Sequence[Result]) -> str:
    rows = [(result["model"], result["source"], result["skipped"]) for result in skipped]
    return "## Skipped\n\n" + _markdown(("model", "source", "reason"), rows) if rows else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
        + "\n"
    )
