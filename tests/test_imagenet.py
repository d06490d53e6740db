"""ImageNet's validation images: whatever the archive, each is whole and in its class."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import aliascope
from aliascope.commands.main import main
from aliascope.data import imagenet_synsets
from aliascope.data.imagenet.archive import OFFICIAL_MD5
from aliascope.data.imagenet.folder import check_folder
from aliascope.data.imagenet.labels import read_labels
from aliascope.data.imagenet.prepare import prepare as prepare_images
from aliascope.errors import AliascopeError
from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
from aliascope.tasks.images import open_data

IMAGES = 12
WNIDS = ["n07753592", "n01440764", "n15075141", "n02119022"]
"""In the order of their ids in the devkit, which is not the sorted one."""


def name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def jpeg(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 255, (20 + number, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


ids = [1 + (number * 7) % 4 if number % 5 else 2 for number in range(1, IMAGES + 1)]
LABELS = {name(number): WNIDS[id_ - 1] for number, id_ in enumerate(ids, start=1)}
TREE = {f"{LABELS[name(n)]}/{name(n)}": jpeg(n) for n in range(1, IMAGES + 1)}


def member(path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    info = tarfile.TarInfo(path)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def images(top: str = "", numbers: range = range(1, IMAGES + 1)):
    return [member(top + name(number), jpeg(number)) for number in numbers]


def write_tar(path: Path, members, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def meta() -> bytes:
    """Like the devkit's: a struct array, with synsets above those of the classes."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(float(i), wnid, "a thing", 0.0) for i, wnid in enumerate(WNIDS, start=1)]
    rows += [(1001.0, "n00001740", "entity", 3.0)]
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)}, do_compression=True)
    return file.getvalue()


