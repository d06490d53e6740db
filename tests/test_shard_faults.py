"""No image of a shard, no label and no folder is lost without a word."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from aliascope.data.archives import members, open_archive
from aliascope.errors import AliascopeError
from aliascope.tasks.images import open_data
from test_data import draw
from test_shards import SMALL, encoded, refusal, some, write_members, write_tar


def opened(place, **given):
    """Open a set about which there is nothing to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_data(str(place), SMALL, **given)


def labelled(images):
    return dict(zip(images.names, images.labels, strict=True))


# -- names with dots in a tar ------------------------------------------------------------------


def test_names_with_dots_are_images_of_their_own(tmp_path):
    files = [("a.png", encoded(0)), ("a.cls", b"1")]
    for name, label in (("v1.0_b", b"2"), ("v1.0_c", b"3"), ("in.out/2020.01.02", b"0")):
        files += [(f"{name}.PNG", encoded(1)), (f"{name}.cls", label)]
    write_members(tmp_path / "x.tar", files)
    images = opened(tmp_path)
    assert labelled(images) == {
        "x.tar/a.png": 1,
        "x.tar/v1.0_b.PNG": 2,
        "x.tar/v1.0_c.PNG": 3,
        "x.tar/in.out/2020.01.02.PNG": 0,
    }
    assert all(images[index].image is not None for index in range(4))


def test_fields_of_a_sample_have_its_label(tmp_path):
    write_members(
        tmp_path / "x.tar",
        [
            ("a.input.png", encoded(0)),
            ("a.json", b'{"label": 3}'),
            ("b.input.png", encoded(1)),
            ("b.cls", b"1"),
        ],
    )
    assert labelled(opened(tmp_path)) == {"x.tar/a.input.png": 3, "x.tar/b.input.png": 1}


def test_further_pictures_of_a_sample_are_left_out_and_said(tmp_path):
    write_members(
        tmp_path / "x.tar",
        [("a.seg.png", b"mask"), ("a.png", encoded()), ("a.cls", b"1"), ("a.depth.png", b"map")],
    )
    with pytest.warns(UserWarning, match=r"left out: 2 \(first: a.seg.png, of a.png\)"):
        images = open_data(str(tmp_path), SMALL)
    assert labelled(images) == {"x.tar/a.png": 1}


# -- members of one key that are apart ---------------------------------------------------------


@pytest.mark.parametrize("labels_first", [False, True])
def test_labels_need_not_lie_beside_their_images(tmp_path, labels_first):
    pictures = [(f"{i}.png", encoded(i)) for i in range(4)]
    labels = [(f"{i}.cls", str(i).encode()) for i in reversed(range(4))]
    write_members(tmp_path / "x.tar", labels + pictures if labels_first else pictures + labels)
    images = opened(tmp_path)
    assert images.names == [f"x.tar/{i}.png" for i in range(4)] and images.labels == [0, 1, 2, 3]


def test_two_images_of_one_sample_are_refused_though_they_are_apart(tmp_path):
    write_members(tmp_path / "x.tar", [("a.png", b"1"), ("b.png", b"2"), ("a.jpg", b"3")])
    assert "two images (a.png and a.jpg)" in refusal(tmp_path)


def test_a_label_that_is_there_twice_counts_once_and_two_are_refused(tmp_path):
    image = ("a.png", encoded())
    write_members(tmp_path / "x.tar", [("a.cls", b"1"), image, ("a.cls", b"1\n")])
    assert opened(tmp_path).labels == [1]
    write_members(tmp_path / "x.tar", [("a.cls", b"1"), image, ("a.cls", b"2")])
    assert "a.cls more than once, with the labels 1 and 2" in refusal(tmp_path)


# -- tars joined by cat ------------------------------------------------------------------------


def joined(place: Path, *parts: bytes) -> Path:
    place.write_bytes(b"".join(parts))
    return place


@pytest.fixture
def halves(tmp_path):
    (tmp_path / "made").mkdir()
    for number in range(2):
        write_tar(tmp_path / "made" / f"{number}.tar", some(3, 3 * number))
    return [(tmp_path / "made" / f"{number}.tar").read_bytes() for number in range(2)]


@pytest.mark.parametrize("padding", [0, 512, 3 * 2**20])
def test_tars_joined_by_cat_are_read_to_their_end(tmp_path, halves, padding):
    images = opened(joined(tmp_path / "x.tar", halves[0], bytes(padding), halves[1]))
    assert images.names == [f"x.tar/{i:03d}.png" for i in range(6)]
    assert images.labels == [0, 1, 2, 3, 0, 1]
    assert all(images[index].image is not None for index in range(6))
    with open_archive(tmp_path / "x.tar") as tar:
        assert len(list(members(tar, tmp_path / "x.tar"))) == 12


@pytest.mark.parametrize("part", ["cut", "garbage"])
def test_what_follows_a_tar_and_cannot_be_read_is_refused(tmp_path, halves, part):
    after = {"cut": halves[1][:700], "garbage": b"no tar" * 200}[part]
    sentence = refusal(joined(tmp_path / "x.tar", halves[0], after))
    assert "x.tar is cut off or damaged" in sentence


def test_images_of_one_name_in_joined_tars_are_refused(tmp_path, halves):
    joined(tmp_path / "x.tar", halves[0], halves[0])
    assert "two images named x.tar/000.png" in refusal(tmp_path / "x.tar")


# -- columns and entries of labels -------------------------------------------------------------


def write_columns(place: Path, count: int = 3, **columns):
    table = {"image": [encoded(i) for i in range(count)], **columns}
    parquet.write_table(pa.table(table), place / "x.parquet")


