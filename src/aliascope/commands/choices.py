"""Options that several commands have, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aliascope.errors import AliascopeError

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="torchvision:NAME, timm:NAME, hf:NAME[@REVISION] or hf:FOLDER (an image classifier of "
        "transformers), efficientnet_lite0 (1, 2), oscillations (a network that comes with "
        "Aliascope) or oscillations:RUN (a training of yours), or MODULE:FUNCTION for a function "
        "that returns your own network.",
    ),
]


Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        metavar="default|none|FILE",
        help="Published weights, random ones (from --seed), or a file: safetensors, or a state "
        "dict saved by torch.save.",
    ),
]


Resize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Resize the shorter side to this; 0 does not resize. Default: the weights' recipe.",
    ),
]


Crop = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Cut a centred square of this size; 0 does not crop. Default: the weights' recipe.",
    ),
]


Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; auto takes cuda where it is."),
]


Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|torch|numba",
        help="What counts: torch on any device, or compiled code on a CPU; auto takes the faster.",
    ),
]


Workspace = Annotated[
    float | None,
    typer.Option(
        metavar="MB",
        help="Memory that measuring may take beside the network's own.",
        show_default="256 on a CPU, 1024 on a GPU",
    ),
]


Seed = Annotated[int, typer.Option(help="Seed of random numbers, random weights included.")]


Accounting = Annotated[
    str,
    typer.Option(
        metavar="exact|published",
        help="exact: the categories partition the bins. published: as the authors' code counted "
        "(see docs/definitions.md).",
    ),
]


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]


Palette = Annotated[
    str, typer.Option(metavar="paper|colour-blind", help="Colours of the categories.")
]


Figure = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="PNG, SVG or PDF, by its ending.",
        show_default="RUN/FIGURE.png",
    ),
]


LOOK: dict[str, tuple[Any, Any]] = {
    "width": (
        Annotated[
            str,
            typer.Option(metavar="one|two", help="Columns of a paper: 3.5 or 7.16 inches wide."),
        ],
        "one",
    ),
    "font_size": (
        Annotated[
            float | None,
            typer.Option(
                metavar="PT",
                help="Points of all text, from 5 to 12.",
                show_default="7.5; ticks, names and caption 6.5",
            ),
        ],
        None,
    ),
    "title": (
        Annotated[str, typer.Option(metavar="TEXT", help="Written above.", show_default="none")],
        "",
    ),
    "no_caption": (
        Annotated[bool, typer.Option("--no-caption", help="Leave out what is said below.")],
        False,
    ),
}
"""Of every figure: type and default."""


Intervene = Annotated[
    list[str] | None,
    typer.Option(
        "--intervene",
        metavar="NAME[:DOSE][@SITE,...]",
        help="Change the dense signals, at all sites or those named: remove, restore, gain or low; "
        "repeatable, recorded.",
        show_default="none",
    ),
]


AsJson = Annotated[
    bool, typer.Option("--json", help="Print all numbers as JSON, and nothing else.")
]


AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print the table's numbers as CSV, and nothing else.")
]


AtCondition = Annotated[
    str | None,
    typer.Option(
        "--condition",
        metavar="NAME",
        help="Which of the run's conditions, such as 'pgd eps=0.001', or eps=0.001 for short.",
        show_default="clean, or the first",
    ),
]


Epochs = Annotated[int, typer.Option(help="Passes through the training images.")]


Frequencies = Annotated[int, typer.Option(help="Frequencies a side; classes are as many squared.")]


TrainImages = Annotated[
    int, typer.Option(help="Training images, rounded up to equal numbers a class.")
]


ValidationImages = Annotated[int, typer.Option(help="Validation images, rounded up likewise.")]


TrainingBatch = Annotated[int, typer.Option("--batch-size", "-b", help="Images in a step.")]


LearningRate = Annotated[float, typer.Option(help="Of Adam; a tenth of it after the decay.")]


DecayEpoch = Annotated[
    int, typer.Option(min=1, help="First epoch, counted from 1, at a tenth of the learning rate.")
]


WeightDecay = Annotated[float, typer.Option(help="Coefficient of Adam's L2 penalty.")]


TrainingPrecision = Annotated[
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


def file_name(text: str) -> str:
    """Make a name fit for a folder: torchvision:resnet34 becomes torchvision-resnet34."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in text.rstrip("/"))
    return kept.strip("-.") or "run"


def numbers(text: str, name: str, kind: type[Any] = float) -> list[Any]:
    """Read a list of numbers, with commas or spaces between them.

    Parameters
    ----------
    text : str
        Such as "0.5,0.5,0.5".
    name : str
        What it is, for whoever wrote something else.
    kind : type
        float or int.

    Returns
    -------
    list

    Raises
    ------
    AliascopeError
        If it is no such list.

    Examples
    --------
    >>> numbers("1, 2 4", "noise", int)
    [1, 2, 4]
    """
    try:
        return [kind(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise AliascopeError(
            f"{name} is {text!r}, which is no list of numbers; write them as in 1,2,4."
        ) from None
