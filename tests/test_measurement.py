from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import aliascope as al
from aliascope.categories import COLUMNS
from aliascope.commands.main import main
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.store import Store
from tests_shared import GOLDEN, GOLDEN_NAMES


def site(path, number=1, **changes):
    described = {
        "path": path,
        "number": number,
        "op": "conv",
        "rate": [2, 2],
        "dense_shape": [3, 8, 8],
        "grid": "seed",
        "supported": True,
        "reason": "",
        "recomposition_error": 0.0,
    }
    return {**described, **changes}


def store_of(counts, sites, first_sample=0, store=None, number=0):
    """Make a store of one more part; counts: (samples, sites, 4)."""
    store = store or Store.temporary()
    if not store.has_run():
        store.write_run({"detail": "site"})
    counts = np.asarray(counts)
    n, s, _ = counts.shape
    samples = np.arange(first_sample, first_sample + n)
    table = pd.DataFrame(counts.reshape(-1, 4), columns=COLUMNS)
    table.insert(0, "site", np.tile(np.arange(s), n))
    table.insert(0, "sample", np.repeat(samples, s))
    store.begin(number).commit(pd.DataFrame({"sample": samples}), table, sites)
    return store


@pytest.fixture
def by_hand():
    counts = [
        [[2, 1, 1, 4], [8, 0, 0, 0]],
        [[0, 4, 2, 2], [0, 0, 0, 8]],
        [[6, 1, 0, 1], [4, 4, 0, 0]],
    ]
    return al.Measurement(store_of(counts, [site("a"), site("b.c")])), np.array(counts) / 8


def test_a_sites_fractions_are_the_mean_over_samples(by_hand):
    measurement, fractions = by_hand
    table = measurement.fractions(by="site")
    assert list(table.index) == ["a", "b.c"]
    assert np.allclose(table[COLUMNS], fractions.mean(axis=0))


def test_the_models_fractions_are_the_unweighted_mean_over_sites(by_hand):
    measurement, fractions = by_hand
    assert np.allclose(measurement.fractions(by="overall")[COLUMNS], fractions.mean(axis=(0, 1)))
    assert np.allclose(measurement.fractions(by="sample"), fractions.mean(axis=1))


def test_intervals_are_students_over_samples(by_hand):
    measurement, fractions = by_hand
    row = measurement.fractions(by="overall").iloc[0]
    tangled = fractions.mean(axis=1)[:, 3]
    low, high = stats.t.interval(0.95, 2, tangled.mean(), stats.sem(tangled))
    assert row["tangled_low"] == pytest.approx(max(low, 0))
    assert row["tangled_high"] == pytest.approx(min(high, 1))


def test_one_sample_has_no_interval():
    row = al.Measurement(store_of([[[1, 1, 1, 1]]], [site("a")])).fractions().iloc[0]
    assert np.isnan(row["tangled_low"]) and np.isnan(row["tangled_high"])


@pytest.mark.parametrize("by", ["site", "sample", "overall"])
@pytest.mark.parametrize("accounting", ["exact", "published"])
def test_fractions_sum_to_one(by_hand, by, accounting):
    table = by_hand[0].fractions(by=by, accounting=accounting)
    assert np.allclose(table[COLUMNS].sum(axis=1), 1)


def test_published_accounting_counts_aliased_bins_twice_and_renormalises_each_sample(by_hand):
    measurement, fractions = by_hand
    twice = fractions.copy()
    twice[..., 0] += twice[..., 2]
    expected = (twice / twice.sum(axis=-1, keepdims=True)).mean(axis=0)
    assert np.allclose(measurement.fractions(accounting="published")[COLUMNS], expected)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_on_the_golden_cases_both_accountings_are_what_the_formulas_give(name):
    category = GOLDEN[f"{name}/category"]
    counts = np.stack([(category == c).sum(axis=(1, 2, 3)) for c in range(4)], axis=1)
    measurement = al.Measurement(store_of(counts[:, None], [site("a")]))
    exact = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    n0, n1, n2, n3 = counts.T
    total = n0 + n1 + 2 * n2 + n3
    published = np.stack([(n0 + n2) / total, n1 / total, n2 / total, n3 / total]).mean(axis=1)
    assert np.allclose(measurement.fractions()[COLUMNS], exact)
    assert np.allclose(measurement.fractions(accounting="published")[COLUMNS], published)


