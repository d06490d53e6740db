"""Made runs with every kind of value: energy, categories, floor, thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.runs.conditions import CLEAN
from aliascope.runs.store import Store

LEVELS = tuple(range(10, 61, 5))

SITES = {
    "stem.conv": ((2, 2), (6, 32, 32)),
    "layer2.0.conv1": ((2, 2), (4, 28, 28)),
    "layer3.0.conv1": ((2, 2), (4, 13, 13)),
    "layer3.0.downsample.0": ((2, 2), (3, 9, 9)),
    "head.patch": ((4, 4), (5, 32, 32)),
}
"""Rate and dense shape, by path."""

GROUPS = ("energy", "categories", "floor", "thresholds")

RUN = {
    "detail": "site",
    "status": "complete",
    "measures": ["energy", "categories", "floor"],
    "model": {"name": "made:net", "weights": "none"},
    "data": {"name": "noise"},
    "criterion": {
        **{"threshold_db": 20.0, "reference": "max"},
        **{"grid": "auto", "fold_scale": "auto"},
    },
}


def described(path, rate=(2, 2), dense_shape=(1, 8, 8), **changes):
    return {
        **{"path": path, "number": 1, "op": "conv", "rate": rate, "dense_shape": dense_shape},
        **{"grid": "seed", "supported": True, "reason": "", "recomposition_error": 0.0},
        **changes,
    }


def counts_of(rng, n, bins=1000):
    """Counts of the four categories of n samples, (n, 4)."""
    return rng.multinomial(bins, rng.dirichlet((3, 4, 1, 2), size=n).mean(axis=0), size=n)


def energy_run(
    store=None, *, groups=GROUPS, n=6, floor_samples=3, sites=SITES, parts=2, condition=CLEAN, **run
):
    """Write a run of some kinds of values, and give its store and tables.

    Each part has n samples; of them the first part's first ``floor_samples`` have a floor.
    """
    rng = np.random.default_rng(len(condition.name))
    store = store or Store.temporary()
    if not store.has_run():
        store.write_run({**RUN, **run})
    tables = []
    for number in range(parts):
        numbers = np.arange(number * n, (number + 1) * n)
        values, channels = [], []
        for site, (_, shape) in enumerate(sites.values()):
            table = pd.DataFrame({"sample": numbers, "site": site})
            if "energy" in groups:
                at = min(0.9, 0.1 + 0.1 * site)
                table["aliased_energy"] = np.clip(rng.normal(at, 0.04, n), 0, 1)
                varying = rng.uniform(1, 9, shape[0])
                share = np.clip(rng.normal(at, 0.02, shape[0]), 0.01, 1)
                beyond = {"beyond": 1.0, "beyond_low": 0.9, "beyond_high": 1.15}
                sums = {key: varying * share * factor for key, factor in beyond.items()}
                channels.append(
                    pd.DataFrame(
                        {"site": site, "channel": range(shape[0]), "varying": varying} | sums
                    )
                )
            if "categories" in groups:
                table[COLUMNS] = counts_of(rng, n)
            if "floor" in groups:
                floor = np.full((n, 4), np.nan)
                if number == 0:
                    leak = min(0.6, 0.02 + 0.09 * site)
                    shares = (0.3, 0.7 - leak, 0.3 * leak, 0.7 * leak)
                    floor[:floor_samples] = rng.multinomial(
                        1000, shares, size=min(n, floor_samples)
                    )
                table[[f"floor_{column}" for column in COLUMNS]] = floor
            if "thresholds" in groups:
                for level in LEVELS:
                    tangled = 0.9 / (1 + np.exp((32 - 3 * site - level) / 7))
                    shares = (
                        0.6 * (1 - tangled),
                        0.35 * (1 - tangled),
                        0.05 * (1 - tangled),
                        tangled,
                    )
                    names = [f"{column}_{level}db" for column in COLUMNS]
                    table[names] = rng.multinomial(1000, shares, size=n)
            values.append(table)
        samples = pd.DataFrame({"sample": numbers, "label": numbers % 2, "prediction": 0})
        samples["top1"] = samples["label"] == 0
        writer = store.begin(len(store.part_numbers()))
        writer.commit(
            samples,
            pd.concat(values, ignore_index=True),
            [described(path, *about) for path, about in sites.items()],
            condition=condition,
            channels=pd.concat(channels, ignore_index=True) if channels else None,
        )
        tables.append((values, channels))
    return store, tables
