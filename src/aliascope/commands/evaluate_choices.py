"""Options of the command ``aliascope evaluate`` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataName = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        metavar="samples|noise[:N]|oscillations[:A]|FOLDER|SHARDS",
        help="20 photographs that come with a package; N images of 1/f noise, for where there are "
        "none; 10,000 images of oscillations; or a folder: of class folders named by "
        "WordNet id or class index, of images without labels, or of shards (.tar as WebDataset "
        "has them, .parquet), which may also be given as FILE, 'val-*.tar' or "
        "'val-{000..063}.tar'.",
    ),
]


RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Folder of the run.",
        show_default="runs/MODEL-DATA",
    ),
]


Start = Annotated[int, typer.Option(help="First image, counted from 0.")]


MaxSamples = Annotated[
    int | None, typer.Option(help="Images to measure at most.", show_default="all")
]


BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Images in a pass.")]


Workers = Annotated[
    int | None,
    typer.Option(help="Processes that decode images.", show_default="cores, at most 8"),
]


ThresholdDb = Annotated[
    float,
    typer.Option(
        metavar="DB", help="A fold passes above this many decibels below the reference level."
    ),
]


Reference = Annotated[
    str,
    typer.Option(
        metavar="max|mean",
        help="Reference level: the largest or the mean power of the decimated spectrum, per "
        "sample and channel.",
    ),
]


Grid = Annotated[
    str | None,
    typer.Option(
        metavar="auto|seed|native",
        help="Bins of the spectrum: as many as the dense signal has samples (seed, as "
        "published) or as the decimated one (native); auto: seed up to rate 2.",
        show_default="auto; seed with --accounting published",
    ),
]


FoldScale = Annotated[
    str | None,
    typer.Option(
        metavar="auto|unit|contribution",
        help="Compare folds as they are (unit, as published), divided by their number "
        "(contribution), or so that every rate is treated as 2×2 is (auto).",
        show_default="auto; unit with --accounting published",
    ),
]


Measures = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="What is measured: energy (how much aliases), categories (as published), floor (the "
        "categories of what cannot alias), thresholds (10 to 60 dB).",
    ),
]


FloorSamples = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Measure floor and thresholds of the first N images; 0 leaves them out.",
    ),
]


Channels = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Measure N channels of each image and site, drawn by the seed: in less time, with "
        "wider intervals.",
        show_default="all",
    ),
]


Detail = Annotated[
    str,
    typer.Option(
        metavar="site|channel|pixel|folds",
        help="What to keep: counts per site, per channel too, the category of every bin too, "
        "the complex folds too (large: 170 MB an image for a ResNet-34).",
    ),
]


Precision = Annotated[
    str,
    typer.Option(
        metavar="float32|bfloat16",
        help="Of the network's products, measured and attacked; its signals are measured in "
        "float32.",
    ),
]


SaveFeatures = Annotated[
    bool, typer.Option("--save-features", help="Keep the input of the classifier's last layer.")
]


Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]


MaxBad = Annotated[
    float,
    typer.Option(metavar="FRACTION", help="Stop when more of the images than this cannot be read."),
]


Shard = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Measure the K-th of N shares of the batches, into a folder that all N use; the "
        "last to end concludes the run.",
        show_default="all of them",
    ),
]


AttackName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Attack the images: pgd, fgsm, or a class of torchattacks."),
]


Eps = Annotated[
    str,
    typer.Option(
        metavar="EPS,...",
        help="Largest disturbances of a pixel, on [0, 1]; each image is measured at each.",
    ),
]


AttackSteps = Annotated[int, typer.Option(help="Steps of an iterated attack.")]


AttackStepSize = Annotated[
    float | None,
    typer.Option(
        metavar="STEP", help="Step, on pixels in [0, 1].", show_default="2.5 * EPS / steps"
    ),
]


AttackArguments = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="More for the torchattacks class; repeatable."),
]


CompileAttack = Annotated[
    bool,
    typer.Option("--compile", help="Compile the network (torch.compile) for an attack's steps."),
]


SaveAdversarial = Annotated[
    int, typer.Option(metavar="N", help="Keep the disturbed pixels of the first N images.")
]


Interpolation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="bilinear, bicubic, nearest, ... Default: the weights' recipe."
    ),
]


Mean = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Mean of the normalisation, of pixels in [0, 1]. Default: the weights' recipe.",
    ),
]


Std = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Standard deviation of the normalisation. Default: the weights' recipe.",
    ),
]