def test_parts_are_joined_by_module_and_not_by_position():
    store = store_of([[[8, 0, 0, 0], [0, 8, 0, 0]]], [site("a"), site("b")])
    store_of([[[0, 8, 0, 0], [8, 0, 0, 0]]], [site("b"), site("a")], 1, store, 1)
    table = al.Measurement(store).fractions()
    assert table.loc["a", "no_pass"] == 1 and table.loc["b", "non_aliased"] == 1


def test_a_module_with_several_sites_numbers_them():
    store = store_of([[[8, 0, 0, 0]] * 3], [site("a"), site("b", 1), site("b", 2)])
    assert list(al.Measurement(store).sites["name"]) == ["a", "b#1", "b#2"]


def test_what_was_not_measured_is_listed_last_with_its_reason():
    lost = site("z", op="grid_sample", rate=[], supported=False, reason="positions depend on data")
    measurement = al.Measurement(store_of([[[8, 0, 0, 0]]], [site("a"), lost]))
    assert list(measurement.sites["reason"]) == ["", "positions depend on data"]
    assert list(measurement.fractions().index) == ["a"]


def test_counts_are_exact_integers(by_hand):
    measurement, _ = by_hand
    assert (measurement.counts.dtypes == "int64").all()
    assert (measurement.counts[COLUMNS].sum(axis=1) == 8).all()
    assert measurement.total_bins().to_dict() == {"a": 24, "b.c": 24}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"by": "layer"}, "by is 'layer'"), ({"accounting": "fair"}, "accounting is 'fair'")],
)
def test_unknown_choices_are_named(by_hand, arguments, words):
    with pytest.raises(al.AliascopeError, match=words):
        by_hand[0].fractions(**arguments)


def test_accuracy_has_wilsons_interval():
    store = Store.temporary()
    store.write_run({})
    samples = pd.DataFrame({"sample": range(20), "top1": [True] * 18 + [False] * 2})
    counts = pd.DataFrame({"sample": [], "site": [], **{c: [] for c in COLUMNS}}, dtype="int64")
    store.begin(0).commit(samples, counts, [])
    row = al.Measurement(store).accuracy().loc["top1"]
    z = stats.norm.ppf(0.975)
    centre, n, p = (0.9 + z**2 / 40) / (1 + z**2 / 20), 20, 0.9
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (row["correct"], row["n"]) == (18, 20)
    assert (row["low"], row["high"]) == pytest.approx((centre - half, centre + half))


def test_without_labels_there_is_no_accuracy(by_hand):
    assert by_hand[0].accuracy().empty


# -- saving and loading --------------------------------------------------------------------------


@pytest.mark.parametrize("detail", ["site", "channel", "pixel", "folds"])
def test_a_saved_measurement_is_loaded_as_it_was(tmp_path, detail):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2))
    measured = al.measure(model, [torch.rand(2, 3, 19, 21) for _ in range(2)], detail=detail)
    measured.save(tmp_path / "run")
    loaded = al.load(tmp_path / "run")
    assert loaded.sites.equals(measured.sites)
    assert loaded.counts.equals(measured.counts)
    assert loaded.samples.equals(measured.samples)
    assert loaded.fractions().equals(measured.fractions())
    if detail == "channel":
        assert loaded.fractions("channel").equals(measured.fractions("channel"))
    if detail in ("pixel", "folds"):
        assert (loaded.category_map("0", 3) == measured.category_map("0", 3)).all()
    if detail == "folds":
        assert (loaded.folds("2", 1) == measured.folds("2", 1)).all()


def test_saving_never_writes_into_a_folder_that_holds_something(tmp_path, by_hand):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(al.AliascopeError, match="not an empty folder"):
        by_hand[0].save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(al.AliascopeError, match="holds no run"):
        al.load(tmp_path)


def test_a_damaged_run_json_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(al.AliascopeError, match="cannot be read as JSON"):
        al.load(tmp_path)


@pytest.mark.parametrize(
    ("version", "remedy"), [(99, "install the version that wrote it"), (2, "measure .* again")]
)
def test_a_run_of_another_format_is_refused_with_what_to_do(tmp_path, version, remedy):
    (tmp_path / "run.json").write_text(json.dumps({"format": version}))
    with pytest.raises(al.AliascopeError, match=f"run format {version}.*{remedy}"):
        al.load(tmp_path)


