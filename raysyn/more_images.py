"""`raysyn draw RUN`, on the command line and in Python: more images from a finished run, at no further cost.

Of a run with a guarantee this is post-processing: nothing but the answers that the ledger was paid for is read, so the
certificate holds for these images as it does for the first, and a sealed run will do. Of one without, what was learned
from the private images is read, and no more is promised than before: nothing. No private image is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from raysyn.compute.doorway import Compute, Machines, Show
from raysyn.draw_source import DRAWN, Source, source
from raysyn.methods.class_shares import turns
from raysyn.methods.common import apart, join, watch
from raysyn.methods.method import refuse_inside
from raysyn.methods.own_network import refuse_unnamed
from raysyn.methods.synthesis import Drawing, drawn, soft_labels
from raysyn.report import choices
from raysyn.report.release import write_release
from raysyn.report.release_config import ReleaseConfig
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import local_folder
from raysyn.screen.console import Console
from raysyn.screen.flags import assigned, flags_of
from raysyn.train.samplers import SamplerConfig, doubt

__all__ = ["Begun", "Flags", "Source", "begin", "draw", "labels", "read", "source"]
NAME = "draw"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to draw, and where it goes."""

    synthetic: int = 60_000
    """Images to draw; by default as many as the run has released."""
    classes: tuple[str, ...] = ()
    """Classes to draw, by their names as the run has them (numbers where it has no names); by default all, in the
    shares of the run."""
    shares: tuple[float, ...] = ()
    """Shares of these classes, in their order, as numbers of any sum; by default equal ones. They count as public: true
    shares of private images must not be copied here."""
    seed: int = 0
    """By default one more than the run's, which gives other images than those that it has released; each further draw
    needs another one. With the run's own, images begin with those that it has released, by full five hundreds."""
    sampler: SamplerConfig | None = None
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    chosen_among: str | None = None
    """What these images were chosen among by looking at private ones, in words; the certificate lists it as an
    uncharged choice."""
    trust: str | None = None
    """network.factory of the run, where it has one: code that its folder names and that is run, so it is named here."""
    on: Machines = field(default_factory=Machines)
    out: str
    """Folder of the new release, or its URI. The same command continues one that was stopped."""


NOT_OF_IMAGES = ("on", "out", "release", "chosen_among", "trust")
"""Flags that change nothing in the images."""
PLAIN = Flags(synthetic=60_000, sampler=SamplerConfig(), out="")
"""Every flag that there is."""
OF_RUN = ("synthetic", "seed")
"""Flags whose default is known only where the run is."""
DEFAULTS = "Defaults are those of the run: name it before --help to see them."
"""What is said where it is not."""


def default(made_by: Source) -> Flags:
    """The command without a flag but --out."""
    config = made_by.config
    diffusion = getattr(config, "generator", "diffusion") == "diffusion"
    sampler = getattr(config, "sampler", None) if diffusion else None
    # Another seed than the run's, with which these would be its released images once more.
    seed = (config.seed + 1) % 2**32
    return Flags(synthetic=config.synthetic or made_by.released, seed=seed, sampler=sampler, out="")


def read(made_by: Source, words: Sequence[str]) -> Flags:
    """The flags of a command; ValueError, in one sentence, for what cannot be drawn."""
    was = default(made_by)
    given = assigned(was, words, f"{NAME} {made_by.run}")
    if was.sampler is None and given.sampler is not None:
        raise ValueError(f"sampler is given, but {made_by.method} drew this run without one: leave --sampler.* out")
    known = made_by.signed["public_facts"]["classes"]
    refuse_unnamed(made_by.run, made_by.config, given.trust)
    if not given.out.strip():
        raise ValueError("out is not given: say with --out where the new release goes")
    here, there = local_folder(given.out), local_folder(made_by.run)
    if here is not None and there is not None and here.resolve().is_relative_to(there.resolve()):
        raise ValueError(f"out is {given.out}, inside of the run itself, which stays as it is: give another folder")
    refuse_inside(given.out, made_by.private, made_by.config)
    if given.release.network:
        raise ValueError("release.network is True, but the run's own release can hold the network: leave it out")
    if given.synthetic < 1 or given.seed < 0:
        raise ValueError(f"synthetic is {given.synthetic} and seed {given.seed}: give at least 1, and at least 0")
    for name in given.classes:
        if name not in known:
            raise ValueError(f"classes has {name}, which the run does not: there are {', '.join(known)}")
    if len(set(given.classes)) != len(given.classes):
        raise ValueError(f"classes is {given.classes}: name each once")
    asked = given.classes or known
    sound = all(share > 0 for share in given.shares) and sum(given.shares) < np.inf
    if given.shares and (len(given.shares) != len(asked) or not sound):
        raise ValueError(f"shares is {given.shares}: give a number above 0 for each of {', '.join(asked)}")
    return given


