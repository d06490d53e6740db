"""The self-test: it passes here, and whatever is broken comes out as a failure in words."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import aliascope
from aliascope.commands.main import main
from aliascope.errors import AliascopeError
from aliascope.evaluation import selftest as selftest_module
from aliascope.evaluation.selftest import NETWORKS, versions
from aliascope.sites import Split

LINE = re.compile(r"(pass|FAIL)  (.{40}) (.+) \(\d+\.\d s\)")


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["selftest", *arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    return stop.value.code, printed.out, printed.err


def report(capsys) -> tuple[dict[str, str], dict[str, str]]:
    """Run the command; give the details of the checks that passed, and of those that failed."""
    code, out, err = command(capsys, "--device", "cpu")
    checks, table, end = out.split("\n\n")
    passed, failed = {}, {}
    for line in checks.splitlines():
        word, name, detail = LINE.fullmatch(line).groups()
        (passed if word == "pass" else failed)[name.rstrip()] = detail
    assert dict(line.rstrip().split(maxsplit=1) for line in table.splitlines()) == versions("cpu")
    number = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
    asking = f"{number} failed; please report it with all of the above.\n"
    assert end == (asking if failed else "all checks passed\n")
    assert code == bool(failed) and err == ""
    return passed, failed


@pytest.fixture
def small(monkeypatch) -> None:
    """One network in place of four."""
    monkeypatch.setattr(selftest_module, "NETWORKS", ("mobilenet_v2",))


def test_every_check_passes(capsys):
    passed, failed = report(capsys)
    assert failed == {}
    assert {f"recomposition in {name}" for name in NETWORKS} < set(passed)
    assert {"closed-form signals", "gradients through opened sites"} < set(passed)
    assert {"the network that comes along", "a run written and read back"} < set(passed)
    assert any("against the definition" in name for name in passed)


def test_the_versions_are_those_that_run():
    shown = versions("cpu")
    assert shown["aliascope"] == aliascope.__version__ and shown["device"] == "cpu"
    assert torch.__version__.startswith(shown["torch"])


def test_an_engine_that_counts_one_too_many_fails(small, monkeypatch, capsys):
    count = selftest_module.count_categories

    def off_by_one(*arguments, **options) -> Tensor:
        counts = count(*arguments, **options)
        counts[0, 0, 0] += 1
        return counts

    monkeypatch.setattr(selftest_module, "count_categories", off_by_one)
    passed, failed = report(capsys)
    assert failed and not any("against the definition" in name for name in passed)
    for name, detail in failed.items():
        assert "against the definition" in name
        wrong, bins = map(int, re.fullmatch(r"(\d+) of (\d+) bins differ", detail).groups())
        assert 0 < wrong <= 10 < bins  # ten signals, each off by one where no bin is near


def test_splits_that_give_other_values_fail(small, monkeypatch, capsys):
    decimate = Split.decimate
    monkeypatch.setattr(Split, "decimate", lambda *args: decimate(*args).roll(1, -1))
    passed, failed = report(capsys)
    assert "closed-form signals" in passed
    for name in ("recomposition in mobilenet_v2", "gradients through opened sites"):
        assert re.fullmatch(
            r"\S+ \(conv\) cannot be measured: its split differs from it by .+ of its peak",
            failed[name],
        )


def test_a_rule_that_does_not_work_fails_with_its_reason(small, capsys):
    def broken(*arguments):
        raise KeyError("stride")

    rule = aliascope.sites.rule_for(torch.conv2d)
    aliascope.sites.unregister(torch.conv2d)
    aliascope.sites.register(torch.conv2d)(broken)
    try:
        _, failed = report(capsys)
    finally:
        aliascope.sites.unregister(torch.conv2d)
        aliascope.sites.register(torch.conv2d)(rule)
    for name in ("recomposition in mobilenet_v2", "gradients through opened sites"):
        assert "its rule failed on this call (KeyError: 'stride')" in failed[name]


def test_a_check_that_raises_fails_and_the_others_go_on(small, monkeypatch, capsys):
    def raising(problem):
        def function(*arguments, **options):
            raise problem

        return function

    kernel = RuntimeError("no kernel image\nis available")
    monkeypatch.setattr(selftest_module, "classify", raising(kernel))
    monkeypatch.setattr("aliascope.tasks.models.load_model", raising(AssertionError()))
    gone = AliascopeError("The folder is gone; pass another.")
    monkeypatch.setattr(selftest_module, "measure", raising(gone))
    passed, failed = report(capsys)
    file = r"\(test_selftest\.py:\d+\)"
    assert re.fullmatch(rf"RuntimeError: no kernel image {file}", failed["closed-form signals"])
    assert re.fullmatch(rf"AssertionError:? *{file}", failed["the network that comes along"])
    assert failed["a run written and read back"] == "The folder is gone; pass another."
    assert {"recomposition in mobilenet_v2", "gradients through opened sites"} <= set(passed)


def test_an_unknown_device_is_refused_in_one_sentence(capsys):
    code, out, err = command(capsys, "--device", "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("aliascope: device is 'nowhere'") and err.count("\n") == 1
