"""I9: what large pieces leave behind in a process's memory."""

import subprocess
import sys

import pytest

_HOLES = """
import sys
from pathlib import Path
from quarterdeck.core.allocator import give_back_large_blocks

if sys.argv[1] == "given back":
    give_back_large_blocks()
block = bytearray(8 * 1024 * 1024)
del block  # from now on glibc takes all that is smaller into its heap
pieces = [bytearray(700 * 1024) for _ in range(200)]
full_kib = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
del pieces[::2]
left_kib = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
print((full_kib - left_kib) // 1024)
"""


def _freed_mib(how: str) -> int:
    """Of 68 MiB that every second of 200 pieces had."""
    done = subprocess.run([sys.executable, "-c", _HOLES, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_pieces_between_others_leave_no_holes() -> None:
    """I9"""
    if _freed_mib("as it is") > 60:
        pytest.fail("this C library leaves no holes: the test shows nothing here")

    assert _freed_mib("given back") > 60
