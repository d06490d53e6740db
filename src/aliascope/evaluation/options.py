"""What decides a run's numbers, beside the model and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.files import plain
from aliascope.filters.written import read_written
from aliascope.measures import DEFAULT, DETAILS, FLOOR_SAMPLES, Counter, make_measures
from aliascope.models.execution import check_precision
from aliascope.protocols.attack_terms import terms_of
from aliascope.protocols.attacks import PUBLISHED_EPS, PUBLISHED_STEPS, Attack
from aliascope.protocols.intervening import read_intervention
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.store import Store
from aliascope.scope import Scope
from aliascope.seam.handlers import Handler
from aliascope.spectrum import Criterion
from aliascope.tasks.models import check_seed

LEAST = {"start": 0, "max_samples": 1, "batch_size": 1, "save_adversarial": 0}
OF_ATTACK = ("eps", "attack_steps", "attack_step_size", "attack_arguments", "save_adversarial")

PICTURED = 20
"""Images whose pixels are kept beside maps of their bins, to be shown with them."""


@dataclass(frozen=True)
class Options:
    """What decides a run's numbers, beside the model and the images.

    Parameters
    ----------
    start : int
        First image, counted from 0 in the order of the data.
    max_samples : int or None
        How many images at most; None takes all.
    batch_size : int
        Images in a pass, 1 or more.
    seed : int
        Seed of torch's random numbers.
    detail : {"site", "channel", "pixel", "folds"}
        What is kept of each image.
    channels : int or None
        How many channels of each image and site are measured, drawn by the seed; None is all.
    criterion : Criterion
        When a fold counts.
    measures : tuple of str
        What is measured; see :class:`aliascope.Scope`.
    floor_samples : int
        Of how many images, from the first, floor and thresholds are measured; 0 for none.
    precision : {"float32", "bfloat16"}
        Of the network's products, measured and attacked; its signals are measured in float32.
    intervene : tuple of str
        Interventions, ``NAME[:DOSE][@SITE,...]``; see
        :func:`aliascope.protocols.intervening.read_intervention`. An attack is on the model without
        them.
    filter : str or None
        Filter the network's sites: ``NAME`` or ``NAME@SITE,...``; see :func:`aliascope.antialias`.
    save_features : bool
        Keep the input of the classifier's last layer.
    attack : str or None
        Attack the images: "pgd", "fgsm" or a class of torchattacks; see
        :class:`aliascope.protocols.attacks.Attack` for its options here.
    eps : tuple of float
        Largest disturbances, on pixels in [0, 1]; each image is measured at each. Lengths where the
        attack's bound is one, as that of "pgdl2" is.
    attack_steps, attack_step_size, attack_arguments
        See :class:`aliascope.protocols.attacks.Attack`.
    save_adversarial : int
        Keep the disturbed images of so many images, at each epsilon.

    Raises
    ------
    AliascopeError
        If a number is out of its range.

    Examples
    --------
    >>> Options(batch_size=0)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: batch_size is 0, but it must be 1 or more.
    """

    start: int = 0
    max_samples: int | None = None
    batch_size: int = 16
    seed: int = 0
    detail: str = "site"
    criterion: Criterion = field(default_factory=lambda: Criterion(fold_scale="auto"))
    measures: tuple[str, ...] = DEFAULT
    floor_samples: int = FLOOR_SAMPLES
    channels: int | None = None
    precision: str = "float32"
    intervene: tuple[str, ...] = ()
    filter: str | None = None
    save_features: bool = False
    attack: str | None = None
    eps: tuple[float, ...] = PUBLISHED_EPS
    attack_steps: int = PUBLISHED_STEPS
    attack_step_size: float | None = None
    attack_arguments: Mapping[str, Any] = field(default_factory=dict)
    save_adversarial: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise AliascopeError(f"{name} is {value}, but it must be {least} or more.")
        check_seed(self.seed)
        check_precision(self.precision)
        for written in self.intervene:
            read_intervention(written)
        if self.filter is not None:
            read_written(self.filter)
        if self.attack is None:
            for name in OF_ATTACK:
                if getattr(self, name) != getattr(Options, name, {}):
                    raise AliascopeError(
                        f"{name} is given but no attack; name one, such as pgd, or leave it out."
                    )
        if not self.eps or len(set(self.eps)) < len(self.eps):
            raise AliascopeError(f"eps is {list(self.eps)}, but it must name values, each once.")
        attack = self.make_attack()
        if attack is not None:
            attack.check_eps(*self.eps)
        if self.detail not in DETAILS:
            raise AliascopeError(f"detail is {self.detail!r}, but it must be one of {DETAILS}.")
        counter = Counter(self.criterion)
        make_measures(
            self.measures, counter, self.detail, self.floor_samples, channels=self.channels
        )

    def make_attack(self) -> Attack | None:
        """Make the attack; None without one."""
        if self.attack is None:
            return None
        return Attack(self.attack, self.attack_steps, self.attack_step_size, self.attack_arguments)

    @property
    def kind(self) -> str:
        """What a run with these options is."""
        return "measurement"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions under which each batch is measured, such as ``pgd eps=0.001``."""
        if self.attack is None:
            return (CLEAN,)
        return tuple(Condition.of(self.attack, eps=eps) for eps in self.eps)

    @property
    def pixels_kept(self) -> int:
        """Of how many images, from the first, the pixels are kept under each condition."""
        return max(self.save_adversarial, PICTURED if self.detail in ("pixel", "folds") else 0)

    def described(self) -> dict[str, Any]:
        """Describe the options as run.json has them; those of an attack only where there is one."""
        options: dict[str, Any] = plain(asdict(self))
        options |= options.pop("criterion")
        for written in self.intervene:
            read_intervention(written)
        if self.attack is None:
            for name in OF_ATTACK:
                del options[name]
        elif terms_of(self.attack).steps is None:
            options["attack_steps"] = None
        return options

    def scope(
        self,
        model: nn.Module,
        store: Store | None = None,
        *,
        engine: str = "auto",
        workspace: int | None = None,
        handlers: Sequence[Handler] = (),
    ) -> Scope:
        """Make the Scope that measures with these options, after what handlers change."""
        return Scope(
            model,
            detail=self.detail,
            measures=self.measures,
            floor_samples=self.floor_samples and self.start + self.floor_samples,
            channels=self.channels,
            channels_seed=self.seed,
            **vars(self.criterion),
            store=store,
            engine=engine,
            workspace=workspace,
            handlers=handlers,
        )
