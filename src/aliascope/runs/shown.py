"""A measurement as a table, as text, as HTML and as JSON. All of it is read off a measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any, Protocol

import pandas as pd

from aliascope.categories import COLUMNS, LABELS
from aliascope.files import plain
from aliascope.runs.conditions import Condition
from aliascope.runs.description import CriterionOfRun
from aliascope.runs.energy import ENERGY, INTERVAL
from aliascope.runs.fractions import check_accounting
from aliascope.runs.plain_tables import aligned, html_table
from aliascope.runs.sites import times

SETTINGS = ("model", "data", "criterion", "measures", "options", "detail", "device", "versions")
"""Of run.json: what made the numbers."""


class Measurement(Protocol):
    """What is read of a measurement here, whose methods these functions are."""

    run: dict[str, Any]
    condition: Condition
    conditions: list[Condition]
    sites: pd.DataFrame
    samples: pd.DataFrame
    unreadable: list[tuple[int, str, str]]

    @property
    def measures(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def criterion(self) -> CriterionOfRun | None: ...  # noqa: D102
    @property
    def channels(self) -> int | None: ...  # noqa: D102
    def at(self, condition: Condition) -> Measurement: ...  # noqa: D102
    def accuracy(self) -> pd.DataFrame: ...  # noqa: D102
    def energy(self, by: str = "site") -> pd.DataFrame: ...  # noqa: D102
    def fractions(self, by: str = "site", accounting: str = "exact") -> pd.DataFrame: ...  # noqa: D102
    def floor(self, by: str = "site", *, accounting: str = "exact") -> pd.DataFrame: ...  # noqa: D102
    def thresholds(self, by: str = "site", *, accounting: str = "exact") -> pd.DataFrame: ...  # noqa: D102


def table_of(measurement: Measurement, accounting: str = "exact") -> pd.DataFrame:
    """Put all numbers of the sites beside each other.

    Parameters
    ----------
    measurement : Measurement
        Of any measures.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    DataFrame
        As :meth:`Measurement.table` gives it.
    """
    check_accounting(accounting)
    sites = measurement.sites[measurement.sites["supported"].astype(bool)].set_index("name")
    table = sites[["op", "rate", "dense_shape", "grid"]].rename_axis("site")
    for column in ("rate", "dense_shape"):
        table[column] = table[column].map(times)
    there = measurement.measures
    if "energy" in there:
        table = table.join(measurement.energy())
    if "categories" in there:
        table = table.join(measurement.fractions(accounting=accounting))
    if "floor" in there:
        table = table.join(measurement.floor(accounting=accounting).add_prefix("floor_"))
    return table


# -- JSON ----------------------------------------------------------------------------------------


def json_of(measurement: Measurement, accounting: str = "exact") -> str:
    """Write a measurement as JSON.

    Parameters
    ----------
    measurement, accounting
        As for :func:`table_of`.

    Returns
    -------
    str
        As :meth:`Measurement.to_json` gives it.
    """
    check_accounting(accounting)
    run = measurement.run
    content = {
        "kind": "measurement",
        "condition": measurement.condition.name,
        **_numbers(measurement, accounting),
        "accounting": accounting,
        "settings": {key: run[key] for key in SETTINGS if run.get(key) is not None},
        "status": run.get("status"),
        "sites": _sites(measurement, accounting),
        "not_measured": measurement.sites.loc[
            ~measurement.sites["supported"].astype(bool), ["name", "op", "reason"]
        ].to_dict("records"),
        "unreadable": measurement.unreadable,
        "conditions": [
            {"condition": each.name, **_numbers(measurement.at(each), accounting)}
            for each in measurement.conditions
            if len(measurement.conditions) > 1
        ],
    }
    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)


def _numbers(measurement: Measurement, accounting: str) -> dict[str, Any]:
    """Give what is known of the model as a whole, under one condition."""
    there, how = measurement.measures, {"by": "overall", "accounting": accounting}
    numbers: dict[str, Any] = {
        "images": len(measurement.samples),
        "accuracy": measurement.accuracy().to_dict("index"),
    }
    if "energy" in there:
        numbers["energy"] = _records(measurement.energy("overall"))
    if "categories" in there:
        numbers["fractions"] = measurement.fractions(**how).iloc[0].to_dict()
    if "floor" in there:
        numbers["floor"] = _whole(measurement.floor(**how)).iloc[0].to_dict()
    if "thresholds" in there:
        numbers["thresholds"] = _records(measurement.thresholds(**how))
    return numbers


def _sites(measurement: Measurement, accounting: str) -> list[dict[str, Any]]:
    there = measurement.measures
    supported = measurement.sites[measurement.sites["supported"].astype(bool)]
    columns = ["name", "op", "rate", "dense_shape", "grid", "recomposition_error"]
    found = supported[columns].to_dict("records")
    blocks: dict[str, pd.DataFrame] = {}
    if "energy" in there:
        blocks["energy"] = measurement.energy()
    if "categories" in there:
        blocks["fractions"] = measurement.fractions(accounting=accounting)
    if "floor" in there:
        blocks["floor"] = measurement.floor(accounting=accounting)
    levels = measurement.thresholds(accounting=accounting) if "thresholds" in there else None
    for site in found:
        site.update(
            {kind: _whole(table).loc[site["name"]].to_dict() for kind, table in blocks.items()}
        )
        if levels is not None:
            site["thresholds"] = _records(levels.loc[site["name"]])
    return [{str(key): value for key, value in site.items()} for site in found]


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Keep whole numbers whole where a row is taken."""
    return table.astype(object)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): value for key, value in row.items()}
        for row in table.reset_index().to_dict("records")
    ]


