"""What happens to a picture before the network sees it, and the recipes that libraries publish.

Pixels stay in [0, 1] up to the model's own normalisation, so that an attack's epsilon means what
the papers mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from aliascope.errors import AliascopeError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's, by torchvision's names."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the network sees it.

    Parameters
    ----------
    resize : int or None
        Length in pixels that the shorter side is resized to, or None to leave the size.
    crop : int or None
        Side in pixels of the square cut from the centre, or None to keep the whole picture.
    interpolation : str
        One of `INTERPOLATIONS`; always antialiased, as Pillow resizes.
    mean, std : tuple of float
        Of the normalisation ``(x - mean) / std`` of pixels in [0, 1], one number per channel.
        `transform` leaves it to the model: see `Normalized`.

    Raises
    ------
    AliascopeError
        If a size or a std is not positive, the interpolation is unknown, the mean and the std
        differ in length, or the crop is larger than what the resize leaves.

    Examples
    --------
    >>> recipe = Preprocessing(256, 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    >>> recipe.transform(Image.new("L", (640, 480), 255)).shape
    torch.Size([3, 224, 224])
    """

    resize: int | None
    crop: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        for field in ("resize", "crop"):
            size = getattr(self, field)
            if size is not None and (isinstance(size, bool) or int(size) != size or size < 1):
                raise AliascopeError(f"{field} is {size}, but it must be a whole number above 0.")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise AliascopeError(
                f"crop is {self.crop} but resize only {self.resize}, which would pad the picture "
                f"with black: make resize {self.crop} or more."
            )
        if self.interpolation not in INTERPOLATIONS:
            raise AliascopeError(
                f"interpolation is {self.interpolation!r}, but it must be one of "
                f"{', '.join(INTERPOLATIONS)}."
            )
        if len(self.mean) != len(self.std) or not self.mean:
            raise AliascopeError(
                f"mean has {len(self.mean)} values and std {len(self.std)}, but both need one per "
                "channel."
            )
        if not all(map(math.isfinite, self.mean)):
            raise AliascopeError(f"mean is {self.mean}, but every value must be a finite number.")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise AliascopeError(f"std is {self.std}, but every value must be above 0.")

    def transform(self, image: Image.Image) -> Tensor:
        """Resize and crop a picture; the normalisation is left to the model.

        Parameters
        ----------
        image : PIL.Image.Image
            Of any mode with 8 bits per channel; it is converted to RGB.

        Returns
        -------
        Tensor
            Of shape (3, H, W), float32, in [0, 1].

        Raises
        ------
        AliascopeError
            If the picture has more than 8 bits per channel (converting would clip it), is smaller
            than the crop, or would become too large for memory.

        Examples
        --------
        >>> as_is = Preprocessing(None, None, "bilinear", (0.0,), (1.0,))
        >>> as_is.transform(Image.new("RGB", (2, 1), (255, 0, 51)))[:, 0, 0]
        tensor([1.0000, 0.0000, 0.2000])
        """
        if image.mode[0] in "IF":
            raise AliascopeError(
                f"The picture's mode is {image.mode}, which RGB would clip: save it with 8 bits "
                "per channel."
            )
        image = image.convert("RGB")
        short, long = sorted(image.size)
        if self.resize is not None:
            pixels = self.resize**2 * long / short
            if pixels > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise AliascopeError(
                    f"The picture is {image.width} × {image.height}, too long and thin to resize "
                    f"its shorter side to {self.resize}: leave it out."
                )
            image = _resized(image, self.resize, INTERPOLATIONS[self.interpolation])
        if self.crop is not None:
            if min(image.size) < self.crop:
                raise AliascopeError(
                    f"The picture is {image.width} × {image.height}, smaller than the crop of "
                    f"{self.crop}: pass a smaller crop or a resize."
                )
            image = _centre_of(image, self.crop)
        values = torch.from_numpy(np.array(image, dtype=np.uint8))
        return values.permute(2, 0, 1).contiguous().to(torch.float32) / 255

    def __call__(self, image: Image.Image) -> Tensor:
        """Do what `transform` does, so that a recipe can be passed where a function is wanted."""
        return self.transform(image)

    def describe(self) -> str:
        """Say the recipe in words, for reports.

        Returns
        -------
        str
            One line.

        Examples
        --------
        >>> Preprocessing(256, 224, "bilinear", (0.5,), (0.25,)).describe()
        'shorter side to 256 (bilinear), centre crop 224 × 224, mean (0.5), std (0.25)'
        """
        size = f"shorter side to {self.resize} ({self.interpolation})" if self.resize else "as is"
        crop = f"centre crop {self.crop} × {self.crop}" if self.crop else "no crop"
        mean, std = (", ".join(f"{value:.6g}" for value in row) for row in (self.mean, self.std))
        return f"{size}, {crop}, mean ({mean}), std ({std})"


