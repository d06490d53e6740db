"""The page as one file: data, styles and script put together, and written in one step."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import plain, replacing, writing
from aliascope.report import numbers, words
from aliascope.report.ablation import ablation
from aliascope.report.comparison import comparison
from aliascope.report.consistency import beside, consistency, run_of
from aliascope.report.explorer import explorer
from aliascope.report.numbers import Block
from aliascope.report.verdict import verdict
from aliascope.runs.comparison import Comparison
from aliascope.runs.consistency import Consistency
from aliascope.runs.description import CriterionOfRun
from aliascope.runs.fractions import check_accounting
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import drawing, prepared

SCRIPT = (
    *("elements", "link", "tables", "ring", "energy", "ablation", "consistency", "comparison"),
    *("thresholds", "bars", "groups", "attack", "explorer", "page"),
)
"""Files of the page's script, in the order in which they are put together."""

DIGITS = 5
"""Decimals of the fractions on the page; a percentage is shown with one."""


def write_page(
    run: Measurement | Consistency,
    path: str | os.PathLike[str],
    *,
    accounting: str = "exact",
    colours: str = "paper",
    max_samples: int = 20,
    channels: int | None = None,
    compare: Sequence[Comparison] = (),
) -> Path:
    """Write a run as one web page that needs nothing else.

    Parameters
    ----------
    run : Measurement or Consistency
        With at least one image, of any measures. An ablation of the same run, and shift consistency
        in the same folder, are shown too; shift consistency alone makes a page as well.
    path : path
        File to write; its folder is made where missing.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    max_samples : int
        How many samples the explorer shows at most.
    channels : int, optional
        How many channels of a site the explorer shows at most; by default all where that adds
        little to the page, else a choice of them.
    compare : sequence of Comparison
        Of this run with others, as :func:`aliascope.compare` gives them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    AliascopeError
        If nothing was measured, an option is out of its range, or the file cannot be written.

    Examples
    --------
    >>> import tempfile, torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_page(m, folder + "/report.html").stat().st_size < 200_000
    True
    """
    check_accounting(accounting)
    if max_samples < 1:
        raise AliascopeError(f"max_samples is {max_samples}, but it must be 1 or more.")
    if channels is not None and channels < 1:
        raise AliascopeError(f"channels is {channels}, but it must be 1 or more.")
    data = page_data(run, accounting=accounting, colours=colours, compare=compare)
    if not (data["energy"] or data["overall"] or data["ablation"] or data["consistency"]):
        raise AliascopeError("The run has no measured site or image, so there is nothing to show.")
    pictures: Block = {"notes": []}
    if data["overall"] and isinstance(run, Measurement):
        pictures = explorer(run, colours=colours, max_samples=max_samples, channels=channels)
    path = Path(path)
    text = assembled(data, pictures)
    with writing(path, "name another place with -o"), replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path


def page_data(
    run: Measurement | Consistency,
    *,
    accounting: str,
    colours: str,
    compare: Sequence[Comparison] = (),
) -> Block:
    """Gather all that the page says and draws, the explorer's pictures apart.

    Parameters
    ----------
    run, accounting, colours, compare
        See :func:`write_page`.

    Returns
    -------
    dict
        Fit for JSON.
    """
    measurement = run if isinstance(run, Measurement) else run_of(run)
    shifts = run if isinstance(run, Consistency) else beside(measurement)
    there = "categories" in measurement.measures
    blocks: Block = {
        "folder": str(measurement.store.folder) if measurement is run else None,
        "categories": numbers.categories(colours),
        "accounting": accounting,
        "ablation": ablation(measurement),
        "consistency": consistency(shifts),
        "comparisons": [comparison(each) for each in compare],
        "energy": numbers.energy(measurement),
        "floor": numbers.floor(measurement, accounting),
        "thresholds": numbers.thresholds(measurement, accounting),
        "overall": numbers.overall(measurement, accounting) if there else None,
        "sites": numbers.sites(measurement, accounting) if there else [],
        "accuracy": numbers.accuracy(measurement),
        "groups": numbers.groups(measurement, accounting) if there else None,
        "attack": numbers.attack(measurement, accounting),
        "unsupported": numbers.unsupported(measurement),
        "unreadable": [list(entry) for entry in measurement.unreadable],
    }
    groups = blocks["groups"]
    without = words.why_not_compared(blocks["accuracy"])
    return {
        **blocks,
        "condition": measurement.condition.name,
        "under": words.under(measurement),
        "order_of_categories": list(COLUMNS),
        "samples": len(measurement.samples),
        "title": title(measurement),
        "ring": numbers.ring(blocks["sites"]),
        "verdict": verdict(measurement, blocks),
        "summary": words.summary(measurement, blocks),
        "groups_words": words.compared(groups) if groups else without,
        "about": about(measurement, accounting),
    }


