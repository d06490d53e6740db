"""The command ``aliascope``: options in, a run directory, a table or a figure out."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from aliascope.commands.ablate import ablate
from aliascope.commands.advise import advise
from aliascope.commands.allocation import keep_freed_memory
from aliascope.commands.check import check
from aliascope.commands.compare import compare
from aliascope.commands.console import refuse, say_warning
from aliascope.commands.evaluate import evaluate
from aliascope.commands.filters import filters
from aliascope.commands.help import Grouped, InOrderOfUse
from aliascope.commands.imagenet import imagenet_app
from aliascope.commands.oscillations import oscillations_app
from aliascope.commands.plot import plot_app
from aliascope.commands.progress import INTERRUPTED
from aliascope.commands.report import report
from aliascope.commands.selftest import selftest
from aliascope.commands.shift import shift
from aliascope.commands.show import show
from aliascope.commands.sites import sites
from aliascope.errors import AliascopeError
from aliascope.version import __version__

app = typer.Typer(
    name="aliascope",
    cls=InOrderOfUse,
    help="Measure where, and how much, a PyTorch vision network aliases.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(plot_app, name="plot")
app.add_typer(imagenet_app, name="imagenet")
app.add_typer(oscillations_app, name="oscillations")
for command in (sites, show, compare, filters, advise, check, report, selftest):
    app.command()(command)
app.command(cls=Grouped)(evaluate)
app.command(cls=Grouped)(ablate)
app.command(cls=Grouped)(shift)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"aliascope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_say_version
        ),
    ] = False,
) -> None:
    pass


def _joined_epsilons(words: list[str]) -> list[str]:
    """Let ``--eps 0 0.001 0.01`` be written with spaces, which typer's options cannot take."""
    joined: list[str] = []
    for word in words:
        numbers = joined[-1].split(",") if len(joined) > 1 and joined[-2] == "--eps" else []
        if numbers and all(map(_is_number, [*numbers, word])):
            joined[-1] += f",{word}"
        else:
            joined.append(word)
    return joined


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def main(args: list[str] | None = None) -> None:
    """Run the command; bad input is one sentence on standard error and exit code 2.

    Parameters
    ----------
    args : list of str, optional
        Arguments; those of the process by default.

    Examples
    --------
    >>> main(["show", "no/such/run"])
    Traceback (most recent call last):
    SystemExit: 2
    """
    if args is None:  # the process is this command's own
        keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every encoding has × and █
    command: Any = typer.main.get_command(app)
    warnings.showwarning = say_warning
    try:
        words = _joined_epsilons(sys.argv[1:] if args is None else args)
        code = command.main(args=words, prog_name="aliascope", standalone_mode=False)
        sys.stdout.flush()
    except AliascopeError as error:
        refuse(str(error))
    except SystemExit:  # click's own end where the reader has gone
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            raise SystemExit(0) from None
        raise
    except BrokenPipeError:  # whoever reads, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        print("aliascope: interrupted.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        # Typer's own complaints, whichever copy of click it brings.
        complaint = getattr(error, "format_message", None)
        if complaint is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(complaint())
            raise SystemExit(2) from None
        context = getattr(error, "ctx", None)
        where = f" (see {context.command_path} -h)" if context else ""
        refuse(f"{complaint().rstrip('.')}{where}.")
    raise SystemExit(code or 0)
