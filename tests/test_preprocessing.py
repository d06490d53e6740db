"""Preprocessing: the network sees the pixels that its publishers meant."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.preprocessing import (
    IMAGENET_PREPROCESSING,
    Normalized,
    Preprocessing,
    timm_recipe,
    torchvision_recipe,
)


def test_a_recipe_gives_pixels_between_zero_and_one_not_normalised() -> None:
    pixels = IMAGENET_PREPROCESSING.transform(Image.new("RGB", (300, 500), (255, 0, 51)))
    assert pixels.shape == (3, 224, 224) and pixels.dtype == torch.float32
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([1.0, 0.0, 0.2]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_eight_bit_mode_becomes_three_channels(mode: str) -> None:
    assert IMAGENET_PREPROCESSING.transform(Image.new(mode, (256, 256))).shape == (3, 224, 224)


def test_a_picture_of_more_than_eight_bits_is_refused_rather_than_clipped() -> None:
    with pytest.raises(AliascopeError, match="I;16"):
        IMAGENET_PREPROCESSING.transform(Image.new("I;16", (256, 256)))


def test_a_picture_smaller_than_the_crop_is_refused_rather_than_padded() -> None:
    with pytest.raises(AliascopeError, match="30 × 20"):
        Preprocessing(None, 25, "bilinear", (0,), (1,)).transform(Image.new("RGB", (30, 20)))


def test_a_picture_that_resizing_would_blow_up_is_refused() -> None:
    with pytest.raises(AliascopeError, match="too long and thin"):
        IMAGENET_PREPROCESSING.transform(Image.new("L", (60000, 1)))


def test_a_recipe_without_sizes_leaves_the_picture_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    pixels = Preprocessing(None, None, "nearest", (0,), (1,)).transform(Image.fromarray(noise))
    assert (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().tolist() == (
        noise.tolist()
    )


def test_a_recipe_agrees_with_torchvisions_own() -> None:
    from torchvision.models import Swin_T_Weights

    noise = np.random.default_rng(0).integers(0, 256, (300, 410, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    recipe = torchvision_recipe(Swin_T_Weights.DEFAULT)
    assert recipe.interpolation == "bicubic"
    ours = Normalized(nn.Identity(), recipe.mean, recipe.std)(recipe.transform(picture)[None])[0]
    assert torch.allclose(ours, Swin_T_Weights.DEFAULT.transforms()(picture), atol=1e-6)


@pytest.mark.parametrize(
    "interpolation", ["nearest", "nearest-exact", "bilinear", "bicubic", "box"]
)
@pytest.mark.parametrize("size", [(31, 47), (48, 33), (40, 40), (200, 41), (29, 29)])
def test_pixels_are_torchvisions(interpolation: str, size: tuple[int, int]) -> None:
    from torchvision.transforms import InterpolationMode, functional

    noise = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for resize, crop in [(None, 29), (29, None), (40, 33), (61, 60)]:
        ours = Preprocessing(resize, crop, interpolation, (0,), (1,)).transform(picture)
        theirs = picture
        if resize:
            how = InterpolationMode(interpolation)
            theirs = functional.resize(picture, [resize], interpolation=how)
        theirs = functional.center_crop(theirs, [crop]) if crop else theirs
        assert torch.equal(ours, functional.to_tensor(theirs))


def test_a_recipe_survives_pickling_and_becomes_a_dictionary() -> None:
    assert pickle.loads(pickle.dumps(IMAGENET_PREPROCESSING)) == IMAGENET_PREPROCESSING
    assert Preprocessing(**dataclasses.asdict(IMAGENET_PREPROCESSING)) == IMAGENET_PREPROCESSING
    assert hash(Preprocessing(1, 1, "box", [0.0], [1.0]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((0, None, "box", (0,), (1,)), "resize is 0"),
        ((-3, None, "box", (0,), (1,)), "resize is -3"),
        ((2.5, None, "box", (0,), (1,)), "resize is 2.5"),
        ((None, True, "box", (0,), (1,)), "crop is True"),
        ((224, 256, "box", (0,), (1,)), "crop is 256"),
        ((None, None, "cubic", (0,), (1,)), "'cubic'"),
        ((None, None, "box", (0, 0), (1,)), "mean has 2"),
        ((None, None, "box", (), ()), "mean has 0"),
        ((None, None, "box", (0,), (0,)), "std is"),
        ((None, None, "box", (0,), (float("nan"),)), "std is"),
        ((None, None, "box", (float("inf"),), (1,)), "mean is"),
    ],
)
def test_an_impossible_recipe_is_refused(values: tuple[object, ...], word: str) -> None:
    with pytest.raises(AliascopeError, match=word):
        Preprocessing(*values)  # type: ignore[arg-type]


def test_timm_recipe_is_the_one_timm_would_use() -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    published = timm.models.get_pretrained_cfg("test_resnet")
    config = resolve_data_config(pretrained_cfg=published.to_dict())
    noise = np.random.default_rng(0).integers(0, 256, (200, 310, 3), dtype=np.uint8)
    theirs = create_transform(**config)(Image.fromarray(noise))
    recipe = timm_recipe(published)
    ours = Normalized(nn.Identity(), recipe.mean, recipe.std)(
        recipe.transform(Image.fromarray(noise))[None]
    )[0]
    assert torch.allclose(ours, theirs, atol=1e-6)
    # Fractions above 1 would pad; there the picture is resized to the crop.
    volo = timm_recipe(timm.models.get_pretrained_cfg("volo_d5_448.sail_in1k"))
    assert (volo.resize, volo.crop) == (448, 448)


# Normalisation


def test_normalisation_works_in_any_number_of_spatial_dimensions() -> None:
    model = Normalized(nn.Identity(), (0.0, 0.5, 1.0), (1.0, 0.5, 0.25))
    for spatial in ((4,), (4, 5), (2, 4, 5)):
        out = model(torch.ones(2, 3, *spatial))
        assert out.shape == (2, 3, *spatial)
        assert out[0].flatten(1)[:, 0].tolist() == [1.0, 1.0, 0.0]


def test_normalisation_adds_nothing_to_the_state_dict_and_follows_the_networks_dtype() -> None:
    model = Normalized(nn.Conv2d(3, 1, 1).double(), (0.5,) * 3, (0.5,) * 3)
    assert set(model.state_dict()) == {"network.weight", "network.bias"}
    assert model(torch.rand(1, 3, 2, 2).double()).dtype == torch.float64
