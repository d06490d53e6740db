"""Freed memory stays with a command's process."""

import os
import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys, numpy
from aliascope.commands.allocation import keep_freed_memory
asked = sys.argv[1] == "keep"
done = asked and keep_freed_memory()
def one_round():
    blocks = [numpy.ones(3 << 20) for _ in range(4)]  # of 24 MiB
one_round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    one_round()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool, **settings: str):
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", ROUNDS, "keep" if keep else ""]
    out = subprocess.run(command, env=mine | settings, capture_output=True, text=True, check=True)
    done, count = out.stdout.split()
    return done == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is set")
def test_pages_are_not_faulted_in_again_for_blocks_that_were_freed():
    (plain, many), (kept, few) = faults(keep=False), faults(keep=True)
    assert (plain, kept) == (False, True)
    assert few < many / 10


def test_what_the_user_set_stays():
    assert faults(keep=True, MALLOC_TRIM_THRESHOLD_="1000000")[0] is False
