"""Ablation: what follows when the aliased part at a stage of a network is taken away."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import aliascope as al
from aliascope.energy import cosines
from aliascope.evaluation.ablation import AblationOptions, ablate_images, plan
from aliascope.evaluation.team import Team
from aliascope.protocols.donors import Donors
from aliascope.protocols.stages import find_stages
from aliascope.runs.ablation import Ablation
from aliascope.runs.paired import holm, mcnemar, paired_change, tango
from aliascope.runs.store import Store
from aliascope.runs.verdicts import (
    LOWERED,
    REMOVED,
    RESTORED_OVER_GAIN,
    SWAPPED,
    Evidence,
    verdict_of,
)
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

N, CLASSES, SAMPLES = 12, 4, 480
WAVES = cosines(N).float()


def waves(k):
    """A pattern of one frequency: k along rows, constant along columns."""
    return WAVES[k][:, None].expand(N, N)


def images(amplitude_of_class, noise_at, noise, seed=0, of=range(CLASSES)):
    """One channel: the pattern of the class, and noise at some frequencies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(SAMPLES) % CLASSES
    patterns = torch.stack([amplitude_of_class(k) for k in of])
    x = patterns[labels]
    for k in noise_at:
        x = x + noise * torch.randn(SAMPLES, 1, 1, generator=generator) * waves(k)
    return [(each[:, None], y) for each, y in zip(x.split(60), labels.split(60), strict=True)]


class Sampler(nn.Module):
    """A strided convolution that keeps every second sample, then whatever scores the classes."""

    def __init__(self, score, before=lambda x: x):
        super().__init__()
        self.down = nn.Conv2d(1, 1, 1, stride=2, bias=False)
        nn.init.ones_(self.down.weight)
        self.score, self.before = score, before

    def forward(self, x):
        return self.score(self.down(self.before(x))[:, 0])


def matching(patterns):
    """Score by the likeness to decimated patterns."""
    templates = torch.stack([p[::2, ::2] for p in patterns])
    templates = templates / templates.flatten(1).norm(dim=1)[:, None, None]
    return lambda x: torch.einsum("nij,cij->nc", x, templates)


FAST, SLOW = (7, 8, 9, 10), (1, 2, 3, 4)


def test_a_class_that_lies_in_what_aliases_is_used():
    patterns = [waves(k) for k in FAST]
    data = images(lambda k: waves(k), [1, 2], 0.2, of=FAST)
    found = al.ablate(Sampler(matching(patterns)), data, sites="stages")
    assert found.verdicts() == {"down": "used"}
    table = found.table().loc["down"]
    assert table.loc["swap-within", "accuracy"] == 1
    assert table.loc["swap-between", "accuracy"] == 0
    assert table.loc["swap-between", "follows"] == 1
    assert table.loc["gain", "accuracy"] == 1  # as much energy, from everything
    assert table.loc["remove", "accuracy"] < 0.5
    assert "points more than gain" in found.verdicts()["down"].why


def test_a_network_that_filters_before_it_decimates_has_no_effect():
    patterns = [waves(k) for k in SLOW]
    data = images(lambda k: waves(k), [8, 9], 0.5, of=SLOW)
    model = Sampler(matching(patterns), lambda x: al.low_pass(x, (2, 2)))
    found = al.ablate(model, data, sites="stages")
    assert found.verdicts() == {"down": "no effect"}
    assert found.table().loc[("down", "remove"), "energy_taken"] < 1e-6


def test_a_network_that_reads_the_mean_alone_is_insensitive():
    levels = torch.arange(CLASSES) * 3.0
    data = images(lambda k: torch.full((N, N), 3.0 * k), [1, 8], 0.5)
    model = Sampler(lambda x: -((x.mean((1, 2))[:, None] - levels) ** 2))
    found = al.ablate(model, data, sites="stages")
    assert found.verdicts() == {"down": "insensitive"}


def test_what_a_mere_loss_of_energy_breaks_is_sensitive():
    threshold = torch.tensor([[0.0, 1.0]])
    data = [
        (x * (1 + y[:, None, None, None] % 2), y % 2)
        for x, y in images(lambda k: waves(2) + waves(9), [3], 0.01)
    ]
    cut = 1.7 * (data[0][0][0, 0][::2, ::2].norm())
    model = Sampler(lambda x: (x.flatten(1).norm(dim=1)[:, None] - cut) * (2 * threshold - 1))
    found = al.ablate(model, data, sites="stages")
    assert found.table().loc[("down", "remove"), "accuracy_change"] < -0.3
    assert found.verdicts() == {"down": "sensitive"}


