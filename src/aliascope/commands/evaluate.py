"""The command ``aliascope evaluate``: images through a model, into a run directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliascope.commands import evaluate_choices as choice
from aliascope.commands.choices import (
    Accounting,
    Crop,
    Device,
    Engine,
    Intervene,
    ModelName,
    Resize,
    Seed,
    Weights,
    Workspace,
    file_name,
    numbers,
)
from aliascope.commands.console import console_for_tables
from aliascope.commands.filter_choice import FilterChoice
from aliascope.commands.progress import going_through_images
from aliascope.commands.show import show_measurement
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from rich.console import Console

    from aliascope.data import Images
    from aliascope.evaluation.options import Options
    from aliascope.evaluation.team import Team
    from aliascope.runs.measurement import Measurement
    from aliascope.spectrum import Criterion
    from aliascope.tasks.models import LoadedModel


def evaluate(
    model: ModelName,
    data: choice.DataName,
    output: choice.RunFolder = None,
    weights: Weights = "default",
    start: choice.Start = 0,
    max_samples: choice.MaxSamples = None,
    batch_size: choice.BatchSize = 16,
    workers: choice.Workers = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workspace: Workspace = None,
    seed: Seed = 0,
    threshold_db: choice.ThresholdDb = 20.0,
    reference: choice.Reference = "max",
    grid: choice.Grid = None,
    fold_scale: choice.FoldScale = None,
    measures: choice.Measures = "energy,categories,floor,thresholds",
    floor_samples: choice.FloorSamples = 16,
    channels: choice.Channels = None,
    detail: choice.Detail = "site",
    precision: choice.Precision = "float32",
    intervene: Intervene = None,
    filter: FilterChoice = None,
    save_features: choice.SaveFeatures = False,
    resume: choice.Resume = False,
    max_bad: choice.MaxBad = 0.01,
    shard: choice.Shard = None,
    attack: choice.AttackName = None,
    eps: choice.Eps = "0,0.0001,0.0005,0.001,0.005,0.01,0.05",
    attack_steps: choice.AttackSteps = 100,
    attack_step_size: choice.AttackStepSize = None,
    attack_argument: choice.AttackArguments = None,
    compile_attack: choice.CompileAttack = False,
    save_adversarial: choice.SaveAdversarial = 0,
    accounting: Accounting = "exact",
    resize: Resize = None,
    crop: Crop = None,
    interpolation: choice.Interpolation = None,
    mean: choice.Mean = None,
    std: choice.Std = None,
) -> None:
    """Run images through a model and measure aliasing."""
    from aliascope.evaluation.options import Options
    from aliascope.evaluation.team import team_of
    from aliascope.runs.fractions import check_accounting
    from aliascope.tasks.models import load_model

    check_accounting(accounting)
    options = Options(
        start=start,
        max_samples=max_samples,
        batch_size=batch_size,
        seed=seed,
        detail=detail,
        criterion=_criterion(threshold_db, reference, grid, fold_scale, accounting),
        measures=tuple(word.strip() for word in measures.split(",") if word.strip()),
        floor_samples=floor_samples,
        channels=channels,
        precision=precision,
        intervene=tuple(intervene or ()),
        filter=filter,
        save_features=save_features,
        attack=attack,
        eps=tuple(numbers(eps, "eps")),
        attack_steps=attack_steps,
        attack_step_size=attack_step_size,
        attack_arguments=named_values(attack_argument or []),
        save_adversarial=save_adversarial,
    )
    folder = output or Path("runs", f"{file_name(model)}-{file_name(data)}")
    with team_of(shard) as team:
        loaded = load_model(
            model,
            weights=weights,
            resize=resize,
            crop=crop,
            interpolation=interpolation,
            mean=None if mean is None else tuple(numbers(mean, "mean")),
            std=None if std is None else tuple(numbers(std, "std")),
            seed=seed,
        )
        measurement = _evaluate(
            loaded,
            data,
            folder,
            options,
            team,
            device=own_device(device),
            workers=own_cores() if workers is None else workers,
            resume=resume,
            engine=engine,
            workspace=None if workspace is None else round(workspace * 2**20),
            max_bad=max_bad,
            compile=compile_attack,
        )
    if team.leads:
        show_measurement(measurement, folder, accounting)


def _criterion(
    threshold_db: float, reference: str, grid: str | None, fold_scale: str | None, accounting: str
) -> Criterion:
    """Take the grid and scale that are named, or those of the accounting."""
    from aliascope.spectrum import Criterion

    published = accounting == "published"
    return Criterion(
        threshold_db,
        reference,
        grid or ("seed" if published else "auto"),
        fold_scale or ("unit" if published else "auto"),
    )


def named_values(texts: list[str]) -> dict[str, Any]:
    """Read "momentum=0.9" as numbers, booleans or words."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise AliascopeError(
                f"{text!r} is no argument of an attack; write NAME=VALUE, as in random_start=False."
            )
        try:
            values[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            values[name] = value
    return values


def own_device(device: str) -> str:
    """Choose this process's device."""
    from aliascope.evaluation.team import local_device
    from aliascope.models.devices import automatic_device

    return local_device(automatic_device(device))


def own_cores() -> int:
    """Count the cores that this process may decode images on."""
    from aliascope.evaluation.team import local_processes

    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return max(1, min(8, cores // local_processes()))


def _evaluate(
    loaded: LoadedModel,
    data: str,
    folder: Path,
    options: Options,
    team: Team,
    *,
    device: str,
    **how: Any,
) -> Measurement:
    """Run the images through the model, with progress."""
    from aliascope.evaluation.loop import evaluate as evaluate_images

    images = images_for(loaded, data, options, device)
    if team.leads:
        say_what(loaded, data, device, team, filter=options.filter)
    with going_through_images("measuring", folder, leads=team.leads) as tell:
        return evaluate_images(
            loaded,
            images,
            folder,
            options,
            device=device,
            progress=tell,
            team=team,
            **how,
        )


def images_for(loaded: LoadedModel, data: str, options: Options, device: str) -> Images:
    """Open the images, once it is known that the network takes them and has sites."""
    from aliascope.evaluation.probe import no_sites, probe
    from aliascope.tasks.images import first_size, open_data

    preprocessing = loaded.preprocessing
    found = probe(loaded, device, None if preprocessing.crop else first_size(data, preprocessing))
    if not any(site.supported for site in found.sites):
        raise AliascopeError(no_sites(loaded.name, found.sites))
    return open_data(data, preprocessing, num_classes=found.classes, seed=options.seed)


def say_what(
    loaded: LoadedModel,
    data: str,
    device: str,
    team: Team,
    *,
    filter: str | None = None,
    console: Console | None = None,
) -> None:
    """Say what is run on what; on standard output by default."""
    share = "" if team.alone else f", {team.index + 1} of {team.size} processes"
    filtered = "" if filter is None else f", filtered by {filter}"
    (console or console_for_tables()).print(
        f"{loaded.name} (weights {loaded.weights}{filtered}) on {data}, {device}{share}\n"
        f"images: {loaded.preprocessing.describe()}",
        style="dim",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
