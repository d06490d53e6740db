"""The commands that draw: what they write, where, and what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import aliascope as al
from aliascope.commands.main import main
from aliascope.runs.comparisons import comparison
from aliascope.runs.maps import most_mixed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one network: with everything kept, and with counts of labelled images alone."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("runs")
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten())
    images, labels = torch.rand(8, 3, 23, 20), torch.arange(8) % 3
    al.measure(model[:2], [images[:2]], detail="folds").save(place / "folds")
    al.measure(model, [(images, labels)]).save(place / "counts")
    return place


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """Stand in a folder in which the runs are ``folds`` and ``counts``."""
    for name in ("folds", "counts"):
        al.load(runs / name).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["plot", *map(str, arguments)])
    return stop.value.code


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["pie", "counts"], "counts/pie.png"),
        (["sites", "counts"], "counts/sites.png"),
        (["sites", "counts", "--accounting", "published"], "counts/sites-published.png"),
        (["boxes", "counts"], "counts/boxes.png"),
        (["boxes", "counts", "--site", "1"], "counts/boxes-0.png"),
        (["channels", "folds", "--site", "0"], "folds/channels-0.png"),
        (["spectrum", "folds", "--site", "0"], "folds/spectrum-0.png"),
        (
            ["pixels", "folds", "-s", "0", "--sample", "1", "--channel", "2"],
            "folds/pixels-0-1-2.png",
        ),
        (["colorbar"], "colorbar.png"),
        (["pie", "counts", "-o", "new/ring.pdf"], "new/ring.pdf"),
        (["sites", "counts", "-o", "bars.svg", "--palette", "colour-blind"], "bars.svg"),
    ],
)
def test_a_figure_goes_into_its_run_and_its_path_is_printed(here, capsys, arguments, written):
    assert run(*arguments) == 0
    assert written in capsys.readouterr().out.splitlines()
    assert Path(written).stat().st_size > 1000
    assert not list(here.rglob("*.tmp*"))


def test_channels_writes_its_table(here, capsys):
    assert run("channels", "folds", "--site", "0", "-o", "bars.png") == 0
    assert capsys.readouterr().out.splitlines() == ["bars.png", "bars.csv"]
    table = pd.read_csv("bars.csv")
    known = al.load("folds").fractions("channel", site="0")
    assert list(table.columns[:2]) == ["site", "channel"] and len(table) == len(known)
    assert table["tangled"].is_monotonic_decreasing
    first = table.iloc[0]
    assert first["tangled"] == pytest.approx(known.loc[first["channel"], "tangled"])


COMMANDS = [
    *("energy", "thresholds", "pixels", "colorbar", "pie", "boxes", "adversarial", "sites"),
    *("channels", "spectrum", "compare", "ablation", "dose", "shift"),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_figure_has_the_same_choices_of_layout(name, capsys):
    assert run(name, "-h") == 0
    help_text = capsys.readouterr().out
    for option in ("--width", "--font-size", "--title", "--no-caption"):
        assert option in help_text, option


def test_a_width_has_its_own_file_and_the_caption_may_be_left_out(here, capsys):
    options = ["--width", "two", "--font-size", "8", "--title", "A net", "--no-caption"]
    assert run("sites", "counts", *options) == 0
    assert capsys.readouterr().out.splitlines() == ["counts/sites-two.png"]
    assert run("sites", "counts", "-o", "a.svg", *options) == 0
    text = Path("a.svg").read_text(encoding="utf-8")
    assert "A net" in text and "Mean over" not in text and 'width="515.52pt"' in text
    assert run("sites", "counts", "--width", "three") == 2
    assert "width is 'three'" in capsys.readouterr().err


def test_pixels_prints_the_four_percentages(here, capsys):
    assert run("pixels", "folds", "--site", "0", "--channel", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    category = al.load("folds").category_map("0", 0)[3]
    shares = [100 * (category == c).mean() for c in range(4)]
    assert lines[0] == "image 0, site 0, channel 3"
    assert [float(line.split()[-2]) for line in lines[1:5]] == pytest.approx(shares, abs=0.05)


def test_pixels_shows_the_most_mixed_channel_unless_one_is_asked_for(here, capsys):
    assert run("pixels", "folds", "--site", "0", "--no-colour-bar") == 0
    channel = most_mixed(al.load("folds").category_map("0", 0))
    assert f"folds/pixels-0-0-{channel}.png" in capsys.readouterr().out


def test_boxes_writes_and_prints_its_table(here, capsys):
    assert run("boxes", "counts", "-o", "figure.svg") == 0
    out = capsys.readouterr().out
    table = pd.read_csv("figure.csv", index_col="category")
    pd.testing.assert_frame_equal(table, comparison(al.load("counts")), check_dtype=False)
    assert out.splitlines()[-2:] == ["figure.svg", "figure.csv"]
    assert f"{table['n_correct'].iloc[0]} correct" in out and "tangled" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pixels", "counts", "--site", "0"], "Detail 'pixel' was not kept"),
        (["channels", "counts", "--site", "0"], "Channels were not kept"),
        (["spectrum", "counts", "--site", "0"], "Detail 'folds' was not kept"),
        (["spectrum", "folds", "--site", "9"], "no site '9'; the sites are 0"),
        (["pixels", "folds", "--site", "0", "--sample", "7"], "no sample 7"),
        (["pixels", "folds", "--site", "0", "--channel", "4"], "channel is 4"),
        (["boxes", "folds"], "no labels"),
        (["adversarial", "counts"], "not attacked"),
        (["sites", "counts", "--condition", "eps=0.1"], "condition is 'eps=0.1', but the run's"),
        (["sites", "counts", "--eps", "0.1"], "No such option: --eps"),
        (["sites", "counts", "--accounting", "guess"], "'guess'"),
        (["sites", "counts", "--palette", "neon"], "'neon'"),
        (["colorbar", "-o", "bar.jpg"], "bar.jpg ends in .jpg"),
        (["boxes", "counts", "-o", "/proc/figure.png"], "/proc/figure.png cannot be written"),
        (["sites", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(here, capsys, arguments, words):
    before = sorted(here.rglob("*"))
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert words in err and err.startswith("aliascope: ") and err.endswith(".\n")
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_a_site_that_could_not_be_measured_is_refused_with_its_reason(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=0.7)

    measurement = al.measure(Odd(), [torch.rand(1, 3, 20, 20)], detail="folds")
    odd = measurement.sites.loc[~measurement.sites["supported"].astype(bool), "name"].iloc[0]
    for ask in (measurement.site_named, measurement.samples_at):
        with pytest.raises(al.AliascopeError, match="was not measured"):
            ask(odd)
    with pytest.raises(al.AliascopeError, match="was not measured"):
        measurement.fractions("sample", site=odd)


def test_fractions_of_one_site_are_its_rows_of_those_of_all(runs):
    measurement = al.load(runs / "folds")
    for by in ("channel", "site"):
        alone, table = measurement.fractions(by, site="0"), measurement.fractions(by)
        assert np.array_equal(alone, table.loc[["0"]])


def test_drawing_needs_no_torch_and_no_window(runs):
    code = (
        "import sys; from aliascope.commands.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    arguments = ["plot", "spectrum", str(runs / "folds"), "--site", "0"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE)


def test_asking_for_help_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys; from aliascope.commands.main import main\n"
        "try: main(['plot', 'boxes', '-h'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "--accounting" in done.stdout
