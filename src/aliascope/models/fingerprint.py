"""The fingerprint of a network's weights: one hash of every entry of its state dict."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Set
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError

SCALARS = (bool, int, float, complex, str, torch.dtype, torch.device)
"""What ``repr`` writes out exactly."""


def state_sha256(network: nn.Module) -> str:
    """Give the fingerprint of a network's weights, whatever file or seed they came from.

    Parameters
    ----------
    network : nn.Module
        On any device.

    Returns
    -------
    str
        SHA-256, in hexadecimal, over the state dict's entries in the order of their names: name,
        dtype, shape and raw bytes. The extra state of a module, which may be anything, counts by
        its values: numbers, words, bytes, tensors, arrays, and mappings, sequences and sets of
        such. Any other object counts by its type alone, since nothing defines its bytes.

    Raises
    ------
    AliascopeError
        If the network has tensors without values: lazy ones, or on the meta device.

    Examples
    --------
    >>> a, b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    >>> state_sha256(a) == state_sha256(b)
    True
    >>> nn.init.zeros_(b.weight).sum().item()
    0.0
    >>> state_sha256(a) == state_sha256(b)
    False
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}\0".encode())
        for piece in _pieces(name, value):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(name: str, value: Any) -> Iterator[bytes]:
    """Write a value so that no other value, nor two in a row, are written alike."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        yield from _tensor_pieces(name, value)
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype.str}\0{value.shape}\0".encode()
        if value.dtype.hasobject:
            yield from _pieces(name, value.tolist())
        else:
            yield value.tobytes()
    elif isinstance(value, Mapping):
        entries = sorted(((_whole(name, key), key) for key in value), key=itemgetter(0))
        yield f"mapping\0{len(entries)}\0".encode()
        for written, key in entries:
            yield written
            yield from _pieces(name, value[key])
    elif isinstance(value, list | tuple):
        yield f"sequence\0{len(value)}\0".encode()
        for item in value:
            yield from _pieces(name, item)
    elif isinstance(value, Set):
        yield f"set\0{len(value)}\0".encode()
        yield from sorted(_whole(name, item) for item in value)
    elif isinstance(value, bytes | bytearray | io.BytesIO):
        content = value.getvalue() if isinstance(value, io.BytesIO) else bytes(value)
        yield f"bytes\0{len(content)}\0".encode() + content
    elif value is None or isinstance(value, SCALARS):
        yield f"{kind}\0{value!r}\0".encode(errors="backslashreplace")
    else:
        yield f"{kind}\0".encode()


def _whole(name: str, value: Any) -> bytes:
    return b"".join(_pieces(name, value))


def _tensor_pieces(name: str, value: Tensor) -> Iterator[Any]:
    if nn.parameter.is_lazy(value):
        raise AliascopeError(
            f"The network's {name} is lazy and has no value yet: run the network once before "
            "handing it over."
        )
    if value.is_meta:
        raise AliascopeError(
            f"The network's {name} is on the meta device, where it has no values: make it on cpu."
        )
    yield f"{value.dtype}\0{tuple(value.shape)}\0".encode()
    value = value.detach().cpu()
    value = value.int_repr() if value.is_quantized else value.to_dense()
    value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    yield value.contiguous().reshape(-1).view(torch.uint8).numpy().data
