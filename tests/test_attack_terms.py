"""Every class of torchattacks either does what is asked of it, or is refused in one sentence."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchattacks
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.loop import Options, evaluate
from aliascope.evaluation.shift_options import ShiftOptions
from aliascope.protocols.attacks import Attack
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

EVERY = sorted(
    key.lower()
    for key, value in vars(torchattacks).items()
    if isinstance(value, type) and issubclass(value, torchattacks.attack.Attack)
)
CHEAP = {
    "square": {"n_queries": 30},
    "autoattack": {"version": "rand"},
    "spsa": {"nb_sample": 4, "max_batch_size": 4},
    "onepixel": {"popsize": 2},
    "pixle": {"restarts": 2},
}
"""Arguments that keep an attack short; its bound, steps and step size are not among them."""

WITHOUT_BOUND = {"cw", "deepfool", "eaden", "eadl1", "gn", "jsma", "onepixel"}
WITHOUT_BOUND |= {"pixle", "sparsefool", "vanila"}
NO_ATTACKS = {"multiattack", "lgv"}
ONE_STEP = {"fgsm", "ffgsm", "gn", "jsma", "vanila"}
OF_OTHER_COUNTS = {"autoattack", "square", "pixle"}
LENGTHS = {"pgdl2", "pgdrsl2"}

BOUNDED = sorted(set(EVERY) - WITHOUT_BOUND - NO_ATTACKS)
STEPPED = sorted(set(EVERY) - NO_ATTACKS - ONE_STEP - OF_OTHER_COUNTS)
LAYOUTS = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels_last"]
)


class Counting(nn.Module):
    """A small classifier that counts the images it has seen."""

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(6 * 49, classes)
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.head(self.body(x))


@pytest.fixture(autouse=True)
def _one_thread():
    """The networks are so small that threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images():
    return 0.2 + 0.6 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def set_up(images, layout=torch.contiguous_format, classes=12):
    model = Counting(classes).eval().to(memory_format=layout)
    images = images.contiguous(memory_format=layout)
    with torch.no_grad():
        labels = model(images).argmax(1)
    return model, images, labels


def attack(name, **given):
    return Attack(name, arguments=CHEAP.get(name, {}), **given)


def refusal(ask):
    with pytest.raises(AliascopeError) as caught:
        ask()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_every_class_is_in_the_lists_above():
    assert set(EVERY) >= WITHOUT_BOUND | NO_ATTACKS | ONE_STEP | OF_OTHER_COUNTS | LENGTHS
    assert len(BOUNDED) >= 25


# -- eps ---------------------------------------------------------------------------------------


@LAYOUTS
@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound_is_kept_and_used_in_either_layout(images, name, layout):
    model, images, labels = set_up(images, layout)
    steps = {"steps": 3} if name in STEPPED else {}
    moved = []
    for eps in (0.02, 0.2):
        disturbed = attack(name, **steps).perturb(model, images, labels, eps)
        assert disturbed.is_contiguous(memory_format=layout)
        difference = (disturbed - images).flatten(1)
        order = 2 if name in LENGTHS else float("inf")
        moved.append(torch.linalg.vector_norm(difference, order, 1).max().item() / eps)
    assert all(share <= 1 + 1e-4 for share in moved)
    if name in ("fab", "square"):  # which give the image back where they have not fooled it
        assert moved[1] > 0
    else:
        assert all(share > 0.9 for share in moved)


@pytest.mark.parametrize("name", sorted(WITHOUT_BOUND))
def test_an_attack_without_a_bound_is_refused_at_any_eps_but_one(images, name):
    model, images, labels = set_up(images)
    for ask in (
        lambda: attack(name).perturb(model, images, labels, 0.01),
        lambda: Options(attack=name, eps=(0.0, 0.01, 1.0)),
        lambda: Options(attack=name),
        lambda: ShiftOptions(attack=name, eps=0.01),
    ):
        sentence = refusal(ask)
        assert repr(name) in sentence and "has no bound" in sentence
    Options(attack=name, eps=(0.0, 1.0))
    ShiftOptions(attack=name, eps=1.0)


