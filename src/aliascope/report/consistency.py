"""Shift consistency: what the page says and draws of it, where the run's folder holds it."""

from __future__ import annotations

from aliascope.report.numbers import Block
from aliascope.runs.consistency import ACCURACIES, MEANS, Consistency
from aliascope.runs.measurement import Measurement
from aliascope.runs.shift_parts import DESCRIPTION
from aliascope.runs.store import Store

SHARED = ("status", "created", "command", "model", "data", "device", "versions", "under")
"""What is said of shift consistency as of a run."""

MOST_SHIFTS = 9000
"""Shifts of a kind that a map is drawn of; more would make the page heavy."""


def beside(measurement: Measurement) -> Consistency | None:
    """Read what ``aliascope shift`` wrote into the folder of a run; None where it did not."""
    if not (measurement.store.folder / DESCRIPTION).is_file():
        return None
    return Consistency.load(measurement.store.folder)


def run_of(found: Consistency) -> Measurement:
    """Give a run of the same model and images in which nothing was measured.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"sample": [0], "dy": [1], "dx": [0], "agree": [1], "change": [0.0]}
    >>> run_of(Consistency(pd.DataFrame(row), {"model": {"name": "net"}})).run["model"]
    {'name': 'net'}
    """
    store = Store.temporary()
    description = {"status": "complete", **found.description}
    store.write_run({key: description[key] for key in SHARED if key in description})
    return Measurement(store)


def consistency(found: Consistency | None) -> Block | None:
    """Give shift consistency as the page shows it; None where nothing was counted.

    Parameters
    ----------
    found : Consistency, optional
        Such as :func:`beside` finds.

    Returns
    -------
    dict or None
        said (what it depends on), what ("images" or "pixels"), labelled, and kinds, each with its
        row of :meth:`Consistency.table`, curve (over distance) and map (dy, dx, share).
    """
    if found is None or not len(found.rows):
        return None
    table = found.table()
    columns = [*MEANS, *(ACCURACIES if found.labelled else ())]
    kinds = []
    for kind, row in table.iterrows():
        curve = found.by_distance(str(kind)).reset_index()
        shifts = found.map(str(kind))[["dy", "dx", "consistency"]]
        ends = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
        kinds.append(
            {
                "kind": str(kind),
                "images": int(row["images"]),
                "shifts": float(row["shifts"]),
                **{key: float(row[key]) for key in ends},
                "curve": curve.to_dict("records"),
                "map": shifts.to_numpy().tolist() if len(shifts) <= MOST_SHIFTS else [],
            }
        )
    return {
        "said": found.said(),
        "what": "pixels" if found.dense else "images",
        "labelled": found.labelled,
        "kinds": kinds,
    }
