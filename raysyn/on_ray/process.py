"""What every worker process does first."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raysyn.compute.compiler import put_off_compiler

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_NEVER = 2**30


def settle(threads: int) -> None:
    """Take this many threads, whatever an earlier job left behind, keep freed memory for the next step, and do without
    torch's compiler until it is asked for.

    By default the C library hands a freed tensor back to the system and has the same pages mapped and cleared anew a
    moment later: a quarter of the CPU time of a small network's training step. Elsewhere than with glibc nothing is
    changed.
    """
    torch.set_num_threads(threads)
    put_off_compiler()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _NEVER)
        mallopt(_TRIM_THRESHOLD, _NEVER)


@contextmanager
def our_modules() -> Iterator[None]:
    """Processes started inside the block can import what this one can: functions travel by name."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
