"""Shift consistency: shifts, protocols, what is read off, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import aliascope as al
from aliascope.commands.main import main
from aliascope.draws import bits_of
from aliascope.evaluation.shift_folder import shift_images
from aliascope.evaluation.shift_options import ShiftOptions, with_margin
from aliascope.protocols import shift_protocols
from aliascope.protocols.shift_protocols import PROTOCOLS, make_protocol
from aliascope.protocols.shifts import cut_images, embed_images, roll_images
from aliascope.runs.consistency import Consistency
from aliascope.runs.image_intervals import over_images
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model


def moves(*pairs):
    return np.array(pairs, dtype=np.int64)


# -- shifting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize(("step", "fraction"), [(3, 1), (1, 2), (-5, 3), (7, 4)])
def test_a_tone_moves_by_just_so_much(size, step, fraction):
    n = torch.arange(size, dtype=torch.float64)
    for f in range(1, (size + 1) // 2):  # below the Nyquist rate
        down, right = torch.meshgrid(n, n, indexing="ij")

        def tone(dy, dx, f=f, down=down, right=right):
            return (2 * torch.pi * (f * (down - dy) + (right - dx)) / size + 0.4).cos()

        shifted = roll_images(tone(0, 0)[None, None], moves((step, -step)), fraction)
        by = step / fraction
        assert torch.allclose(shifted[0, 0], tone(by, -by), atol=1e-12)


def test_of_a_tone_at_the_nyquist_rate_half_a_sample_later_nothing_is_left():
    tone = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert roll_images(tone, moves((0, 1)), 2).abs().max() < 1e-6
    third = roll_images(tone, moves((0, 1)), 3)  # cos(π/3)
    assert torch.allclose(third, 0.5 * tone, atol=1e-6)


def zero_stuffed(image, move, u):
    """State the published shift: stuff zeros, low-pass, gain, roll, keep every u-th."""
    height, width = image.shape
    stuffed = np.zeros((u * height, u * width))
    stuffed[::u, ::u] = image
    spectrum = np.fft.fft2(stuffed)
    for axis, samples in enumerate((height, width)):
        bins = np.abs(np.fft.fftfreq(u * samples, 1 / (u * samples)))
        keep = (bins < samples / 2) + 0.5 * (bins == samples / 2)
        spectrum *= keep[:, None] if axis == 0 else keep
    fine = u * u * np.fft.ifft2(spectrum).real
    return np.roll(fine, move, (0, 1))[::u, ::u]


@pytest.mark.parametrize("u", [2, 3, 4])
@pytest.mark.parametrize("size", [(12, 12), (9, 14), (7, 5)])
def test_a_fraction_of_a_pixel_is_zero_stuffing_low_pass_gain_roll_and_every_uth(u, size):
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    for move in [(1, 0), (2 * u + 1, -1), (-3, 5)]:
        expected = zero_stuffed(image[0, 0].numpy(), move, u)
        shifted = roll_images(image, moves(move), u)[0, 0].numpy()
        assert np.abs(shifted - expected).max() < 1e-12


@pytest.mark.parametrize("size", [15, 16])
def test_half_a_pixel_twice_is_a_pixel_where_nothing_is_at_the_nyquist_rate(size):
    image = torch.rand(2, 3, size, size)
    if size % 2 == 0:
        spectrum = torch.fft.fft2(image)
        spectrum[..., size // 2, :] = spectrum[..., :, size // 2] = 0
        image = torch.fft.ifft2(spectrum).real
    half = moves((1, -1), (3, 1))
    twice = roll_images(roll_images(image, half, 2), half, 2)
    assert torch.allclose(twice, roll_images(image, half), atol=1e-5)


def test_each_image_has_its_own_shift():
    images = torch.rand(4, 1, 6, 7)
    each = moves((1, 0), (0, -2), (3, 3), (0, 0))
    shifted = roll_images(images, each)
    for n, (dy, dx) in enumerate(each.tolist()):
        assert torch.equal(shifted[n], torch.roll(images[n], (dy, dx), (1, 2)))


def test_in_a_crop_real_pixels_come_in_and_nothing_is_padded():
    frame = torch.rand(1, 2, 12, 14)
    for dy in range(-3, 4):
        for dx in range(-4, 5):
            cut = cut_images(frame, moves((dy, dx)), (6, 6))
            assert torch.equal(cut, frame[..., 3 - dy : 9 - dy, 4 - dx : 10 - dx])


@pytest.mark.parametrize("u", [2, 3, 4])
def test_in_a_crop_fractions_are_exact_for_what_a_mirror_continues(u):
    n = torch.arange(20, dtype=torch.float64)
    for k in (1, 4, 9):

        def tone(by, k=k):
            return (torch.pi * k * (n - by + 0.5) / 20).cos()

        frame = (tone(0)[:, None] * tone(0)[None])[None, None]
        for step in (1, -1, 2 * u - 1):
            cut = cut_images(frame, moves((step, -step)), (12, 12), u)[0, 0]
            expected = tone(step / u)[:, None] * tone(-step / u)[None]
            assert torch.allclose(cut, expected[4:16, 4:16], atol=1e-12)


def test_no_window_leaves_its_frame_not_by_a_fraction_either():
    frame = torch.rand(1, 1, 10, 10)
    cut_images(frame, moves((2, -2)), (6, 6))
    for move, fraction in [((3, 0), 1), ((0, -3), 1), ((5, 0), 2), ((0, -5), 2)]:
        with pytest.raises(al.AliascopeError, match="no room to move a window of 6 × 6"):
            cut_images(frame, moves(move), (6, 6), fraction)


def test_on_black_the_image_stays_whole():
    image = torch.rand(1, 3, 16, 16) + 0.1
    still, moved = (embed_images(image, moves((k, k))) for k in (0, 3))
    assert torch.equal(torch.roll(still, (3, 3), (-2, -1)), moved)
    assert int((still > 0).sum()) == 3 * 8 * 8


def test_half_precision_is_shifted_in_float_and_comes_back_as_it_was():
    image = torch.rand(1, 1, 9, 9)
    shifted = roll_images(image.half(), moves((1, 1)), 2)
    assert shifted.dtype == torch.float16
    assert torch.allclose(shifted.float(), roll_images(image, moves((1, 1)), 2), atol=2e-3)


# -- networks whose consistency is known -----------------------------------------------------------


def circular_network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(8, 5, 5, padding=2, padding_mode="circular"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


@pytest.mark.parametrize(
    "options",
    [{"mode": "circular", "shifts": 12}, {"protocol": "aps2021"}, {"protocol": "lps2022-circular"}],
)
def test_a_circular_network_without_sites_is_consistent_under_circular_shifts(options):
    table = al.shift_consistency(circular_network(), torch.rand(6, 3, 20, 22), **options).table()
    row = table.loc["integer"]
    assert row["consistency"] == row["worst"] == 1
    assert row["mac"] < 1e-6


class EveryOther(nn.Module):
    """Keeps every other column, and then asks how bright they are on average."""

    def forward(self, x):
        bright = x[..., ::2, ::2].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 2 * bright - 1], dim=1)


def stripes(number, size=12):
    """Images whose even columns are white: the kept ones, unless shifted by an odd number."""
    return torch.tensor([1.0, 0.0]).repeat(size // 2).expand(number, 1, size, size).clone()


@pytest.mark.parametrize("mode", ["crop", "circular"])
def test_one_decimation_by_two_says_the_same_just_where_columns_stay_in_step(mode):
    size = 16 if mode == "crop" else 12
    found = al.shift_consistency(
        EveryOther(), stripes(3, size), mode=mode, max_shift=2, shifts="all"
    )
    row = found.table().loc["integer"]
    # Of 24 shifts those with dx of -2, 0 or 2 agree: three times five, less the one by nothing.
    assert row["consistency"] == 14 / 24 and row["worst"] == 0 and row["shifts"] == 24
    change = 2 / (1 + np.exp(-1)) - 1  # from p = 1 / (1 + e^-1) to 1 - p
    assert row["mac"] == pytest.approx(change * 10 / 24, abs=1e-6)
    shifts = found.map()
    assert len(shifts) == 24 and (shifts["n"] == 3).all()
    assert (shifts["consistency"] == (shifts["dx"] % 2 == 0)).all()
    assert found.by_distance()["consistency"].tolist() == pytest.approx([2 / 8, 12 / 16])


def test_what_half_a_pixel_does_to_it_is_known_too():
    # Stripes are the tone at the Nyquist rate around 1/2: half a pixel later they are grey.
    found = al.shift_consistency(
        EveryOther(), stripes(2), mode="circular", max_shift=1, shifts="all", fraction=2
    )
    halves = found.map()
    assert len(halves) == 25 - 9  # whole pixels are not among the halves
    grey = halves["dx"] % 1 == 0.5
    p = 1 / (1 + np.exp(-1))
    assert halves.loc[grey, "mac"].to_numpy() == pytest.approx(p - 0.5, abs=1e-6)
    odd = halves["dx"] % 2 == 1
    assert (halves.loc[odd, "consistency"] == 0).all()
    assert (halves.loc[halves["dx"] == 0, "consistency"] == 1).all()


def test_labels_say_how_many_are_right_before_and_after():
    labels = torch.tensor([1, 1, 0])
    batch = (stripes(3), labels)
    row = (
        al.shift_consistency(EveryOther(), [batch], mode="circular", max_shift=2, shifts="all")
        .table()
        .loc["integer"]
    )
    assert row["accuracy"] == pytest.approx(2 / 3)
    assert row["accuracy_shifted"] == pytest.approx((2 * 14 + 10) / 72)
    assert row["accuracy_worst"] == 0


# -- published protocols, each against a statement of its own --------------------------------------


class Spy(nn.Module):
    """Classes that depend on where a view begins, and a record of what was seen."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        row, column, who = x[:, 0, 0, 0].round(), x[:, 1, 0, 0].round(), x[:, 2, 0, 0].round()
        return nn.functional.one_hot(((7 * row + 3 * column + who) % 5).long(), 5).float() * 2


