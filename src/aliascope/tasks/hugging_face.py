"""Image classifiers of transformers, by name or from a folder, as their image processor has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from aliascope.errors import AliascopeError, first_line
from aliascope.models.preprocessing import Preprocessing
from aliascope.models.weights import load_file, weights_file
from aliascope.tasks.plan import Plan

RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's number."""

SQUASHED = 384
"""Pixels from which on a processor with crop_pct squashes the picture in place of cropping it."""


def plan_hugging_face(name: str, weights: str) -> Plan:
    """Plan a network of transformers: ``hf:NAME``, ``hf:NAME@REVISION`` or ``hf:FOLDER``.

    Parameters
    ----------
    name : str
        Of a model that transformers finds, or a folder of config.json, preprocessor_config.json
        and model.safetensors, for which no network is needed.
    weights : str
        ``default``, ``none`` or a file.

    Returns
    -------
    Plan

    Raises
    ------
    AliascopeError
        If transformers is missing, the model cannot be found, is no image classifier, or its
        weights do not fill it.

    Examples
    --------
    >>> plan_hugging_face("hf:", "none")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: 'hf:' names no model: write hf:NAME or hf:FOLDER.
    """
    where, _, revision = name.removeprefix("hf:").partition("@")
    if not where:
        raise AliascopeError(f"{name!r} names no model: write hf:NAME or hf:FOLDER.")
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    except ImportError:
        raise AliascopeError(
            f"{name} needs transformers, which is not installed: "
            "pip install 'aliascope[transformers]'."
        ) from None
    if Path(f"{where}@{revision}").is_dir():
        where, revision = f"{where}@{revision}", ""
    version = {"revision": revision} if revision else {}
    config = _found(AutoConfig.from_pretrained, name, where, **version)
    recipe = hugging_face_recipe(
        name, _attributes(_found(AutoImageProcessor.from_pretrained, name, where, **version))
    )

    def plain() -> Any:
        return _found(AutoModelForImageClassification.from_config, name, config)

    if weights == "none":
        return Plan(recipe, "none", plain)
    if weights != "default":
        file = weights_file(name, weights)

        def load_own() -> nn.Module:
            network: nn.Module = plain()
            load_file(name, network, file)
            return network

        return Plan(recipe, weights, load_own)

    def load() -> nn.Module:
        network: nn.Module
        network, said = _found(
            AutoModelForImageClassification.from_pretrained,
            *(name, where),
            config=config,
            use_safetensors=True,  # a pickle may hold code
            output_loading_info=True,
            **version,
        )
        lacking = sorted(map(str, [*said["missing_keys"], *said["mismatched_keys"]]))
        if lacking:
            raise AliascopeError(
                f"The weights of {name} do not fill its classifier, which would stay random "
                f"({', '.join(lacking[:4])}): name a model that was trained to classify."
            )
        return network

    return Plan(recipe, f"{where}@{revision}" if revision else where, load)


def hugging_face_recipe(name: str, processor: Mapping[str, Any]) -> Preprocessing:
    """Give the recipe of an image processor of transformers.

    Parameters
    ----------
    name : str
        Of the model, for whoever reads a message.
    processor : mapping
        Its settings: do_resize, size, resample, do_center_crop, crop_size, crop_pct, do_rescale,
        rescale_factor, do_normalize, image_mean, image_std.

    Returns
    -------
    Preprocessing
        Where the processor would squash the picture to a square, its shorter side is resized to
        the square's and the centre cut.

    Raises
    ------
    AliascopeError
        If it does what no recipe has: another order of channels, or no square.

    Examples
    --------
    >>> size, crop = {"shortest_edge": 256}, {"height": 224, "width": 224}
    >>> half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
    >>> settings = {"size": size, "crop_size": crop, "do_center_crop": True, "resample": 3, **half}
    >>> hugging_face_recipe("hf:any", {"do_resize": True, **settings}).describe()
    'shorter side to 256 (bicubic), centre crop 224 × 224, mean (0.5, 0.5, 0.5), std (0.5, ...'
    """
    if processor.get("do_flip_channel_order"):
        raise AliascopeError(
            f"{name} takes its channels as blue, green, red, which no recipe here has; write a "
            "MODULE:FUNCTION that turns them."
        )
    resize = crop = None
    if processor.get("do_resize"):
        size = _sides(name, processor.get("size"))
        resize, squashed = size
        share = processor.get("crop_pct")
        if share and not squashed and resize < SQUASHED:
            resize, crop = int(resize / share), resize
        elif squashed or share:
            crop = resize
    if processor.get("do_center_crop"):
        crop, _ = _sides(name, processor.get("crop_size"))
        resize = None if resize is None else max(resize, crop)  # the processor would pad with black
    mean, std = _normalisation(processor)
    resample = processor.get("resample")
    return Preprocessing(resize, crop, RESAMPLING[2 if resample is None else resample], mean, std)


def _sides(name: str, size: Any) -> tuple[int, bool]:
    """Read a size: of the shorter side, or of both, which squashes the picture."""
    if isinstance(size, int):
        return size, True
    known = dict(size or {})
    if known.get("shortest_edge"):
        return int(known["shortest_edge"]), False
    if known.get("height") and known.get("height") == known.get("width"):
        return int(known["height"]), True
    raise AliascopeError(
        f"{name} takes pictures of size {known}, which is no square; write a MODULE:FUNCTION."
    )


def _normalisation(processor: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give mean and std of pixels in [0, 1], whatever the processor rescales by.

    Examples
    --------
    >>> _normalisation({"do_rescale": True, "rescale_factor": 1 / 127.5, "rescale_offset": True})
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    factor = processor.get("rescale_factor") or 1 / 255
    scale = 255 * factor if processor.get("do_rescale", True) else 255.0
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    normalise = processor.get("do_normalize")
    mean = (processor.get("image_mean") if normalise else None) or [0.0] * 3
    std = (processor.get("image_std") if normalise else None) or [1.0] * 3
    return tuple((m + offset) / scale for m in mean), tuple(s / scale for s in std)


def _attributes(processor: Any) -> dict[str, Any]:
    """Read the settings of a processor, those of its class included, where the file has none."""
    names = (
        *("do_resize", "size", "resample", "do_center_crop", "crop_size", "crop_pct"),
        *("do_rescale", "rescale_factor", "rescale_offset", "do_normalize"),
        *("image_mean", "image_std", "do_flip_channel_order"),
    )
    return {name: getattr(processor, name, None) for name in names}


def _found(make: Any, name: str, *args: Any, **settings: Any) -> Any:
    """Call what looks for a model, and say in one sentence what to put where if it finds none."""
    try:
        return make(*args, **settings)
    except AliascopeError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise AliascopeError(
            f"{name} cannot be loaded ({first_line(error)}); without a network put config.json, "
            "preprocessor_config.json and model.safetensors of an image classifier into a folder "
            "and pass hf:FOLDER."
        ) from error
