"""What is trained and how: everything a run's result depends on, machine and library apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.filters.written import antialias_as_written, read_written
from aliascope.models.execution import check_precision
from aliascope.oscillations.images import Oscillations, split_seed
from aliascope.oscillations.networks import Network, find_network


@dataclass(frozen=True)
class Recipe:
    """A training, by default the published one.

    Parameters
    ----------
    network : str
        Clear name of a network.
    noise : float
        Amplitude A of the images' noise.
    epochs : int
        At most; training ends early when every validation image is classified correctly.
    seed : int
        Of weights, images and their order.
    frequencies : int
        Frequencies a side; the number of classes is its square.
    train_images, validation_images : int
        Rounded up to equal numbers a class.
    batch_size : int
        Images in a step.
    learning_rate : float
        Of Adam.
    decay_epoch : int
        The learning rate is multiplied by `decay_factor` from this epoch on, counted from 0.
    decay_factor : float
        See `decay_epoch`.
    weight_decay : float
        Coefficient of the L2 penalty in Adam.
    precision : {"float32", "bfloat16"}
        Of the products in the forward and backward pass; weights, batch norm's statistics and
        Adam stay in float32.
    filter : str
        What the network's sites are filtered by, as ``blur:3`` or ``ideal@SITE,...`` (see
        :func:`aliascope.antialias`), in training and whenever it is loaded; "" for nothing.

    Raises
    ------
    AliascopeError
        If a value is out of its range or the network is not known.

    Examples
    --------
    >>> recipe = Recipe("resnet-w-16", noise=2.0)
    >>> recipe.images("train").count, recipe.rate_at(34), round(recipe.rate_at(35), 6)
    (20000, 0.001, 0.0001)
    """

    network: str
    noise: float = 1.0
    epochs: int = 50
    seed: int = 0
    frequencies: int = 20
    train_images: int = 20_000
    validation_images: int = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    decay_epoch: int = 35
    decay_factor: float = 0.1
    weight_decay: float = 1e-4
    precision: str = "float32"
    filter: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", find_network(self.network).name)
        self.images("train")
        self.images("validation")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise AliascopeError(f"{name} is {getattr(self, name)}, but it must be 1 or more.")
        if not 0 < self.learning_rate < float("inf"):
            raise AliascopeError(
                f"learning_rate is {self.learning_rate:g}, but it must be above 0, and finite."
            )
        for name in ("weight_decay", "decay_epoch", "decay_factor"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise AliascopeError(
                    f"{name} is {getattr(self, name):g}, but it must be 0 or more, and finite."
                )
        check_precision(self.precision)
        if self.filter:
            read_written(self.filter)

    @property
    def member(self) -> Network:
        """The network, unbuilt."""
        return find_network(self.network)

    def build(self, seed: int = 0) -> nn.Module:
        """Make the network, filtered where the recipe says so, with random weights."""
        network = self.member.build(classes=self.frequencies**2, seed=seed)
        if self.filter:
            antialias_as_written(network, self.filter)
        return network

    def images(self, split: str) -> Oscillations:
        """Images of ``"train"``, ``"validation"`` or ``"test"`` (as many as for validation)."""
        return Oscillations(
            count=self.train_images if split == "train" else self.validation_images,
            noise=self.noise,
            seed=split_seed(self.seed, split),
            frequencies=self.frequencies,
        )

    def rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        return self.learning_rate * (self.decay_factor if epoch >= self.decay_epoch else 1.0)

    def plain(self) -> dict[str, Any]:
        """As JSON has it; a filter only where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "filter" or value}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Recipe:
        """Read back what `plain` gave.

        Raises
        ------
        AliascopeError
            If a field is missing, unknown or of the wrong type.
        """
        types = {field.name: field.type for field in fields(cls)}
        odd = sorted((set(content) ^ set(types)) - {"filter"})
        if odd:
            raise AliascopeError(f"The recipe has missing or unknown fields ({', '.join(odd)}).")
        numbers = {"int": int, "float": (int, float), "str": str}
        for name, value in content.items():
            if not isinstance(value, numbers[str(types[name])]) or isinstance(value, bool):  # type: ignore[arg-type]
                raise AliascopeError(
                    f"The recipe's {name} is {value!r}, which is no {types[name]}."
                )
        return cls(**content)