@LAYOUTS
@pytest.mark.parametrize("name", sorted(WITHOUT_BOUND - {"eaden", "eadl1"}))
def test_an_attack_without_a_bound_is_measured_at_eps_one(images, name, layout):
    model, images, labels = set_up(images, layout)
    labels = labels.clamp(max=8)  # JSMA aims at the class after, of ten.
    steps = {"steps": 2} if name in STEPPED else {}
    disturbed = attack(name, **steps).perturb(model, images, labels, 1.0)
    assert disturbed.is_contiguous(memory_format=layout)
    assert torch.equal(disturbed, images) == (name == "vanila")


@pytest.mark.parametrize("name", sorted(NO_ATTACKS))
def test_what_is_made_of_other_attacks_is_refused(name):
    assert "cannot be named here" in refusal(lambda: Attack(name))


def test_a_length_may_be_longer_than_a_pixel_is_bright(images):
    model, images, labels = set_up(images)
    for given in (Attack("pgdl2", 3), Attack("apgd", 3, arguments={"norm": "L2"})):
        disturbed = given.perturb(model, images, labels, 2.0)
        length = (disturbed - images).flatten(1).norm(dim=1)
        assert ((length > 1.5) & (length < 2.0001)).all()
    Options(attack="pgdl2", eps=(0.5, 3.0))
    assert "a length must be 0 or more" in refusal(lambda: Options(attack="pgdl2", eps=(-1.0,)))
    assert "pixels are in [0, 1]" in refusal(lambda: Options(attack="apgd", eps=(2.0,)))


def test_a_length_beyond_the_bound_is_refused(monkeypatch, images):
    model, images, labels = set_up(images)
    monkeypatch.setattr(torchattacks.PGDL2, "forward", lambda self, images, _: images + 0.1)
    ask = refusal(lambda: Attack("pgdl2").perturb(model, images, labels, 1.0))
    assert "moved an image (L2) by 2.77" in ask  # 0.1 × sqrt(3 × 16 × 16)


# -- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPPED)
def test_more_steps_are_more_passes(images, name):
    model, images, labels = set_up(images)
    seen = []
    for steps in (10, 20):
        model.seen = 0
        given = attack(name, steps=steps)
        given.perturb(model, images, labels, 1.0 if name in WITHOUT_BOUND else 0.05)
        seen.append(model.seen)
    if name in ("deepfool", "sparsefool", "onepixel"):  # they end when the class has changed
        assert seen[1] >= seen[0]
    else:
        assert seen[1] > 1.5 * seen[0] > 0


@pytest.mark.parametrize("name", sorted((ONE_STEP | OF_OTHER_COUNTS) & set(EVERY)))
def test_steps_that_an_attack_has_not_are_refused(name):
    sentence = refusal(lambda: Attack(name, steps=7))
    assert repr(name) in sentence and "attack_steps is 7" in sentence
    assert ("n_queries" in sentence) == (name == "square")
    assert Options(attack=name, eps=(0.0, 1.0)).described()["attack_steps"] is None


def test_the_step_size_is_used_where_there_is_one_and_refused_elsewhere(images):
    model, images, labels = set_up(images)
    without = set()
    for name in sorted(set(EVERY) - NO_ATTACKS):
        steps = {"steps": 1} if name in STEPPED else {}
        try:
            given = attack(name, step_size=1e-6, **steps)
        except AliascopeError as error:
            assert "has no step size, but attack_step_size is 1e-06" in str(error)
            without.add(name)
            continue
        assert given.step_for(0.1) == 1e-6
        if name in ("bim", "mifgsm", "nifgsm", "rfgsm", "sinifgsm", "spsa", "upgd", "pgdrs"):
            disturbed = given.perturb(model, images, labels, 0.1)
            assert 0 < (disturbed - images).abs().max() < 1e-5
    assert without == WITHOUT_BOUND | {"fgsm", "apgd", "apgdt", "autoattack", "fab", "square"} | {
        "pifgsm",
        "pifgsmpp",
    }


def test_the_single_step_of_ffgsm_reaches_across_its_ball(images):
    model, images, labels = set_up(images)
    moved = (Attack("ffgsm").perturb(model, images, labels, 0.04) - images).abs()
    assert (moved > 0.04 - 1e-6).float().mean() > 0.5


# -- what else an attack is given --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "argument", "words"),
    [
        ("pifgsm", "max_epsilon", "give it as the attack's eps"),
        ("pifgsmpp", "num_iter_set", "give it as the attack's steps"),
        ("spsa", "nb_iter", "give it as the attack's steps"),
        ("spsa", "lr", "give it as the attack's step size"),
        ("pgd", "alpha", "give it as the attack's step size"),
        ("pgd", "radom_start", "does not take the argument radom_start.*random_start"),
        ("fgsm", "steps", "does not take the argument steps"),
        ("pgd", "model", "does not take the argument model"),
    ],
)
def test_arguments_that_an_attack_has_elsewhere_or_not_at_all_are_named(name, argument, words):
    with pytest.raises(AliascopeError, match=words):
        Attack(name, arguments={argument: 1})


