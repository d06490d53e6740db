"""Weights files: tensors are read from them, no code in them runs, and every entry fits."""

from __future__ import annotations

import argparse
import contextlib
import pickletools
import re
import urllib.error
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from aliascope.errors import AliascopeError

NESTED_KEYS = ("state_dict", "model", "state_dict_ema", "model_state_dict")
"""Where training scripts put the state dict inside a checkpoint, in the order looked for."""

MISFITS = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
"""What ``load_state_dict``, a module's ``set_extra_state`` and torchvision's builders raise when a
state dict does not fit."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before every name of a state dict."""

HARMLESS: list[Any] = [argparse.Namespace]
"""Of timm's checkpoints: data, which runs nothing."""

LONGEST_NAME = 100
"""Characters of what a file says it holds."""


def weights_file(name: str, weights: str, published: Sequence[str] = ()) -> Path:
    """Find the weights file that was asked for.

    Parameters
    ----------
    name : str
        Of the network, for the message.
    weights : str
        The file's path, which may begin with ``~``.
    published : sequence of str, optional
        Names that could have been given in place of a file, for the message.

    Returns
    -------
    pathlib.Path
        An existing file.

    Raises
    ------
    AliascopeError
        If there is no such file.
    """
    file = Path(weights).expanduser()
    if file.is_file():
        return file
    if file.is_dir():
        raise AliascopeError(f"weights is the folder {weights}, but it must be a file in it.")
    members = f"one of {', '.join(published)}, " if published else ""
    raise AliascopeError(
        f"weights is {weights!r}, which is no file and no known name: for {name} pass default, "
        f"none, {members}or an existing file."
    )


