"""docs/machine-readable.md lists the keys that --json prints: all of them, and no others."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import pytest

from ablation_runs import made_ablation, moved
from aliascope.commands.main import main
from aliascope.runs.advice import COLUMNS, Advice
from aliascope.runs.store import Store
from energy_runs import energy_run

PAGE = Path(__file__).parents[1] / "docs" / "machine-readable.md"


def documented():
    """Read the keys of each command, expanded; and whether they may be missing."""
    blocks = re.findall(r"^```keys (\w+)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    keys = {}
    for command, lines in blocks:
        words = [re.split(r"\s{2,}", line)[0] for line in lines.splitlines()]
        keys[command] = {
            re.sub("<[^>]*>", "*", each): word.endswith("?")
            for word in words
            for each in expanded(word.removesuffix("?"))
        }
    return keys


def expanded(word):
    """Expand braces from the innermost outwards, as a shell does."""
    innermost = re.search(r"\{([^{}]*)\}", word)
    if innermost is None:
        return [word]
    front, back = word[: innermost.start()], word[innermost.end() :]
    depth = front.count("{") - front.count("}")
    if not depth:
        return [x for each in innermost[1].split(",") for x in expanded(front + each + back)]
    start = max(front.rfind(","), front.rfind("{")) + 1
    end = re.search(r"[,}]", back).start()
    items = [front[start:] + each + back[:end] for each in innermost[1].split(",")]
    return expanded(front[:start] + ",".join(items) + back[end:])


def printed(content, path=""):
    """Give the keys of what is no object or list of objects."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from printed(value, f"{path}.{key}" if path else key)
    elif isinstance(content, list) and content:
        for each in content:
            yield from printed(each, f"{path}[]")
    elif content != {} and content != []:
        yield path


def fits(key, pattern):
    return fnmatchcase(key, pattern.replace("[]", "[[]]"))


@pytest.fixture(scope="module")
def contents(tmp_path_factory, request):
    """Print each kind of JSON once, of made runs."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "net.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.AvgPool2d(2))\n"
    )
    energy_run(Store(folder / "run"))
    energy_run(Store(folder / "other"), n=5)
    bound = "[[bound]]\nsite = '*'\nvalue = 'tangled'\nat_most = 1\n"
    (folder / "b.toml").write_text(bound)
    table = pd.DataFrame(
        {**dict.fromkeys(COLUMNS, 0.5), "filter": ["none", "blur:3"], "sites": ["none", "all"]}
    ).set_index(["filter", "sites"])
    return folder, {
        "ablate": json.loads(made_ablation().to_json()),
        "shift": json.loads(moved().to_json()),
        "advise": json.loads(Advice(table, {"sites": {"all": ["0"]}}).to_json()),
    }


WORDS = {
    "sites": "sites -m net:net --size 16",
    "show": "show run",
    "compare": "compare run other",
    "filters": "filters --rate 2",
    "check": "check b.toml --run run",
}


@pytest.mark.parametrize("command", ["ablate", "shift", "advise", *WORDS])
def test_what_is_printed_is_what_the_page_lists(contents, command, capsys, monkeypatch):
    folder, made = contents
    if command in WORDS:
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as end:
            main([*WORDS[command].split(), "--json"])
        assert not end.value.code
        content = json.loads(capsys.readouterr().out)
    else:
        content = made[command]
    keys, patterns = set(printed(content)), documented()[command]
    unknown = {key for key in keys if not any(fits(key, each) for each in patterns)}
    missing = {
        each
        for each, may_miss in patterns.items()
        if not may_miss and not any(fits(key, each) for key in keys)
    }
    assert (unknown, missing) == (set(), set())


def test_the_page_expands_as_a_shell_does():
    assert expanded("a.{b,c{,_low}}[]") == ["a.b[]", "a.c[]", "a.c_low[]"]
    assert all(len(keys) > 1 for keys in documented().values()) and len(documented()) == 8
