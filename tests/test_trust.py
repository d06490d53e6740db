"""Faults: what is damaged, full, missing or too much, in one sentence and with nothing lost."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import aliascope as al
from aliascope.commands.main import main
from aliascope.evaluation.loop import Options, evaluate
from aliascope.measures import counting as recorder
from aliascope.runs.store import Store
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model


def run(folder="run", model=None, batch_size=3, detail="site", **arguments):
    model = model or load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", model.preprocessing)
    return evaluate(
        model, images, folder, Options(batch_size=batch_size, detail=detail), **arguments
    )


def cut_short(part):
    path = part / "values.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def altered(part):
    path = part / "values.parquet"
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2"))


def lost_chunk(part):
    next(path for path in part.glob("category/0.zarr/c/**/*") if path.is_file()).unlink()


def altered_chunk(part):
    path = next(path for path in part.glob("category/0.zarr/c/**/*") if path.is_file())
    path.write_bytes(bytes(len(path.read_bytes())))


def altered_description(part):
    path = part / "part.json"
    path.write_text(path.read_text().replace('"unreadable": []', '"unreadable": [[0, "a", "b"]]'))


DAMAGES = [cut_short, altered, lost_chunk, altered_chunk, altered_description]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_measured_again_on_resuming(here, damage):
    before = run(detail="pixel")
    counts, part = before.counts, Path("run/parts/000002")
    untouched = Path("run/parts/000001/values.parquet").stat().st_mtime_ns
    damage(part)
    with pytest.warns(UserWarning, match=r"Part 2 of run is damaged .*measured again"):
        again = run(detail="pixel", resume=True)
    assert again.counts.equals(counts)
    assert Path("run/parts/000001/values.parquet").stat().st_mtime_ns == untouched
    assert not Store("run").damaged_parts()


def test_a_chunk_that_is_missing_does_not_read_as_zeros(here):
    measured = run(detail="pixel")
    lost_chunk(Path("run/parts/000000"))
    with pytest.raises(al.AliascopeError, match="missing or damaged"):
        for sample in range(3):
            measured.category_map("0", sample)


def test_a_whole_run_resumed_says_nothing_of_damage(here):
    run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(resume=True)


@pytest.mark.parametrize("command", [["show"], ["report"], ["plot", "pie"]])
def test_a_finished_run_without_one_of_its_parts_is_refused_until_it_is_mended(
    here, capsys, command
):
    counts = run().counts
    shutil.rmtree("run/parts/000001")
    with pytest.raises(SystemExit) as stop:
        main([*command, "run"])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.count("\n") == 1
    assert "lost 1 (000001)" in told and "--resume" in told
    assert run(resume=True).counts.equals(counts) and al.load("run").counts.equals(counts)
    content = json.loads(Path("run/run.json").read_text())
    assert content["status"] == "complete" and content["parts"] == 4 and "seconds" not in content


def metadata_of(run_folder):
    return next(Path(run_folder).glob("parts/000000/category/0.zarr/*.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3, 10**6, 10**6]},
        {"shape": [10**15, 6, 11, 11]},
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"data_type": "string"},
    ],
)
def test_an_absurd_or_alien_array_is_refused_before_it_is_read(here, change):
    measured = run(detail="pixel")
    path = metadata_of("run")
    content = {**json.loads(path.read_text()), **change}
    text = json.dumps(content)
    size = len(path.read_text())
    path.write_text(text[:-1].ljust(size - 1) + "}" if len(text) <= size else text)
    part = measured.store.part(0)
    part._files = {}  # an attacker signs what they like
    with pytest.raises(al.AliascopeError, match=r"its (shape|codecs)"):
        part.array("category", 0)


def test_arrays_of_an_older_layout_are_held_to_the_same(tmp_path):
    from aliascope.runs.arrays import open_array

    array = zarr.create_array(str(tmp_path / "a"), shape=(2, 3), dtype="i4", zarr_format=2)
    array[:] = np.ones((2, 3))
    open_array(tmp_path / "a")
    path = tmp_path / "a" / ".zarray"
    for change in (
        {"compressor": {"id": "pickle"}},
        {"filters": [{"id": "pickle"}]},
        {"dtype": "|O"},
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ValueError, match="its codecs"):
            open_array(tmp_path / "a")


# -- images that cannot be read --------------------------------------------------------------------


def spoil(*names):
    for name in names:
        Path("photos", name).write_bytes(b"no image")


def test_more_bad_images_than_allowed_stop_the_run_which_can_go_on(here):
    spoil("1/0.png", "2/0.png")
    with pytest.raises(al.AliascopeError, match=r"1 of 12 images .*1/0\.png.*more than 1 %"):
        run()
    assert json.loads(Path("run/run.json").read_text())["status"] == "running"
    assert len(list(Path("run/parts").iterdir())) == 2  # the batch with the bad one too
    with pytest.raises(al.AliascopeError, match=r"2 of 12 images .*more than 10 %"):
        run(resume=True, max_bad=0.1)
    assert len(run(resume=True, max_bad=0.2).samples) == 10


def test_a_bad_image_counts_once_however_often_it_is_attacked(here):
    spoil("1/0.png")
    model = load_model("factories:net", resize=26, crop=24)
    images = open_data("photos", model.preprocessing, num_classes=4)
    options = Options(batch_size=3, attack="fgsm", eps=(0.0, 0.1, 0.2))
    measured = evaluate(model, images, "run", options, max_bad=0.1)
    assert len(measured.samples) == 11


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_fraction_of_bad_images_that_cannot_be_is_refused(here, fraction):
    with pytest.raises(al.AliascopeError, match="max_bad is"):
        run(max_bad=fraction)


# -- memory, numbers, folders ----------------------------------------------------------------------


def full_above(megabytes, count):
    def counting(dense, rate, criterion, *, workspace=None, **how):
        if workspace is None or workspace > megabytes << 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return count(dense, rate, criterion, workspace=workspace, **how)

    return counting


def test_out_of_memory_halves_the_workspace_and_goes_on(here, monkeypatch):
    expected = run("whole").counts
    monkeypatch.setattr(recorder, "count_categories", full_above(40, recorder.count_categories))
    with pytest.warns(
        UserWarning, match="out of memory; measuring goes on with a workspace of"
    ) as told:
        measured = run()
    assert measured.counts.equals(expected)
    sizes = [str(each.message).split("workspace of ")[1] for each in told]
    assert sizes == ["128 MB.", "64 MB.", "32 MB."]


def test_a_network_that_does_not_fit_at_all_is_one_sentence(here, monkeypatch):
    monkeypatch.setattr(recorder, "count_categories", full_above(0, recorder.count_categories))
    with (
        pytest.warns(UserWarning, match="out of memory"),
        pytest.raises(al.AliascopeError, match=r"ran out of memory .*smaller --batch-size"),
    ):
        run()
    assert not Path("run").exists()


class Spoilt(nn.Module):
    def __init__(self, sample, channel):
        super().__init__()
        self.sample, self.channel = sample, channel
        self.conv = nn.Conv2d(6, 6, 3, stride=2)

    def forward(self, x):
        x = x.clone()
        x[self.sample, self.channel] = float("nan")
        return nn.functional.max_pool2d(x, 2)


@pytest.mark.parametrize("detail", ["site", "channel"])
def test_a_nan_names_the_site_the_sample_and_the_channel(detail):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), Spoilt(2, 4))
    with pytest.raises(al.AliascopeError, match=r"Site 1 has NaN .*sample 2, channel 4"):
        al.measure(model, [torch.rand(3, 3, 20, 20)], detail=detail)


def test_a_folder_that_is_removed_meanwhile_is_said_and_not_made_again(here):
    def remove(done, total):
        if done == 6:
            shutil.rmtree("run")

    with pytest.raises(al.AliascopeError, match="run was removed"):
        run(progress=remove)
    assert not Path("run/run.json").exists()


def test_images_that_were_replaced_since_are_noticed_on_resuming(here):
    run()
    shutil.rmtree("run/parts/000001")
    shutil.copy("photos/0/0.png", "photos/3/2.png")
    Path("photos/3/2.png").write_bytes(Path("photos/3/2.png").read_bytes() + b" ")
    with pytest.raises(al.AliascopeError, match="data sizes_sha256"):
        run(resume=True)
