from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchattacks
from torch import nn

import aliascope as al
from aliascope.evaluation.loop import Options, evaluate
from aliascope.protocols.attacks import PUBLISHED_EPS, PUBLISHED_STEPS, Attack, vanishing_gradients
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.seam import opening
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

EPS = (0.0, 0.01, 0.1)


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, 4)
    ).eval()


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16)


LABELS = torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize("name", ["pgd", "fgsm", "PGD", "BIM", "MIFGSM"])
@pytest.mark.parametrize("eps", [0.001, 0.03])
def test_a_disturbance_stays_within_epsilon_and_the_range_of_pixels(classifier, images, name, eps):
    steps = {} if name == "fgsm" else {"steps": 5}
    disturbed = Attack(name, **steps).perturb(classifier, images, LABELS, eps)
    assert 0 < float((disturbed - images).abs().max()) <= eps + 1e-6
    assert float(disturbed.min()) >= 0 and float(disturbed.max()) <= 1


def test_an_attack_raises_the_loss(classifier, images):
    def loss(x):
        return nn.functional.cross_entropy(classifier(x), LABELS).item()

    assert loss(Attack(steps=10).perturb(classifier, images, LABELS, 0.05)) > loss(images) + 0.05


def test_pgd_is_torchattacks_own_with_the_published_step(classifier, images):
    torch.manual_seed(7)
    theirs = torchattacks.PGD(classifier, eps=0.02, alpha=2.5 * 0.02 / 8, steps=8)(images, LABELS)
    assert torch.equal(Attack("pgd", steps=8).perturb(classifier, images, LABELS, 0.02, 7), theirs)


def test_epsilon_zero_is_the_clean_image(classifier, images):
    assert Attack().perturb(classifier, images, LABELS, 0.0) is images


def test_the_same_seed_gives_the_same_images_and_leaves_the_generator_alone(classifier, images):
    attack, state = Attack(steps=3), torch.get_rng_state()
    one, again, other = (attack.perturb(classifier, images, LABELS, 0.1, s) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_arguments_reach_the_attack(classifier, images):
    attack = Attack("pgd", steps=1, step_size=1e-9, arguments={"random_start": False})
    assert torch.allclose(attack.perturb(classifier, images, LABELS, 0.1), images, atol=1e-6)


def test_an_attack_that_leaves_the_ball_is_refused(monkeypatch, classifier, images):
    monkeypatch.setattr(torchattacks.PGD, "forward", lambda self, images, labels: 1 - images)
    with pytest.raises(al.AliascopeError, match="moved a pixel by"):
        Attack("pgd").perturb(classifier, images, LABELS, 0.0001)


def test_without_torchattacks_an_attack_names_the_extra_and_nothing_else_misses_it(
    monkeypatch, classifier, images
):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(al.AliascopeError) as caught:
        Attack("pgd")
    assert str(caught.value) == (
        "The attack 'pgd' needs torchattacks, which is not installed: "
        "pip install 'aliascope[attacks]'."
    )
    Options()
    assert vanishing_gradients(classifier, images, LABELS) == 0


def test_the_package_is_imported_without_torchattacks():
    code = "import sys, aliascope.commands.main; assert 'torchattacks' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_vanishing_gradients_are_counted(images):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    assert vanishing_gradients(flat, images, LABELS) == 0
    nn.init.zeros_(flat[1].weight)
    assert vanishing_gradients(flat, images, LABELS) == 5


def test_a_model_in_training_mode_is_warned_of(classifier, images):
    with pytest.warns(UserWarning, match="training mode"):
        Attack(steps=1).perturb(classifier.train(), images, LABELS, 0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "pgdd"}, "no attack 'pgdd'.*PGD"),
        ({"steps": 0}, "attack_steps is 0"),
        ({"step_size": 0.0}, "attack_step_size is 0.0"),
    ],
)
def test_an_attack_that_cannot_be_is_named(arguments, words):
    with pytest.raises(al.AliascopeError, match=words):
        Attack(**arguments)


# -- in a run ------------------------------------------------------------------------------------


def run(folder, **options):
    model = load_model("factories:net", resize=26, crop=24)
    data = open_data("photos", model.preprocessing, num_classes=4)
    settings = {"attack": "pgd", "eps": EPS, "attack_steps": 4, "batch_size": 5, **options}
    resume = settings.pop("resume", False)
    return evaluate(model, data, folder, Options(**settings), resume=resume)


def test_every_image_is_measured_at_every_epsilon(here):
    measurement = run("run")
    assert [each.get("eps") for each in measurement.conditions] == list(EPS)
    assert measurement.condition == Condition.of("pgd", eps=0.0)
    for eps in EPS:
        at = measurement.at(f"pgd eps={eps:g}")
        assert list(at.samples["sample"]) == list(range(12)) and len(at.counts) == 24


def test_at_epsilon_zero_an_attacked_run_is_the_clean_one(here):
    clean = run("clean", attack=None, eps=PUBLISHED_EPS, attack_steps=PUBLISHED_STEPS)
    attacked = run("attacked")
    assert clean.conditions == [CLEAN] and clean.condition == CLEAN
    assert attacked.counts.equals(clean.counts) and attacked.samples.equals(clean.samples)


