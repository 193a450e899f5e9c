"""Each in a process of its own: the settings hold until it ends."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS_OF_A_LARGE_BLOCK = """
import mmap, resource, sys
from asr_data.scoring.allocator import settle_memory
if sys.argv[1] == "settled":
    settle_memory()
size = 64 * 2**20
bytearray(size)  # taken and given back
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(size)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * mmap.PAGESIZE / size)
"""


def printed(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: elsewhere there is nothing to settle")
def test_a_block_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert float(printed(FAULTS_OF_A_LARGE_BLOCK, "settled")) < 0.01
    if "GLIBC_TUNABLES" not in os.environ and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        assert float(printed(FAULTS_OF_A_LARGE_BLOCK, "as it comes")) > 0


def test_what_the_user_set_stays() -> None:
    script = (
        "import os; from asr_data.scoring.allocator import settle_memory as s; s();"
        "print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    )
    assert printed(script, ONEDNN_PRIMITIVE_CACHE_CAPACITY="7") == "7"
