"""Tables at the widths that terminals have: no number is cut, names lose their middle."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

import aliascope as al
from ablation_runs import made_ablation, moved
from aliascope.commands.fitting import shortened
from aliascope.commands.help import EXAMPLES, GROUPS, ORDER
from aliascope.commands.main import main
from aliascope.runs.ablation import Ablation
from aliascope.runs.conditions import Condition
from aliascope.runs.consistency import Consistency
from aliascope.runs.store import Store
from energy_runs import energy_run

LONG = {
    "stem": ((2, 2), (4, 32, 32)),
    "hierarchical_feature_extractor.stages.0.residual_branch.reduction": ((2, 2), (6, 28, 28)),
    "hierarchical_feature_extractor.stages.1.residual_branch.reduction": ((2, 2), (6, 14, 14)),
    "hierarchical_feature_extractor.stages.1.residual_branch.shortcut": ((2, 2), (6, 8, 8)),
}

NUMBER = re.compile(r"[-+~<]?\d+(\.\d+)?(e-\d+)?")

KEPT = {
    "show before": [r"pgd eps=0.00015 ", r"(?m)^ stem +.*2×2 +\S+ +(?:[█▏▎▍▌▋▊▉] +)?(\S+–\S+)"],
    "compare before after": [r"\S+ \[\S+, \S+\]"],
    "show ablation": [r"[-+]\S+ \[\S+, \S+\](?=  *\d\.\d\d\d|  *<)"],
}
"""Epsilons and intervals, which no width leaves out."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Write two runs of long names, clean and attacked, an ablation, and shift consistency."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("before", "after"):
        store = Store(folder / name)
        energy_run(store, sites=LONG, n=6 if name == "before" else 5)
        energy_run(store, sites=LONG, condition=Condition.of("pgd", eps=0.00015))
    made_ablation(Store(folder / "ablation"))
    moved().save(folder / "shift")
    return folder


def printed(capsys, monkeypatch, width, *words):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code
    return capsys.readouterr().out


def numbers(text):
    return {match[0] for match in NUMBER.finditer(text)}


@pytest.mark.parametrize("words", ["show before", "compare before after", "show ablation"])
def test_no_number_is_cut_at_any_width(runs, capsys, monkeypatch, words):
    monkeypatch.chdir(runs)
    full = printed(capsys, monkeypatch, 300, *words.split())
    for width in (60, 80, 112):
        text = printed(capsys, monkeypatch, width, *words.split())
        tables = [line for line in text.splitlines() if line.startswith(" ")]
        assert max(map(len, tables)) <= width
        for line in tables:
            name = re.match(r" *\S*", line)[0]
            assert "…" not in line[len(name) :], line
        assert numbers(" ".join(tables)) <= numbers(full) | {"1", "0"}
        for kept in KEPT.get(words, ()):
            assert set(re.findall(kept, full)) <= set(re.findall(kept, text))


def test_names_lose_their_middle_and_stay_apart():
    for width in (14, 20, 30, 50):
        names = shortened(list(LONG), width)
        assert len(set(names)) == len(LONG) and max(map(len, names)) <= width
    assert shortened(list(LONG), 40)[1].endswith("residual_branch.reduction")


def test_commands_are_listed_in_the_order_of_use(capsys, monkeypatch):
    text = printed(capsys, monkeypatch, 80, "-h")
    listed = re.findall(r"^  (\w+) {2,}", text.partition("Commands:")[2], re.M)
    assert listed == list(ORDER)


@pytest.mark.parametrize("command", EXAMPLES)
def test_options_are_in_groups_and_an_example_ends_the_help(capsys, monkeypatch, command):
    text = printed(capsys, monkeypatch, 80, command, "-h")
    heads = re.findall(r"^([A-Z][\w ]+):$", text, re.M)
    assert [head for head in heads if head in GROUPS] == [head for head in GROUPS if head in heads]
    assert text.partition("Other:")[2].split("\n")[1:4] == [
        *("  -h, --help  Show this message and exit.", "", "Example:")
    ]
    assert text.rstrip().endswith(EXAMPLES[command])


def test_show_names_model_weights_data_filter_and_settings(tmp_path, capsys, monkeypatch):
    options = {"filter": "blur:3", "seed": 3, "precision": "float32"}
    energy_run(Store(tmp_path), options=options, device="cpu")
    first = printed(capsys, monkeypatch, 80, "show", tmp_path).splitlines()[0]
    assert first == ("made:net (weights none, filtered by blur:3) on noise, cpu, float32, seed 3")


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("show befor", "did you mean before?"),
        ("report befor", "did you mean before?"),
        ("compare before aftr", "did you mean after?"),
        ("plot energy befor", "did you mean before?"),
        ("plot shift shft", "did you mean shift?"),
        ("check b.toml --run befor", "did you mean before?"),
        ("show .", "there are ablation, after, before"),
        ("plot boxes before -s stm", "did you mean stem?"),
        ("plot channels before -s hierarchical_feature_extractor.stages.1", "begin with it: hier"),
    ],
)
def test_a_mistyped_folder_or_site_is_answered_with_what_is_near(
    runs, capsys, monkeypatch, words, meant
):
    monkeypatch.chdir(runs)
    (runs / "b.toml").write_text("[[bound]]\nsite = '*'\nvalue = 'tangled'\nat_most = 1\n")
    assert meant in refused(capsys, *words.split())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda runs: al.load(runs / "before"), "stem"),
        (lambda runs: al.compare(runs / "before", runs / "after"), "stem"),
        (lambda runs: Ablation(Store.existing(runs / "ablation")), "swap-between"),
        (lambda runs: Consistency.load(runs / "shift"), "integer"),
        (lambda runs: al.find_sites(torch.nn.AvgPool2d(2), torch.rand(1, 3, 8, 8)), "(root)"),
    ],
)
def test_results_are_tables_in_a_notebook_and_in_a_console(runs, make, word):
    result = make(runs)
    assert word in repr(result) and " object at 0x" not in repr(result)
    assert "<table" in result._repr_html_() and word in result._repr_html_()


def test_a_reader_that_goes_away_is_no_fault(runs):
    command = f"{sys.executable} -m aliascope show before | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=runs, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
