from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import aliascope as al
from aliascope.evaluation.loop import Options, evaluate, probe
from aliascope.spectrum import Criterion
from aliascope.tasks.images import open_data
from aliascope.tasks.models import load_model


def loaded(name="factories:net"):
    return load_model(name, resize=26, crop=24)


def run(folder, options=None, data="photos", model=None, **arguments):
    model = model or loaded()
    return evaluate(model, open_data(data, model.preprocessing), folder, options, **arguments)


def test_a_run_measures_every_image_and_remembers_what_it_was(here):
    measurement = run("run", Options(batch_size=5))
    assert len(measurement.samples) == 12
    assert list(measurement.samples.columns[:3]) == ["sample", "name", "label"]
    assert list(measurement.samples["label"]) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    content = json.loads(Path("run/run.json").read_text())
    assert content["status"] == "complete"
    assert content["model"]["name"] == "factories:net"
    assert len(content["model"]["weights_sha256"]) == 64
    assert content["model"]["preprocessing"]["crop"] == 24
    assert content["options"]["batch_size"] == 5
    assert {"aliascope", "torch", "python"} <= set(content["versions"])
    assert [s["name"] for s in content["sites"]] == ["0", "2"]
    assert all(s["recomposition_error"] < 1e-5 for s in content["sites"])


def test_its_counts_are_those_of_measuring_the_same_images_in_memory(here):
    measurement = run("run", Options(batch_size=5))
    model = loaded()
    images = open_data("photos", model.preprocessing)
    pixels = torch.stack([images[i].image for i in range(12)])
    in_memory = al.measure(model.model, pixels.split(5))
    assert (measurement.counts.to_numpy() == in_memory.counts.to_numpy()).all()


def test_predictions_and_accuracy_are_those_of_the_plain_model(here):
    measurement = run("run")
    model = loaded()
    images = open_data("photos", model.preprocessing)
    with torch.no_grad():
        scores = model.model(torch.stack([images[i].image for i in range(12)]))
    assert list(measurement.samples["prediction"]) == scores.argmax(1).tolist()
    right = scores.argmax(1) == torch.tensor(images.labels)
    assert measurement.accuracy().loc["top1", "correct"] == int(right.sum())


