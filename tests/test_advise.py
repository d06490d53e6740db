"""Advice: candidate filters tried on a network as it was trained, with what each costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

import aliascope as al
from aliascope.energy import cosines
from aliascope.evaluation.advise_images import spread
from aliascope.evaluation.kept_batches import KeptBatches
from aliascope.filters import installed
from aliascope.runs.advice import COLUMNS, Advice
from tests_shared import tiny_photos

N = 12
WAVES = cosines(N).float()


def wave(k):
    """A pattern of one frequency: k along rows, constant along columns."""
    return WAVES[k][:, None].expand(N, N)


def noisy(classes, noise_at, noise, count=48):
    """One channel: the pattern of the class, and noise at other frequencies; in two batches."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % len(classes)
    x = torch.stack([wave(k) for k in classes])[labels]
    for k in noise_at:
        x = x + noise * torch.randn(count, 1, 1, generator=generator) * wave(k)
    half = count // 2
    return [(x[:half, None], labels[:half]), (x[half:, None], labels[half:])]


class Matcher(nn.Module):
    """Keeps every second sample, and scores classes by the likeness to their patterns."""

    def __init__(self, classes):
        super().__init__()
        self.down = nn.Conv2d(1, 1, 1, stride=2, bias=False)
        nn.init.ones_(self.down.weight)
        templates = torch.stack([wave(k)[::2, ::2] for k in classes])
        self.templates = templates / templates.flatten(1).norm(dim=1)[:, None, None]

    def forward(self, x):
        return torch.einsum("nij,cij->nc", self.down(x)[:, 0], self.templates)


