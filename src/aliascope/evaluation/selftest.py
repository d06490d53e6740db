"""Checks of an installation: known answers, on the user's own device and versions, in a minute."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aliascope.categories import Category
from aliascope.errors import AliascopeError
from aliascope.evaluation.measure import measure
from aliascope.measures.engines import ENGINES, count_categories
from aliascope.runs.measurement import load
from aliascope.scope import Scope
from aliascope.seam.opening import evaluating
from aliascope.spectrum import Criterion, classify, folds
from aliascope.version import __version__

NETWORKS = ("resnet18", "mobilenet_v2", "densenet121", "swin_t")
"""Of torchvision, with random weights: convolutions, pooling, slices."""

SIDE = 64

PACKAGES = ("torch", "torchvision", "timm", "torchattacks", "numpy", "numba", "pandas", "zarr")

NEAR = 1e-4
"""Bins whose power is closer than this (log10) to the threshold may fall on either side."""


@dataclass(frozen=True)
class Outcome:
    """What a check came to.

    Attributes
    ----------
    name : str
        What was checked.
    passed : bool
        Whether it held.
    detail : str
        A figure, or what went wrong.
    seconds : float
        How long it took.
    """

    name: str
    passed: bool
    detail: str
    seconds: float


class _FailedError(Exception):
    """A check did not hold."""


def selftest(device: str = "cpu") -> Iterator[Outcome]:
    """Check this installation on a device.

    Parameters
    ----------
    device : str
        Such as "cpu" or "cuda:0".

    Yields
    ------
    Outcome
        One a check, as each ends.

    Examples
    --------
    >>> first = next(selftest())
    >>> first.name, first.passed
    ('closed-form signals', True)
    """
    place = torch.device(device)
    checks: list[tuple[str, Callable[[torch.device], str]]] = [
        ("closed-form signals", _closed_forms),
        *((f"engine {name} against the definition", _engine(name)) for name in _engines(place)),
        *((f"recomposition in {name}", _recomposition(name)) for name in NETWORKS),
        ("gradients through opened sites", _gradients),
        ("the network that comes along", _shipped),
        ("a run written and read back", _round_trip),
    ]
    for name, check in checks:
        began = time.monotonic()
        try:
            passed, detail = True, check(place)
        except (_FailedError, AliascopeError) as problem:
            passed, detail = False, str(problem)
        except Exception as problem:  # an installation may be broken in any way
            where = traceback.extract_tb(problem.__traceback__)[-1]
            line = str(problem).splitlines()[0] if str(problem) else ""
            passed = False
            detail = (
                f"{type(problem).__name__}: {line} ({Path(where.filename).name}:{where.lineno})"
            )
        yield Outcome(name, passed, detail, time.monotonic() - began)


def versions(device: str = "cpu") -> dict[str, str]:
    """Give what a report of a problem should say of the installation.

    Examples
    --------
    >>> versions()["aliascope"] == __version__
    True
    """
    found = {
        "aliascope": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    found["device"] = device
    if torch.device(device).type == "cuda":
        found["gpu"] = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return found


def _engines(device: torch.device) -> list[str]:
    names = [name for name in ENGINES if name != "auto"]
    return names if device.type == "cpu" else ["torch"]


def _closed_forms(device: torch.device) -> str:
    n = torch.arange(64, device=device, dtype=torch.float32)

    def tone(k: int) -> Tensor:
        return torch.cos(2 * math.pi * k * n / 64)

    cases = {
        "a tone below the new Nyquist rate": (tone(5), {Category.NO_PASS, Category.NON_ALIASED}),
        "a tone above it": (tone(27), {Category.NO_PASS, Category.ALIASED}),
        "two that fold onto each other": (tone(5) + tone(27), {Category.NO_PASS, Category.TANGLED}),
        "a delta": ((n == 0).float(), {Category.TANGLED}),
        "silence": (torch.zeros_like(n), {Category.NO_PASS}),
    }
    for name, (signal, expected) in cases.items():
        found = set(torch.unique(classify(signal, (2,), grid="native")).tolist())
        if found != {int(category) for category in expected}:
            raise _FailedError(f"{name} has the categories {sorted(found)}")
    return f"{len(cases)} signals"


def _engine(engine: str) -> Callable[[torch.device], str]:
    def check(device: torch.device) -> str:
        generator = torch.Generator().manual_seed(0)
        bins = wrong = 0
        for size, rate in (
            ((32, 32), (2, 2)),
            ((31, 20), (2, 3)),
            ((45, 40), (16, 16)),
            ((97,), (4,)),
            ((14, 56), (1, 2)),
        ):
            signal = torch.randn(2, 3, *size, generator=generator).cumsum(-1)
            for criterion in (Criterion(), Criterion(reference="mean", threshold_db=30.0)):
                counts = count_categories(signal.to(device), rate, criterion, engine=engine).cpu()
                expected, near = _counts_by_definition(signal.double(), rate, criterion)
                difference = (counts - expected).abs().sum(dim=2)
                bins += int(expected.sum())
                wrong += int((difference - 2 * near).clamp(min=0).sum())
        if wrong:
            raise _FailedError(f"{wrong} of {bins} bins differ")
        return f"{bins} bins"

    return check


def _counts_by_definition(
    signal: Tensor, rate: tuple[int, ...], criterion: Criterion
) -> tuple[Tensor, Tensor]:
    axes = len(rate)
    grid = criterion.grid_for(rate)
    category = classify(
        signal,
        rate,
        threshold_db=criterion.threshold_db,
        reference=criterion.reference,
        grid=grid,
    ).flatten(2)
    counts = torch.stack([(category == c).sum(dim=2) for c in Category], dim=2)
    split = folds(signal, rate, grid=grid)
    mean = split.mean(dim=tuple(range(2, 2 + axes))).abs().square().flatten(2)
    level = mean.amax(2) if criterion.reference == "max" else mean.mean(2)
    power = split.abs().square().flatten(2) / (level * criterion.power_ratio)[..., None]
    return counts, (power.log10().abs() < NEAR).sum(dim=2)


def _recomposition(name: str) -> Callable[[torch.device], str]:
    def check(device: torch.device) -> str:
        from torchvision import models

        torch.manual_seed(0)
        model = models.get_model(name, weights=None).eval().to(device)
        images = torch.rand(2, 3, SIDE, SIDE, device=device)
        with evaluating(model):
            expected = model(images)
            with Scope(model) as scope:
                output = model(images)
        _check_supported(scope)
        sites = scope.measurement().sites
        error = float(sites["recomposition_error"].max())
        apart = float((output - expected).abs().max() / expected.abs().max())
        if not (error < 1e-3 and apart < 1e-2):
            raise _FailedError(f"sites differ by {error:.1e}, outputs by {apart:.1e}")
        return f"{len(sites)} sites, largest difference {error:.0e}"

    return check


def _check_supported(scope: Scope) -> None:
    """Refuse sites that ran as they are: their outputs and gradients are right in any case."""
    for site in scope.sites:
        if not site.supported and not site.lossless:
            raise _FailedError(f"{site.name} ({site.op}) cannot be measured: {site.reason}")


def _gradients(device: torch.device) -> str:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.AvgPool2d(2)).to(device)
    images = torch.rand(2, 3, 33, 33, device=device, requires_grad=True)
    (expected,) = torch.autograd.grad(model(images).square().sum(), images)
    with Scope(model, detail=None) as scope:
        output = model(images)
    _check_supported(scope)
    (gradient,) = torch.autograd.grad(output.square().sum(), images)
    apart = float((gradient - expected).abs().max() / expected.abs().max())
    if not apart < 1e-3:
        raise _FailedError(f"they differ by {apart:.1e}")
    return f"largest difference {apart:.0e}"


def _shipped(device: torch.device) -> str:
    from aliascope.oscillations.images import Oscillations, split_seed
    from aliascope.tasks.models import load_model

    network = load_model("oscillations").network.to(device)
    images = Oscillations(400, noise=1.0, seed=split_seed(1, "test"))
    pixels, labels = images.batch(torch.arange(400, device=device))
    with evaluating(network):
        right = int((network(pixels).argmax(1) == labels).sum())
    if right < 388:
        raise _FailedError(f"it classifies {right} of 400 images correctly, not about 397")
    return f"{right} of 400 images classified correctly"


def _round_trip(device: torch.device) -> str:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2)).to(device)
    measurement = measure(model, [torch.rand(3, 3, 24, 24)], detail="pixel")
    with tempfile.TemporaryDirectory() as place:
        measurement.save(Path(place, "run"))
        again = load(Path(place, "run"))
        if not again.counts.equals(measurement.counts):
            raise _FailedError("the counts are not those that were written")
        category = again.category_map(again.sites["name"].iloc[0], 0)
    return f"{len(again.counts)} rows, a map of {' × '.join(map(str, category.shape))}"