@pytest.mark.parametrize(
    ("start", "most", "expected"),
    [(0, 5, range(5)), (7, 3, range(7, 10)), (10, None, range(10, 12)), (0, 99, range(12))],
)
def test_start_and_max_samples_choose_images(here, start, most, expected):
    measurement = run("run", Options(start=start, max_samples=most, batch_size=4))
    assert list(measurement.samples["sample"]) == list(expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_and_the_batch_size_change_no_count(here, workers):
    one = run("a", Options(batch_size=12))
    other = run("b", Options(batch_size=5), workers=workers)
    assert (one.counts.to_numpy() == other.counts.to_numpy()).mean() > 0.98  # rounding of the conv
    assert one.samples["name"].equals(other.samples["name"])


def test_features_are_the_input_of_the_last_linear_layer(here):
    measurement = run("run", Options(batch_size=5, save_features=True))
    model = loaded()
    images = open_data("photos", model.preprocessing)
    with torch.no_grad():
        pixels = model.model(torch.stack([images[i].image for i in range(12)]))
        features = torch.from_numpy(measurement.features())
        assert torch.allclose(model.network[-1](features), pixels, atol=1e-5)
    with pytest.raises(al.AliascopeError, match="--save-features"):
        run("plain").features()


@pytest.mark.parametrize("detail", ["channel", "pixel", "folds"])
def test_finer_details_add_up_to_the_coarser(here, detail):
    coarse, fine = run("coarse"), run("fine", Options(detail=detail))
    assert np.allclose(coarse.fractions().to_numpy(), fine.fractions().to_numpy(), atol=1e-3)
    per_channel = fine.fractions("channel").groupby("site", sort=False).mean()
    assert np.allclose(per_channel, fine.fractions()[per_channel.columns])
    if detail != "channel":
        maps = np.stack([fine.category_map("0", i) for i in range(12)])
        counts = np.stack([(maps == c).sum(axis=(1, 2, 3)) for c in range(4)], axis=1)
        stored = fine.counts.loc[fine.counts["site"] == 0].iloc[:, 2:]
        assert (counts == stored.to_numpy()).all()


class Noisy(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(nn.functional.dropout(x, training=True))


def test_random_numbers_of_a_network_follow_from_the_seed_of_the_run(here):
    measured = []
    for state, seed in ((1, 0), (2, 0), (1, 5)):
        model = loaded()
        model.network = Noisy(model.network)
        torch.manual_seed(state)
        measured.append(run(f"run{state}{seed}", Options(seed=seed), model=model).counts)
    assert measured[0].equals(measured[1]) and not measured[0].equals(measured[2])


# -- interruption --------------------------------------------------------------------------------


def frames_equal(one, other):
    return all(
        getattr(one, table).equals(getattr(other, table))
        for table in ("samples", "counts", "sites")
    )


def test_a_run_resumed_after_losing_parts_is_the_run_undisturbed(here):
    whole = run("run", Options(batch_size=2, detail="channel"))
    before = whole.fractions("channel")
    import shutil

    for lost in (1, 4):
        shutil.rmtree(f"run/parts/{lost:06d}")
    progress = []
    again = run(
        "run",
        Options(batch_size=2, detail="channel"),
        resume=True,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert frames_equal(whole, again) and before.equals(again.fractions("channel"))
    assert progress == [(8, 12), (10, 12), (12, 12)]


@pytest.mark.parametrize(("passes", "parts"), [(1, 0), (5, 2)])
def test_a_run_killed_outright_resumes_to_the_same_tables(here, passes, parts):
    command = [sys.executable, "-m", "aliascope", "evaluate", "-m", "factories:deadly", "-d"]
    command += ["photos", "--crop", "24", "--resize", "26", "-b", "3", "--workers", "0"]
    killed = subprocess.run(
        [*command, "-o", "run"], env={**os.environ, "PASSES": str(passes)}, capture_output=True
    )
    assert killed.returncode == -9
    there = len(list(Path("run/parts").glob("[0-9]*[0-9]")))
    assert there == parts  # one pass was the probe's, two tried the memory format
    before = {path: path.stat().st_mtime_ns for path in Path("run/parts").glob("*[0-9]/*")}
    resumed = subprocess.run([*command, "-o", "run", "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    undisturbed = run("other", Options(batch_size=3), model=loaded("factories:deadly"))
    assert frames_equal(al.load("run"), undisturbed)
    assert json.loads(Path("run/run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 4}, "batch_size 5, not 4"),
        ({"criterion": Criterion(threshold_db=30.0)}, "threshold_db 20.0, not 30.0"),
        ({"max_samples": 6}, "images 12, not 6"),
    ],
)
def test_resuming_with_other_options_says_which(here, change, words):
    run("run", Options(batch_size=5))
    with pytest.raises(al.AliascopeError, match=words):
        run("run", Options(**{"batch_size": 5, **change}), resume=True)


def test_resuming_with_other_weights_says_so(here):
    run("run")
    other = loaded()
    with torch.no_grad():
        other.network[0].weight.mul_(2)
    other.weights_sha256 = "0" * 64
    with pytest.raises(al.AliascopeError, match="weights_sha256"):
        run("run", model=other, resume=True)


def test_a_folder_that_holds_a_run_is_not_written_over(here):
    run("run")
    with pytest.raises(al.AliascopeError, match="holds a run already"):
        run("run")


def test_a_folder_that_holds_something_else_is_not_written_into(here):
    with pytest.raises(al.AliascopeError, match="not empty and holds no run"):
        run("photos")


# -- images that cannot be read ------------------------------------------------------------------


def test_unreadable_images_are_left_out_counted_and_named(here):
    Path("photos/1/0.png").write_bytes(b"no image")
    Path("photos/3/2.png").write_bytes(b"")
    measurement = run("run", Options(batch_size=4), max_bad=0.2)
    assert len(measurement.samples) == 10
    assert not set(measurement.samples["sample"]) & {3, 11}
    assert [entry[1] for entry in measurement.unreadable] == ["1/0.png", "3/2.png"]
    named = json.loads(Path("run/run.json").read_text())["unreadable"]
    assert [entry[1] for entry in named] == ["1/0.png", "3/2.png"] and all(e[2] for e in named)


def test_a_batch_of_unreadable_images_only_is_skipped(here):
    for i in range(3):
        Path(f"photos/1/{i}.png").write_bytes(b"no image")
    assert len(run("run", Options(batch_size=3), max_bad=0.25).samples) == 9


def test_when_no_image_can_be_read_nothing_is_left_behind(here):
    for image in Path("photos").rglob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(al.AliascopeError, match="None of the 12 images could be read"):
        run("run")
    assert not Path("run").exists()


def test_images_without_labels_are_measured_without_accuracy(here):
    measurement = run("run", data="photos/2")
    assert len(measurement.samples) == 3
    assert measurement.accuracy().empty and "label" not in measurement.samples


# -- what a model says of itself -----------------------------------------------------------------


def test_a_probe_finds_sites_and_classes(here):
    found = probe(loaded())
    assert [site.name for site in found.sites] == ["0", "2"] and found.classes == 4


def test_an_image_smaller_than_the_model_takes_is_refused_in_one_sentence(here):
    with pytest.raises(al.AliascopeError, match="cannot take an image of 4 × 4 pixels") as caught:
        probe(loaded(), size=(4, 4))
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_named(here):
    with pytest.raises(al.AliascopeError, match="device is 'cuda:99'"):
        probe(loaded(), device="cuda:99")


def test_a_model_without_sites_leaves_nothing_behind(here):
    with pytest.raises(al.AliascopeError, match="has no site"):
        run("run", model=load_model("factories:flat", resize=26, crop=24))
    assert not Path("run").exists()


# -- measure -------------------------------------------------------------------------------------


def test_measure_gives_the_model_its_mode_back():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Dropout())
    model[1].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    al.measure(model, [torch.rand(2, 3, 9, 9)])
    assert [m.training for m in model] == [True, False, True]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_measure_takes_a_data_loader_of_images_and_labels():
    data = torch.utils.data.TensorDataset(torch.rand(7, 3, 9, 9), torch.arange(7) % 2)
    model = nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    measurement = al.measure(model, torch.utils.data.DataLoader(data, batch_size=3))
    assert list(measurement.samples["label"]) == [0, 1, 0, 1, 0, 1, 0]
    assert measurement.accuracy().loc["top1", "n"] == 7


def test_measure_passes_the_criterion_on():
    x = torch.rand(2, 3, 16, 16)
    measurement = al.measure(nn.AvgPool2d(2), [x], threshold_db=10, reference="mean", grid="native")
    dense = nn.functional.avg_pool2d(x, 2, 1)
    category = al.classify(dense, (2, 2), threshold_db=10, reference="mean", grid="native")
    expected = np.stack([(category == c).sum(dim=(1, 2, 3)) for c in range(4)], axis=1)
    assert (measurement.counts.iloc[:, 2:].to_numpy() == expected).all()


@pytest.mark.parametrize(
    ("model", "batches", "words"),
    [
        (nn.Conv2d(3, 3, 3), [torch.rand(1, 3, 8, 8)], "has no site"),
        (nn.Conv2d(3, 3, 3, 2), [], "no batch of images"),
        (lambda x: x, [torch.rand(1, 3, 8, 8)], "must be a torch.nn.Module"),
    ],
)
def test_measure_refuses_what_it_cannot_do_in_one_sentence(model, batches, words):
    with pytest.raises(al.AliascopeError, match=words):
        al.measure(model, batches)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"start": -1}, "start is -1"),
        ({"max_samples": 0}, "max_samples is 0"),
    ],
)
def test_options_out_of_range_are_named(change, words):
    with pytest.raises(al.AliascopeError, match=words):
        Options(**change)


