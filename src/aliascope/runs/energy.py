"""From energies to aliased energy: per sample, channel, site and rate, with its intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from aliascope.runs.arrays import Array
from aliascope.runs.fractions import contributions, half_interval
from aliascope.runs.sites import times
from aliascope.runs.tables import Tables
from aliascope.runs.values import CHANNEL_SUMS, DRAWN

ENERGY = "aliased_energy"
"""Column of the values, and of every table of aliased energy."""

INTERVAL = [f"{ENERGY}_low", f"{ENERGY}_high"]

OF_SITES = [ENERGY, *INTERVAL, "edge_low", "edge_high", "white"]
"""Columns that sites and rates have."""

FEWEST_KEPT = 7
"""Kept samples of an axis below which aliased energy is known only roughly."""


def white_energy(size: Sequence[int], rate: Sequence[int]) -> float:
    """Aliased energy that white noise of a size and rate has on average.

    Of the coefficients of each axis W are within, the one on the cut counted half; the constant one
    is left out: 1 - (Π W - 1) / (Π N - 1).

    Parameters
    ----------
    size, rate : sequence of int
        Samples and decimation rate, per spatial axis.

    Returns
    -------
    float
        NaN where it is not defined: at a size of one, or of r or fewer samples on an axis of
        rate r > 1.

    Examples
    --------
    >>> round(white_energy((32, 32), (2, 2)), 3), white_energy((8,), (1,))
    (0.735, 0.0)
    """
    undefined = any(r > 1 and n <= r for n, r in zip(size, rate, strict=True))
    if undefined or math.prod(size) <= 1:
        return math.nan
    within = (
        -(-n // r) + (0.5 if r > 1 and n % r == 0 else 0.0) for n, r in zip(size, rate, strict=True)
    )
    return 1 - (math.prod(within) - 1) / (math.prod(size) - 1)


def fewest_kept(size: Sequence[int], rate: Sequence[int]) -> int:
    """Count the samples kept of the axis of which fewest are, among those of rate > 1.

    Examples
    --------
    >>> fewest_kept((13, 8), (2, 1)), fewest_kept((13, 9), (2, 2))
    (7, 5)
    """
    kept = [-(-n // r) for n, r in zip(size, rate, strict=True) if r > 1]
    return min(kept) if kept else min(size)


def channel_sums(tables: Tables) -> pd.DataFrame | None:
    """Add up the energies of each channel over the parts of a run.

    Parameters
    ----------
    tables : Tables
        Of the run.

    Returns
    -------
    DataFrame or None
        Index site (its row in the sites) and channel; columns :data:`CHANNEL_SUMS`, and
        :data:`DRAWN` where channels were drawn. None where they were not kept.
    """
    found = []
    for part, numbers in tables.parts:
        sums = part.channels()
        if sums is not None:
            sums = sums[sums["site"].isin(list(numbers))]
            found.append(sums.assign(site=sums["site"].map(numbers).astype("int64")))
    if not found:
        return None
    table = pd.concat(found, ignore_index=True)
    columns = CHANNEL_SUMS
    if DRAWN in table:
        columns = [*CHANNEL_SUMS, DRAWN]
        table[DRAWN] = table[DRAWN].fillna(table["varying"])  # of a site of few channels: all
    return table.groupby(["site", "channel"])[columns].sum()


def shares(sums: pd.DataFrame) -> pd.DataFrame:
    """Divide each channel's energies beyond by its varying energy; NaN where nothing varies.

    Where channels were drawn, what lies beyond is known of some samples only, and is divided by the
    share of all channels' varying energy that was drawn as well: the mean over channels is then
    that of all, without bias but for a term that falls with the number of draws (Hájek, 1971),
    while a channel's own share means nothing.

    Returns
    -------
    DataFrame
        Index that of the sums; columns aliased_energy, edge_low, edge_high.

    Examples
    --------
    >>> sums = {"varying": [4.0], "beyond": [1.0], "beyond_low": [0.5], "beyond_high": [2.0]}
    >>> shares(pd.DataFrame(sums)).to_dict("list")
    {'aliased_energy': [0.25], 'edge_low': [0.125], 'edge_high': [0.5]}
    """
    varying = sums["varying"].where(sums["varying"] > 0)
    beyond = sums[CHANNEL_SUMS[1:]].div(varying, axis=0)
    if DRAWN in sums:
        drawn = sums[DRAWN] / varying
        beyond = beyond.div(drawn.groupby("site").transform("mean"), axis=0)
    else:
        beyond = beyond.clip(0, 1)
    return beyond.set_axis([ENERGY, "edge_low", "edge_high"], axis=1)


def site_energies(sites: pd.DataFrame, each: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the aliased energy of sites.

    Parameters
    ----------
    sites : DataFrame
        Of the run: those rows that are asked for.
    each : DataFrame
        Columns sample, site (its row) and aliased_energy, NaN where it is not defined.
    sums : DataFrame
        Of :func:`channel_sums`.

    Returns
    -------
    DataFrame
        Index site (its name); columns :data:`OF_SITES` and kept.
    """
    means = shares(sums).groupby("site").mean().clip(0, 1)
    rows = {}
    for row in sites.index:
        site = sites.loc[row]
        size, rate = site["dense_shape"][1:], site["rate"]
        value, *edge = means.loc[row] if row in means.index else [math.nan] * 3
        ratios = each.loc[each["site"] == row, ENERGY].dropna().to_numpy()
        rows[site["name"]] = (
            *(value, *around(value, ratios), *edge),
            *(white_energy(size, rate), fewest_kept(size, rate)),
        )
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*OF_SITES, "kept"])
    table.index.name = "site"
    return table