class Classifier(nn.Module):
    """Two stages and batch norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        x = self.drop(F.relu(self.norm(self.stem(x))))
        return self.last(self.pool(x).square().mean((2, 3)))


def photos(count=32, size=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 4


def in_batches(x, y, size=8):
    return list(zip(x.split(size), y.split(size), strict=True))


SLOW, FAST = (1, 2, 3, 4), (7, 8, 9, 10)


# -- what filters do ----------------------------------------------------------------------------


def test_where_noise_aliases_onto_the_classes_the_ideal_filter_raises_accuracy():
    data = noisy(SLOW, [N - k for k in SLOW], 1.5)
    found = al.advise(Matcher(SLOW), data, filters=["ideal"], sites=["all"])
    plain, ideal = found.table().iloc[0], found.table().loc[("ideal", "all")]
    assert plain["accuracy"] < 0.7 and ideal["accuracy"] == 1
    assert ideal["accuracy_change_low"] > 0 and ideal["p"] < 0.001
    assert plain["aliased_energy"] > 0.5 and ideal["aliased_energy"] < 1e-5
    assert found.choice == ("ideal", "all")
    assert "none of 1 candidate on" in repr(found) and "mostly does" in repr(found)


def test_a_network_that_uses_what_aliases_loses_and_it_is_said():
    data = noisy(FAST, [1, 2], 0.2)
    found = al.advise(Matcher(FAST), data, filters=["blur:5", "ideal"], sites=["stem"])
    table = found.table()
    assert table["accuracy"].iloc[0] == 1
    assert (table["accuracy_change"].iloc[1:] < -0.3).all()
    assert found.choice is None
    assert found.code().startswith("# Every candidate loses accuracy without retraining")
    assert "fell under 2 of 2 candidates" in repr(found)
    assert "significantly (p < 0.05 or an interval below 0, each by itself) under 2" in repr(found)
    names = {"model": Matcher(FAST)}
    exec(found.code(), names)
    assert installed(names["model"]) is None


def test_intervals_and_p_are_those_of_the_same_images_by_hand():
    data = noisy(FAST, [1, 2], 0.2)
    model = Matcher(FAST)
    row = al.advise(model, data, filters=["blur:3"], sites=["all"]).table().iloc[1]
    x, y = (torch.cat(each) for each in zip(*data, strict=True))
    before = (model(x).argmax(1) == y).double()
    plain = model(x).argmax(1)
    with al.antialias(model, "blur:3"):
        after = model(x).argmax(1)
    assert row["n"] == len(x)
    assert row["accuracy"] == pytest.approx(float((after == y).double().mean()))
    assert row["agreement"] == pytest.approx(float((after == plain).double().mean()))
    assert row["accuracy_change"] == pytest.approx(row["accuracy"] - float(before.mean()))
    lost = int(((after != y) & (plain == y)).sum())
    assert row["p"] == pytest.approx(2 * 0.5**lost)  # none was won


def test_the_code_gives_the_energy_and_the_sites_of_its_row():
    model, data = Classifier().eval(), in_batches(*photos())
    found = al.advise(model, data, filters=["blur:3", "ideal"], sites=["all", "stem"])
    for row in found.table().index[1:]:
        names = {"model": model}
        exec(found.code(row), names)
        measured = al.measure(model, data, measures=["energy"]).energy("overall")
        names["handle"].remove()
        expected = found.table().loc[row]
        assert measured["aliased_energy"].iloc[0] == pytest.approx(
            expected["aliased_energy"], rel=1e-4, abs=1e-9
        )
        assert len(names["handle"].sites) == expected["filtered"]


def test_recalibrated_accuracy_is_that_of_batch_norm_from_the_spare_images():
    model, (x, y) = Classifier().eval(), photos()
    found = al.advise(model, in_batches(x, y), filters=["blur:3"], sites=["all"], recalibrate=8)
    assert found.description["images"] == 24 and found.description["recalibrate"] == 8
    model.drop.p = 0.0  # what it draws is not what is compared
    with torch.no_grad():
        plain, filtered = Classifier().eval(), Classifier().eval()
        handle = al.antialias(filtered, "blur:3")
        for each in (plain, filtered):
            update_bn([x[24:]], each)
        before, after = plain(x[:24]).argmax(1), filtered(x[:24]).argmax(1)
        handle.remove()
    row = found.table().iloc[1]
    right = [(each == y[:24]).double().mean().item() for each in (before, after)]
    assert found.table()["accuracy_recalibrated"].tolist() == pytest.approx(right)
    assert row["accuracy_recalibrated_change"] == pytest.approx(right[1] - right[0])
    agreement = float((before == after).double().mean())
    assert row["agreement_recalibrated"] == pytest.approx(agreement)


def test_without_batch_norm_nothing_is_recalibrated():
    found = al.advise(
        Matcher(SLOW), noisy(SLOW, [8], 0.5), filters=["blur:3"], sites=["all"], recalibrate=24
    )
    assert found.table()["accuracy_recalibrated"].isna().all()
    assert found.description["recalibrate"] == 0


def test_consistency_is_that_of_the_filtered_model_and_the_rest_is_of_the_middle():
    model, (x, y) = Classifier().eval(), photos(12, 36)
    found = al.advise(
        model, in_batches(x, y), filters=["blur:5"], sites=["all"], shifts=3, mode="crop", seed=4
    )
    with al.antialias(model, "blur:5"), torch.no_grad():
        right = (model(x[..., 8:-8, 8:-8]).argmax(1) == y).double().mean()
        alone = al.shift_consistency(model, x, shifts=3, seed=4).table().iloc[0]
    row = found.table().iloc[1]
    assert row["accuracy"] == pytest.approx(float(right))
    for column in ("consistency", "consistency_low", "consistency_high"):
        assert row[column] == pytest.approx(alone[column])
    assert "crop shifts, 3 shifts of up to 8 pixels" in repr(found)


def test_multiply_adds_are_those_of_the_dense_operation_and_the_matrices():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False), nn.Flatten())
    found = al.advise(model, [torch.randn(2, 1, 12, 12)], filters=["ideal"], sites=["all"])
    own, dense = 2 * 9 * 6 * 6, 2 * 9 * 12 * 12
    matrices = 2 * (12 * 6 * 12 + 6 * 6 * 12)
    expected = (dense - own + matrices) / own
    assert found.table()["multiply_adds"].tolist() == pytest.approx([0, expected])
    assert (found.table()["time"] > 0).all() and found.table()["time"].iloc[0] == 1


# -- at which sites -----------------------------------------------------------------------------


class Deaf(nn.Module):
    """Hardly listens to its second site, whose map has as much beyond as the first one's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 1, stride=2)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(x.mean((2, 3)) + 1e-4 * self.second(x).mean((2, 3)))


def test_most_are_the_stages_that_alias_and_matter():
    x = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = al.advise(Deaf(), [x], filters=["blur:3"], sites=["all", "most"])
    first, second = found.description["stages"]
    assert first["taken"] and first["sites"] == "first" and first["effect"] > 0
    assert second["aliased_energy"] > 0.5 and not second["taken"]
    assert second["effect"] < 0.1 * first["effect"]
    assert found.sites == {"all": ["first", "second"], "most": ["first"]}
    assert found.table()["filtered"].tolist() == [0, 2, 1]


def test_sets_of_the_same_sites_are_tried_once():
    found = al.advise(Matcher(FAST), noisy(FAST, [1], 0.2), filters=["blur:3"])
    assert list(found.table().index) == [("none", ""), ("blur:3", "all")]
    assert "stem: the same sites as all." in repr(found)


