"""Shards give the images of the folder they were made from; what is amiss is one sentence."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import pickle
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from torch.utils.data import DataLoader

import aliascope as al
from aliascope.data import Images, collate, tars
from aliascope.data import parquet as parquet_shards
from aliascope.errors import AliascopeError
from aliascope.evaluation.loop import Options, evaluate
from aliascope.tasks.images import first_size, open_data
from aliascope.tasks.models import Preprocessing, load_model
from test_data import png_of

SMALL = Preprocessing(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3)
AS_IS = Preprocessing(None, None, "bilinear", (0.5,) * 3, (0.5,) * 3)

Sample = tuple[str, bytes, int | None]
"""Key with the image's ending, encoded image, label."""


def encoded(seed: int = 0, size: tuple[int, int] = (10, 12), form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form)
    return content.getvalue()


def write_members(path: Path, members: Sequence[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))


def write_tar(path: Path, samples: Sequence[Sample]) -> None:
    members: list[tuple[str, bytes] | tarfile.TarInfo] = []
    for name, image, label in samples:
        if label is not None:
            members.append((f"{name.partition('.')[0]}.cls", str(label).encode()))
        members.append((name, image))
    write_members(path, members)


def write_parquet(path: Path, samples: Sequence[Sample], group: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": image, "path": name} for name, image, _ in samples]
    columns: dict[str, Any] = {
        "image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    }
    if any(label is not None for *_, label in samples):
        columns["label"] = pa.array([label for *_, label in samples], pa.int64())
    parquet.write_table(pa.table(columns), path, row_group_size=group)


WRITERS = {"tar": write_tar, "parquet": write_parquet}
BOTH = pytest.mark.parametrize("kind", sorted(WRITERS))


def some(count: int, start: int = 0) -> list[Sample]:
    return [(f"{i:03d}.png", encoded(i), i % 4) for i in range(start, start + count)]


def refusal(spec: Path | str, num_classes: int | None = None) -> str:
    """The one sentence with which shards are refused."""
    with pytest.raises(AliascopeError) as caught:
        open_data(str(spec), SMALL, num_classes=num_classes)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def same(one: Images, other: Images, order: Sequence[int]) -> bool:
    for index in order:
        a, b = one[index], other[index]
        if (a.index, a.label, a.error) != (b.index, b.label, b.error):
            return False
        if (a.image is None) != (b.image is None):
            return False
        if a.image is not None and b.image is not None and not torch.equal(a.image, b.image):
            return False
    return True


# -- the same images ---------------------------------------------------------------------------


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 12))
    labels = sorted(draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)))
    bad = draw(st.sets(st.integers(0, count - 1), max_size=2))
    cuts = sorted(draw(st.sets(st.integers(1, count), max_size=3)) | {count})
    order = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    return {
        "labels": labels if draw(st.booleans()) else [None] * count,
        "bad": bad,
        "cuts": cuts,
        "group": draw(st.integers(1, 5)),
        "order": order,
        "form": draw(st.sampled_from(["PNG", "JPEG", "WEBP"])),
    }


@settings(deadline=None, max_examples=40)
@given(sets())
def test_shards_give_the_items_of_the_folder_however_they_are_cut_and_asked(case):
    ending = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}[case["form"]]
    samples: list[Sample] = []
    for i, label in enumerate(case["labels"]):
        content = b"" if i in case["bad"] else encoded(i, form=case["form"])
        samples.append((f"{i:03d}.{ending}", content, label))
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        for name, content, label in samples:
            folder = here / "folder" / ("" if label is None else str(label))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        expected = open_data(str(here / "folder"), SMALL)
        begin = 0
        for number, end in enumerate(case["cuts"]):
            write_tar(here / "tar" / f"{number}.tar", samples[begin:end])
            write_parquet(here / "pq" / f"{number}.parquet", samples[begin:end], case["group"])
            begin = end
        for folder in ("tar", "pq"):
            found = open_data(str(here / folder), SMALL, num_classes=10)
            assert len(found) == len(samples) and found.labels == expected.labels
            assert len(set(found.names)) == len(samples)
            assert found.details["shards"] == len(case["cuts"])
            assert same(found, expected, case["order"])
            assert same(pickle.loads(pickle.dumps(found)), expected, case["order"])


