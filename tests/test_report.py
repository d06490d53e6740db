from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import aliascope as al
from ablation_runs import made_ablation, moved
from aliascope.commands.main import main
from aliascope.report import explorer, numbers, page, pictures, words, write_page
from aliascope.runs.measurement import Measurement
from aliascope.runs.store import Store
from aliascope.runs.words import listed
from aliascope.spectrum import folds, home_folds
from energy_runs import energy_run
from report_runs import hostile_run, small_runs

EXACT = {"accounting": "exact", "colours": "paper"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return small_runs(tmp_path_factory.getbasetemp() / "report")


def said(measurement, **options):
    return page.page_data(measurement, **{**EXACT, **options})


def shown(measurement, colours="paper", max_samples=20, **options):
    return explorer.explorer(measurement, colours=colours, max_samples=max_samples, **options)


def decoded(url):
    head, _, content = url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def data_of(path):
    """The two JSON blocks of a page."""
    text = Path(path).read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="\w+">(.*?)</script>', text, re.DOTALL)
    return [json.loads(block) for block in found]


# -- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("accounting", ["exact", "published"])
def test_the_page_holds_the_measurements_own_numbers(runs, accounting):
    measurement = al.load(runs["folds"])
    data = said(measurement, accounting=accounting)
    table = measurement.fractions(accounting=accounting)
    assert [site["name"] for site in data["sites"]] == list(table.index)
    for site in data["sites"]:
        for key in ("no_pass", "non_aliased", "aliased", "tangled"):
            assert site["mean"][key] == table.loc[site["name"], key]
            assert site["low"][key] == table.loc[site["name"], f"{key}_low"]
    overall = measurement.fractions(by="overall", accounting=accounting).iloc[0]
    assert data["overall"]["mean"]["aliased"] == overall["aliased"]
    assert data["overall"]["high"]["tangled"] == overall["tangled_high"]
    ring = sum(sum(part) for part in data["ring"]["shares"].values())
    assert ring == pytest.approx(1)


def test_numbers_keep_their_first_digits_in_the_file(runs, tmp_path):
    data, _ = data_of(write_page(al.load(runs["attacked"]), tmp_path / "page.html"))
    assert [point["eps"] for point in data["attack"]] == [0, 0.00012345, 0.3]
    expected = al.load(runs["attacked"]).fractions(by="overall").iloc[0]
    assert data["overall"]["mean"]["tangled"] == pytest.approx(expected["tangled"], abs=1e-5)


def test_an_attacked_run_has_a_point_for_each_epsilon(runs):
    measurement = al.load(runs["attacked"])
    points = numbers.attack(measurement, "exact")
    assert [point["condition"] for point in points] == [e.name for e in measurement.conditions]
    for point in points:
        at = measurement.at(point["condition"])
        fractions = at.fractions(by="sample")
        harmed = fractions["aliased"] + fractions["tangled"]
        assert point["harmed"]["aliasing"] == pytest.approx(harmed.median())
        assert point["harmed"]["low"] == pytest.approx(harmed.quantile(0.01))
        assert point["accuracy"]["top1"]["correct"] == at.samples["top1"].sum()
        assert point["sites"] == numbers.sites(at, "exact")
    assert numbers.attack(al.load(runs["folds"]), "exact") == []


def test_correct_and_incorrect_images_are_compared(runs):
    measurement = al.load(runs["folds"])
    groups = numbers.groups(measurement, "exact")
    right = measurement.samples["top1"].astype(bool).to_numpy()
    assert (groups["correct"]["n"], groups["incorrect"]["n"]) == (right.sum(), (~right).sum())
    tangled = measurement.fractions(by="sample")["tangled"].to_numpy()
    median = groups["correct"]["categories"]["tangled"]["quantiles"][2]
    assert median == pytest.approx(np.median(tangled[right]))
    pairs = tangled[~right][:, None] - tangled[right][None]
    larger = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert groups["test"]["tangled"]["larger"] == pytest.approx(larger)


def test_points_are_drawn_of_few_images_only(runs, monkeypatch):
    monkeypatch.setattr(numbers, "DRAWN_POINTS", 2)
    groups = numbers.groups(al.load(runs["folds"]), "exact")
    assert groups["incorrect"]["categories"]["aliased"]["points"] == []


def test_without_labels_there_is_a_sentence_instead_of_boxes_and_accuracy(tmp_path):
    al.measure(nn.AvgPool2d(2), [torch.rand(2, 3, 8, 8)]).save(tmp_path / "run")
    data, pictures_ = data_of(write_page(al.load(tmp_path / "run"), tmp_path / "page.html"))
    assert data["groups"] is None and "no labels" in data["groups_words"]
    assert data["title"] == "Aliasing in a network"
    assert any("accuracy is not known" in sentence for sentence in data["summary"])
    assert "--detail folds" in pictures_["notes"][0] and "samples" not in pictures_


def test_one_image_has_no_interval(tmp_path):
    measurement = al.measure(nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)])
    data, _ = data_of(write_page(measurement, tmp_path / "page.html"))
    assert data["overall"]["low"]["tangled"] is None
    assert any("no interval from one image" in sentence for sentence in data["summary"])