def test_noise_that_aliases_onto_the_classes_is_harmful():
    patterns = [waves(k) for k in SLOW]
    data = images(lambda k: waves(k), [N - k for k in SLOW], 1.5, of=SLOW)
    found = al.ablate(Sampler(matching(patterns)), data, sites="stages")
    assert found.table().loc[("down", "restore"), "accuracy_change"] > 0.1
    assert found.verdicts() == {"down": "harmful"}


def test_few_images_leave_it_undecided_and_say_how_many_would_do():
    patterns = [waves(k) for k in SLOW]
    data = images(lambda k: waves(k), [8], 0.5, of=SLOW)[:1]
    model = Sampler(matching(patterns), lambda x: al.low_pass(x, (2, 2)))
    (verdict,) = al.ablate(model, data, sites="stages").verdicts().values()
    assert verdict == "undecided"
    assert (
        1000 < verdict.images < 4000
    )  # of 60 the half-width is 6 points, and n falls with its square
    assert f"{verdict.images:,} images would decide" in verdict.why


def test_a_control_that_takes_nothing_would_be_seen(monkeypatch):
    from aliascope.interventions.gain import Gain

    monkeypatch.setattr(Gain, "change", lambda self, bands, site, part: 0 * bands.low)
    data = images(lambda k: waves(k), [1], 0.2, of=FAST)
    model = Sampler(matching([waves(k) for k in FAST]))
    taken = al.ablate(model, data, interventions=["remove", "gain"]).table()["energy_taken"]
    assert taken["down"]["remove"] > 0.9 > 1e-3 > abs(taken["down"]["gain"])


# -- the same whatever the batches ------------------------------------------------------------


def values_of(found, columns=("prediction", "top1", "donor", "agreement")):
    table = found.changed.sort_values(["sites", "intervention", "dose", "sample"])
    return table[["sites", "intervention", "sample", *columns]].reset_index(drop=True)