@BOTH
def test_workers_read_the_same_batches_as_the_process_itself(tmp_path, kind):
    samples = [*some(10), ("010.png", b"no image", 1)]
    for number, begin in enumerate(range(0, 11, 4)):
        WRITERS[kind](tmp_path / f"{number}.{kind}", samples[begin : begin + 4])
    images = open_data(str(tmp_path), SMALL)
    images[3]  # A file is open, which a forked worker must not read on in.
    alone, together = (
        list(DataLoader(images, batch_size=3, collate_fn=collate, num_workers=workers))
        for workers in (0, 2)
    )
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.images, other.images) and one.names == other.names
        assert torch.equal(one.labels, other.labels) and one.bad == other.bad
    assert sum(len(batch.bad) for batch in alone) == 1
    assert images[3].image is not None


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@BOTH
def test_a_forked_process_opens_its_own_file_and_a_pickled_set_has_none(tmp_path, kind):
    WRITERS[kind](tmp_path / f"0.{kind}", some(4))
    images = open_data(str(tmp_path), SMALL)
    images[0]
    kept = images._kept
    assert kept[0][0] == os.getpid()
    assert pickle.loads(pickle.dumps(images))._kept is None

    def child(queue: Any) -> None:
        images[1]
        queue.put((images._kept[0][0], images._kept[1] is not kept[1]))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == (process.pid, True)
    process.join()
    assert images._kept is kept and images[2].image is not None


def test_an_index_is_small(tmp_path):
    image = encoded(size=(1, 1))
    write_tar(tmp_path / "x.tar", [(f"{i:08d}.png", image, i % 10) for i in range(2000)])
    images = open_data(str(tmp_path / "x.tar"), SMALL)
    assert len(pickle.dumps(images)) < 100 * len(images)


# -- which shards ------------------------------------------------------------------------------


@BOTH
def test_shards_are_named_by_folder_file_glob_or_brace_range(tmp_path, kind):
    for number in range(8, 12):
        WRITERS[kind](tmp_path / f"val-{number:03d}.{kind}", some(1, number))
    (tmp_path / "README.md").write_text("no shard")
    for spec, count in (
        (tmp_path, 4),
        (tmp_path / f"val-*.{kind}", 4),
        (tmp_path / f"val-{{008..010}}.{kind}", 3),
        (tmp_path / f"val-0{{11..08}}.{kind}", 4),
        (tmp_path / f"val-0*{{0..1}}.{kind}", 2),
        (tmp_path / f"val-009.{kind}", 1),
    ):
        images = open_data(str(spec), SMALL)
        assert images.name == str(spec) and len(images) == count
        assert [name.split("/")[0] for name in images.names] == sorted(
            name.split("/")[0] for name in images.names
        )
    assert images.names == ["val-009.tar/009.png" if kind == "tar" else "val-009.parquet/0"]


def test_shards_of_one_name_in_two_folders_are_told_apart(tmp_path):
    for folder in ("b", "a"):
        write_tar(tmp_path / folder / "0.tar", some(1))
    images = open_data(str(tmp_path / "*" / "0.tar"), SMALL)
    assert images.names == ["a/0.tar/000.png", "b/0.tar/000.png"]


def test_a_folder_of_images_stays_one_whatever_else_it_holds(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "x.png").write_bytes(encoded())
    write_tar(tmp_path / "0.tar", some(2))
    assert open_data(str(tmp_path), SMALL).names == ["3/x.png"]


