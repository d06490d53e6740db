"""The result: tables, fractions and intervals, read from a run directory. No torch, no drawing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.runs import kept
from aliascope.runs.accuracy import accuracy_of
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN, Condition, find, ordered
from aliascope.runs.description import CriterionOfRun, conditions_of, criterion_of
from aliascope.runs.fractions import (
    channel_fractions,
    check_accounting,
    check_known,
    contributions,
    fractions_of,
    fractions_table,
    mean_and_interval,
)
from aliascope.runs.sites import row_of
from aliascope.runs.store import Store
from aliascope.runs.tables import tables_of
from aliascope.runs.values import KEY


class Measurement:
    """What a run measured, under one of its conditions.

    Parameters
    ----------
    store : Store
        Run directory, which is read when asked.
    condition : str or Condition, optional
        Which of the run's conditions; clean by default, or else the first.

    Attributes
    ----------
    conditions : list of Condition
        Under which the run's batches were run, as far as there are parts.
    condition : Condition
        That of this measurement.
    sites : DataFrame
        One row per site, in the order in which they run: name, op, rate, dense_shape, grid,
        supported, reason, recomposition_error. Unsupported ones come last and have no values.
    samples : DataFrame
        One row per sample: ``sample`` (its number) and what the run knows of it, such as name,
        label, prediction, top1, top5.
    values : DataFrame
        One row per sample and site: sample, site (its row in ``sites``), and a column for each
        value that was measured.
    unreadable : list of (int, str, str)
        Index, name and reason of images that were left out.

    Raises
    ------
    AliascopeError
        If the run has no such condition, or a part is missing or damaged.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Conv2d(3, 8, 3, stride=2)
    >>> m = al.measure(model, [torch.rand(4, 3, 32, 32)])
    >>> list(m.sites["name"]), len(m.samples), m.counts.loc[0, COLUMNS].sum() == 8 * 30 * 30
    (['(root)'], 4, np.True_)
    """

    def __init__(self, store: Store, condition: str | Condition | None = None) -> None:
        self.store = store
        self.run: dict[str, Any] = store.read_run()
        store.check_whole(self.run)
        parts = list(store.parts())
        self.conditions = ordered((part.condition for part in parts), conditions_of(self.run))
        if condition is not None:
            self.condition = find(self.conditions, condition)
        else:
            there = CLEAN in self.conditions or not self.conditions
            self.condition = CLEAN if there else self.conditions[0]
        self._tables = tables_of([part for part in parts if part.condition == self.condition])
        self.sites = self._tables.sites
        self.samples = self._tables.samples
        self.values = self._tables.values
        self.unreadable = self._tables.unreadable

    @property
    def counts(self) -> pd.DataFrame:
        """One row per sample and site: sample, site, and the bins of each category.

        The bins are counted over all channels, as exact integers.

        Raises
        ------
        AliascopeError
            If categories were not measured.
        """
        if self.values.empty:
            return self.values.reindex(columns=[*KEY, *COLUMNS]).astype("int64")
        if not set(COLUMNS) <= set(self.values):
            raise AliascopeError(
                "Categories were not measured in this run (its values are "
                f"{', '.join(self.values.columns.difference(KEY))}); measure them too."
            )
        return self.values[[*KEY, *COLUMNS]]

    @property
    def criterion(self) -> CriterionOfRun | None:
        """When a fold counted: threshold_db, reference, grid, fold_scale; None if not known."""
        return criterion_of(self.run)

    def at(self, condition: str | Condition) -> Measurement:
        """Give the measurement under another condition of the run.

        Parameters
        ----------
        condition : str or Condition
            One of :attr:`conditions`, its name, or the last words of its name where no other ends
            in them, such as ``"eps=0.001"``.

        Returns
        -------
        Measurement

        Raises
        ------
        AliascopeError
            If the run has no such condition.
        """
        return Measurement(self.store, condition)

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
        >>> images = torch.zeros(2, 3, 16, 16)
        >>> images[0, :, 8, 8] = 1  # a point has all frequencies; nothing has none
        >>> m = al.measure(torch.nn.AvgPool2d(2), [images])
        >>> m.fractions(by="sample").round(3)
                no_pass  non_aliased  aliased  tangled
        sample
        0           0.0        0.004      0.0    0.996
        1           1.0        0.000      0.0    0.000
        """
        check_accounting(accounting)
        check_known("by", by, ("site", "sample", "channel", "overall"))
        chosen: Sequence[int] = range(len(self.sites)) if site is None else [self._row(site)]
        if by == "channel":
            table = channel_fractions(self._tables, chosen, accounting)
            if table is None:
                raise AliascopeError(
                    f"Channels were not kept (detail {self.run.get('detail')!r}); "
                    "measure with detail='channel'."
                )
            return table if site is None else pd.DataFrame(table.loc[site])
        counts = self.counts
        each = counts[KEY].copy()
        each[COLUMNS] = fractions_of(counts[COLUMNS].to_numpy(), accounting)
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
        return accuracy_of(self.samples)

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
        features = kept.of_all(self._tables, "features")
        if features is None:
            raise AliascopeError("Features were not kept; evaluate with --save-features.")
        return features

    def pixels(self, sample: int) -> Array | None:
        """Read an image as the network saw it, where the run kept it.

        ``aliascope evaluate`` keeps the first images of a made data set with detail pixel or folds,
        and of an attacked run those of ``--save-adversarial``.

        Parameters
        ----------
        sample : int
            Number of the sample.

        Returns
        -------
        ndarray of float32, shape (C, H, W), or None
            In [0, 1], under :attr:`condition`; None where they were not kept.
        """
        return kept.of_sample(self._tables, "pixels", sample)

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
        at_site = self.values["site"] == self._row(site)
        return [int(sample) for sample in self.values.loc[at_site, "sample"]]

    def _row(self, site: str) -> int:
        return row_of(self.sites, site)

    def _sample_array(self, kind: str, detail: str, site: str, sample: int) -> Array:
        array = kept.at_site(self._tables, kind, self._row(site), sample)
        if array is None:
            raise AliascopeError(
                f"Detail {detail!r} was not kept (this run has {self.run.get('detail')!r}); "
                f"measure with detail={detail!r}."
            )
        return array

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