def test_details_that_were_not_kept_are_named():
    measured = al.measure(nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)])
    with pytest.raises(al.AliascopeError, match="detail='channel'"):
        measured.fractions("channel")
    with pytest.raises(al.AliascopeError, match="detail='pixel'"):
        measured.category_map("(root)", 0)
    with pytest.raises(al.AliascopeError, match="no site 'conv9'"):
        measured.category_map("conv9", 0)
    with pytest.raises(al.AliascopeError, match="no sample 7"):
        measured.category_map("(root)", 7)


# -- conditions ----------------------------------------------------------------------------------


PGD = [Condition.of("pgd", eps=eps) for eps in (0.1, 0.001)]


def under(*conditions, **run):
    """Measure a part under each of the conditions, in this order."""
    store = Store.temporary()
    store.write_run(run)
    for number, condition in enumerate(conditions):
        table = pd.DataFrame({"sample": [0], "site": [0], **dict.fromkeys(COLUMNS, number + 1)})
        samples = pd.DataFrame({"sample": [0]})
        store.begin(number).commit(samples, table, [site("a")], condition=condition)
    return al.Measurement(store)


def test_the_clean_condition_goes_first_unless_the_run_has_an_order_of_its_own():
    assert under(*PGD, CLEAN).conditions == [CLEAN, *PGD]
    known = [condition.described() for condition in reversed(PGD)]
    assert under(*PGD, conditions=known).conditions == PGD[::-1]
    assert under(*PGD, CLEAN, conditions=known).condition == CLEAN
    assert under(*PGD).condition == PGD[0]


def test_a_condition_is_found_by_itself_its_name_or_the_end_of_its_name():
    measurement = under(CLEAN, *PGD)
    for wanted in (PGD[1], "pgd eps=0.001", "eps=0.001"):
        assert measurement.at(wanted).counts["tangled"].tolist() == [3]


@pytest.mark.parametrize("wanted", ["eps=0.2", "0.001", "eps=0.1", "", Condition("low")])
def test_a_condition_that_is_not_there_or_not_the_only_one_is_refused(wanted):
    measurement = under(CLEAN, *PGD, Condition.of("fgsm", eps=0.1))
    with pytest.raises(al.AliascopeError, match=r"the run's conditions are 'clean', 'pgd eps=0.1'"):
        measurement.at(wanted)


def test_a_condition_is_read_back_as_it_was():
    shift = Condition.of("shift", by=(3, -2), worst=1 / 3, edge="mirror")
    assert shift.name == "shift by=3,-2 worst=0.3333333333333333 edge=mirror"
    assert Condition.read(json.loads(json.dumps(shift.described()))) == shift


def test_values_other_than_counts_are_kept_beside_them_or_alone():
    table = pd.DataFrame({"sample": [0, 1], "site": [0, 0], "energy": [0.25, np.nan]})
    store = Store.temporary()
    store.write_run({})
    store.begin(0).commit(pd.DataFrame({"sample": [0, 1]}), table, [site("a")])
    measurement = al.Measurement(store)
    pd.testing.assert_frame_equal(measurement.values, table)
    assert measurement.samples_at("a") == [0, 1]
    with pytest.raises(al.AliascopeError, match=r"Categories were not measured .*energy"):
        measurement.fractions()


# -- the store -----------------------------------------------------------------------------------


