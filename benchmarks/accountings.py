"""Both accountings side by side, on the golden category maps and on a run.

Run as ``python -m benchmarks.accountings RUN -o docs/accountings.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import aliascope as al
from aliascope.categories import COLUMNS

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "categories.npz"

INTRODUCTION = """# Exact and published accounting

Two ways to turn the counts n₀ (no pass), n₁ (non-aliased), n₂ (aliased), n₃ (tangled) of one sample
at one site into fractions:

- **exact**: (n₀, n₁, n₂, n₃) / (n₀ + n₁ + n₂ + n₃). Categories partition the bins.
- **published**: (n₀ + n₂, n₁, n₂, n₃) / (n₀ + n₁ + 2 n₂ + n₃). The published code counted aliased
  bins as no pass too, and divided by the sum afterwards.

So published accounting overstates *no pass* and understates the three others, by more the more bins
are aliased. To compare with the paper's figures use `--accounting published`; for everything else
the default.

*formula off by*: largest difference between `Measurement.fractions` and the formula above, computed
apart from the counts. Percentages of bins; made by
"""


def formula(counts: np.ndarray, accounting: str) -> np.ndarray:
    """Mean over samples of the fractions, written out: counts (n, 4) to (4,)."""
    n0, n1, n2, n3 = counts.astype(float).T
    if accounting == "exact":
        fractions = np.stack([n0, n1, n2, n3]) / (n0 + n1 + n2 + n3)
    else:
        fractions = np.stack([n0 + n2, n1, n2, n3]) / (n0 + n1 + 2 * n2 + n3)
    return fractions.mean(axis=1)


def golden_rows() -> list[list[str]]:
    """Fractions of the category maps that the authors' code computed."""
    golden = np.load(GOLDEN)
    rows = []
    for name in sorted({key.split("/")[0] for key in golden}):
        category = golden[f"{name}/category"]
        counts = np.stack([(category == c).sum(axis=(1, 2, 3)) for c in range(4)], axis=1)
        each = [formula(counts, accounting) for accounting in ("exact", "published")]
        rows.append([name, *(f"{100 * a:.2f} → {100 * b:.2f}" for a, b in zip(*each, strict=True))])
    return rows


def run_rows(run: al.Measurement) -> list[list[str]]:
    """Fractions of a run's sites and of the model, with the formula as a check."""
    rows = []
    each = {a: run.fractions("site", a) for a in ("exact", "published")}
    for row, name in enumerate(each["exact"].index):
        counts = run.counts.loc[run.counts["site"] == row, COLUMNS].to_numpy()
        off = max(
            np.abs(formula(counts, accounting) - table.loc[name, COLUMNS].astype(float)).max()
            for accounting, table in each.items()
        )
        rows.append([f"`{name}`", *_pairs(each["exact"].loc[name], each["published"].loc[name])])
        rows[-1].append(f"{off:.0e}")
    overall = [run.fractions("overall", a).iloc[0] for a in ("exact", "published")]
    rows.append(["**mean of sites**", *_pairs(*overall), ""])
    return rows


def _pairs(exact: pd.Series, published: pd.Series) -> list[str]:
    return [f"{100 * exact[c]:.2f} → {100 * published[c]:.2f}" for c in COLUMNS]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", type=Path, help="file to write; printed otherwise", dest="output")
    arguments = parser.parse_args()
    run = al.load(arguments.run)
    model = run.run["model"]["name"]
    words = ["no pass", "non-aliased", "aliased", "tangled"]
    command = (
        f"aliascope evaluate --model {model} --data {run.run['data']['name']} -o RUN\n"
        "python -m benchmarks.accountings RUN -o docs/accountings.md"
    )
    page = (
        f"{INTRODUCTION}\n```bash\n{command}\n```\n\n"
        f"## {model} on {len(run.samples)} images, exact → published\n\n"
        + table(["site", *words, "formula off by"], run_rows(run))
        + "\n## Category maps computed by the authors' code, exact → published\n\n"
        + table(["case", *words], golden_rows())
        + "\nThat `Measurement.fractions` gives these is tested in `tests/test_measurement.py`.\n"
    )
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
