"""Sweeps and their tables: the done is skipped, the killed goes on, another grid is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aliascope.errors import AliascopeError
from aliascope.oscillations.figures.accuracy import oscillation_accuracy
from aliascope.oscillations.figures.examples import examples, oscillations
from aliascope.oscillations.networks import FAMILIES
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.results import (
    COLUMNS,
    Results,
    beside_published,
    published_accuracies,
    results_of,
)
from aliascope.oscillations.sweep import _Runner, grid, sweep

LIKE = Recipe(
    "fc-1h-58", epochs=2, frequencies=3, train_images=90, validation_images=90, precision="float32"
)
OPTIONS = [
    *("--networks", "fc-?h-5?", "--noise", "0,1", "--epochs", "2", "--frequencies", "3"),
    *("--train-images", "90", "--validation-images", "90"),
    *("--precision", "float32", "--devices", "cpu"),
]


def aliascope(*words, **options):
    command = [sys.executable, "-m", "aliascope", "oscillations", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def row(network, noise=1.0, seed=0, accuracy=0.5, **changes):
    recipe = Recipe(network, noise=noise, seed=seed)
    values = {
        **dict.fromkeys(COLUMNS, 1),
        **recipe.plain(),
        "published_name": recipe.member.published,
        "parameters": recipe.member.parameters(),
        "accuracy": accuracy,
        "test_accuracy": accuracy,
        "device": "a device",
        **changes,
    }
    return {name: values[name] for name in COLUMNS}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two networks at two noise levels, killed under way and gone on with."""
    folder = tmp_path_factory.mktemp("sweep") / "results"
    command = [
        sys.executable,
        "-m",
        "aliascope",
        "oscillations",
        "sweep",
        *OPTIONS,
        "-o",
        str(folder),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "results.csv").is_file():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows_then = len(Results(folder).read())
    done = aliascope("sweep", *OPTIONS, "-o", folder, "--jobs", "2")
    return folder, rows_then, done


