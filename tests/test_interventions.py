"""Interventions do to a dense signal what they say, and their controls hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import aliascope as al
from aliascope.energy import cosines
from aliascope.interventions import (
    INTERVENTIONS,
    Bands,
    Gain,
    HighParts,
    Low,
    Remove,
    Restore,
    Swap,
    intervention,
)
from aliascope.seam.parts import Part
from aliascope.sites import Site
from sites_shared import On

SITE = {axes: Site("site", 1, "conv", rate) for axes, rate in {1: (3,), 2: (2, 2)}.items()}


def applied(change, x, rate=(2, 2)):
    site = Site("site", 1, "conv", rate)
    return change.take(site, x, Part.whole(x))


def varying(x, axes=2):
    dim = tuple(range(-axes, 0))
    return (x - x.mean(dim, keepdim=True)).double().square().sum(dim)


def made(kind, seed=0, size=(4, 6, 14, 14)):
    """Maps of every kind that has deceived a control."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, generator=generator)
    if kind == "sparse":  # most of a rectified map is zero
        return (x - 1.5).relu()
    if kind == "beyond":  # more beyond the new Nyquist rate than within it
        low = al.low_pass(x, (2, 2))
        return x - low + 0.1 * low + 3
    if kind == "offset":
        return x + 300
    if kind == "faint":
        return 1e-6 * x
    return x


