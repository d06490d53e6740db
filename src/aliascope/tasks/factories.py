"""One's own networks: what a function in a module, which may lie here, returns."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.preprocessing import IMAGENET_PREPROCESSING, timm_recipe
from aliascope.models.weights import load_file, one_line, weights_file
from aliascope.tasks.names import refuse_name
from aliascope.tasks.plan import Plan


def plan_factory(factory: Callable[[], Any], name: str, weights: str) -> Plan:
    """Plan the network that one's own function returns; it is called at once."""
    file = None if weights in ("default", "none") else weights_file(name, weights)
    network = _call_factory(factory, name)
    published = getattr(network, "pretrained_cfg", None)
    recipe = timm_recipe(published) if published else IMAGENET_PREPROCESSING

    def load() -> nn.Module:
        if file is not None:
            load_file(name, network, file)
        return network

    return Plan(recipe, "factory" if file is None else weights, load)


def import_factory(name: str) -> Callable[[], Any]:
    """Import a function by its name, ``MODULE:FUNCTION``."""
    module_name, _, attribute = name.partition(":")
    with _importable_here():
        importlib.invalidate_caches()
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and f"{module_name}.".startswith(f"{error.name}."):
                refuse_name(name, f", nor a module {module_name}")
            raise AliascopeError(
                f"{module_name} needs the module {error.name}, which is not installed: install it."
            ) from error
        except Exception as error:
            raise AliascopeError(
                f"{module_name} could not be imported ({one_line(error)}): mend it first."
            ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 1)
            hint = f"write {near[0]}" if near else "name a function that it defines"
            raise AliascopeError(f"{module_name} has no {attribute}: {hint}.")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise AliascopeError(
            f"{name} is of type {type(found).__name__}, but it must be a function that returns "
            "the network: wrap it in one."
        )
    return found


def _call_factory(factory: Callable[[], Any], name: str) -> nn.Module:
    with _importable_here():
        try:
            network = factory()
        except AliascopeError:
            raise
        except Exception as error:
            raise AliascopeError(
                f"{name} failed when called without arguments ({one_line(error)}): mend it first."
            ) from error
    if not isinstance(network, nn.Module):
        raise AliascopeError(
            f"{name} returned an object of type {type(network).__name__}, but it must return a "
            "torch.nn.Module."
        )
    return network


@contextlib.contextmanager
def _importable_here() -> Iterator[None]:
    """Let modules of the current directory be imported, as ``python -m`` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
