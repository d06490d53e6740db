"""Which sites of a deep network work on maps of one size: what parts many rows of a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

from aliascope.runs.measurement import Measurement

MANY = 12
"""Sites beyond which a figure parts their rows."""


def stage_starts(measurement: Measurement, names: Iterable[Any]) -> list[int]:
    """Find at which sites the size of the dense signal differs from that of the site before.

    Parameters
    ----------
    measurement : Measurement
        Of the sites.
    names : sequence of str
        Sites in the order in which they are drawn.

    Returns
    -------
    list of int
        Places in ``names``; the first is left out.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> pool = torch.nn.AvgPool2d(2)
    >>> m = al.measure(torch.nn.Sequential(pool, pool), [torch.rand(1, 3, 32, 32)])
    >>> stage_starts(m, m.sites["name"])
    [1]
    """
    shapes = measurement.sites.set_index("name")["dense_shape"]
    sizes = [tuple(shapes[name])[1:] for name in names]
    return [k for k in range(1, len(sizes)) if sizes[k] != sizes[k - 1]]


def draw_stages(
    panels: Sequence[Axes], measurement: Measurement, names: Iterable[Any], left: float
) -> None:
    """Part the rows of many sites by faint lines, where the size of the map changes.

    Rows are at 0, -1, -2 and so on; ``left`` is where the lines begin in the first of the panels,
    as a share of its width.
    """
    names = list(names)
    if len(names) <= MANY:
        return
    for place in stage_starts(measurement, names):
        for k, axes in enumerate(panels):
            axes.plot(
                [left if k == 0 else 0, 1],
                [0.5 - place] * 2,
                transform=axes.get_yaxis_transform(),
                color="0.6",
                lw=0.5,
                clip_on=False,
                zorder=0.5,
                gid="stage",
            )
