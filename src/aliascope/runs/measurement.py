"""The result: tables, fractions and intervals, read from a run directory. No torch, no drawing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.runs.fractions import (
    CONFIDENCE,
    Array,
    check_accounting,
    check_known,
    contributions,
    fractions_of,
    fractions_table,
    mean_and_interval,
)
from aliascope.runs.part import Part
from aliascope.runs.store import Store

_KEY = ["path", "number", "op", "rate"]
_SITE_COLUMNS = [
    "name",
    "op",
    "rate",
    "dense_shape",
    "grid",
    "supported",
    "reason",
    "recomposition_error",
]


class Measurement:
    """What a run measured.

    Parameters
    ----------
    store : Store
        Run directory, which is read when asked.
    eps : float, optional
        Which of an attacked run's epsilons; the smallest by default.

    Attributes
    ----------
    epsilons : list of float
        Largest disturbances that the images were attacked with, ascending; empty without an attack.
    eps : float or None
        That of this measurement.
    sites : DataFrame
        One row per site, in the order in which they run: name, op, rate, dense_shape, grid,
        supported, reason, recomposition_error. Unsupported ones come last and have no fractions.
    samples : DataFrame
        One row per sample: ``sample`` (its number) and what the run knows of it, such as name,
        label, prediction, top1, top5.
    counts : DataFrame
        One row per sample and site: sample, site (its row in ``sites``), and the number of bins of
        each category over all channels, as exact integers.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Conv2d(3, 8, 3, stride=2)
    >>> m = al.measure(model, [torch.rand(4, 3, 32, 32)])
    >>> list(m.sites["name"]), len(m.samples), m.counts.loc[0, COLUMNS].sum() == 8 * 30 * 30
    (['(root)'], 4, np.True_)
    """

    def __init__(self, store: Store, eps: float | None = None) -> None:
        self.store = store
        self.run: dict[str, Any] = store.read_run()
        self._parts: list[tuple[Part, dict[int, int]]] = []
        self.unreadable: list[tuple[int, str, str]] = []
        parts = list(store.parts())
        self.epsilons = sorted({part.eps for part in parts if part.eps is not None})
        if eps is not None and eps not in self.epsilons:
            known = ", ".join(f"{each:g}" for each in self.epsilons) or "none"
            raise AliascopeError(f"eps is {eps:g}, but the run's are {known}.")
        self.eps = self.epsilons[0] if eps is None and self.epsilons else eps
        parts = [part for part in parts if part.eps == self.eps]
        self.sites = self._merged_sites(parts)
        samples, counts = [], []
        rows = {key: row for row, key in enumerate(self._keys)}
        for part in parts:
            numbers = {
                position: rows[_key(site)]
                for position, site in enumerate(part.sites)
                if site["supported"] and self.sites["supported"].iloc[rows[_key(site)]]
            }
            self._parts.append((part, numbers))
            self.unreadable += [(i, name, reason) for i, name, reason in part.unreadable]
            samples.append(part.samples())
            counted = part.counts()
            counted = counted[counted["site"].isin(list(numbers))]
            counts.append(counted.assign(site=counted["site"].map(numbers).astype("int64")))
        empty = pd.DataFrame({"sample": [], "site": [], **{c: [] for c in COLUMNS}}, dtype="int64")
        self.samples = _concatenated(samples, empty[["sample"]])
        self.counts = _concatenated(counts, empty).sort_values(
            ["sample", "site"], kind="stable", ignore_index=True
        )

    def _merged_sites(self, parts: list[Part]) -> pd.DataFrame:
        """Give every site one row and its final name, whichever parts it appears in."""
        merged: dict[tuple[Any, ...], dict[str, Any]] = {}
        for part in parts:
            for site in part.sites:
                known = merged.setdefault(_key(site), dict(site))
                error = site["recomposition_error"]
                if not known["recomposition_error"] >= error:
                    known["recomposition_error"] = error
                if not site["supported"]:
                    known.update(supported=False, reason=site["reason"])
        ordered = sorted(merged.items(), key=lambda item: not item[1]["supported"])
        self._keys = [key for key, _ in ordered]
        per_path = pd.Series([site["path"] for _, site in ordered], dtype=object).value_counts()
        rows = []
        for _, site in ordered:
            several = per_path[site["path"]] > 1
            name = f"{site['path']}#{site['number']}" if several else site["path"]
            rows.append({**site, "name": name})
        return pd.DataFrame(rows, columns=_SITE_COLUMNS)

    def at(self, eps: float) -> Measurement:
        """Give the measurement at another epsilon of an attacked run.

        Parameters
        ----------
        eps : float
            One of :attr:`epsilons`.

        Returns
        -------
        Measurement

        Raises
        ------
        AliascopeError
            If the run has no such epsilon.
        """
        return Measurement(self.store, eps)

    # -- fractions ---------------------------------------------------------------------------

    def fractions(
        self, by: str = "site", accounting: str = "exact", *, site: str | None = None
    ) -> pd.DataFrame:
        """Fractions of bins in each category.

        Parameters
        ----------
        by : {"site", "sample", "channel", "overall"}
            One row per site (mean over samples), per sample (unweighted mean over sites), per
            channel of each site (mean over samples; needs detail channel or finer), or one row for
            the model: the unweighted mean over sites.
        accounting : {"exact", "published"}
            ``exact``: categories partition the bins. ``published``: as the authors' code did, which
            counted ALIASED bins as NO_PASS too and then divided each sample's four counts at a site
            by their sum.
        site : str, optional
            Name of a site, to have the fractions of this one alone.

        Returns
        -------
        DataFrame
            Columns no_pass, non_aliased, aliased, tangled, in [0, 1], summing to 1. By site and
            overall also ``*_low`` and ``*_high``: 95 % confidence intervals of the mean over
            samples (Student's t, kept within [0, 1]; NaN for a single sample).

        Raises
        ------
        AliascopeError
            If ``by``, ``accounting`` or ``site`` is unknown, or channels were not kept.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> m.fractions(by="overall").round(3)[["no_pass", "tangled"]].sum(axis=1).item() <= 1
        True
        """
        check_accounting(accounting)
        check_known("by", by, ("site", "sample", "channel", "overall"))
        chosen = range(len(self.sites)) if site is None else [self._row(site)]
        if by == "channel":
            table = self._channel_fractions(accounting, chosen)
            return table if site is None else pd.DataFrame(table.loc[site])
        each = self.counts[["sample", "site"]].copy()
        each[COLUMNS] = fractions_of(self.counts[COLUMNS].to_numpy(), accounting)
        each = each[each["site"].isin(chosen)]
        if by == "site":
            rows = {
                self.sites["name"].iloc[row]: mean_and_interval(
                    each.loc[each["site"] == row, COLUMNS].to_numpy()
                )
                for row in chosen
                if self.sites["supported"].iloc[row]
            }
            return fractions_table(rows, "site")
        if by == "sample":
            return each.groupby("sample")[COLUMNS].mean()
        per_sample = contributions(each)
        return fractions_table({"overall": mean_and_interval(per_sample.to_numpy())}, "")

    def _channel_fractions(self, accounting: str, chosen: Sequence[int]) -> pd.DataFrame:
        totals: dict[int, Array] = {}
        seen: dict[int, int] = {}
        for part, numbers in self._parts:
            for position, row in numbers.items():
                if row not in chosen:
                    continue
                counts = part.array("channel", position)
                if counts is None:
                    raise AliascopeError(
                        f"Channels were not kept (detail {self.run.get('detail')!r}); "
                        "measure with detail='channel'."
                    )
                fractions = fractions_of(np.asarray(counts[...]), accounting)
                totals[row] = totals.get(row, 0.0) + fractions.sum(axis=0)
                seen[row] = seen.get(row, 0) + len(fractions)
        names = self.sites["name"]
        tables = {
            names[row]: pd.DataFrame(totals[row] / seen[row], columns=COLUMNS)
            for row in sorted(totals)
        }
        return (
            pd.concat(tables, names=["site", "channel"])
            if tables
            else pd.DataFrame(columns=COLUMNS)
        )

    def total_bins(self) -> pd.Series:
        """Count the bins that were categorised, per site, over all samples and channels."""
        bins = self.counts.groupby("site")[COLUMNS].sum().sum(axis=1)
        return bins.set_axis(self.sites["name"][bins.index])

    # -- accuracy ----------------------------------------------------------------------------

    def accuracy(self) -> pd.DataFrame:
        """Top-1 and top-5 accuracy over the labelled samples.

        Returns
        -------
        DataFrame
            Rows top1 and top5 (those that are known), columns correct, n, accuracy, low, high: the
            95 % interval of Wilson (1927). Empty where there are no labels.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=2), torch.nn.Flatten())
        >>> m = al.measure(model, [(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))])
        >>> m.accuracy()["n"].tolist()
        [2, 2]
        """
        rows = {}
        for column in ("top1", "top5"):
            if column in self.samples:
                known = self.samples[column].dropna()
                if len(known):
                    correct = int(known.astype(bool).sum())
                    interval = stats.binomtest(correct, len(known)).proportion_ci(
                        CONFIDENCE, method="wilson"
                    )
                    rows[column] = (
                        correct,
                        len(known),
                        correct / len(known),
                        interval.low,
                        interval.high,
                    )
        columns = ["correct", "n", "accuracy", "low", "high"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    # -- arrays ------------------------------------------------------------------------------

    def category_map(self, site: str, sample: int) -> Array:
        """Category of each bin of one sample at one site.

        Parameters
        ----------
        site : str
            Name of the site.
        sample : int
            Number of the sample.

        Returns
        -------
        ndarray of uint8, shape (C, *M)
            Zero frequency first.

        Raises
        ------
        AliascopeError
            If the site or sample is unknown, or detail was coarser than pixel.
        """
        return self._sample_array("category", "pixel", site, sample)

    def folds(self, site: str, sample: int) -> Array:
        """Complex folds of one sample at one site.

        Parameters
        ----------
        site : str
            Name of the site.
        sample : int
            Number of the sample.

        Returns
        -------
        ndarray of complex64, shape (C, *rate, *M)
            As :func:`aliascope.spectrum.folds` gives them.

        Raises
        ------
        AliascopeError
            If the site or sample is unknown, or detail was coarser than folds.
        """
        return self._sample_array("folds", "folds", site, sample)

    def features(self) -> Array:
        """Read the inputs of the classifier that ``aliascope evaluate --save-features`` kept.

        Returns
        -------
        ndarray, shape (samples, features)
            In the order of :attr:`samples`.

        Raises
        ------
        AliascopeError
            If they were not kept.
        """
        arrays = [part.array("features", 0) for part, _ in self._parts]
        kept = [np.asarray(array[...]) for array in arrays if array is not None]
        if not kept:
            raise AliascopeError("Features were not kept; evaluate with --save-features.")
        return np.concatenate(kept)

    def adversarial(self, sample: int) -> Array | None:
        """Read the disturbed pixels that ``aliascope evaluate --save-adversarial`` kept.

        Parameters
        ----------
        sample : int
            Number of the sample.

        Returns
        -------
        ndarray of float32, shape (C, H, W), or None
            In [0, 1], as attacked at :attr:`eps`; None where they were not kept.
        """
        for part, _ in self._parts:
            kept = part.array("adversarial", 0)
            if kept is not None:  # the first samples of the part
                numbers = part.samples()["sample"].to_numpy()[: kept.shape[0]]
                found = np.flatnonzero(numbers == sample)
                if len(found):
                    return np.asarray(kept[int(found[0])])
        return None

    def site_named(self, text: str) -> str:
        """Find a site by its name, or by its number in the order in which they run, from 1.

        Parameters
        ----------
        text : str
            A name, which goes first, or a number.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        AliascopeError
            If there is none, or it could not be measured.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]).site_named("1")
        '(root)'
        """
        names = list(self.sites["name"])
        if text not in names and text.isdecimal() and 1 <= int(text) <= len(names):
            text = str(names[int(text) - 1])
        self._row(text)
        return text

    def samples_at(self, site: str) -> list[int]:
        """List the samples that were measured at a site; a model may leave sites out of a pass.

        Parameters
        ----------
        site : str
            Name of the site.

        Returns
        -------
        list of int
            Numbers of the samples, ascending.

        Raises
        ------
        AliascopeError
            If there is no such site, or it could not be measured.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]).samples_at("(root)")
        [0, 1]
        """
        at_site = self.counts["site"] == self._row(site)
        return [int(sample) for sample in self.counts.loc[at_site, "sample"]]

    def _row(self, site: str) -> int:
        names = list(self.sites["name"])
        if site not in names:
            raise AliascopeError(f"There is no site {site!r}; the sites are {', '.join(names)}.")
        row = names.index(site)
        if not self.sites["supported"].iloc[row]:
            raise AliascopeError(
                f"Site {site} was not measured ({self.sites['reason'].iloc[row]}); "
                "choose another site."
            )
        return row

    def _sample_array(self, kind: str, detail: str, site: str, sample: int) -> Array:
        row = self._row(site)
        for part, numbers in self._parts:
            samples = part.samples()["sample"]
            if not (samples == sample).any():
                continue
            for position, number in numbers.items():
                if number == row:
                    array = part.array(kind, position)
                    if array is None:
                        raise AliascopeError(
                            f"Detail {detail!r} was not kept (this run has "
                            f"{self.run.get('detail')!r}); measure with detail={detail!r}."
                        )
                    per_sample = array.shape[0] // len(samples)
                    first = int(np.flatnonzero(samples == sample)[0]) * per_sample
                    return np.asarray(array[first : first + per_sample]).reshape(
                        -1, *array.shape[2:]
                    )
        raise AliascopeError(f"There is no sample {sample} at site {site!r} in this run.")

    # -- saving ------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save the run to a new or empty folder; :func:`load` reads it back.

        Raises
        ------
        AliascopeError
            If the folder holds anything.

        Examples
        --------
        >>> import tempfile, torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     m.save(folder + "/run")
        ...     al.load(folder + "/run").counts.equals(m.counts)
        True
        """
        self.store.copy_to(folder)


def load(folder: str | os.PathLike[str]) -> Measurement:
    """Load a run: one that ``aliascope evaluate`` wrote, finished or not, or a saved measurement.

    Parameters
    ----------
    folder : path
        The run directory.

    Returns
    -------
    Measurement

    Raises
    ------
    AliascopeError
        If the folder holds no run.

    Examples
    --------
    >>> load("no/such/folder")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: no/such/folder holds no run ...
    """
    return Measurement(Store.existing(folder))


def _key(site: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(site[column] for column in _KEY)


def _concatenated(tables: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else empty