# Resized, cut and read by Pillow, as torchvision.transforms has it, to which the tests hold it.
# Importing torchvision loads torch's compiler as well, which takes as long as torch itself.


def _resized(image: Image.Image, shorter: int, how: Image.Resampling) -> Image.Image:
    """Resize the shorter side."""
    width, height = image.size
    if width <= height:
        size = (shorter, int(shorter * height / width))
    else:
        size = (int(shorter * width / height), shorter)
    return image if size == image.size else image.resize(size, how)


def _centre_of(image: Image.Image, side: int) -> Image.Image:
    """Cut a square out of the middle."""
    left, top = (round((n - side) / 2) for n in image.size)
    return image.crop((left, top, left + side, top + side))


IMAGENET_PREPROCESSING = Preprocessing(256, 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
"""What most networks trained on ImageNet expect; the default for one's own networks."""


class Normalized(nn.Module):
    """A network that takes pixels in [0, 1] and normalises them itself.

    Parameters
    ----------
    network : nn.Module
        Takes what normalisation gives.
    mean, std : sequence of float
        One number per channel. Kept as buffers that are not part of the state dict.

    Examples
    --------
    >>> model = Normalized(nn.Identity(), mean=[0.5], std=[0.25])
    >>> model(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        first = next(network.parameters(), torch.empty(0))
        dtype = first.dtype if first.is_floating_point() else torch.float32
        for key, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(list(values), dtype=dtype, device=first.device)
            self.register_buffer(key, buffer, persistent=False)

    def forward(self, x: Tensor) -> Any:
        """Normalise and run the network.

        Parameters
        ----------
        x : Tensor
            Of shape (N, C, *spatial), in [0, 1].

        Returns
        -------
        Any
            What the network returns.
        """
        shape = (-1,) + (1,) * (x.dim() - 2)
        return self.network((x - self.mean.view(shape)) / self.std.view(shape))


def torchvision_recipe(member: Any) -> Preprocessing:
    """Give the recipe of one member of a torchvision weights enumeration.

    Parameters
    ----------
    member : torchvision.models.WeightsEnum
        Whose ``transforms`` say what the network was evaluated with.

    Returns
    -------
    Preprocessing
        Without normalisation for detectors, which normalise inside.

    Examples
    --------
    >>> from torchvision.models import ResNet18_Weights
    >>> torchvision_recipe(ResNet18_Weights.IMAGENET1K_V1) == IMAGENET_PREPROCESSING
    True
    """
    recipe = member.transforms()
    resize, crop = (getattr(recipe, field, None) for field in ("resize_size", "crop_size"))
    interpolation = getattr(recipe, "interpolation", None)
    if getattr(recipe, "mean", None) is not None:
        mean, std = recipe.mean, recipe.std
    elif type(recipe).__name__ == "OpticalFlow":
        mean, std = (0.5,) * 3, (0.5,) * 3
    else:
        mean, std = (0.0,) * 3, (1.0,) * 3
    return Preprocessing(
        # Video recipes give (height, width): the shorter side of a frame is its height.
        resize=min(resize) if resize else None,
        crop=min(crop) if crop else None,
        interpolation=interpolation.value if interpolation else "bilinear",
        mean=tuple(mean),
        std=tuple(std),
    )


def timm_recipe(published: Any) -> Preprocessing:
    """Give the centre-crop recipe of a timm ``pretrained_cfg``, an object or a dict.

    Parameters
    ----------
    published : object, mapping or None
        What is missing in it is as ``timm.data.resolve_data_config`` has it.

    Returns
    -------
    Preprocessing
        Where timm would pad the picture, it is resized to the crop.

    Examples
    --------
    >>> timm_recipe({"input_size": (3, 64, 64), "crop_pct": 0.8}).describe()
    'shorter side to 80 (bicubic), centre crop 64 × 64, mean (0.485, 0.456, 0.406), ...'
    """
    if published is None:
        published = {}
    elif not isinstance(published, Mapping):
        published = vars(published)
    crop = min((published.get("input_size") or (3, 224, 224))[1:])
    # timm pads where the fraction is above 1.
    resize = max(crop, math.floor(crop / (published.get("crop_pct") or 0.875)))
    return Preprocessing(
        resize=resize,
        crop=crop,
        interpolation=published.get("interpolation") or "bicubic",
        mean=tuple(published.get("mean") or IMAGENET_MEAN),
        std=tuple(published.get("std") or IMAGENET_STD),
    )
