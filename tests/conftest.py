from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest
import torch

from tests_shared import tiny_photos

# Nothing may leave the machine: a proxy that refuses every connection stands in for the network.
os.environ.update(
    dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    HF_HUB_OFFLINE="1",
    OMP_WAIT_POLICY="PASSIVE",  # tests run side by side, and must not wait by keeping cores busy
)
torch.set_num_threads(2)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with factories, and photos/ with 4 classes of 3 images."""
    tiny_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "factories", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _as_wide_as_a_file() -> None:
    """Undo what readline, where anything loads it, hands on to all that a test starts."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
        os.unsetenv(name)  # set behind the back of os.environ
