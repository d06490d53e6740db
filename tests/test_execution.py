"""Memory formats, precision and compiling: the same numbers, faster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import aliascope as al
from aliascope.evaluation.loop import Options, evaluate
from aliascope.models.execution import compiling, fast_layout, products_in, settle_layout
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

CPU = torch.device("cpu")


class Through(nn.Module):
    """Applies a function; notes the strides that its signals come in."""

    def __init__(self, function):
        super().__init__()
        self.function, self.channels_last = function, []

    def forward(self, x):
        self.channels_last.append(x.is_contiguous(memory_format=torch.channels_last))
        return self.function(x)


def net(*more):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), *more).eval()


def test_a_model_goes_channels_last_where_it_works_so():
    model = net(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert settle_layout(model, (3, 16, 16), CPU) is torch.channels_last
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(len(x), -1),  # refuses such strides
        lambda x: x.as_strided((len(x), 16), (x[0].numel(), 1)),  # silently reads others
    ],
)
def test_a_model_that_reads_strides_stays_as_it_is(function):
    model = net(Through(function))
    image = torch.rand(2, 3, 16, 16)
    before = model(image)
    assert settle_layout(model, (3, 16, 16), CPU) is torch.contiguous_format
    assert model[0].weight.is_contiguous()
    assert torch.equal(model(image), before)


def test_trying_the_memory_format_leaves_the_random_state_alone():
    model = net(Through(lambda x: x + torch.rand(())))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    settle_layout(model, (3, 16, 16), CPU)
    assert torch.equal(torch.rand(3), expected)


def test_pointwise_convolutions_of_few_channels_stay_as_they_are():
    assert fast_layout(nn.Conv2d(8, 8, 1, stride=2), CPU) is torch.contiguous_format
    assert fast_layout(nn.Conv2d(16, 8, 1, stride=2), CPU) is torch.channels_last


def test_a_measured_pass_is_channels_last(here):
    spy = Through(lambda x: x)
    loaded = load_model("factories:net", resize=26, crop=24)
    loaded.network = nn.Sequential(spy, loaded.network)
    images = open_data("photos", loaded.preprocessing)
    evaluate(loaded, images, "run", Options(batch_size=6))
    assert spy.channels_last == [False, True, True, True]  # tried both, then two batches


def run(name, **options):
    loaded = load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", loaded.preprocessing)
    return evaluate(loaded, images, name, Options(**options))


def test_bfloat16_products_change_the_numbers_little_and_are_remembered(here):
    exact, rounded = run("a"), run("b", precision="bfloat16")
    difference = (exact.fractions() - rounded.fractions()).abs().to_numpy()
    assert 0 < difference.max() < 0.1
    assert json.loads(Path("b/run.json").read_text())["options"]["precision"] == "bfloat16"
    with pytest.raises(al.AliascopeError, match="precision"):
        evaluate(
            load_model("factories:net", resize=26, crop=24),
            open_data("photos", load_model("factories:net", resize=26, crop=24).preprocessing),
            "b",
            Options(),
            resume=True,
        )


def test_an_unknown_precision_is_refused_in_one_sentence():
    with pytest.raises(al.AliascopeError, match="precision is 'half', but it must be one of"):
        Options(precision="half")


def test_products_in_bfloat16_leave_float32_alone():
    with products_in("float32", CPU):
        assert net()(torch.rand(1, 3, 8, 8)).dtype == torch.float32
    with products_in("bfloat16", CPU):
        assert net()(torch.rand(1, 3, 8, 8)).dtype == torch.bfloat16


def test_compiling_is_for_the_steps_of_an_attack_only(here, monkeypatch):
    calls = []

    class Counted(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            calls.append(len(x))
            return self.model(x)

    monkeypatch.setattr(torch, "compile", Counted)
    loaded = load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", loaded.preprocessing, num_classes=4)
    options = Options(attack="pgd", eps=(0.0, 0.1), attack_steps=3)
    compiled = evaluate(loaded, images, "run", options, compile=True)
    assert calls == [12] * 3
    plain = evaluate(loaded, images, "other", options)
    assert compiled.counts.equals(plain.counts)
    assert compiled.at("eps=0.1").counts.equals(plain.at("eps=0.1").counts)


def test_a_network_that_cannot_be_compiled_is_one_sentence():
    error = torch._dynamo.exc.TorchDynamoException("no C++ compiler found\nmore")
    with (
        pytest.raises(al.AliascopeError, match="no C\\+\\+ compiler found\\); leave --compile out"),
        compiling(),
    ):
        raise error
