"""Every method by its name: what it promises, what it needs, where it lives. Imports none of them.

The command line, the leaderboard, `raysyn methods` and the table in README are made from this list. A package of
somebody else's adds its own by an entry point of the group `raysyn.methods`, whose object is an `Entry`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from raysyn.screen.ended import Ended
from raysyn.screen.flags import check_flags
from raysyn.screen.words import guess, in_a_line

GROUP = "raysyn.methods"
"""Of the entry points by which packages add methods."""


Guarantee = Literal["dp", "none", "either"]


class Broken(ValueError):
    """A package's Entry leads to what is no method; its sentence names the module."""


class NoReport(Ended, RuntimeError):
    """A method came to its end without one, and so without a release."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One word of the command line, and what a reader is told of it."""

    name: str
    """As in `raysyn NAME PRESET`; lower case, digits and underscores."""
    summary: str
    """One sentence."""
    paper: str = ""
    guarantee: Guarantee
    """Whether its certificate states a differential privacy guarantee; `either`: some of its models' does."""
    needs: str = "nothing"
    """What it needs beside the private images, in words."""
    settings: str
    """Module with PRESETS, {name: configuration}, and where --on.* has more than usual, MACHINES."""
    work: str
    """Module with METHOD: what begins and runs it, for all but the leaderboard a `method.Method`."""
    seal: bool = True
    """Whether its runs have anything to erase (--seal)."""
    starts_others: bool = False
    """Whether it starts others of this list, and so is given the reader of their command lines."""

    def presets(self) -> Mapping[str, Any]:
        """{name: configuration}, the smallest run first."""
        presets: Mapping[str, Any] = self._part("settings", "PRESETS")
        if not presets or not isinstance(presets, Mapping):
            raise Broken(f"{self.name}: PRESETS of {self.settings} is no dictionary of configurations by name")
        for name, one in () if self._ours() else presets.items():
            try:
                check_flags(one)
            except Exception as error:  # annotations that cannot be read raise anything
                raise Broken(f"{self.name}: {self.settings}, preset {name}: {error}; mend that package") from error
        return presets

    def machines(self) -> Any:
        """The defaults of --on.*."""
        from raysyn.compute.doorway import Machines

        self.presets()
        return getattr(import_module(self.settings), "MACHINES", None) or Machines()

    def method(self) -> Any:
        """What does the work. Broken where a package's method is another one than it was entered as."""
        found = self._part("work", "METHOD")
        if self._ours():
            return found
        if not is_dataclass(found) or isinstance(found, type):
            raise Broken(f"{self.name}: METHOD of {self.work} is no raysyn.methods.method.Method: make it one")
        if (name := getattr(found, "name", None)) != self.name:
            raise Broken(f"{self.name}: METHOD of {self.work} is called {name!r}: give it the name of its Entry")
        return replace(found, guarantee=self.guarantee)

    def run(self, setting: Any) -> None:
        """`run` of the method, on what it has begun; NoReport where that has left none."""
        from raysyn.runs.folder import REPORT_JSON

        self.method().run(setting)
        if not self._ours() and not (setting.folder.out / REPORT_JSON).exists():
            raise NoReport(
                f"{self.name} ended without a report and perhaps without a release, and what it paid is spent: end its "
                "`run` with `return finish(setting, ...)`"
            )

    def _ours(self) -> bool:
        return self.work.startswith("raysyn.")

    def _part(self, field: str, name: str) -> Any:
        """What a module of the method holds by this name; Broken, in one sentence, where another package's has
        none."""
        module = getattr(self, field)
        try:
            return getattr(import_module(module), name)
        except Exception as error:  # whatever a package that raysyn does not know may raise
            if self._ours():
                raise
            raise Broken(
                f"{self.name}: {name} of {module}, which its Entry names as {field!r}, cannot be had "
                f"({in_a_line(error)}): mend that package, or uninstall it"
            ) from error


def _own(name: str, summary: str, paper: str, **more: Any) -> Entry:
    home = f"raysyn.methods.{name}"
    return Entry(name=name, summary=summary, paper=paper, settings=f"{home}.presets", work=f"{home}.pipeline", **more)


