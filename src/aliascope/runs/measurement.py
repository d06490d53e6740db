"""The result: tables, fractions and intervals, read from a run directory. No torch, no drawing."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.runs import energy, kept, shown
from aliascope.runs.accuracy import accuracy_of
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN, Condition, find, ordered
from aliascope.runs.description import CriterionOfRun, channels_of, conditions_of, criterion_of
from aliascope.runs.drawing import OF_MEASUREMENTS, Plots
from aliascope.runs.floor import FLOOR, at_level, levels_of, measured_fractions
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
from aliascope.runs.values import DRAWN, KEY


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

    @property
    def channels(self) -> int | None:
        """How many channels were drawn for each sample and site; None where all were measured."""
        return channels_of(self.run)

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

    @property
    def measures(self) -> tuple[str, ...]:
        """What there are values of, among energy, categories, floor and thresholds."""
        values = self.values
        there = {
            "energy": energy.ENERGY in values and self._channel_sums is not None,
            "categories": set(COLUMNS) <= set(values),
            "floor": set(FLOOR) <= set(values) and bool(values[FLOOR].notna().all(axis=1).any()),
            "thresholds": any(
                bool(values[at_level(level)].notna().all(axis=1).any())
                for level in levels_of(values.columns)
            ),
        }
        return tuple(name for name, is_there in there.items() if is_there and len(values))

    # -- energy ------------------------------------------------------------------------------

    def energy(self, by: str = "site", *, site: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Share of the varying energy that lies beyond the new Nyquist rate.

        Parameters
        ----------
        by : {"site", "sample", "channel", "overall"}
            One row per channel of each site (ratio of sums over samples), per site (mean over its
            channels), per sample (of each site the mean over channels of that sample's ratios; of
            these the mean over the sites of the rate that most sites have), or per rate: the
            unweighted mean over its sites, the rate that most sites have first.
        site : str or sequence of str, optional
            Name of a site, or of several, to have the energy of these alone.

        Returns
        -------
        DataFrame
            Column aliased_energy, in [0, 1]; NaN where it is not defined, which is left out of
            means. By site and overall also aliased_energy_low and aliased_energy_high (95 %
            confidence interval: Student's t from the spread over samples, kept within [0, 1]; NaN
            for a single sample), edge_low and edge_high (with the cut one coefficient higher, and
            lower), and white (what white noise of that size and rate has). By site kept, the
            fewest samples an axis keeps: below 7 the rest is known only roughly. Overall sites,
            how many have the rate.

        Raises
        ------
        AliascopeError
            If ``by`` or ``site`` is unknown, or energy was not measured.

        Examples
        --------
        >>> store = Store.temporary()
        >>> store.write_run({})
        >>> site = {"path": "pool", "number": 1, "op": "avg_pool", "rate": (2, 2), "grid": "seed"}
        >>> site |= {"dense_shape": (1, 16, 16), "supported": True, "reason": ""}
        >>> values = {"sample": [0, 1], "site": [0, 0], "aliased_energy": [0.2, 0.4]}
        >>> channels = {"site": [0], "channel": [0], "varying": [8.0], "beyond": [2.0]}
        >>> channels |= {"beyond_low": [1.0], "beyond_high": [4.0]}
        >>> store.begin(0).commit(
        ...     pd.DataFrame({"sample": [0, 1]}), pd.DataFrame(values),
        ...     [{**site, "recomposition_error": 0.0}], channels=pd.DataFrame(channels)
        ... )
        >>> Measurement(store).energy()[["aliased_energy", "edge_low", "edge_high", "kept"]]
              aliased_energy  edge_low  edge_high  kept
        site
        pool            0.25     0.125        0.5     8
        """
        check_known("by", by, ("site", "sample", "channel", "overall"))
        names = [site] if isinstance(site, str) else site
        rows = None if names is None else [self._row(name) for name in names]
        each = self._measured([energy.ENERGY], "Energy was", "energy")
        sums = self._channel_sums
        if sums is None:
            raise AliascopeError(
                "Energy was not summed by channel in this run; measure it again with the measure "
                "'energy'."
            )
        sites = self.sites[self.sites["supported"].astype(bool)]
        if rows is not None:
            sites = sites.loc[rows]
        each = each[each["site"].isin(sites.index)]
        if by in ("site", "overall"):
            each = energy.drawn_contributions(self._tables, each, sums)
        if by == "channel" and DRAWN in sums:
            raise AliascopeError(
                f"{self.channels} channels were drawn for each sample in this run, too few to know "
                "each; measure all channels, without --channels."
            )
        if by == "site":
            return energy.site_energies(sites, each, sums)
        if by == "overall":
            return energy.rate_energies(sites, each, sums)
        if by == "sample":
            members = next(iter(energy.rates_of(sites).values()), [])
            of_rate = each[each["site"].isin(members)]
            return of_rate.groupby("sample")[[energy.ENERGY]].mean()
        table = energy.shares(sums)[[energy.ENERGY]].reset_index()
        table = table[table["site"].isin(sites.index)]
        table["site"] = table["site"].map(self.sites["name"])
        table = table.set_index(["site", "channel"])
        return pd.DataFrame(table.loc[site]) if isinstance(site, str) else table

    def floor(self, by: str = "site", *, accounting: str = "exact") -> pd.DataFrame:
        """Fractions of bins in each category when the low part alone is measured.

        In the low part nothing aliases: what is aliased or tangled in it is leakage of the measure,
        which grows as maps become small.

        Parameters
        ----------
        by : {"site", "overall"}
            One row per site (mean over the samples it was measured on), or the unweighted mean over
            sites.
        accounting : {"exact", "published"}
            See :meth:`fractions`.

        Returns
        -------
        DataFrame
            Columns no_pass, non_aliased, aliased, tangled, in [0, 1], and n: on how many samples.

        Raises
        ------
        AliascopeError
            If an option is unknown, or the floor was not measured.

        Examples
        --------
        >>> store = Store.temporary()
        >>> store.write_run({})
        >>> Measurement(store).floor()
        Traceback (most recent call last):
        aliascope.errors.AliascopeError: The floor was not measured in this run; measure with ...
        """
        check_known("by", by, ("site", "overall"))
        check_accounting(accounting)
        self._measured(FLOOR, "The floor was", "floor")
        if "floor" not in self.measures:
            raise AliascopeError(
                "The floor was measured on no sample of this run; measure with floor_samples of 1 "
                "or more."
            )
        each = measured_fractions(self.values, FLOOR, accounting)
        return self._by_site_or_overall(each, by)

    def thresholds(self, by: str = "site", *, accounting: str = "exact") -> pd.DataFrame:
        """Fractions of bins in each category at other thresholds than the run's own.

        Parameters
        ----------
        by : {"site", "overall"}
            One row per threshold and site (mean over samples), or per threshold: the unweighted
            mean over sites.
        accounting : {"exact", "published"}
            See :meth:`fractions`.

        Returns
        -------
        DataFrame
            Index site and threshold_db, or threshold_db alone: decibels below the reference.
            Columns no_pass, non_aliased, aliased, tangled, in [0, 1], and ``n``: of how many
            samples.

        Raises
        ------
        AliascopeError
            If an option is unknown, or other thresholds were not measured.

        Examples
        --------
        >>> store = Store.temporary()
        >>> store.write_run({})
        >>> Measurement(store).thresholds()
        Traceback (most recent call last):
        aliascope.errors.AliascopeError: Other thresholds were not measured in this run; measure ...
        """
        check_known("by", by, ("site", "overall"))
        check_accounting(accounting)
        levels = levels_of(self.values.columns)
        if "thresholds" not in self.measures:
            levels = []
        self._measured(at_level(levels[0] if levels else 0), "Other thresholds were", "thresholds")
        tables = {}
        for level in levels:
            each = measured_fractions(self.values, at_level(level), accounting)
            tables[level] = self._by_site_or_overall(each, by)
        table = pd.concat(tables, names=["threshold_db"])
        if by == "overall":
            return table.droplevel(1)
        order = list(dict.fromkeys(table.index.get_level_values("site")))
        return table.swaplevel().reindex(order, level="site")

    def _by_site_or_overall(self, each: pd.DataFrame, by: str) -> pd.DataFrame:
        """Average fractions over samples, and over sites where asked; say over how many samples."""
        means, n = self._site_means(each), each.groupby("site")["sample"].nunique()
        if by == "site":
            return self._named(means.assign(n=n.reindex(means.index).fillna(0).astype("int64")))
        overall = means.mean().to_frame().T.assign(n=each["sample"].nunique())
        return overall.set_axis(["overall"])

    @cached_property
    def _channel_sums(self) -> pd.DataFrame | None:
        return energy.channel_sums(self._tables)

    def _measured(self, columns: list[str], what: str, measure: str) -> pd.DataFrame:
        """Give columns of the values, or say what to do where they were not measured."""
        if not set(columns) <= set(self.values):
            raise AliascopeError(
                f"{what} not measured in this run; measure with {measure!r} among its measures."
            )
        return self.values[[*KEY, *columns]]

    def _site_means(self, each: pd.DataFrame) -> pd.DataFrame:
        """Average over samples; one row per supported site, NaN where there are none."""
        supported = self.sites.index[self.sites["supported"].astype(bool)]
        return each.groupby("site")[COLUMNS].mean().reindex(supported)

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        """Give rows that are known by their site's row its name."""
        return table.set_axis(pd.Index(self.sites["name"].loc[table.index], name="site"))

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

    # -- shown -------------------------------------------------------------------------------

    def table(self, *, accounting: str = "exact") -> pd.DataFrame:
        """All numbers of the sites beside each other, as ``aliascope show --csv`` gives them.

        Parameters
        ----------
        accounting : {"exact", "published"}
            See :meth:`fractions`.

        Returns
        -------
        DataFrame
            Index site, in the order in which they run; columns op, rate, dense_shape, grid, and as
            far as they were measured those of :meth:`energy`, of :meth:`fractions`, and of
            :meth:`floor` as ``floor_*``.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> m.table()[["op", "rate", "dense_shape"]].loc["(root)"].tolist()
        ['avg_pool', '2×2', '3×15×15']
        """
        return shown.table_of(self, accounting)

    def to_json(self, *, accounting: str = "exact") -> str:
        """Write all that is shown of the run as JSON: no NaN (null instead), no names of classes.

        Parameters
        ----------
        accounting : {"exact", "published"}
            See :meth:`fractions`.

        Returns
        -------
        str
            An object: condition, images, accounting, settings, accuracy, sites (each with energy,
            its interval, edge, white, fractions with their intervals, floor, thresholds), energy
            (by rate), fractions, floor and thresholds of the model, and the other conditions.

        Examples
        --------
        >>> import json, torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> json.loads(m.to_json())["images"]
        2
        """
        return shown.json_of(self, accounting)

    @property
    def plot(self) -> Plots:
        """Figures of the run: ``m.plot.energy()`` gives that of :func:`aliascope.figures.energy`.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> type(m.plot.energy()).__name__
        'Figure'
        """
        return Plots(self, OF_MEASUREMENTS)

    def report(self, path: str | os.PathLike[str], **settings: Any) -> Path:
        """Write the run as one web page that works offline.

        Parameters
        ----------
        path : path
            HTML file to write.
        **settings
            As for :func:`aliascope.report.write_page`: accounting, colours, max_samples.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        AliascopeError
            If it cannot be written.

        Examples
        --------
        >>> import tempfile, torch, aliascope as al
        >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     m.report(folder + "/page.html").suffix
        '.html'
        """
        page: Path = importlib.import_module("aliascope.report").write_page(self, path, **settings)
        return page

    def __repr__(self) -> str:
        return shown.text_of(self)

    def _repr_html_(self) -> str:
        return shown.html_of(self)

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
    aliascope.errors.AliascopeError: no/such/folder holds no run...
    """
    return Measurement(Store.existing(folder))