class Branching(nn.Module):
    """Main path and shortcut side by side, then one more."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.main, self.shortcut = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 8, 1, 2)
        self.norm = nn.BatchNorm2d(8)
        self.pool, self.head = nn.MaxPool2d(2), nn.LazyLinear(5)
        self.eval()(torch.zeros(1, 3, 16, 16))

    def forward(self, x):
        x = F.relu(self.norm(self.main(x) + self.shortcut(x)))
        return self.head(self.pool(x).flatten(1))


def photos(count=32):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 3, 16, 16, generator=generator), torch.arange(count) % 5


@pytest.mark.parametrize("size", [1, 7])
def test_results_do_not_depend_on_the_batch_size(size):
    x, y = photos()
    model = Branching()
    whole = al.ablate(model, [(x[:16], y[:16]), (x[16:], y[16:])])
    small = al.ablate(model, list(zip(x.split(size), y.split(size), strict=True)))
    pd.testing.assert_frame_equal(values_of(whole), values_of(small))
    columns = ("energy_taken", "energy_changed", "kl", "logp_change")
    one, other = (values_of(each, columns)[list(columns)] for each in (whole, small))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_loader_that_is_gone_through_once_gives_what_a_list_gives():
    x, y = photos()
    model, data = Branching(), [(x[:16], y[:16]), (x[16:], y[16:])]
    listed, streamed = al.ablate(model, data), al.ablate(model, iter(data))
    pd.testing.assert_frame_equal(listed.changed, streamed.changed)


def test_another_seed_draws_other_donors_for_each_sample_and_stage():
    x, y = photos()
    model = Branching()
    first, second = (al.ablate(model, [(x, y)], seed=seed).changed for seed in (0, 1))
    swaps = first["intervention"] == "swap-between"
    assert (first.loc[swaps, "donor"] != second.loc[swaps, "donor"]).mean() > 0.5
    drawn = first[swaps].pivot(index="sample", columns="sites", values="donor")
    assert (drawn["pool"] != drawn["all"]).mean() > 0.5
    assert drawn["pool"].nunique() > 10  # one seed for all images would draw few


def test_donors_are_of_the_class_that_was_asked_for():
    x, y = photos()
    changed = al.ablate(Branching(), [(x, y)]).changed
    for name, same in {"swap-within": True, "swap-between": False}.items():
        rows = changed[changed["intervention"] == name]
        own, donor = (y[rows[column].astype(int).tolist()] for column in ("sample", "donor"))
        assert bool(((own == donor) == same).all())
        assert bool((rows["sample"] != rows["donor"]).all())


def test_every_other_sample_may_be_a_donor_and_none_is_left_out():
    classes = [0, 1, 1, 2, 2, 2, -1]
    drawn = {within: {n: set() for n in range(7)} for within in (True, False)}
    for seed in range(200):
        donors = Donors(range(7), classes, lambda number: torch.zeros(1), seed=seed)
        for within, of in drawn.items():
            for n in range(7):
                of[n].add(donors.candidate(n, "stem", within=within))
    assert drawn[True] == {0: {None}, 1: {2}, 2: {1}, 3: {4, 5}, 4: {3, 5}, 5: {3, 4}, 6: {None}}
    assert drawn[False] == {
        **{0: {1, 2, 3, 4, 5}, 1: {0, 3, 4, 5}, 2: {0, 3, 4, 5}},
        **{n: {0, 1, 2} for n in (3, 4, 5)},
        6: {None},
    }


def test_an_image_that_cannot_be_read_is_no_donor():
    donors = Donors(
        range(5), [0] * 5, lambda n: None if n % 2 else torch.full((1,), float(n)), seed=0
    )
    for number, image in donors.draw([0, 2, 4], "stem", within=True):
        assert number % 2 == 0 and image == number


def test_without_labels_agreement_says_it_and_predictions_stand_for_classes():
    x, _ = photos()
    model = Branching()
    found = al.ablate(model, [x])
    assert "accuracy" not in found.clean()
    table = found.table()
    assert table["accuracy_change"].isna().all() and table["agreement"].between(0, 1).all()
    predicted = model(x).argmax(1)
    rows = found.changed[found.changed["intervention"] == "swap-between"]
    own, donor = (predicted[rows[c].astype(int).tolist()] for c in ("sample", "donor"))
    assert bool((own != donor).all())


# -- what is read off ---------------------------------------------------------------------------


def test_the_numbers_of_a_row_are_those_of_a_plain_pass_with_the_handler():
    from aliascope.interventions import Remove

    x, y = photos()
    model = Branching()
    found = al.ablate(model, [(x, y)], interventions=["remove"], sites="pool")
    (site,) = (each.site for each in al.find_sites(model, x[:1]) if each.name == "pool")
    with torch.no_grad():
        clean = model(x)
        with al.Opening(model, [Remove([site])]):
            changed = model(x)
    rows = found.changed[found.changed["intervention"] == "remove"]
    torch.testing.assert_close(
        torch.from_numpy(rows["kl"].to_numpy()),
        F.kl_div(changed.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="none")
        .sum(1)
        .double(),
        atol=1e-5,
        rtol=1e-3,
    )
    assert rows["prediction"].tolist() == changed.argmax(1).tolist()
    row = found.table().loc[("pool", "remove")]
    accuracy = [(each.argmax(1) == y).double().mean() for each in (clean, changed)]
    assert math.isclose(row["accuracy_change"], accuracy[1] - accuracy[0], abs_tol=1e-9)
    p = changed.log_softmax(1) - clean.log_softmax(1)
    expected = p.gather(1, clean.argmax(1)[:, None]).mean()
    assert math.isclose(row["logp_change"], expected, abs_tol=1e-5)


class Segmenting(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        scores = self.head(self.down(x - 0.5))
        scores = scores - scores.mean((2, 3), keepdim=True)  # no class wins everywhere
        return {"out": F.interpolate(scores, size=x.shape[-2:])}


def test_of_pixels_the_share_that_agrees_is_read_off():
    x = photos()[0]
    model = Segmenting()
    found = al.ablate(model, [x], interventions=["remove", "gain"])
    row = found.table().loc[("down", "remove")]
    assert 0 < row["agreement"] < 1 and row["agreement_low"] < row["agreement"]
    assert row["kl"] > 0
    assert found.score == "agreement"


def test_without_class_scores_the_change_of_the_output_is_read_off():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Flatten(2))  # (N, 8, 64): features
    found = al.ablate(model, [photos()[0]], interventions=["remove"])
    row = found.table().loc[("0", "remove")]
    assert row["output_change"] > 0.1 and math.isnan(row["agreement"])
    (verdict, _) = found.verdicts().values()
    assert verdict == "undecided" and "no class scores" in verdict.why


def test_doses_stand_beside_each_other_and_nothing_changes_at_0():
    x, y = photos()
    found = al.ablate(Branching(), [(x, y)], interventions=["remove", "gain"], dose=[0, 0.5, 1])
    table = found.table().loc["pool"]
    assert list(table.index)[:2] == ["remove dose=0", "remove dose=0.5"]
    assert table.loc["remove dose=0", ["kl", "output_change"]].tolist() == [0, 0]
    taken = table["energy_taken"].dropna()
    assert 0 < taken["remove dose=0.5"] < taken["remove dose=1"]
    for dose in ("0.5", "1"):
        remove, gain = (taken[f"{name} dose={dose}"] for name in ("remove", "gain"))
        assert abs(remove - gain) < 1e-4
    assert found.verdicts()["pool"] in ("sensitive", "undecided", "no effect")


def test_recalibrated_batch_norm_has_the_statistics_of_the_changed_pass():
    x, y = photos(64)
    model = Branching()
    before = {name: b.clone() for name, b in model.named_buffers()}
    data = list(zip(x.split(16), y.split(16), strict=True))
    plain = al.ablate(model, data[:3], interventions=["remove"], sites="pool")
    calibrated = al.ablate(model, data, interventions=["remove"], sites="pool", recalibrate=16)
    assert calibrated.measurement.run["options"]["recalibrate"] == 16
    assert plain.clean()["n"] == calibrated.clean()["n"] == 48
    assert all(torch.equal(before[name], b) for name, b in model.named_buffers())
    # by hand: batch norm of the spare images, in train mode
    with torch.no_grad():
        model.norm.reset_running_stats()
        model.norm.momentum = None
        model.norm.train()(model.main(x[48:]) + model.shortcut(x[48:]))
        model.norm.eval()
        expected = model(x[:48]).argmax(1)
    clean = calibrated.changed[calibrated.changed["intervention"] == "clean"]
    assert clean["prediction"].tolist() == expected.tolist()
    assert clean["prediction"].tolist() != plain.changed["prediction"].tolist()[:48]


def test_a_model_gets_its_mode_and_random_state_back():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(3, 8, 3, 2)

        def forward(self, x):
            return self.down(x + 0.1 * torch.rand_like(x)).mean((2, 3))

    model = Random().train()
    found = al.ablate(model, [photos()[0]], interventions=["remove"], dose=[0, 1])
    assert model.training
    at_0 = found.changed[(found.changed["dose"] == 0)]
    assert (at_0["output_change"] == 0).all()  # the same random numbers as in the clean pass


# -- stages -------------------------------------------------------------------------------------


def test_parallel_paths_are_one_stage_and_those_in_a_row_are_not():
    model = Branching()
    names = [s.name for s in find_stages(model, lambda: model(torch.rand(1, 3, 16, 16)))]
    assert names == ["main + shortcut", "pool"]


def test_a_site_computed_from_another_of_its_size_is_of_another_stage():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.beside = nn.Conv2d(3, 3, 3, 2, 1), nn.AvgPool2d(2, ceil_mode=True)
            self.again = nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, x):
            up = F.interpolate(self.down(x) + self.beside(x)[..., :8, :8], scale_factor=2)
            return self.again(up).flatten(1)

    model = Twice()
    names = [s.name for s in find_stages(model, lambda: model(torch.rand(1, 3, 16, 16)))]
    assert "again" in names and len(names) == 2 + (names[0] == "down")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["conv1", "maxpool", *(f"layer{i}" for i in (2, 3, 4))]),
        ("swin_t", ["features.0.0"]),
        ("densenet121", ["features.conv0", "features.pool0", *["features.transition"] * 3]),
    ],
)
def test_stages_of_known_networks(name, expected):
    model = load_model(f"torchvision:{name}", weights="none").network
    found = find_stages(model, lambda: model(torch.rand(1, 3, 64, 64)))
    assert len(found) == len(expected)
    for stage, start in zip(found, expected, strict=True):
        assert all(each.startswith(start) for each in stage.name.split(" + "))
    if name == "resnet18":
        assert found[2].name == "layer2.0.conv1 + layer2.0.downsample.0"


def test_of_many_stages_those_of_most_energy_are_taken_and_it_is_said():
    model = nn.Sequential(*[nn.Conv2d(3, 3, 3, (2, 1) if i % 2 else (1, 2), 1) for i in range(10)])
    x = torch.rand(2, 3, 96, 96)
    with pytest.warns(UserWarning, match="Of 10 stages the 8 of most aliased energy"):
        found = al.ablate(model, [x], interventions=["remove"], sites="stages")
    assert len(found.targets) == 8
    energy = al.measure(model, [x], measures=["energy"]).energy()["aliased_energy"]
    left = energy.drop(found.targets)
    assert left.max() <= energy[found.targets].min()


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ("", "must name some"),
        ("conv9", r"no site 'conv9'"),
        ("poo", r"sites that begin with it: pool"),
        ("main+nothing", "no site 'nothing'"),
    ],
)
def test_sites_that_are_none_are_named(sites, words):
    with pytest.raises(al.AliascopeError, match=words):
        al.ablate(Branching(), [photos()[0]], sites=sites)


def test_named_sites_may_be_changed_together():
    found = al.ablate(
        Branching(), [photos()[0]], sites="pool, main + shortcut", interventions=["remove"]
    )
    assert found.targets == ["pool", "main + shortcut"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"interventions": ["removal"]}, "'removal', but it must be one of"),
        ({"interventions": "remove"}, "give a sequence"),
        ({"interventions": []}, "must name some"),
        ({"dose": 2}, "dose is 2"),
        ({"dose": [1, 1]}, "each once"),
        ({"recalibrate": 32}, "some must be left"),
        ({"recalibrate": 16}, "takes the only batch"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(al.AliascopeError, match=words):
        al.ablate(Branching(), [photos()], **arguments)


def test_a_model_without_batch_norm_is_not_recalibrated():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Flatten())
    with pytest.raises(al.AliascopeError, match="has no batch norm"):
        al.ablate(model, [photos()[0], photos()[0]], recalibrate=16)


def test_a_model_without_sites_is_refused():
    with pytest.raises(al.AliascopeError, match="has no site"):
        al.ablate(nn.Conv2d(3, 3, 3), [photos()[0]])


# -- statistics ---------------------------------------------------------------------------------


def test_no_change_in_n_pairs_leaves_room_for_one():
    z2 = 1.959963985**2
    for n in (5, 20, 1000):
        np.testing.assert_allclose(tango(0, 0, n), (-z2 / (n + z2), z2 / (n + z2)), rtol=1e-6)


def test_the_interval_turns_round_when_the_conditions_do():
    np.testing.assert_allclose(tango(3, 11, 40), np.negative(tango(11, 3, 40))[::-1], rtol=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    lost, won, n = 0.2, 0.05, 60
    covered = 0
    for _ in range(1500):
        b, c, _ = rng.multinomial(n, [lost, won, 1 - lost - won])
        low, high = tango(int(c), int(b), n)
        covered += low <= won - lost <= high
    assert 0.93 < covered / 1500 < 0.97


def test_an_unpaired_interval_would_be_wider():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 2, 400)
    after = before.copy()
    after[:8] = 0
    change = paired_change(before, after)
    p, q = before.mean(), after.mean()
    unpaired = 1.96 * math.sqrt(p * (1 - p) / 400 + q * (1 - q) / 400)
    assert change.half_width < unpaired / 3
    assert change.p == mcnemar(0, int(before[:8].sum()))


def test_holm_is_as_worked_out_by_hand():
    assert holm([0.04, 0.001, math.nan, 0.02]) == pytest.approx(
        [0.04, 0.003, math.nan, 0.04], nan_ok=True
    )


def test_the_rule_of_verdicts_falls_back_where_no_donor_has_the_class():
    fell = paired_change([1] * 50, [0] * 30 + [1] * 20)
    changes = {REMOVED: fell, RESTORED_OVER_GAIN: fell, LOWERED: fell}
    ps = {key: change.p for key, change in changes.items()}
    assert verdict_of(Evidence(changes, ps, has_donors=False)) == "used"
    assert "no image had a donor" in verdict_of(Evidence(changes, ps, has_donors=False)).why
    same = paired_change([0] * 50, [0] * 50)
    assert verdict_of(Evidence({**changes, SWAPPED: same}, {**ps, SWAPPED: 1.0})) == "undecided"


# -- into a folder ------------------------------------------------------------------------------

OPTIONS = AblationOptions(batch_size=2, interventions=("remove", "gain", "swap-between"))


def ablated(folder, shard=None, options=OPTIONS, data="photos", **how):
    loaded = load_model("factories:net", resize=26, crop=24)
    images = open_data(data, loaded.preprocessing, num_classes=4)
    team = Team.from_shard(shard) if shard else None
    planned = plan(loaded, images, options)
    return ablate_images(loaded, images, folder, planned.options, team=team, **how)


def test_a_run_in_a_folder_is_that_in_memory(here):
    found = ablated("run")
    loaded = load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", loaded.preprocessing, num_classes=4)
    x = torch.stack([images[i].image for i in range(12)])
    y = torch.tensor([images[i].label for i in range(12)])
    normalised = (x - torch.tensor(loaded.preprocessing.mean)[:, None, None]) / torch.tensor(
        loaded.preprocessing.std
    )[:, None, None]
    other = al.ablate(loaded.network, [(normalised, y)], interventions=OPTIONS.interventions)
    pd.testing.assert_frame_equal(values_of(found), values_of(other))
    assert Ablation.load("run").table().equals(found.table())
    assert al.load("run").energy().shape[0] == 2


@pytest.mark.parametrize("shards", [["2/2", "1/2"], ["4/4", "1/4", "3/4", "2/4"]])
def test_shares_of_several_processes_add_up(here, shards):
    whole = ablated("one")
    for shard in shards:
        shared = ablated("shared", shard)
    pd.testing.assert_frame_equal(values_of(whole), values_of(shared))
    np.testing.assert_array_equal(whole.changed["kl"], shared.changed["kl"])


def test_images_without_labels_are_sorted_by_what_the_model_takes_them_for(here):
    Path("loose").mkdir()
    for i, path in enumerate(sorted(Path("photos").rglob("*.png"))):
        path.rename(Path("loose", f"{i:02}.png"))
    found = ablated("run", data="loose")
    known = pd.read_parquet("run/predictions.parquet").set_index("sample")["prediction"]
    rows = found.changed[found.changed["intervention"] == "swap-between"]
    assert len(rows) and (known[rows["sample"]].values != known[rows["donor"]].values).all()


def test_an_attacked_ablation_has_a_part_a_batch_and_condition(here):
    options = AblationOptions(
        batch_size=6, interventions=("remove",), attack="pgd", eps=(0.0, 0.05), attack_steps=2
    )
    found = ablated("run", options=options)
    assert [condition.name for condition in found.conditions] == ["pgd eps=0", "pgd eps=0.05"]
    assert len(Store("run").part_numbers()) == 4
    weaker = found.at("eps=0.05").clean()["accuracy"]
    assert weaker < found.at("eps=0").clean()["accuracy"]


def test_what_is_recalibrated_alike_is_alike(here):
    torch.manual_seed(0)
    Path("normed.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n"
        "    torch.manual_seed(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(),"
        " nn.Flatten(), nn.Linear(16 * 121, 4))\n"
    )
    loaded = load_model("normed:net", resize=26, crop=24)
    data = open_data("photos", loaded.preprocessing, num_classes=4)
    options = AblationOptions(
        batch_size=4, interventions=("remove",), dose=(0.0, 1.0), recalibrate=4
    )
    found = ablate_images(loaded, data, "run", plan(loaded, data, options).options)
    rows = found.changed[found.changed["dose"] == 0]
    assert found.clean()["n"] == 8 and len(rows) == 16
    assert (rows["output_change"] == 0).all()  # clean and at dose 0 the same statistics


def test_a_damaged_table_is_found_and_made_again(here):
    before = ablated("run")
    table = Path("run/parts/000001/changed.parquet")
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(al.AliascopeError, match=r"changed\.parquet is missing or damaged"):
        Ablation.load("run")
    with pytest.warns(UserWarning, match="Part 1 of run is damaged"):
        after = ablated("run", resume=True)
    pd.testing.assert_frame_equal(before.changed, after.changed)


COMMAND = [sys.executable, "-m", "aliascope", "ablate", "-m", "factories:net", "-d", "photos"]
COMMAND += ["--crop", "24", "--resize", "26", "-b", "2", "--workers", "0", "-o", "run"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*more, **how):
    return subprocess.run(
        [*COMMAND, *more], capture_output=True, text=True, env=ONE_THREAD, check=False, **how
    )


def test_the_command_says_what_it_will_do_and_what_it_found(here):
    done = command("--interventions", "remove,gain,low")
    assert done.returncode == 0, done.stderr
    assert "changing 0, 2, all" in done.stderr
    assert "9 changed passes a batch, 66 passes in all, about 1 min" in done.stderr
    assert "unchanged: top-1" in done.stdout and "95 % interval" in done.stdout
    again = command("--interventions", "remove,gain,low", "--resume", "--json")
    content = json.loads(again.stdout)
    assert {row["intervention"] for row in content["table"]} == {"remove", "gain", "low"}
    assert set(content["verdicts"]) == {"0", "2", "all"}
    refused = command("--interventions", "remove", "--resume")
    assert refused.returncode == 2 and "interventions" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_killed_ablation_goes_on_where_it_was(here):
    whole = ablated("whole", options=AblationOptions(batch_size=2))
    with subprocess.Popen(
        COMMAND, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not Path("run/parts/000001").is_dir() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = command("--resume")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(values_of(whole), values_of(Ablation.load("run")))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--interventions", "removal"], "'removal'"),
        (["--dose", "2"], "dose is 2"),
        (["--dose", "much"], "no list of numbers"),
        (["--sites", "conv9"], "no site 'conv9'"),
        (["--recalibrate", "12"], "some must be left"),
    ],
)
def test_the_command_refuses_in_one_sentence_and_leaves_nothing(here, more, words):
    done = command(*more)
    assert done.returncode == 2 and words in done.stderr
    assert done.stderr.count("aliascope:") == 1 and "Traceback" not in done.stderr
    assert not Path("run").exists()


# -- elsewhere than in an ablation ----------------------------------------------------------------


def test_an_evaluation_may_be_intervened_in_and_says_so(here):
    from aliascope.evaluation.loop import evaluate

    loaded = load_model("factories:net", resize=26, crop=24)
    photos_there = open_data("photos", loaded.preprocessing, num_classes=4)
    from aliascope.evaluation.options import Options

    options = Options(measures=("energy",), intervene=("remove@2", "gain:0.5@0"))
    found = evaluate(loaded, photos_there, "run", options)
    (condition,) = found.conditions
    assert condition.name == "gain 0 dose=0.5 + remove 2"  # in the order in which they acted
    energy = found.energy()["aliased_energy"]
    assert energy["2"] < 1e-5 < energy["0"]
    with pytest.raises(al.AliascopeError, match="intervene"):
        evaluate(loaded, photos_there, "run", Options(measures=("energy",)), resume=True)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("removal", "'removal', but it must be one of remove, restore, gain, low"),
        ("swap-within", "needs other images"),
        ("remove:much", "dose is 'much'"),
        ("remove:3", "dose is 3"),
        ("remove@", "names no site"),
        ("remove@conv9", "no site 'conv9'"),
    ],
)
def test_an_intervention_that_is_none_is_refused_in_one_sentence(here, written, words):
    done = subprocess.run(
        [*COMMAND[:3], "evaluate", *COMMAND[4:], "--intervene", written],
        capture_output=True,
        text=True,
        env=ONE_THREAD,
        check=False,
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not Path("run").exists()


def test_a_change_within_a_point_is_none_however_certain_it_is():
    n = 40_000
    before = [1] * n
    little = paired_change(before, [0] * 120 + [1] * (n - 120))  # 0.3 points, p = 1e-36
    none = paired_change(before, before)
    large = paired_change(before, [0] * 4000 + [1] * (n - 4000))
    ps = {REMOVED: 1.0, LOWERED: little.p}
    assert little.p < 1e-20
    assert verdict_of(Evidence({REMOVED: none, LOWERED: little}, ps)) == "insensitive"
    assert verdict_of(Evidence({REMOVED: none, LOWERED: large}, ps)) == "no effect"


def test_of_a_filtered_model_the_unchanged_pass_is_filtered_as_well():
    data = images(lambda k: waves(k), [1, 2], 0.2, of=FAST)
    model = Sampler(matching([waves(k) for k in FAST]))
    with al.antialias(model, "ideal"):
        right = torch.cat([model(x).argmax(1) == y for x, y in data]).float().mean()
        found = al.ablate(model, data, interventions=["remove", "gain"], sites="stages")
    assert float(right) < 0.6
    clean = found.changed[found.changed["intervention"] == "clean"]
    assert clean["top1"].mean() == pytest.approx(float(right))
