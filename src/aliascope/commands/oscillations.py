"""The commands ``aliascope oscillations``: images, training, sweep, figure and table."""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from aliascope.commands.choices import (
    DecayEpoch,
    Deterministic,
    Device,
    Epochs,
    Frequencies,
    LearningRate,
    TrainImages,
    TrainingBatch,
    TrainingPrecision,
    ValidationImages,
    WeightDecay,
    file_name,
    numbers,
)
from aliascope.commands.console import console_for_tables
from aliascope.commands.filter_choice import FilterChoice
from aliascope.commands.fitting import Column, Row, fitted, leaving
from aliascope.commands.progress import interruptible, progress
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.oscillations import Machine, Recipe

oscillations_app = typer.Typer(
    help="The toy experiment: networks that tell oscillations apart, trained from scratch.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Results = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS", help="Folder of a sweep, or its results.csv.", show_default=False
    ),
]


@oscillations_app.command()
def images(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the figures go.")
    ] = Path("img"),
) -> None:
    """Draw four oscillations that cannot be told apart after dropping every second sample.

    Writes oscil_1.png to oscil_4.png, each image alone, and oscil_pairs.png, each beside what is
    left of it.
    """
    from aliascope import figures
    from aliascope.oscillations.figures.examples import bare, examples, oscillations

    for k, (_, image) in enumerate(examples()):
        print(figures.save(bare(image), output / f"oscil_{k + 1}.png"))
    print(figures.save(oscillations(), output / "oscil_pairs.png"))


@oscillations_app.command()
def networks() -> None:
    """List the networks: names, families, parameters."""
    from aliascope.oscillations import FAMILIES, NETWORKS

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("network", "published name", "parameters", "families"):
        shown.add_column(
            column, no_wrap=True, justify="right" if column == "parameters" else "left"
        )
    for network in NETWORKS:
        parameters = f"{network.parameters():,}"
        shown.add_row(network.name, network.published, parameters, ", ".join(network.families))
    meanings = Table.grid(padding=(0, 2))
    for family, words in FAMILIES.items():
        meanings.add_row(family, words)
    console_for_tables().print(shown, "", meanings)


@oscillations_app.command()
def train(
    network: Annotated[
        str, typer.Option(metavar="NAME", help="As `aliascope oscillations networks` lists them.")
    ] = "resnet-w-16",
    noise: Annotated[float, typer.Option(metavar="A", help="Amplitude of the noise.")] = 1.0,
    epochs: Epochs = 50,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN",
            help="Folder of the training.",
            show_default="runs/NETWORK-A",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, images and their order.")] = 0,
    frequencies: Frequencies = 20,
    train_images: TrainImages = 20_000,
    validation_images: ValidationImages = 10_000,
    batch_size: TrainingBatch = 128,
    learning_rate: LearningRate = 1e-3,
    decay_epoch: DecayEpoch = 36,
    weight_decay: WeightDecay = 1e-4,
    precision: TrainingPrecision = "auto",
    filter: FilterChoice = None,
    device: Device = "auto",
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network with torch.compile.")
    ] = False,
    deterministic: Deterministic = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in the output folder.")
    ] = False,
) -> None:
    """Train a network; every option's default is as published."""
    from aliascope.models.devices import automatic_device
    from aliascope.oscillations import Machine, Recipe

    chosen = automatic_device(device)
    recipe = Recipe(
        network,
        noise=noise,
        epochs=epochs,
        seed=seed,
        frequencies=frequencies,
        train_images=train_images,
        validation_images=validation_images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        decay_epoch=decay_epoch - 1,
        weight_decay=weight_decay,
        precision=_precision(precision, chosen),
        filter=filter or "",
    )
    named = f"-{file_name(filter)}" if filter else ""
    folder = output or Path("runs", f"{recipe.network}-A{noise:g}{named}")
    _train(recipe, folder, Machine(chosen, compile_network, deterministic), resume)


def _train(recipe: Recipe, folder: Path, machine: Machine, resume: bool) -> None:
    """Train with progress, and say what came out."""
    from aliascope.oscillations import train as train_network

    parameters = recipe.member.parameters(classes=recipe.frequencies**2)
    print(
        f"{recipe.network} ({parameters:,} parameters), "
        f"A = {recipe.noise:g}, {machine.device}, {recipe.precision}"
        f"{f', filtered by {recipe.filter}' if recipe.filter else ''}",
        file=sys.stderr,
    )
    ended = 0

    def kept() -> str:
        return (
            f" after {ended} epochs, kept in {folder}; run the same command with --resume to go on."
        )

    with interruptible(kept), progress() as report:

        def tell(done: int, total: int, history: list[dict[str, Any]]) -> None:
            nonlocal ended
            ended = len(history)
            report("training", done, total, _images_a_second, _best_so_far(history))

        result = train_network(
            recipe,
            folder,
            machine=machine,
            resume=resume,
            progress=tell,
        )
    print(
        f"validation accuracy {100 * result['accuracy']:.2f} % (best of {result['epochs']} epochs: "
        f"the {_ordinal(result['best_epoch'])}); its weights on fresh images: "
        f"{100 * result['test_accuracy']:.2f} %\n"
        f"{folder}: best.safetensors, last.safetensors, history.csv, training.json\n"
        f"measure its aliasing: aliascope evaluate --model oscillations:{folder} "
        "--data oscillations"
    )


