"""The five families of networks of the oscillation experiment, by clear and by published names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError

_STAGE_STRIDES = (1, 2, 2)


class FullyConnected(nn.Sequential):
    """Image → hidden layers with ReLU → classes.

    Parameters
    ----------
    hidden : tuple of int
        Units of each hidden layer.
    size : int
        Side of the images.
    classes : int
        Number of classes.
    """

    def __init__(self, hidden: tuple[int, ...], *, size: int = 32, classes: int = 400) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        units = size * size
        for width in hidden:
            layers += [nn.Linear(units, width), nn.ReLU()]
            units = width
        super().__init__(*layers, nn.Linear(units, classes))


class ResNet(nn.Module):
    """A residual network of the CIFAR kind (He et al., CVPR 2016, section 4.2), one input channel.

    A 3×3 stem at stride 1, three stages of basic blocks at strides 1, 2, 2, a 1×1 convolution and
    batch norm on the shortcuts that change shape, global average pool, one linear layer.

    Parameters
    ----------
    widths : tuple of int
        Channels of the three stages.
    blocks : int
        Basic blocks a stage: 3 make a ResNet-20.
    classes : int
        Number of classes.
    """

    def __init__(self, widths: tuple[int, int, int], blocks: int, *, classes: int = 400) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        channels = widths[0]
        stages = []
        for width, stride in zip(widths, _STAGE_STRIDES, strict=True):
            stages.append(_stage(channels, width, stride, blocks))
            channels = width
        self.layer1, self.layer2, self.layer3 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, 1, H, W)``."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(channels: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    # Loaded here: fully connected networks, images and tables do without.
    from torchvision.models.resnet import BasicBlock, conv1x1

    shortcut = None
    if stride != 1 or channels != width:
        shortcut = nn.Sequential(conv1x1(channels, width, stride), nn.BatchNorm2d(width))
    first = BasicBlock(channels, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


@dataclass(frozen=True)
class Network:
    """A member of one family, or of two that share it.

    Attributes
    ----------
    name : str
        The clear one: family and what sets it apart in it, as ``resnet-w-16``.
    published : str
        The name in the published table of accuracies.
    families : tuple of str
        Of `FAMILIES`.
    other_names : tuple of str
        What else it goes by.
    """

    name: str
    published: str
    families: tuple[str, ...]
    other_names: tuple[str, ...]
    _make: Callable[..., nn.Module]

    def build(self, *, classes: int = 400, size: int = 32, seed: int | None = None) -> nn.Module:
        """Build it with random weights.

        Parameters
        ----------
        classes : int
            Number of classes.
        size : int
            Side of the images, which the fully connected ones depend on.
        seed : int, optional
            Of the weights; the global random state is then as before afterwards.

        Returns
        -------
        nn.Module
            In training mode; takes images ``(N, 1, size, size)``.
        """
        if seed is None:
            return self._make(classes=classes, size=size)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._make(classes=classes, size=size)

    def parameters(self, *, classes: int = 400, size: int = 32) -> int:
        """Count its parameters, without giving them values."""
        with torch.device("meta"):
            network = self.build(classes=classes, size=size)
        return sum(parameter.numel() for parameter in network.parameters())


FAMILIES = {
    "fc-1h": "fully connected, one hidden layer",
    "fc-2h": "fully connected, two hidden layers",
    "resnet-c": "ResNet-20, constant width",
    "resnet-w": "ResNet-20, width doubling with each stage",
    "resnet-d": "ResNet of growing depth, width 16, 32, 64",
}
"""The five families, in the order of the published figure."""

_SIZES = ("tiny", "small", "medium", "large")


def _fully_connected(*hidden: int) -> Callable[..., nn.Module]:
    return lambda *, classes, size: FullyConnected(hidden, size=size, classes=classes)


def _resnet(widths: tuple[int, int, int], blocks: int) -> Callable[..., nn.Module]:
    return lambda *, classes, size: ResNet(widths, blocks, classes=classes)


def _members() -> list[Network]:
    members = []
    for size, units in zip(_SIZES, (58, 200, 800, 3000), strict=True):
        published = f"fully_connected_{size}_shallow"
        make = _fully_connected(units)
        members.append(Network(f"fc-1h-{units}", published, ("fc-1h",), (), make))
    for size, units in zip(_SIZES, (55, 180, 600, 1500), strict=True):
        published = f"fully_connected_{size}_2hidden"
        make = _fully_connected(units, units)
        members.append(Network(f"fc-2h-{units}", published, ("fc-2h",), (), make))
    for size, width in zip(_SIZES, (20, 40, 80, 160), strict=True):
        make = _resnet((width, width, width), 3)
        members.append(
            Network(f"resnet-c-{width}", f"resnet20_{size}_const", ("resnet-c",), (), make)
        )
    for size, width in zip(_SIZES, (8, 16, 32, 64), strict=True):
        make = _resnet((width, 2 * width, 4 * width), 3)
        # The growing depth has one member in common with this family.
        shared = width == 16
        members.append(
            Network(
                f"resnet-w-{width}",
                f"resnet20_{size}_incr",
                ("resnet-w", "resnet-d") if shared else ("resnet-w",),
                ("resnet-d-3",) if shared else (),
                make,
            )
        )
    for blocks in (1, 5, 7, 9, 18, 45):
        published = f"resnet{6 * blocks + 2}_small_incr"
        make = _resnet((16, 32, 64), blocks)
        members.append(Network(f"resnet-d-{blocks}", published, ("resnet-d",), (), make))
    return members


NETWORKS = _members()
"""All 22; ``resnet-w-16``, also called ``resnet-d-3``, makes the families' 23 members."""


def members(family: str) -> list[Network]:
    """Give the members of a family, by growing size.

    Examples
    --------
    >>> [network.name for network in members("resnet-d")][:3]
    ['resnet-d-1', 'resnet-w-16', 'resnet-d-5']
    """
    found = [network for network in NETWORKS if family in network.families]
    return sorted(found, key=Network.parameters)


def find_network(name: str) -> Network:
    """Find a network by its clear or its published name.

    Parameters
    ----------
    name : str
        As ``resnet-w-16``, ``resnet-d-3`` or ``resnet20_small_incr``.

    Returns
    -------
    Network

    Raises
    ------
    AliascopeError
        If there is none of that name.

    Examples
    --------
    >>> network = find_network("resnet20_small_incr")
    >>> network.name, network.parameters()
    ('resnet-w-16', 297536)
    """
    for network in NETWORKS:
        if name in (network.name, network.published, *network.other_names):
            return network
    names = [network.name for network in NETWORKS]
    known = names + [network.published for network in NETWORKS]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    nearest = f" (the nearest are {', '.join(near)})" if near else ""
    raise AliascopeError(
        f"There is no network {name!r}{nearest}: choose one of {', '.join(names)}."
    )
