"""The command ``aliascope selftest``: pass or fail, and the versions to paste into a report."""

from __future__ import annotations

import typer
from rich.table import Table

from aliascope.commands.choices import Device
from aliascope.commands.console import console_for_tables


def selftest(
    device: Device = "auto",
) -> None:
    """Check this installation: known answers, on your device and versions, in a minute."""
    from aliascope.evaluation.selftest import selftest as checks
    from aliascope.evaluation.selftest import versions
    from aliascope.models.devices import automatic_device, check_device

    chosen = automatic_device(device)
    check_device(chosen)
    failed = 0
    for outcome in checks(chosen):
        failed += not outcome.passed
        word = "pass" if outcome.passed else "FAIL"
        print(f"{word}  {outcome.name:40} {outcome.detail} ({outcome.seconds:.1f} s)", flush=True)
    print()
    found = Table.grid(padding=(0, 2))
    for name, version in versions(chosen).items():
        found.add_row(name, version)
    console_for_tables().print(found, highlight=False)
    if failed:
        checks_failed = "1 check" if failed == 1 else f"{failed} checks"
        print(f"\n{checks_failed} failed; please report it with all of the above.")
        raise typer.Exit(1)
    print("\nall checks passed")