METHODS = (
    _own(
        "noisy_means",
        "Noisy class means and how images differ from them; images are drawn from a Gaussian per class.",
        "none: the simplest release, beside which all others stand",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "evolution",
        "Candidates from a renderer of characters, or public images, evolve by noisy votes of the private images.",
        "Private Evolution (Lin et al., ICLR 2024); with a renderer, Sim-PE (2025)",
        guarantee="dp",
        needs="public images, or writing",
    ),
    _own(
        "dp_merf",
        "One noisy mean of random Fourier features per class; a generator learns to have it.",
        "DP-MERF (Harder et al., AISTATS 2021)",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "dp_ntk",
        "One noisy mean of a random network's gradients per class; a generator learns to have it.",
        "DP-NTK (Yang et al., 2023)",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "dp_mepf",
        "Noisy means and mean squares of what a public classifier sees; a generator learns to have them.",
        "DP-MEPF (Harder et al., 2022)",
        guarantee="dp",
        needs="public images",
    ),
    _own(
        "dp_kernel",
        "Noisy kernel sums of samples of the images, round by round; a generator learns from their gradients.",
        "DP-Kernel: Functional Renyi DP for Generative Modeling (Jiang et al., NeurIPS 2023)",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "p3gm",
        "Noisy principal directions and a noisy mixture fix half of an autoencoder, DP-SGD trains the rest.",
        "P3GM (Takagi et al., ICDE 2021)",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "dp_feta",
        "Noisy central images warm up a diffusion model, DP-SGD fine-tunes it.",
        "DP-FETA (Li et al., S&P 2025); DP-FETA-Pro (2026); without warm-up DPDM (2023)",
        guarantee="dp",
        needs="nothing",
    ),
    _own(
        "privimage",
        "A private query picks the public images to pre-train on, DP-SGD fine-tunes a diffusion model or a GAN.",
        "PrivImage (Li et al., USENIX Security 2024); PDP-Diffusion, DPGAN-p, DPGAN",
        guarantee="dp",
        needs="public images",
    ),
    _own(
        "dp_imgsyn",
        "A DP-SGD teacher and noisy statistics of its layers align public images; its soft labels are released too.",
        "DP-ImgSyn (Ravikumar et al., 2025)",
        guarantee="dp",
        needs="public images, or noise",
    ),
    _own(
        "dp_prototypes",
        "Noisy mean features of each class label public images, which are released with these soft labels.",
        "prototypes of DPPL-Mean (Wahdany et al., 2024); labels and release are raysyn's own",
        guarantee="dp",
        needs="public images",
    ),
    _own(
        "pigan",
        "A mutual-information penalty against membership inference, beside GAN, PrivGAN and DPGAN; attacks on all.",
        "PIGAN (Hassanzadeh and Tillman, 2022)",
        guarantee="either",
        needs="nothing",
    ),
    _own(
        "knowledge_recycling",
        "GAN checkpoints chosen by student accuracy, soft labels, tuned generation; LiRA on teacher and student.",
        "Knowledge Recycling (Lomurno and Matteucci, 2024)",
        guarantee="none",
        needs="nothing",
        seal=False,
    ),
)
"""The methods that come with raysyn."""

TOOLS = (
    _own(
        "lira",
        "Train shadow models, then tell a classifier's training images from others.",
        "LiRA (Carlini et al., S&P 2022)",
        guarantee="none",
        needs="a classifier, or trains one",
        seal=False,
    ),
    _own(
        "leaderboard",
        "Methods, presets, settings, epsilons and seeds beside each other, each run a unit of work on the cluster.",
        "",
        guarantee="none",
        needs="what its methods need",
        seal=False,
        starts_others=True,
    ),
)
"""What is started as a method is, and makes no images."""


def methods() -> dict[str, Entry]:
    """All methods by name: raysyn's own, then those of installed packages.

    Raises ValueError, in one sentence that names the package, for one whose entry cannot be loaded, is no `Entry`, or
    has a name that is taken.
    """
    found = {one.name: one for one in METHODS}
    for point in entry_points(group=GROUP):
        one = _loaded(point)
        if one.name in found or one.name in {tool.name for tool in TOOLS}:
            raise ValueError(f"{_told(point)} brings a second {one.name}: uninstall it, or have it choose another name")
        found[one.name] = one
    return found


def find(name: str) -> Entry:
    """A method or tool by its name; ValueError, with the nearest name, where there is none.

    What comes with raysyn is found whatever is installed beside it, and is never another package's.
    """
    own = {one.name: one for one in (*METHODS, *TOOLS)}
    if name in own:
        return own[name]
    known = methods()
    if name not in known:
        near = guess(name, [*known, *own])
        raise ValueError(
            f"{name} is no method{near}: there are {', '.join(known | own)}; one of another package must be "
            "installed, on a cluster on every node"
        )
    return known[name]


def _loaded(point: EntryPoint) -> Entry:
    """What an entry point leads to; ValueError, in one sentence, where that is no method."""
    try:
        one = point.load()
    except Exception as error:  # whatever a package that raysyn does not know may raise
        raise ValueError(
            f"{_told(point)} cannot be loaded ({in_a_line(error)}): mend that package, or uninstall it"
        ) from error
    if not isinstance(one, Entry):
        raise ValueError(
            f"{_told(point)} is of type {type(one).__name__}, and not raysyn.methods.catalogue.Entry: mend that "
            "package, or uninstall it"
        )
    if one.guarantee not in get_args(Guarantee):
        raise ValueError(
            f"{_told(point)} says guarantee={one.guarantee!r}: give one of {', '.join(get_args(Guarantee))}"
        )
    if one.name != point.name or not re.fullmatch("[a-z][a-z0-9_]*", one.name):
        raise ValueError(
            f"{_told(point)} calls its method {one.name!r}: give entry point and Entry one name, of lower case, digits "
            "and underscores, or uninstall that package"
        )
    return one


def _told(point: EntryPoint) -> str:
    package = f" of package {point.dist.name}" if point.dist is not None else ""
    return f"entry point {point.name} = {point.value}{package} (group {GROUP})"
