"""The commands ``aliascope plot``: one a figure, each written as PNG, SVG or PDF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aliascope.measurement import Measurement

plot_app = typer.Typer(
    help="Draw figures of a run as PNG, SVG or PDF.", no_args_is_help=True, rich_markup_mode=None
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="PNG, SVG or PDF, by its ending.",
        show_default="RUN/FIGURE.png",
    ),
]
Accounting = Annotated[
    str,
    typer.Option(metavar="exact|published", help="How bins are counted; see docs/definitions.md."),
]
Palette = Annotated[
    str, typer.Option(metavar="paper|colour-blind", help="Colours of the categories.")
]
Eps = Annotated[
    float | None,
    typer.Option(
        metavar="EPS", help="Which epsilon of an attacked run.", show_default="the smallest"
    ),
]
Site = Annotated[
    str,
    typer.Option(
        "--site", "-s", metavar="SITE", help="Name of the site, or its number in the ring."
    ),
]


@plot_app.command()
def pie(
    run: Run,
    output: Output = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    eps: Eps = None,
) -> None:
    """Nested ring: the mean over sites outside, each site inside."""
    from aliascope import figures

    figure = figures.pie(_load(run, eps), accounting=accounting, colours=palette)
    _save(figure, output or run / "pie.png")


@plot_app.command()
def pixels(
    run: Run,
    site: Site,
    sample: Annotated[
        int | None, typer.Option(help="Number of the image.", show_default="the first")
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option(help="Channel, counted from 0.", show_default="the one most mixed"),
    ] = None,
    output: Output = None,
    colour_bar: Annotated[bool, typer.Option(help="Draw the bar of colours below.")] = True,
    palette: Palette = "paper",
    eps: Eps = None,
) -> None:
    """Category of each bin of one image, site and channel (needs --detail pixel)."""
    from aliascope import figures
    from aliascope.categories import COLUMNS
    from aliascope.figures.palette import LABELS
    from aliascope.figures.pixels import most_mixed

    measurement = _load(run, eps)
    name = measurement.site_named(site)
    number = int(measurement.samples["sample"].iloc[0]) if sample is None else sample
    maps = measurement.category_map(name, number)
    channel = most_mixed(maps) if channel is None else channel
    figure = figures.pixels(
        measurement, name, number, channel, colour_bar=colour_bar, colours=palette
    )
    category = maps[channel]
    print(f"image {number}, site {name}, channel {channel}")
    for c, column in enumerate(COLUMNS):
        print(f"{LABELS[column]:12} {100 * float((category == c).mean()):5.1f} %")
    _save(figure, output or run / "pixels.png")


@plot_app.command()
def colorbar(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="PNG, SVG or PDF.")
    ] = Path("colorbar.png"),
    palette: Palette = "paper",
) -> None:
    """Bar of the four colours."""
    from aliascope import figures

    _save(figures.colorbar(colours=palette), output)


@plot_app.command()
def boxes(
    run: Run,
    site: Annotated[
        str | None,
        typer.Option(
            "--site", "-s", metavar="SITE", help="One site.", show_default="mean over sites"
        ),
    ] = None,
    output: Output = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    eps: Eps = None,
) -> None:
    """Correctly against incorrectly classified images, with a test; a table beside it."""
    from aliascope import figures
    from aliascope.figures.boxes import comparison

    measurement = _load(run, eps)
    name = None if site is None else measurement.site_named(site)
    figure = figures.boxes(measurement, site=name, accounting=accounting, colours=palette)
    path = _save(figure, output or run / "boxes.png")
    table = comparison(measurement, site=name, accounting=accounting)
    table.to_csv(path.with_suffix(".csv"))
    print(table.to_string(float_format=lambda number: f"{number:.4g}"))


@plot_app.command()
def adversarial(
    run: Run, output: Output = None, accounting: Accounting = "exact", palette: Palette = "paper"
) -> None:
    """Accuracy and aliasing over the size of the disturbance."""
    from aliascope import figures

    figure = figures.adversarial(_load(run), accounting=accounting, colours=palette)
    _save(figure, output or run / "adversarial.png")


@plot_app.command()
def sites(
    run: Run,
    output: Output = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    eps: Eps = None,
) -> None:
    """Stacked bar for each site."""
    from aliascope import figures

    figure = figures.sites(_load(run, eps), accounting=accounting, colours=palette)
    _save(figure, output or run / "sites.png")


@plot_app.command()
def channels(
    run: Run,
    site: Site,
    output: Output = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    eps: Eps = None,
) -> None:
    """Stacked bar for each channel of a site (needs --detail channel)."""
    from aliascope import figures

    measurement = _load(run, eps)
    name = measurement.site_named(site)
    figure = figures.channels(measurement, name, accounting=accounting, colours=palette)
    _save(figure, output or run / "channels.png")


@plot_app.command()
def spectrum(run: Run, site: Site, output: Output = None, eps: Eps = None) -> None:
    """Mean dense spectrum of a site, with the new Nyquist box (needs --detail folds)."""
    from aliascope import figures

    measurement = _load(run, eps)
    figure = figures.spectrum(measurement, measurement.site_named(site))
    _save(figure, output or run / "spectrum.png")


def _load(run: Path, eps: float | None = None) -> Measurement:
    from aliascope.measurement import load

    measurement = load(run)
    return measurement if eps is None else measurement.at(eps)


def _save(figure: Figure, path: Path) -> Path:
    from aliascope import figures

    written = figures.save(figure, path, dpi=300)
    print(written)
    return written