def test_what_stands_for_no_shards_is_refused(tmp_path):
    assert "gone.tar does not exist" in refusal(tmp_path / "gone.tar")
    assert "No file is named" in refusal(tmp_path / "val-*.tar")
    write_tar(tmp_path / "0.tar", some(1))
    assert f"{tmp_path / '1.tar'}:" in refusal(tmp_path / "{0..1}.tar")
    assert "more than 100,000 files" in refusal(tmp_path / "{0..999999999999}.tar")
    assert "more than 100,000 files" in refusal(tmp_path / "{0..999}{0..999}.tar")
    (tmp_path / "a.txt").write_text("")
    assert "neither .tar nor .parquet" in refusal(tmp_path / "*")
    (tmp_path / "a.txt").unlink()
    write_parquet(tmp_path / "0.parquet", some(1))
    assert "0.tar as well as 0.parquet" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    write_tar(tmp_path / "empty" / "0.tar", [])
    assert "holds no images" in refusal(tmp_path / "empty")


@BOTH
def test_the_first_size_is_that_of_the_first_readable_image(tmp_path, kind):
    samples = [("a.png", b"", 0), ("b.png", encoded(size=(5, 7)), 1), ("c.png", encoded(), 2)]
    write = WRITERS[kind]
    write(tmp_path / f"0.{kind}", [])
    write(tmp_path / f"1.{kind}", samples)
    (tmp_path / f"2.{kind}").write_bytes(b"not looked at")
    assert first_size(str(tmp_path), AS_IS) == (5, 7)
    assert first_size(str(tmp_path / f"[01].{kind}"), AS_IS) == (5, 7)
    assert first_size(str(tmp_path / f"0.{kind}"), AS_IS) is None


# -- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "label"),
    [
        ([("a.cls", b"7\n")], 7),
        ([("a.cls", b" 007")], 7),
        ([("a.json", b'{"label": 7, "text": "x"}')], 7),
        ([("a.json", b'{"cls": 7}')], 7),
        ([("a.cls", b"7"), ("a.json", b'{"label": 3}')], 7),
        ([("a.json", b'{"label": null}')], None),
        ([("a.json", b"[1, 2]")], None),
        ([("a.txt", b"a caption")], None),
        ([("a.seg.png", b"a mask"), ("a.cls", b"7")], 7),
        ([("b.cls", b"7")], None),
    ],
)
@pytest.mark.parametrize("image_first", [False, True])
def test_a_label_is_what_the_sample_says(tmp_path, members, label, image_first):
    image = ("a.JPG", encoded())
    write_members(tmp_path / "x.tar", [image, *members] if image_first else [*members, image])
    images = open_data(str(tmp_path), SMALL)
    assert images.names == ["x.tar/a.JPG"]
    assert images.labels == (None if label is None else [label])
    assert images[0].label == (-1 if label is None else label)


@pytest.mark.parametrize(
    "member",
    [
        ("a.cls", b"dog"),
        ("a.cls", b""),
        ("a.cls", b"1.5"),
        ("a.cls", "７".encode()),
        ("a.cls", b"9" * 5000),
        ("a.json", b"{"),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"label": "dog"}'),
        ("a.json", b'{"label": true}'),
        ("a.json", b'{"label": 99999999999999999999}'),
        ("a.json", b'{"label": "' + b"x" * 2**24 + b'"}'),
    ],
    ids=lambda member: f"{member[0]}-{member[1][:12].decode()}",
)
def test_a_label_that_is_no_class_index_is_refused(tmp_path, member):
    write_members(tmp_path / "x.tar", [("a.png", encoded()), member])
    assert "holds no label that can be read" in refusal(tmp_path)


@BOTH
def test_labels_that_the_model_cannot_mean_are_refused(tmp_path, kind):
    WRITERS[kind](tmp_path / f"x.{kind}", some(4))
    assert open_data(str(tmp_path), SMALL, num_classes=4).labels == [0, 1, 2, 3]
    assert "has the label 3, but the model has 3 classes" in refusal(tmp_path, 3)
    WRITERS[kind](tmp_path / f"x.{kind}", [("a.png", encoded(), -2)])
    assert "has the label -2" in refusal(tmp_path)


