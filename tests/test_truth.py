"""That the signals of benchmarks/signals.py have the shares they are said to have."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

import aliascope as al

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import signals as made
from benchmarks import truth

GAUSSIAN = ["tones", "1/f", "flat", "ReLU"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("kind", GAUSSIAN)
def test_the_fast_component_has_the_share_that_was_asked_for(kind, share):
    slow, fast = made.components(kind, 6, (24, 24), 2, made.GAP)
    maps = made.mixed(slow, fast, share, 5.0)
    of_slow = (maps - 5 - math.sqrt(share) * fast).square().mean((1, 2))
    of_fast = (maps - 5 - math.sqrt(1 - share) * slow).square().mean((1, 2))
    assert torch.allclose(of_slow, torch.tensor(1 - share), atol=1e-4)
    assert torch.allclose(of_fast, torch.tensor(share), atol=1e-4)
    assert torch.allclose(maps.mean((1, 2)), torch.tensor(5.0), atol=1e-4)


@pytest.mark.parametrize("rate", [2, 4])
@pytest.mark.parametrize("kind", ["tones", "1/f", "flat", "ReLU"])
def test_no_transform_of_ours_is_needed_to_see_which_component_is_slow(kind, rate):
    # Under a window whose side lobes fall fast, with a wide gap, a long map keeps the two apart.
    n = 256
    place = torch.arange(n) / n
    window = sum(
        a * torch.cos(2 * math.pi * i * place)
        for i, a in enumerate((0.35875, -0.48829, 0.14128, -0.01168))  # Blackman-Harris
    )
    slow, fast = made.components(kind, 4, (n,), rate, 0.2)
    for part, few in ((slow, True), (fast, False)):
        power = torch.fft.rfft(part * window).abs().square()
        power[:, :5] = 0  # what the mean, taken away, left
        beyond = power[:, n // (2 * rate) :].sum() / power.sum()
        assert float(beyond) < 1e-5 if few else float(beyond) > 1 - 1e-5


@pytest.mark.parametrize("kind", GAUSSIAN)
def test_energy_is_about_the_known_share(kind):
    slow, fast = made.components(kind, 40, (28, 28), 2, made.GAP)
    for share in (0.0, 0.003, 0.01, 0.1, 0.3):
        for mean in (0.0, 10.0):
            found = al.aliased_energy(made.mixed(slow, fast, share, mean), (2, 2))
            assert abs(float(found.mean()) - share) < 0.01


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_kind_is_made_on_every_number_of_axes(axes):
    for kind in ("tones", "1/f", "flat", "zero-padded"):
        for part in made.components(kind, 3, (9, 10, 11)[:axes], 2, 0.0):
            assert part.shape == (3, *(9, 10, 11)[:axes])
            assert torch.allclose(part.flatten(1).square().mean(1), torch.ones(3), atol=1e-4)


def test_signals_follow_from_their_seed():
    one, other = (made.components("1/f", 2, (8, 8), 2, 0.0, seed=3) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_all_measures_agree_on_what_all_can_see():
    # Whole numbers of periods of cosines that a mirror continues without a corner, and a window
    # that leaves them where they are.
    place = torch.arange(64) + 0.5
    slow, fast = (torch.cos(math.pi * k * place / 64) for k in (8, 56))
    maps = made.mixed(slow * math.sqrt(2), fast * math.sqrt(2), 0.3, 0)[None]
    for name, measure in truth.ESTIMATES.items():
        assert float(measure(maps, (2,))) == pytest.approx(0.3, abs=0.01), name


def test_the_floor_of_a_constant_is_known():
    # Published grid and threshold, unit scale: what a step at the border alone is called.
    found = [float(truth.categories(torch.ones(1, n, n), (2, 2))) for n in (7, 14, 28, 56, 112)]
    assert [round(100 * each) for each in found] == [59, 19, 7, 0, 0]


def test_the_tables_hold_every_case():
    setting = truth.Setting("flat", 2, 7, 2, made.GAP)
    rows = truth.pd.DataFrame(truth.measured(setting, shares=(0.0, 0.5)))
    assert set(rows["measure"]) == set(truth.MEASURES)
    energy = rows[rows["measure"] == "energy"]
    assert len(energy) == 2 * len(truth.MEANS)
    text = truth.report(rows)
    worst = energy["bias"].loc[energy["bias"].abs().idxmax()]
    assert f"{worst:+.3f}" in text and "mirror, Hann" in text
