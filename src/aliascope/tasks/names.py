"""How models are named, and which names are near one that there is not."""

from __future__ import annotations

import contextlib
import difflib
from typing import NoReturn

from aliascope.errors import AliascopeError

NAMES = (
    "torchvision:NAME, timm:NAME, hf:NAME, hf:FOLDER, efficientnet_lite0, oscillations, "
    "oscillations:RUN or, for a function that returns your own network, MODULE:FUNCTION"
)
"""How the name of a model is written."""


def refuse_name(name: str, nor: str = "") -> NoReturn:
    """Say which names are near one that no model has.

    Parameters
    ----------
    name : str
        As given.
    nor : str, optional
        What else it could have been, and is not.

    Raises
    ------
    AliascopeError
        Always.

    Examples
    --------
    >>> refuse_name("torchvision:resnet500")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: There is no model 'torchvision:resnet500' (the nearest are ...
    """
    near = ", ".join(_close_names(name))
    nearest = f" (the nearest are {near})" if near else ""
    raise AliascopeError(f"There is no model {name!r}{nor}{nearest}: names are written {NAMES}.")


def _close_names(name: str) -> list[str]:
    from torchvision import models

    source, _, bare = name.rpartition(":")
    # Within the source that was named, where it is one; a misspelt module matches anything.
    known = []
    if source != "timm":
        known += [f"torchvision:{each}" for each in models.list_models()]
    if source != "torchvision":
        known += ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "oscillations"]
        with contextlib.suppress(ImportError):
            import timm

            known += [f"timm:{each}" for each in timm.list_models()]
    bare = bare.partition(".")[0].lower()
    shorts = sorted({full.rpartition(":")[2] for full in known})
    ranked = difflib.get_close_matches(bare, shorts, n=3, cutoff=0.5)
    return [full for each in ranked for full in known if full.rpartition(":")[2] == each][:3]
