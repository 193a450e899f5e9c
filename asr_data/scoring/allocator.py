"""Settings of the C libraries under torch that decide what happens to the memory of a batch."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 2**30
_KEPT_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}
"""oneDNN's own cache, and that of torch's layer above it. A batch needs about five: the products of a layer."""


def settle_memory() -> None:
    """Make batches on a CPU cost no page faults, and runs no growing memory, for the rest of the process.

    glibc hands large blocks back to the system at once, and every batch takes page faults for all its activations
    again: a fifth of the time of SmolLM2-135M in bfloat16 on two cores. And what was made for a product in bfloat16 is
    kept for the last 1,024 shapes, which batches of ever new shapes fill up. Call it before the first model is run;
    settings of the user's own stay. It changes the whole process, so programs call it and libraries do not.
    """
    for name, number in _KEPT_KERNELS.items():
        os.environ.setdefault(name, number)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Hand what is freed back to the system: a model that is loaded next may not fit into the gaps of the last one."""
    gc.collect()  # adapters and the layers around them hold each other
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
