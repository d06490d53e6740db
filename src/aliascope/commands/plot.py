"""The commands ``aliascope plot``: one a figure, each written as PNG, SVG or PDF."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aliascope.commands.choices import LOOK, Accounting, AtCondition, Figure, Palette, Run
from aliascope.commands.console import console_for_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from aliascope.runs.ablation import Ablation
    from aliascope.runs.measurement import Measurement

plot_app = typer.Typer(
    help="Draw figures of a run as PNG, SVG or PDF, for one column of a paper or two.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Site = Annotated[
    str,
    typer.Option(
        "--site",
        "-s",
        metavar="SITE",
        help="Name of the site, or its number in the ring's list.",
        show_default=False,
    ),
]


def laid_out(draw: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that every figure has; it gets them as ``look``."""
    signature = inspect.signature(draw, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != "look"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in LOOK.items()
    ]

    @functools.wraps(draw)
    def drawn(**given: Any) -> None:
        look = {name: given.pop(name) for name in LOOK}
        look["caption"] = not look.pop("no_caption")
        draw(**given, look=look)

    drawn.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return drawn


@plot_app.command()
@laid_out
def energy(
    run: Run,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw the aliased energy of each site, and the categories with their floor."""
    from aliascope import figures

    figure = figures.energy(_load(run, condition), accounting=accounting, colours=palette, **look)
    _save(figure, output or _place(run, "energy", accounting, condition, look=look))


@plot_app.command()
@laid_out
def thresholds(
    run: Run,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw aliased + tangled bins over the threshold, a line a site."""
    from aliascope import figures

    figure = figures.thresholds(
        _load(run, condition), accounting=accounting, colours=palette, **look
    )
    _save(figure, output or _place(run, "thresholds", accounting, condition, look=look))


@plot_app.command()
@laid_out
def pixels(
    run: Run,
    site: Site,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Number of the image.", show_default="the first")
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option(
            metavar="C", help="Channel, counted from 0.", show_default="the one most mixed"
        ),
    ] = None,
    output: Figure = None,
    colour_bar: Annotated[
        bool, typer.Option("--colour-bar/--no-colour-bar", help="Name the colours in a bar below.")
    ] = True,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw the category of each bin of one image, site and channel (needs --detail pixel)."""
    from aliascope import figures
    from aliascope.commands.tables import shares_table
    from aliascope.runs.maps import channel_map, most_mixed, percentages

    measurement = _load(run, condition)
    name = measurement.site_named(site)
    number = _first(measurement, name) if sample is None else sample
    if channel is None:
        channel = most_mixed(measurement.category_map(name, number))
    figure = figures.pixels(
        measurement,
        name,
        number,
        channel,
        colour_bar=colour_bar,
        accounting=accounting,
        colours=palette,
        **look,
    )
    category = channel_map(measurement, name, number, channel)
    default = f"pixels-{_file_name(name)}-{number}-{channel}"
    written = figures.save(figure, output or _place(run, default, accounting, condition, look=look))
    print(f"image {number}, site {name}, channel {channel}")
    console_for_tables().print(shares_table(percentages(category, accounting)))
    print(written)


@plot_app.command()
@laid_out
def colorbar(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="PNG, SVG or PDF, by its ending.")
    ] = Path("colorbar.png"),
    palette: Palette = "paper",
    *,
    look: dict[str, Any],
) -> None:
    """Draw the bar of the four colours; needs no run."""
    from aliascope import figures

    print(figures.save(figures.colorbar(colours=palette, **look), output))


@plot_app.command()
@laid_out
def pie(
    run: Run,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw the nested ring: the mean over sites outside, each site inside."""
    from aliascope import figures

    figure = figures.pie(_load(run, condition), accounting=accounting, colours=palette, **look)
    _save(figure, output or _place(run, "pie", accounting, condition, look=look))


@plot_app.command()
@laid_out
def boxes(
    run: Run,
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            "-s",
            metavar="SITE",
            help="One site, by name or number.",
            show_default="mean over sites",
        ),
    ] = None,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Compare correctly and incorrectly classified images; the table is written beside as CSV."""
    from aliascope import figures
    from aliascope.commands.tables import comparison_table
    from aliascope.runs.comparisons import GROUPS, comparison

    measurement = _load(run, condition)
    name = None if site is None else measurement.site_named(site)
    figure = figures.boxes(measurement, site=name, accounting=accounting, colours=palette, **look)
    table = comparison(measurement, site=name, accounting=accounting)
    default = "boxes" if name is None else f"boxes-{_file_name(name)}"
    written = figures.save(figure, output or _place(run, default, accounting, condition, look=look))
    beside = figures.save_table(table, written.with_suffix(".csv"))
    counted = (f"{table[f'n_{group}'].iloc[0]:.0f} {group}" for group in GROUPS)
    print(", ".join(counted))
    console_for_tables().print(comparison_table(table))
    print(written, beside, sep="\n")


@plot_app.command()
@laid_out
def adversarial(
    run: Run,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    *,
    look: dict[str, Any],
) -> None:
    """Draw accuracy and aliasing over the epsilons of an attacked run."""
    from aliascope import figures

    figure = figures.adversarial(_load(run), accounting=accounting, colours=palette, **look)
    _save(figure, output or _place(run, "adversarial", accounting, look=look))


@plot_app.command()
@laid_out
def sites(
    run: Run,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw a stacked bar for each site, and for their mean."""
    from aliascope import figures

    figure = figures.sites(_load(run, condition), accounting=accounting, colours=palette, **look)
    _save(figure, output or _place(run, "sites", accounting, condition, look=look))