@pytest.mark.parametrize("name", ["apgdt", "autoattack"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_attacks_that_compare_four_classes_say_so_to_a_model_of_fewer(images, name, classes):
    model, images, labels = set_up(images, classes=classes)
    given = attack(name, **({"steps": 2} if name in STEPPED else {}))
    if classes < 4:
        sentence = refusal(lambda: given.perturb(model, images, labels, 0.05))
        assert f"compares 4 classes, but the model has {classes}" in sentence
    else:
        assert not torch.equal(given.perturb(model, images, labels, 0.05), images)


def test_an_attack_aims_at_no_more_classes_than_the_model_has(images, monkeypatch):
    given = []
    original = torchattacks.FAB.__init__

    @functools.wraps(original)
    def watched(self, *arguments, **named):
        given.append(named["n_classes"])
        original(self, *arguments, **named)

    monkeypatch.setattr(torchattacks.FAB, "__init__", watched)
    for classes in (2, 3, 12):
        model, images, labels = set_up(images, classes=classes)
        Attack("fab", 2).perturb(model, images, labels, 0.05)
    assert given == [2, 3, 10]


@pytest.mark.parametrize("name", ["apgd", "fab", "square", "pgd", "onepixel", "pixle"])
def test_the_seed_decides_whatever_an_attack_draws_from(images, name):
    model, images, labels = set_up(images)
    arguments = {"n_restarts": 2} if name == "fab" else CHEAP.get(name, {})
    given = Attack(name, **({"steps": 2} if name in STEPPED else {}), arguments=arguments)
    eps = 1.0 if name in WITHOUT_BOUND else 0.03
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, again, other = (given.perturb(model, images, labels, eps, s) for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name == "fab")  # which draws only where it has failed
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize("name", ["pifgsm", "fab", "pgd"])
def test_no_gradient_is_left_in_the_model(images, name):
    model, images, labels = set_up(images)
    model.head.bias.grad = torch.ones(12)
    Attack(name, 2).perturb(model, images, labels, 0.03)
    assert [each.grad is None for each in model.parameters()] == [True, True, True, False]
    assert torch.equal(model.head.bias.grad, torch.ones(12))


# -- who is said to have failed ----------------------------------------------------------------


def test_an_attack_that_fails_is_named_rather_than_the_size_of_the_images(images):
    model, images, labels = set_up(images, classes=4)
    sentence = refusal(lambda: Attack("jsma").perturb(model, images, labels.fill_(3), 1.0))
    assert "The attack 'jsma' fails on these images and this model (IndexError: " in sentence
    grey = images[:, :1]
    model.body[0] = nn.Conv2d(1, 6, 3, stride=2)
    sentence = refusal(lambda: Attack("pifgsm", 2).perturb(model, grey, labels, 0.03))
    assert "The attack 'pifgsm' fails" in sentence


def test_a_model_that_fails_under_attack_raises_its_own_error(images):
    class Failing(nn.Module):
        def forward(self, x):
            raise TypeError("no such size")

    with pytest.raises(TypeError, match="no such size"):
        Attack("pgd", 2).perturb(Failing().eval(), images, torch.zeros(4).long(), 0.03)


@pytest.mark.parametrize("name", ["pgdl2", "fab"])
def test_attacks_that_need_plain_strides_run_in_an_evaluation(here, name):
    model = load_model("factories:net", resize=26, crop=24)
    data = open_data("photos", model.preprocessing, num_classes=4)
    options = Options(attack=name, eps=(0.0, 0.5), attack_steps=2, batch_size=6, max_samples=6)
    assert len(evaluate(model, data, "run", options).conditions) == 2


def test_the_command_refuses_an_attack_without_a_bound_before_it_measures(here):
    command = [sys.executable, "-m", "aliascope", "evaluate", "-m", "factories:net", "-d", "photos"]
    command += ["--crop", "24", "--resize", "26", "--attack", "cw", "-o", "run"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2 and "'cw' has no bound" in " ".join(done.stderr.split())
    assert not Path("run").exists()
