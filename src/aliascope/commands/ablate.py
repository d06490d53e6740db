"""The command ``aliascope ablate``: what follows when what aliases is taken away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliascope.commands import evaluate_choices as choice
from aliascope.commands.ablate_choices import Dose, Interventions, Recalibrate, Sites
from aliascope.commands.choices import (
    AsCsv,
    AsJson,
    Crop,
    Device,
    ModelName,
    Resize,
    Seed,
    Weights,
    file_name,
    numbers,
)
from aliascope.commands.console import console_for_tables, say_where
from aliascope.commands.evaluate import images_for, named_values, own_cores, own_device, say_what
from aliascope.commands.filter_choice import FilterChoice
from aliascope.commands.progress import going_through_images
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.data import Images
    from aliascope.evaluation.ablation import AblationOptions
    from aliascope.evaluation.team import Team
    from aliascope.runs.ablation import Ablation
    from aliascope.tasks.models import LoadedModel


def ablate(
    model: ModelName,
    data: choice.DataName,
    output: choice.RunFolder = None,
    interventions: Interventions = "remove,restore,gain,swap-within,swap-between,low",
    sites: Sites = "stages,all",
    dose: Dose = "1",
    recalibrate: Recalibrate = 0,
    weights: Weights = "default",
    start: choice.Start = 0,
    max_samples: choice.MaxSamples = None,
    batch_size: choice.BatchSize = 16,
    workers: choice.Workers = None,
    device: Device = "auto",
    seed: Seed = 0,
    measures: choice.Measures = "energy",
    precision: choice.Precision = "float32",
    filter: FilterChoice = None,
    resume: choice.Resume = False,
    max_bad: choice.MaxBad = 0.01,
    shard: choice.Shard = None,
    attack: choice.AttackName = None,
    eps: choice.Eps = "0,0.0001,0.0005,0.001,0.005,0.01,0.05",
    attack_steps: choice.AttackSteps = 100,
    attack_step_size: choice.AttackStepSize = None,
    attack_argument: choice.AttackArguments = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: choice.Interpolation = None,
    mean: choice.Mean = None,
    std: choice.Std = None,
) -> None:
    """Take away what aliases at each stage, with controls, and see whether it matters."""
    from aliascope.evaluation.ablation import AblationOptions
    from aliascope.evaluation.team import team_of
    from aliascope.tasks.models import load_model

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    options = AblationOptions(
        start=start,
        max_samples=max_samples,
        batch_size=batch_size,
        seed=seed,
        measures=tuple(word.strip() for word in measures.split(",") if word.strip()),
        precision=precision,
        filter=filter,
        attack=attack,
        eps=tuple(numbers(eps, "eps")),
        attack_steps=attack_steps,
        attack_step_size=attack_step_size,
        attack_arguments=named_values(attack_argument or []),
        interventions=tuple(word.strip() for word in interventions.split(",") if word.strip()),
        dose=tuple(numbers(dose, "dose")),
        recalibrate=recalibrate,
    )
    folder = output or Path("runs", f"{file_name(model)}-{file_name(data)}-ablation")
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
        place = own_device(device)
        images = images_for(loaded, data, options, place)
        ablation = _ablate(
            loaded,
            images,
            folder,
            _planned(loaded, images, options, sites, place, team),
            team,
            data=data,
            device=place,
            workers=own_cores() if workers is None else workers,
            resume=resume,
            max_bad=max_bad,
        )
    if team.leads:
        show_ablation(ablation, folder, as_json=as_json, as_csv=as_csv)


def show_ablation(
    ablation: Ablation, folder: Path, *, as_json: bool = False, as_csv: bool = False
) -> None:
    """Print an ablation, condition by condition, or as data."""
    from aliascope.commands.ablation_table import print_conditions
    from aliascope.runs.shown import said_of

    if as_json:
        print(ablation.to_json())
        return
    if as_csv:
        ablation.table().to_csv(sys.stdout, lineterminator="\n")
        return
    console = console_for_tables()
    print_conditions(ablation, console)
    say_where(said_of(ablation.measurement, "exact"), folder, console)


def _planned(
    loaded: LoadedModel,
    images: Images,
    options: AblationOptions,
    sites: str,
    device: str,
    team: Team,
) -> AblationOptions:
    """Say what will be done, and about how long that takes."""
    from aliascope.evaluation.ablation import plan
    from aliascope.runs.shown import counted

    planned = plan(loaded, images, options, sites, device=device)
    if team.leads:
        names = [name for name, _ in planned.options.targets]
        lines = [planned.note] if planned.note else []
        lines += [
            f"changing {', '.join(names)}",
            f"{counted(len(planned.options.trials), 'changed pass', 'es')} a batch, "
            f"{counted(planned.passes, 'pass', 'es')} in all, about "
            f"{_time(planned.seconds / team.size)}",
        ]
        for line in lines:
            print(line, file=sys.stderr)
    return planned.options


def _time(seconds: float) -> str:
    """Round a time for who waits.

    Examples
    --------
    >>> _time(40), _time(400), _time(8000)
    ('1 min', '7 min', '2.2 h')
    """
    return f"{max(1, seconds / 60):.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ablate(
    loaded: LoadedModel,
    images: Images,
    folder: Path,
    options: AblationOptions,
    team: Team,
    *,
    data: str,
    device: str,
    **how: Any,
) -> Ablation:
    """Run the images through the model, with progress."""
    from aliascope.evaluation.ablation import ablate_images

    if team.leads:
        from rich.console import Console

        say_what(loaded, data, device, team, filter=options.filter, console=Console(stderr=True))
    with going_through_images("ablating", folder, leads=team.leads) as tell:
        return ablate_images(
            loaded,
            images,
            folder,
            options,
            device=device,
            progress=tell,
            team=team,
            **how,
        )