def devkit(path: Path, top: str = "ILSVRC2012_devkit_t12/", truth: str = "", mat: bytes = b""):
    truth = truth or "".join(f"{i}\n" for i in ids)
    return write_tar(
        path,
        [
            member(f"{top}readme.txt", b"hello"),
            member(f"{top}data/meta.mat", mat or meta()),
            member(f"{top}data/ILSVRC2012_validation_ground_truth.txt", truth.encode()),
        ],
        "w:gz",
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def mtimes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an archive and all kinds of labels."""
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "val.tar", images())
    devkit(tmp_path / "devkit.bin")
    devkit(tmp_path / "flat.tar.gz", top="./")
    script = [f"mkdir -p {wnid}" for wnid in sorted(set(WNIDS))]
    script += [f"mv {file} {wnid}/" for file, wnid in LABELS.items()]
    evil = ["#!/bin/bash", "touch pwned", "mv a b; rm -rf x", f"mv {name(1)} ../n01440764/"]
    Path("valprep.sh").write_text("\n".join(evil + script) + "\n")
    rows = [f"{file},{wnid}" for file, wnid in LABELS.items()]
    Path("labels.csv").write_text("\n".join(rows))
    Path("header.csv").write_text("\ufefffile,wnid\r\n" + "\r\n".join(rows) + "\r\n", "utf-8")
    return tmp_path


def prepare(archive="val.tar", folder="val", labels="labels.csv", count=IMAGES, **options):
    return prepare_images(archive, folder, labels, images=count, **options)


def refusal(*args, **options) -> str:
    """The one sentence with which a preparation is refused, before anything is written."""
    with pytest.raises(AliascopeError) as caught:
        prepare(*args, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert not Path("val").exists()
    print(sentence)
    return sentence


def command(capsys, *args) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["imagenet", *map(str, args)])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return caught.value.code, printed.out, printed.err


# What is prepared


@pytest.mark.parametrize(
    "labels", ["devkit.bin", "flat.tar.gz", "valprep.sh", "labels.csv", "header.csv"]
)
def test_every_source_of_labels_gives_the_same_folder(here, labels):
    assert read_labels(labels) == LABELS
    done = prepare(labels=labels)
    assert (done.copied, done.kept, done.notes, done.check.problem) == (IMAGES, 0, [], "")
    assert tree(here / "val") == TREE
    assert not Path("pwned").exists()


@pytest.mark.parametrize("top", ["./", "val/", "./ILSVRC2012/val/"])
def test_images_are_found_under_whatever_top_folder(here, top):
    folders = [member(top.rstrip("/"), kind=tarfile.DIRTYPE)]
    write_tar(here / "val.tar", folders + images(top))
    assert prepare().notes == [] and tree(here / "val") == TREE


def test_a_compressed_archive_serves_as_well(here):
    write_tar(here / "val.tar", images(), "w:gz")
    assert prepare().check.problem == "" and tree(here / "val") == TREE


def test_the_labels_are_those_that_an_evaluation_reads(here):
    prepare(labels="devkit.bin")
    found = open_data("val", IMAGENET_PREPROCESSING, num_classes=1000)
    synsets = imagenet_synsets()
    assert len(found) == IMAGES
    assert {
        Path(n).name: synsets[label] for n, label in zip(found.names, found.labels, strict=True)
    } == LABELS
    assert all(found[index].error == "" for index in range(IMAGES))


def test_a_link_to_a_folder_is_as_good_as_the_folder(here):
    Path("disk").mkdir()
    Path("val").symlink_to("disk")
    assert prepare().check.problem == "" and tree(here / "disk") == TREE


# Interruptions


KILLED = """
import os, signal
from pathlib import Path
from aliascope.commands.main import main

rename, left = Path.replace, [5]

def dying(self, target):
    left[0] -= 1
    if not left[0]:
        os.truncate(self, self.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.replace = dying
main(["imagenet", "prepare", "val.tar", "val", "--labels", "labels.csv", "--images", "12"])
"""


def test_a_preparation_killed_outright_goes_on_to_the_same_folder(here):
    died = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "PYTHONPATH": str(Path(aliascope.__file__).parents[1])},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    left = tree(here / "val")
    whole = {path: content for path, content in left.items() if not path.endswith(".tmp")}
    assert len(left) == 5 and len(whole) == 4 and whole.items() <= TREE.items()
    check = check_folder("val", images=4)
    assert check.problem == "" and len(check.leftovers) == 1
    assert "1 temporary file of an interrupted preparation (first: n" in check.notes[0]
    times = mtimes(here / "val")
    done = prepare()
    assert (done.copied, done.kept, done.notes) == (IMAGES - 4, 4, [])
    assert tree(here / "val") == TREE
    kept = [here / "val" / path for path in whole]
    assert all(path.stat().st_mtime_ns == times[path] for path in kept)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have the signal answered as in a terminal, wherever the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_ctrl_c_the_same_command_goes_on(here, monkeypatch, capsys, ctrl_c):
    rename, left = Path.replace, [5]

    def interrupting(self, target):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupting)
    args = ["prepare", "val.tar", "val", "--labels", "labels.csv", "--images", IMAGES]
    assert command(capsys, *args) == (
        130,
        "",
        "aliascope: interrupted; the images copied so far are kept in val; run the same command "
        "again to go on.\n",
    )
    assert len(tree(here / "val")) == 4 and tree(here / "val").items() <= TREE.items()
    assert command(capsys, *args)[1].endswith("(8 copied, 4 there before).\n")
    assert tree(here / "val") == TREE


def test_ctrl_c_while_checking(here, monkeypatch, capsys, ctrl_c):
    prepare()
    monkeypatch.setattr(
        "aliascope.data.imagenet.folder._damage", lambda *_: os.kill(os.getpid(), signal.SIGINT)
    )
    code, out, _ = command(capsys, "check", "val", "--images", IMAGES)
    assert (code, out) == (130, "")


def test_done_twice_nothing_changes(here):
    prepare()
    times = mtimes(here / "val")
    time.sleep(0.02)
    done = prepare(verify=True)
    assert (done.copied, done.kept) == (0, IMAGES)
    assert mtimes(here / "val") == times


def test_a_file_of_another_size_is_written_anew(here):
    prepare()
    broken = here / "val" / next(iter(TREE))
    broken.write_bytes(b"\xff\xd8\xff")
    assert prepare().copied == 1 and tree(here / "val") == TREE


def test_two_archives_with_half_each_make_a_whole(here, capsys):
    write_tar(here / "a.tar", images(numbers=range(1, 7)))
    write_tar(here / "b.tar", images(numbers=range(7, IMAGES + 1)))
    half = prepare("a.tar")
    assert half.notes == [f"6 labels without an image in the archive (first: {name(7)})."]
    assert half.check.problem == (
        f"val is incomplete: it holds 6 of 12 images and lacks 6 (first: {name(7)}); prepare it "
        "from the whole archive, or pass --images 6 if those are all."
    )
    assert prepare("b.tar").check.problem == ""
    assert tree(here / "val") == TREE


# Members that are no images


@pytest.mark.parametrize(
    ("odd", "note"),
    [
        (member("../evil", b"x"), "whose path leaves the folder (first: ../evil)"),
        (member(f"../{name(1)}", b"x"), f"whose path leaves the folder (first: ../{name(1)})"),
        (member(f"val/../../{name(1)}", b"x"), "whose path leaves the folder"),
        (member("/tmp/aliascope-evil", b"x"), "whose path leaves the folder (first: /tmp/"),
        (member(name(1), kind=tarfile.SYMTYPE, link="/etc/passwd"), "being a link, a device"),
        (member(name(1), kind=tarfile.LNKTYPE, link=name(2)), "being a link, a device"),
        (member("n01440764", kind=tarfile.SYMTYPE, link="/tmp"), "being a link, a device"),
        (member(name(1), kind=tarfile.CHRTYPE), "being a link, a device"),
        (member(name(1), kind=tarfile.FIFOTYPE), "being a link, a device"),
        (member("README.txt", b"x"), "not being named like the set's images"),
        (member("evil\x1b[31m\n", b"x"), r"(first: 'evil\x1b[31m\n')"),
        (member(f"._{name(1)}", b"x"), "not being named like the set's images"),
        (member(name(99), b"x"), "1 image left out, having no label"),
    ],
)
def test_other_members_stay_in_the_archive_and_are_told(here, odd, note):
    outside = set(here.rglob("*"))
    write_tar(here / "val.tar", [odd, *images()])
    done = prepare()
    assert len(done.notes) == 1 and note in done.notes[0]
    assert re.match(r"1 (member|image) (refused|left out), ", done.notes[0])
    assert done.check.problem == "" and tree(here / "val") == TREE
    assert {
        path for path in here.rglob("*") if here / "val" not in (path, *path.parents)
    } == outside
    assert not Path("/tmp/aliascope-evil").exists()


def test_of_two_members_with_a_name_the_first_counts(here):
    write_tar(here / "val.tar", [*images(), member(f"b/{name(3)}", jpeg(4))])
    done = prepare()
    assert done.notes == [
        f"1 image left out, named like one earlier in the archive (first: b/{name(3)})."
    ]
    assert tree(here / "val") == TREE


def test_damaged_images_are_copied_and_told(here, capsys):
    content = jpeg(3)
    damaged = [b"", b"\x89PNG no jpeg", content[:-2], content[:-200]]
    members = images()
    for place, data in enumerate(damaged):
        members[place] = member(name(place + 1), data)
    members[5] = member(name(6), jpeg(6) + b"\0" * 10)
    members[6] = member(name(7), jpeg(7) + b"trailing bytes")
    write_tar(here / "val.tar", members)
    check = prepare().check
    assert check.problem == ""
    reasons = {Path(path).name: reason for path, reason in check.damaged}
    # Without its end marker alone, all pixels of the third are there.
    assert {1, 2, 4} <= {n for n in range(1, 13) if name(n) in reasons} <= {1, 2, 3, 4}
    assert reasons[name(1)] == "it is empty" and reasons[name(2)] == "it is no JPEG"
    assert reasons[name(4)].startswith("image file is truncated")
    code, out, err = command(capsys, "check", "val", "--images", IMAGES)
    assert code == 0 and out == "val is complete: 12 images in 4 classes, 2 to 5 in each.\n"
    assert re.search(r"^aliascope: [34] images are damaged \(first: n", err)


def test_only_decoding_finds_damage_between_the_markers(here):
    content = jpeg(3)
    members = images()
    members[2] = member(name(3), content[:20] + bytes(200) + content[220:])
    write_tar(here / "val.tar", members)
    assert prepare().check.damaged == []
    (damaged,) = prepare(verify=True).check.damaged
    assert damaged[0].endswith(name(3)) and damaged[1]


# Refused before anything is written


def test_archives_that_are_none(here):
    assert "The archive gone.tar is not there" in refusal("gone.tar")
    Path("no.tar").write_bytes(b"not a tar" * 1000)
    assert "no.tar is not a tar archive" in refusal("no.tar")
    Path("empty.tar").write_bytes(b"")
    assert "empty.tar is not a tar archive" in refusal("empty.tar")
    write_tar(here / "nothing.tar", [])
    assert "nothing.tar holds no images named as in" in refusal("nothing.tar")
    write_tar(here / "train.tar", [member("n01440764.tar", b"x")])
    assert "it begins with n01440764.tar: pass ILSVRC2012_img_val.tar." in refusal("train.tar")
    assert f"No image of x.tar has a label (first: {name(99)})" in refusal(
        write_tar(here / "x.tar", [member(name(99), b"x")]).name
    )
    assert ". is a folder: pass the archive, which need not be unpacked." in refusal(".")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_cut_off_anywhere_is_noticed(here, mode):
    whole = write_tar(here / "val.tar", images(), mode).read_bytes()
    end = len(whole.rstrip(b"\0")) - (100 if mode == "w:gz" else 0)
    for size in (*np.linspace(600, end, 15).astype(int), end // 512 * 512):
        Path("cut.tar").write_bytes(whole[:size])
        assert "download it again." in refusal("cut.tar")
    Path("cut.tar").write_bytes(whole[: end // 3])
    if mode == "w":
        assert re.fullmatch(
            r"cut\.tar is cut off or damaged at or after member \d "
            r"\(ILSVRC2012_val_0000000\d\.JPEG\): download it again\.",
            refusal("cut.tar"),
        )


def test_damage_between_two_members_is_noticed(here):
    archive = here / "val.tar"
    with tarfile.open(archive) as tar:
        start = tar.getmembers()[4].offset
    content = bytearray(archive.read_bytes())
    content[start : start + 100] = b"?" * 100
    archive.write_bytes(content)
    assert f"at or after member 4 ({name(4)})" in refusal()


def test_a_member_of_negative_size_does_not_go_round_in_circles(here):
    info, _ = member(name(1))
    info.size = -1024
    header = info.tobuf(tarfile.GNU_FORMAT)
    (here / "val.tar").write_bytes(header + header + bytes(1024))
    assert "download it again." in refusal()


def test_another_md5_than_the_official(here, monkeypatch):
    assert refusal(md5=True).startswith("val.tar has the MD5 ")
    import hashlib

    digest = hashlib.md5((here / "val.tar").read_bytes()).hexdigest()
    monkeypatch.setattr("aliascope.data.imagenet.archive.OFFICIAL_MD5", digest)
    assert prepare(md5=True).check.problem == ""


def test_the_constant_is_torchvisions():
    from torchvision.datasets.imagenet import ARCHIVE_META

    assert ARCHIVE_META["val"] == ("ILSVRC2012_img_val.tar", OFFICIAL_MD5)


def test_too_little_space_for_what_is_still_to_be_copied(here, monkeypatch):
    usage = type(shutil.disk_usage("."))(10**9, 10**9, 20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert refusal() == (
        "val needs 49.2 kB for 12 images, but there is room for 20.0 kB: free 29.2 kB, or pass a "
        "folder on another disk."
    )
    monkeypatch.undo()
    os.chdir(here)
    prepare()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for path in list(TREE)[:3]:
        (here / "val" / path).unlink()
    assert prepare().copied == 3


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that everybody can read, and a process without root's power to write anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        before = os.geteuid()
        yield Path(folder)
        os.seteuid(before)


def test_a_folder_that_cannot_be_written(here, nobody, monkeypatch):
    for file in ("val.tar", "labels.csv"):
        (nobody / file).write_bytes((here / file).read_bytes())
    (nobody / "val").mkdir(mode=0o555)
    monkeypatch.chdir(nobody)
    if os.geteuid() == 0:
        os.seteuid(65534)
    for folder in ("val", "val/new/deep"):
        with pytest.raises(AliascopeError) as caught:
            prepare(folder=folder)
        assert str(caught.value) == (
            f"{folder} cannot be written (Permission denied); mend that and run the same command "
            "again, or pass another folder."
        )
    assert list(Path("val").iterdir()) == []


def test_a_disk_that_fills_up_leaves_whole_images_only(here, monkeypatch):
    rename, left = Path.replace, [4]

    def full(self, target):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(AliascopeError, match=r"cannot be written \(No space left on device\)"):
        prepare()
    assert len(tree(here / "val")) == 3 and tree(here / "val").items() <= TREE.items()


def test_a_folder_that_holds_something_else(here):
    Path("file").write_text("")
    assert refusal(folder="file") == "file is not a folder: pass another name, or remove it."
    loose = here / "loose"
    loose.mkdir()
    (loose / name(1)).write_bytes(jpeg(1))
    assert f"loose holds 1 image or folder of images out of place (first: {name(1)})" in refusal(
        folder="loose"
    )
    train = here / "train" / "n01440764"
    train.mkdir(parents=True)
    (train / "n01440764_10026.JPEG").write_bytes(jpeg(1))
    assert "(first: n01440764/n01440764_10026.JPEG)" in refusal(folder="train")
    assert len(tree(here / "loose")) == len(tree(here / "train")) == 1


def test_a_folder_prepared_with_other_labels(here):
    rows = [f"{file},n01440764" for file in LABELS]
    Path("wrong.csv").write_text("\n".join(rows))
    assert prepare(labels="wrong.csv").check.problem == ""
    before = tree(here / "val")
    with pytest.raises(AliascopeError, match="in another class folder than the labels say"):
        prepare()
    assert tree(here / "val") == before
    assert "of n02119022): pass the right labels, or another folder." in (
        check_folder("val", labels=LABELS, images=IMAGES).problem
    )


# Labels that are refused


def test_labels_that_are_none(here):
    kinds = "pass the devkit (ILSVRC2012_devkit_t12.tar.gz), valprep.sh, or a CSV table of"
    for content in (b"", b"\x89PNG\r\n\xff\x00", b"hello\nworld\n", b"a,b\nc,d\n", meta()):
        Path("odd").write_bytes(content)
        assert refusal(labels="odd").startswith(f"odd holds no labels that can be read: {kinds}")
    assert refusal(labels="gone").startswith(f"The labels' file gone is not there: {kinds}")
    assert refusal(labels=".").startswith(f"The labels' file . is a folder: {kinds}")
    assert refusal(labels="val.tar").startswith(f"val.tar is an archive without meta.mat: {kinds}")


def test_a_class_that_is_none_of_the_thousand(here):
    Path("odd.csv").write_text(f"{name(1)},n00001740")
    assert refusal(labels="odd.csv", count=1).startswith(
        f"odd.csv gives {name(1)} the class n00001740, which is none of ILSVRC2012's 1,000"
    )
    devkit(here / "odd.tgz", truth="1001\n")
    assert "the class n00001740" in refusal(labels="odd.tgz", count=1)


def test_tables_that_contradict_or_break_off(here):
    Path("odd.csv").write_text(f"{name(1)},n01440764\n{name(1)},n02119022\n")
    assert refusal(labels="odd.csv").startswith(
        f"odd.csv gives {name(1)} two classes, n01440764 and n02119022: remove one."
    )
    for row in (f"{name(2)},../x", f"../{name(2)},n01440764", name(2), f"{name(2)},n01440764,1"):
        Path("odd.csv").write_text(f"file,wnid\n{name(1)},n01440764\n{row}\n")
        assert f"odd.csv has the row {row}, which should be" in refusal(labels="odd.csv").replace(
            "'", ""
        )
    assert "labels.csv labels 12 images, but 50,000 are expected" in refusal(count=50_000)
    assert "images is 0, but it must be 1 or more." in refusal(count=0)


def test_devkits_that_are_damaged(here):
    devkit(here / "odd.tgz", truth="1\n2\nfive\n")
    assert "Line 3 of ILSVRC2012_validation_ground_truth.txt in odd.tgz is five" in refusal(
        labels="odd.tgz"
    )
    devkit(here / "odd.tgz", truth="77\n")
    assert "is 77, which is no ILSVRC2012_ID of meta.mat" in refusal(labels="odd.tgz")
    file = io.BytesIO()
    savemat(file, {"other": 1})
    for mat in (b"junk", meta()[:300], file.getvalue()):
        devkit(here / "odd.tgz", mat=mat)
        assert "meta.mat in odd.tgz holds no readable struct synsets" in refusal(labels="odd.tgz")
    whole = Path("devkit.bin").read_bytes()
    Path("odd.tgz").write_bytes(whole[: len(whole) // 2])
    assert refusal(labels="odd.tgz")


# The command


def test_the_command_ends_with_one_line(here, capsys):
    args = ["prepare", "val.tar", "val", "--labels", "devkit.bin", "--images", IMAGES]
    assert command(capsys, *args) == (
        0,
        "val is complete: 12 images in 4 classes, 2 to 5 in each (12 copied, 0 there before).\n",
        "",
    )
    assert command(capsys, *args)[1].endswith("(0 copied, 12 there before).\n")
    assert command(capsys, "check", "val", "--images", IMAGES, "--labels", "valprep.sh") == (
        0,
        "val is complete: 12 images in 4 classes, 2 to 5 in each.\n",
        "",
    )


def test_an_incomplete_folder_ends_with_2(here, capsys):
    write_tar(here / "val.tar", images(numbers=range(1, 11)))
    args = ["prepare", "val.tar", "val", "--labels", "labels.csv", "--images", IMAGES]
    code, out, err = command(capsys, *args)
    assert (
        code == 2
        and out == ""
        and err.splitlines()
        == [
            f"aliascope: 2 labels without an image in the archive (first: {name(11)}).",
            "aliascope: val is incomplete: it holds 10 of 12 images and lacks 2 "
            f"(first: {name(11)}); prepare it from the whole archive, or pass --images 10 if those "
            "are all.",
        ]
    )


def test_check_tells_what_does_not_belong(here, capsys):
    prepare()
    (here / "val" / "valprep.sh").write_text("")
    (here / "val" / ".hidden").write_text("")
    (here / "val" / "notes").mkdir()
    code, _, err = command(capsys, "check", "val", "--images", IMAGES)
    assert code == 0 and err == (
        "aliascope: 2 other files and folders beside the images (first: notes).\n"
    )
    (here / "val" / "notes" / "deep").mkdir()
    (here / "val" / "notes" / "deep" / "a.png").write_bytes(b"")
    code, _, err = command(capsys, "check", "val", "--images", IMAGES)
    assert code == 2 and err.splitlines()[-1] == (
        "aliascope: val holds 1 image or folder of images out of place (first: notes): move "
        "them out, or pass another folder."
    )
    (here / "val" / "notes").rename(here / "notes")
    extra = here / "val" / "n01440764" / name(1)
    assert not extra.exists()
    extra.write_bytes(jpeg(1))
    code, _, err = command(capsys, "check", "val", "--images", IMAGES)
    assert code == 2 and "holds 1 image in more than one class folder (first: n" in err
    code, _, err = command(capsys, "check", "gone")
    assert code == 2 and err == (
        "aliascope: The folder gone does not exist: pass one that aliascope imagenet prepare "
        "made.\n"
    )


def test_the_real_set_has_as_many_images_of_each_class(here, monkeypatch):
    monkeypatch.setattr("aliascope.data.imagenet.folder.IMAGES", 2000)  # 2 of each instead of 50.
    synsets = imagenet_synsets()
    for wnid in synsets:
        Path("val", wnid).mkdir(parents=True)
    for number in range(2000):
        Path("val", synsets[number % 1000], name(number + 1)).write_bytes(b"")
    check = check_folder("val", images=2000)
    assert (check.problem, check.summary) == ("", "2,000 images in 1,000 classes, 2 in each")
    os.rename(f"val/{synsets[0]}/{name(1)}", f"val/{synsets[1]}/{name(1)}")
    assert check_folder("val", images=2000).problem == (
        "val holds 1 image of n01440764, but 2 of every class are expected: pass the labels of "
        "the official devkit, and a folder without images."
    )
    os.unlink(f"val/{synsets[6]}/{name(7)}")
    assert check_folder("val", images=2000).problem == (
        f"val is incomplete: it holds 1,999 of 2,000 images and lacks 1 (first: {name(7)}); "
        "prepare it from the whole archive, or pass --images 1999 if those are all."
    )
