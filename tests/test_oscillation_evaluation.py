"""The oscillation networks measured like any other: model, data, attack, page."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import aliascope as al
from aliascope.commands.main import main
from aliascope.errors import AliascopeError
from aliascope.oscillations.images import Oscillations, split_seed
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.training import train
from aliascope.oscillations.training_folder import TrainingFolder
from aliascope.tasks.images import first_size, open_data
from aliascope.tasks.models import load_model
from aliascope.tasks.oscillations import SHIPPED, OscillationPixels


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe = Recipe(
        "resnet-w-8", noise=2.0, epochs=1, frequencies=3, train_images=90, validation_images=90
    )
    train(recipe, folder)
    return folder


def test_the_shipped_network_is_the_published_recipe_with_its_record():
    content = TrainingFolder(SHIPPED).read()
    recipe = TrainingFolder(SHIPPED).recipe()
    expected = Recipe("resnet-w-16", noise=1.0, precision=recipe.precision)
    assert recipe == expected
    assert content["status"] == "complete" and content["epochs"] == 50
    history = (SHIPPED / "history.csv").read_text().splitlines()
    assert len(history) == 51
    assert content["accuracy"] >= 0.99 and content["test_accuracy"] >= 0.99
    assert TrainingFolder(SHIPPED).best.stat().st_size < 1.5e6


def test_the_shipped_network_is_right_on_fresh_images_of_another_seed():
    loaded = load_model("oscillations")
    images = Oscillations(1200, noise=1.0, seed=split_seed(12345, "test"))
    right = 0
    with torch.inference_mode():
        for pixels, labels in images.batches(400):
            right += int((loaded.network(pixels).argmax(1) == labels).sum())
    assert right / len(images) > 0.98


def test_the_normalisation_gives_the_image_back():
    loaded = load_model("oscillations")
    data = open_data("oscillations", loaded.preprocessing, num_classes=400)
    image = data[777].image
    assert image.shape == (1, 32, 32) and image.min() >= 0 and image.max() <= 1
    made, label = Oscillations(10_000, seed=split_seed(0, "test")).batch(torch.tensor([777]))
    assert data[777].label == label.item() == 377
    seen = {}
    loaded.network.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))
    loaded.model(image[None])
    torch.testing.assert_close(seen["x"], made, rtol=0, atol=1e-6)


def test_images_come_with_the_noise_of_the_training_or_the_one_that_is_named(trained):
    pixels = load_model(f"oscillations:{trained}").preprocessing
    assert open_data("oscillations", pixels).details["noise"] == 2.0
    assert open_data("oscillations:0.25", pixels).details["noise"] == 0.25
    assert open_data("oscillations", pixels).details["frequencies"] == 3
    assert first_size("oscillations", pixels) == (32, 32)


def test_a_run_of_them_has_four_sites_and_both_accountings(tmp_path, capsys):
    run = tmp_path / "run"
    words = ("--data", "oscillations", "--max-samples", 60, "-b", 30, "--workers", 0, "-o", run)
    assert command("evaluate", "--model", "oscillations", *words) == 0
    measurement = al.load(run)
    assert measurement.sites["name"].tolist() == [
        "layer2.0.conv1",
        "layer2.0.downsample.0",
        "layer3.0.conv1",
        "layer3.0.downsample.0",
    ]
    assert (measurement.sites["recomposition_error"] < 1e-4).all()
    for accounting in ("exact", "published"):
        row = measurement.fractions(by="overall", accounting=accounting).iloc[0]
        assert row[["no_pass", "non_aliased", "aliased", "tangled"]].sum() == pytest.approx(1)
    assert measurement.samples["label"].tolist() == list(range(60))
    assert measurement.run["data"]["seed"] == split_seed(0, "test")
    assert "4 sites" in capsys.readouterr().out


def test_measured_in_other_batches_and_by_workers_it_is_the_same(tmp_path):
    words = ("--model", "oscillations", "--data", "oscillations", "--max-samples", 30, "--start", 5)
    for name, more in (("a", ("-b", 30, "--workers", 0)), ("b", ("-b", 7, "--workers", 2))):
        assert command("evaluate", *words, *more, "-o", tmp_path / name) == 0
    a, b = (al.load(tmp_path / name).counts for name in "ab")
    columns = ["no_pass", "non_aliased", "aliased", "tangled"]
    key = ["sample", "site"]
    a, b = (each.sort_values(key)[columns].to_numpy() for each in (a, b))
    # Another batch size rounds differently, which moves a bin in ten thousand across a threshold.
    assert np.abs(a - b).sum() <= 1e-3 * a.sum()


def test_they_can_be_attacked(tmp_path):
    words = ("--data", "oscillations", "--max-samples", 8, "--attack", "pgd", "--attack-steps", 3)
    run = tmp_path / "run"
    assert command("evaluate", "-m", "oscillations", *words, "--eps", "0,0.05", "-o", run) == 0
    measurement = al.load(run)
    accuracy = [
        measurement.at(f"eps={eps}").accuracy().loc["top1", "accuracy"] for eps in (0, 0.05)
    ]
    assert accuracy[1] < accuracy[0]


def test_the_page_shows_the_pixels_that_the_run_kept(tmp_path, trained):
    run = tmp_path / "run"
    words = ("--data", "oscillations", "--max-samples", 2, "--detail", "folds", "-o", run)
    assert command("evaluate", "-m", f"oscillations:{trained}", *words) == 0
    assert al.load(run).pixels(1).shape == (1, 32, 32)
    assert command("report", run, "-o", tmp_path / "page.html") == 0
    assert "as the network saw it" in (tmp_path / "page.html").read_text()


def test_weights_of_a_training_under_way_are_named_by_their_file(tmp_path):
    def stop(done, total, history):
        if history:
            raise KeyboardInterrupt

    recipe = Recipe("resnet-d-1", epochs=3, frequencies=2, train_images=8, validation_images=8)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, progress=stop)
    with pytest.raises(AliascopeError, match="has not ended"):
        load_model(f"oscillations:{tmp_path}")
    file = tmp_path / "best.safetensors"
    assert load_model(f"oscillations:{tmp_path}", weights=str(file)).weights == str(file)
    assert load_model(f"oscillations:{tmp_path}", weights="none").weights == "none"


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("oscillations:nowhere", "oscillations", "nowhere holds no training"),
        ("oscillations", "samples", "ImageNet's 1000 classes, but the model has 400"),
        ("oscillations", "oscillations:-1", "names no amplitude"),
        ("oscillations", "oscillations:loud", "names no amplitude"),
        ("oscillations", "nowhere", "does not exist"),
        ("torchvision:resnet18", "oscillations", "one channel, but the network takes 3"),
    ],
)
def test_bad_names_are_refused_in_one_sentence(tmp_path, capsys, model, data, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = ("--weights", "none") if model.startswith("torchvision") else ()
    assert command("evaluate", "-m", model, "-d", data, "-o", "run", *weights) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_sites_is_refused(tmp_path, capsys):
    recipe = Recipe("fc-1h-58", epochs=1, frequencies=2, train_images=8, validation_images=8)
    train(recipe, tmp_path / "fc")
    words = ("-m", f"oscillations:{tmp_path / 'fc'}", "-d", "oscillations", "-o", tmp_path / "run")
    assert command("evaluate", *words) == 2
    assert "has no site" in capsys.readouterr().err


def test_a_model_of_other_classes_is_refused(trained, capsys, tmp_path):
    pixels = OscillationPixels.of(1.0, 20)
    with pytest.raises(AliascopeError, match="have 400 classes, but the model has 9"):
        open_data("oscillations", pixels, num_classes=9)


def test_photographs_and_resizing_are_refused():
    with pytest.raises(AliascopeError, match="leave --resize out"):
        load_model("oscillations", resize=64)
    assert load_model("oscillations", crop=48).preprocessing.crop == 48


def test_photographs_in_a_folder_are_refused_one_by_one(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "a.png")
    words = ("-m", "oscillations", "-d", tmp_path / "photos", "-o", tmp_path / "run")
    assert command("evaluate", *words, "--workers", 0) == 2
    assert "tells oscillations apart, not photographs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
