from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import aliascope
from aliascope.commands import progress
from aliascope.commands.main import main

FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(150, 4)
    )

def flat():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        import time
        time.sleep(0.5)
        return self.net(x)

def slow():
    return Slow()

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(x / 0.0 * 0.0).mean(dim=(2, 3))

def broken():
    return Broken()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "cli_factories.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "cli_factories", raising=False)
    rng = np.random.default_rng(0)
    for label in range(4):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 255, (30, 34, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


NET = ["--model", "cli_factories:net", "--resize", "26", "--crop", "24"]


def command(*arguments):
    return [sys.executable, "-m", "aliascope", *arguments]


def run(*arguments):
    """Run in this process; give the exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def refusal(capsys, *arguments):
    """Run what must be refused; give the one sentence."""
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err and err.startswith("aliascope: ")
    assert err.count("\n") == 1 and err.endswith(".\n"), err
    return err


def test_where_there_is_no_terminal_progress_is_said_in_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress.progress() as report:
        for done in range(5, 13, 2):
            report("measuring", done, 20, lambda rate: f"{rate > 0} images/s", f"; {done} of 20")
            time.sleep(0.01)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("measuring: ") and last.endswith("min left; 11 of 20")
    assert "55 %, True images/s, 0 min left" in last


def test_lines_of_progress_are_rare(capsys):
    with progress.progress() as report:
        for done in range(9):
            report("measuring", done, 9, str)
    assert capsys.readouterr().err == ""


# -- as a subprocess -----------------------------------------------------------------------------


def test_evaluate_show_plot_and_sites_work_from_the_shell(here):
    done = subprocess.run(
        command("evaluate", *NET, "-d", "photos", "-o", "run"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for words in ("top-1", "top-5", "non-aliased", "tangled", "mean of 2 sites", "8 images"):
        assert words in done.stdout
    assert "centre crop 24 × 24" in done.stdout
    shown = subprocess.run(command("show", "run"), capture_output=True, text=True)
    assert shown.returncode == 0 and "mean of 2 sites" in shown.stdout
    table = [line for line in shown.stdout.splitlines() if line.startswith(" mean of 2 sites")]
    fractions = aliascope.load("run").fractions("overall").iloc[0]
    printed = [float(number) for number in re.findall(r"\d+\.\d", table[0])]
    expected = 100 * fractions.iloc[:4].to_numpy()
    beside = [printed[i : i + 4] for i in range(len(printed) - 3)]
    assert any(np.allclose(each, expected, atol=0.051) for each in beside)
    plotted = subprocess.run(
        command("plot", "pie", "run", "-o", "ring.svg"), capture_output=True, text=True
    )
    assert plotted.returncode == 0 and Path("ring.svg").read_text().count("outer/") == 4


def test_a_refusal_from_the_shell_is_one_sentence_and_code_2(here):
    done = subprocess.run(
        command("evaluate", *NET, "-d", "photos", "--threshold-db", "0"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "threshold_db is 0.0" in done.stderr


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(here):
    arguments = ["evaluate", "-m", "cli_factories:slow", "--resize", "26", "--crop", "24"]
    arguments += ["-d", "photos", "-o", "run", "-b", "1", "--workers", "0"]
    # Shells start background jobs with Ctrl-C ignored, which a child would inherit.
    process = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(3000):
        if Path("run/parts/000001").is_dir():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err
    assert run(*arguments, "--resume") == 0
    assert len(aliascope.load("run").samples) == 8


@pytest.mark.parametrize(
    "arguments",
    [["-h"], ["evaluate", "-h"], ["sites", "-h"], ["show", "-h"], ["plot", "pie", "-h"]],
)
def test_help_is_everywhere(capsys, arguments):
    assert run(*arguments) == 0
    assert "Usage: aliascope" in capsys.readouterr().out


def test_help_states_units_and_defaults(capsys):
    run("evaluate", "-h")
    text = " ".join(capsys.readouterr().out.split())
    for words in ("decibels", "[default: 20.0]", "[default: 16]", "PIXELS", "[default: exact]"):
        assert words in text


LEAN = """
import sys, torch, aliascope as al
heavy = {"pandas", "zarr", "pyarrow", "scipy", "matplotlib", "torchvision", "torchattacks"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
model = torch.nn.Conv2d(3, 8, 3, stride=2)
with al.Scope(model, engine="torch") as scope:
    for _ in range(3):
        model(torch.rand(2, 3, 16, 16))
with al.Opening(model) as opening:
    model(torch.rand(2, 3, 16, 16))
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert len(scope.measurement().samples) == 6
"""


def test_a_scope_that_only_records_loads_nothing_that_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reading_a_run_needs_no_torch():
    code = (
        "import sys, aliascope.commands.main, aliascope.runs.measurement, "
        "aliascope.commands.tables, aliascope.figures;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["--help"], ["evaluate", "--help"]])
def test_the_commands_load_nothing_heavy_before_they_do_something(arguments):
    code = (
        "import sys; from aliascope.commands.main import main\n"
        "try: len(sys.argv) > 1 and main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'torch', 'pandas', 'matplotlib', 'zarr', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stderr == "set()\n"


# -- what is printed -----------------------------------------------------------------------------


def test_sites_lists_a_models_sites_without_data(here, capsys):
    assert run("sites", "-m", "cli_factories:net", "--size", "24") == 0
    out = capsys.readouterr().out
    assert "max_pool" in out and "6×22×22" in out and "2 sites can be measured" in out


def test_the_version_is_said(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"aliascope {aliascope.__version__}\n"


def test_unreadable_images_are_reported_at_the_end(here, capsys):
    Path("photos/1/0.png").write_bytes(b"no image")
    assert run("evaluate", *NET, "-d", "photos", "-o", "run", "--max-bad", "0.5") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 image could not be read" in out and "1/0.png" in out
    assert json.loads(Path("run/run.json").read_text())["unreadable"][0][1] == "1/0.png"


def test_published_accounting_can_be_shown(here, capsys):
    run("evaluate", *NET, "-d", "photos", "-o", "run", "--accounting", "published")
    assert "published accounting" in " ".join(capsys.readouterr().out.split())


def test_markup_in_names_is_printed_as_it_is(here, capsys):
    Path("photos").rename("[red]photos[")
    Path("[red]photos[/1/0.png").write_bytes(b"no image")
    assert run("evaluate", *NET, "-d", "[red]photos[", "-o", "[b]run", "--max-bad", "1") == 0
    assert "[b]run" in capsys.readouterr().out


def test_the_default_folder_is_named_after_model_and_data(here):
    assert run("evaluate", *NET, "-d", "photos/0", "--max-samples", "1") == 0
    assert Path("runs/cli_factories-net-photos-0/run.json").is_file()


# -- bad input -----------------------------------------------------------------------------------


def test_an_unknown_model_is_named_with_what_is_near(capsys):
    words = refusal(capsys, "evaluate", "-m", "torchvision:resnet43", "-d", "samples")
    assert "'torchvision:resnet43'" in words and "torchvision:resnet34" in words


def test_a_missing_weights_file_is_named(capsys):
    model = ["-m", "torchvision:resnet18", "-d", "samples"]
    assert "gone.pth" in refusal(capsys, "evaluate", *model, "-w", "gone.pth")


def test_weights_of_another_network_are_refused(here, capsys):
    torch.save({"elsewhere.weight": torch.zeros(3)}, "other.pth")
    words = refusal(capsys, "evaluate", *NET, "-d", "photos", "-w", "other.pth")
    assert "does not fit" in words and "elsewhere.weight" in words


def test_a_pickle_with_code_in_it_is_refused_and_not_run(here, capsys):
    class Payload:
        def __reduce__(self):
            return Path.touch, (Path("ran"),)

    Path("evil.pth").write_bytes(pickle.dumps(Payload()))
    words = refusal(capsys, "evaluate", *NET, "-d", "photos", "-w", "evil.pth")
    assert "evil.pth" in words and "refused" in words
    assert not Path("ran").exists()


def test_an_empty_folder_is_named(here, capsys):
    Path("empty").mkdir()
    assert "empty holds no images" in refusal(capsys, "evaluate", *NET, "-d", "empty")


def test_labels_outside_the_models_classes_are_named_with_both_numbers(here, capsys):
    Path("photos/3").rename("photos/7")
    words = refusal(capsys, "evaluate", *NET, "-d", "photos")
    assert "class 7" in words and "4 classes" in words


def test_an_output_folder_that_holds_a_run_is_not_written_over(here, capsys):
    assert run("evaluate", *NET, "-d", "photos", "-o", "run") == 0
    before = Path("run/run.json").read_text()
    capsys.readouterr()
    words = refusal(capsys, "evaluate", *NET, "-d", "photos", "-o", "run")
    assert "holds a run already" in words and "--resume" in words
    assert Path("run/run.json").read_text() == before


def test_an_input_smaller_than_the_model_takes_is_refused(here, capsys):
    arguments = ["-m", "cli_factories:net", "--resize", "4", "--crop", "4"]
    assert "4 × 4 pixels" in refusal(capsys, "evaluate", *arguments, "-d", "photos")


def test_a_model_without_any_site_is_refused_and_leaves_nothing(here, capsys):
    arguments = ["-m", "cli_factories:flat", "-d", "photos", "-o", "run"]
    assert "has no site" in refusal(capsys, "evaluate", *arguments)
    assert "has no site" in refusal(capsys, "sites", "-m", "cli_factories:flat")
    assert not Path("run").exists()


def test_activations_that_are_not_finite_name_the_site(here, capsys):
    arguments = ["-m", "cli_factories:broken", "-d", "photos/0", "-o", "run"]
    words = refusal(capsys, "evaluate", *arguments)
    assert (
        "Site pool has NaN or infinite values (sample 0, channel 0)" in words
        and not Path("run").exists()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold-db", "-5"], "threshold_db is -5.0"),
        (["--threshold-db", "much"], "--threshold-db"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--start", "8"], "start is 8"),
        (["--max-samples", "0"], "max_samples is 0"),
        (["--reference", "median"], "'median'"),
        (["--grid", "fine"], "'fine'"),
        (["--fold-scale", "big"], "'big'"),
        (["--detail", "all"], "'all'"),
        (["--accounting", "fair"], "'fair'"),
        (["--device", "cuda:99"], "'cuda:99'"),
        (["--device", "abacus"], "'abacus'"),
        (["--workers", "-1"], "workers is -1"),
        (["--crop", "-1"], "crop is -1"),
        (["--interpolation", "magic"], "'magic'"),
        (["--mean", "a,b,c"], "'a,b,c'"),
        (["--std", "0,1,1"], "std"),
        (["--mean", "0.5"], "mean"),
        (["--wieghts", "none"], "--wieghts"),
    ],
)
def test_a_bad_option_is_named_in_one_sentence_and_nothing_is_written(
    here, capsys, arguments, words
):
    assert words in refusal(capsys, "evaluate", *NET, "-d", "photos", "-o", "run", *arguments)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nowhere"], "nowhere holds no run"),
        (["plot", "pie", "nowhere"], "nowhere holds no run"),
        (["sites", "-m", "nonsense"], "'nonsense'"),
        (["sites", "-m", "torchvision:resnet18", "--size", "0"], "size is 0"),
        (["evaluate", "-d", "samples"], "--model"),
        (["measure"], "'measure'"),
    ],
)
def test_other_commands_refuse_in_one_sentence_too(here, capsys, arguments, words):
    assert words in refusal(capsys, *arguments)


def test_a_figure_is_only_written_in_a_format_that_figures_have(here, capsys):
    assert run("evaluate", *NET, "-d", "photos", "-o", "run") == 0
    capsys.readouterr()
    assert "ring.bmp" in refusal(capsys, "plot", "pie", "run", "-o", "ring.bmp")
    assert "'neon'" in refusal(capsys, "plot", "pie", "run", "--palette", "neon")
    assert not list(Path().glob("*ring*"))


def test_a_run_with_no_image_yet_can_be_shown(here, capsys):
    assert run("evaluate", *NET, "-d", "photos", "-o", "run") == 0
    content = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**content, "status": "running"}))
    shutil.rmtree("run/parts")
    capsys.readouterr()
    assert run("show", "run") == 0
    out = capsys.readouterr().out
    assert "not finished" in out and "0 images" in out


def test_pictures_that_are_not_cropped_are_tried_at_their_own_size(here):
    for label in range(4):
        for i in range(2):
            pixels = np.full((24, 24, 3), 9 * label + i, dtype=np.uint8)
            Image.fromarray(pixels).save(f"photos/{label}/{i}.png")
    own = ["-m", "cli_factories:net", "--resize", "0", "--crop", "0"]
    assert run("evaluate", *own, "-d", "photos", "-o", "run") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eps", "0.1"], "eps is given but no attack"),
        (["--seed", "99999999999999999999"], "seed is 99999999999999999999"),
        (["--device", "meta"], "'meta'"),
        (["--mean", ""], "mean has 0 values"),
        (["--data", "a\n\x1b[31mb"], r"a\n\x1b[31mb"),
        (["--data", "x" * 300], "too long"),
        (["--data", "nowhere", "--crop", "0"], "The folder nowhere does not exist"),
        (["--output", "x" * 300], "too long"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(here, capsys, arguments, words):
    known = ["-d", "photos", "-o", "run"]
    assert words in refusal(capsys, "evaluate", *NET, *known, *arguments)
    assert not Path("run").exists()


def test_a_terminal_without_bars_gets_question_marks(here):
    assert run("evaluate", *NET, "-d", "photos", "-o", "run") == 0
    done = subprocess.run(
        command("show", "run"), capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0 and b"2?2" in done.stdout


@pytest.mark.parametrize("written", [["0", "0.01"], ["0,0.01"], ["0 0.01"]])
def test_epsilons_may_be_written_with_spaces_or_commas(here, capsys, written):
    arguments = ["--attack", "fgsm", "--eps", *written, "-o", "run"]
    assert run("evaluate", *NET, "-d", "photos", *arguments) == 0
    assert [each.name for each in aliascope.load("run").conditions] == [
        "fgsm eps=0",
        "fgsm eps=0.01",
    ]


@pytest.mark.parametrize("more", [[], ["--json"], ["--csv"]])
def test_a_reader_that_has_seen_enough_is_no_fault(more):
    with subprocess.Popen(
        [sys.executable, "-m", "aliascope", "sites", "-m", "torchvision:resnet18", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()  # before anything is written
        complaint = process.stderr.read()
    assert process.returncode == 0 and complaint == ""


def test_sites_are_printed_as_data_too():
    command = [sys.executable, "-m", "aliascope", "sites", "-m", "torchvision:resnet18"]
    found = {
        kind: subprocess.run([*command, f"--{kind}"], capture_output=True, text=True, check=True)
        for kind in ("json", "csv")
    }
    sites = json.loads(found["json"].stdout)["sites"]
    assert len(sites) == 8 and sites[0]["name"] == "conv1" and sites[0]["rate"] == [2, 2]
    lines = found["csv"].stdout.splitlines()
    assert len(lines) == 9 and lines[1].startswith("conv1,")