def test_where_nothing_aliases_there_is_no_such_candidate():
    model, x = nn.Sequential(nn.AvgPool2d(2), nn.Flatten()), wave(1).expand(4, 1, N, N)
    found = al.advise(model, [x], filters=["blur:3"], sites=["most", "stem"])
    assert list(found.table().index) == [("none", ""), ("blur:3", "stem")]
    assert "most: no stage has 10 % of its energy beyond" in repr(found)


def test_a_module_that_has_sites_in_it_is_named_by_number():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MaxPool2d(2)

        def forward(self, x):
            return self.inner(F.avg_pool2d(x, 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(x).flatten(1)

    found = al.advise(Net(), [torch.rand(2, 1, 16, 16)], filters=["blur:3"], sites=["stem"])
    assert found.sites == {"stem": ["block#1"]}
    assert found.table()["filtered"].tolist() == [0, 1]


# -- the model and the images ---------------------------------------------------------------------


def test_the_model_is_given_back_as_it_was():
    model, data = Classifier(), in_batches(*photos())
    model.train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    al.advise(model, data, filters=["blur:3"], sites=["stem"], recalibrate=8)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training and model.drop.training and not model.norm.training
    assert installed(model) is None
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert model.norm.momentum == 0.1


def test_a_failure_leaves_the_model_unfiltered():
    class Tired(Classifier):
        passes = 0

        def forward(self, x):
            self.passes += 1
            if installed(self) is not None and self.passes > 20:
                raise ValueError("tired")
            return super().forward(x)

    model = Tired().train()
    with pytest.raises(ValueError, match="tired"):
        al.advise(model, in_batches(*photos()), filters=["blur:3"], sites=["all"])
    assert installed(model) is None and model.training


def test_without_labels_agreement_is_given_and_none_is_advised():
    found = al.advise(Matcher(FAST), [noisy(FAST, [1], 0.2)[0][0]], filters=["ideal"])
    row = found.table().iloc[1]
    assert np.isnan(row["accuracy"]) and row["agreement"] < 0.6
    assert found.choice is None and "no labels" in found.code()
    assert "accuracy not known" in found.code(1)
    assert "No labels:" in repr(found)


def test_without_classes_energy_and_cost_are_left():
    found = al.advise(nn.AvgPool2d(2), [torch.rand(2, 1, 9, 9)], filters=["ideal"], sites=["all"])
    row = found.table().iloc[1]
    assert row["aliased_energy"] < 1e-5 and row["time"] > 0 and row["n"] == 2
    assert row[["consistency", "agreement", "accuracy", "multiply_adds"]].isna().all()


def test_images_by_keyword_and_from_a_generator_give_the_same():
    class ByName(Classifier):
        def forward(self, pixel_values):
            return super().forward(pixel_values)

    data = in_batches(*photos())
    plain = al.advise(Classifier(), data, filters=["blur:3"], sites=["all"]).table()
    named = ({"pixel_values": x, "labels": y} for x, y in data)
    other = al.advise(ByName(), named, filters=["blur:3"], sites=["all"]).table()
    pd.testing.assert_frame_equal(plain.drop(columns="time"), other.drop(columns="time"))


def test_kept_batches_come_back_in_the_memory_format_that_they_had(tmp_path):
    x = torch.rand(2, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    kept = KeptBatches(iter([x]), tmp_path, "advise").images(0)
    assert torch.equal(kept, x) and kept.stride() == x.stride()


def test_advice_is_read_back_as_it_was_saved(tmp_path):
    found = al.advise(Classifier(), in_batches(*photos()), filters=["blur:3"])
    found.save(tmp_path / "advice")
    again = al.Advice.load(tmp_path / "advice")
    pd.testing.assert_frame_equal(found.table(), again.table())
    assert repr(again) == repr(found) and again.code() == found.code()
    assert "<table>" in again._repr_html_()
    with pytest.raises(al.AliascopeError, match="holds advice already"):
        found.save(tmp_path / "advice")
    with pytest.raises(al.AliascopeError, match="holds no advice"):
        al.Advice.load(tmp_path)
    (tmp_path / "advice.json").write_text('{"table": [{}]}')
    with pytest.raises(al.AliascopeError, match="is damaged"):
        al.Advice.load(tmp_path)


def advice(rows):
    """Advice of rows (consistency, change, its upper end, p); the first is the network's own."""
    names = ["consistency", "accuracy_change", "accuracy_change_high", "p"]
    table = pd.DataFrame(rows, columns=names, dtype="float64").reindex(columns=COLUMNS)
    filters = [("none", ""), *((f"blur:{k + 2}", "all") for k in range(len(rows) - 1))]
    table.index = pd.MultiIndex.from_tuples(filters, names=["filter", "sites"])
    return Advice(table.assign(accuracy=0.5, n=100, filtered=1), {"sites": {"all": ["0"]}})


PLAIN = (0.8, np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(0.85, -0.01, 0.02, 0.5), (0.9, -0.02, 0.01, 0.3)], "blur:3"),
        ([(0.85, -0.01, 0.02, 0.5), (0.9, -0.2, -0.1, 0.001)], "blur:2"),  # the other loses
        ([(0.85, -0.01, 0.02, 0.5), (0.9, -0.2, -0.01, 0.06)], "blur:2"),  # and by its interval
        ([(0.85, -0.02, 0.02, 0.5), (0.85, 0.01, 0.02, 0.5)], "blur:3"),  # of like consistency
        ([(0.79, -0.01, 0.02, 0.5), (0.9, -0.2, -0.1, 0.001)], None),  # less consistent, or loses
        ([(np.nan, -0.2, -0.1, 0.001), (np.nan, 0, 0.1, 1)], "blur:3"),  # nothing was shifted
    ],
)
def test_the_most_consistent_of_those_that_lose_nothing_is_advised(rows, chosen):
    found = advice([PLAIN, *rows])
    assert found.choice == (None if chosen is None else (chosen, "all"))
    if chosen is None:
        assert "1 of 2 candidates lose accuracy" in found.code()
        assert "less consistent: 79.0 %, before 80.0 %" in found.code()
    else:
        assert f'al.antialias(model, "{chosen}")' in found.code()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filters": "blur:3"}, "give a sequence"),
        ({"filters": []}, "must name some"),
        ({"filters": ["blur:9"]}, "'blur:9' names no filter"),
        ({"sites": ["everywhere"]}, "'everywhere', but it must be of all, most, stem"),
        ({"sites": ["all", "all"]}, "each once"),
        ({"shifts": 0}, "shifts is 0"),
        ({"mode": "sideways"}, "mode is 'sideways'"),
        ({"mode": "crop"}, "leave no window"),
        ({"recalibrate": 48}, "some must be left"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(al.AliascopeError, match=words):
        al.advise(Matcher(SLOW), noisy(SLOW, [8], 0.5), **arguments)


def test_models_that_cannot_be_advised_are_refused():
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(al.AliascopeError, match="has no site"):
        al.advise(nn.Conv2d(3, 3, 3), [x])
    with pytest.raises(al.AliascopeError, match="no batch of images to advise on"):
        al.advise(nn.AvgPool2d(2), [])
    model = nn.Sequential(nn.AvgPool2d(2))
    with al.antialias(model), pytest.raises(al.AliascopeError, match="filtered already"):
        al.advise(model, [x])
    found = al.advise(model, [x], filters=["blur:3"], sites=["all"])
    with pytest.raises(al.AliascopeError, match="but candidates are"):
        found.code(("none", ""))


# -- the command --------------------------------------------------------------------------------


def test_images_are_spread_over_a_set_and_so_are_those_to_recalibrate():
    kept, spare = spread(1000, 100, 20)
    assert len(kept) == 80 and len(spare) == 20
    assert sorted(kept + spare) == list(range(0, 1000, 10))
    assert np.diff(spare).max() <= 50
    assert spread(3, 100, 0) == ([0, 1, 2], [])


def command(folder, *more):
    arguments = ["advise", "-m", "factories:net", "-d", "photos", "--crop", "24", "--resize", "26"]
    return subprocess.run(
        [sys.executable, "-m", "aliascope", *arguments, "--workers", "0", *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_command_prints_saves_and_refuses(tmp_path):
    tiny_photos(tmp_path)
    done = command(tmp_path, "--filters", "blur:3", "--sites", "all,stem", "-b", "4", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "blur:3" in done.stdout and "handle = al.antialias(model" in done.stdout
    assert "ithout retraining" in done.stdout and "crop shifts" in done.stdout
    found = al.Advice.load(tmp_path / "out")
    assert found.table()["n"].tolist() == [12, 12, 12]
    assert found.sites["stem"] == ["0"]  # as the network itself names it
    content = json.loads(Path(tmp_path, "out", "advice.json").read_text())
    assert content["kind"] == "advice" and content["model"]["name"] == "factories:net"
    refused = command(tmp_path, "--filters", "blur:3", "-o", "out")
    assert refused.returncode == 2 and "holds advice already" in refused.stderr
    assert refused.stderr.count("aliascope:") == 1 and "Traceback" not in refused.stderr
