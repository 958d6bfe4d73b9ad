"""Fresh memory in large pieces: what a large output costs where it has never been written to."""

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

__all__ = ["populate"]

HUGE_PAGE = 2**21  # bytes
MADV_POPULATE_WRITE = 23  # Linux 5.14; mmap does not name it


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def populate(address: int, size: int) -> None:
    """Have fresh memory backed at once, by huge pages, and leave alone what is backed already.

    Otherwise each page of 4 KiB is a fault of its own when it is first written to, and these
    faults take several times as long as dropout. Where the system knows nothing of this, or
    declines, that is what happens.

    Parameters
    ----------
    address, size : int
        Of the memory, in bytes.
    """
    if sys.platform != "linux":
        return
    page, libc = mmap.PAGESIZE, _libc()
    backed = ctypes.c_ubyte(1)
    middle = (address + size // 2) // page * page
    libc.mincore(ctypes.c_void_p(middle), ctypes.c_size_t(page), ctypes.byref(backed))
    if backed.value & 1:
        return
    for advice, step in ((mmap.MADV_HUGEPAGE, HUGE_PAGE), (MADV_POPULATE_WRITE, page)):
        start, end = address // step * step, -(-(address + size) // step) * step
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)
