"""Images of oscillations: what is in them, and that each depends on nothing but seed and index."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aliascope.errors import AliascopeError
from aliascope.oscillations.images import SPLITS, Oscillations, _mix, oscillation, split_seed


def every(images):
    return torch.cat([pixels for pixels, _ in images.batches(1000)])


@pytest.mark.parametrize("label", [0, 1, 19, 20, 41, 190, 210, 380, 399])
def test_without_noise_the_spectrum_has_its_tone_in_the_bin_of_its_class_and_nowhere_else(label):
    # 40 samples hold a whole number of periods of k/20 half-cycles a sample: the tone is in bin k.
    images = Oscillations(noise=0.0, size=40)
    pixels, labels = images.batch(torch.tensor([label + 400 * k for k in range(5)]))
    assert (labels == label).all()
    power = torch.fft.fft2(pixels[:, 0].double()).abs() ** 2
    across, down = divmod(label, 20)
    tones = torch.zeros(40, 40, dtype=torch.bool)
    for row in (down, -down % 40):
        for column in (across, -across % 40):
            tones[row, column] = True
    assert (power[:, ~tones].amax(dim=1) < 1e-8 * power[:, tones].amax(dim=1)).all()


def test_a_tone_between_two_bins_of_32_samples_is_strongest_in_the_nearest():
    images = Oscillations(noise=0.0)
    for label in (147, 213, 308):
        pixels, _ = images.batch(torch.tensor([label]))
        power = torch.fft.rfft2(pixels[0, 0], s=(32, 32)).abs()
        row, column = divmod(int(power[:16].argmax()), power.shape[1])
        across, down = images.frequency(label)
        assert abs(column - 16 * across) <= 1 and abs(row - 16 * down) <= 1


def test_an_image_is_the_formula_of_its_frequencies_and_phases():
    images = Oscillations(noise=0.0)
    pixels, labels = images.batch(torch.tensor([137, 4321]))
    for image, label in zip(pixels[:, 0].double().numpy(), labels.tolist(), strict=True):
        f_x, f_y = images.frequency(label)
        u = np.arange(32)
        # Least squares over both quadratures of both axes: a residue of zero is the formula.
        across = np.stack([np.cos(math.pi * f_x * u), np.sin(math.pi * f_x * u)])
        down = np.stack([np.cos(math.pi * f_y * u), np.sin(math.pi * f_y * u)])
        basis = np.einsum("iy,jx->ijyx", down, across).reshape(4, -1).T
        weights, *_ = np.linalg.lstsq(basis, image.ravel(), rcond=None)
        assert np.abs(basis @ weights - image.ravel()).max() < 1e-5
        # A product of two cosines of amplitude one has weights of norm one and rank one.
        assert np.linalg.norm(weights) == pytest.approx(1, abs=1e-5)
        assert abs(np.linalg.det(weights.reshape(2, 2))) < 1e-5


@pytest.mark.parametrize("noise", [1.0, 8.0])
def test_noise_is_uniform_and_independent(noise):
    clean = every(Oscillations(2000, noise=0.0, seed=5))
    drawn = (every(Oscillations(2000, noise=noise, seed=5)) - clean).double() / noise
    assert drawn.min() >= -0.5 - 1e-6 and drawn.max() < 0.5 + 1e-6
    values = drawn.flatten().numpy()
    assert stats.kstest(values[::7], "uniform", args=(-0.5, 1)).pvalue > 1e-3
    assert values.mean() == pytest.approx(0, abs=5 * math.sqrt(1 / 12 / values.size))
    assert values.var() == pytest.approx(1 / 12, rel=5 * 2 / math.sqrt(values.size))
    # White: between pixels, between images, between seeds.
    bound = 5 / math.sqrt(values.size)
    rows = drawn.flatten(1).numpy() * math.sqrt(12)
    other = (
        every(Oscillations(2000, noise=noise, seed=6)) - every(Oscillations(2000, 0.0, 6))
    ) / noise
    for a, b in (
        (rows[:, 1:], rows[:, :-1]),
        (rows[:, 32:], rows[:, :-32]),
        (rows[:, 512:], rows[:, :-512]),
        (rows[1:], rows[:-1]),
        (rows, other.flatten(1).double().numpy() * math.sqrt(12)),
    ):
        assert abs((a * b).mean()) < 1.5 * bound
    spectrum = np.abs(np.fft.fft2(drawn[:, 0].numpy())).__pow__(2).mean(axis=0)
    assert spectrum.max() / spectrum.min() < 1.5


def test_phases_are_uniform():
    # At frequency zero across, the image is a constant times cos(phase) across each row.
    images = Oscillations(400 * 500, noise=0.0, seed=3)
    pixels, _ = images.batch(torch.arange(0, len(images), 400))
    product = pixels[:, 0, 0, 0].double()  # cos(phi_x) cos(phi_y)
    generator = np.random.default_rng(0)
    expected = np.cos(generator.uniform(0, 2 * math.pi, (2, 200_000))).prod(axis=0)
    assert stats.ks_2samp(product.numpy(), expected).pvalue > 1e-3


def test_classes_are_equally_frequent_and_rounded_up():
    images = Oscillations(20_001)
    assert len(images) == 20_400
    labels = torch.cat([labels for _, labels in Oscillations(10_000, size=1).batches(1000)])
    assert labels.bincount().tolist() == [25] * 400


@settings(max_examples=30)
@given(st.data())
def test_an_image_is_the_same_whatever_batch_it_is_made_in(data):
    images = Oscillations(800, seed=data.draw(st.integers(0, 2**31 - 1)), size=9)
    order = data.draw(st.permutations(range(0, 800, 37)))
    together, labels = images.batch(torch.tensor(order))
    size = data.draw(st.integers(1, len(order)))
    parts = [images.batch(part)[0] for part in torch.tensor(order).split(size)]
    assert torch.equal(torch.cat(parts), together)
    assert labels.tolist() == [index % 400 for index in order]


def test_train_validation_and_test_images_have_nothing_in_common():
    seen = set()
    for seed in (0, 1):
        for split in SPLITS:
            images = every(Oscillations(4000, seed=split_seed(seed, split)))
            seen.update(image.numpy().tobytes() for image in images)
    assert len(seen) == 2 * 3 * 4000
    seeds = {split_seed(seed, split) for seed in range(500) for split in SPLITS}
    assert len(seeds) == 1500


@settings(max_examples=200)
@given(st.integers(0, 2**64 - 1))
def test_the_mixing_is_splitmix64(word):
    # The reference: Vigna's public-domain splitmix64.c, in Python's own integers.
    z = (word + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    signed = (word + 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63
    assert int(_mix(torch.tensor([signed]))) % 2**64 == z


def test_half_cycles_f_and_one_minus_f_fold_onto_the_same():
    slow = oscillation((0.3, 0.35), (0.4, 1.1))
    fast = oscillation((0.7, 0.65), (-0.4, -1.1))
    assert (slow[::2, ::2] - fast[::2, ::2]).abs().max() < 1e-6
    assert (slow - fast).abs().max() > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": -1.0}, "amplitude A is -1"),
        ({"noise": float("nan")}, "amplitude A is nan"),
        ({"noise": float("inf")}, "amplitude A is inf"),
        ({"count": 0}, "number of images is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"frequencies": 0}, "Frequencies a side are 0"),
        ({"size": 0}, "0 pixels"),
        ({"count": 2**33}, "too many"),
    ],
)
def test_bad_values_are_refused(options, words):
    with pytest.raises(AliascopeError, match=words):
        Oscillations(**options)


def test_an_unknown_set_is_refused():
    with pytest.raises(AliascopeError, match="choose one of train, validation, test"):
        split_seed(0, "training")
