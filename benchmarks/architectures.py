"""The architectures that the coverage benchmark opens: how each is built, and with which inputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inputs = tuple[Any, ...]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """One model of the list.

    Attributes
    ----------
    name : str
        As its library calls it.
    source : str
        The library, or the part of it.
    build : callable
        Makes the model, with random weights.
    inputs : callable
        Makes the positional arguments of its forward, given the model.
    """

    name: str
    source: str
    build: Build
    inputs: Callable[[nn.Module], Inputs]

    @property
    def key(self) -> str:
        """Name that is unique in the list."""
        return f"{self.source}/{self.name}"


def architectures(timm_models: list[str]) -> Iterator[Architecture]:
    """List all architectures, in the order in which they are run."""
    yield from plain()
    yield from torchvision_models()
    for name in timm_models:
        yield Architecture(name, "timm", _timm_build(name), _timm_inputs)
    yield from segmentation_models()
    yield from transformers_models()


def _image(*shape: int) -> Callable[[nn.Module], Inputs]:
    return lambda model: (torch.randn(1, *shape),)


# -- written here ----------------------------------------------------------------------------


class FunctionalUNet(nn.Module):
    """A U-Net whose pooling is a function call, so that no module shows it."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        ins = (3, *widths)
        self.down = nn.ModuleList(_double(a, b) for a, b in zip(ins, widths, strict=False))
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give two logits per pixel, (N, 2, H, W)."""
        kept: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        kept.pop()
        for widen, block in zip(self.widen, self.up, strict=True):
            x = block(torch.cat([kept.pop(), widen(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _double(ins: int, outs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a in (ins, outs):
        layers += [nn.Conv2d(a, outs, 3, padding=1), nn.BatchNorm2d(outs), nn.ReLU()]
    return nn.Sequential(*layers)


def plain() -> Iterator[Architecture]:
    """List the models written in this file."""
    yield Architecture("FunctionalUNet", "this benchmark", FunctionalUNet, _image(3, 256, 256))


# -- torchvision -----------------------------------------------------------------------------

_SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
_DETECTION = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
    "ssdlite320_mobilenet_v3_large": 320,
    "ssd300_vgg16": 300,
    "retinanet_resnet50_fpn": 320,
    "fcos_resnet50_fpn": 320,
    "maskrcnn_resnet50_fpn": 320,
}
_VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "swin3d_t")


def torchvision_models() -> Iterator[Architecture]:
    """List all classifiers, and some models of each other task."""
    import torchvision.models as tv

    def build(name: str, **options: Any) -> Build:
        return lambda: tv.get_model(name, weights=None, **options)

    for name in tv.list_models(module=tv):
        side = next(iter(tv.get_model_weights(name))).transforms().crop_size[0]
        yield Architecture(name, "torchvision", build(name), _image(3, side, side))
    bare = {"weights_backbone": None}
    for name in _SEGMENTATION:
        inputs = _image(3, 256, 256)
        yield Architecture(name, "torchvision segmentation", build(name, **bare), inputs)
    for name, side in _DETECTION.items():
        # Random weights are sure of no box; an output without boxes would compare nothing.
        options = {**bare, "box_score_thresh" if "rcnn" in name else "score_thresh": 0.0}
        if "ssd" not in name:
            options |= {"min_size": side, "max_size": side}
        yield Architecture(name, "torchvision detection", build(name, **options), _images(side))
    for name in _VIDEO:
        # The attention models are built for a clip of one size.
        shape = (3, 16, 224, 224) if name in ("s3d", "mvit_v1_b") else (3, 8, 112, 112)
        yield Architecture(name, "torchvision video", build(name), _image(*shape))
    flow = build("raft_small")
    yield Architecture("raft_small", "torchvision optical flow", flow, _two_frames)


def _images(side: int) -> Callable[[nn.Module], Inputs]:
    return lambda model: ([torch.rand(3, side, side)],)


def _two_frames(model: nn.Module) -> Inputs:
    return torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)


# -- timm ------------------------------------------------------------------------------------

_SMALL = "zepto atto nano pico femto xxs xx_small _xs x_small tiny _t _s _n small m0 s0 b0 _18 050"
_TIMM_AS_WELL = (  # variants that downsample in another way than their family's smallest
    "convnext_tiny",
    "cs3darknet_focus_s",
    "densenetblur121d",
    "ecaresnet50d",
    "efficientnet_blur_b0",
    "eca_botnext26ts_256",
    "gernet_s",
    "gluon_resnet18_v1b",
    "mixnet_s",
    "maxvit_nano_rw_256",
    "mobilenetv3_large_100",
    "repvgg_a0",
    "resnet18",
    "resnet26t",
    "resnetaa50",
    "resnetblur50",
    "resnetv2_50d_gn",
    "seresnext26d_32x4d",
    "swin_tiny_patch4_window7_224",
    "tf_efficientnet_b0",
    "tf_mixnet_s",
    "vit_base_patch32_224",
    "vit_small_patch16_224",
)


def timm_families() -> list[str]:
    """Choose the smallest model of each family (module) of timm, and some further variants."""
    import timm

    chosen = [_smallest(timm.list_models(module=module)) for module in timm.list_modules()]
    known = set(timm.list_models())
    return [*dict.fromkeys([*chosen, *(name for name in _TIMM_AS_WELL if name in known)])]


def _timm_build(name: str) -> Build:
    import timm

    return lambda: timm.create_model(name, pretrained=False)


def _timm_inputs(model: nn.Module) -> Inputs:
    return (torch.randn(1, *model.pretrained_cfg["input_size"]),)


def _smallest(names: list[str]) -> str:
    """Count the parameters of the eight likeliest models, without memory for them."""

    def likely(name: str) -> tuple[bool, int]:
        return not any(word in name for word in _SMALL.split()), len(name)

    names = sorted((n for n in names if not n.startswith("test_")), key=likely)[:8]
    return names[0] if len(names) == 1 else min(names, key=lambda n: parameters(_timm_build(n)))


def parameters(build: Build) -> int:
    """Count a model's parameters without memory for them; 0 if it cannot be built without."""
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in build().parameters())
    except Exception:
        return 0