# -- text ----------------------------------------------------------------------------------------


def rows_of(measurement: Measurement) -> tuple[list[str], list[list[str]]]:
    """Write the sites, and the model as a whole, as a table of short texts.

    Parameters
    ----------
    measurement : Measurement
        Of any measures.

    Returns
    -------
    list of str, list of list of str
        Heads, and rows.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)], measures=["categories"])
    >>> rows_of(m)[0]
    ['site', 'rate', 'dense signal', 'no pass %', 'non-aliased %', 'aliased %', 'tangled %']
    """
    there, table = measurement.measures, table_of(measurement)
    heads = ["site", "rate", "dense signal"]
    rows = [[str(name), row["rate"], row["dense_shape"]] for name, row in table.iterrows()]
    if "energy" in there:
        heads += ["aliased energy %", "95 %", "white noise %"]
        for cells, (_, row) in zip(rows, table.iterrows(), strict=True):
            cells += _energy_cells(row)
    if "categories" in there:
        heads += [f"{LABELS[column]} %" for column in COLUMNS]
        for cells, (_, row) in zip(rows, table.iterrows(), strict=True):
            cells += [percent(row[column]) for column in COLUMNS]
    if "floor" in there:
        heads += ["floor %"]
        for cells, (_, row) in zip(rows, table.iterrows(), strict=True):
            cells += [percent(row["floor_aliased"] + row["floor_tangled"])]
    return heads, [*rows, *_overall_rows(measurement, len(table))]


def _overall_rows(measurement: Measurement, n_sites: int) -> list[list[str]]:
    there = measurement.measures
    rates = measurement.energy("overall") if "energy" in there else pd.DataFrame()
    of_energy = [
        [f"mean of {row['sites']:.0f}", str(rate), "", *_energy_cells(row)]
        for rate, row in rates.iterrows()
    ]
    if "categories" not in there:
        return of_energy
    fractions = measurement.fractions("overall").iloc[0]
    cells = [percent(fractions[column]) for column in COLUMNS]
    if "floor" in there:
        floor = measurement.floor("overall").iloc[0]
        cells += [percent(floor["aliased"] + floor["tangled"])]
    if len(of_energy) == 1:
        return [[*of_energy[0], *cells]]
    blank = [""] * (3 if len(of_energy) else 0)
    below = [[*row, *[""] * len(cells)] for row in of_energy]
    return [*below, [f"mean of {n_sites}", "", "", *blank, *cells]]


def _energy_cells(row: Any) -> list[str]:
    return [
        percent(row[ENERGY]),
        between(row[INTERVAL[0]], row[INTERVAL[1]]),
        percent(row["white"]),
    ]


def percent(value: float) -> str:
    """Write a fraction as a number of percent; a dash where it is not defined.

    Examples
    --------
    >>> percent(0.3749), percent(float("nan"))
    ('37.5', '–')
    """
    return "–" if math.isnan(value) else f"{round(100 * value, 1) + 0.0:.1f}"  # no -0.0


def span(low: str, high: str) -> str:
    """Write a range of two numbers; one that is as they are written as that number.

    Examples
    --------
    >>> span("86.2", "97.0"), span("86.2", "86.2")
    ('86.2 to 97.0', '86.2')
    """
    return low if low == high else f"{low} to {high}"


