"""What decides a number of shift consistency, beside the model and the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aliascope.errors import AliascopeError
from aliascope.files import plain
from aliascope.models.execution import check_precision
from aliascope.models.preprocessing import Preprocessing
from aliascope.protocols.attacks import PUBLISHED_STEPS, Attack
from aliascope.protocols.shift_protocols import ShiftProtocol, make_protocol
from aliascope.tasks.models import check_seed

LEAST = {"start": 0, "max_samples": 1, "batch_size": 1}


@dataclass(frozen=True)
class ShiftOptions:
    """What decides a number of shift consistency, beside the model and the images.

    Parameters
    ----------
    protocol, mode, max_shift, shifts, fraction, seed
        See :func:`aliascope.shift_consistency`; the seed is that of an attack too.
    start, max_samples, batch_size
        First image, how many at most, and how many in a pass. The batch size changes the shifts
        of protocols that draw once a batch, and no others.
    precision : {"float32", "bfloat16"}
        Of the network's products.
    attack, attack_steps, attack_step_size, attack_arguments
        Attack the images first; see :class:`aliascope.protocols.attacks.Attack`. What the network
        sees of an image that is not moved is attacked and put back into it; the margin of a crop
        stays as it is.
    eps : float
        Largest disturbance, on pixels in [0, 1].

    Raises
    ------
    AliascopeError
        If a number is out of its range.

    Examples
    --------
    >>> ShiftOptions(batch_size=0)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: batch_size is 0, but it must be 1 or more.
    """

    protocol: str = "shift"
    mode: str | None = None
    max_shift: int | None = None
    shifts: int | str | None = None
    fraction: tuple[int, ...] | None = None
    seed: int = 0
    start: int = 0
    max_samples: int | None = None
    batch_size: int = 16
    precision: str = "float32"
    attack: str | None = None
    eps: float | None = None
    attack_steps: int = PUBLISHED_STEPS
    attack_step_size: float | None = None
    attack_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise AliascopeError(f"{name} is {value}, but it must be {least} or more.")
        check_seed(self.seed)
        check_precision(self.precision)
        if (self.attack is None) != (self.eps is None):
            raise AliascopeError(
                f"attack is {self.attack!r} and eps {self.eps!r}, but one needs the other: give "
                "both or neither."
            )
        self.make_protocol()
        attack = self.make_attack()
        if attack is not None and self.eps is not None:
            attack.check_eps(self.eps)

    def make_protocol(self) -> ShiftProtocol:
        """Make the protocol."""
        return make_protocol(
            self.protocol,
            seed=self.seed,
            mode=self.mode,
            max_shift=self.max_shift,
            shifts=self.shifts,
            fraction=self.fraction,
        )

    def make_attack(self) -> Attack | None:
        """Make the attack; None without one."""
        if self.attack is None:
            return None
        return Attack(self.attack, self.attack_steps, self.attack_step_size, self.attack_arguments)

    def described(self) -> dict[str, Any]:
        """Describe the options as consistency.json has them."""
        options: dict[str, Any] = plain(asdict(self))
        if self.attack is None:
            options = {key: v for key, v in options.items() if "attack" not in key and key != "eps"}
        return options


def with_margin(recipe: Preprocessing, protocol: ShiftProtocol) -> Preprocessing:
    """Prepare larger pictures than the network sees, so that real pixels come in at the edges.

    A recipe without a crop is left as it is: the margin then comes off the picture. One that
    resizes to less than crop and margin resizes to as much.

    Examples
    --------
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
    >>> frame = with_margin(IMAGENET_PREPROCESSING, make_protocol("zhang2019"))
    >>> frame.resize, frame.crop
    (256, 256)
    """
    if recipe.crop is None or not protocol.margin:
        return recipe
    crop = recipe.crop + protocol.margin
    return replace(
        recipe, crop=crop, resize=None if recipe.resize is None else max(recipe.resize, crop)
    )