# -- the words -----------------------------------------------------------------------------------


def site(name, mean, low, high):
    return {
        "name": name,
        **{k: {"tangled": v} for k, v in (("mean", mean), ("low", low), ("high", high))},
    }


def test_the_leading_site_is_named_without_doubt_only_where_no_interval_reaches_it():
    clear = words.leading([site("a", 0.2, 0.1, 0.3), site("b", 0.6, 0.5, 0.7)], "tangled")
    assert "bins is b: 60.0" in clear and "No other site's interval reaches" in clear
    close = words.leading([site("a", 0.4, 0.3, 0.55), site("b", 0.6, 0.5, 0.7)], "tangled")
    assert "interval of a overlaps" in close and "not settled" in close
    third = site("c", 0.5, 0.4, 0.6)
    several = words.leading([site("a", 0.4, 0.3, 0.55), third, site("b", 0.6, 0.5, 0.7)], "tangled")
    assert "2 other sites" in several and "c comes next" in several
    nan = float("nan")
    one = words.leading([site("a", 0.4, nan, nan), third], "tangled")
    assert "bins is c" in one and "the order may change" in one
    assert "No site" in words.leading([site("a", 0.0, 0.0, 0.0)] * 2, "tangled")


def test_words_on_correct_and_incorrect_follow_the_test():
    side = {"n": 9, "categories": {"tangled": {"quantiles": [0, 0, 0.5, 1, 1]}}}
    keys = ("no_pass", "non_aliased", "aliased", "tangled")
    none = {key: {"p": 0.4, "larger": 0.5} for key in keys}
    some = {**none, "aliased": {"p": 0.01, "larger": 0.9}}
    sides = {"correct": side, "incorrect": side}
    assert "no proof" in words.compared({**sides, "test": none})
    assert "difference in aliased (p = 0.01)" in words.compared({**sides, "test": some})
    assert "no test is made" in words.compared({**sides, "test": None})


def test_the_verdict_says_when_a_run_is_not_finished_or_left_images_out(runs, tmp_path):
    store = Store(tmp_path / "run")
    hostile_run(store)
    store.write_run({**store.read_run(), "status": "running"})
    findings = said(al.load(tmp_path / "run"))["verdict"]["said"]
    (summary,) = (each["words"] for each in findings if each["head"] == "Beware")
    assert "not finished" in summary and "1 image could not be read" in summary
    assert "1 place that resamples could not be measured" in summary


def test_the_summary_of_an_attack_says_from_where_to_where(runs):
    measurement = al.load(runs["attacked"])
    summary = said(measurement)["summary"]
    assert summary[-1].startswith("From ε = 0 to ε = 0.3, top-1 accuracy went from ")
    assert "overlap" in summary[-1]


# -- the verdict ---------------------------------------------------------------------------------


def verdict_of(measurement, **options):
    data = said(measurement, **options)["verdict"]
    return {each["head"]: each["words"] for each in data["said"]}, data["missing"]


def test_the_verdict_names_the_site_that_aliases_most_with_interval_and_floor():
    sites = {"a": ((2, 2), (4, 28, 28)), "b": ((2, 2), (4, 28, 28)), "c": ((4, 4), (4, 32, 32))}
    store, _ = energy_run(sites=sites)
    measurement = Measurement(store)
    found, missing = verdict_of(measurement)
    table, floor = measurement.energy(), measurement.floor()
    fractions = measurement.fractions()
    for name, start in {
        "b": "Most aliases at b, of the sites of rate 2×2",
        "c": "At c, the",
    }.items():
        share = words.percent(table.loc[name, "aliased_energy"])
        assert start in found["Aliasing"] and f"{share} of the energy" in found["Aliasing"]
        ends = table.loc[name, ["aliased_energy_low", "aliased_energy_high"]]
        assert words.interval(*ends) in found["Aliasing"]
        for of in (fractions, floor):
            both = of.loc[name, "aliased"] + of.loc[name, "tangled"]
            assert words.percent(both) in found["Aliasing"]
    assert "3 sites on 12 images" in found["Measured"] and "Use" not in found
    commands = [each["command"] for each in missing]
    assert commands[0].startswith("aliascope ablate --model made:net --data noise ")
    assert commands[1].startswith("aliascope shift --model made:net --data noise -o ")


