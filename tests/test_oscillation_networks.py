"""The 22 networks: parameter counts as published, sites, initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import aliascope as al
from aliascope.errors import AliascopeError
from aliascope.oscillations.networks import FAMILIES, NETWORKS, find_network, members
from aliascope.oscillations.results import published_accuracies


def test_every_network_has_as_many_parameters_as_published():
    table = published_accuracies()
    counts = table.groupby("published_name")["parameters"].first()
    assert len(counts) == len(NETWORKS) == 22
    for name, count in counts.items():
        assert find_network(name).parameters() == count


def test_the_two_counts_of_the_text():
    assert find_network("fc-1h-58").parameters() == 83_050
    assert find_network("resnet-w-16").parameters() == 297_536


def test_the_families_have_their_members():
    assert [len(members(family)) for family in FAMILIES] == [4, 4, 4, 4, 7]
    assert find_network("resnet-d-3") is find_network("resnet-w-16")
    table = published_accuracies()
    for family in FAMILIES:
        published = table.loc[table["family"] == family, "network"]
        assert set(published) == {network.name for network in members(family)}
    assert len(table) == 4 * 23


@pytest.mark.parametrize(
    "name", [network.name for network in NETWORKS if network.name != "resnet-d-45"]
)
def test_a_network_gives_a_score_a_class(name):
    network = find_network(name).build(classes=9)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 9)


def test_a_resnet_has_four_sites_at_its_two_strided_blocks():
    sites = al.find_sites(find_network("resnet-w-16").build(), torch.rand(1, 1, 32, 32))
    assert [(site.name, site.rate, site.dense_shape) for site in sites] == [
        ("layer2.0.conv1", (2, 2), (32, 32, 32)),
        ("layer2.0.downsample.0", (2, 2), (32, 32, 32)),
        ("layer3.0.conv1", (2, 2), (64, 16, 16)),
        ("layer3.0.downsample.0", (2, 2), (64, 16, 16)),
    ]


def test_convolutions_have_no_bias_and_he_initialisation_by_fan_out():
    network = find_network("resnet-w-64").build(seed=1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            count = module.weight.numel()
            expected = (2 / fan_out) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / count**0.5)


def test_a_seed_decides_the_weights_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    one, same, other = (find_network("resnet-w-8").build(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_an_unknown_network_is_refused_with_its_neighbours():
    with pytest.raises(
        AliascopeError, match=r"no network 'resnet-w-15' \(the nearest are .*resnet-w-16"
    ):
        find_network("resnet-w-15")
