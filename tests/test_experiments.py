"""The seed's three scripts, on a folder prepared from an archive in ImageNet's format."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aliascope as al
from aliascope.data import imagenet_synsets
from aliascope.data.imagenet.prepare import prepare

SCRIPTS = Path(__file__).parent.parent / "experiments"

FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 28 * 28, 1000),
    )
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a prepared validation set of 3 classes, a network, and the scripts."""
    place = tmp_path_factory.mktemp("experiments")
    rng = np.random.default_rng(0)
    synsets = [imagenet_synsets()[i] for i in (3, 500, 999)]
    rows, archive = [], place / "val.tar"
    with tarfile.open(archive, "w") as tar:
        for i in range(6):
            name = f"ILSVRC2012_val_{i + 1:08d}.JPEG"
            pixels = rng.integers(0, 255, (260, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / name, format="JPEG")
            tar.add(place / name, arcname=name)
            rows.append(f"{name},{synsets[i % 3]}")
    (place / "labels.csv").write_text("\n".join(rows) + "\n")
    prepare(archive, place / "val", place / "labels.csv", images=6)
    (place / "own.py").write_text(FACTORY)
    scripts = place / "scripts"
    scripts.mkdir()
    for script in SCRIPTS.glob("*.sh"):
        (scripts / script.name).write_bytes(script.read_bytes())
    (place / "bin").mkdir()
    command = place / "bin" / "aliascope"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aliascope "$@"\n')
    command.chmod(0o755)
    return place


def run(place, script, *arguments, **variables):
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    variables = {"MODEL": "own:net", "PATH": path, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        ["bash", str(place / "scripts" / script), *arguments],
        env={**os.environ, **variables},
        cwd=place,
        capture_output=True,
        text=True,
    )


def images(place):
    return {path.name for path in (place / "scripts" / "img").iterdir()}


def test_pixel_plots(place):
    done = run(place, "pixelplots.sh", "val", SAMPLE="1", CHANNEL_II="2")
    assert done.returncode == 0, done.stderr
    assert {"aliasing_i.png", "aliasing_ii.png", "colorbar.png"} <= images(place)
    assert done.stdout.count("non-aliased ") >= 2  # the percentages of both


def test_pie_and_box_plots(place):
    done = run(place, "pie_and_box_plots.sh", "val", MAX_SAMPLES="5")
    assert done.returncode == 0, done.stderr
    made = {"pie-imagenet-net.png", "correct-vs-incorrect.png", "correct-vs-incorrect.csv"}
    assert made | {"pie-classif-oscil.png"} <= images(place)
    runs = place / "scripts" / "runs"
    assert len(al.load(runs / "net-val-5" / "clean").samples) == 5
    oscillations = al.load(runs / "oscillations-5")
    assert len(oscillations.samples) == 5 and len(oscillations.sites) == 4


def test_classifying_oscillations_and_that_a_second_call_trains_nothing_again(place):
    arguments = (
        "classifying_oscillations_performance.sh",
        *[
            "--networks",
            "fc-1h-58",
            "--noise",
            "1",
            "--epochs",
            "1",
            "--frequencies",
            "2",
            "--train-images",
            "64",
        ],
        *["--validation-images", "64"],
    )
    done = run(place, *arguments)
    assert done.returncode == 0, done.stderr
    assert {"toy_example_acc.png", "oscil_1.png", "oscil_4.png", "oscil_pairs.png"} <= images(place)
    assert "fc-1h-58" in done.stdout
    weights = place / "scripts" / "runs" / "oscillations" / "runs" / "fc-1h-58-A1-seed0"
    before = (weights / "best.safetensors").stat().st_mtime_ns
    assert run(place, *arguments).returncode == 0
    assert (weights / "best.safetensors").stat().st_mtime_ns == before


def test_adversarial_examples_and_that_a_second_call_measures_nothing_again(place):
    arguments = ("adversarial_example_imagenet.sh", "val")
    variables = {"EPS": "0,0.01", "STEPS": "2", "BATCH_SIZE": "3"}
    done = run(place, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert "adversarial_accuracy.png" in images(place)
    parts = place / "scripts" / "runs" / "net-val" / "adversarial" / "parts"
    before = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert len(before) == 2 * 2
    assert run(place, *arguments, **variables).returncode == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}


@pytest.mark.parametrize(
    "script", ["pixelplots.sh", "pie_and_box_plots.sh", "adversarial_example_imagenet.sh"]
)
def test_without_a_folder_a_script_says_what_it_wants(place, script):
    done = run(place, script)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    assert done.stderr.count("\n") == 1
    assert run(place, script, "no/such/folder").returncode == 2