def drawn_contributions(tables: Tables, each: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Find what each sample adds to the aliased energy of sites whose channels were drawn.

    By linearisation: the value of the site, and by how much what lies beyond in the sample's drawn
    channels exceeds that share of what varies in them, each channel relative to its energy.

    Parameters
    ----------
    tables : Tables
        Of the run.
    each : DataFrame
        Columns sample, site (its row) and aliased_energy.
    sums : DataFrame
        Of :func:`channel_sums`.

    Returns
    -------
    DataFrame
        As `each`; unchanged where all channels were measured.
    """
    if DRAWN not in sums:
        return each
    values = shares(sums).groupby("site")[ENERGY].mean()
    found = []
    for part, numbers in tables.parts:
        numbered = part.samples()["sample"].to_numpy()
        for place, row in numbers.items():
            kept = part.array("drawn", place)
            if kept is not None and row in values.index:
                array = np.asarray(kept)  # which reads it
                exceeds = _exceeding(array, sums.loc[[row]].droplevel("site"), values[row])
                varies = (array[..., 1] > 0).any(axis=1)
                table = {"sample": numbered, "site": row, "exceeds": exceeds, "varies": varies}
                found.append(pd.DataFrame(table))
    if not found:
        return each
    drawn = pd.concat(found, ignore_index=True)
    drawn["varying"] = drawn.groupby("site")["varies"].transform("sum")
    both = each.merge(drawn, how="left", on=["sample", "site"])
    samples = both.groupby("site")["sample"].transform("nunique")
    linear = both["site"].map(values) + samples * both["exceeds"]
    linear = linear.where(both["varying"] >= 2)  # a single sample tells nothing of a spread
    return both.assign(**{ENERGY: linear.where(both["varying"].notna(), both[ENERGY])})


def _exceeding(drawn: Array, sums: pd.DataFrame, value: float) -> Array:
    """Sum what exceeds a share in drawn channels, (samples, count, 3): (samples,)."""
    varying = sums["varying"].where(sums["varying"] > 0)
    share = float((sums[DRAWN] / varying).sum())
    if not share > 0:
        return np.full(len(drawn), math.nan)
    weights = varying.reindex(drawn[..., 0].astype(int).ravel()).to_numpy()
    exceeding = (drawn[..., 2] - value * drawn[..., 1]) / weights.reshape(drawn.shape[:2])
    return np.asarray(np.nansum(exceeding, axis=1) / share)


def rates_of(sites: pd.DataFrame) -> dict[tuple[int, ...], list[int]]:
    """Group sites by rate, that of most sites first, then that which ran first.

    Examples
    --------
    >>> rates_of(pd.DataFrame({"rate": [(4, 4), (2, 2), (2, 2)]}))
    {(2, 2): [1, 2], (4, 4): [0]}
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, rate in zip(sites.index.tolist(), sites["rate"], strict=True):
        groups.setdefault(tuple(rate), []).append(row)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def rate_energies(sites: pd.DataFrame, each: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the aliased energy of each rate: the unweighted mean over its sites.

    Parameters
    ----------
    sites, each, sums
        As for :func:`site_energies`.

    Returns
    -------
    DataFrame
        Index rate, as in 2×2, that of most sites first; columns :data:`OF_SITES` and sites: how
        many there are of that rate at which it is defined.
    """
    known = site_energies(sites, each, sums).set_index(sites.index)
    rows = {}
    for rate, members in rates_of(sites).items():
        of_rate = known.loc[members]
        defined = of_rate[of_rate[ENERGY].notna()]
        value = float(defined[ENERGY].mean())
        ratios = each[each["site"].isin(defined.index)].dropna(subset=[ENERGY])
        per_sample = contributions(ratios, [ENERGY])[ENERGY].to_numpy()
        means = defined[OF_SITES[3:]].mean()
        rows[times(rate)] = (value, *around(value, per_sample), *means, len(defined))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*OF_SITES, "sites"])
    table.index.name = "rate"
    return table


def around(value: float, ratios: Array) -> tuple[float, float]:
    """Give the 95 % interval around a value by the spread of its samples, kept within [0, 1].

    Examples
    --------
    >>> low, high = around(0.5, np.array([0.4, 0.5, 0.6]))
    >>> round(low, 2), round(high, 2), around(0.5, np.array([0.4]))
    (0.25, 0.75, (nan, nan))
    """
    (half,) = half_interval(ratios[:, None])
    low, high = np.clip([value - half, value + half], 0.0, 1.0)
    return float(low), float(high)