def labels(given: Flags, names: Sequence[str], shares: tuple[float, ...] | None = None) -> np.ndarray:
    """int64 (synthetic,): classes in turn, or mixed by their shares, whose numbers are exact but for rounding; `shares`
    are those of the run."""
    asked = np.array([names.index(name) for name in given.classes or names], dtype=np.int64)
    of_run = None if given.classes else shares
    return asked[turns(given.synthetic, len(asked), given.shares or of_run)]


Connect = Callable[[Machines, str, Show], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A folder and machines, ready to draw."""

    made_by: Source
    given: Flags
    drawing: Drawing
    labels_N: np.ndarray
    folder: RunFolder
    compute: Compute
    console: Console


def begin(made_by: Source, given: Flags, console: Console, connect: Connect, stack: ExitStack) -> Begun:
    """Open or continue --out and join the machines; `stack` closes both. ValueError where --out holds something
    else, and before that where the run's files do not fit one another."""
    config, n = made_by.config, may_leave.units_of(made_by.signed["public_facts"])
    if given.sampler is not None:
        config = replace(config, sampler=given.sampler)
    drawing = made_by.drawing(config, made_by.like, n, made_by.answer)
    labels_N = labels(given, made_by.like.class_names, made_by.shares())
    settings = {name: value for name, value in asdict(given).items() if name not in NOT_OF_IMAGES}
    opened = RunFolder.open(
        given.out, method=f"{DRAWN}{made_by.method}", preset=NAME, config=settings,
        data_fingerprint=hashlib.sha256(json.dumps(made_by.signed["files"]).encode()).hexdigest(),
    )  # fmt: skip
    folder = stack.enter_context(opened)
    compute = join(stack, connect, apart(given.on, folder), folder, watch(console, folder))
    console.close()  # of what was shown while they were joined
    return Begun(
        made_by=made_by, given=given, drawing=drawing, labels_N=labels_N, folder=folder, compute=compute,
        console=console,
    )  # fmt: skip


def draw(begun: Begun) -> None:
    """Draw, and write the release with the run's certificate."""
    made_by, given, folder, console = begun.made_by, begun.given, begun.folder, begun.console
    facts = made_by.signed["public_facts"]
    if given.sampler is not None and (told := doubt(given.sampler)) is not None:
        console.say(f"WARNING: {told}.")
    if (told := repeated(made_by, given)) is not None:
        console.say(told)
    console.begin(["synthesise"])
    names = made_by.like.class_names
    images = drawn(
        begun.compute, folder, console, begun.drawing, begun.labels_N, given.seed, names, shape=made_by.like.shape
    )  # fmt: skip
    soft = soft_labels(begun.compute, folder, console, begun.drawing, images)
    write_release(
        folder, images, certificate(made_by, given), name=f"synthetic {facts['name']}", soft_labels=soft,
        written=given.release,
    )  # fmt: skip
    may = "may leave" if made_by.signed["guarantee"] != "none" else "no promise"
    console.say(f"Release ({may}): {folder.shown(folder.release)}")


def repeated(made_by: Source, given: Flags) -> str | None:
    """What is said where images of the run's release, or those of another draw, can be drawn once more."""
    if given.seed == (usual := default(made_by)).seed:
        return f"seed is {given.seed}, as of every draw of this run without --seed: give a further draw another one."
    if given.seed != made_by.config.seed or given.sampler != usual.sampler:
        return None
    return (
        f"seed is {given.seed}, the run's own: images of its release may be among these, as duplicates where the two "
        "are put together; leave --seed out for others."
    )


def certificate(made_by: Source, given: Flags) -> dict[str, Any]:
    """The run's own, which says how these images were drawn, and of what else they were chosen."""
    signed = {name: value for name, value in made_by.signed.items() if name != "files"}
    was = {flag.name: flag.value for flag in flags_of(replace(default(made_by), seed=made_by.config.seed))}
    changed = [
        f"{flag.name}={flag.value}"
        for flag in flags_of(given)
        if flag.value != was[flag.name] and flag.path[0] not in NOT_OF_IMAGES
    ]
    more = [choices.chosen(given.chosen_among)] if given.chosen_among else []
    more += [choices.BY_HAND] if given.classes or given.shares else []
    drawn_anew = {"of": made_by.signed["files"], "settings": ", ".join(changed) or "the run's own"}
    return {
        **signed, "uncharged_choices": choices.added_up(signed["uncharged_choices"], more), "drawn_anew": drawn_anew,
    }  # fmt: skip
