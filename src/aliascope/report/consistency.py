"""Shift consistency: what the page says and draws of it, where the run's folder holds it."""

from __future__ import annotations

from aliascope.report.numbers import Block
from aliascope.runs.consistency import ACCURACIES, MEANS, Consistency
from aliascope.runs.measurement import Measurement
from aliascope.runs.shift_parts import DESCRIPTION

MOST_SHIFTS = 9000
"""Shifts of a kind that a map is drawn of; more would make the page heavy."""


def consistency(measurement: Measurement) -> Block | None:
    """Give shift consistency that lies beside a run; None where there is none.

    Parameters
    ----------
    measurement : Measurement
        Of a run, into whose folder ``aliascope shift`` may have written.

    Returns
    -------
    dict or None
        said (what it depends on), what ("images" or "pixels"), labelled, and kinds, each with its
        row of :meth:`Consistency.table`, curve (over distance) and map (dy, dx, share).
    """
    if not (measurement.store.folder / DESCRIPTION).is_file():
        return None
    found = Consistency.load(measurement.store.folder)
    if not len(found.rows):
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
