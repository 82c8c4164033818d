"""raysyn: private synthetic images on Ray. Nothing is imported before it is used.

raysyn.run(method, preset, data=..., epsilon=..., out=...)   make a run, or continue it: a `Result`
raysyn.auto(source, epsilon=..., minutes=...)                the same, with method and settings picked for your images
raysyn.draw(run, out=..., synthetic=...)                     more images from a finished run, at no further cost
raysyn.load(out)                                             the `Result` of a finished run
raysyn.check(release)                                        whether a release is what its certificate says, row by row
raysyn.account(source, delta=...)                            what all runs on the same images have cost together
raysyn.attack(run, shadow_runs=..., on=...)                  attacks on a finished run, by runs on halves of its images
raysyn.audit("engine", games=...)                            attacks on raysyn's own mechanisms, beside what they claim
raysyn.connect(address, storage=...)                         machines for a search or a fan-out of one's own
raysyn.catalogue()                                           what `run` knows: {name: Entry}
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Threads of torch that wait for each other let the core go after microseconds. By default they hold it for
# milliseconds, in which the one waited for cannot run where others use the machine too. Read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_HOMES = {
    "account": "raysyn.door",
    "attack": "raysyn.attacking",
    "audit": "raysyn.auditing",
    "auto": "raysyn.door",
    "draw": "raysyn.door",
    "run": "raysyn.door",
    "load": "raysyn.door",
    "check": "raysyn.verify",
    "connect": "raysyn.door",
    "Result": "raysyn.door",
    "catalogue": "raysyn.methods.catalogue:methods",
    "Search": "raysyn.compute.searches",
    "Between": "raysyn.compute.searches",
}

__all__ = ["Between", "Result", "Search", "__version__", "account", "attack", "audit", "auto"]
__all__ += ["catalogue", "check", "connect", "draw", "load", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'raysyn' has no attribute {name!r}{_called(name)}")
    home, _, called = _HOMES[name].partition(":")
    return getattr(import_module(home), called or name)


def _called(name: str) -> str:
    """How a method is called, where that is one's name; importing all of them to know it would take long."""
    method = not name.startswith("_") and (Path(__file__).parent / "methods" / name / "presets.py").exists()
    return f": call raysyn.run({name!r}, preset=...)" if method else ""


def __dir__() -> list[str]:
    return __all__
