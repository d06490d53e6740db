"""An ablation read back: what changing the dense signals of a stage does, with intervals."""

from __future__ import annotations

import json
import math
import os
from functools import cached_property
from typing import Any

import pandas as pd

from aliascope.errors import AliascopeError
from aliascope.runs.changed import ALL, CLEAN_PASS, TABLE, checked, label_of, members
from aliascope.runs.conditions import Condition
from aliascope.runs.drawing import Plots
from aliascope.runs.measurement import Measurement
from aliascope.runs.paired import NOTHING, Change, holm, mean_change, paired_change, share
from aliascope.runs.store import Store
from aliascope.runs.verdicts import COMPARISONS, Evidence, Verdict, verdict_of

SCORES = ("top1", "agreement")
"""Columns that a score may be: whether the label is right, or the prediction the clean one."""


class Ablation:
    """What an ablation of a model gave.

    Parameters
    ----------
    store : Store
        A run that ``aliascope ablate`` or :func:`aliascope.ablate` wrote.
    condition : str or Condition, optional
        Of a run under attack, which; the first by default.

    Attributes
    ----------
    measurement : Measurement
        Of the passes that nothing changed.
    changed : DataFrame
        One row per sample and pass: sample, sites, intervention (``clean`` where there was none),
        dose, and what came out; see :func:`aliascope.protocols.effects.effects_of`.

    Raises
    ------
    AliascopeError
        If the run is no ablation, or a part is damaged.
    """

    def __init__(self, store: Store, condition: str | Condition | None = None) -> None:
        self.measurement = Measurement(store, condition)
        self.store = store
        self.condition = self.measurement.condition
        tables = _tables(store, self.condition)
        if not tables:
            raise AliascopeError(
                f"{store.folder} holds no ablation; make one with `aliascope ablate`."
            )
        changed = pd.concat(tables, ignore_index=True)
        self._doses = sorted(set(changed.loc[changed["intervention"] != CLEAN_PASS, "dose"]))
        labels = [
            label_of(name, dose, self._doses)
            for name, dose in zip(changed["intervention"], changed["dose"], strict=True)
        ]
        self.changed = changed.assign(label=labels)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Ablation:
        """Open the run in a folder."""
        return cls(Store.existing(folder))

    @classmethod
    def found_in(cls, measurement: Measurement) -> Ablation | None:
        """Give that of a run, under the condition of a measurement; None where it holds none."""
        if not _tables(measurement.store, measurement.condition):
            return None
        return cls(measurement.store, measurement.condition)

    @property
    def conditions(self) -> list[Condition]:
        """Under which there are ablations."""
        return self.measurement.conditions

    def at(self, condition: str | Condition) -> Ablation:
        """Give the ablation under another condition of the run."""
        return Ablation(self.store, condition)

    @property
    def score(self) -> str:
        """What verdicts are read off: "top1", "agreement", or "" where there are no classes."""
        for column in SCORES:
            if column in self.changed and self.changed[column].notna().any():
                return column
        return ""

    @property
    def targets(self) -> list[str]:
        """Names of what was changed: stages, sites, "all"; in the order of the run."""
        return [name for name in dict.fromkeys(self.changed["sites"]) if name]

    @property
    def interventions(self) -> list[str]:
        """Names of the interventions, with doses where there are several."""
        changed = self.changed["intervention"] != CLEAN_PASS
        return list(dict.fromkeys(self.changed.loc[changed, "label"]))

    @property
    def doses(self) -> list[float]:
        """How much was done, ascending."""
        return self._doses

    def values(self, sites: str, intervention: str, column: str) -> pd.Series:
        """Give what samples had in a pass.

        Parameters
        ----------
        sites : str
            Of :attr:`targets`; "" with ``clean``.
        intervention : str
            Of :attr:`interventions`, or ``clean``.
        column : str
            Such as ``top1``.

        Returns
        -------
        Series
            By sample number; empty where there are none.
        """
        table = self._passes.get(("" if intervention == CLEAN_PASS else sites, intervention))
        if table is None or column not in table:
            return pd.Series(dtype="float64")
        return table[column]

    @cached_property
    def _passes(self) -> dict[Any, pd.DataFrame]:
        groups = self.changed.groupby(["sites", "label"], sort=False)
        return {key: table.set_index("sample") for key, table in groups}

    def change(self, sites: str, first: str, second: str, column: str | None = None) -> Change:
        """Compare two passes of the same samples.

        Parameters
        ----------
        sites : str
            Where.
        first, second : str
            Interventions, or ``clean``.
        column : str, optional
            Of what; the :attr:`score` by default.

        Returns
        -------
        Change
            Of second - first.
        """
        column = column or self.score
        before, after = (self.values(sites, name, column) for name in (first, second))
        both = before.index.intersection(after.index)
        if not column or len(both) == 0:
            return NOTHING
        return paired_change(
            before.loc[both].to_numpy(dtype="float64"), after.loc[both].to_numpy(dtype="float64")
        )

    def table(self) -> pd.DataFrame:
        """Tabulate every intervention at every stage.

        Returns
        -------
        DataFrame
            Index sites (names joined by " + ", or "all") and intervention. Columns: dose; n,
            samples; energy_taken (share of the varying energy, mean over channels, sites and
            samples; negative where energy was added, as a share of what there was then) and
            energy_changed (that of the difference). With labels: accuracy,
            accuracy_low, accuracy_high (Wilson), accuracy_change with ``*_low``, ``*_high``
            (Tango's paired interval), p (McNemar's exact) and p_holm (adjusted over stages), and
            versus_gain with ``*_low``, ``*_high``: the paired difference to the control. With class
            scores: agreement with the clean prediction with ``*_low``, ``*_high`` (Wilson; of
            pixels Student's t), follows (share of predictions that are the donor's class), kl
            (nats), logp_change with ``*_low``, ``*_high`` (paired t). Always output_change, the
            mean relative change of the output. NaN where it does not apply. All intervals 95 %.
        """
        rows = {}
        for sites in self.targets:
            for label in self.interventions:
                if (sites, label) in self._passes:
                    rows[sites, label] = self._row(sites, label)
        table = pd.DataFrame(list(rows.values()), columns=COLUMNS)
        table.index = pd.MultiIndex.from_tuples(list(rows), names=["sites", "intervention"])
        stages = [sites != ALL for sites, _ in table.index]
        for label in self.interventions:  # one family of tests an intervention
            of_family = (table.index.get_level_values("intervention") == label) & stages
            table.loc[of_family, "p_holm"] = holm(list(table.loc[of_family, "p"]))
        rest = table["p_holm"].isna()
        table.loc[rest, "p_holm"] = table.loc[rest, "p"]
        return table

    def _row(self, sites: str, label: str) -> dict[str, float]:
        passed = self._passes[sites, label]
        row: dict[str, float] = {"dose": float(passed["dose"].iloc[0]), "n": len(passed)}
        for column in ("energy_taken", "energy_changed", "output_change", "kl", "follows"):
            row[column] = float(passed[column].mean()) if column in passed else math.nan
        if self.score == "top1":
            change = self.change(sites, CLEAN_PASS, label, "top1")
            row |= _with_interval("accuracy", share(passed["top1"].to_numpy(dtype="float64")))
            row |= _change("accuracy_change", change) | {"p": change.p}
        if self.score and self._control(label) != label:
            row |= _change("versus_gain", self.change(sites, self._control(label), label))
        if "agreement" in passed:
            known = passed["agreement"].to_numpy(dtype="float64")
            row |= _with_interval("agreement", share(known))
            row |= _change("logp_change", mean_change(passed["logp_change"].to_numpy()))
        return row

    def _control(self, label: str) -> str:
        """Name the control of the same dose."""
        return " ".join(["gain", *label.split(" ")[1:]])

    def verdicts(self) -> dict[str, Verdict]:
        """Judge each stage, or other target of the run.

        Returns
        -------
        dict of str to Verdict
            By the name of the target, as in :meth:`table`. A :class:`Verdict` is a string with
            ``why`` and ``images``; see :func:`aliascope.runs.verdicts.verdict_of`. Of several doses
            the largest is judged.
        """
        changes = {
            sites: {
                pair: self.change(sites, *map(self._judged, pair))
                for pair in COMPARISONS
                if all(self._was_run(sites, name) for name in pair)
            }
            for sites in self.targets
        }
        if not self.score:
            return {
                sites: Verdict("undecided", "the model gives no class scores to judge by")
                for sites in self.targets
            }
        adjusted: dict[str, dict[Any, float]] = {sites: {} for sites in self.targets}
        for pair in COMPARISONS:
            stages = [name for name in self.targets if name != ALL and pair in changes[name]]
            family = holm([changes[name][pair].p for name in stages])
            for name, p in zip(stages, family, strict=True):
                adjusted[name][pair] = p
            if pair in changes.get(ALL, {}):
                adjusted[ALL][pair] = changes[ALL][pair].p
        return {
            sites: verdict_of(Evidence(changes[sites], adjusted[sites], self._has_donors(sites)))
            for sites in self.targets
        }

    def _judged(self, name: str) -> str:
        return name if name == CLEAN_PASS else label_of(name, max(self._doses), self._doses)

    def _was_run(self, sites: str, name: str) -> bool:
        where = "" if name == CLEAN_PASS else sites
        return (where, self._judged(name)) in self._passes

    def _has_donors(self, sites: str) -> bool:
        """Whether there were donors of the same class, or none were asked for."""
        asked = self.measurement.run.get("options", {}).get("interventions", ())
        return "swap-within" not in asked or self._was_run(sites, "swap-within")

    def energy(self) -> pd.Series:
        """Aliased energy of each target: the mean over its sites; NaN where it was not measured."""
        if "energy" not in self.measurement.measures:
            return pd.Series(math.nan, index=self.targets)
        by_site = self.measurement.energy()["aliased_energy"]
        means = {
            name: float(by_site.reindex(by_site.index if name == ALL else members(name)).mean())
            for name in self.targets
        }
        return pd.Series(means)

    def to_json(self) -> str:
        """Write table and verdicts as JSON: see docs/reading-the-result.md."""
        rows = self.table().reset_index().to_dict(orient="records")
        clean = {key: None if math.isnan(value) else value for key, value in self.clean().items()}
        content = {
            "kind": "ablation",
            "condition": self.condition.name,
            "clean": clean,
            "table": [{key: _plain(value) for key, value in row.items()} for row in rows],
            "verdicts": {
                name: {"verdict": str(each), "why": each.why, "images": each.images}
                for name, each in self.verdicts().items()
            },
        }
        return json.dumps(content, indent=1)

    def clean(self) -> dict[str, float]:
        """Count the samples, and with labels the accuracy, of the passes that nothing changed."""
        passed = self._passes["", CLEAN_PASS]
        row: dict[str, float] = {"n": len(passed)}
        if self.score == "top1":
            row |= _with_interval("accuracy", share(passed["top1"].to_numpy(dtype="float64")))
        return row

    @property
    def plot(self) -> Plots:
        """Figures of it: ``plot.ablation()``, ``plot.dose()``."""
        return Plots(self, ["ablation", "dose"])

    def __repr__(self) -> str:
        lines = [self.table().round(4).to_string(), ""]
        lines += [f"{name}: {each} ({each.why})" for name, each in self.verdicts().items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        verdicts = pd.DataFrame(
            {"verdict": {k: str(v) for k, v in self.verdicts().items()}}
            | {"why": {k: v.why for k, v in self.verdicts().items()}}
        )
        return self.table().round(4).to_html() + verdicts.to_html()


def _tables(store: Store, condition: Condition) -> list[pd.DataFrame]:
    parts = [part for part in store.parts() if part.condition == condition]
    return [table for part in parts if (table := part.table(TABLE, checked)) is not None]


COLUMNS = [
    *("dose", "n", "energy_taken", "energy_changed"),
    *("accuracy", "accuracy_low", "accuracy_high"),
    *("accuracy_change", "accuracy_change_low", "accuracy_change_high", "p", "p_holm"),
    *("versus_gain", "versus_gain_low", "versus_gain_high"),
    *("agreement", "agreement_low", "agreement_high", "follows", "kl"),
    *("logp_change", "logp_change_low", "logp_change_high", "output_change"),
]


def _change(name: str, change: Change) -> dict[str, float]:
    return _with_interval(name, (change.mean, change.low, change.high))


def _with_interval(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if hasattr(value, "item") else value