def located(number, size, first=0):
    """Images whose pixels say where they are: row, column, image."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    who = torch.arange(first, first + number).view(-1, 1, 1).expand(number, size, size)
    images = [rows.expand_as(who), columns.expand_as(who), who]
    return torch.stack(images, dim=1).float()


def corners(views):
    """Where each view of each image begins: (views, images, 2)."""
    return torch.stack([view[:, :2, 0, 0] for view in views]).round().int()


def spied(protocol, size, batches=2, number=3, **options):
    spy = Spy()
    given = [located(number, size, first=number * k) for k in range(batches)]
    found = al.shift_consistency(spy, given, protocol=protocol, **options)
    passes = len(spy.seen) // batches
    return found, [spy.seen[k * passes : (k + 1) * passes] for k in range(batches)]


def class_of(corner, image):
    return (7 * corner[0] + 3 * corner[1] + image) % 5


@pytest.mark.parametrize(("protocol", "pairs"), [("zhang2019", 5), ("lps2022", 1)])
def test_two_crops_at_offsets_drawn_once_a_batch(protocol, pairs):
    found, batches = spied(protocol, 72, batches=40)
    places = []
    for views in batches:
        assert len(views) == 2 * pairs and views[0].shape[-2:] == (40, 40)  # 72 - 32
        where = corners(views)
        assert (where == where[:, :1]).all()  # the quirk: images of a batch share them
        places.append(where[:, 0])
    places = torch.stack(places)
    assert places.min() == 0 and places.max() == 31  # of 0…32 the last never comes
    assert len({tuple(map(tuple, each.tolist())) for each in places}) == 40
    agree = [
        class_of(place[2 * k].tolist(), image) == class_of(place[2 * k + 1].tolist(), image)
        for batch, place in enumerate(places)
        for image in range(3 * batch, 3 * batch + 3)
        for k in range(pairs)
    ]
    assert found.table().loc["integer", "consistency"] == pytest.approx(np.mean(agree))


@pytest.mark.parametrize(("protocol", "size"), [("aps2021", 64), ("lps2022-circular", 96)])
def test_two_circular_shifts_drawn_once_a_batch(protocol, size):
    found, batches = spied(protocol, size, batches=60)
    agree, drawn = [], []
    for batch, views in enumerate(batches):
        assert len(views) == 2 and views[0].shape[-2:] == (size, size)
        where = corners(views)
        assert (where == where[:, :1]).all()
        for image in range(3 * batch, 3 * batch + 3):
            agree.append(
                class_of(where[0, 0].tolist(), image) == class_of(where[1, 0].tolist(), image)
            )
        # The pixel that has come to the corner lay as far beyond it as the image was shifted.
        drawn += ((-where[:, 0] + size // 2) % size - size // 2).flatten().tolist()
        assert torch.equal(
            views[0], torch.roll(views[1], tuple((where[1, 0] - where[0, 0]).tolist()), (-2, -1))
        )
    assert min(drawn) >= -32 and max(drawn) <= 31 and min(drawn) < -24 and max(drawn) > 24
    assert found.table().loc["integer", "consistency"] == pytest.approx(np.mean(agree))


def test_afc2023_compares_the_image_with_one_shift_and_with_half_a_pixel_more():
    found, batches = spied("afc2023", 70)
    moves_seen = set()
    for batch, (original, whole, half) in enumerate(batches):
        assert torch.equal(original, located(3, 70, first=3 * batch))
        dy, dx = (-corners([whole])[0, 0]).tolist()
        dy, dx = ((each + 35) % 70 - 35 for each in (dy, dx))
        assert -32 <= dy <= 31 and -32 <= dx <= 31
        moves_seen.add((dy, dx))
        for image in range(3):
            channel = original[image, 0].double().numpy()
            expected = zero_stuffed(channel, (2 * dy + 1, 2 * dx + 1), 2)
            assert np.abs(half[image, 0].numpy() - expected).max() < 1e-3
            assert np.array_equal(np.roll(channel, (dy, dx), (0, 1)), whole[image, 0].numpy())
    assert len(moves_seen) == 1  # the quirk: one draw for the whole set
    assert list(found.table().index) == ["integer", "half"]
    (dy, dx) = moves_seen.pop()
    assert found.map("half")[["dy", "dx"]].values.tolist() == [[dy + 0.5, dx + 0.5]]
    agree = np.mean([class_of((0, 0), n) == class_of((-dy % 70, -dx % 70), n) for n in range(6)])
    row = found.table().loc["integer"]
    assert row["consistency"] == pytest.approx(agree)
    p = np.exp(2) / (np.exp(2) + 4)  # of the class a one-hot of 2 stands for
    assert row["mac"] == pytest.approx((1 - agree) * (p - (1 - p) / 4), abs=1e-6)


def test_afc2023_adversarial_asks_for_right_answers_under_all_961():
    torch.manual_seed(3)
    images, net = torch.rand(4, 3, 34, 34), nn.Sequential(nn.Flatten(), nn.Linear(3 * 34 * 34, 3))
    net[1].weight.data[1:] *= 0.02  # so that some images keep their class and some do not
    net[1].bias.data[1] += 0.45
    labels = net(images).argmax(dim=1)
    row = (
        al.shift_consistency(net, (images, labels), protocol="afc2023-adversarial")
        .table()
        .loc["integer"]
    )
    with torch.no_grad():
        right = torch.stack(
            [
                net(torch.roll(images, (i, j), (-2, -1))).argmax(dim=1) == labels
                for i in range(1, 32)
                for j in range(1, 32)
            ]
        )
    assert row["shifts"] == 961 and 0 < right.float().mean() < 1
    assert row["accuracy_worst"] == row["worst"] == pytest.approx(right.all(dim=0).float().mean())
    assert row["consistency"] == pytest.approx(right.double().mean())


def test_its_fractions_are_thirds_and_quarters_of_the_same_steps():
    for u in (3, 4):
        views = make_protocol("afc2023-adversarial", fraction=u).views(["0"], 0)
        steps = {tuple(views.between(0, k)[0]) for k in range(1, 962)}
        assert steps == {(i / u, j / u) for i in range(1, 32) for j in range(1, 32)}


def test_azulay2019_takes_eight_steps_of_a_pixel_along_the_diagonal():
    found, batches = spied("azulay2019", 30, batches=1)
    (views,) = batches
    where = corners(views)[:, 0].tolist()
    assert where == [[8 - k, 8 - k] for k in range(9)] and views[0].shape[-1] == 22
    changed = [
        class_of(where[k], n) != class_of(where[k + 1], n) for n in range(3) for k in range(8)
    ]
    assert 1 - found.table().loc["step", "consistency"] == pytest.approx(np.mean(changed))
    assert set(map(tuple, found.rows[["dy", "dx"]].to_numpy())) == {(1, 1)}


def test_azulay2019_on_black_moves_a_small_image_over_a_black_field():
    _, batches = spied("azulay2019", 32, batches=1, mode="black")
    views = batches[0]
    assert len(views) == 9 and views[0].shape[-1] == 32
    for view, after in pairwise(views):
        assert torch.equal(torch.roll(view, (1, 1), (-2, -1)), after)
    assert (views[0][1:, 2] > 0).sum() == 2 * 16 * 16


def test_larger_pictures_are_prepared_where_windows_move_in_them():
    recipe = load_model("torchvision:resnet18", weights="none").preprocessing  # 256, 224
    sizes = {
        name: (frame.resize, frame.crop)
        for name in PROTOCOLS
        for frame in [with_margin(recipe, make_protocol(name))]
    }
    assert sizes == {
        "shift": (256, 240),
        "zhang2019": (256, 256),
        "aps2021": (256, 224),
        "lps2022": (256, 256),
        "lps2022-circular": (256, 256),
        "afc2023": (256, 224),
        "afc2023-adversarial": (256, 224),
        "azulay2019": (256, 232),
    }


def pictures(margin):
    """Prepare the made folder by hand: shorter side, then a centred square."""
    images = []
    for path in sorted(Path("photos").rglob("*.png")):
        picture = Image.open(path)
        side = max(26, 24 + margin)
        scale = side / min(picture.size)
        picture = picture.resize([int(scale * length) for length in picture.size], Image.BILINEAR)
        array = np.asarray(picture).astype(np.float32).transpose(2, 0, 1) / 255
        top, left = (round((n - (24 + margin)) / 2) for n in array.shape[1:])
        images.append(array[:, top : top + 24 + margin, left : left + 24 + margin])
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_on_a_folder_it_is_what_a_few_lines_make_of_it(here, protocol):
    number = 2 if protocol == "afc2023-adversarial" else 12
    loaded = load_model("factories:pooled", resize=26, crop=24)
    found = shift_images(
        loaded,
        lambda prepare: open_data("photos", prepare, num_classes=4),
        "result",
        ShiftOptions(protocol=protocol, batch_size=5, seed=4, max_samples=number),
    )
    chosen = make_protocol(protocol, seed=4)
    frames = pictures(chosen.margin)[:number]
    names = [f"{label}/{i}.png" for label in range(4) for i in range(3)][:number]
    same, rows = [], found.rows.set_index(["sample", "kind"])
    for batch, first in enumerate(range(0, number, 5)):
        views = chosen.views(names[first : first + 5], batch)
        for n, image in enumerate(frames[first : first + 5]):
            all_seen = []
            for view, u in enumerate(views.fractions):
                dy, dx = views.moves[n, view]
                if chosen.mode == "crop":
                    c = chosen.margin // 2
                    seen = image[:, c - dy : c - dy + 24, c - dx : c - dx + 24]
                elif u == 1:
                    seen = torch.roll(image, (int(dy), int(dx)), (1, 2))
                else:
                    seen = torch.from_numpy(
                        np.stack([zero_stuffed(c.double().numpy(), (dy, dx), u) for c in image])
                    ).float()
                all_seen.append(seen)
            with torch.no_grad():
                said = loaded.model(torch.stack(all_seen)).softmax(1)
            for a, b, kind in views.pairs:
                same.append((int(said[a].argmax() == said[b].argmax()), kind))
            assert rows.loc[first + n, "change"].to_numpy() == pytest.approx(
                [float(abs(said[b][said[a].argmax()] - said[a].max())) for a, b, _ in views.pairs],
                abs=1e-5,
            )
    for kind, row in found.table().iterrows():
        assert row["consistency"] == pytest.approx(np.mean([s for s, k in same if k == kind]))


# -- random numbers --------------------------------------------------------------------------------


def test_shifts_of_an_image_follow_from_its_number_whatever_the_batches():
    model, images = circular_network(), torch.rand(12, 3, 24, 24)

    def rows(sizes):
        found = al.shift_consistency(model, images.split(sizes), max_shift=3, shifts=5, seed=7)
        columns = ["sample", "dy", "dx"]
        return found.rows.sort_values(columns)[[*columns, "agree"]].reset_index(drop=True)

    whole = rows(12)
    for sizes in (1, 5, [7, 5]):
        pd.testing.assert_frame_equal(whole, rows(sizes))


def test_shifts_of_an_image_follow_from_its_name_whatever_the_order():
    views = make_protocol("shift", seed=1).views
    names = [f"{n}.png" for n in range(9)]
    straight, turned = views(names, 0).moves, views(names[::-1], 5).moves
    assert np.array_equal(straight, turned[::-1])
    assert not np.array_equal(straight, make_protocol("shift", seed=2).views(names, 0).moves)


def check_every_image_has_shifts_of_its_own():
    views = make_protocol("shift", seed=0).views([str(n) for n in range(400)], 0)
    shifts = views.moves[:, 1:]
    assert len({each.tobytes() for each in shifts}) == 400
    assert len({tuple(pair) for pair in shifts.reshape(-1, 2)}) > 280  # of the 288 there are


def test_every_image_has_shifts_of_its_own(monkeypatch):
    check_every_image_has_shifts_of_its_own()
    one_for_all = lambda seed, key, count: bits_of(seed, "", count)  # noqa: E731
    monkeypatch.setattr(shift_protocols, "bits_of", one_for_all)
    with pytest.raises(AssertionError):
        check_every_image_has_shifts_of_its_own()


@pytest.mark.parametrize("fraction", [1, 2, 3])
def test_distances_take_turns_and_within_one_all_shifts_are_as_likely(fraction):
    number = 3000
    protocol = make_protocol("shift", max_shift=2, shifts=2 * fraction, fraction=fraction)
    shifts = protocol.views([str(n) for n in range(number)], 0).moves[:, 1:]
    distance = np.abs(shifts).max(axis=2)
    assert (np.sort(distance, axis=1) == np.arange(1, 2 * fraction + 1)).all()
    for d in range(1, 2 * fraction + 1):
        ring, counts = np.unique(shifts[distance == d], axis=0, return_counts=True)
        if fraction > 1:
            assert (ring % fraction != 0).any(axis=1).all()
        expected = number / len(ring)
        assert len(ring) == 8 * d - (8 * d // fraction if d % fraction == 0 and fraction > 1 else 0)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_no_shift_comes_twice_and_none_is_by_nothing():
    for shifts in (3, 16, "all"):
        views = make_protocol("shift", max_shift=2, shifts=shifts).views(["a", "b"], 0)
        for own in views.moves[:, 1:]:
            pairs = set(map(tuple, own))
            assert len(pairs) == len(own) and (0, 0) not in pairs


# -- what is read off ------------------------------------------------------------------------------


def made_rows(agree, change=None):
    """Rows of images (first axis) under shifts (second)."""
    images, shifts = agree.shape
    return pd.DataFrame(
        {
            "sample": np.repeat(np.arange(images), shifts),
            "dy": np.tile(np.arange(shifts) + 1, images),
            "dx": 0,
            "agree": agree.ravel(),
            "change": (1 - agree if change is None else change).ravel(),
        }
    )


def test_the_worst_case_is_no_better_than_the_mean():
    rng = np.random.default_rng(0)
    for _ in range(20):
        agree = (rng.random((15, 6)) < rng.random((15, 1))).astype(float)
        row = Consistency(made_rows(agree)).table().iloc[0]
        assert row["worst"] <= row["consistency"]
        assert row["worst"] == (agree.min(axis=1) == 1).mean()
        assert row["worst_low"] <= row["worst"] <= row["worst_high"]
        assert row["consistency_low"] <= row["consistency"] <= row["consistency_high"]
        assert row["mac"] == pytest.approx((1 - agree).mean())


def test_intervals_are_over_images_not_over_pairs():
    # Each of 40 images agrees under all of its 50 shifts or under none: 40 facts, not 2,000.
    yes = (np.arange(40) < 30).astype(float)
    once = Consistency(made_rows(yes[:, None])).table().iloc[0]
    often = Consistency(made_rows(np.tile(yes[:, None], 50))).table().iloc[0]
    for end in ("low", "high"):
        assert often[f"consistency_{end}"] == once[f"consistency_{end}"]
        assert often[f"mac_{end}"] == pytest.approx(once[f"mac_{end}"])
    width = often["consistency_high"] - often["consistency_low"]
    low, high = over_images(np.tile(yes, 50))  # pairs as if they were independent
    assert width > 5 * (high - low)


def test_intervals_of_shares_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        own = rng.beta(2, 1, size=60)  # of mean 2/3, one an image
        shares = rng.binomial(8, own) / 8
        low, high = over_images(shares, trial)
        covered += low <= 2 / 3 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_one_image_has_no_interval_of_its_share_but_one_of_yes_or_no():
    row = Consistency(made_rows(np.array([[1.0, 0.0]]))).table().iloc[0]
    assert row["consistency"] == 0.5 and np.isnan(row["consistency_low"])
    assert 0 == row["worst"] == row["worst_low"] < row["worst_high"] < 1


def test_the_table_of_images_and_the_curve_are_means_of_the_same_rows():
    rng = np.random.default_rng(2)
    found = Consistency(made_rows((rng.random((9, 4)) < 0.7).astype(float)))
    assert found.images["consistency"].mean() == pytest.approx(found.table()["consistency"].iloc[0])
    curve, shifts = found.by_distance(), found.map()
    assert curve["consistency"].tolist() == pytest.approx(shifts["consistency"].tolist())
    assert (curve["images"] == 9).all()
    assert "9 images" in repr(found) and "consistency %" in repr(found)
    content = json.loads(found.to_json())
    assert content["table"][0]["mac"] == pytest.approx(found.table()["mac"].iloc[0])
    assert len(content["map"]["integer"]) == 4


def test_a_saved_result_is_read_back_and_never_written_over(tmp_path):
    found = al.shift_consistency(
        EveryOther(), (stripes(3, 28), torch.tensor([1, 0, -1])), fraction=(1, 2)
    )
    found.save(tmp_path / "result")
    again = Consistency.load(tmp_path / "result")
    pd.testing.assert_frame_equal(found.rows, again.rows)
    pd.testing.assert_frame_equal(found.table(), again.table())
    assert repr(found) == repr(again)
    with pytest.raises(al.AliascopeError, match="already"):
        found.save(tmp_path / "result")
    part = next((tmp_path / "result" / "shifts").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(al.AliascopeError, match=r"000000\.parquet cannot be read"):
        Consistency.load(tmp_path / "result")


def test_scores_that_are_no_numbers_agree_with_nothing():
    class Broken(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3)) * float("nan")

    row = al.shift_consistency(Broken(), torch.rand(3, 4, 24, 24)).table().iloc[0]
    assert row["consistency"] == row["worst"] == 0 and np.isnan(row["mac"])


def test_a_single_score_is_yes_or_no():
    class Bright(nn.Module):
        def forward(self, x):
            return 2 * x[..., ::2, ::2].mean(dim=(1, 2, 3))[:, None] - 1

    pair = [
        al.shift_consistency(model, stripes(2), mode="circular", shifts="all", max_shift=2).table()
        for model in (Bright(), EveryOther())
    ]
    pd.testing.assert_frame_equal(*pair)


# -- segmentation ----------------------------------------------------------------------------------


class PixelClasses(nn.Module):
    """Tells for each pixel whether it is bright: moves with what it sees."""

    def forward(self, x):
        return {"out": torch.stack([torch.full_like(x[:, 0], 0.5), x[:, 0]], dim=1)}


class ColumnClasses(nn.Module):
    """Tells for each pixel whether its column is even: stays where it is."""

    def forward(self, x):
        even = (torch.arange(x.shape[-1]) % 2 == 0).float().expand(len(x), *x.shape[-2:])
        return torch.stack([1 - even, even], dim=1)


@pytest.mark.parametrize("mode", ["crop", "circular"])
def test_dense_outputs_are_compared_pixel_by_pixel_where_they_overlap(mode):
    images = torch.rand(2, 1, 16, 18)
    options = {"mode": mode, "max_shift": 2, "shifts": "all"}
    moving = al.shift_consistency(PixelClasses(), images, **options)
    assert (moving.rows["agree"] == 1).all() and (moving.rows["change"] == 0).all()
    assert moving.dense and "shares of pixels" in repr(moving)
    staying = al.shift_consistency(ColumnClasses(), images, **options).map()
    assert (staying["consistency"] == (staying["dx"] % 2 == 0)).all()


def test_the_share_of_pixels_is_of_the_overlap_alone():
    class Corner(nn.Module):
        """Says yes at the top left pixel of whatever it sees."""

        def forward(self, x):
            yes = torch.zeros(len(x), *x.shape[-2:])
            yes[:, 0, 0] = 1
            return torch.stack([torch.full_like(yes, 0.5), yes], dim=1)

    images = torch.rand(1, 1, 14, 14)  # of which 10 × 10 are seen
    shifts = al.shift_consistency(Corner(), images, max_shift=2, shifts="all").map()
    for _, row in shifts.iterrows():
        dy, dx = row["dy"], row["dx"]
        overlap = (10 - abs(dy)) * (10 - abs(dx))
        # Seen first, it is in the overlap where nothing was cut off above or to the left.
        wrong = (dy >= 0 and dx >= 0) + (dy <= 0 and dx <= 0)
        assert row["consistency"] == pytest.approx(1 - wrong / overlap)


def test_maps_of_another_size_are_brought_to_that_of_the_images():
    class Coarse(nn.Module):
        def forward(self, x):
            y = nn.functional.avg_pool2d(x[:, :1], 4)
            return torch.cat([0.5 - 0 * y, y], dim=1)

    found = al.shift_consistency(
        Coarse(), torch.rand(1, 1, 32, 32), mode="circular", max_shift=4, shifts="all"
    ).map()
    agree = found.set_index(["dy", "dx"])["consistency"]
    assert agree.loc[(4, 4)] > agree.loc[(2, 2)]


def test_pixels_a_fraction_apart_are_not_compared():
    with pytest.raises(al.AliascopeError, match="use shifts by whole pixels"):
        al.shift_consistency(PixelClasses(), torch.rand(1, 1, 24, 24), fraction=2)


# -- under handlers --------------------------------------------------------------------------------


class Blank:
    """Replaces each dense signal by its mean, and remembers which samples there were."""

    whole = False

    def __init__(self):
        self.samples = []

    def begin(self, batch):
        self.samples.append(batch.samples)

    def take(self, site, dense, part):
        return dense.mean(dim=(-2, -1), keepdim=True).expand_as(dense).contiguous()

    def end(self):
        return None

    def describe(self):
        return {"name": "blank"}


def test_a_model_is_shifted_under_handlers_that_know_the_images():
    blank = Blank()
    pool = nn.Sequential(nn.AvgPool2d(2), EveryOther())
    images = stripes(5, 16)
    found = al.shift_consistency(pool, images.split(3), shifts=4, mode="circular", handlers=[blank])
    assert blank.samples == [(0, 1, 2)] * 5 + [(3, 4)] * 5
    assert "under blank" in repr(found)


def test_handlers_change_what_is_said():
    net = nn.Sequential(
        nn.MaxPool2d(1, 2), nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    net[1].weight.data[:] = torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)
    net[1].bias.data[:] = torch.tensor([0.0, -1.0])
    options = {"mode": "circular", "max_shift": 1, "shifts": "all"}
    plain = al.shift_consistency(net, stripes(2), **options).table().iloc[0]
    under = al.shift_consistency(net, stripes(2), handlers=[Blank()], **options).table().iloc[0]
    assert plain["consistency"] == 2 / 8 and under["consistency"] == 1


# -- what cannot be shifted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (torch.rand(2, 3, 10, 10), {}, "give larger images or smaller shifts"),
        (torch.rand(2, 3, 24, 24), {"size": 20}, "a margin of 16 pixels"),
        (torch.rand(2, 3, 24, 24), {"mode": "circular", "size": 20}, "nothing is cut"),
        (torch.rand(2, 3, 24, 24), {"protocol": "zhang"}, "protocol is 'zhang'"),
        (torch.rand(2, 3, 64, 64), {"protocol": "zhang2019", "max_shift": 4}, "prescribes it"),
        (torch.rand(2, 3, 64, 64), {"protocol": "aps2021", "mode": "crop"}, "prescribes it"),
        (torch.rand(2, 3, 64, 64), {"protocol": "azulay2019", "mode": "circular"}, "'black'"),
        (torch.rand(2, 3, 24, 24), {"mode": "mirror"}, "mode is 'mirror'"),
        (torch.rand(2, 3, 24, 24), {"max_shift": 0}, "max_shift is 0"),
        (torch.rand(2, 3, 24, 24), {"shifts": 0}, "shifts is 0"),
        (torch.rand(2, 3, 24, 24), {"shifts": 65}, "from 1 to 64, or 'all'"),
        (torch.rand(2, 3, 24, 24), {"shifts": "some"}, "shifts is 'some'"),
        (torch.rand(2, 3, 24, 24), {"fraction": 5}, "fraction is 5"),
        (torch.rand(2, 3, 24, 24), {"fraction": [2, 2]}, "each once"),
        (torch.rand(3, 24, 24), {}, "shape (3, 24, 24)"),
        (torch.zeros(2, 3, 24, 24, dtype=torch.uint8), {}, "uint8"),
        ([], {}, "no batch"),
        ([(torch.rand(2, 3, 24, 24), [1])], {}, "one whole number for each of the 2"),
        (["cat.png"], {}, "type str"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(images, options, words):
    with pytest.raises(al.AliascopeError) as refusal:
        al.shift_consistency(circular_network(), images, **options)
    assert words in str(refusal.value) and str(refusal.value).count("\n") == 0


@pytest.mark.parametrize(
    "output", [torch.rand(2, 3, 4), [], {"boxes": torch.rand(2, 4)}, torch.ones(2, 3, dtype=int)]
)
def test_a_model_that_tells_no_classes_is_refused(output):
    class Other(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(al.AliascopeError, match="neither class scores"):
        al.shift_consistency(Other(), torch.rand(2, 3, 24, 24))


def test_rows_that_are_not_one_an_image_are_refused():
    class Crops(nn.Module):
        def forward(self, x):
            return torch.rand(5 * len(x), 3)

    with pytest.raises(al.AliascopeError, match="15 rows of scores for 3 images"):
        al.shift_consistency(Crops(), torch.rand(3, 3, 24, 24))


def test_the_model_is_given_back_in_the_mode_it_was_in():
    model = circular_network().train()
    al.shift_consistency(model, torch.rand(2, 3, 24, 24))
    assert model.training and all(p.grad is None for p in model.parameters())


def test_keyword_arguments_are_passed_on_and_the_images_among_them_shifted():
    class Keywords(nn.Module):
        def forward(self, pixel_values, scale):
            return EveryOther()(pixel_values) * scale

    batch = {"pixel_values": stripes(3), "scale": torch.tensor(1.0), "labels": torch.ones(3).long()}
    options = {"mode": "circular", "max_shift": 2, "shifts": "all"}
    found = al.shift_consistency(Keywords(), [batch], **options)
    assert found.table().loc["integer", "consistency"] == 14 / 24 and found.labelled


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def here(here):
    with (here / "factories.py").open("a") as file:
        file.write(
            """