def test_a_store_loads_what_reads_tables_only_when_a_part_is_begun_or_read():
    code = (
        "import sys, aliascope.runs.conditions, aliascope.runs.store as s\n"
        "s.Store.temporary().write_run({})\n"
        "heavy = {'torch', 'pandas', 'zarr', 'pyarrow', 'scipy', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_a_part_appears_only_when_committed():
    store = Store.temporary()
    store.write_run({})
    writer = store.begin(0)
    writer.write("category", 0, np.zeros((2, 3, 4, 4), np.uint8))
    assert store.part_numbers() == []
    writer.discard()
    assert store.part_numbers() == [] and not any((store.folder / "parts").iterdir())


def test_a_part_written_again_replaces_the_first():
    store = store_of([[[8, 0, 0, 0]]], [site("a")])
    store_of([[[0, 8, 0, 0]]], [site("a")], store=store)
    assert store.part_numbers() == [0]
    assert al.Measurement(store).fractions().loc["a", "non_aliased"] == 1


def killed_at(owner, name, call, monkeypatch, before=lambda *_: None):
    """Have a function end the process, as it were, the so-many-th time it is called."""
    function, calls = getattr(owner, name), []

    def ending(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            before(*arguments)
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, ending)


def test_of_a_replaced_part_the_old_or_the_new_is_whole_when_removing_it_is_cut_short(monkeypatch):
    store = store_of([[[8, 0, 0, 0]]], [site("a")])

    def remove_one_file(folder, **_):
        next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()

    killed_at(shutil, "rmtree", 1, monkeypatch, remove_one_file)
    with pytest.raises(KeyboardInterrupt):
        store_of([[[0, 8, 0, 0]]], [site("a")], store=store)
    assert store.part_numbers() == [0] and not store.damaged_parts()


@pytest.mark.parametrize("call", [1, 2])
def test_a_part_that_was_being_replaced_is_whole_or_not_there(monkeypatch, call):
    store = store_of([[[8, 0, 0, 0]]], [site("a")])
    killed_at(Path, "rename", call, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        store_of([[[0, 8, 0, 0]]], [site("a")], store=store)
    assert store.part_numbers() == ([0] if call == 1 else []) and not store.damaged_parts()


def test_what_a_killed_process_left_of_a_part_is_not_read():
    store = store_of([[[8, 0, 0, 0]]], [site("a")])
    (store.folder / "parts" / "000001.4242.tmp").mkdir()
    assert store.part_numbers() == [0]


def test_memory_of_a_measurement_does_not_hold_channels(tmp_path):
    model = nn.Conv2d(3, 64, 3, 2)
    measured = al.measure(model, [torch.rand(4, 3, 16, 16) for _ in range(3)], detail="channel")
    table = measured.fractions("channel")
    assert table.shape == (64, 4)
    assert np.allclose(table.mean(), measured.fractions().iloc[0][COLUMNS].astype(float))


def test_a_site_that_ran_for_some_samples_weighs_as_much_as_any_other():
    store = store_of([[[8, 0, 0, 0], [8, 0, 0, 0]]] * 3, [site("a"), site("b")])
    store_of([[[0, 0, 0, 8]]], [site("a")], 3, store, 1)
    measurement = al.Measurement(store)
    by_site, overall = measurement.fractions(), measurement.fractions("overall").iloc[0]
    assert by_site["no_pass"].tolist() == [0.75, 1.0]
    assert overall["no_pass"] == pytest.approx(0.875)
    assert overall["no_pass_low"] < 0.875 < overall["no_pass_high"]


# -- damage --------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    store = store_of([[[2, 1, 1, 4]]], [site("a")])
    store_of([[[1, 1, 1, 5]]], [site("a")], 1, store, 1)
    al.Measurement(store).save(tmp_path / "run")
    return tmp_path / "run"


def changed(name, change):
    """Rewrite a table of part 1, with its checksum."""

    def damage(run):
        path = run / "parts" / "000001" / f"{name}.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False)
        signed()(run)

    return damage


def signed(**content):
    """Write part.json of part 1, with the checksums of what is there: an attacker can."""

    def damage(run):
        folder = run / "parts" / "000001"
        before = json.loads((folder / "part.json").read_text())
        del before["sha256"]
        now = {**before, **content}
        for name in set(now["files"]) if "files" not in content else ():
            data = (folder / name).read_bytes()
            now["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
        digest = hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()
        (folder / "part.json").write_text(json.dumps({**now, "sha256": digest}))

    return damage


def cut_short(run):
    path = run / "parts/000001/values.parquet"
    path.write_bytes(path.read_bytes()[:-7])


def bit_flipped(run):
    path = run / "parts/000001/samples.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def written(text, name="parts/000001/part.json"):
    return lambda run: (run / name).write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "parts/000001/values.parquet").unlink(),
        lambda run: (run / "parts/000001/part.json").unlink(),
        written("PAR1 no more", "parts/000001/samples.parquet"),
        written('{"sites": ['),
        written("[1]"),
        written('{"sites": [], "unreadable": []}'),
        cut_short,
        bit_flipped,
        signed(sites=["a"]),
        signed(sites=[site("a", rate="x")]),
        signed(unreadable=[[1, 2]]),
        signed(sites=[]),
        signed(files={}),
        signed(files={"values.parquet": "x"}),
        changed("values", lambda table: table.drop(columns="tangled")),
        changed("values", lambda table: table.assign(tangled=-1)),
        changed("values", lambda table: table.assign(tangled=0.5)),
        changed("values", lambda table: table.assign(**dict.fromkeys(COLUMNS, 0))),
        changed("samples", lambda table: table.rename(columns={"sample": "number"})),
    ],
)
def test_a_damaged_part_is_named_with_what_to_do(saved, damage):
    damage(saved)
    with pytest.raises(al.AliascopeError, match=r"000001/.* missing or damaged.*--resume") as told:
        al.load(saved)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "damage",
    [
        changed("values", lambda table: table.assign(energy="much")),
        changed("values", lambda table: table.assign(energy=np.inf)),
        changed("values", lambda table: table.assign(energy=True)),
        changed("values", lambda table: table.drop(columns="site")),
        signed(sites=[{k: v for k, v in site("a").items() if k != "grid"}]),
        signed(sites=[site("a", supported="no")]),
        signed(condition="clean"),
        signed(condition={"name": "", "settings": {}}),
        signed(condition={"name": "pgd", "settings": {"eps": "small"}}),
    ],
)
def test_what_no_measure_can_have_written_is_refused(saved, damage):
    damage(saved)
    with pytest.raises(al.AliascopeError, match=r"000001/.* missing or damaged"):
        al.load(saved)


