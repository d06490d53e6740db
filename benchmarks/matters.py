"""Does it matter? The tables of docs/does-it-matter.md, from runs of ``aliascope ablate``.

    python -m benchmarks.matters RUN ... [--plain RUN ...] [--correlations]

Each run is a folder of ``aliascope ablate``, with ``--measures energy,categories,floor`` where the
measures are to be compared.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import pandas as pd
from scipy import stats

from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, members

RESAMPLES = 4000


def effects(ablation: Ablation) -> str:
    """Tabulate every intervention by stage, as Markdown."""
    table, verdicts = ablation.table(), ablation.verdicts()
    energy = ablation.energy()
    lines = [
        "| stage | aliased energy, % | intervention | energy taken, % | accuracy, % | "
        "change, points | versus gain, points | KL, nats | follows donor, % | verdict |",
        "|---|---:|---|---:|---:|---|---|---:|---:|---|",
    ]
    for sites in ablation.targets:
        for place, (name, row) in enumerate(table.loc[sites].iterrows()):
            head = ["", "", str(name)]
            if place == 0:
                names = "all" if sites == ALL else ", ".join(f"`{m}`" for m in members(sites))
                head = [names, f"{100 * energy[sites]:.1f}", str(name)]
            cells = [
                *head,
                percent(row["energy_taken"]),
                percent(row["accuracy"]),
                interval(row, "accuracy_change"),
                interval(row, "versus_gain"),
                f"{row['kl']:.3g}",
                percent(row["follows"]),
                f"**{verdicts[sites]}**" if place == 0 else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(share: float) -> str:
    """Write a share in percent; nothing for none."""
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def interval(row: pd.Series, name: str) -> str:
    """Write a change in points, with its interval."""
    if math.isnan(row[name]):
        return ""
    low, high = (100 * row[f"{name}_{end}"] for end in ("low", "high"))
    return f"{100 * row[name]:+.1f} [{low:+.1f}, {high:+.1f}]"


def measures(ablation: Ablation) -> pd.DataFrame:
    """Give, of each stage, what is measured there and what removing does."""
    measurement = ablation.measurement
    by_site = measurement.table()
    table = ablation.table()
    rows = {}
    for sites in ablation.targets:
        if sites == ALL:
            continue
        site = by_site.loc[members(sites)]
        row = {"aliased energy": site["aliased_energy"].mean()}
        if "aliased" in site:
            row["aliased + tangled"] = (site["aliased"] + site["tangled"]).mean()
        if "floor_aliased" in site:
            floor = (site["floor_aliased"] + site["floor_tangled"]).mean()
            row["floor"] = floor
            row["above floor"] = row["aliased + tangled"] - floor
        removed = table.loc[(sites, "remove")]
        row |= {"KL": removed["kl"], "lost agreement": 1 - removed["agreement"]}
        rows[f"{measurement.run['model']['name']}: {sites}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def correlations(table: pd.DataFrame, effect: str = "KL", seed: int = 0) -> str:
    """Rank each measure against the effect of removing, with an interval over stages."""
    rng = np.random.default_rng(seed)
    lines = [
        f"| measure | Spearman's ρ with {effect}, {len(table)} stages | 95 % interval |",
        "|---|---:|---|",
    ]
    for measure in table.columns.drop(["KL", "lost agreement"]):
        pairs = table[[measure, effect]].dropna()
        rho = stats.spearmanr(pairs[measure], pairs[effect]).statistic
        drawn = []
        for _ in range(RESAMPLES):
            some = pairs.iloc[rng.integers(0, len(pairs), len(pairs))]
            drawn.append(stats.spearmanr(some[measure], some[effect]).statistic)
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        lines.append(f"| {measure} | {rho:+.2f} | {low:+.2f} to {high:+.2f} |")
    return "\n".join(lines)


def by_frequency(ablation: Ablation, frequencies: int = 20) -> str:
    """Accuracy of oscillations by how many of a class's frequencies lie beyond half the Nyquist's.

    What lies beyond one half before the first decimation aliases there; between a quarter and one
    half it aliases at the second.
    """
    labels = ablation.measurement.samples.set_index("sample")["label"]
    across, down = labels // frequencies / frequencies, labels % frequencies / frequencies
    highest = np.maximum(across, down)
    group = pd.cut(highest, [-1, 0.2499, 0.4999, 1], labels=["below 1/4", "1/4 to 1/2", "1/2 up"])
    lines = [
        "| stage | intervention | below 1/4 | 1/4 to 1/2 | 1/2 and above |",
        "|---|---|---:|---:|---:|",
    ]
    shown = [("", "clean"), *((s, i) for s in ablation.targets for i in ablation.interventions)]
    for sites, name in shown:
        right = ablation.values(sites, name, "top1").groupby(group, observed=False).mean()
        cells = [f"{100 * value:.1f}" for value in right]
        lines.append(f"| {sites or 'unchanged'} | {name} | {' | '.join(cells)} |")
    counts = group.value_counts(sort=False)
    lines.append(f"| images | | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of the runs given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--correlations", action="store_true", help="over the stages of all runs")
    parser.add_argument("--frequencies", action="store_true", help="of oscillations, by class")
    arguments = parser.parse_args()
    found = [Ablation.load(run) for run in arguments.runs]
    if arguments.correlations:
        table = pd.concat([measures(each) for each in found])
        print(table.round(3).to_string(), end="\n\n")
        for effect in ("KL", "lost agreement"):
            print(correlations(table, effect), end="\n\n")
        return
    for each in found:
        model = each.measurement.run["model"]["name"]
        clean = each.clean()
        print(f"## {model}, {clean['n']:.0f} images, top-1 {100 * clean['accuracy']:.1f} %\n")
        print(by_frequency(each) if arguments.frequencies else effects(each), end="\n\n")


if __name__ == "__main__":
    main()