@plot_app.command()
@laid_out
def channels(
    run: Run,
    site: Site,
    output: Figure = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw a bar for each channel of a site (needs --detail channel); a CSV is written beside."""
    from aliascope import figures
    from aliascope.figures.bars import sorted_channels

    measurement = _load(run, condition)
    name = measurement.site_named(site)
    figure = figures.channels(measurement, name, accounting=accounting, colours=palette, **look)
    default = f"channels-{_file_name(name)}"
    written = figures.save(figure, output or _place(run, default, accounting, condition, look=look))
    table = sorted_channels(measurement, name, accounting=accounting)
    print(written, figures.save_table(table, written.with_suffix(".csv")), sep="\n")


@plot_app.command()
@laid_out
def spectrum(
    run: Run,
    site: Site,
    output: Figure = None,
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw the mean dense spectrum of a site, with the new Nyquist box (needs --detail folds)."""
    from aliascope import figures

    measurement = _load(run, condition)
    name = measurement.site_named(site)
    figure = figures.spectrum(measurement, name, **look)
    _save(
        figure,
        output or _place(run, f"spectrum-{_file_name(name)}", condition=condition, look=look),
    )


@plot_app.command("compare")
@laid_out
def plot_comparison(
    runs: Annotated[
        tuple[Path, Path],
        typer.Argument(metavar="RUN RUN", help="Folders of two runs.", show_default=False),
    ],
    value: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="aliased_energy, no_pass, non_aliased, aliased or tangled.",
            show_default="the first that both measured",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending.",
            show_default="second RUN/compare.png",
        ),
    ] = None,
    condition: AtCondition = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw two runs at each site with their paired difference; the table goes beside as CSV."""
    from aliascope import figures
    from aliascope.runs.comparison import compare

    found = compare(*runs, condition=condition)
    place = output or _place(runs[1], "compare", look=look)
    _save(figures.comparison(found, value=value, **look), place)
    print(figures.save_table(found.table(), place.with_suffix(".csv")))


@plot_app.command()
@laid_out
def tracking(
    csv: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="File that Tracker.to_csv wrote.", show_default=False),
    ],
    value: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="aliased_energy, no_pass, non_aliased, aliased or tangled; floor_tangled and so "
            "on, where they were tracked.",
        ),
    ] = "aliased_energy",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending.",
            show_default="tracking.png beside the CSV",
        ),
    ] = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw a value of each site over the steps of a training."""
    from aliascope import figures
    from aliascope.runs.tracked import read_tracked

    figure = figures.tracking(read_tracked(csv, value), value=value, **look)
    print(figures.save(figure, output or _place(csv.parent, "tracking", look=look)))


