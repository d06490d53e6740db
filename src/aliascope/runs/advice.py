"""Advice as it was worked out: what each candidate filter does to a network without retraining."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.errors import AliascopeError
from aliascope.files import plain, replacing, writing
from aliascope.runs.plain_tables import aligned, html_table
from aliascope.runs.shown import between, counted, percent, span

NONE, ALL, MOST, STEM = "none", "all", "most", "stem"
"""The network as it is; words for sites."""

LEAST_ENERGY = 0.1
"""Aliased energy of a stage from which on it may be one of those that matter most."""

LEAST_EFFECT = 0.1
"""And its effect, as a share of the largest."""

SIGNIFICANT = 0.05
"""Below which a p-value tells of a loss."""

FILE = "advice.json"

COLUMNS = [
    *("filtered", "n", "aliased_energy"),
    *("consistency", "consistency_low", "consistency_high"),
    *("accuracy", "accuracy_low", "accuracy_high"),
    *("accuracy_change", "accuracy_change_low", "accuracy_change_high", "p"),
    *("agreement", "agreement_low", "agreement_high"),
    *("accuracy_recalibrated", "accuracy_recalibrated_low", "accuracy_recalibrated_high"),
    "accuracy_recalibrated_change",
    *("accuracy_recalibrated_change_low", "accuracy_recalibrated_change_high"),
    "p_recalibrated",
    *("agreement_recalibrated", "agreement_recalibrated_low", "agreement_recalibrated_high"),
    *("time", "multiply_adds"),
]


class Advice:
    """What candidate filters do to a network that was not trained with them.

    It promises nothing: without retraining accuracy mostly falls.

    Parameters
    ----------
    table : DataFrame
        As :meth:`table` gives it.
    description : mapping
        model, images, labels, shift (protocol and mode, in words; "" where nothing was shifted),
        recalibrate (images), rate (of the aliased energy), device, timed (images, repetitions),
        seed, sites (names by word), stages, notes.
    """

    def __init__(self, table: pd.DataFrame, description: Mapping[str, Any]) -> None:
        self._table = table
        self.description = dict(description)

    # -- reading and writing ---------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into a folder, as advice.json.

        Raises
        ------
        AliascopeError
            If the folder holds advice, or cannot be written.
        """
        self.refuse_folder(folder)
        place = Path(folder, FILE)
        with writing(place), replacing(place) as draft:
            draft.write_text(self.to_json(), encoding="utf-8")

    @staticmethod
    def refuse_folder(folder: str | os.PathLike[str]) -> None:
        """Refuse to write where there is advice already.

        Raises
        ------
        AliascopeError
            If there is.
        """
        if Path(folder, FILE).exists():
            raise AliascopeError(
                f"{folder} holds advice already; pass another folder, or remove it first."
            )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Advice:
        """Read what :meth:`save` wrote.

        Raises
        ------
        AliascopeError
            If there is none, or it is damaged.
        """
        place = Path(folder, FILE)
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            table = pd.DataFrame(content.pop("table")).set_index(["filter", "sites"])
            table = table[COLUMNS].astype("float64").astype({"filtered": int, "n": int})
        except FileNotFoundError:
            raise AliascopeError(
                f"{folder} holds no advice; make some with `aliascope advise`."
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AliascopeError(f"{place} is damaged ({error}); advise again.") from error
        described = {k: v for k, v in content.items() if k not in ("kind", "choice", "code")}
        return cls(table, described)

    # -- what was found --------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Tabulate the candidates.

        Returns
        -------
        DataFrame
            Index filter and sites ("all", "most", "stem"); the first row, ("none", ""), is the
            network as it is. Columns: filtered, how many sites; n, images; aliased_energy, the mean
            over the sites of the commonest rate, measured with the filter on; consistency under
            shifts. With labels accuracy (Wilson) and accuracy_change against the network as it is
            (Tango's paired interval) with p (McNemar's exact, not adjusted for the number of
            candidates); with class scores agreement with the predictions of the network as it is.
            ``*_recalibrated`` are the same with batch norm re-estimated, against the network as it
            is with batch norm re-estimated from the same images. time, of a plain pass over that of
            the network as it is. multiply_adds, what the candidate adds, the dense operation
            included, over those of the network as it is. ``*_low`` and ``*_high`` are 95 %
            intervals over images. NaN where it does not apply.
        """
        return self._table.copy()

    @property
    def labelled(self) -> bool:
        """Whether accuracy is known."""
        return bool(self._table["accuracy"].notna().any())

    @property
    def sites(self) -> dict[str, list[str]]:
        """Names of the sites, as :func:`aliascope.antialias` takes them, by word."""
        return {word: list(names) for word, names in self.description["sites"].items()}

    @property
    def choice(self) -> tuple[str, str] | None:
        """The candidate that :meth:`code` applies by default.

        Of those that lose no accuracy significantly without retraining (p < 0.05, or an interval
        of the change below 0), and are not less consistent than the network as it is, the one of
        best consistency; where that is equal, of best accuracy, then of least aliased energy. None
        where there is none, and without labels, as no loss can be told then.
        """
        candidates, before = self._table.iloc[1:], self._table.iloc[0]
        worse = candidates["consistency"] < before["consistency"]
        kept = candidates[~self._loses(candidates) & ~worse]
        if kept.empty or not self.labelled:
            return None
        order = kept.fillna({"consistency": -1.0, "aliased_energy": 1.0})
        best = order.sort_values(
            ["consistency", "accuracy_change", "aliased_energy"],
            ascending=[False, False, True],
            kind="stable",
        )
        filter, sites = best.index[0]
        return str(filter), str(sites)

    def _loses(self, rows: pd.DataFrame) -> Any:
        by_test = (rows["p"] < SIGNIFICANT) & (rows["accuracy_change"] < 0)
        return by_test | (rows["accuracy_change_high"] < 0)

    def code(self, row: tuple[str, str] | int | None = None) -> str:
        """Write the lines that apply a candidate to ``model``.

        Parameters
        ----------
        row : (str, str) or int, optional
            Filter and sites, as in the table, or the number of its row; :attr:`choice` by default.

        Returns
        -------
        str
            Python. Where none is named and none can be advised, a comment that says why.

        Raises
        ------
        AliascopeError
            If there is no such candidate.
        """
        if row is None:
            row = self.choice
            if row is None:
                return self._none_advised()
        filter, sites = self._named(row)
        where = "" if sites == ALL else f", sites={_listed(self.sites[sites])}"
        comments = "".join(f"# {line}\n" for line in self._in_words(filter, sites))
        return (
            f'import aliascope as al\n\n{comments}handle = al.antialias(model, "{filter}"{where})\n'
        )

    def _named(self, row: tuple[str, str] | int) -> tuple[str, str]:
        rows = list(self._table.index)
        if isinstance(row, int) and -len(rows) <= row < len(rows):
            row = rows[row]
        if isinstance(row, int) or tuple(row) not in rows[1:]:
            names = ", ".join(str(tuple(each)) for each in rows[1:])
            raise AliascopeError(f"row is {row!r}, but candidates are {names}.")
        return row[0], row[1]

    def _none_advised(self) -> str:
        """Say in comments why no candidate is advised."""
        rows, before = self._table.iloc[1:], self._table.iloc[0]
        loses = self._loses(rows)
        lost, rest = -100 * rows["accuracy_change"], rows.loc[~loses, "consistency"]
        if not self.labelled:
            lines = ["There are no labels, so what a candidate does to accuracy is not known."]
        elif loses.all():
            lines = [
                "Every candidate loses accuracy without retraining, by "
                f"{span(f'{lost.min():.1f}', f'{lost.max():.1f}')} points.",
            ]
        else:
            lines = [
                f"Without retraining {int(loses.sum())} of {len(rows)} candidates lose accuracy, "
                "and the rest make",
                f"the network less consistent: {span(percent(rest.min()), percent(rest.max()))} %, "
                f"before {percent(before['consistency'])} %.",
            ]
        lines += [
            "None is advised as it is. To retrain with one, name it, as in",
            f"advice.code({tuple(self._table.index[-1])!r}).",
        ]
        return "".join(f"# {line}\n" for line in lines)

    def _in_words(self, filter: str, sites: str) -> list[str]:
        """Say in lines what is known of a candidate."""
        row: Any = self._table.loc[(filter, sites)]
        before = self._table.iloc[0]
        lines = ["Without retraining:"]
        if self.labelled:
            lines.append(
                f"accuracy {percent(row['accuracy'])} %, {_points(row)}, p = {row['p']:.2g}"
            )
        else:
            lines.append("accuracy not known, as there were no labels")
            if not math.isnan(row["agreement"]):
                lines.append(f"{percent(row['agreement'])} % of the predictions as before")
        for name, column in {"consistency": "consistency", "energy": "aliased_energy"}.items():
            if not math.isnan(row[column]):
                word = "aliased energy" if name == "energy" else name
                lines.append(f"{word} {percent(row[column])} %, before {percent(before[column])} %")
        lines.append(counted(int(row["n"]), "image"))
        return [lines[0], *(f"  {line}" for line in lines[1:])]

    # -- showing ---------------------------------------------------------------------------------

    def said(self) -> list[str]:
        """Say in sentences what came out, and what it depends on."""
        of = self.description
        lines = [self._losses()]
        lines += [
            f"{word}: {', '.join(names)}" for word, names in self.sites.items() if word != ALL
        ]
        lines += of["notes"]
        if of["stages"]:
            word = {"kl": "KL divergence", "output_change": "change of the output"}
            lines.append(
                f"most are stages with {100 * LEAST_ENERGY:.0f} % or more of their energy beyond, "
                "removing which has at least a tenth of the largest effect ("
                f"{word[of['stages'][0]['measure']]}, first {of['stages'][0]['images']} images)."
            )
        words = [counted(of["images"], "image")]
        words += [f"consistency under {of['shift']}"] if of["shift"] else []
        words.append(f"aliased energy of the sites of rate {of['rate']}")
        if of["recalibrate"]:
            words.append(f"batch norm re-estimated from {of['recalibrate']} other images")
        timed = of["timed"]
        words.append(
            f"time of {counted(timed['images'], 'image')} on {of['device']}, medians of "
            f"{timed['repetitions']} passes in turn"
        )
        return [*lines, "; ".join([*words, "95 % intervals over images"]) + "."]

    def _losses(self) -> str:
        rows = self._table.iloc[1:]
        if not self.labelled:
            known = rows["agreement"].dropna()
            agree = (
                f"{span(percent(known.min()), percent(known.max()))} % of the predictions stay; "
                if len(known)
                else ""
            )
            return f"No labels: {agree}without retraining accuracy mostly falls."
        change = rows["accuracy_change"]
        fell = change[change < 0]
        if fell.empty:
            return (
                f"Accuracy fell under none of {counted(len(rows), 'candidate')} on these images; "
                "without retraining it mostly does."
            )
        lost = int(self._loses(rows).sum())
        return (
            f"Without retraining accuracy fell under {len(fell)} of {len(rows)} candidates, by up "
            f"to {-100 * fell.min():.1f} points; significantly (p < {SIGNIFICANT:g} or an "
            f"interval below 0, each by itself) under {lost or 'none'}."
        )

    def cells(self, *, intervals: bool = True) -> tuple[list[str], list[list[str]]]:
        """Give heads and cells of the table that is shown, with intervals of shares or without."""
        shown = [column for column in SHOWN if self._table[column].notna().any()]
        if self.labelled:
            shown = [column for column in shown if not column.startswith("agreement")]
        heads = ["filter", "sites", *(SHOWN[column] for column in shown)]
        rows = []
        for key, row in self._table.iterrows():
            names: Any = key
            rows.append([*map(str, names), *(_cell(row, column, intervals) for column in shown)])
        return heads, rows

    def to_json(self) -> str:
        """Write all of it as JSON: no NaN (null instead).

        Returns
        -------
        str
            An object: kind, what the description holds, table, choice, code.
        """
        content = {
            "kind": "advice",
            **self.description,
            "table": self._table.reset_index().to_dict("records"),
            "choice": self.choice,
            "code": self.code(),
        }
        return json.dumps(plain(content), indent=1, ensure_ascii=False)

    def __repr__(self) -> str:
        return "\n".join([*aligned(*self.cells(), words=2), *self.said()])

    def _repr_html_(self) -> str:
        return html_table(*self.cells()) + "".join(f"<p>{escape(line)}</p>" for line in self.said())


SHOWN = {
    "filtered": "filtered",
    "aliased_energy": "energy %",
    "consistency": "consistency %",
    "accuracy": "accuracy %",
    "accuracy_change": "change in points",
    "p": "p",
    "agreement": "agreement %",
    "accuracy_recalibrated": "recalibrated %",
    "accuracy_recalibrated_change": "its change",
    "agreement_recalibrated": "recalibrated agreement %",
    "time": "time ×",
    "multiply_adds": "multiply-adds",
}
"""Heads of the columns that are shown."""


def _cell(row: Any, column: str, intervals: bool) -> str:
    value = row[column]
    if math.isnan(value):
        return ""
    if column == "filtered":
        return f"{value:.0f}"
    if column.endswith("_change"):
        return _points(row, column, "")
    if column == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if column == "time":
        return f"{value:.2f}"
    if column == "multiply_adds":
        return f"+{100 * value:.0f} %"
    if column == "aliased_energy":
        return percent(value) if value == 0 or value >= 0.001 else f"{100 * value:.0e}"
    if not intervals:
        return percent(value)
    return f"{percent(value)} ({between(row[f'{column}_low'], row[f'{column}_high'])})"


def _points(row: Any, column: str = "accuracy_change", unit: str = " points") -> str:
    mean, low, high = (100 * row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return f"{mean:+.1f}{unit} [{low:+.1f}, {high:+.1f}]"


def _listed(names: list[str]) -> str:
    """Write names as Python has them, one a line where they are many."""
    words = [json.dumps(name, ensure_ascii=False) for name in names]
    short = f"[{', '.join(words)}]"
    return short if len(short) <= 50 else "[\n" + "".join(f"    {word},\n" for word in words) + "]"
