"""Images: every file is either read or reported, and every label is the one the folder says."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from aliascope.data import Item, collate, imagenet_synsets, sample_files
from aliascope.errors import AliascopeError
from aliascope.tasks import images as images_module
from aliascope.tasks.images import open_data
from aliascope.tasks.models import Preprocessing

SMALL = Preprocessing(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3)
AS_IS = Preprocessing(None, None, "bilinear", (0.5,) * 3, (0.5,) * 3)


def draw(path: Path, size: tuple[int, int] = (10, 10), shade: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade,) * 3).save(path)


def refusal(folder: Path | str, num_classes: int | None = None) -> str:
    """The one sentence with which a folder is refused."""
    with pytest.raises(AliascopeError) as caught:
        open_data(str(folder), SMALL, num_classes=num_classes)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


# The table of classes


def test_the_thousand_ids_are_in_sorted_order() -> None:
    synsets = imagenet_synsets()
    assert len(set(synsets)) == 1000 and synsets == sorted(synsets)
    assert (synsets[0], synsets[999]) == ("n01440764", "n15075141")
    assert imagenet_synsets() is synsets


# Labels


def test_some_of_the_wordnet_folders_get_the_labels_of_all_thousand(tmp_path: Path) -> None:
    for synset in ("n15075141", "n02119022"):
        draw(tmp_path / synset / "b.JPEG")
        draw(tmp_path / synset / "a.png")
    images = open_data(str(tmp_path), SMALL, num_classes=1000)
    assert images.names == [
        "n02119022/a.png",
        "n02119022/b.JPEG",
        "n15075141/a.png",
        "n15075141/b.JPEG",
    ]
    assert images.labels == [277, 277, 999, 999]
    assert images.name == str(tmp_path)
    assert open_data(str(tmp_path), SMALL).labels == images.labels


def test_numbered_folders_say_their_label(tmp_path: Path) -> None:
    for name in ("0", "00017", "3"):
        draw(tmp_path / name / "x.png")
    assert open_data(str(tmp_path), SMALL, num_classes=18).labels == [0, 17, 3]
    sentence = refusal(tmp_path, num_classes=17)
    assert "00017" in sentence and "17 classes" in sentence


def test_other_folders_count_in_sorted_order_when_there_is_one_for_each_class(
    tmp_path: Path,
) -> None:
    for name in ("dog", "Cat", "bird"):
        draw(tmp_path / name / "x.png")
    (tmp_path / "ant").mkdir()  # A class without images is a class.
    images = open_data(str(tmp_path), SMALL, num_classes=4)
    assert list(zip(images.names, images.labels or [], strict=True)) == [
        ("Cat/x.png", 0),
        ("bird/x.png", 2),
        ("dog/x.png", 3),
    ]
    assert "4 class folders" in refusal(tmp_path, num_classes=3)
    assert "unknown number" in refusal(tmp_path)


def test_images_without_class_folders_are_unlabelled(tmp_path: Path) -> None:
    draw(tmp_path / "b.png")
    draw(tmp_path / "a.webp")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not an image")
    images = open_data(str(tmp_path), SMALL, num_classes=3)
    assert images.labels is None and images.names == ["a.webp", "b.png"]
    assert images[0].label == -1


def test_folders_of_different_kinds_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "n02119022" / "x.png")
    draw(tmp_path / "17" / "x.png")
    assert "n02119022 and 17" in refusal(tmp_path)
    draw(tmp_path / "loose.png")
    assert "loose.png" in refusal(tmp_path)


def test_labels_that_the_model_cannot_mean_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "n02119022" / "x.png")
    for sentence in (refusal(tmp_path, num_classes=10), refusal("samples", num_classes=10)):
        assert "1000" in sentence and "10:" in sentence
    draw(tmp_path / "n99999999" / "x.png")
    assert "n99999999" in refusal(tmp_path)


def test_the_folder_above_the_class_folders_is_answered_with_the_right_one(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "n02119022" / "x.png")
    assert f"pass {tmp_path / 'val'}" in refusal(tmp_path, num_classes=1000)


def test_what_is_no_folder_of_images_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "gone")
    assert "no images" in refusal(tmp_path)
    draw(tmp_path / "x.png")
    assert "is a file" in refusal(tmp_path / "x.png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list anything")
def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir(mode=0)
    assert "permissions" in refusal(tmp_path)


# Listing


def test_every_ending_counts_and_hidden_files_do_not(tmp_path: Path) -> None:
    endings = ("jpg", "jpeg", "JPEG", "JPG", "png", "bmp", "webp", "tif", "tiff")
    for index, ending in enumerate(endings):
        draw(tmp_path / "5" / f"{index}.{ending}")
    (tmp_path / "5" / "._0.jpg").write_bytes(b"resource fork")
    (tmp_path / "5" / "index.html").write_text("no image")
    draw(tmp_path / ".cache" / "x.png")
    images = open_data(str(tmp_path), SMALL)
    assert images.names == [f"5/{index}.{ending}" for index, ending in enumerate(endings)]
    assert all(images[index].image is not None for index in range(len(images)))


def test_class_folders_may_hold_folders_and_links(tmp_path: Path) -> None:
    draw(tmp_path / "data" / "2" / "deep" / "er" / "x.png")
    (tmp_path / "data" / "2" / "deep" / "loop").symlink_to(tmp_path / "data" / "2")
    (tmp_path / "data" / "7").symlink_to(tmp_path / "data" / "2" / "deep" / "er")
    (tmp_path / "data" / "2" / "lost.png").symlink_to(tmp_path / "gone.png")
    images = open_data(str(tmp_path / "data"), SMALL)
    assert images.names == ["2/deep/er/x.png", "2/lost.png", "7/x.png"]
    assert images.labels == [2, 2, 7]
    assert "FileNotFoundError" in images[1].error


# Reading


def test_a_readable_image_comes_with_everything(tmp_path: Path) -> None:
    draw(tmp_path / "4" / "x.png", shade=255)
    item = open_data(str(tmp_path), SMALL)[0]
    assert (item.index, item.name, item.label, item.error) == (0, "4/x.png", 4, "")
    assert item.image is not None and item.image.shape == (3, 8, 8)
    assert item.image.min() == 1


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG of that size, with almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_damaged_images_give_a_reason_and_never_raise(tmp_path: Path) -> None:
    draw(tmp_path / "whole.jpg", (64, 64))
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "bomb.png").write_bytes(png_of(60000, 60000))
    (tmp_path / "half_bomb.png").write_bytes(png_of(10000, 10000))
    (tmp_path / "cut.png").write_bytes(png_of(20, 20)[:50])
    (tmp_path / "broken.tif").write_bytes(b"II*\x00\xff\xff\xff\x7f")
    (tmp_path / "cut.webp").write_bytes(b"RIFF\x10\x00\x00\x00WEBPVP8 \x00\x00")
    Image.new("I;16", (20, 20)).save(tmp_path / "deep.png")
    images = open_data(str(tmp_path), SMALL)
    items = {item.name: item for item in (images[index] for index in range(len(images)))}
    assert items.pop("whole.jpg").image is not None
    assert len(items) == 9
    for item in items.values():
        assert item.image is None and item.error and "\n" not in item.error
    assert items["empty.png"].error == "The file is empty"
    assert "DecompressionBombError" in items["bomb.png"].error
    assert "DecompressionBombWarning" in items["half_bomb.png"].error
    assert "truncated" in items["cut.jpg"].error.lower()
    assert "I;16" in items["deep.png"].error


def test_a_mistake_in_ones_own_transform_is_not_taken_for_a_damaged_image(tmp_path: Path) -> None:
    draw(tmp_path / "x.png")
    images = open_data(str(tmp_path), lambda image: torch.ones(3) @ torch.ones(4))
    with pytest.raises(RuntimeError):
        images[0]


# Batches


def test_a_batch_keeps_the_readable_and_reports_the_others() -> None:
    items = [
        Item(4, "a", 1, torch.full((3, 2, 2), 0.25), ""),
        Item(5, "b", 2, None, "The file is empty"),
        Item(6, "c", -1, torch.full((3, 2, 2), 0.75), ""),
    ]
    batch = collate(items)
    assert batch.indices.tolist() == [4, 6] and batch.indices.dtype == torch.int64
    assert batch.labels.tolist() == [1, -1] and batch.labels.dtype == torch.int64
    assert batch.names == ["a", "c"]
    assert batch.images[:, 0, 0, 0].tolist() == [0.25, 0.75]
    assert batch.bad == [(5, "b", "The file is empty")]


def test_a_batch_of_nothing_readable_is_empty() -> None:
    batch = collate([Item(0, "a", 1, None, "why")])
    assert batch.images.shape == (0, 3, 0, 0) and batch.bad == [(0, "a", "why")]
    assert batch.indices.shape == batch.labels.shape == (0,)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_are_refused_in_one_sentence(
    tmp_path: Path, workers: int
) -> None:
    draw(tmp_path / "a.png", (10, 12))
    draw(tmp_path / "b.png", (12, 10))
    images = open_data(str(tmp_path), AS_IS)
    loader = DataLoader(images, batch_size=2, collate_fn=collate, num_workers=workers)
    with pytest.raises(AliascopeError) as caught:
        list(loader)
    assert str(caught.value) == (
        "a.png is 12 × 10 and b.png 10 × 12, which do not fit in one batch: pass --crop SIZE or "
        "--batch-size 1."
    )


def test_workers_read_the_same_as_the_process_itself(tmp_path: Path) -> None:
    for index in range(3):
        draw(tmp_path / str(index) / "x.png", shade=80 * index)
    (tmp_path / "1" / "bad.png").write_bytes(b"")
    images = open_data(str(tmp_path), SMALL)
    batches = list(DataLoader(images, batch_size=3, collate_fn=collate, num_workers=1))
    assert [name for batch in batches for name in batch.names] == [f"{n}/x.png" for n in range(3)]
    assert [bad for batch in batches for bad in batch.bad] == [
        (1, "1/bad.png", "The file is empty")
    ]
    assert torch.equal(batches[0].images, collate([images[index] for index in range(3)]).images)
    # Where workers are spawned, the set is pickled.
    copy = pickle.loads(pickle.dumps(images))
    assert copy.names == images.names and copy[3].name == images[3].name


# The samples


def test_the_samples_are_found_without_importing_foolbox() -> None:
    sys.modules.pop("foolbox", None)
    images = open_data("samples", SMALL, num_classes=1000)
    assert "foolbox" not in sys.modules
    assert (len(images), images.name) == (20, "samples")
    assert images.names == sorted(images.names)
    assert images.labels is not None and images.labels[:3] == [243, 559, 438]
    assert images[19].image is not None


def test_missing_samples_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = images_module.sample_files.__globals__["importlib"].metadata

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    assert "aliascope[samples]" in refusal("samples")
    monkeypatch.setattr(metadata, "files", lambda name: None)
    with pytest.raises(AliascopeError, match="0 of its 20"):
        sample_files()