@BOTH
@pytest.mark.parametrize("unknown", [None, -1])
def test_labelled_and_unlabelled_images_do_not_mix(tmp_path, kind, unknown):
    unlabelled: list[Sample] = [("u.png", encoded(), unknown)]
    WRITERS[kind](tmp_path / f"0.{kind}", some(2))
    WRITERS[kind](tmp_path / f"1.{kind}", unlabelled)
    assert f"(1.{kind}/" in refusal(tmp_path) and "mixes" in refusal(tmp_path)
    assert open_data(str(tmp_path / f"1.{kind}"), SMALL).labels is None
    WRITERS[kind](tmp_path / f"0.{kind}", [*some(2), *unlabelled])
    assert "mixes" in refusal(tmp_path / f"0.{kind}")


# -- what is amiss -----------------------------------------------------------------------------


@BOTH
def test_images_that_cannot_be_decoded_give_a_reason_and_never_raise(tmp_path, kind):
    whole = encoded(form="JPEG", size=(64, 64))
    contents = [
        whole,
        whole[: len(whole) // 2],
        b"",
        b"text",
        png_of(60000, 60000),
        png_of(9500, 9500),
    ]
    WRITERS[kind](tmp_path / f"x.{kind}", [(f"{i}.jpg", c, 0) for i, c in enumerate(contents)])
    images = open_data(str(tmp_path), SMALL)
    items = [images[index] for index in range(len(contents))]
    assert items[0].image is not None and items[0].error == ""
    assert all(item.image is None and item.error for item in items[1:])
    assert items[2].error == "The file is empty"
    assert items[3].error == "UnidentifiedImageError: cannot identify image"
    assert "DecompressionBombError" in items[4].error
    assert "DecompressionBombWarning" in items[5].error


@BOTH
def test_a_shard_that_goes_or_shrinks_later_gives_reasons(tmp_path, kind):
    file = tmp_path / f"x.{kind}"
    WRITERS[kind](file, some(4))
    images = open_data(str(file), SMALL)
    content = file.read_bytes()
    file.write_bytes(content[:100])
    assert images[0].image is None and images[0].error
    images = pickle.loads(pickle.dumps(images))
    file.unlink()
    assert "FileNotFoundError" in images[3].error


def cut_places(length: int) -> Iterator[int]:
    yield from (0, 1, 100, 511, 512, 700, length // 2, length // 2 + 512)


def test_a_tar_that_is_cut_off_anywhere_is_refused(tmp_path):
    write_tar(tmp_path / "whole" / "x.tar", some(6))
    content = (tmp_path / "whole" / "x.tar").read_bytes()
    content = content[: len(content.rstrip(b"\0")) // 512 * 512 + 512]  # no zeros at the end
    for place in (*cut_places(len(content)), len(content)):
        (tmp_path / "x.tar").write_bytes(content[:place])
        sentence = refusal(tmp_path / "x.tar")
        assert str(tmp_path / "x.tar") in sentence and "download it again" in sentence


def test_a_parquet_file_that_is_cut_off_or_is_none_is_refused(tmp_path):
    write_parquet(tmp_path / "whole" / "x.parquet", some(6))
    content = (tmp_path / "whole" / "x.parquet").read_bytes()
    middle = bytearray(content)
    middle[-200:-100] = bytes(100)
    for damaged in (*(content[:place] for place in cut_places(len(content))), bytes(middle)):
        (tmp_path / "x.parquet").write_bytes(damaged)
        assert "is not a Parquet file, or it is damaged" in refusal(tmp_path / "x.parquet")


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz"])
def test_a_compressed_tar_is_refused_with_how_to_unpack_it(tmp_path, ending):
    write_tar(tmp_path / "plain" / "x.tar", some(2))
    packed = gzip.compress((tmp_path / "plain" / "x.tar").read_bytes())
    (tmp_path / f"x.{ending}").write_bytes(packed)
    for spec in (tmp_path / f"x.{ending}", tmp_path / "*.t*"):
        assert "is compressed" in refusal(spec) and "gunzip" in refusal(spec)


def test_links_and_devices_do_not_count_and_names_lead_nowhere(tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded())
    odd = []
    for name, kind in (
        ("soft.png", tarfile.SYMTYPE),
        ("hard.png", tarfile.LNKTYPE),
        ("device.png", tarfile.CHRTYPE),
        ("fifo.png", tarfile.FIFOTYPE),
        ("folder.png", tarfile.DIRTYPE),
        ("label.cls", tarfile.SYMTYPE),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, str(tmp_path / "secret.png")
        odd.append(info)
    out = ("../../out.png", encoded(1))
    absolute = (str(tmp_path / "absolute.png"), encoded(2))
    hidden = ("._a.png", b"resource fork")
    write_members(tmp_path / "in" / "x.tar", [*odd, hidden, out, absolute, ("./a.png", encoded(3))])
    before = sorted(tmp_path.rglob("*"))
    with pytest.warns(UserWarning, match=r"left out: 5 \(first: soft.png\)"):
        images = open_data(str(tmp_path / "in"), SMALL)
    assert images.names == [f"x.tar/{out[0]}", f"x.tar/{absolute[0]}", "x.tar/a.png"]
    assert all(images[index].image is not None for index in range(3))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_name_does_not_tell_apart_is_refused(tmp_path):
    write_members(tmp_path / "x.tar", [("a.png", encoded()), ("a.jpg", encoded())])
    assert "two images (a.png and a.jpg)" in refusal(tmp_path)
    write_members(tmp_path / "x.tar", [("a.png", b""), ("b.png", b""), ("a.png", b"")])
    assert "two images named x.tar/a.png" in refusal(tmp_path)


def test_names_need_not_be_unicode(tmp_path):
    write_members(tmp_path / "x.tar", [("\udcff.png", encoded())])
    images = open_data(str(tmp_path), SMALL)
    assert images.names == ["x.tar/\\udcff.png"] and images[0].image is not None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
@BOTH
def test_a_shard_that_may_not_be_read_is_refused(tmp_path, kind):
    WRITERS[kind](tmp_path / f"x.{kind}", some(1))
    (tmp_path / f"x.{kind}").chmod(0)
    assert "permissions" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_no_file_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    assert "is not a file" in refusal(tmp_path)


# -- Parquet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("name", ["image", "jpg"])
def test_images_may_be_plain_binary_columns(tmp_path, kind, name):
    table = pa.table(
        {"id": [1], name: pa.array([encoded()], kind), "label": pa.array([3], pa.uint8())}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    images = open_data(str(tmp_path), SMALL)
    assert images[0].image is not None and images.labels == [3]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"picture": [b"x"], "label": [1]}, "columns 'picture, label'"),
        ({"image": ["a.png"]}, "none of encoded images"),
        ({"image": [{"path": "a.png"}]}, "none of encoded images"),
        ({"image": [b"x"], "label": ["dog"]}, "label of .* is of type string"),
        ({"image": [b"x"], "label": [[1]]}, "label of .* is of type list"),
    ],
)
def test_columns_that_are_missing_or_of_another_type_are_named(tmp_path, columns, words):
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(AliascopeError, match=words):
        open_data(str(tmp_path), SMALL)
    assert refusal(tmp_path)


def test_a_row_without_an_image_gives_a_reason(tmp_path):
    table = pa.table({"image": [{"bytes": None, "path": "a.png"}, None, {"bytes": encoded()}]})
    parquet.write_table(table, tmp_path / "x.parquet")
    images = open_data(str(tmp_path), SMALL)
    assert [images[i].error for i in range(3)] == ["The row holds no image"] * 2 + [""]


def test_a_row_group_too_large_to_read_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_parquet(tmp_path / "x.parquet", some(4), group=3)
    monkeypatch.setattr(parquet_shards, "_row_group", None)
    monkeypatch.setattr(parquet_shards, "LARGEST_READ", 500)
    assert "Row group 0" in refusal(tmp_path) and "smaller row groups" in refusal(tmp_path)
    monkeypatch.setattr(parquet_shards, "LARGEST_READ", 2**31)
    monkeypatch.setattr(parquet_shards, "MOST_IMAGES", 3)
    assert "has 4 rows, but at most 3" in refusal(tmp_path)


def test_a_row_group_that_takes_more_than_it_says_is_left_off(tmp_path, monkeypatch):
    # One image, repeated: Parquet stores it once, so that a small file can stand for any size.
    table = pa.table({"image": pa.array([b"x" * 100_000] * 1000, pa.binary())})
    parquet.write_table(table, tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 20_000
    monkeypatch.setattr(parquet_shards, "LARGEST_READ", 1_000_000)
    images = open_data(str(tmp_path), SMALL)
    assert images[0].error.startswith("Row group 0") and "more than it says" in images[0].error


def test_the_last_row_group_is_kept_and_no_other(tmp_path, monkeypatch):
    write_parquet(tmp_path / "x.parquet", some(6), group=3)
    images = open_data(str(tmp_path), SMALL)
    read = []
    original = parquet_shards._row_group
    monkeypatch.setattr(
        parquet_shards,
        "_row_group",
        lambda path, group: read.append(group) or original(path, group),
    )
    for index in (0, 1, 2, 3, 5, 4, 0):
        assert images[index].image is not None
    assert read == [0, 1, 0]


# -- runs --------------------------------------------------------------------------------------


@pytest.fixture
def here(here):
    """A folder with factories, photos/, and the same photographs in tar/ and parquet/."""
    samples: list[Sample] = []
    for file in sorted(Path("photos").rglob("*.png")):
        samples.append((f"{file.parent.name}{file.name}", file.read_bytes(), int(file.parent.name)))
    for kind, write in WRITERS.items():
        for number in range(3):
            write(Path(kind, f"{number}.{kind}"), samples[4 * number : 4 * number + 4])
    return here


def run(folder: str, data: str, **arguments: Any) -> al.Measurement:
    model = load_model("factories:net", resize=26, crop=24)
    images = open_data(data, model.preprocessing, num_classes=4)
    return evaluate(model, images, folder, Options(batch_size=5), **arguments)


@BOTH
def test_a_run_on_shards_measures_what_a_run_on_the_folder_does(here, kind):
    one, other = run("folder", "photos"), run("shards", kind, workers=2)
    assert one.counts.equals(other.counts)
    assert one.samples.drop(columns="name").equals(other.samples.drop(columns="name"))
    assert one.accuracy().equals(other.accuracy())
    data = json.loads(Path("shards/run.json").read_text())["data"]
    assert (data["shards"], len(data["shards_sha256"])) == (3, 64)


@BOTH
def test_ctrl_c_loses_nothing_and_other_shards_do_not_go_on(here, kind):
    def interrupt(done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("run", kind, progress=interrupt)
    shard = Path(kind, f"2.{kind}")
    whole = shard.read_bytes()
    WRITERS[kind](shard, [(f"{i:02d}.png", encoded(i, (40, 50)), 1) for i in range(4)])
    with pytest.raises(AliascopeError, match="run with data"):
        run("run", kind, resume=True)
    shard.write_bytes(whole)
    resumed = run("run", kind, resume=True)
    assert resumed.counts.equals(run("other", kind).counts)
    shard.rename(shard.with_name(f"3.{kind}"))
    with pytest.raises(AliascopeError, match="run with data"):
        run("run", kind, resume=True)


def test_an_index_can_be_interrupted(tmp_path, monkeypatch):
    write_tar(tmp_path / "x.tar", some(2))

    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(tars._Labels, "of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_data(str(tmp_path), SMALL)


@BOTH
def test_the_command_takes_shards(here, kind, capsys):
    from aliascope.commands.main import main

    words = ["--resize", "26", "--crop", "24", "--workers", "0", "-o", "run"]
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "-m", "factories:net", "-d", f"{kind}/{{0..1}}.{kind}", *words])
    assert left.value.code in (0, None)
    assert len(al.load("run").samples) == 8
    assert "8 images" in capsys.readouterr().out