@oscillations_app.command()
def sweep(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="RESULTS",
            help="Folder: results.csv, a row a run, and runs/, a folder a run.",
            show_default=False,
        ),
    ],
    networks: Annotated[
        str, typer.Option(metavar="NAME,...", help="Names or patterns, as in fc-*,resnet-w-16.")
    ] = "*",
    noise: Annotated[str, typer.Option(metavar="A,...", help="Amplitudes of noise.")] = "1,2,4,8",
    seeds: Annotated[str, typer.Option(metavar="SEED,...", help="Of each run of a kind.")] = "0",
    epochs: Epochs = 50,
    frequencies: Frequencies = 20,
    train_images: TrainImages = 20_000,
    validation_images: ValidationImages = 10_000,
    batch_size: TrainingBatch = 128,
    learning_rate: LearningRate = 1e-3,
    decay_epoch: DecayEpoch = 36,
    weight_decay: WeightDecay = 1e-4,
    precision: TrainingPrecision = "auto",
    devices: Annotated[
        str,
        typer.Option(metavar="DEVICE,...", help="cpu, cuda:0,cuda:1, ...; auto takes all GPUs."),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(help="Runs at once, over all devices.", show_default="as many as devices"),
    ] = None,
    deterministic: Deterministic = False,
) -> None:
    """Train networks × noise levels × seeds; the same command again goes on where it ended."""
    from aliascope.oscillations import Recipe
    from aliascope.oscillations.sweep import grid
    from aliascope.oscillations.sweep import sweep as run_sweep
    from aliascope.runs.shown import counted

    chosen = _devices(devices)
    names = _network_names(networks)
    like = Recipe(
        names[0],
        epochs=epochs,
        frequencies=frequencies,
        train_images=train_images,
        validation_images=validation_images,
        batch_size=batch_size,
        learning_rate=learning_rate,
        decay_epoch=decay_epoch - 1,
        weight_decay=weight_decay,
        precision=_precision(precision, chosen[0]),
    )
    amplitudes = numbers(noise, "noise", float)
    recipes: list[Recipe] = grid(names, amplitudes, numbers(seeds, "seeds", int), like)
    kept = f"; what is trained is kept in {output}, and the same command goes on."
    with interruptible(lambda: kept), progress() as report:
        results = run_sweep(
            recipes,
            output,
            devices=chosen,
            jobs=len(chosen) if jobs is None else jobs,
            deterministic=deterministic,
            progress=lambda done, total, trained: report(
                "training", done, total, _epochs_a_minute, f"; {', '.join(trained)}"
            ),
        )
    print(f"{counted(len(recipes), 'run')} in {results.path}")
    print(f"next: aliascope oscillations plot {output}")


@oscillations_app.command()
def plot(
    results: Results,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending.",
            show_default="accuracy.png beside the results",
        ),
    ] = None,
) -> None:
    """Draw accuracy over parameters, a panel per noise level, with the published values."""
    from aliascope import figures
    from aliascope.oscillations.figures.accuracy import oscillation_accuracy
    from aliascope.oscillations.results import results_of

    figure = oscillation_accuracy(results_of(results))
    beside = results.parent if results.suffix == ".csv" else results
    print(figures.save(figure, output or beside / "accuracy.png"))


@oscillations_app.command()
def table(
    results: Results,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As a table in Markdown, for a document.")
    ] = False,
) -> None:
    """List accuracies beside the published ones, with the differences."""
    from aliascope.oscillations.results import beside_published, results_of

    rows = [_cells(row) for row in beside_published(results_of(results)).to_dict("records")]
    head = ["network", "parameters", "A", "runs", "accuracy", "published", "difference", "fresh"]
    if markdown:
        print(f"| {' | '.join(head)} |")
        print(f"|---|{'---:|' * (len(head) - 1)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        return
    ranks = {"published": 1, "runs": 2, "parameters": 3, "fresh": 4}
    columns = [Column(name, ranks.get(name, 0), name=name == "network") for name in head]
    console = console_for_tables()
    console.print(fitted(leaving(columns, [Row(row) for row in rows]), console))
    print(
        "accuracy: best epoch's, on the validation images, in %; fresh: its weights on a third "
        "set, in %; difference in points"
    )


def _cells(row: dict[Any, Any]) -> list[str]:
    percent = {
        name: "" if row[name] != row[name] else f"{100 * row[name]:.2f}"
        for name in ("accuracy", "published", "test_accuracy")
    }
    difference = row["difference"]
    return [
        str(row["network"]),
        f"{row['parameters']:,}",
        f"{row['noise']:g}",
        str(row["runs"]),
        percent["accuracy"],
        percent["published"],
        "" if difference != difference else f"{100 * difference:+.2f}",
        percent["test_accuracy"],
    ]


def _network_names(text: str) -> list[str]:
    """Read names and patterns."""
    from aliascope.oscillations import NETWORKS, find_network

    names: list[str] = []
    for word in text.replace(",", " ").split():
        matches = [each.name for each in NETWORKS if fnmatch.fnmatchcase(each.name, word)]
        names += matches or [find_network(word).name]
    if not names:
        raise AliascopeError(f"networks is {text!r}, which names none; write *, or names.")
    return list(dict.fromkeys(names))


def _precision(name: str, device: str) -> str:
    from aliascope.models.execution import fastest_precision

    return fastest_precision(device) if name == "auto" else name


def _devices(text: str) -> list[str]:
    from aliascope.models.devices import automatic_devices

    if text == "auto":
        return automatic_devices()
    names = text.replace(",", " ").split()
    if not names:
        raise AliascopeError("devices is empty; name one, such as cpu or cuda:0.")
    return names


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _images_a_second(rate: float) -> str:
    return f"{rate:,.0f} images/s"


def _epochs_a_minute(rate: float) -> str:
    return f"{60 * rate:.1f} epochs a minute"


def _best_so_far(history: list[dict[str, Any]]) -> str:
    if not history:
        return ""
    best = max(row["validation_accuracy"] for row in history)
    return f"; epoch {len(history)}, best so far {100 * best:.2f} %"