@pytest.mark.parametrize(
    "name", ["label", "labels", "cls", "class", "class_id", "target", "fine_label"]
)
def test_labels_are_read_under_their_usual_names(tmp_path, name):
    write_columns(tmp_path, **{"caption": ["x"] * 3, name: [2, 0, 1]})
    assert opened(tmp_path).labels == [2, 0, 1]
    (tmp_path / "x.parquet").unlink()
    content = f'{{"caption": "x", "{name}": 2}}'.encode()
    write_members(tmp_path / "x.tar", [("a.png", encoded()), ("a.json", content)])
    assert opened(tmp_path).labels == [2]


def test_of_several_usual_names_the_first_that_holds_numbers_counts(tmp_path):
    write_columns(tmp_path, cls=[5, 5, 5], labels=[1, 2, 3], label=["cat", "dog", "cow"])
    assert opened(tmp_path).labels == [1, 2, 3]


def test_a_set_without_labels_says_once_what_there_is(tmp_path):
    for number in range(3):
        write_columns(tmp_path, category=[2, 0, 1], caption=["x"] * 3)
        (tmp_path / "x.parquet").rename(tmp_path / f"{number}.parquet")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert open_data(str(tmp_path), SMALL).labels is None
    (said,) = caught
    assert "columns of 0.parquet ('category, caption')" in str(said.message)
    assert "labels, cls" in str(said.message)


def test_entries_without_a_label_are_said_and_images_alone_are_not(tmp_path):
    images = [("a.png", encoded()), ("b.png", encoded())]
    write_members(tmp_path / "x.tar", images)
    assert opened(tmp_path).labels is None
    write_members(tmp_path / "x.tar", [*images, ("a.json", b'{"category": 3}')])
    with pytest.warns(UserWarning, match=r"entries of a .json in x.tar \(category\)"):
        assert open_data(str(tmp_path), SMALL).labels is None
    (tmp_path / "x.tar").unlink()
    write_columns(tmp_path)
    assert opened(tmp_path).labels is None


@pytest.mark.parametrize("label", [2**63, 2**64 - 1, 10**9])
def test_an_unsigned_label_too_large_for_a_class_is_named(tmp_path, label):
    write_columns(tmp_path, label=pa.array([1, label, None], pa.uint64()))
    assert f"Row 1 of {tmp_path / 'x.parquet'} has the label {label}" in refusal(tmp_path)


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint64(), pa.int16(), pa.float32(), pa.float64()])
def test_whole_labels_of_any_type_are_read(tmp_path, kind):
    write_columns(tmp_path, label=pa.array([2, 0, 1], kind))
    assert opened(tmp_path).labels == [2, 0, 1]
    with pytest.raises(AliascopeError, match="mixes"):
        write_columns(tmp_path, label=pa.array([2, None, 1], kind))
        open_data(str(tmp_path), SMALL)
    write_columns(tmp_path, label=pa.array([None] * 3, kind))
    assert opened(tmp_path).labels is None


@pytest.mark.parametrize("label", [1.5, 1e30, -np.inf])
def test_a_label_that_is_no_whole_number_is_named(tmp_path, label):
    write_columns(tmp_path, label=[1.0, 2.0, label])
    assert f"Row 2 of {tmp_path / 'x.parquet'} has the label {label}" in refusal(tmp_path)


def test_not_a_number_is_a_label_that_is_missing(tmp_path):
    write_columns(tmp_path, label=[np.nan] * 3)
    assert opened(tmp_path).labels is None


@pytest.mark.parametrize("member", [("a.cls", b"7.0"), ("a.json", b'{"label": 7.0}')])
def test_whole_labels_of_a_tar_may_be_written_as_fractions(tmp_path, member):
    write_members(tmp_path / "x.tar", [("a.png", encoded()), member])
    assert opened(tmp_path).labels == [7]


# -- hidden folders, and those of systems ------------------------------------------------------

SYSTEM = pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".cache", "$RECYCLE.BIN"])


@SYSTEM
@pytest.mark.parametrize("filled", [False, True])
def test_folders_of_systems_are_no_classes(tmp_path, name, filled):
    for label in ("bird", "cat"):
        draw(tmp_path / label / "x.png")
        draw(tmp_path / label / name / "thumbnail.png")
    (tmp_path / name).mkdir()
    if filled:
        draw(tmp_path / name / "x.png")
    images = opened(tmp_path, num_classes=2)
    assert labelled(images) == {"bird/x.png": 0, "cat/x.png": 1}


@SYSTEM
def test_images_in_folders_of_systems_in_a_tar_do_not_count(tmp_path, name):
    write_members(
        tmp_path / "x.tar",
        [(f"{name}/a.png", b"thumbnail"), (f"b/{name}/a.png", b"thumbnail"), ("./a.png", b"x")],
    )
    assert opened(tmp_path).names == ["x.tar/a.png"]


def test_a_class_folder_without_images_is_named_where_the_number_is_wrong(tmp_path):
    for label in ("bird", "cat"):
        draw(tmp_path / label / "x.png")
    (tmp_path / "old stuff").mkdir()
    with pytest.raises(AliascopeError) as caught:
        open_data(str(tmp_path), SMALL, num_classes=2)
    sentence = str(caught.value)
    assert "3 class folders (bird, …), of which 1 without images (old stuff)" in sentence
    assert "remove what is no class" in sentence
    for number in range(5):
        (tmp_path / f"empty{number}").mkdir()
    with pytest.raises(AliascopeError, match=r"6 without images \(empty0, empty1, empty2, …\)"):
        open_data(str(tmp_path), SMALL, num_classes=2)