def test_accuracy_falls_with_epsilon(here):
    measurement = run("run", attack_steps=20)
    top1 = [measurement.at(f"eps={eps:g}").accuracy().loc["top1", "correct"] for eps in EPS]
    assert top1[2] < top1[0]


def test_the_attack_sees_the_model_as_it_is(here, monkeypatch):
    active = []
    perturb = Attack.perturb

    def watched(self, model, *arguments):
        active.append(opening._active.locked())
        return perturb(self, model, *arguments)

    monkeypatch.setattr(Attack, "perturb", watched)
    run("run")
    assert active and not any(active)


def test_each_part_is_attacked_from_a_random_start_of_its_own(here):
    Path("photos/0/1.png").write_bytes(Path("photos/0/0.png").read_bytes())
    options = {"batch_size": 1, "max_samples": 2, "eps": (0.1,), "save_adversarial": 2}
    one = run("run", attack_steps=1, attack_step_size=1e-9, **options)
    other = run("other", attack_steps=1, attack_step_size=1e-9, seed=1, **options)
    assert not (one.pixels(0) == one.pixels(1)).all()
    assert not (one.pixels(0) == other.pixels(0)).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_network_is_attacked_in_the_precision_it_is_measured_in(here, monkeypatch, precision):
    rounded = []
    perturb = Attack.perturb

    def watched(self, model, *arguments):
        rounded.append(torch.is_autocast_enabled("cpu"))
        return perturb(self, model, *arguments)

    monkeypatch.setattr(Attack, "perturb", watched)
    run("run", precision=precision, eps=(0.01,))
    assert set(rounded) == {precision == "bfloat16"}


def tables(measurement):
    each = [measurement.at(condition) for condition in measurement.conditions]
    return [table for at in each for table in (at.samples, at.counts, at.sites)]


def test_the_same_run_twice_gives_the_same_tables(here):
    one, two = tables(run("one")), tables(run("two"))
    assert all(a.equals(b) for a, b in zip(one, two, strict=True))


def test_an_attacked_run_killed_in_the_middle_resumes_to_the_same_tables(here):
    command = [sys.executable, "-m", "aliascope", "evaluate", "-m", "factories:deadly", "-d"]
    command += ["photos", "--crop", "24", "--resize", "26", "-b", "5", "--workers", "0"]
    command += ["--attack", "pgd", "--eps", "0,0.01,0.1", "--attack-steps", "4", "-o", "run"]
    killed = subprocess.run(command, env={**os.environ, "PASSES": "10"}, capture_output=True)
    assert killed.returncode == -9
    there = sorted(path.name for path in Path("run/parts").glob("*[0-9]"))
    assert there == ["000000", "000001"]  # killed within the attack of the third part
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    undisturbed = subprocess.run([*command[:-1], "other"], capture_output=True, text=True)
    assert undisturbed.returncode == 0 and "pgd eps=0:" in undisturbed.stdout
    both = zip(tables(al.load("run")), tables(al.load("other")), strict=True)
    assert all(a.equals(b) for a, b in both)


def test_disturbed_images_are_kept_where_asked(here):
    measurement = run("run", save_adversarial=3)
    kept = [part.array("pixels") for part in measurement.store.parts()]
    shapes = [array.shape for array in kept if array is not None]
    assert shapes == [(3, 3, 24, 24)] * 3
    clean, disturbed = torch.from_numpy(kept[0][...]), torch.from_numpy(kept[2][...])
    assert 0 < float((clean - disturbed).abs().max()) <= 0.1 + 1e-6


def test_the_run_remembers_its_attack(here):
    run("run")
    options = json.loads(Path("run/run.json").read_text())["options"]
    assert options["attack"] == "pgd" and options["eps"] == list(EPS)


def test_resuming_with_another_epsilon_is_refused(here):
    run("run")
    with pytest.raises(al.AliascopeError, match="options eps"):
        run("run", eps=(0.0, 0.02), resume=True)


def test_images_without_labels_are_not_attacked(here):
    model = load_model("factories:net", resize=26, crop=24)
    data = open_data("photos/1", model.preprocessing)
    with pytest.raises(al.AliascopeError, match="needs the images' labels"):
        evaluate(model, data, "run", Options(attack="pgd", eps=(0.01,), attack_steps=1))
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": (0.1, 0.1)}, "each once"),
        ({"eps": ()}, "each once"),
        ({"eps": (-0.1,)}, "eps is -0.1"),
        ({"eps": (8.0,)}, "eps is 8.0"),
        ({"attack": "none"}, "no attack 'none'"),
        ({"save_adversarial": -1}, "save_adversarial is -1"),
    ],
)
def test_options_of_an_attack_out_of_range_are_named(here, options, words):
    with pytest.raises(al.AliascopeError, match=words):
        run("run", **options)
    assert not Path("run").exists()
