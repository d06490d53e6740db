"""Training: the recipe, what is kept, and that a killed training ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from aliascope.errors import AliascopeError
from aliascope.models.execution import fast_layout, fastest_precision
from aliascope.oscillations import training as training_module
from aliascope.oscillations.networks import find_network
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.training import Machine, Supply, train
from aliascope.oscillations.training_folder import TrainingFolder, best_epoch

TINY = Recipe(
    "fc-1h-58",
    noise=0.5,
    epochs=5,
    frequencies=3,
    train_images=300,
    validation_images=90,
    batch_size=32,
    decay_epoch=3,
)


def kept(folder):
    """All that must be the same, however often a training was interrupted."""
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    content = json.loads((folder / "training.json").read_text())
    del content["seconds"]
    weights = {name: load_file(folder / f"{name}.safetensors") for name in ("best", "last")}
    return history, content, weights


def assert_same(one, other):
    pd.testing.assert_frame_equal(one[0], other[0], check_exact=True)
    assert one[1] == other[1]
    for name in ("best", "last"):
        assert one[2][name].keys() == other[2][name].keys()
        for key, value in one[2][name].items():
            assert torch.equal(value, other[2][name][key]), key


def test_the_defaults_are_the_published_ones():
    recipe = Recipe("resnet20_small_incr")
    assert (recipe.network, recipe.noise, recipe.epochs, recipe.batch_size) == (
        "resnet-w-16",
        1,
        50,
        128,
    )
    assert (recipe.learning_rate, recipe.weight_decay, recipe.decay_factor) == (1e-3, 1e-4, 0.1)
    assert [recipe.rate_at(epoch) for epoch in (0, 34)] == [1e-3, 1e-3]
    assert [recipe.rate_at(epoch) for epoch in (35, 49)] == pytest.approx([1e-4, 1e-4])
    assert [len(recipe.images(split)) for split in ("train", "validation", "test")] == [
        20_000,
        10_000,
        10_000,
    ]


def test_the_first_steps_are_those_of_a_plain_loop(tmp_path):
    recipe = replace(TINY, network="resnet-w-8", epochs=1, train_images=81, batch_size=27)
    train(recipe, tmp_path / "run")
    network = recipe.member.build(classes=9, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    images = recipe.images("train")
    order = torch.randperm(81, generator=torch.Generator().manual_seed(0))
    for indices in order.split(27):
        pixels = torch.cat([images.batch(index[None])[0] for index in indices])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pixels), indices % 9).backward()
        optimizer.step()
    for name, value in load_file(tmp_path / "run" / "last.safetensors").items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_it_learns_and_keeps_the_best_epoch(tmp_path):
    result = train(replace(TINY, epochs=8, train_images=900), tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["epoch"].tolist() == list(range(1, 9))
    assert history["learning_rate"].tolist() == pytest.approx([1e-3] * 3 + [1e-4] * 5)
    assert result["accuracy"] == history["validation_accuracy"].max() > 3 / 9
    assert result["best_epoch"] == history["validation_accuracy"].argmax() + 1
    assert abs(result["test_accuracy"] - result["accuracy"]) < 0.25
    assert (tmp_path / "run" / "training.json").is_file()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    # The weights kept as the best are those that had that accuracy.
    recipe = TrainingFolder(tmp_path / "run").recipe()
    network = recipe.member.build(classes=9)
    network.load_state_dict(load_file(tmp_path / "run" / "best.safetensors"))
    images, labels = recipe.images("validation").batch(torch.arange(90))
    with torch.inference_mode():
        right = (network(images).argmax(1) == labels).double().mean().item()
    assert right == pytest.approx(result["accuracy"])


def test_it_ends_when_nothing_is_left_to_learn(tmp_path):
    easy = replace(
        TINY, network="fc-1h-200", noise=0.0, frequencies=2, epochs=60, train_images=2000
    )
    result = train(easy, tmp_path / "run")
    assert result["accuracy"] == 1.0 and result["epochs"] < 60


@pytest.mark.parametrize("network", ["fc-2h-55", "resnet-d-1"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stopped_between_epochs_it_goes_on_as_if_it_had_not(tmp_path, network, precision):
    recipe = replace(TINY, network=network, precision=precision, train_images=90, epochs=4)
    train(recipe, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(done, total, history):
        if len(history) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "halves", progress=stop)
    assert (tmp_path / "halves" / "checkpoint.safetensors").is_file()
    train(recipe, tmp_path / "halves", resume=True)
    assert_same(kept(tmp_path / "whole"), kept(tmp_path / "halves"))


def test_killed_at_any_moment_it_goes_on_as_if_it_had_not(tmp_path):
    options = [
        *("--network", "fc-1h-58", "--noise", "0.5", "--epochs", "40", "--frequencies", "3"),
        *("--train-images", "900", "--validation-images", "90"),
        *("--batch-size", "16", "--precision", "float32"),
    ]
    command = [sys.executable, "-m", "aliascope", "oscillations", "train", *options, "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True
    )
    killed = tmp_path / "killed"
    for epochs in (2, 15):
        process = subprocess.Popen(
            [*command, str(killed), "--resume"], env=environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            history = killed / "history.csv"
            if history.is_file() and history.read_text().count("\n") > epochs:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(
        [*command, str(killed), "--resume"], check=True, env=environment, capture_output=True
    )
    assert_same(kept(tmp_path / "whole"), kept(killed))
    assert not list(killed.glob(".*.tmp"))


def test_a_set_too_large_to_keep_is_made_batch_by_batch_and_is_the_same(monkeypatch):
    images = TINY.images("train")
    whole = Supply(images, torch.device("cpu"))
    monkeypatch.setattr(training_module, "KEPT_BYTES", 0)
    made = Supply(images, torch.device("cpu"))
    assert made._kept is None and whole._kept is not None
    indices = torch.tensor([250, 3, 77])
    for one, other in zip(whole.batch(indices), made.batch(indices), strict=True):
        assert torch.equal(one, other)


def test_a_complete_training_is_not_trained_again(tmp_path):
    first = train(TINY, tmp_path)
    stamp = (tmp_path / "last.safetensors").stat().st_mtime_ns
    assert train(TINY, tmp_path, resume=True) == first
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "fc-2h-55"}, "a training with network fc-1h-58, not fc-2h-55"),
        ({"noise": 2.0}, "noise 0.5, not 2.0"),
        ({"epochs": 6}, "epochs 5, not 6"),
    ],
)
def test_a_folder_of_another_training_is_refused(tmp_path, change, words):
    train(TINY, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(AliascopeError, match=words):
        train(replace(TINY, **change), tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_with_a_training_needs_resume(tmp_path):
    train(TINY, tmp_path)
    with pytest.raises(AliascopeError, match="already holds a training: pass --resume"):
        train(TINY, tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "training.json").write_text("{"), "does not describe a training"),
        (
            lambda folder: (folder / "training.json").write_text(
                json.dumps({"format": 1, "recipe": {"network": "fc-1h-58"}})
            ),
            "missing or unknown fields",
        ),
        (lambda folder: (folder / "checkpoint.safetensors").write_bytes(b"x" * 99), "is damaged"),
        (
            lambda folder: save_file({"x/y": torch.ones(1)}, folder / "checkpoint.safetensors"),
            "is damaged",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, damage, words):
    def stop(done, total, history):
        if history:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path, progress=stop)
    damage(tmp_path)
    with pytest.raises(AliascopeError, match=words):
        train(TINY, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "alexnet"}, "no network 'alexnet'"),
        ({"noise": -0.5}, "A is -0.5"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1"),
        ({"precision": "float16"}, "precision is 'float16'"),
    ],
)
def test_bad_recipes_are_refused(change, words):
    with pytest.raises(AliascopeError, match=words):
        replace(TINY, **change)


def test_convolutions_that_corrupt_memory_channels_last_are_not_trained_so():
    cpu = torch.device("cpu")
    formats = {
        name: fast_layout(find_network(name).build(), cpu)
        for name in ("resnet-w-8", "resnet-w-16", "resnet-c-20")
    }
    assert formats["resnet-w-8"] == torch.contiguous_format
    assert formats["resnet-w-16"] == formats["resnet-c-20"] == torch.channels_last


def test_a_device_that_is_not_there_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(AliascopeError, match="device is 'nowhere:3'"):
        train(TINY, tmp_path / "run", machine=Machine("nowhere:3"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    with pytest.raises(AliascopeError, match="smaller --learning-rate"):
        train(replace(TINY, learning_rate=1e30), tmp_path)


def test_deterministic_gives_the_same_and_leaves_torch_as_it_was(tmp_path):
    train(TINY, tmp_path / "a")
    train(TINY, tmp_path / "b", machine=Machine(deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    a, b = kept(tmp_path / "a"), kept(tmp_path / "b")
    pd.testing.assert_frame_equal(a[0], b[0])


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(AliascopeError, match="is not empty and holds no training"):
        train(TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "change", [{"status": "fine"}, {"accuracy": None}, {"seconds": float("nan")}, {"epochs": "x"}]
)
def test_a_record_changed_by_hand_is_refused(tmp_path, change):
    train(TINY, tmp_path)
    content = json.loads((tmp_path / "training.json").read_text()) | change
    (tmp_path / "training.json").write_text(json.dumps(content))
    with pytest.raises(AliascopeError, match="does not describe a training"):
        TrainingFolder(tmp_path).read()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AliascopeError, match="cannot be written"):
        train(TINY, tmp_path / "file" / "run")


def test_the_fastest_precision_is_a_known_one():
    assert fastest_precision("cpu") in ("float32", "bfloat16")


def test_of_equally_good_epochs_the_first_is_the_best():
    rows = [{"epoch": i, "validation_accuracy": a} for i, a in enumerate((0.1, 0.7, 0.7, 0.2))]
    assert best_epoch(rows)["epoch"] == 1
