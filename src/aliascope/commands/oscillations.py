"""The commands ``aliascope oscillations``: images, training, sweep, figure and table."""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from aliascope.commands.progress import INTERRUPTED, BarOrLines, Rate
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.oscillations import Recipe

oscillations_app = typer.Typer(
    help="The toy experiment: networks that tell oscillations apart, trained from scratch.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Epochs = Annotated[int, typer.Option(help="Passes through the training images.")]
Frequencies = Annotated[int, typer.Option(help="Frequencies a side; classes are as many squared.")]
TrainImages = Annotated[
    int, typer.Option(help="Training images, rounded up to equal numbers a class.")
]
ValidationImages = Annotated[int, typer.Option(help="Validation images, rounded up likewise.")]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Images in a step.")]
LearningRate = Annotated[float, typer.Option(help="Of Adam; a tenth of it from epoch 36 on.")]
WeightDecay = Annotated[float, typer.Option(help="Coefficient of Adam's L2 penalty.")]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|float32|bfloat16",
        help="Of the products in a pass; weights stay float32. auto: bfloat16 where the device "
        "multiplies it natively.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic", help="Only operations that repeat bit for bit, on a GPU too (slower)."
    ),
]
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

    print(f"{'network':14}{'published name':34}{'parameters':>10}  families")
    for network in NETWORKS:
        print(
            f"{network.name:14}{network.published:34}{network.parameters():10,}  "
            f"{', '.join(network.families)}"
        )
    print()
    for family, words in FAMILIES.items():
        print(f"{family:9}{words}")


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
    batch_size: BatchSize = 128,
    learning_rate: LearningRate = 1e-3,
    weight_decay: WeightDecay = 1e-4,
    precision: Precision = "auto",
    device: Annotated[
        str,
        typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; auto takes cuda where it is."),
    ] = "auto",
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
    from aliascope.oscillations import train as train_network

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
        weight_decay=weight_decay,
        precision=_precision(precision, chosen),
    )
    folder = output or Path("runs", f"{recipe.network}-A{noise:g}")
    print(
        f"{recipe.network} ({recipe.member.parameters(classes=frequencies**2):,} parameters), "
        f"A = {noise:g}, {chosen}, {recipe.precision}",
        file=sys.stderr,
    )
    with _TrainingProgress() as progress:
        try:
            result = train_network(
                recipe,
                folder,
                machine=Machine(chosen, compile_network, deterministic),
                resume=resume,
                progress=progress.report,
            )
        except KeyboardInterrupt:
            progress.stop()
            print(
                f"aliascope: interrupted after {progress.epochs} epochs, kept in {folder}; run "
                "the same command with --resume to go on.",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None
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
    batch_size: BatchSize = 128,
    learning_rate: LearningRate = 1e-3,
    weight_decay: WeightDecay = 1e-4,
    precision: Precision = "auto",
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
        weight_decay=weight_decay,
        precision=_precision(precision, chosen[0]),
    )
    amplitudes = _numbers(noise, "noise", float)
    recipes: list[Recipe] = grid(names, amplitudes, _numbers(seeds, "seeds", int), like)
    with _SweepProgress() as progress:
        try:
            results = run_sweep(
                recipes,
                output,
                devices=chosen,
                jobs=len(chosen) if jobs is None else jobs,
                deterministic=deterministic,
                progress=progress.report,
            )
        except KeyboardInterrupt:
            progress.stop()
            print(
                f"aliascope: interrupted; what is trained is kept in {output}, and the same "
                "command goes on.",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None
    print(f"{len(recipes)} runs are in {results.path}")
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
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]))
    print(
        "\naccuracy: best epoch's, on the validation images, in %; fresh: its weights on a third "
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


def _numbers(text: str, name: str, kind: type[Any]) -> list[Any]:
    try:
        return [kind(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise AliascopeError(
            f"{name} is {text!r}, which is no list of numbers; write them as in 1,2,4."
        ) from None


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


class _TrainingProgress(BarOrLines):
    """Progress of a training."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            Rate(lambda _, rate: f"{rate:,.0f} images/s"),
            TimeRemainingColumn(),
            TextColumn("left{task.description}"),
        )
        self.epochs = 0

    def report(self, done: int, total: int, history: list[dict[str, Any]]) -> None:
        """Say how many images were seen, of how many, and how the last epoch ended."""
        self.epochs = len(history)
        best = max((row["validation_accuracy"] for row in history), default=None)
        after = "" if best is None else f"; epoch {self.epochs}, best so far {100 * best:.2f} %"
        if due := self.advance_to(done, total, after):
            rate, left = due
            self.say(f"{done / total:.0%}, {rate:,.0f} images/s, {left:.0f} min left{after}")


class _SweepProgress(BarOrLines):
    """Progress of a sweep."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} epochs,"),
            Rate(lambda _, rate: f"{60 * rate:.1f} a minute"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("left; {task.description}"),
        )

    def report(self, done: int, total: int, names: list[str]) -> None:
        """Say how many epochs are done, of how many, and what is being trained."""
        trained = ", ".join(names)
        if due := self.advance_to(done, total, trained):
            rate, left = due
            said = f"{done} of {total} epochs, {60 * rate:.1f} a minute, {left:.0f} min left"
            self.say(f"{said}; {trained}")