def read_state_dict(file: Path) -> Mapping[str, Tensor]:
    """Read the state dict in a weights file.

    Parameters
    ----------
    file : pathlib.Path
        As `read_checkpoint` reads it; the state dict alone, or under one of `NESTED_KEYS`.

    Returns
    -------
    mapping of str to Tensor
        On the CPU. The extra state of modules is numbers, words or containers of such.

    Raises
    ------
    AliascopeError
        As `read_checkpoint`, and if there is no state dict in it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "weights.pth")
    ...     torch.save({"epoch": 3, "state_dict": {"weight": torch.ones(2)}}, file)
    ...     read_state_dict(file)
    {'weight': tensor([1., 1.])}
    """
    content = read_checkpoint(file)
    for key in NESTED_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not any(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise AliascopeError(
            f"{file} holds no state dict: save one with torch.save(network.state_dict(), FILE)."
        )
    return content


def read_checkpoint(file: Path) -> Any:
    """Read a weights file: tensors, and plain values and containers, but nothing that runs code.

    Parameters
    ----------
    file : pathlib.Path
        Safetensors, by its ending, or what ``torch.save`` wrote.

    Returns
    -------
    object
        What was saved, its tensors on the CPU.

    Raises
    ------
    AliascopeError
        If the file is damaged, is no weights file, or holds other objects, which to read would
        mean to run code.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(file, device="cpu")
        except Exception as error:
            raise AliascopeError(
                f"{file} cannot be read as safetensors ({one_line(error)}): get the file anew."
            ) from error
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")
            return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:
        _refuse_file(file, error)


def _refuse_file(file: Path, error: Exception) -> NoReturn:
    held = _held_beside_tensors(file)
    if held:
        raise AliascopeError(
            f"{file} holds more than tensors ({held}), which could run code and is refused: save "
            "the weights alone with torch.save(network.state_dict(), FILE)."
        ) from error
    raise AliascopeError(
        f"{file} is not a weights file, or a damaged one ({one_line(error)}): get the file anew."
    ) from error


def _held_beside_tensors(file: Path) -> str:
    """Say what a file holds that could run code, without running it; "" where none is found."""
    with contextlib.suppress(Exception):  # Whatever a file that is none leads the readers to.
        if not zipfile.is_zipfile(file):
            return "objects" if _is_pickle(file) else ""
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return "TorchScript"
        with torch.serialization.safe_globals(HARMLESS):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0][:LONGEST_NAME]}{others}" if names else ""
    return ""


def _is_pickle(file: Path) -> bool:
    """Parse the file's first pickle."""
    with file.open("rb") as stream:
        return sum(1 for _ in pickletools.genops(stream)) > 1


def unwrapped(state: Mapping[str, Tensor], network: nn.Module | None = None) -> Any:
    """Take off the prefixes of `WRAPPER_PREFIXES`, save where the network's own names have them.

    Parameters
    ----------
    state : mapping of str to Tensor
        Left as it is.
    network : nn.Module, optional
        That the state dict is for.

    Returns
    -------
    OrderedDict of str to Tensor
        With the same tensors.

    Examples
    --------
    >>> list(unwrapped({"_orig_mod.module.weight": torch.ones(2)}))
    ['weight']
    """
    own = list(network.state_dict()) if network is not None else []
    result = copy_of_state(state)
    while prefix := next((each for each in WRAPPER_PREFIXES if _all_begin(result, each)), None):
        if _all_begin(own, prefix):
            break
        consume_prefix_in_state_dict_if_present(result, prefix)
    return result


def _all_begin(names: Collection[Any], prefix: str) -> bool:
    return bool(names) and all(str(name).startswith(prefix) for name in names)


def copy_of_state(state: Mapping[str, Tensor]) -> Any:
    """Copy a state dict, not its tensors: loaders take entries out of what they are given.

    Parameters
    ----------
    state : mapping of str to Tensor
        With or without ``_metadata``, the versions of its modules, by which torch understands
        old state dicts.

    Returns
    -------
    OrderedDict of str to Tensor
        With a copy of the metadata, where there is any.
    """
    result: Any = OrderedDict(state)
    if hasattr(state, "_metadata"):
        result._metadata = OrderedDict(state._metadata)
    return result


def load_file(
    name: str, network: nn.Module, file: Path, translate: Callable[..., Any] | None = None
) -> None:
    """Load a weights file that fits the network in every entry, or refuse it.

    Parameters
    ----------
    name : str
        Of the network, for the message.
    network : nn.Module
        Changed in place.
    file : pathlib.Path
        Of a kind that `read_state_dict` reads.
    translate : callable, optional
        Takes a state dict of another form and the network, and gives one that fits; tried where
        the state dict itself does not.

    Raises
    ------
    AliascopeError
        If the file cannot be read, or an entry is missing, unexpected or of the wrong shape.
    """
    state = unwrapped(read_state_dict(file), network)
    try:
        network.load_state_dict(state, strict=True)
        return
    except MISFITS as error:
        mismatch = error
    if translate is not None:
        with contextlib.suppress(Exception):
            network.load_state_dict(translate(copy_of_state(state), network), strict=True)
            return
    refuse_mismatch(name, file, mismatch)


def refuse_mismatch(name: str, file: Path, error: Exception) -> NoReturn:
    """Say in one sentence what torch says in as many lines as the network has entries.

    Parameters
    ----------
    name : str
        Of the network.
    file : pathlib.Path
        That does not fit it.
    error : Exception
        What ``load_state_dict`` raised, one of `MISFITS`.

    Raises
    ------
    AliascopeError
        Always.
    """
    text = str(error)
    parts = []
    for label, heading in (("missing", "Missing"), ("unexpected", "Unexpected")):
        line = re.search(rf"{heading} key\(s\) in state_dict: (.*)", text)
        entries = re.findall(r'"([^"]+)"', line.group(1)) if line else []
        if entries:
            parts.append(f"{len(entries)} {label} (first {entries[0]})")
    shapes = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch.Size\(\[(.*?)\]\) from "
        r"checkpoint, the shape in current model is torch.Size\(\[(.*?)\]\)",
        text,
    )
    if shapes:
        entry, there, here = shapes[0]
        parts.append(
            f"{len(shapes)} wrong-shaped (first {entry}, ({there}) in the file but ({here}) in the "
            "network)"
        )
    found = ", ".join(parts) or one_line(error)
    raise AliascopeError(
        f"{file} does not fit {name}, so nothing was loaded ({found}): pass a file saved from this "
        "network."
    ) from error


def one_line(error: BaseException) -> str:
    r"""Give an error's kind and the first line of what it says.

    Parameters
    ----------
    error : BaseException
        For one of ``urllib``, what caused it is described.

    Returns
    -------
    str
        Without a full stop, to stand within a sentence.

    Examples
    --------
    >>> one_line(OSError("No space.\nReally none."))
    'OSError: No space'
    """
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('. ')}" if lines else type(error).__name__