KINDS = ["plain", "sparse", "beyond", "offset", "faint"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(4, 6, 14, 14), (3, 2, 7, 9), (2, 3, 1, 8)])
def test_after_removing_nothing_is_left_beyond(kind, size):
    removed = applied(Remove(), made(kind, size=size))
    energy = al.aliased_energy(removed.double(), (2, 2))
    # of an offset of 300 the rounding of float32 alone leaves 1e-9 of the variance of 1
    assert float(energy.nan_to_num().max()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dose", [1.0, 0.7, 0.25])
def test_gain_takes_the_energy_that_removing_takes(kind, dose):
    x = made(kind)
    removed, scaled = (varying(applied(each(dose=dose), x)) for each in (Remove, Gain))
    torch.testing.assert_close(removed, scaled, rtol=1e-4, atol=0)
    if kind != "sparse":
        assert float((removed / varying(x)).max()) < 0.97  # it takes some


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dose", [1.0, 0.4])
def test_restoring_keeps_the_energy(kind, dose):
    x = made(kind)
    restored = applied(Restore(dose=dose), x)
    torch.testing.assert_close(varying(restored), varying(x), rtol=1e-4, atol=0)
    if dose == 1:
        assert float(al.aliased_energy(restored.double(), (2, 2)).max()) < 1e-6


def test_what_is_all_beyond_cannot_be_restored_and_is_left_at_its_mean():
    x = 2 + cosines(8)[7].float().expand(1, 1, 8, 8)
    restored = applied(Restore(), x)
    torch.testing.assert_close(restored, torch.full_like(x, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["remove", "gain", "restore", "low"])
def test_the_mean_of_a_map_stays(name):
    x = made("plain") + 2
    changed = applied(intervention(name), x)
    torch.testing.assert_close(changed.mean((2, 3)), x.mean((2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["remove", "gain", "restore"])
def test_a_band_limited_signal_is_not_changed(name):
    x = al.low_pass(made("plain"), (2, 2))
    torch.testing.assert_close(applied(intervention(name), x), x, atol=2e-6, rtol=1e-5)


def test_low_leaves_the_mean_and_what_removing_takes():
    x = made("plain").double()
    taken = x - applied(Remove(), x)
    mean = x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(applied(Low(), x), mean + taken)


@pytest.mark.parametrize("name", ["remove", "gain", "restore", "low"])
def test_a_constant_map_is_not_changed(name):
    x = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(applied(intervention(name), x), x)


def test_a_swap_with_oneself_changes_nothing_bit_for_bit():
    x = made("offset")
    swap = Swap(within=True)
    swap.high = {SITE[2]: Bands.of(x, (2, 2)).high}
    assert torch.equal(applied(swap, x), x)


def test_a_swap_gives_the_donors_high_part_and_keeps_the_own_low_part():
    x, donor = made("plain", 1).double(), made("plain", 2).double()
    swap = Swap(within=False)
    swap.high = {SITE[2]: Bands.of(donor, (2, 2)).high}
    changed = applied(swap, x)
    torch.testing.assert_close(al.low_pass(changed, (2, 2)), al.low_pass(x, (2, 2)))
    high = donor - al.low_pass(donor, (2, 2))
    torch.testing.assert_close(changed - al.low_pass(changed, (2, 2)), high)


@given(st.integers(0, 1000), st.sampled_from(sorted(SITE)), st.floats(0.01, 1))
def test_energies_taken_are_those_of_the_signals(seed, axes, dose):
    rate = SITE[axes].rate
    size = (2, 3, *(9, 10)[:axes])
    x = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    change = Remove(dose=dose)
    change.begin(batch_of(2))
    changed = applied(change, x, rate)
    found = change.end()
    taken = 1 - varying(changed, axes) / varying(x, axes)
    site = Site("site", 1)
    torch.testing.assert_close(found["energy_taken"][site], taken.mean(1))
    difference = (changed - x).square().flatten(2).sum(2)
    torch.testing.assert_close(
        found["energy_changed"][site], (difference / varying(x, axes)).mean(1)
    )


def batch_of(count):
    from aliascope.seam.handlers import Batch

    return Batch(tuple(range(count)), torch.device("cpu"))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(5)
    ).eval()


@pytest.mark.parametrize("name", sorted(set(INTERVENTIONS)))
def test_dose_0_changes_no_bit_of_the_output(name):
    model, x = net(), torch.randn(3, 3, 20, 20)
    with torch.no_grad():
        expected = model(x)
        with al.Opening(model, [intervention(name, dose=0)]):
            assert torch.equal(model(x), expected)


def test_it_acts_at_its_sites_only():
    model, x = net(), torch.randn(3, 3, 20, 20)
    seen = {}
    with torch.no_grad(), al.Opening(model, [On(lambda site, d: seen.update({site: d.clone()}))]):
        model(x)
    first, second = seen
    after = {}
    look = On(lambda site, dense: after.update({site: dense.clone()}))
    with torch.no_grad(), al.Opening(model, [Remove([second]), look]):
        model(x)
    assert torch.equal(after[first], seen[first])
    torch.testing.assert_close(after[second], al.low_pass(seen[second], (2, 2)))


def test_parts_and_half_precision_give_what_the_whole_gives():
    model, x = net(), torch.randn(6, 3, 40, 40)
    with torch.no_grad():
        with al.Opening(model, [Restore()]):
            whole = model(x)
        with al.Opening(model, [Restore()], workspace=1 << 15):
            torch.testing.assert_close(model(x), whole)
        half = model.bfloat16()
        with al.Opening(half, [Restore()]):
            output = half(x.bfloat16())
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), whole, atol=0.1, rtol=0.1)


def test_high_parts_end_the_pass_when_all_are_seen():
    from aliascope.interventions import EnoughSeen

    model, x = net(), torch.randn(3, 3, 20, 20)
    first = next(iter(al.find_sites(model, x))).site
    ran = []
    model[4].register_forward_hook(lambda *_: ran.append(1))
    kept = HighParts([first])
    with torch.no_grad(), al.Opening(model, [kept]), pytest.raises(EnoughSeen):
        model(x)
    assert not ran
    assert kept.high[first].shape == (3, 8, 20, 20)


@pytest.mark.parametrize("dose", [-0.1, 1.5, float("nan")])
def test_a_dose_that_is_none_is_refused(dose):
    with pytest.raises(al.AliascopeError, match=r"^dose is "):
        Remove(dose=dose)


def test_an_unknown_intervention_is_named_with_those_there_are():
    with pytest.raises(al.AliascopeError, match="'removal', but it must be one of remove, "):
        intervention("removal")


def test_a_swap_without_donors_is_refused_in_one_sentence():
    model, x = net(), torch.randn(3, 3, 20, 20)
    with (
        torch.no_grad(),
        al.Opening(model, [Swap(within=True)]),
        pytest.raises(al.AliascopeError, match="has no donors"),
    ):
        model(x)


def test_an_intervened_pass_is_kept_under_its_own_condition():
    model, x = net(), torch.rand(3, 3, 20, 20)
    site = next(iter(al.find_sites(model, x))).site
    m = al.measure(model, [x], handlers=[Remove([site])], measures=["energy"])
    assert [condition.name for condition in m.conditions] == ["remove 0"]
    assert float(m.energy()["aliased_energy"].iloc[0]) < 1e-5
    assert m.values["energy_taken"].between(0.1, 1).any()