def test_the_command_for_what_is_missing_is_that_of_the_run_with_another_verb():
    command = ["x/__main__.py", "evaluate", "-m", "net:f", "-d", "my photos"]
    command += ["-b", "8", "--weights=w.pt", "-o", "out"]
    store, _ = energy_run(command=command)
    *_, shift = verdict_of(Measurement(store))[1]
    ahead, folder = shift["command"].split(" -o ")
    assert ahead == (
        "aliascope shift --model net:f --data 'my photos' --weights w.pt --batch-size 8"
    )
    assert folder == str(store.folder)


def test_many_undecided_stages_are_counted_not_listed():
    names = [f"layer{i}.conv" for i in range(17)]
    assert listed(names) == (
        "layer0.conv, layer1.conv, layer2.conv, layer3.conv, layer4.conv and 12 more"
    )
    assert listed(names[:6]).endswith("layer4.conv and layer5.conv")


# -- runs that hold little, and comparisons ------------------------------------------------------


def test_shift_consistency_alone_is_a_page_of_its_own(tmp_path, capsys):
    moved().save(tmp_path / "run")
    main_of("report", tmp_path / "run")
    data, _ = data_of(tmp_path / "run" / "report.html")
    assert data["energy"] is data["overall"] is data["ablation"] is None
    (kind,) = data["consistency"]["kinds"]
    (words_,) = (each["words"] for each in data["verdict"]["said"] if each["head"] == "Shifts")
    assert words.percent(kind["consistency"]) in words_ and data["summary"] == []
    assert [each["what"][:11] for each in data["verdict"]["missing"]] == [
        "How much al",
        "Whether wha",
    ]


def test_an_ablation_without_measures_is_a_page(tmp_path):
    store = made_ablation().store
    for part in store.folder.glob("parts/*"):
        assert (part / "changed.parquet").is_file()
    data = said(Measurement(bare(store, tmp_path / "run")))
    assert data["energy"] is None and data["ablation"]["stages"]
    path = write_page(Measurement(Store(tmp_path / "run")), tmp_path / "page.html")
    assert data_of(path)[0]["ablation"]["said"] == data["ablation"]["said"]


def bare(store, folder):
    """Write the run again with what its passes did, and without values."""
    bare_ = Store(folder)
    bare_.write_run(store.read_run())
    changed = pd.read_parquet(store.folder / "parts" / "000000" / "changed.parquet")
    writer = bare_.begin(0)
    empty = pd.DataFrame({"sample": [], "site": []}).astype("int64")
    writer.commit(pd.DataFrame({"sample": range(40)}), empty, [], more={"changed": changed})
    return bare_


def test_a_comparison_on_the_page_has_the_comparisons_own_numbers(tmp_path):
    for name, n in (("one", 6), ("two", 5)):
        energy_run(Store(tmp_path / name), n=n, parts=1)
    main_of("report", tmp_path / "one", "--compare", tmp_path / "two")
    data, _ = data_of(tmp_path / "one" / "report.html")
    (block,) = data["comparisons"]
    found = al.compare(tmp_path / "one", tmp_path / "two")
    assert block["images"] == 5 and block["notes"] == found.notes
    table = found.table()
    assert [(row["site"], row["value"]) for row in block["rows"]] == list(table.index)
    for row, (_, expected) in zip(block["rows"], table.iterrows(), strict=True):
        ends = [row["difference"], row["low"], row["high"]]
        columns = ["difference", "difference_low", "difference_high"]
        assert ends == pytest.approx(list(expected[columns]), abs=1e-5)
    (compared,) = (each["words"] for each in data["verdict"]["said"] if each["head"] == "Compared")
    mean = table.loc["overall", "aliased_energy"]
    assert words.signed(mean["difference"]) in compared


