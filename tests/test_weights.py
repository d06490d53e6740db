"""Weights files: every kind is read, every entry fits, and nothing in them runs."""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.fingerprint import state_sha256
from aliascope.models.weights import load_file, unwrapped


class Evil:
    """Creates a folder when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def saved() -> nn.Module:
    """The network whose weights are in the file."""
    return tiny()


def refusal(file: Path) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(AliascopeError) as caught:
        load_file("tiny", tiny(), file)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and str(file) in sentence
    return sentence


def test_weights_survive_the_way_through_every_kind_of_file(
    tmp_path: Path, saved: nn.Module
) -> None:
    state = saved.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    contents: dict[str, object] = {
        "plain.pth": state,
        "nested.pt": {"epoch": 3, "state_dict": state},
        "model.bin": {"model": state, "optimizer": {"lr": 0.1}},
        "ema.pth": {"state_dict_ema": state},
        "parallel.pth": {f"module.{key}": value for key, value in state.items()},
        "compiled.pth": {f"_orig_mod.module.{key}": each for key, each in state.items()},
        # What timm's training script writes.
        "timm.pth.tar": {"args": argparse.Namespace(lr=0.1), "state_dict": state},
    }
    for file, content in contents.items():
        torch.save(content, tmp_path / file)
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for file in (*contents, "a.safetensors", "legacy.pth"):
        network = tiny()
        assert state_sha256(network) != state_sha256(saved)
        load_file("tiny", network, tmp_path / file)
        assert state_sha256(network) == state_sha256(saved)


def test_a_prefix_that_is_the_networks_own_stays(tmp_path: Path) -> None:
    wrapped, again = (nn.ModuleDict({"module": nn.Linear(2, 2)}) for _ in range(2))
    torch.save(wrapped.state_dict(), tmp_path / "w.pth")
    load_file("wrapped", again, tmp_path / "w.pth")
    assert state_sha256(again) == state_sha256(wrapped)


def test_taking_a_prefix_off_keeps_the_versions_of_modules_and_leaves_the_original(
    saved: nn.Module,
) -> None:
    state = nn.ModuleDict({"module": saved}).state_dict()
    before = OrderedDict(state), OrderedDict(state._metadata)
    assert unwrapped(state)._metadata["1"] == saved.state_dict()._metadata["1"]
    assert unwrapped(state).keys() == saved.state_dict().keys()
    assert (state.keys(), state._metadata) == (before[0].keys(), before[1])


@pytest.mark.parametrize("protocol", [0, 2, 4, "torch", "legacy", "named .safetensors"])
def test_code_in_a_weights_file_never_runs(tmp_path: Path, protocol: int | str) -> None:
    trace, content = tmp_path / "trace", {"weight": Evil(tmp_path / "trace")}
    buffer = io.BytesIO()
    if isinstance(protocol, int):
        pickle.dump(content, buffer, protocol)
    else:
        torch.save(content, buffer, _use_new_zipfile_serialization=protocol != "legacy")
    file = tmp_path / ("bad.safetensors" if protocol == "named .safetensors" else "bad.pth")
    file.write_bytes(buffer.getvalue())
    sentence = refusal(file)
    if file.suffix == ".pth":
        assert "could run code" in sentence
    assert not trace.exists()
    # The file is a real attack: unpickling it does what it says.
    if isinstance(protocol, int):
        pickle.loads(buffer.getvalue())
        assert trace.exists()


def test_a_pickled_network_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    assert "(torch.nn.modules.linear.Linear)" in refusal(tmp_path / "whole.pth")
    # What is said to be harmless is not what is complained of.
    contents = {"args": argparse.Namespace(lr=0.1), "a": nn.Linear(2, 2), "b": nn.ReLU()}
    torch.save(contents, tmp_path / "more.pth")
    assert "(torch.nn.modules.activation.ReLU and 1 more)" in refusal(tmp_path / "more.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_a_torchscript_file_is_refused_as_such(tmp_path: Path) -> None:
    torch.jit.script(tiny()).save(tmp_path / "script.pt")
    assert "(TorchScript)" in refusal(tmp_path / "script.pt")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"weights of my network", bytes(200), b"\x89PNG\r\n"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    (tmp_path / f"x{ending}").write_bytes(content)
    refusal(tmp_path / f"x{ending}")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, ending: str, saved: nn.Module) -> None:
    whole, cut = tmp_path / f"whole{ending}", tmp_path / f"cut{ending}"
    (save_file if ending == ".safetensors" else torch.save)(saved.state_dict(), whole)
    cut.write_bytes(whole.read_bytes()[:-100])
    assert "get the file anew" in refusal(cut)


@pytest.mark.parametrize("content", [torch.ones(3), {"epoch": 3}, [torch.ones(1)], {}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    assert "holds no state dict" in refusal(tmp_path / "x.pth")


def test_weights_of_another_network_are_refused_with_counts(
    tmp_path: Path, saved: nn.Module
) -> None:
    other = dict(saved.state_dict())
    del other["0.bias"], other["1.weight"]
    other["head.weight"] = torch.ones(1)
    other["0.weight"] = torch.ones(5, 3, 3, 3)
    torch.save(other, tmp_path / "other.pth")
    sentence = refusal(tmp_path / "other.pth")
    assert "2 missing (first 0.bias)" in sentence
    assert "1 unexpected (first head.weight)" in sentence
    assert "1 wrong-shaped (first 0.weight, (5, 3, 3, 3) in the file but (4, 3, 3, 3)" in sentence


def test_an_entry_that_is_no_tensor_is_refused(tmp_path: Path, saved: nn.Module) -> None:
    torch.save(dict(saved.state_dict(), **{"0.bias": "zero"}), tmp_path / "odd.pth")
    refusal(tmp_path / "odd.pth")


# Extra state, which a module may make of anything


class Counting(nn.Module):
    """A module whose state dict holds what it is told."""

    def __init__(self, extra: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.extra = extra

    def get_extra_state(self) -> object:
        return self.extra

    def set_extra_state(self, state: object) -> None:
        assert type(state) is type(self.extra)
        self.extra = state


EXTRA = [
    {"steps": 3, "scale": 0.5, "history": [torch.arange(3), (True, None, "word")]},
    7,
    b"bytes",
    np.arange(4.0),
    {"b", "a"},
]


@pytest.mark.parametrize("extra", EXTRA, ids=lambda extra: type(extra).__name__)
def test_the_fingerprint_covers_extra_state_by_its_value(extra: object) -> None:
    first = state_sha256(Counting(extra))
    assert state_sha256(Counting(copy.deepcopy(extra))) == first
    assert state_sha256(Counting([extra, 0])) != first
    assert len({state_sha256(Counting(each)) for each in EXTRA}) == len(EXTRA)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": torch.ones(2)}, {"a": torch.zeros(2)}, False),
        (["ab", "c"], ["a", "bc"], False),
        ([[1], 2], [[1, 2]], False),
        (io.BytesIO(b"state"), io.BytesIO(b"stats"), False),
        (object(), object(), True),
    ],
)
def test_two_extra_states_have_one_fingerprint_where_they_are_equal(
    one: object, other: object, same: bool
) -> None:
    assert (state_sha256(Counting(one)) == state_sha256(Counting(other))) is same


def test_extra_state_without_values_is_refused() -> None:
    with pytest.raises(AliascopeError, match="meta device"):
        state_sha256(Counting({"scale": torch.ones(2, device="meta")}))


def test_extra_state_survives_the_way_through_a_file(tmp_path: Path) -> None:
    saved, network = Counting({"steps": 3, "mean": torch.ones(2)}), Counting({"steps": 0})
    torch.save(saved.state_dict(), tmp_path / "x.pth")
    load_file("counting", network, tmp_path / "x.pth")
    assert network.extra["steps"] == 3
    assert state_sha256(network) == state_sha256(saved)


def test_extra_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    torch.save(Counting({"steps": 3}).state_dict(), tmp_path / "x.pth")

    class Picky(Counting):
        def set_extra_state(self, state: object) -> None:
            self.extra = state + 1  # a TypeError, for a dict

    for network in (Picky(3), tiny()):
        with pytest.raises(AliascopeError, match="does not fit net, so nothing was loaded"):
            load_file("net", network, tmp_path / "x.pth")


# The fingerprint


def test_the_fingerprint_is_the_documented_hash() -> None:
    network = nn.Linear(2, 1)
    digest = hashlib.sha256()
    for name in ("bias", "weight"):
        value = network.state_dict()[name]
        digest.update(f"{name}\0torch.float32\0{tuple(value.shape)}\0".encode())
        digest.update(value.numpy().tobytes())
    assert state_sha256(network) == digest.hexdigest()


def test_the_fingerprint_takes_every_dtype() -> None:
    network = nn.Module()
    for dtype in (torch.bool, torch.bfloat16, torch.complex64, torch.int8, torch.float64):
        network.register_buffer(str(dtype).replace(".", "_"), torch.ones(2, dtype=dtype))
    network.register_buffer("empty", torch.empty(0, 3))
    network.register_buffer("scalar", torch.tensor(3))
    assert state_sha256(network) == state_sha256(copy.deepcopy(network))


def test_the_fingerprint_tells_values_and_dtypes_apart_but_not_layouts() -> None:
    network = nn.Conv2d(3, 4, 3)
    first = state_sha256(network)
    assert state_sha256(network.to(memory_format=torch.channels_last)) == first
    assert state_sha256(network.double()) != first
    with torch.no_grad():
        network.float().weight[0, 0, 0, 0] += 1
    assert state_sha256(network) != first
