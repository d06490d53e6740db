"""The commands ``aliascope imagenet``: ImageNet's validation images, sorted and checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from aliascope.commands.progress import Report, interruptible, progress
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.data.imagenet.folder import FolderCheck, Step

imagenet_app = typer.Typer(
    help="Prepare ImageNet's validation images (ask image-net.org for permission and the files).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Images = Annotated[
    int, typer.Option(metavar="N", help="Images of the complete set; less for a test archive.")
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify", help="Decode every image, rather than look at its first and last bytes."
    ),
]


@imagenet_app.command()
def prepare(
    archive: Annotated[
        Path,
        typer.Argument(metavar="ARCHIVE", help="ILSVRC2012_img_val.tar.", show_default=False),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Made where needed.", show_default=False)
    ],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="ILSVRC2012_devkit_t12.tar.gz, the script valprep.sh (read, not run), or a CSV "
            "table of file,wnid.",
            show_default=False,
        ),
    ],
    md5: Annotated[
        bool, typer.Option("--md5", help="First check that the archive is the official one.")
    ] = False,
    images: Images = 50_000,
    verify: Verify = False,
) -> None:
    """Sort the images into class folders.

    Interrupted, the same command goes on. It ends as the command check does.
    """
    from aliascope.data.imagenet.prepare import prepare as prepare_images

    def kept() -> str:
        copied = f"; the images copied so far are kept in {folder}" if folder.exists() else ""
        return f"{copied}; run the same command again to go on."

    with interruptible(kept), progress() as report:
        done = prepare_images(
            archive, folder, labels, md5=md5, images=images, verify=verify, progress=_by(report)
        )
    _tell(done.notes)
    _conclude(done.check, f" ({done.copied:,} copied, {done.kept:,} there before)")


@imagenet_app.command()
def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Of class folders.", show_default=False),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="As for prepare; then every image is also checked to be in its class.",
        ),
    ] = None,
    images: Images = 50_000,
    verify: Verify = False,
) -> None:
    """Check that a folder is complete.

    Counts the images of each class, and finds what is missing, damaged or out of place.
    """
    from aliascope.data.imagenet.folder import check_folder
    from aliascope.data.imagenet.labels import read_labels

    with progress() as report:
        result = check_folder(
            folder,
            labels=None if labels is None else read_labels(labels),
            images=images,
            verify=verify,
            progress=_by(report),
        )
    _tell(result.notes)
    _conclude(result)


def _tell(notes: list[str]) -> None:
    for note in notes:
        print(f"aliascope: {note}", file=sys.stderr)


def _conclude(result: FolderCheck, done: str = "") -> None:
    if result.problem:
        raise AliascopeError(result.problem)
    print(f"{result.folder} is complete: {result.summary}{done}.")


def _rate(step: str, speed: float) -> str:
    """Write bytes or images a second."""
    return f"{speed:,.0f} images/s" if step == "checking" else f"{decimal(int(speed))}/s"


def _by(report: Report) -> Callable[[Step, int, int], None]:
    """Say how much of a step is done, of how much."""
    return lambda step, done, total: report(step, done, total, lambda speed: _rate(step, speed))