def main_of(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    assert not end.value.code


# -- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 8), (8, 5), (7, 7), (6, 6)])
@pytest.mark.parametrize("rate", [(2, 2), (3, 2), (1, 4), (3, 3)])
@pytest.mark.parametrize("grid", ["seed", "native"])
def test_folds_give_the_dense_signal_back_and_the_box_holds_the_home_folds(size, rate, grid):
    signal = torch.randn(size, dtype=torch.float64)
    split = folds(signal, rate, grid=grid).numpy()
    dense, spectrum = explorer.dense_signal(split, size)
    assert np.allclose(dense, signal)
    bins = split.shape[2:]
    home = np.ones(spectrum.shape, dtype=bool)
    for axis, (r, m) in enumerate(zip(rate, bins, strict=True)):
        (fold,) = home_folds((m,), (r,))
        at_home = np.zeros(r * m, dtype=bool)
        at_home[fold.numpy() * m + np.arange(m)] = True
        home &= at_home if axis else at_home[:, None]
    ys, xs = np.nonzero(np.fft.fftshift(home))
    height, width = spectrum.shape
    box = explorer.nyquist_box(rate, bins)
    assert box["x"] * width == pytest.approx(xs.min())
    assert box["y"] * height == pytest.approx(ys.min())
    assert (box["x"] + box["width"]) * width == pytest.approx(xs.max() + 1)
    assert (box["y"] + box["height"]) * height == pytest.approx(ys.max() + 1)


def test_a_category_map_is_drawn_bin_by_bin_with_low_frequencies_centred():
    category = np.random.default_rng(0).integers(0, 4, (9, 12)).astype(np.uint8)
    colours = ["#000000", "#0000ff", "#ffff00", "#ff0000"]
    drawn = decoded(pictures.category_picture(category, colours))
    assert drawn.mode == "P"
    assert (np.asarray(drawn) == np.fft.fftshift(category)).all()
    red, green, blue = drawn.convert("RGB").getpixel((6, 4))
    assert f"#{red:02x}{green:02x}{blue:02x}" == colours[category[0, 0]]


def test_large_pictures_are_made_smaller():
    category = np.full((600, 300), 3, dtype=np.uint8)
    category[:10] = 1
    drawn = decoded(pictures.category_picture(category, ["#000000"] * 4))
    assert drawn.size == (100, 200) and set(np.unique(np.asarray(drawn))) == {1, 3}
    assert decoded(pictures.signal_picture(np.random.rand(300, 200))).size == (67, 100)


def test_a_tone_is_the_brightest_pixel_of_its_spectrum():
    tone = np.zeros((16, 16), dtype=complex)
    tone[3, 13] = 5
    drawn = np.asarray(decoded(pictures.spectrum_picture(tone)))
    assert np.argwhere(drawn == drawn.max()).tolist() == [[11, 5]]
    assert not np.asarray(decoded(pictures.spectrum_picture(np.zeros((4, 4))))).any()


# -- the explorer --------------------------------------------------------------------------------


def test_the_explorer_shows_each_sample_site_and_channel(runs):
    measurement = al.load(runs["folds"])
    block = shown(measurement)
    assert len(block["samples"]) == 12 and [s["name"] for s in block["sites"]] == ["0", "2"]
    for s, described in enumerate(block["sites"]):
        assert len(block["pictures"][s]) == 12
        for i in range(12):
            for k, chosen in enumerate(described["channels"]):
                picture = block["pictures"][s][i][k]
                category = measurement.category_map(described["name"], i)[chosen["channel"]]
                shares = [(category == c).mean() for c in range(4)]
                assert picture["fractions"] == pytest.approx(shares)
                assert (np.asarray(decoded(picture["map"])) == np.fft.fftshift(category)).all()
                assert decoded(picture["dense"]).size == tuple(described["dense_shape"][:0:-1])
    assert "all 12 images" in block["notes"][0]


def test_channels_are_spread_over_the_range_of_tangled_fractions():
    tangled = pd.Series(np.linspace(0, 1, 101))
    assert [channel for channel, _ in explorer.chosen_channels(tangled)] == [50, 100, 0, 75, 25, 90]
    assert [channel for channel, _ in explorer.chosen_channels(tangled[:1])] == [0]


def test_every_channel_can_be_reached(runs):
    measurement = al.load(runs["folds"])
    for block in (shown(measurement), shown(measurement, channels=99)):
        for site_ in block["sites"]:
            numbers_ = sorted(each["channel"] for each in site_["channels"])
            assert numbers_ == list(range(site_["of"])) and "every channel" in block["notes"][0]
    fewer = shown(measurement, channels=2)
    assert [len(each["channels"]) for each in fewer["sites"]] == [2, 2]
    assert any("--channels all" in note for note in fewer["notes"])
    whole = len(page.embedded(shown(measurement)))
    few = shown(measurement, channels=99, budget=int(0.4 * whole))
    assert len(few["samples"]) < 12 and len(few["sites"][0]["channels"]) == few["sites"][0]["of"]


def test_the_images_are_those_that_the_network_saw(runs):
    measurement = al.load(runs["attacked"])
    moved = np.abs(measurement.at("eps=0.3").pixels(0) - measurement.pixels(0)).max()
    assert 0.1 < moved <= 0.3 + 1e-6
    first, *_ = shown(measurement, max_samples=3)["samples"]
    assert first["image"]["caption"] == "as the network saw it at ε = 0"
    assert decoded(first["image"]["url"]).size == (24, 24)
    clean = shown(al.load(runs["folds"]))["samples"]
    assert [sample["image"]["caption"] for sample in clean] == ["as the network saw it"] * 12


def test_of_images_that_were_not_kept_the_page_says_so():
    measurement = al.measure(nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="folds")
    block = shown(measurement)
    assert [sample["image"] for sample in block["samples"]] == [None, None]
    assert "did not keep the pixels of any image" in block["notes"][-1]


def test_a_run_with_maps_only_says_so(runs):
    block = shown(al.load(runs["attacked"]), max_samples=2)
    picture = block["pictures"][0][0][0]
    assert "dense" not in picture and "map" in picture
    assert any("no folds" in note for note in block["notes"])
    assert any("ε = 0" in note for note in block["notes"])
    assert "first 2 of 12 images" in block["notes"][0]


def test_a_small_budget_leaves_channels_out_then_samples_and_says_so(runs):
    measurement = al.load(runs["folds"])
    whole = len(page.embedded(shown(measurement)))
    for part in (0.6, 0.15):
        block = shown(measurement, budget=int(part * whole))
        assert len(page.embedded(block)) < part * whole * 1.5
        assert any("below 15 MB" in note for note in block["notes"])
    assert len(block["samples"]) < 12 and len(block["sites"][0]["channels"]) == 1
    assert all(len(site_) == len(block["samples"]) for site_ in block["pictures"])


def test_sites_along_one_axis_are_left_out_of_the_explorer(tmp_path):
    model = nn.Sequential(nn.Conv1d(3, 4, 3, stride=2), nn.AvgPool1d(2))
    measurement = al.measure(model, [torch.rand(2, 3, 32)], detail="folds")
    assert shown(measurement) == {
        "notes": ["No site of this run has two spatial axes, which the explorer draws."]
    }
    write_page(measurement, tmp_path / "page.html")


# -- the file ------------------------------------------------------------------------------------


def test_the_page_names_no_address_and_has_a_policy_that_forbids_all(runs, tmp_path):
    text = write_page(al.load(runs["folds"]), tmp_path / "page.html").read_text()
    rest = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", re.sub(r"base64,[\w+/=]+", "", rest))
    assert "default-src &#x27;none&#x27;; img-src data:;" in text
    assert "unsafe" not in text and "innerHTML" not in text


def test_what_the_run_says_cannot_end_the_script_it_is_in(tmp_path):
    hostile_run(Store(tmp_path / "run"))
    path = write_page(al.load(tmp_path / "run"), tmp_path / "page.html")
    text = path.read_text()
    assert text.count("</script>") == 3 and "<img" not in text.lower()
    data, pictures_ = data_of(path)
    assert data["sites"][0]["name"].startswith("</script><script>")
    assert data["title"].startswith("Aliasing in <img src=x onerror=")
    assert pictures_["samples"][0]["name"].startswith("<b>")


def test_a_page_that_cannot_be_written_leaves_the_old_one_whole(runs, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "replace", full)
    with pytest.raises(al.AliascopeError, match=r"No space left.*-o"):
        write_page(al.load(runs["attacked"]), target)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accounting": "other"}, "accounting is 'other'"),
        ({"colours": "pink"}, "palette is 'pink'"),
        ({"max_samples": 0}, "max_samples is 0"),
    ],
)
def test_options_out_of_range_are_named(runs, tmp_path, options, message):
    with pytest.raises(al.AliascopeError, match=message):
        write_page(al.load(runs["folds"]), tmp_path / "page.html", **options)


def test_the_command_needs_no_torch(runs, tmp_path):
    code = (
        "import sys; from aliascope.commands.main import main\n"
        f"try: main(['report', {str(runs['folds'])!r}, '-o', 'page.html', '--max-samples', '2'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("page.html (0.")
    assert "first 2 of 12" in data_of(tmp_path / "page.html")[1]["notes"][0]


def test_a_run_that_is_not_there_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "none")])
    assert end.value.code == 2
    assert "holds no run" in capsys.readouterr().err
