"""What is read off a run beside the fractions: groups of images compared, curves over epsilon."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.runs.accuracy import ACCURACIES
from aliascope.runs.conditions import Condition
from aliascope.runs.measurement import Measurement

GROUPS = ("correct", "incorrect")

FEWEST_TESTED = 3
"""Images of a group from which groups are tested: one or two cannot speak for a group, and a p
value would be taken for a finding."""


def comparison(
    measurement: Measurement, *, site: str | None = None, accounting: str = "exact"
) -> pd.DataFrame:
    """Compare correctly and incorrectly classified images, category by category.

    Parameters
    ----------
    measurement, site, accounting
        As for :func:`aliascope.figures.boxes`.

    Returns
    -------
    DataFrame
        One row per category: n_correct, n_incorrect, median_correct, median_incorrect (fractions),
        U (Mann-Whitney's, of the incorrect images) with its two-sided p, not corrected for there
        being four, and rank_biserial: the correlation 2 U / (n_correct n_incorrect) - 1, in
        [-1, 1], positive where incorrectly classified images tend to have more. NaN where a group
        has fewer than 3 images; the median of an empty group is NaN.

    Raises
    ------
    AliascopeError
        If there are no labels, or a site or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=2), torch.nn.Flatten())
    >>> table = comparison(al.measure(model, [(torch.rand(9, 3, 8, 8), torch.arange(9))]))
    >>> int((table["n_correct"] + table["n_incorrect"]).iloc[0])
    9
    """
    from scipy import stats

    fractions = per_image(measurement, site, accounting)
    rows = {}
    for name in COLUMNS:
        right, wrong = (
            fractions.loc[fractions["group"] == group, name].to_numpy() for group in GROUPS
        )
        u = p = effect = math.nan
        if min(len(right), len(wrong)) >= FEWEST_TESTED:
            test = stats.mannwhitneyu(wrong, right, alternative="two-sided")
            u = float(test.statistic)
            p = 1.0 if math.isnan(test.pvalue) else float(test.pvalue)  # NaN: all are equal
            effect = 2 * u / (len(right) * len(wrong)) - 1
        medians = [float(np.median(group)) if len(group) else math.nan for group in (right, wrong)]
        rows[name] = (len(right), len(wrong), *medians, u, p, effect)
    columns = [*(f"{what}_{group}" for what in ("n", "median") for group in GROUPS), "U", "p"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*columns, "rank_biserial"])
    table.index.name = "category"
    return table


def per_image(measurement: Measurement, site: str | None, accounting: str) -> pd.DataFrame:
    """Fractions of each labelled image, with its group, "correct" or "incorrect".

    Raises
    ------
    AliascopeError
        If there are no labels, or a site or the accounting is unknown.
    """
    if "top1" not in measurement.samples or measurement.samples["top1"].isna().all():
        raise AliascopeError(
            "The run has no labels, so images cannot be told into correct and incorrect; "
            "evaluate on class folders."
        )
    fractions = measurement.fractions(by="sample", accounting=accounting, site=site)
    known = measurement.samples.dropna(subset=["top1"]).set_index("sample")["top1"].astype(bool)
    known = known[known.index.isin(fractions.index)]
    return fractions.loc[known.index].assign(group=np.where(known, *GROUPS))


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Whisker, quartile, median, quartile, whisker of a group of images on the page."""


def quantiles(fractions: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the :data:`QUANTILES` of fractions over images, a column per category."""
    return fractions[COLUMNS].quantile(list(QUANTILES))


BAND = (0.01, 0.99)
"""Quantiles over images of the band about a curve over epsilon."""


def epsilons(measurement: Measurement) -> list[Condition]:
    """List the conditions that images were attacked under, the smallest epsilon first."""
    attacked = [each for each in measurement.conditions if each.get("eps") is not None]
    return sorted(attacked, key=lambda condition: float(condition.get("eps")))


def harmed(measurement: Measurement, accounting: str = "exact") -> dict[str, float]:
    """Quantiles over images of the fraction of bins that are aliased or tangled.

    Parameters
    ----------
    measurement : Measurement
        Under one condition.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    dict
        aliasing (the median), low and high (:data:`BAND`).
    """
    each = measurement.fractions(by="sample", accounting=accounting)
    shares = each[["aliased", "tangled"]].sum(axis=1)
    low, middle, high = (float(shares.quantile(q)) for q in (BAND[0], 0.5, BAND[1]))
    return {"aliasing": middle, "low": low, "high": high}


def over_epsilon(measurement: Measurement, *, accounting: str = "exact") -> pd.DataFrame:
    """Tabulate accuracy and aliasing over epsilon.

    Parameters
    ----------
    measurement, accounting
        As for :func:`aliascope.figures.adversarial`.

    Returns
    -------
    DataFrame
        Index eps, ascending; columns n, top1, top5 (fractions of images; NaN where not known) and
        their 95 % intervals ``*_low``, ``*_high``, aliasing (median over images of aliased +
        tangled), low and high (1st and 99th percentile).

    Raises
    ------
    AliascopeError
        If the run has fewer than two epsilons, or the accounting is unknown.
    """
    conditions = epsilons(measurement)
    if not conditions:
        raise AliascopeError(
            "The run was not attacked, so there is no curve over epsilon to draw; "
            "evaluate with --attack pgd."
        )
    if len(conditions) == 1:
        raise AliascopeError(
            f"The run has only eps {conditions[0].get('eps'):g}, which makes no curve; "
            "evaluate with several, as in --eps 0,0.001,0.01."
        )
    rows = {}
    for condition in conditions:
        at = measurement.at(condition)
        row = {"n": len(at.samples), **harmed(at, accounting)}
        for name, known in at.accuracy().iterrows():
            ends = {f"{name}_{end}": known[end] for end in ("low", "high")}
            row |= {str(name): known["accuracy"], **ends}
        rows[condition.get("eps")] = row
    columns = ["n", *(f"{name}{end}" for name in ACCURACIES for end in ("", "_low", "_high"))]
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table.reindex(columns=[*columns, "aliasing", "low", "high"])
    table.index.name = "eps"
    return table
