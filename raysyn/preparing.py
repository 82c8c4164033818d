"""`raysyn prepare SET SOURCE`: from the files of a set, as they are downloaded, to one Parquet file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raysyn.data.names import check_class_names
from raysyn.data.prepared.table import SETS
from raysyn.data.prepared.writing import Written, write
from raysyn.data.source import SPLITS
from raysyn.data.sources import check_given
from raysyn.runs.storage import written_atomically
from raysyn.screen import cli
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled
from raysyn.screen.words import guess

if TYPE_CHECKING:
    from raysyn.data.prepared.kinds import Found, PreparedSet, Use

INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
SMALLEST = 8


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    out: str | None = None
    """The Parquet file to write; by default SET.parquet, here."""
    train: tuple[str, ...] = ()
    """Parts of the original division to train on, such as `train val`; by default those above. What is for testing
    stays so, even where it is trained on as well."""
    size: int | None = None
    """Pixels a side, at least 8; by default those above."""
    per_class: int | None = None
    """Only the first so many of each class in each part, to try it."""
    overwrite: bool = False
    """Write over a file that is there."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 once the file is written, 2 after one sentence on stderr about what is wrong."""

    def check(_: ExitStack) -> Sequence[str]:
        name, source, flags = _read(arguments)
        return prepare(name, source, flags)

    return cli.run_or_explain(check, lambda lines: print("\n".join(lines)), INTERRUPTED)


def _read(arguments: Sequence[str]) -> tuple[str, str, Flags]:
    if not arguments or arguments[0] not in SETS:
        has = f"{arguments[0]} is no set that prepare knows{guess(arguments[0], SETS)}" if arguments else "no set"
        own = "; it makes files of the papers' sets alone, and images of your own need none" if arguments else ""
        raise ValueError(f"{has if arguments else 'prepare has no set'}: give one of {', '.join(SETS)}{own}")
    name, *rest = arguments
    if not rest or rest[0].startswith("-"):
        raise ValueError(f"prepare {name} has no source: give the folder that holds {SETS[name].layout}")
    return name, rest[0], assigned(Flags(), rest[1:], f"prepare {name}")


def prepare(name: str, given: str, flags: Flags) -> list[str]:
    """Write the file, and say what it holds. ValueError, in one sentence, for what is wrong with files or flags."""
    known, source = SETS[name], check_given(given, repr(given))
    cli.check_out(flags.out, expanded=True)
    out = check_given(flags.out or f"{name}.parquet", f"out={flags.out!r}")
    train, size = flags.train or tuple(known.train), flags.size or known.size
    where = known.where(train)
    _check(out, source, flags)
    found = known.open(source)
    check_class_names(str(source), found.class_names)
    total = sum(n for part, n in found.images.items() if where[part]) if flags.per_class is None else 0
    print(f"{name}: from {source} to {out}", flush=True)
    begun = time.monotonic()

    def tell(done: int) -> None:
        left = (time.monotonic() - begun) * (total - done) / done
        of = f" of {total:,}, about {_minutes(left)} left" if total else ""
        print(f"{name}: {done:,} images{of}", file=sys.stderr, flush=True)

    about = {"prepared": {"set": name, "train": list(train), "size": size}}
    with written_atomically(out) as file:
        written = write(
            file, found, where, about=about, size=size, rescaled=known.rescaled, per_class=flags.per_class, tell=tell
        )
        if not written.splits.get("train"):
            raise ValueError(f"{source} has no images to train on: nothing is written")
    return [
        *_holds(out, written, found, size),
        *_compared(known, found, written, where, flags.per_class),
        *_in_both(written, where),
        *found.said,
        *_enlarged(written, size),
        *_meant_for(known, out, train, size, _smaller(written)),
    ]


def _check(out: Path, source: Path, flags: Flags) -> None:
    if not source.is_dir():
        raise ValueError(f"{source} is no folder: give the one that the downloaded files are unpacked in")
    if out.suffix not in (".parquet", ".pq"):
        raise ValueError(f"out is {out}: give a name that ends in .parquet, for what it is read by")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"out is {out}, where no file can be: give a file in a folder that is there")
    if out.exists() and not flags.overwrite:
        raise ValueError(f"out is {out}, which is there already: give another name, or --overwrite")
    if flags.size is not None and flags.size < SMALLEST:
        raise ValueError(f"size is {flags.size}: give at least {SMALLEST}")
    if flags.per_class is not None and flags.per_class < 1:
        raise ValueError(f"per_class is {flags.per_class}: give at least 1")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _holds(out: Path, written: Written, found: Found, size: int) -> list[str]:
    splits = ", ".join(f"{written.splits[split]:,} {split}" for split in SPLITS if split in written.splits)
    classes = f"{len(found.class_names):,} class{'es' if len(found.class_names) > 1 else ''}"
    if written.classes < len(found.class_names):
        classes += f" ({written.classes:,} with a training image)"
    return [f"{out}: {splits}; {classes}; {size} x {size} pixels, RGB; {out.stat().st_size / 2**20:,.1f} MiB"]


