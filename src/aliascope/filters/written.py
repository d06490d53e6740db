"""A filter and its sites written in a word, as on a command line: ``blur:3@layer1,layer2``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.filters.antialias import Antialiasing, antialias
from aliascope.filters.names import FilterName


def read_written(text: str) -> tuple[str, tuple[str, ...] | None]:
    """Read ``NAME`` or ``NAME@SITE,...``.

    Parameters
    ----------
    text : str
        Name of a filter, and of sites or of modules that hold them; at all sites without these.

    Returns
    -------
    str
        Name of the filter.
    tuple of str or None
        Names of sites; None for all.

    Raises
    ------
    AliascopeError
        If there is no such filter, or nothing follows the @.

    Examples
    --------
    >>> read_written("blur:3"), read_written("ideal@conv1,layer2")
    (('blur:3', None), ('ideal', ('conv1', 'layer2')))
    """
    name, at, rest = text.partition("@")
    FilterName.read(name)
    sites = tuple(word.strip() for word in rest.split(",") if word.strip())
    if at and not sites:
        raise AliascopeError(f"filter is {text!r}, which names no site after the @; leave it out.")
    return name, sites or None


@contextlib.contextmanager
def filtering(model: nn.Module, text: str | None) -> Iterator[None]:
    """Filter a model as written, within the context; None leaves it as it is."""
    if text is None:
        yield
        return
    with antialias_as_written(model, text):
        yield


def antialias_as_written(model: nn.Module, text: str) -> Antialiasing:
    """Filter a model as written.

    Parameters
    ----------
    model : nn.Module
        See :func:`aliascope.antialias`.
    text : str
        See :func:`read_written`.

    Examples
    --------
    >>> antialias_as_written(nn.Sequential(nn.MaxPool2d(2)), "blur:3@0")
    <blur:3 at 0 of Sequential (mirror, output)>
    """
    name, sites = read_written(text)
    return antialias(model, name, sites=sites)