def p_value(p: float) -> str:
    """Write a p-value; nothing where there is none.

    Examples
    --------
    >>> p_value(0.0312), p_value(8e-10), p_value(float("nan"))
    ('0.031', '<0.001', '')
    """
    if math.isnan(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def counted(number: int, noun: str, ending: str = "s") -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> counted(1, "image"), counted(50000, "image")
    ('1 image', '50,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def between(low: float, high: float) -> str:
    """Write an interval of fractions in percent; a dash where there is none.

    Examples
    --------
    >>> between(0.1, 0.25), between(float("nan"), float("nan"))
    ('10.0–25.0', '–')
    """
    return "–" if math.isnan(low) or math.isnan(high) else f"{percent(low)}–{percent(high)}"


def text_of(measurement: Measurement) -> str:
    """Write a measurement as a table of text, with a line of what it is of."""
    return "\n".join([*aligned(*rows_of(measurement), words=3), said_of(measurement)])


def html_of(measurement: Measurement) -> str:
    """Write a measurement as an HTML table, with a line of what it is of."""
    return f"{html_table(*rows_of(measurement))}<p>{escape(said_of(measurement))}</p>"


def described(run: dict[str, Any]) -> list[str]:
    """Say what was run on what, and how, a line each; as far as it is known.

    Parameters
    ----------
    run : dict
        Content of run.json.

    Returns
    -------
    list of str

    Examples
    --------
    >>> model = {"name": "torchvision:resnet18", "weights": "none"}
    >>> described({"model": model, "options": {"filter": "blur:3", "seed": 1}, "device": "cpu"})
    ['torchvision:resnet18 (weights none, filtered by blur:3), cpu, seed 1']
    """
    model, options = run.get("model") or {}, run.get("options") or {}
    inside = [f"weights {model['weights']}"] if model.get("weights") else []
    chosen = options.get("filter") or model.get("filter")
    inside += [f"filtered by {chosen}"] if chosen else []
    name = " ".join(
        [model.get("name") or "a model", *([f"({', '.join(inside)})"] if inside else [])]
    )
    data = (run.get("data") or {}).get("name")
    words = [f"{name} on {data}" if data else name]
    words += [str(run["device"])] if run.get("device") else []
    words += [str(options[key]) for key in ("precision",) if options.get(key)]
    words += [f"seed {options['seed']}"] if options.get("seed") is not None else []
    lines = [", ".join(words)] if model or data else []
    recipe = model.get("preprocessing")
    if recipe:
        lines.append(f"images: {prepared(recipe)}")
    if options.get("intervene"):
        lines.append(f"intervening: {', '.join(map(str, options['intervene']))}")
    if options.get("attack"):
        steps = options.get("attack_steps")
        words = [str(options["attack"]), *([counted(steps, "step")] if steps else [])]
        lines.append(f"attack: {', '.join(words)}")
    return lines


def prepared(recipe: Mapping[str, Any]) -> str:
    """Say how images are made ready, by what a run records of it.

    Examples
    --------
    >>> prepared({"resize": 256, "interpolation": "bilinear", "crop": 224})
    'shorter side to 256 (bilinear), centre crop 224 × 224'
    """
    resize, crop = recipe.get("resize"), recipe.get("crop")
    size = f"shorter side to {resize} ({recipe.get('interpolation')})" if resize else "not resized"
    return f"{size}, {f'centre crop {crop} × {crop}' if crop else 'not cropped'}"


def said_of(measurement: Measurement, accounting: str = "exact") -> str:
    """Say in a line how many images there are, the settings, and what depends on the threshold.

    Parameters
    ----------
    measurement, accounting
        As for :func:`table_of`.

    Returns
    -------
    str

    Examples
    --------
    >>> import torch, aliascope as al
    >>> said_of(al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)], grid="seed"))
    '1 image, exact accounting; a fold counts down to 20 dB below the largest power (grid seed, ...'
    """
    n = len(measurement.samples)
    words = [counted(n, "image")]
    if measurement.condition.name != "clean":
        words[0] += f" under {measurement.condition.name}"
    words += filter(None, [drawing(measurement)])
    if "categories" in measurement.measures:
        words[0] += f", {accounting} accounting"
        words += filter(None, [level_of(measurement), ranging(measurement, accounting)])
    return "; ".join(words)


def drawing(measurement: Measurement) -> str:
    """Say that channels were drawn, or all where there are no more; nothing where none were.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> drawing(al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 9, 8, 8)], channels=8))
    'at most 8 channels of each image and site, drawn'
    """
    drawn = measurement.channels
    return f"at most {counted(drawn, 'channel')} of each image and site, drawn" if drawn else ""


def level_of(measurement: Measurement) -> str:
    """Say when a fold counts; nothing where the run does not."""
    criterion = measurement.criterion
    if criterion is None:
        return ""
    level = {"max": "largest", "mean": "mean"}.get(criterion.reference, criterion.reference)
    return (
        f"a fold counts down to {criterion.threshold_db:g} dB below the {level} power "
        f"(grid {criterion.grid}, fold scale {criterion.fold_scale})"
    )


def ranging(measurement: Measurement, accounting: str = "exact") -> str:
    """Say how aliased + tangled ranges over the thresholds; nothing where that is not known."""
    if "thresholds" not in measurement.measures:
        return ""
    table = measurement.thresholds("overall", accounting=accounting)
    both = table["aliased"] + table["tangled"]
    images = counted(int(table["n"].max()), "image")
    return (
        f"with thresholds of {both.index.min()} to {both.index.max()} dB aliased + tangled "
        f"is {span(percent(both.min()), percent(both.max()))} % ({images})"
    )
