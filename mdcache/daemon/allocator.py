"""Have glibc give memory back, so that resident memory is memory in use. Rule: docs/design.md#blocks.

Other C libraries have no such functions, and need none of this.
"""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Have all threads use one heap, instead of leaving gaps in one each; to be called before they start."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Return all free pages to the system, also those between others; takes milliseconds."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