@pytest.mark.parametrize(("threads", "jobs", "each"), [(1, 1, 1), (6, 2, 3), (6, 4, 1), (1, 3, 1)])
def test_runs_share_the_threads_that_torch_may_have(threads, jobs, each, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    runner = _Runner(tmp_path, Results(tmp_path / "results.csv"), ["cpu"], jobs, False)
    assert runner._threads == each


def test_a_killed_sweep_goes_on_and_has_each_run_once(swept):
    folder, rows_then, done = swept
    assert done.returncode == 0, done.stderr
    assert 1 <= rows_then < 4
    table = results_of(folder)
    keys = list(zip(table["network"], table["noise"], table["seed"], strict=True))
    assert sorted(keys) == [
        ("fc-1h-58", 0, 0),
        ("fc-1h-58", 1, 0),
        ("fc-2h-55", 0, 0),
        ("fc-2h-55", 1, 0),
    ]


def test_the_same_sweep_again_trains_nothing(swept):
    folder, _, _ = swept
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    sweep(grid(["fc-1h-58", "fc-2h-55"], [0, 1], [0], LIKE), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_swept_run_is_the_run_alone(swept, tmp_path):
    from aliascope.oscillations.training import train

    folder, _, _ = swept
    table = results_of(folder).set_index(["network", "noise"])
    alone = train(replace(LIKE, network="fc-2h-55", noise=1.0), tmp_path)
    assert table.loc[("fc-2h-55", 1.0), "accuracy"] == alone["accuracy"]
    assert table.loc[("fc-2h-55", 1.0), "parameters"] == alone["parameters"]


def test_another_grid_is_refused_and_nothing_changed(swept):
    folder, _, _ = swept
    before = (folder / "results.csv").read_bytes()
    done = aliascope("sweep", *OPTIONS, "--epochs", "3", "-o", folder)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "another grid, with epochs 2, not 3" in done.stderr
    assert (folder / "results.csv").read_bytes() == before


def test_table_and_figure_come_from_the_command(swept):
    folder, _, _ = swept
    shown = aliascope("table", folder)
    assert shown.returncode == 0
    assert shown.stdout.strip().splitlines()[0].split()[:4] == [
        "network",
        "parameters",
        "A",
        "runs",
    ]
    assert "fc-2h-55" in shown.stdout
    drawn = aliascope("plot", folder, "-o", folder / "a.svg")
    assert drawn.returncode == 0 and (folder / "a.svg").stat().st_size > 10_000


def test_a_failing_run_is_said_after_the_others_have_ended(tmp_path):
    recipes = [
        replace(LIKE, learning_rate=1e30),
        replace(LIKE, network="fc-2h-55", learning_rate=1e30),
    ]
    with pytest.raises(AliascopeError, match=r"seed0 failed \(and 1 other runs failed\): The loss"):
        sweep(recipes, tmp_path)
    assert Results(tmp_path).read().empty


def test_a_last_row_cut_short_is_left_out_and_replaced(tmp_path):
    results = Results(tmp_path)
    pd.DataFrame([row("fc-1h-58"), row("fc-1h-200")]).to_csv(results.path, index=False)
    whole = results.path.read_bytes()
    results.path.write_bytes(whole[:-20])
    assert results.done() == {("fc-1h-58", 1.0, 0)}
    training = {
        "recipe": Recipe("fc-1h-200").plain(),
        "published_name": "fully_connected_small_shallow",
        "machine": {"name": "a device"},
        "epochs": 50,
        **dict.fromkeys(("parameters", "accuracy", "best_epoch", "test_accuracy", "seconds"), 1),
    }
    results.append(training)
    assert results.done() == {("fc-1h-58", 1.0, 0), ("fc-1h-200", 1.0, 0)}
    assert results.read().iloc[1]["epochs_run"] == 50


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a,b\n1,2\n",
        "\x00\x01\n",
        ",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n",
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(AliascopeError, match="no table of results"):
        results_of(tmp_path)


def test_a_table_of_mixed_grids_is_refused(tmp_path):
    pd.DataFrame([row("fc-1h-58"), row("fc-1h-200", epochs=3)]).to_csv(
        tmp_path / "results.csv", index=False
    )
    with pytest.raises(AliascopeError, match="mixes runs with epochs 50 and 3"):
        results_of(tmp_path)


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(AliascopeError, match="holds no results; run `aliascope oscillations sweep"):
        results_of(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--network", "resnet-w-15"], "no network 'resnet-w-15'"),
        (["train", "--noise", "-1"], "amplitude A is -1"),
        (["train", "--precision", "half"], "precision is 'half'"),
        (["sweep", "-o", "x", "--networks", "lenet"], "no network 'lenet'"),
        (["sweep", "-o", "x", "--noise", "1,two"], "no list of numbers"),
        (["sweep", "-o", "x", "--noise", "-2"], "amplitude A is -2"),
        (["sweep", "-o", "x", "--jobs", "0"], "jobs is 0"),
        (["sweep", "-o", "x", "--seeds", ""], "no run"),
        (["plot", "nowhere"], "holds no results"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, said):
    from aliascope.commands.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["oscillations", *words])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1] and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_of_another_network_is_refused(swept, capsys):
    from aliascope.commands.main import main

    folder, _, _ = swept
    run = folder / "runs" / "fc-1h-58-A0-seed0"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main(["oscillations", "train", "--network", "fc-1h-200", "-o", str(run), "--resume"])
    assert ended.value.code == 2
    assert "training with network fc-1h-58, not fc-1h-200" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_the_comparison_subtracts_the_published_mean():
    table = beside_published(
        pd.DataFrame([row("resnet-w-16", 8.0, 0, 0.44), row("resnet-w-16", 8.0, 1, 0.48)])
    )
    # Published twice, 43.18 and 47.13 %.
    assert table.iloc[0]["published"] == pytest.approx(0.45155)
    assert table.iloc[0]["difference"] == pytest.approx(0.46 - 0.45155)
    assert (table.iloc[0]["lowest"], table.iloc[0]["highest"]) == (0.44, 0.48)


def test_another_grid_is_not_compared_with_the_published():
    table = beside_published(pd.DataFrame([row("fc-1h-58", epochs=3)]))
    assert np.isnan(table.iloc[0]["published"])


def test_the_figure_has_a_panel_a_noise_level_and_a_line_a_family():
    published = published_accuracies()
    rows = [
        row(each.network, each.noise, seed, each.accuracy)
        for each in published.drop_duplicates(["network", "noise"]).itertuples()
        for seed in (0, 1)
    ]
    figure = oscillation_accuracy(pd.DataFrame(rows))
    lines = {
        line.get_gid(): line for axes in figure.axes for line in (*axes.lines, *axes.collections)
    }
    assert [axes.get_title() for axes in figure.axes] == [f"$A$ = {a}" for a in (1, 2, 4, 8)]
    assert all(axes.get_xscale() == "log" and axes.get_yscale() == "logit" for axes in figure.axes)
    for family in FAMILIES:
        for noise in (1, 2, 4, 8):
            drawn = lines[f"{family}/{noise}"]
            known = lines[f"published/{family}/{noise}"]
            assert (
                len(drawn.get_xdata())
                == len(known.get_xdata())
                == (7 if family == "resnet-d" else 4)
            )
            assert f"seeds/{family}/{noise}" in lines
    at_one = published[(published["family"] == "fc-1h") & (published["noise"] == 1)]
    assert list(lines["fc-1h/1"].get_ydata()) == pytest.approx(sorted(at_one["accuracy"]))


def test_the_figure_shows_accuracies_of_zero_and_one_at_the_edge():
    rows = [row("fc-1h-58", 1.0, 0, 1.0), row("fc-1h-200", 1.0, 0, 0.0)]
    (line,) = [
        line
        for line in oscillation_accuracy(pd.DataFrame(rows)).axes[0].lines
        if line.get_gid() == "fc-1h/1"
    ]
    assert list(line.get_ydata()) == [1 - 1 / 20_000, 1 / 20_000]


def test_the_examples_are_four_images_and_one_decimated():
    images = [image for _, image in examples()]
    for image in images[1:]:
        assert np.abs(image[::2, ::2] - images[0][::2, ::2]).max() < 1e-5
    differences = [np.abs(a - b).max() for i, a in enumerate(images) for b in images[:i]]
    assert min(differences) > 1
    figure = oscillations()
    drawn = {image.get_gid(): image.get_array() for axes in figure.axes for image in axes.images}
    assert set(drawn) == {f"{kind}/{k}" for kind in ("image", "decimated") for k in (1, 2, 3, 4)}
    assert drawn["image/2"].shape == (32, 32) and drawn["decimated/2"].shape == (16, 16)


def test_the_command_writes_the_four_images_and_the_pairs(tmp_path, monkeypatch, capsys):
    from aliascope.commands.main import main

    with pytest.raises(SystemExit) as ended:
        main(["oscillations", "images", "-o", str(tmp_path)])
    assert ended.value.code == 0
    written = sorted(Path(line).name for line in capsys.readouterr().out.split())
    assert written == [*(f"oscil_{k}.png" for k in (1, 2, 3, 4)), "oscil_pairs.png"]
    assert all((tmp_path / name).stat().st_size > 500 for name in written)