def pooled():
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=4), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(),
        nn.BatchNorm1d(64), nn.Linear(64, 4)
    )
    net.train()(torch.rand(64, 3, 24, 24))
    return net.eval()
"""
        )
    return here


NET = ["--model", "factories:net", "--data", "photos", "--resize", "26", "--crop", "24"]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["shift", *map(str, arguments)])
    return stop.value.code


def in_a_process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "aliascope", "shift", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_the_command_prints_the_table_and_what_it_depends_on(here, capsys):
    assert run(*NET, "-o", "result", "-b", 5, "--workers", 0, "--seed", 3) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the network sees 24 × 24 of it" in out and "centre crop 40 × 40" in out
    assert (
        "protocol shift, crop; 8 shifts of up to 8 pixels; drawn for each image, seed 3; 12" in out
    )
    found = Consistency.load("result")
    assert found.description["status"] == "complete" and found.labelled
    assert found.rows["name"].nunique() == 12 and len(found.rows) == 96
    assert sorted(path.name for path in Path("result").rglob("*") if path.is_file()) == [
        "000000.parquet",
        "000001.parquet",
        "000002.parquet",
        "consistency.json",
    ]


def test_batches_and_shares_change_no_number(here, capsys):
    tables = []
    for name, *more in [("a", "-b", 12), ("b", "-b", 1), ("c", "-b", 5, "--workers", 2)]:
        assert run(*NET, "-o", name, "--csv", *more) == 0
        tables.append(capsys.readouterr().out)
    for share in ("2/2", "1/2"):
        assert run(*NET, "-o", "d", "-b", 5, "--shard", share) == 0
    capsys.readouterr()
    assert run(*NET, "-o", "d", "-b", 5, "--csv", "--resume") == 0
    tables.append(capsys.readouterr().out)
    one, *others = (
        pd.read_csv(Path(name).write_text(text) and name)
        for name, text in zip(("a.csv", "b.csv", "c.csv", "d.csv"), tables, strict=True)
    )
    for other in others:
        pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_a_run_that_was_killed_goes_on_where_it_was(here):
    deadly = ["--model", "factories:deadly", *NET[2:], "-b", "4", "--workers", "0"]
    killed = in_a_process(*deadly, "-o", "result", PASSES="25")  # nine a batch, three before
    assert killed.returncode < 0
    parts = sorted(Path("result/shifts").glob("*.parquet"))
    assert len(parts) == 2 and Consistency.load("result").description["status"] != "complete"
    before = [part.stat().st_mtime_ns for part in parts]
    again = in_a_process(*deadly, "-o", "result")
    assert again.returncode == 2 and "pass --resume" in again.stderr
    resumed = in_a_process(*deadly, "-o", "result", "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert [part.stat().st_mtime_ns for part in parts] == before
    whole = in_a_process(*deadly, "-o", "whole", "--json")
    here_, there = (json.loads(each.stdout) for each in (resumed, whole))
    for key in ("table", "map", "by_distance", "images"):
        assert here_[key] == there[key]


def test_a_damaged_part_is_measured_again(here, capsys):
    assert run(*NET, "-o", "result", "-b", 5) == 0
    table = Consistency.load("result").table()
    part = Path("result/shifts/000001.parquet")
    part.write_bytes(part.read_bytes()[:-40])
    assert run(*NET, "-o", "result", "-b", 5, "--resume") == 0
    assert "000001.parquet is damaged and is measured again" in capsys.readouterr().err
    pd.testing.assert_frame_equal(Consistency.load("result").table(), table)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "--seed", "1"], "options seed 0, not 1"),
        (["--resume", "-p", "aps2021"], "model preprocessing"),
        ([], "pass --resume"),
        (["-o", "photos"], "holds neither a run nor shift consistency"),
        (["-o", "new", "-p", "nobody2020"], "protocol is 'nobody2020'"),
        (["-o", "new", "--attack", "pgd"], "one needs the other"),
        (["-o", "new", "--eps", "0.1"], "one needs the other"),
        (["-o", "new", "--json", "--csv"], "choose one"),
        (["-o", "new", "--fraction", "half"], "fraction is 'half'"),
        (["-o", "new", "-b", "0"], "batch_size is 0"),
        (["-o", "new", "--start", "12"], "start is 12"),
        (
            [
                *("-o", "new", "-m", "factories:pooled", "--resize", "0", "--crop", "0"),
                *("--max-shift", "20"),
            ],
            "Images of 30 × 34 pixels leave no window",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(here, capsys, arguments, words):
    assert run(*NET, "-o", "result") == 0
    capsys.readouterr()
    assert run(*NET, "-o", "result", *arguments) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("aliascope: ") and err.count("\n") == 1
    assert not list(here.rglob("*.tmp"))


def test_images_that_cannot_be_read_are_left_out_and_named(here, capsys):
    Path("photos/1/1.png").write_bytes(b"none")
    assert run(*NET, "-o", "result") == 2
    assert "more than 1 %" in capsys.readouterr().err
    assert run(*NET, "-o", "result", "--max-bad", 0.2, "--resume", "-b", 16) == 0
    assert "1 image could not be read" in capsys.readouterr().out
    found = Consistency.load("result")
    assert found.rows["sample"].nunique() == 11 and found.unreadable[0][1] == "1/1.png"


def test_an_attack_changes_what_the_network_sees_and_leaves_the_margin(here, monkeypatch):
    pytest.importorskip("torchattacks")
    from aliascope.evaluation.shift_views import ShiftRunner

    frames = []
    rows = ShiftRunner.rows
    monkeypatch.setattr(
        ShiftRunner, "rows", lambda self, f, **how: (frames.append(f), rows(self, f, **how))[1]
    )
    attack = ["--attack", "pgd", "--eps", "0.02", "--attack-steps", "3"]
    assert run(*NET, "-o", "plain", "-b", 12) == 0
    assert run(*NET, "-o", "attacked", "-b", 12, *attack) == 0
    change = (frames[1] - frames[0]).abs()
    assert 0 < change[..., 8:32, 8:32].max() <= 0.02 + 1e-6
    change[..., 8:32, 8:32] = 0
    assert change.max() == 0
    assert Consistency.load("attacked").description["under"] == ["pgd eps=0.02"]


def test_the_figure_shows_the_map_and_the_curve(tmp_path, monkeypatch, capsys):
    from aliascope import figures

    found = al.shift_consistency(
        EveryOther(), stripes(3), mode="circular", max_shift=2, shifts="all"
    )
    drawn = figures.shift(found)
    picture = drawn.axes[0].images[0].get_array()
    assert picture.shape == (5, 5) and picture.mask.sum() == 1 and picture.mask[2, 2]
    expected = np.tile([100.0, 0, 100, 0, 100], (5, 1))
    assert (np.where(picture.mask, expected, picture.data) == expected).all()
    line = next(each for each in drawn.axes[2].lines if each.get_gid() == "consistency")
    assert line.get_ydata().tolist() == pytest.approx([25, 75])
    found.save(tmp_path / "result")
    monkeypatch.chdir(tmp_path)
    for arguments, code in [(["result"], 0), (["result", "--kind", "half"], 2), (["gone"], 2)]:
        with pytest.raises(SystemExit) as stop:
            main(["plot", "shift", *arguments])
        assert stop.value.code == code
    table = pd.read_csv("result/shift.csv")
    assert len(table) == 24 and Path("result/shift.png").stat().st_size > 1000
    err = capsys.readouterr().err
    assert "kind is 'half'" in err and "gone holds no shift consistency" in err


def test_reading_a_result_needs_no_torch(tmp_path):
    al.shift_consistency(EveryOther(), stripes(2, 28)).save(tmp_path / "result")
    code = (
        "import sys; from aliascope.runs.consistency import Consistency\n"
        "print(Consistency.load(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "result")], check=True)
