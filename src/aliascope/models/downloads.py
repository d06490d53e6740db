"""Published networks: built by their library, from its cache or a download that ends.

What reads the files is never the library, which could run code that is in them.
"""

from __future__ import annotations

import contextlib
import http.client
import inspect
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.models.weights import (
    MISFITS,
    copy_of_state,
    one_line,
    read_checkpoint,
    read_state_dict,
    refuse_mismatch,
)

DOWNLOAD_TIMEOUT = 30.0
"""Seconds without a byte after which a download counts as failed."""


HUB_TIMEOUT = 7.0
"""Seconds to wait for an address of the hub, of which there are four."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a network's weights on the hub, in the order looked for."""


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
    return _read_cached(_file_of_url(url, name), name, read_state_dict)


def _file_of_url(url: str, name: str) -> Path:
    """Find a file in torch's cache, or download it into it."""
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
            _refuse_download(name, url, error)
    return file


def _file_of_hub(repository: str, files: Sequence[str], name: str) -> Path:
    """Find the first of some files in the hub's cache, or download it into it."""
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, tag = repository.partition("@")
    revision = tag or None
    for file in files:
        there = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(there, str):
            return Path(there)
    urls = {file: hf_hub_url(repository, file, revision=revision) for file in files}
    try:
        for file, url in urls.items():
            with contextlib.suppress(EntryNotFoundError):
                # Asked once: where there is no network the download would try for a minute.
                get_hf_file_metadata(url, timeout=HUB_TIMEOUT)
                return Path(hf_hub_download(repository, file, revision=revision))
        raise FileNotFoundError(f"{repository} holds none of {', '.join(files)}")
    except Exception as error:  # The hub's client raises its own, its transport's and the system's.
        _refuse_download(name, urls[files[0]], error)


def _read_cached(file: Path, name: str, read: Callable[[Path], Any]) -> Any:
    try:
        return read(file)
    except AliascopeError as error:
        # The file itself, since the hub's client would link to a damaged one again.
        raise AliascopeError(
            f"{file.resolve()}, cached for {name}, cannot be read: delete it, and it is downloaded "
            "anew."
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
        If they are neither cached nor to be downloaded, or the cached file is damaged.
    """
    import timm

    if published.hf_hub_id:
        named = published.hf_hub_filename
        file = _file_of_hub(published.hf_hub_id, (named,) if named else HUB_FILES, name)
    else:
        file = _file_of_url(published.url, name)
    content = _read_cached(file, name, read_checkpoint)
    try:
        overlay = {"state_dict": dict(content)}
        network: Any = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay=overlay
        )
    except MISFITS as error:
        refuse_mismatch(name, file, error)
    network.pretrained_cfg.pop("state_dict", None)  # or the network would hold its weights twice
    return network


def _refuse_download(name: str, url: str, error: Exception) -> NoReturn:
    raise AliascopeError(
        f"The weights of {name} could not be downloaded ({one_line(error)}): get {url} where there "
        "is a network and pass it with --weights FILE."
    ) from error


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
