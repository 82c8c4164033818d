"""The most memory that a process has held, of the machine and of its GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY, GPU_MEMORY = "memory_bytes", "gpu_memory_bytes"


def forget() -> None:
    """Begin anew from what is held now. Where the system cannot, the most since the process began is told."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if (gpu := _gpu()) is not None:
        gpu.reset_peak_memory_stats()


def held() -> dict[str, int]:
    """Bytes since then: {MEMORY: of the process, GPU_MEMORY: of the tensors on its GPU, where it has used one}."""
    import resource

    most = {MEMORY: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                most[MEMORY] = int(line.split()[1]) * 1024
    if (gpu := _gpu()) is not None:
        most[GPU_MEMORY] = gpu.max_memory_allocated()
    return most


def _gpu() -> Any:
    """PyTorch's functions for a GPU that this process uses; None without. Who has not loaded PyTorch need not."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def largest(some: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Of several processes, or of one at several times."""
    found: dict[str, int] = {}
    for one in some:
        for name, size in one.items():
            found[name] = max(found.get(name, 0), size)
    return found
