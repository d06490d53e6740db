"""Sites as they are listed: with a name, whether they can be measured, and if not, why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from aliascope.sites.split import Site


@dataclass(frozen=True)
class ListedSite:
    """A site with what stands beside it.

    Attributes
    ----------
    site : Site
        Its identity, which is what handlers are told; path, number, op, rate and dense_shape can be
        asked for here too.
    name : str
        Its path, with ``#1``, ``#2``, ... where that module runs several sites in one pass.
    supported : bool
        Whether it could be split and measured.
    reason : str
        Why not, or "".
    recomposition_error : float
        Largest difference between the decimated dense signal and the original operation's output,
        relative to the output's largest magnitude, at the first pass; NaN where not compared.
    lossless : bool
        Whether it stands for slices of one tensor that together drop nothing, and so is none.

    Examples
    --------
    >>> ListedSite(Site("stem", 1, "conv", (2, 2)), "stem").rate
    (2, 2)
    """

    site: Site
    name: str
    supported: bool = True
    reason: str = ""
    recomposition_error: float = math.nan
    lossless: bool = False

    @property
    def path(self) -> str:
        """Path of the module, without the number."""
        return self.site.path

    @property
    def number(self) -> int:
        """Counts the sites of that module in one pass, from 1."""
        return self.site.number

    @property
    def op(self) -> str:
        """Kind of operation."""
        return self.site.op

    @property
    def rate(self) -> tuple[int, ...]:
        """Decimation rate, per spatial axis; empty where it is not known."""
        return self.site.rate

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """(C, *size) of the dense signal when it was first seen; empty where not measured."""
        return self.site.dense_shape

    def status(self) -> str:
        """Say why there is nothing measured."""
        return self.reason if self.lossless else f"not measured: {self.reason}"

    def as_row(self) -> dict[str, Any]:
        """Give all that is known of it, flat, by column."""
        beside = {key: value for key, value in vars(self).items() if key not in ("site", "name")}
        return {"name": self.name, **asdict(self.site), **beside}


class SiteList(list[ListedSite]):
    """Sites in the order in which they first ran; prints, and displays in a notebook, as a table.

    Examples
    --------
    >>> print(SiteList([ListedSite(Site("stem", 1, "conv", (2, 2), (64, 112, 112)), "stem")]))
    site  op    rate  dense signal
    stem  conv  2×2   64×112×112
    """

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Write each site as name, operation, rate, and dense signal or why it is not measured."""
        return [
            (
                each.name,
                each.op,
                times(each.rate) or "?",
                times(each.dense_shape) if each.supported else each.status(),
            )
            for each in self
        ]

    def __str__(self) -> str:
        lines = [HEADS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in HEADS)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


HEADS = ("site", "op", "rate", "dense signal")


def names_of(sites: Iterable[tuple[str, int]]) -> list[str]:
    """Name sites by path, and by number too where several have the path.

    Parameters
    ----------
    sites : iterable of (str, int)
        Path and number of each.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names_of([("stem", 1), ("pool", 1), ("pool", 2)])
    ['stem', 'pool#1', 'pool#2']
    """
    sites = list(sites)
    of_path = Counter(path for path, _ in sites)
    return [path if of_path[path] == 1 else f"{path}#{number}" for path, number in sites]


def times(numbers: Sequence[int]) -> str:
    """Write sizes or rates, as in 3×224×224."""
    return "×".join(map(str, numbers))
