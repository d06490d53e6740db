"""Image classifiers of transformers, from a folder, prepared as their image processor does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import aliascope as al
from aliascope.commands.main import main
from aliascope.evaluation.probe import probe
from aliascope.tasks.hugging_face import hugging_face_recipe
from aliascope.tasks.models import load_model

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a tiny ResNet of four classes with its image processor."""
    place = tmp_path_factory.mktemp("hf") / "tiny"
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=4
    )
    transformers.ResNetForImageClassification(config).save_pretrained(place)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        **{"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3},
        **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
    }
    (place / "preprocessor_config.json").write_text(json.dumps(settings))
    return place


def test_a_folder_gives_what_transformers_gives(folder):
    loaded = load_model(f"hf:{folder}")
    kind = transformers.AutoModelForImageClassification
    theirs = kind.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    with torch.no_grad():
        ours = loaded.model(loaded.preprocessing.transform(image)[None]).logits
        expected = theirs(**processor(image, return_tensors="pt")).logits
    assert torch.allclose(ours, expected, atol=1e-5)
    found = probe(loaded)
    assert found.classes == 4 and len(found.sites) >= 2
    other = load_model(f"hf:{folder}", weights="none", seed=5)
    same = load_model(f"hf:{folder}")
    assert other.weights_sha256 != loaded.weights_sha256 == same.weights_sha256


def test_it_can_be_measured_by_name(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "-m", "hf:./tiny", "-d", "noise:2", "-o", "run", "--workers", "0"])
    assert not end.value.code
    assert "hf:./tiny" in capsys.readouterr().out
    assert al.load("run").run["model"]["preprocessing"]["crop"] == 32


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, (256, 224)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (256, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (384, 384)),
        ({"size": {"height": 224, "width": 224}}, (224, 224)),
        ({"size": 224}, (224, 224)),
        (
            {"size": 200, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            (224,) * 2,
        ),
    ],
)
def test_sizes_are_read_as_processors_write_them(settings, expected):
    recipe = hugging_face_recipe("hf:any", {"do_resize": True, **settings})
    assert (recipe.resize, recipe.crop) == expected
    assert recipe.mean == (0.0,) * 3 and recipe.std == (1.0,) * 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:", "names no model"),
        ("hf:nobody/nothing", r"without a network put config.json"),
        ("hf:./elsewhere", r"and pass hf:FOLDER"),
    ],
)
def test_what_is_not_there_is_answered_with_what_to_put_where(name, words):
    with pytest.raises(al.AliascopeError, match=words) as error:
        load_model(name)
    assert "\n" not in str(error.value)


def test_what_no_recipe_has_is_refused():
    with pytest.raises(al.AliascopeError, match="blue, green, red"):
        hugging_face_recipe("hf:any", {"do_flip_channel_order": True})
    with pytest.raises(al.AliascopeError, match="no square"):
        hugging_face_recipe("hf:any", {"do_resize": True, "size": {"height": 2, "width": 3}})


def test_weights_that_leave_the_classifier_random_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if not key.startswith("classifier")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(al.AliascopeError, match="would stay random"):
        load_model(f"hf:{tmp_path}")