def _compared(
    known: PreparedSet, found: Found, written: Written, where: Mapping[str, tuple[str, ...]], per_class: int | None
) -> list[str]:
    """How many images the source has of those that were published."""
    if per_class is not None:
        return [f"At most {per_class:,} of each class and part, as asked for: to try it, not to repeat a paper."]
    there = found.listed or found.images or written.parts
    parts = [part for part in known.parts if where[part]]
    different = [part for part in parts if there.get(part, 0) != known.parts[part]]
    if not different:
        return [f"The source is complete: {', '.join(f'{known.parts[part]:,} {part}' for part in parts)}."]
    told = ", ".join(f"{there.get(part, 0):,} {part} images, not {known.parts[part]:,}" for part in different)
    return [f"The source is another than the papers': it has {told}."]


def _in_both(written: Written, where: Mapping[str, tuple[str, ...]]) -> list[str]:
    both = sum(n for part, n in written.parts.items() if len(where[part]) > 1)
    if not both:
        return []
    return [
        f"{both:,} test images are training images too: what is measured on them is not held out, and attacks on "
        "membership leave them out."
    ]


def _smaller(written: Written) -> bool:
    """Whether the source is a smaller copy of the set. A few small images are in the original sets too."""
    return 2 * written.enlarged > sum(written.parts.values())


def _enlarged(written: Written, size: int) -> list[str]:
    if not written.enlarged:
        return []
    other = ": the source is a smaller copy, and this is for no preset of a paper" if _smaller(written) else ""
    many = f"{written.enlarged:,} of {sum(written.parts.values()):,} images were enlarged"
    return [f"{many}, their shorter side having fewer than {size} pixels{other}."]


def _meant_for(known: PreparedSet, out: Path, train: Sequence[str], size: int, too_small: bool) -> list[str]:
    """For which presets it is as in the paper, which one that is `too_small` never is; for which others it would have
    to be prepared in another way."""
    fits, others = [], []
    for use in known.uses:
        if set(use.train) == set(train) and use.size == size:
            fits += [] if too_small else [f"Made for raysyn {use.method} {use.presets}: {_flag(use)} {out}"]
        else:
            flags = wanted(use, known)
            how = f"with {flags}" if flags else "without --train and --size"
            others.append(f"For raysyn {use.method} {use.presets}, prepare it {how}.")
    return [*fits, *others]


def _flag(use: Use) -> str:
    return "--public.path" if use.public else "--data.path"


def wanted(use: Use, known: PreparedSet) -> str:
    """The flags that make a set as these presets want it; none where it is so by default."""
    train = [f"--train {' '.join(use.train)}"] if set(use.train) != set(known.train) else []
    return " ".join([*train, *([f"--size {use.size}"] if use.size != known.size else [])])


def told(usage: str, about: str) -> str:
    """Help: every set with what to download from where, and the flags."""
    lines = [filled(f"usage: {usage}", 0), "", filled(about, 0), "", "sets:"]
    for name, one in SETS.items():
        lines.append(filled(f"{name}: {one.about}", 2, 2))
        numbers = ", ".join(f"{n:,} {part}" for part, n in one.parts.items())
        rows = {
            "download": one.download,
            "licence": one.licence,
            "SOURCE": f"the folder that holds {one.layout}",
            "parts": f"{numbers}; trained on: {' '.join(one.train)}; {one.size} pixels",
        }
        lines += [f"    {key:<9} {filled(text, 14)}" for key, text in rows.items()]
        for use in one.uses:
            flags = wanted(use, one)
            told_flags = f", prepared with {flags}" if flags else ""
            lines.append(f"    {'for':<9} {filled(f'{use.method} {use.presets} {_flag(use)}{told_flags}', 14)}")
    more = "Licences are told in a word: read them where you download. Nothing is downloaded by this command."
    return "\n".join([*lines, "", *briefly_told(Flags()), "", filled(more, 0)])
