"""Made ablations, and made shift consistency, for the tests of what is drawn of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import TABLE
from aliascope.runs.conditions import CLEAN
from aliascope.runs.consistency import Consistency
from aliascope.runs.store import Store
from energy_runs import described

N = 40
"""Images of a made run."""

STAGE = "layer2.0.conv1 + layer2.0.downsample.0"

FELL = {"remove": 16, "restore": 14, "gain": 2, "swap-within": 1, "swap-between": 30, "low": 20}
"""Of how many of the N images the class is no longer told, at the first stage."""

SITES = {
    "layer2.0.conv1": (2, 2),
    "layer2.0.downsample.0": (2, 2),
    "head.patch": (4, 4),
}


def made_ablation(
    store=None, *, score="top1", doses=(1.0,), sites=SITES, fell=FELL, number=0, condition=CLEAN
):
    """Write a run in which interventions lose the class of so many images, in turn from the first.

    At the stage as in ``fell``, at the head of none, at all together as at the stage. A smaller
    dose loses in proportion.
    """
    store = store or Store.temporary()
    if not store.has_run():
        options = {"interventions": list(fell), "dose": list(doses), "seed": 3}
        store.write_run({"status": "complete", "detail": "site", "options": options})
    stage = STAGE if STAGE.split(" + ")[0] in sites else next(iter(sites))
    head = [name for name in sites if name not in stage]
    rows = []
    for target in ("", stage, *head, "all"):
        for name in fell if target else ("clean",):
            for dose in doses if target else (0.0,):
                lost = 0 if target in ("", *head) else round(dose * fell[name])
                right = (np.arange(N) >= lost).astype(float)
                row = {"sample": np.arange(N), "sites": target, "intervention": name, "dose": dose}
                row |= {"energy_taken": 0.25, "energy_changed": 0.25, "output_change": 1 - right}
                if score:
                    row |= {"agreement": right, "kl": 1 - right, "logp_change": right - 1}
                    row["follows"] = np.nan
                if score == "top1":
                    row["top1"] = right
                rows.append(pd.DataFrame(row))
    samples = pd.DataFrame({"sample": range(N)})
    shares = {name: 0.2 + 0.1 * k for k, name in enumerate(sites)}
    around = np.linspace(-0.05, 0.05, N)
    energy = [
        {"sample": i, "site": k, "aliased_energy": value + around[i]}
        for k, value in enumerate(shares.values())
        for i in range(N)
    ]
    channels = [
        {"site": k, "channel": 0, "varying": 10.0, "beyond": 10 * value}
        | {"beyond_low": 9 * value, "beyond_high": 12 * value}
        for k, value in enumerate(shares.values())
    ]
    store.begin(number).commit(
        samples,
        pd.DataFrame(energy),
        [described(name, rate, (1, 32, 32)) for name, rate in sites.items()],
        condition=condition,
        channels=pd.DataFrame(channels),
        more={TABLE: pd.concat(rows, ignore_index=True)},
    )
    return Ablation(store, condition)


def moved(n=12):
    """Shift consistency of n images: half of them agree when moved to the right."""
    pairs = [(i, dy, dx) for i in range(n) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    table = pd.DataFrame(pairs, columns=["sample", "dy", "dx"])
    table["agree"] = [float(dx != 1 or i % 2) for i, _, dx in pairs]
    return Consistency(table.assign(change=0.25), {"seed": 1})