# -- segmentation_models_pytorch -------------------------------------------------------------

_DECODERS = {
    "Unet": "resnet18",
    "UnetPlusPlus": "resnet18",
    "MAnet": "mobilenet_v2",
    "Linknet": "vgg11_bn",
    "FPN": "efficientnet-b0",
    "PSPNet": "resnet18",
    "DeepLabV3": "resnet18",
    "DeepLabV3Plus": "mobilenet_v2",
    "PAN": "resnet34",
    "UPerNet": "dpn68",
    "Segformer": "mit_b0",
    "DPT": "tu-vit_small_patch16_224",
}


def segmentation_models() -> Iterator[Architecture]:
    """List each decoder of segmentation_models_pytorch, with an encoder of its own."""
    import segmentation_models_pytorch as smp

    def build(decoder: str, encoder: str) -> Build:
        options = {"dynamic_img_size": True} if decoder == "DPT" else {}
        return lambda: getattr(smp, decoder)(encoder, encoder_weights=None, **options)

    for decoder, encoder in _DECODERS.items():
        shape = (3, 224, 224) if decoder == "DPT" else (3, 256, 256)
        model = build(decoder, encoder)
        name = f"{decoder} ({encoder})"
        yield Architecture(name, "segmentation_models_pytorch", model, _image(*shape))


# -- transformers ----------------------------------------------------------------------------

_TASKS = (
    "IMAGE_CLASSIFICATION",
    "SEMANTIC_SEGMENTATION",
    "DEPTH_ESTIMATION",
    "BACKBONE",
    "OBJECT_DETECTION",
    "IMAGE_TO_IMAGE",
    "KEYPOINT_DETECTION",
    "VIDEO_CLASSIFICATION",
    "AUDIO_CLASSIFICATION",
)
_OTHERS = {"timm_wrapper", "timm_backbone", "shieldgemma2", "imagegpt"}  # of timm, or of tokens


def transformers_models() -> Iterator[Architecture]:
    """List one model of each kind that Hugging Face transformers has for images, video or sound."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    seen = set(_OTHERS)
    for task in _TASKS:
        for kind, names in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").items():
            if kind in seen or kind not in CONFIG_MAPPING:
                continue
            seen.add(kind)
            name = names if isinstance(names, str) else names[0]
            build = _transformers_build(kind, name)
            yield Architecture(name, "transformers", build, _transformers_inputs)


def _transformers_build(kind: str, name: str) -> Build:
    def build() -> nn.Module:
        from transformers import CONFIG_MAPPING

        config = CONFIG_MAPPING[kind]()
        if hasattr(config, "use_pretrained_backbone"):
            config.use_pretrained_backbone = False
        model: nn.Module = getattr(importlib.import_module("transformers"), name)(config)
        return model

    return build


def _transformers_inputs(model: nn.Module) -> Inputs:
    config = getattr(model.config, "vision_config", model.config)
    name = model.main_input_name
    if name == "input_values":
        if hasattr(config, "max_length"):
            return (torch.randn(1, config.max_length, config.num_mel_bins),)
        return (torch.randn(1, 16000),)
    if name == "input_features":
        bins = getattr(config, "num_mel_bins", None)
        return (torch.randn(1, 100, 160) if bins is None else torch.randn(1, bins, 3000),)
    side = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or 256
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    shape = [getattr(config, "num_channels", None) or 3, height, width]
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    return (torch.randn(1, *([frames] if frames and name != "inputs" else []), *shape),)
