"""What one pass gave, on its way into a part of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aliascope.runs.conditions import CLEAN, Condition

if TYPE_CHECKING:
    import pandas as pd

    from aliascope.runs.part import PartWriter
    from aliascope.runs.store import Store

Array = np.ndarray[Any, Any]


class Record:
    """The samples, sites and values of one pass, held in memory until they are written.

    Parameters
    ----------
    number : int
        Of the part.

    Attributes
    ----------
    numbers : list of int
        Of the samples.
    samples : DataFrame or None
        What is known of each; None where it is its number alone.
    condition : Condition
        Under what it was run.
    unreadable : sequence
        Index, name and reason of images that were left out.
    arrays : dict of str to ndarray
        Arrays of samples, of no site.
    tables : dict of str to DataFrame
        Tables to keep with the part, by name.

    Examples
    --------
    >>> record = Record(0)
    >>> record.numbers = [4, 5]
    >>> record.add_site({"path": "stem"})
    >>> record.add_values("energy", 0, np.array([0.5, 0.25]))
    >>> record.table().to_dict("list")
    {'sample': [4, 5], 'site': [0, 0], 'energy': [0.5, 0.25]}
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.numbers: list[int] = []
        self.samples: pd.DataFrame | None = None
        self.condition: Condition = CLEAN
        self.unreadable: Sequence[Any] = ()
        self.arrays: dict[str, Array] = {}
        self.tables: dict[str, pd.DataFrame] = {}
        self._sites: list[tuple[Mapping[str, Any], bool]] = []
        self._values: dict[str, dict[int, Array]] = {}
        self._of_channels: dict[str, dict[int, Array]] = {}
        self._of_sites: dict[tuple[str, int], Array] = {}
        self._writer: PartWriter | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        tables = [array for column in self._values.values() for array in column.values()]
        return sum(array.nbytes for array in (*tables, *self._of_sites.values()))

    def add_site(self, described: Mapping[str, Any], listed: bool = True) -> None:
        """Add the site at the next position; one that is not listed only keeps its place."""
        self._sites.append((described, listed))

    def add_values(self, name: str, position: int, values: Any) -> None:
        """Add a column's values at a site: (samples,) to the table, (samples, ...) as an array."""
        if hasattr(values, "of_channels"):  # summed over the samples
            self._of_channels.setdefault(name, {})[position] = np.asarray(values.of_channels)
            return
        if hasattr(values, "detach"):  # a tensor, on any device
            values = values.detach().cpu().numpy()
        array = np.asarray(values)
        if array.ndim == 1:
            self._values.setdefault(name, {})[position] = array
        else:
            self._of_sites[name, position] = array

    def write_sample(
        self, store: Store, kind: str, position: int, i: int, n: int, array: Array
    ) -> None:
        """Write an array of the i-th of n samples at a site, at once."""
        if self._writer is None:
            self._writer = store.begin(self.number)
        self._writer.write_sample(kind, position, i, n, array)

    def table(self) -> pd.DataFrame:
        """One row per sample and site, with what was measured there."""
        import pandas as pd

        places = self._places()
        tables = []
        for position, place in places.items():
            columns = {
                name: column[position]
                for name, column in self._values.items()
                if position in column
            }
            if columns:
                site = np.full(len(self.numbers), place, dtype=np.int64)
                tables.append(pd.DataFrame({"sample": self.numbers, "site": site, **columns}))
        if tables:
            return pd.concat(tables, ignore_index=True)
        return pd.DataFrame({"sample": [], "site": []}, dtype="int64")

    def channels(self) -> pd.DataFrame | None:
        """One row per site and channel, with what was summed over the samples; None for nothing."""
        import pandas as pd

        tables = []
        for position, place in self._places().items():
            columns = {
                name: column[position]
                for name, column in self._of_channels.items()
                if position in column
            }
            for first in list(columns.values())[:1]:
                index = np.arange(len(first), dtype=np.int64)
                site = np.full(len(first), place, dtype=np.int64)
                tables.append(pd.DataFrame({"site": site, "channel": index, **columns}))
        return pd.concat(tables, ignore_index=True) if tables else None

    def write(self, store: Store) -> None:
        """Write it as a part."""
        import pandas as pd

        writer = self._writer or store.begin(self.number)
        places = self._places()
        try:
            if len(places) < len(self._sites):
                writer.renumber(places)
            for (kind, position), array in self._of_sites.items():
                if position in places:
                    writer.write(kind, places[position], array)
            for kind, array in self.arrays.items():
                writer.write(kind, 0, array)
            samples = self.samples
            if samples is None:
                samples = pd.DataFrame({"sample": self.numbers}, dtype="int64")
            listed = [described for described, listed in self._sites if listed]
            tables = self.table(), listed, self.unreadable, self.condition, self.channels()
            writer.commit(samples, *tables, more=self.tables)
        finally:
            writer.discard()

    def discard(self) -> None:
        """Remove what was written of it so far."""
        if self._writer is not None:
            self._writer.discard()

    def _places(self) -> dict[int, int]:
        """Give those sites that are listed their places among them."""
        listed = [position for position, (_, listed) in enumerate(self._sites) if listed]
        return {position: place for place, position in enumerate(listed)}
