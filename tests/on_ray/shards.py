"""Semantic inference whose worker is killed; apart from `stages`, because it imports more."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from stages import leave_trace

from raysyn.methods.privimage.stages import count_shard


def count_or_die(shard: tuple[int, int], shared: tuple[tuple[Any, ...], str]) -> torch.Tensor:
    """PrivImage's unit of inference; the first process that has counted the third shard is killed."""
    counted = count_shard(shard, shared[0])
    if leave_trace(Path(shared[1]), f"unit-{shard[0]}") == 1 and shard[0] == 2 * 25:
        os.kill(os.getpid(), signal.SIGKILL)
    return counted