@plot_app.command()
@laid_out
def ablation(
    run: Run, output: Figure = None, condition: AtCondition = None, *, look: dict[str, Any]
) -> None:
    """Draw what each intervention changes beside aliased energy; a CSV is written beside."""
    from aliascope import figures
    from aliascope.runs.effects import beside_energy

    found = _ablation(run, condition)
    written = figures.save(
        figures.ablation(found, **look),
        output or _place(run, "ablation", condition=condition, look=look),
    )
    print(written, figures.save_table(beside_energy(found), written.with_suffix(".csv")), sep="\n")


@plot_app.command()
@laid_out
def dose(
    run: Run, output: Figure = None, condition: AtCondition = None, *, look: dict[str, Any]
) -> None:
    """Draw the score over the dose, a panel a stage; a CSV is written beside."""
    from aliascope import figures
    from aliascope.runs.effects import over_dose

    found = _ablation(run, condition)
    written = figures.save(
        figures.dose(found, **look), output or _place(run, "dose", condition=condition, look=look)
    )
    print(written, figures.save_table(over_dose(found), written.with_suffix(".csv")), sep="\n")


@plot_app.command()
@laid_out
def shift(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Folder that `aliascope shift` wrote.", show_default=False
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="integer|half|third|quarter", help="Kind of shift.", show_default="the first"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending.",
            show_default="FOLDER/shift.png",
        ),
    ] = None,
    *,
    look: dict[str, Any],
) -> None:
    """Draw consistency by shift and over distance; the map is written beside as CSV."""
    from aliascope import figures
    from aliascope.runs.consistency import Consistency

    found = Consistency.load(folder)
    figure = figures.shift(found, kind=kind, **look)
    default = "shift" if kind is None else f"shift-{_file_name(kind)}"
    written = figures.save(figure, output or _place(folder, default, look=look))
    shifts = found.map(kind).set_index(["dy", "dx"])
    print(written, figures.save_table(shifts, written.with_suffix(".csv")), sep="\n")


def _load(run: Path, condition: str | None = None) -> Measurement:
    from aliascope.runs.measurement import load

    measurement = load(run)
    return measurement if condition is None else measurement.at(condition)


def _ablation(run: Path, condition: str | None = None) -> Ablation:
    from aliascope.runs.ablation import Ablation
    from aliascope.runs.store import Store

    return Ablation(Store.existing(run), condition)


def _first(measurement: Measurement, site: str) -> int:
    """Choose the first sample at a site; where there is none, one whose absence is then said."""
    return next(iter(measurement.samples_at(site)), 0)


def _place(
    run: Path,
    figure: str,
    accounting: str = "exact",
    condition: str | None = None,
    *,
    look: dict[str, Any],
) -> Path:
    """Name a figure's file in its run's folder, so that each choice of options has its own."""
    chosen = [figure]
    if condition is not None:
        chosen.append(_file_name(condition))
    if accounting != "exact":
        chosen.append(accounting)
    if look["width"] != "one":
        chosen.append(look["width"])
    return run / f"{'-'.join(chosen)}.png"


def _file_name(site: str) -> str:
    """Make a site's name fit for a file: blocks.0/conv#2 becomes blocks.0_conv_2."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in site).strip("._") or "root"


def _save(figure: Drawing, path: Path) -> None:
    from aliascope import figures

    print(figures.save(figure, path))
