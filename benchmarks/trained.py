"""What training with a filter does: the tables of docs/oscillations.md.

    bash experiments/trained_with_filters.sh
    python -m benchmarks.trained experiments/runs/filters-resnet-d-1

The folder holds, for each filter and seed, ``FILTER-SEED`` (a training), ``FILTER-SEED-energy``,
``-ablation`` and ``-shift``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import aliascope as al
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import members
from aliascope.runs.store import Store
from benchmarks.matters import interval


def trainings(folder: Path) -> list[Path]:
    """Find the trainings that were measured, filter by filter."""
    order = {"none": 0, "blur3": 1, "ideal": 2}
    found = [f for f in folder.iterdir() if (f / "training.json").is_file()]
    found = [f for f in found if Path(f"{f}-shift", "consistency.json").is_file()]
    return sorted(found, key=lambda f: (order.get(f.name.rpartition("-")[0], 9), f.name))


def outcome(run: Path) -> str:
    """Say in a row of a table how a network does, and how much aliases in it."""
    training = json.loads((run / "training.json").read_text())
    shift = json.loads(Path(f"{run}-shift", "consistency.json").read_text())["table"][0]
    measured = al.load(f"{run}-energy")
    energy = 100 * measured.energy(by="site")["aliased_energy"]
    ring = 100 * measured.fractions(by="overall").iloc[0]
    name, _, seed = run.name.rpartition("-")
    worst = f"{100 * shift['worst']:.1f} [{100 * shift['worst_low']:.1f}, "
    cells = [
        name.replace("blur", "blur:"),
        seed,
        f"{100 * training['accuracy']:.2f}",
        f"{100 * training['test_accuracy']:.2f}",
        ", ".join(f"{each:.1f}" for each in energy),
        " / ".join(
            f"{ring[column]:.1f}" for column in ("no_pass", "non_aliased", "aliased", "tangled")
        ),
        f"{100 * shift['consistency']:.1f}",
        f"{worst}{100 * shift['worst_high']:.1f}]",
    ]
    return f"| {' | '.join(cells)} |"


def ablated(run: Path) -> list[str]:
    """Say, a row a stage, what depends on what aliases."""
    ablation = Ablation(Store(Path(f"{run}-ablation")))
    table, verdicts = ablation.table(), ablation.verdicts()
    name, _, seed = run.name.rpartition("-")
    rows = []
    for sites in ablation.targets:
        of = table.loc[sites]
        cells = [
            name.replace("blur", "blur:"),
            seed,
            f"`{members(sites)[0].rpartition('.')[0]}`",
            f"{100 * of.loc['remove', 'energy_taken']:.1f}",
            *(interval(of.loc[each], "accuracy_change") for each in ("remove", "restore", "gain")),
            interval(of.loc["swap-between"], "accuracy_change"),
            interval(of.loc["low"], "accuracy_change"),
            str(verdicts[sites]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    runs = trainings(chosen.folder)
    print(
        "| filter | seed | best validation accuracy, % | fresh images, % | "
        "aliased energy by site, % | ring: no pass / non-aliased / aliased / tangled, % | "
        "consistency, % | worst case, % |\n"
        "|---|---:|---:|---:|---|---|---:|---|"
    )
    for run in runs:
        print(outcome(run))
    print(
        "\n| filter | seed | stage | energy taken, % | remove, points | restore | gain | "
        "swap-between | low | verdict |\n|---|---:|---|---:|---|---|---|---|---|---|"
    )
    for run in runs:
        print("\n".join(ablated(run)))


if __name__ == "__main__":
    main()
