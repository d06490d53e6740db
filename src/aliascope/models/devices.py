"""Devices by name."""

from __future__ import annotations

import torch

from aliascope.errors import AliascopeError, first_line


def automatic_devices() -> list[str]:
    """List the GPUs there are, or the CPU alone."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def automatic_device(name: str) -> str:
    """Take a device at its name, and "auto" for CUDA's current device or else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises
    ------
    AliascopeError
        Naming it.
    """
    try:
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise AliascopeError(
            f"device is {device!r}, which is not to be had here ({first_line(error)}); "
            "pass cpu, or cuda where torch finds a GPU."
        ) from error