def test_a_part_that_a_finished_run_has_lost_is_named(saved):
    shutil.rmtree(saved / "parts" / "000000")
    with pytest.raises(al.AliascopeError, match=r"of 2 parts and has lost 1 \(000000\).*--resume"):
        al.load(saved)


def test_a_part_too_many_is_named(saved):
    (saved / "parts" / "000005").mkdir()
    with pytest.raises(al.AliascopeError, match=r"000005 is none of the 2 parts"):
        al.load(saved)


def test_parts_may_have_numbers_of_ones_own(tmp_path):
    store = store_of([[[2, 1, 1, 4]]], [site("a")], number=7)
    store_of([[[1, 1, 1, 5]]], [site("a")], 1, store, 3)
    al.Measurement(store).save(tmp_path / "run")
    assert len(al.load(tmp_path / "run").samples) == 2
    shutil.rmtree(tmp_path / "run" / "parts" / "000003")
    with pytest.raises(al.AliascopeError, match=r"lost 1 \(000003\)"):
        al.load(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    [
        {"options": {"threshold_db": "twenty"}},
        {"options": {"threshold_db": float("nan")}},
        {"options": {"eps": ["small"]}},
        {"options": {"attack": 3}},
        {"criterion": {"reference": 1}},
        {"criterion": [1]},
        {"model": "resnet"},
        {"model": {"name": ["resnet"]}},
        {"model": {"preprocessing": {"crop": "small"}}},
        {"data": {"name": 7}},
        {"status": 1},
        {"versions": "new"},
        {"parts": "two"},
        {"conditions": ["clean"]},
    ],
)
def test_a_description_with_a_wrong_kind_of_value_is_one_sentence(saved, content, capsys):
    run = json.loads((saved / "run.json").read_text())
    (saved / "run.json").write_text(json.dumps({**run, **content}))
    for command in (["show"], ["report"], ["plot", "pie"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, str(saved)])
        told = capsys.readouterr().err
        assert stop.value.code == 2 and told.count("\n") == 1 and "run.json has" in told


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1, "options": []}', "[" * 100_000])
def test_a_damaged_description_is_named(saved, text):
    (saved / "run.json").write_text(text)
    with pytest.raises(al.AliascopeError, match=r"run\.json"):
        al.load(saved)


@pytest.mark.parametrize("name", ["notes", "²", "1", "000001.77.tmp"])
def test_folders_that_are_no_parts_are_passed_over(saved, name):
    shutil.copytree(saved / "parts" / "000001", saved / "parts" / name)
    (saved / "parts" / "000007").write_text("a file")
    assert len(al.load(saved).samples) == 2


def test_what_is_half_written_is_not_saved(saved, tmp_path):
    (saved / "parts" / "000002.77.tmp").mkdir()
    al.load(saved).save(tmp_path / "copy")
    assert not (tmp_path / "copy" / "parts" / "000002.77.tmp").exists()


@pytest.mark.filterwarnings("error")
def test_a_run_with_no_sample_yet_has_no_fractions():
    store = Store.temporary()
    store.write_run({"status": "running"})
    measurement = al.Measurement(store)
    assert measurement.fractions("site").empty and measurement.fractions("sample").empty
    assert measurement.fractions("overall").isna().all(axis=None)
