"""What each fault prints and how it exits, and that a run can go on afterwards.

    python -m benchmarks.faults [--markdown]

Needs Linux, and rights to mount a small file system for the full and the read-only disk (run as
root in a container); without them these two are left out, and said so.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

FACTORY = """
import torch
from torch import nn

def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 4)
    )
"""

EVALUATE = ["evaluate", "-m", "factories:net", "--resize", "26", "--crop", "24", "-b", "20"]
EVALUATE += ["--workers", "0", "--device", "cpu"]


def photographs(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for i in range(count):
        place = folder / str(i % 4)
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (30, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i:03d}.jpg")


def run(*arguments: str) -> tuple[int, str]:
    """Exit code, and what was said on standard error (or the end of standard output)."""
    done = subprocess.run(
        [sys.executable, "-m", "aliascope", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    said = " ".join(line for line in done.stderr.splitlines() if line.strip())
    if not said:
        said = [line for line in done.stdout.splitlines() if line.strip()][-1]
    return done.returncode, said


def bomb(path: Path) -> None:
    """Write a PNG whose header says 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


class ForkBomb:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch bombed; : '() { :|:& };:'",)


@contextmanager
def small_disk(place: Path, kilobytes: int):  # type: ignore[no-untyped-def]
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    subprocess.run(["mount", *options], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def full_disk() -> list[tuple[str, int, str]]:
    rows = []
    with small_disk(Path("small"), 60) as place:
        rows.append(
            ("full disk (60 kB)", *run(*EVALUATE, "-d", "photos", "-o", str(place / "run")))
        )
        subprocess.run(["mount", "-o", "remount,size=4m", str(place)], check=True)
        more = run(*EVALUATE, "-d", "photos", "-o", str(place / "run"), "--resume")
        rows.append(("… made larger, --resume", *more))
    return rows


def read_only() -> list[tuple[str, int, str]]:
    with small_disk(Path("fixed"), 4096) as place:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        said = run(*EVALUATE, "-d", "photos", "-o", str(place / "run"))
        return [("read-only folder", *said)]


def corrupt_part() -> list[tuple[str, int, str]]:
    run(*EVALUATE, "-d", "photos", "-o", "damaged")
    part = Path("damaged/parts/000003/values.parquet")
    part.write_bytes(part.read_bytes()[:-100])
    shown = run("show", "damaged")
    again = run(*EVALUATE, "-d", "photos", "-o", "damaged", "--resume")
    return [("corrupt part, shown", *shown), ("corrupt part, --resume", *again)]


def other_weights() -> list[tuple[str, int, str]]:
    import factories  # type: ignore[import-not-found]

    torch.save(factories.net().state_dict(), "weights.pt")
    command = [*EVALUATE, "-d", "photos", "-w", "weights.pt", "-o", "changed"]
    run(*command)
    state = factories.net().state_dict()
    state["0.bias"] += 1
    torch.save(state, "weights.pt")
    shutil.rmtree("changed/parts/000001")
    return [("changed weights, --resume", *run(*command, "--resume"))]


def bad_images() -> list[tuple[str, int, str]]:
    shutil.copytree("photos", "torn")
    for i in (3, 50, 77, 120, 199):
        path = Path("torn", str(i % 4), f"{i:03d}.jpg")
        path.write_bytes(path.read_bytes()[:200])
    stopped = run(*EVALUATE, "-d", "torn", "-o", "partly")
    gone_on = run(*EVALUATE, "-d", "torn", "-o", "partly", "--resume", "--max-bad", "0.05")
    return [("5 corrupt images of 200", *stopped), ("… --resume --max-bad 0.05", *gone_on)]


def image_bomb() -> list[tuple[str, int, str]]:
    shutil.copytree("photos", "bombs")
    bomb(Path("bombs/0/bomb.png"))
    said = run(*EVALUATE, "-d", "bombs", "-o", "bombed-run", "--max-bad", "0")
    return [("50,000 × 50,000 pixel PNG header", *said)]


def pickle_bomb() -> list[tuple[str, int, str]]:
    with open("bomb.pt", "wb") as file:
        pickle.dump(ForkBomb(), file)
    said = run(*EVALUATE, "-d", "photos", "-w", "bomb.pt", "-o", "pickled")
    assert not Path("bombed").exists(), "the pickle was run"
    return [("fork-bombing pickle as weights", *said)]


def archive_members() -> list[tuple[str, int, str]]:
    picture = Path("photos/0/000.jpg").read_bytes()
    with tarfile.open("images.tar", "w") as archive:
        for name in ("ILSVRC2012_val_00000001.JPEG", "../../ILSVRC2012_val_00000002.JPEG"):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
    Path("labels.csv").write_text(
        "file,wnid\nILSVRC2012_val_00000001.JPEG,n01440764\nILSVRC2012_val_00000002.JPEG,n01443537\n"
    )
    command = ["imagenet", "prepare", "images.tar", "inside/val", "--labels", "labels.csv"]
    said = run(*command, "--images", "2")
    outside = [path for path in Path().rglob("*00000002.JPEG") if "inside/val" not in str(path)]
    assert not outside, f"written outside: {outside}"
    return [("`../` member of an archive", *said)]


CASES: list[Callable[[], list[tuple[str, int, str]]]] = [
    full_disk,
    read_only,
    corrupt_part,
    other_weights,
    bad_images,
    image_bomb,
    pickle_bomb,
    archive_members,
]


def main() -> None:
    """Print a table of faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    if chosen.markdown:
        print("| fault | exit code | what is said |\n|---|---:|---|")
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        sys.path.insert(0, place)
        Path("factories.py").write_text(FACTORY)
        photographs(Path("photos"), 200)
        for case in CASES:
            try:
                rows = case()
            except subprocess.CalledProcessError as error:
                rows = [(case.__name__.replace("_", " "), -1, f"not tried: {error}")]
            for fault, code, said in rows:
                said = said.replace(f"{os.path.realpath(place)}/", "").replace(f"{place}/", "")
                if chosen.markdown:
                    print(f"| {fault} | {code} | {said} |".replace("\n", " "), flush=True)
                else:
                    wrapped = textwrap.fill(
                        said, 96, initial_indent="    ", subsequent_indent="    "
                    )
                    print(f"{fault}: exit code {code}\n{wrapped}", flush=True)
        os.chdir(home)


if __name__ == "__main__":
    main()
