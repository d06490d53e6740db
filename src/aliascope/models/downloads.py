"""Published networks: built by their library, from its cache or a download that ends.

What reads the files is never the library, or reads tensors only: a file could run code.
"""

from __future__ import annotations

import contextlib
import http.client
import inspect
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.models.weights import copy_of_state, one_line, read_state_dict

DOWNLOAD_TIMEOUT = 30.0
"""Seconds without a byte after which a download counts as failed."""


def read_published(url: str, name: str) -> Mapping[str, Tensor]:
    """Read a published file from torch's own cache, downloading it first where needed.

    Parameters
    ----------
    url : str
        Where torchvision publishes it; the file's name may end in the beginning of its SHA-256,
        which is then checked.
    name : str
        Of the network, for the message.

    Returns
    -------
    mapping of str to Tensor
        On the CPU.

    Raises
    ------
    AliascopeError
        If the download fails or the cached file is damaged or holds code.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", published_file_name(url))
    if not file.exists():
        digits = torch.hub.HASH_REGEX.search(file.name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _impatient_downloads():
                # Writes beside the file and moves it when whole and of the right hash.
                torch.hub.download_url_to_file(
                    url,
                    str(file),
                    hash_prefix=digits.group(1) if digits else None,
                    progress=sys.stderr.isatty(),
                )
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            _refuse_download(name, url, one_line(error), error)
    try:
        return read_state_dict(file)
    except AliascopeError as error:
        raise AliascopeError(
            f"{file}, cached for {name}, cannot be read: delete it, and it is downloaded anew."
        ) from error


def published_file_name(url: str) -> str:
    """Give the name that a published file has in the cache.

    Parameters
    ----------
    url : str
        Where it is published.

    Returns
    -------
    str
        Its last part.

    Examples
    --------
    >>> published_file_name("https://download.pytorch.org/models/resnet18-f37072fd.pth")
    'resnet18-f37072fd.pth'
    """
    return os.path.basename(urlparse(url).path)


def build_torchvision(architecture: str, member: Any = None) -> nn.Module:
    """Have torchvision make a network.

    Parameters
    ----------
    architecture : str
        Its name in torchvision.
    member : torchvision.models.WeightsEnum, optional
        Its published weights; random ones without.

    Returns
    -------
    nn.Module
        No part of which was downloaded, without ``member``.
    """
    from torchvision import models

    builder = models.get_model_builder(architecture)
    options: dict[str, Any] = {"weights": member}
    if member is None and "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    with warnings.catch_warnings():
        # Of the initialisation's future default; it is overwritten or wanted as it is.
        warnings.simplefilter("ignore", FutureWarning)
        return builder(**options)


def build_published_torchvision(
    architecture: str, member: Any, state: Mapping[str, Tensor]
) -> nn.Module:
    """Have torchvision make a network as published, from a state dict already read.

    The builders choose more than the values by the weights (frozen norms, auxiliary heads, the
    picture's size, an epsilon), so they are given the published weights, with the reading of the
    file taken out of their hands: theirs would unpickle it.

    Parameters
    ----------
    architecture : str
        Its name in torchvision.
    member : torchvision.models.WeightsEnum
        Its published weights.
    state : mapping of str to Tensor
        Loaded in their place; left as it is.

    Returns
    -------
    nn.Module
        With the values of ``state``; one of `aliascope.models.weights.MISFITS` is raised
        where it does not fit.
    """
    member.get_state_dict = lambda *_, **__: copy_of_state(state)
    try:
        return build_torchvision(architecture, member)
    finally:
        del member.get_state_dict


def build_published_timm(name: str, architecture: str, published: Any) -> nn.Module:
    """Have timm make a network with its published weights, from its cache or the network.

    Parameters
    ----------
    name : str
        Of the network, for the message.
    architecture : str
        Its name in timm, with or without a tag.
    published : timm.models.PretrainedCfg
        What timm publishes under that name.

    Returns
    -------
    nn.Module
        With the weights.

    Raises
    ------
    AliascopeError
        If they are neither cached nor to be downloaded.
    """
    import timm

    url = published.url
    if published.hf_hub_id:
        from huggingface_hub import constants

        file = published.hf_hub_filename or "model.safetensors"
        url = f"{constants.ENDPOINT}/{published.hf_hub_id}/resolve/main/{file}"
    unreachable = _unreachable(url)
    try:
        with _tensors_only(), _hub_offline(bool(unreachable)), _impatient_downloads():
            return timm.create_model(architecture, pretrained=True)
    except Exception as error:
        _refuse_download(name, url, unreachable or one_line(error), error)


def _refuse_download(name: str, url: str, reason: str, error: Exception) -> NoReturn:
    raise AliascopeError(
        f"The weights of {name} could not be downloaded ({reason}): get {url} where there is a "
        "network and pass it with --weights FILE."
    ) from error


def _unreachable(url: str) -> str:
    """Ask once, so that the hub's client, which tries for a minute, need not; "" when reached."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=10):
            return ""
    except urllib.error.HTTPError:
        return ""  # Whatever it answered, it is there.
    except urllib.error.URLError as error:
        # The hub's client may know certificates that Python does not.
        return "" if isinstance(error.reason, ssl.SSLError) else one_line(error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return one_line(error)


@contextlib.contextmanager
def _hub_offline(offline: bool) -> Iterator[None]:
    """Have the hub's client, where ``offline``, look in its cache only."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _tensors_only() -> Iterator[None]:
    """Have every ``torch.load`` in somebody else's code read tensors only."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


@contextlib.contextmanager
def _impatient_downloads() -> Iterator[None]:
    """Give downloads, which wait for ever by themselves, an end; keep them off standard output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)
