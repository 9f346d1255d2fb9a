"""Memory of processes that hold a large piece for each of many clients: what is freed goes back to the system.

With each large block that is freed, glibc raises the size from which a block is a mapping of its own, up to 32 MiB, and
keeps what is smaller in its heap. Where two hundred slow watchers hold pieces of different age, such a heap is a third
holes: 406 instead of 311 MiB (measured). Called by the two HTTP services.
"""

import ctypes
from typing import Final

_LARGE_BYTES: Final = 128 * 1024
"""glibc's first value of the threshold, which stays once it is set. Source: mallopt(3), M_MMAP_THRESHOLD."""
_M_MMAP_THRESHOLD: Final = -3


def give_back_large_blocks() -> None:
    """For the whole process, from now on. Does nothing where the C library has no such choice."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