def title(measurement: Measurement) -> str:
    """Name the page."""
    name = (measurement.run.get("model") or {}).get("name")
    return f"Aliasing in {name}" if name else "Aliasing in a network"


def about(measurement: Measurement, accounting: str) -> list[list[str]]:
    """List how the numbers came about, as pairs of a word and its value."""
    run = measurement.run
    model, data = run.get("model") or {}, run.get("data") or {}
    there = "categories" in measurement.measures
    options, criterion = run.get("options") or {}, measurement.criterion if there else None
    rows: list[list[Any]] = [
        ["Network", model.get("name")],
        ["Weights", model.get("weights")],
        ["SHA-256 of the weights", model.get("weights_sha256")],
        ["Preparation of images", _preparation(model.get("preprocessing"))],
        ["Images", data.get("name")],
        ["Attack", _attack(options)],
        *([] if criterion is None else _criterion(criterion)),
        ["Accounting", accounting if there else None],
        ["Interventions", _interventions(options)],
        ["Detail kept", run.get("detail")],
        ["Channels", drawing(measurement)],
        ["Seed", options.get("seed")],
        ["Device", run.get("device")],
        ["Begun", run.get("created")],
        ["Versions", ", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items())],
    ]
    return [[name, str(value)] for name, value in rows if value not in (None, "")]


def _interventions(options: Block) -> str:
    if not options.get("interventions"):
        return ""
    doses = ", ".join(f"{each:g}" for each in options.get("dose") or (1.0,))
    images = options.get("recalibrate")
    again = f", batch norm re-estimated from {images} images" if images else ""
    return f"{', '.join(options['interventions'])} (dose {doses}{again})"


def _criterion(criterion: CriterionOfRun) -> list[list[Any]]:
    below = f"{criterion.threshold_db:g} dB below the {criterion.reference} power"
    return [
        ["Threshold", below],
        ["Grid of the spectrum", criterion.grid],
        ["Scale of folds", criterion.fold_scale],
    ]


def _preparation(recipe: Block | None) -> str:
    return prepared(recipe) if recipe else ""


def _attack(options: Block) -> str:
    if not options.get("attack"):
        return ""
    if options.get("attack_steps") is None:
        return str(options["attack"])
    step = options.get("attack_step_size")
    size = "2.5 ε / steps" if step is None else f"{step:g}"
    return f"{options['attack']} (steps: {options.get('attack_steps')}, step size: {size})"


# -- the file ------------------------------------------------------------------------------------


def assembled(data: Block, pictures: Block) -> str:
    """Put the page together.

    The policy in its head lets nothing run or apply but the page's own script and styles, by their
    hashes, and nothing load but pictures that are in the page.

    Parameters
    ----------
    data, pictures : dict
        Of :func:`page_data` and of :func:`aliascope.report.explorer.explorer`.

    Returns
    -------
    str
        HTML.
    """
    style, code = _resource("page.css"), script()
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(code)}; "
        "base-uri 'none'; form-action 'none'"
    )
    fields = {
        "policy": escape(policy, quote=True),
        "title": escape(data["title"]),
        "style": style,
        "data": embedded(data),
        "pictures": embedded(pictures),
        "script": code,
    }
    pieces = _resource("page.html").split("%%")  # text, field, text, field, ..., text
    return "".join(fields[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def script() -> str:
    """Put the page's script together: one function, in which its files share their names."""
    files = "\n".join(_resource(f"script/{name}.js") for name in SCRIPT)
    return f'"use strict";\n(() => {{\n{files}}})();\n'


def embedded(value: Any) -> str:
    r"""Write a value as JSON that ends no script element, whatever its strings hold.

    Examples
    --------
    >>> print(embedded({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(_rounded(plain(value)), ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # Below 1e-3 (epsilons, p-values) the digits that count are the first, not the last.
        return round(value, DIGITS) if abs(value) >= 1e-3 else float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _resource(name: str) -> str:
    return resources.files("aliascope.report").joinpath(name).read_text(encoding="utf-8")