def test_a_start_beyond_the_data_is_named(here):
    with pytest.raises(al.AliascopeError, match="start is 12, but photos holds 12 images"):
        run("run", Options(start=12))


# -- what is given wrongly -----------------------------------------------------------------------


def test_a_run_that_cannot_begin_leaves_the_folders_of_others(here):
    broken = Options(intervene=("remove@nowhere",))  # found out once the folder is there
    Path("mine").mkdir()
    Path("link").symlink_to("mine")
    for folder in ("mine", "link", "new/inner"):
        with pytest.raises(al.AliascopeError, match="no site 'nowhere'"):
            run(folder, broken)
    assert not list(Path("mine").iterdir()) and Path("link").is_symlink()
    assert not Path("new").exists()


def test_a_folder_in_the_home_folder_may_be_written_with_a_tilde(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    run("~/run")
    assert len(al.load("~/run").samples) == 12 and Path("home/run/run.json").is_file()


def test_names_that_are_not_unicode_are_kept_as_escapes(here):
    Path(os.fsdecode(b"photos/0/\xff.png")).write_bytes(Path("photos/0/0.png").read_bytes())
    assert r"0/\udcff.png" in set(run("run").samples["name"])


def made_of_everything(kind):
    """Name data of the photographs whose every name goes beyond ASCII."""
    if not Path("Fotos-写真").exists():
        Path("photos/0/0.png").rename("photos/0/für.png")
        Path("photos").rename("Fotos-写真")
    if kind == "folder":
        return "Fotos-写真"
    files = sorted(Path("Fotos-写真").rglob("*.png"))
    if kind == "tar":
        with tarfile.open("Fotos-写真.tar", "w") as tar:
            for number, file in enumerate(files):
                tar.add(file, f"{number:02}-{file.stem}.png")
    else:
        table = pa.table({"image": [file.read_bytes() for file in files]})
        pq.write_table(table, "Fotos-写真.parquet")
    return f"Fotos-写真.{kind}"


SEVERAL = """
import sys
from aliascope.commands.main import main
for words in " ".join(sys.argv[1:]).split(" -- "):
    try:
        main(words.split())
    except SystemExit as end:
        if end.code:
            raise
"""


def in_a_locale(locale, commands):
    """Run commands in one process, so that they need not all load torch."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, *" -- ".join(map(" ".join, commands)).split()],
        env={**os.environ, **locale},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_a_locale_that_is_not_utf8_changes_nothing_of_a_run(here):
    kinds = ["folder", "tar", "parquet"]
    data = {kind: made_of_everything(kind) for kind in kinds}
    torch.save(load_model("factories:net").network.state_dict(), "Gewichte-ü.pth")
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    wide = {"LC_ALL": "C.UTF-8"}

    def command(kind, folder, *more):
        of = ["evaluate", "-m", "factories:net", "-d", data[kind], "--weights", "Gewichte-ü.pth"]
        how = ["--resize", "26", "--crop", "24", "-b", "5", "--detail", "pixel", "--workers", "0"]
        return [*of, *how, "-o", f"{folder}-{kind}", *more]

    for folder, locale in [("Lauf-ü", narrow), ("Lauf", wide)]:
        out = in_a_locale(locale, [command(kind, folder) for kind in kinds])
        assert out.count("12 images") >= 3
    for kind in kinds:
        one, two = (
            json.loads(Path(f"{folder}-{kind}", "run.json").read_text())
            for folder in ("Lauf-ü", "Lauf")
        )
        assert one["data"] == two["data"] and one["model"] == two["model"]
        assert al.load(f"Lauf-ü-{kind}").samples.equals(al.load(f"Lauf-{kind}").samples)
    # Each may go on with what the other began.
    for locale in (wide, narrow):
        for kind in kinds:
            shutil.rmtree(f"Lauf-ü-{kind}/parts/000001")
        in_a_locale(locale, [command(kind, "Lauf-ü", "--resume") for kind in kinds])


def test_what_ones_own_network_does_not_need_is_not_loaded(here):
    several = f"{SEVERAL}print(*sorted(set(sys.modules) & set(sys.stdin.read().split())), sep='')"
    words = "evaluate -m factories:net -d photos --resize 26 --crop 24 --workers 0 -o run"
    slow = "torchvision torch._dynamo scipy.stats matplotlib timm transformers torchattacks"
    done = subprocess.run(
        [sys.executable, "-c", several, *words.split()],
        input=slow,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


def test_what_a_killed_process_left_half_written_goes_when_the_run_is_complete(here):
    run("run", Options(batch_size=5))
    content = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**content, "status": "running"}))
    Path("run/parts/000001").rename("run/parts/000001.1.tmp")
    run("run", Options(batch_size=5), resume=True)
    assert sorted(p.name for p in Path("run/parts").iterdir()) == ["000000", "000001", "000002"]


def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing(here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_parquet", full)
    with pytest.raises(al.AliascopeError, match=r"cannot be written \(No space left on device\)"):
        run("run")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eps": (0.1,)}, "eps is given but no attack"),
        ({"save_adversarial": 1}, "save_adversarial is given but no attack"),
        ({"attack": "pgd", "attack_arguments": {"steps": 0}}, "steps is among"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**40}, "seed is 1099511627776"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(al.AliascopeError, match=words):
        Options(**changes)


def test_scores_that_are_nan_predict_nothing():
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    model.register_forward_hook(lambda module, args, output: output * float("nan"))
    measurement = al.measure(model, [(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))])
    assert list(measurement.samples["prediction"]) == [-1, -1]
    assert measurement.accuracy()["correct"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (torch.rand(2, 3, 8, 8), "batches is one tensor"),
        ([torch.rand(0, 3, 8, 8)], "no batch of images"),
        ([{"images": [1, 2]}], "has no tensor among images"),
        ([np.zeros((2, 3, 8, 8))], "of type ndarray"),
        ([(torch.rand(2, 3, 8, 8), ["cat", "dog"])], "labels of a batch are of type list"),
        ([(torch.rand(2, 3, 8, 8), torch.zeros(3))], r"shape \(3,\)"),
        ([torch.rand(3, 8, 8)], "No site of AvgPool2d can be measured .*does not divide"),
    ],
)
def test_batches_that_are_none_are_refused_in_one_sentence(batches, words):
    with pytest.raises(al.AliascopeError, match=words):
        al.measure(nn.AvgPool2d(2), batches)


@pytest.mark.parametrize("labels", [None, [0, 1], torch.tensor([0, 1])])
def test_labels_may_be_left_out_or_be_a_list(labels):
    batch = [torch.rand(2, 3, 8, 8)] if labels is None else [torch.rand(2, 3, 8, 8), labels]
    assert len(al.measure(nn.AvgPool2d(2), [batch]).samples) == 2


def test_a_model_without_values_is_refused():
    with pytest.raises(al.AliascopeError, match="meta device"):
        al.measure(nn.Conv2d(3, 4, 3, 2, device="meta"), [torch.rand(1, 3, 8, 8)])


def test_a_bar_may_be_shown_and_changes_nothing(capsys):
    torch.manual_seed(0)
    model, batches = nn.AvgPool2d(2), [torch.rand(2, 3, 8, 8) for _ in range(2)]
    shown = al.measure(model, batches, progress=True)
    assert shown.values.equals(al.measure(model, iter(batches)).values)
    assert al.measure(model, iter(batches), progress=True).values.equals(shown.values)
    assert capsys.readouterr().out == ""


def test_a_batch_may_be_the_models_keyword_arguments():
    class Captioned(nn.Module):
        def forward(self, words, pixel_values):
            return torch.nn.functional.avg_pool2d(pixel_values, 2).mean((2, 3))

    batch = {
        "words": torch.zeros(3, 7),
        "pixel_values": torch.rand(3, 3, 8, 8),
        "labels": torch.tensor([0, 1, 2]),
    }
    measurement = al.measure(Captioned(), [batch, batch])
    assert list(measurement.samples["label"]) == [0, 1, 2] * 2
    assert len(measurement.values) == 6 and "top1" in measurement.samples
