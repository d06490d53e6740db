"""Several processes on one run: the tables are those of one, row for row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import aliascope as al
from aliascope.evaluation.loop import Options, evaluate
from aliascope.evaluation.team import Team, local_device, local_processes, team_of
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model

ATTACKED = ["--attack", "pgd", "--eps", "0,0.05", "--attack-steps", "3"]
COMMAND = [sys.executable, "-m", "aliascope", "evaluate", "-m", "factories:net", "-d", "photos"]
COMMAND += ["--crop", "24", "--resize", "26", "-b", "2", "--workers", "0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def share(folder, shard=None, options=None, **arguments):
    model = load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", model.preprocessing, num_classes=4)
    team = Team.from_shard(shard) if shard else None
    return evaluate(model, images, folder, options or Options(batch_size=2), team=team, **arguments)


def status(folder):
    return json.loads(Path(folder, "run.json").read_text())["status"]


def same(one, other):
    one, other = al.load(one), al.load(other)
    assert one.conditions == other.conditions
    for condition in one.conditions:
        first, second = (each.at(condition) for each in (one, other))
        assert first.samples.equals(second.samples) and first.counts.equals(second.counts)
    return len(one.samples)


@pytest.mark.parametrize("shards", [["1/2", "2/2"], ["3/4", "1/4", "4/4", "2/4"], ["2/9", "1/9"]])
@pytest.mark.parametrize("attack", [{}, {"attack": "pgd", "eps": (0.0, 0.05), "attack_steps": 2}])
def test_shares_add_up_to_the_run_of_one_process(here, shards, attack):
    options = Options(batch_size=2, **attack)
    share("one", options=options)
    for shard in shards:
        assert status("shared") == "running" if Path("shared").exists() else True
        share("shared", shard, options)
    if shards[0] == "2/9":  # six batches, of which this is one and another
        assert status("shared") == "running"
        share("shared", options=options, resume=True)
    assert status("shared") == "complete"
    assert same("one", "shared") == 12


def test_a_share_that_was_done_is_not_done_again(here):
    share("shared", "1/2")
    before = sorted(path.stat().st_mtime_ns for path in Path("shared/parts").iterdir())
    told = []
    share("shared", "1/2", progress=lambda done, total: told.append((done, total)))
    assert sorted(path.stat().st_mtime_ns for path in Path("shared/parts").iterdir()) == before
    assert told == [(6, 6)]


def test_a_share_of_another_run_is_refused(here):
    share("shared", "1/2")
    with pytest.raises(al.AliascopeError, match="batch_size 2, not 3"):
        share("shared", "2/2", Options(batch_size=3))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1/0", "1", "a/b", "-1/2", "1/2/3"])
def test_a_share_that_cannot_be_is_refused_in_one_sentence(shard):
    with pytest.raises(al.AliascopeError, match=r"^shard is "):
        Team.from_shard(shard)


def test_without_torchrun_a_process_is_alone_and_takes_its_device():
    with team_of() as team:
        assert team == Team() and team.alone and team.leads
    assert local_device("cuda") == "cuda" and local_processes() == 1


def test_torchrun_gives_each_process_a_device_and_refuses_shares(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert local_device("cuda").startswith("cuda:") and local_device("cpu") == "cpu"
    assert local_processes() == 2
    with pytest.raises(al.AliascopeError, match="leave one of the two out"), team_of("1/2"):
        pass


def test_processes_of_torchrun_write_what_one_process_writes(here):
    one = subprocess.run([*COMMAND, *ATTACKED, "-o", "one"], env=ONE_THREAD, capture_output=True)
    assert one.returncode == 0, one.stderr
    under = [*TORCHRUN, *COMMAND[1:], *ATTACKED, "-o", "two"]
    two = subprocess.run(under, env=ONE_THREAD, capture_output=True, text=True)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("pgd eps=0:") == 1  # one of them speaks
    assert status("two") == "complete" and same("one", "two") == 12
    again = subprocess.run(under, env=ONE_THREAD, capture_output=True, text=True)
    assert again.returncode != 0 and again.stderr.count("holds a run already") == 1


def test_a_run_begun_by_two_processes_and_killed_is_ended_by_one(here):
    under = [*TORCHRUN, *COMMAND[1:], *ATTACKED, "-o", "two"]
    under[under.index("factories:net")] = "factories:deadly"
    killed = subprocess.run(under, env={**ONE_THREAD, "PASSES": "12"}, capture_output=True)
    assert killed.returncode != 0 and 0 < len(list(Path("two/parts").glob("*[0-9]"))) < 12
    command = [*COMMAND, *ATTACKED]
    command[command.index("factories:net")] = "factories:deadly"
    for arguments in (["-o", "two", "--resume"], ["-o", "one"]):
        done = subprocess.run([*command, *arguments], env=ONE_THREAD, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert status("two") == "complete" and same("one", "two") == 12


def test_ctrl_c_ends_within_three_seconds_and_leaves_a_run_to_resume(here):
    (here / "slow.py").write_text(
        "import time, factories\nfrom torch import nn\n"
        "class Slow(nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.net = factories.net()\n"
        "    def forward(self, x):\n        time.sleep(0.5); return self.net(x)\n"
    )
    command = [*COMMAND, "-o", "run"]
    command[command.index("factories:net")] = "slow:Slow"
    command[command.index("--workers") + 1] = "2"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(Path("run").glob("parts/*[0-9]")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    began = time.monotonic()
    _, words = process.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert process.returncode == 130 and "--resume" in words and "Traceback" not in words
    assert status("run") == "running"
