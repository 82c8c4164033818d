"""Processes of ours train without torch's compiler: it is fetched when somebody asks for it, not by every optimizer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo"


def put_off_compiler() -> None:
    """Put a stand-in in the place of `torch._dynamo`, where that has not been imported yet.

    Every optimizer imports it at its first call, and so do some operations without content, only to be told that
    nothing is being compiled: a second and a half of CPU in each process that trains. Results are the same. For
    processes whose whole work is ours; who calls `torch.compile` there gets the compiler all the same.
    """
    # Imported where it is used, not above: a verb that computes nothing must not wait for it.
    import torch

    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Later(_NAME)  # type: ignore[assignment]


def forget_compiled() -> None:
    """Forget what the compiler knows of networks, if anybody has asked for it in this process."""
    if (found := sys.modules.get(_NAME)) is not None and not isinstance(found, _Later):
        found.reset()


class _Later(ModuleType):
    """Answers the two calls that code makes that is not compiled; whatever else is asked of it is the compiler's."""

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """A mark for the compiler, as in `torch._dynamo`."""

    def disable(self, fn: Callable[..., Any] | None = None, *given: Any, **more: Any) -> Any:
        """As torch asks itself, for a function of its own (torch/_compile.py); anybody else asks the compiler."""
        return fn if more == {"wrapping": False} else _fetched().disable(fn, *given, **more)

    def __getattr__(self, name: str) -> Any:
        if name == "__file__":
            # `inspect` asks all modules for it. To fetch the compiler then would be in the midst of whoever inspects.
            raise AttributeError(name)
        return getattr(_fetched(), name)


def _fetched() -> Any:
    if isinstance(sys.modules.get(_NAME), _Later):
        import torch

        del sys.modules[_NAME], torch._dynamo
    return importlib.import_module(_NAME)
