"""`raysyn look SOURCE`: what is in a source of images, and how it will be read. It changes nothing of it."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from raysyn.data import grouped
from raysyn.data.images import DataConfig, facts_and_units
from raysyn.data.names import check_by_name
from raysyn.data.parquet_schema import Columns
from raysyn.data.persons import Persons
from raysyn.data.reading import Colour, Reading
from raysyn.data.several import MultiLabel, Several
from raysyn.data.shares import OWN_SHARE
from raysyn.data.sources import PRIVATE_NAMES, check_given, from_name, from_path
from raysyn.data.survey import Survey, survey
from raysyn.report import looked
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import write_atomically
from raysyn.screen import cli
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled

INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
EPSILON = 3.0
"""Of the run that is thought of."""
MOST_ROWS = 30
"""Of a table, on the screen."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    image_column: str | None = None
    """Column of a Parquet file that holds the images (by default image, or else img), or of a .csv their paths."""
    label_column: str | None = None
    """Column of it that holds their classes; by default label, or else labels."""
    person_column: str | None = None
    """Column of it that tells whose each image is, as --data.person-column of a run; by default person."""
    person_pattern: str | None = None
    """Regular expression that finds the person in the name of each file, as --data.person-pattern of a run."""
    labels: bool = True
    """Whether to read labels; --no-labels leaves them unread, as --data.no-labels of a run."""
    multi_label: MultiLabel | None = None
    """most-frequent or combination: how several labels of an image make a class, as --data.multi-label of a run."""
    label_order: tuple[str, ...] = ()
    """Which labels to heed, as --data.label-order of a run."""
    size: int | None = None
    """Pixels a side that a run rescales all images to, as --data.size of a run; the tables are of images as they
    are."""
    window: tuple[float, float] | None = None
    """LOW HIGH: which values of images deeper than 8 bits become 0 and 255, as --data.window of a run."""
    colour: Colour = "auto"
    """grey or rgb: look at all images as one kind, as --data.colour of a run."""
    background: str | None = None
    """white, black or #rrggbb: what shows through transparent images, as --data.background of a run."""
    sheet: str | None = None
    """The contact sheet to write, a PNG: the first images of each class; by default look-SOURCE.png, here, or
    the next look-SOURCE-2.png that is not there."""
    html: str | None = None
    """A page to write, with everything that is told here and the sheet."""
    overwrite: bool = False
    """Write over files that are there."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 once everything is told, 2 after one sentence on stderr about what is wrong."""

    def check(_: ExitStack) -> Sequence[str]:
        if not arguments or arguments[0].startswith("-"):
            raise ValueError("look has no source: begin with a file, folder or name of images")
        return look(arguments[0], assigned(Flags(), arguments[1:], "look"))

    return cli.run_or_explain(check, lambda lines: print("\n".join(lines)), INTERRUPTED)


def look(given: str, flags: Flags) -> list[str]:
    """Look at every image, write the sheet and the page, and say what there is. ValueError where nothing can be read of
    the source; a picture that cannot be is counted."""
    if named := given in PRIVATE_NAMES:
        check_by_name(given)
    columns = Columns(flags.image_column, flags.label_column, group="")
    config = DataConfig(
        name=given if named else None, path=None if named else given,
        image_column=columns.image, label_column=columns.label, size=flags.size, window=flags.window,
        colour=flags.colour, background=flags.background, labels=flags.labels, multi_label=flags.multi_label,
        label_order=flags.label_order, person_column=flags.person_column, person_pattern=flags.person_pattern,
    )  # fmt: skip
    whose = Persons.of(flags.person_column, flags.person_pattern, group="")
    if named:
        whose.check_none(given)
    reading = Reading.of(flags, group="")
    # First, so that memory holds the source once.
    facts = _facts(config)
    # Without test images a run is refused, and with a share held out may not be.
    assumed = replace(config, test_share=OWN_SHARE) if isinstance(facts, str) else config
    fit = _facts(assumed) if isinstance(facts, str) else facts
    several = Several.of(flags.multi_label, flags.label_order)
    source = (
        from_name(given, None, several=several, labels=flags.labels)
        if named
        else from_path(given, columns, several, labels=flags.labels, persons=whose)
    )
    source = replace(source, reading=reading)
    sheet = check_given(flags.sheet, f"sheet={flags.sheet!r}") if flags.sheet else _usual(source.name, flags.overwrite)
    html = check_given(flags.html, f"html={flags.html!r}") if flags.html else None
    for field, path in (("sheet", sheet), ("html", html)):
        if path is not None:
            _check(field, path, None if config.path is None else Path(given).expanduser(), flags.overwrite)
    print(f"look: {given}\n{filled(looked.INSIDE, 0)}", flush=True)

    def tell(done: int, total: int) -> None:
        print(f"look: {done:,} of {total:,} images", file=sys.stderr, flush=True)

    found = survey(source, looked.COLUMNS, looked.ROWS, tell)
    persons = grouped.named(source)
    tables = [*looked.tables(found, source.class_names), *looked.table_of_persons(persons)]
    understood = [f"Understood as {source.told}."] if source.told else []
    told = [f"Looked at so: {reading.told()}."] if reading.told() else []
    lines = [
        *understood,
        *told,
        *reading.warned(),
        *source.warned,
        _read(config, facts, found),
        *_fitting(given, assumed, fit, found),
        *looked.of_two_depths(found, flags.window is not None),
        *looked.sentences(found),
        *looked.of_persons(persons, None if persons else grouped.suggested(source), named),
        *looked.advice(found, flags.size),
    ]
    png = looked.sheet(found, source.class_names)
    write_atomically(sheet, png, 0o600)
    lines.append(f"Contact sheet (stays inside): {sheet}")
    if html is not None:
        write_atomically(html, looked.page(f"look: {given}", lines, tables, png), 0o600)
        lines.append(f"Page (stays inside): {html}")
    return [*(one for table in tables for one in ("", *_shown(table))), "", *(filled(line, 0) for line in lines)]


def _usual(name: str, overwrite: bool) -> Path:
    """Where a sheet goes of whose place nothing was said: a second look must not be refused for the first one's."""
    names = (f"look-{name}{'' if at == 1 else f'-{at}'}.png" for at in count(1))
    return next(path for path in map(Path, names) if overwrite or not path.exists())


def _check(field: str, path: Path, source: Path | None, overwrite: bool) -> None:
    ending = {"sheet": ".png", "html": ".html"}[field]
    if path.suffix != ending:
        raise ValueError(f"{field} is {path}: give a name that ends in {ending}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{field} is {path}, where no file can be: give a file in a folder that is there")
    if source is not None and (path.resolve() == source.resolve() or source.resolve() in path.resolve().parents):
        raise ValueError(f"{field} is {path}, in the source, which is left as it is: give a place outside")
    runs = (RUN_JSON, "certificate.json")
    if run := next((home for home in path.resolve().parents if any((home / one).is_file() for one in runs)), None):
        raise ValueError(f"{field} is {path}, in {run}, which a run or its release lies in: give a place outside")
    if path.exists() and not overwrite:
        raise ValueError(f"{field} is {path}, which is there already: give another name, or --overwrite")


Known = tuple[tuple[int, tuple[int, int, int], int], int, str]
"""(number of training images, shape, classes), of how many persons, or else images, and which of the two."""


def _facts(config: DataConfig) -> Known | str:
    """What a run would know of it at its beginning, or why it would be refused."""
    try:
        return facts_and_units(config)
    except ValueError as error:
        return str(error)


def _flags(config: DataConfig) -> str:
    """Those that a run would read it with, beside its name or path, with a space before each."""
    flag = ""
    columns = (("image", config.image_column), ("label", config.label_column), ("person", config.person_column))
    for what, name in columns:
        flag += f" --data.{what}-column {shlex.quote(name)}" if name is not None else ""
    flag += f" --data.person-pattern {shlex.quote(config.person_pattern)}" if config.person_pattern else ""
    flag += f" --data.test-share {config.test_share:g}" if config.test_share else ""
    flag += f" --data.size {config.size}" if config.size is not None else ""
    flag += "" if config.labels else " --data.no-labels"
    flag += f" --data.multi-label {config.multi_label}" if config.multi_label else ""
    flag += f" --data.label-order {shlex.join(config.label_order)}" if config.label_order else ""
    for name, value in Reading.of(config).given():
        flag += f" --data.{name} {shlex.join(map(_typed, value if isinstance(value, tuple) else (value,)))}"
    return flag


def _typed(value: float | str) -> str:
    """As it is typed: a number in no more digits than it takes, and in no fewer."""
    if isinstance(value, str):
        return value
    return short if float(short := f"{value:g}") == value else repr(value)


def _fitting(given: str, config: DataConfig, facts: Known | str, found: Survey) -> list[str]:
    """Which method and preset fit, by the rule of `raysyn auto` and for its usual promise and time; none where a run
    would be refused."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from raysyn.methods.auto import choice, told
    from raysyn.methods.auto.config import Config
    from raysyn.methods.auto.settings import Facts
    from raysyn.methods.machines import On
    from raysyn.methods.outlook import workers

    if isinstance(facts, str):
        return []
    if looked.differing(found, facts[0][1][2], config.size):
        return ["No method is told: such a run would be refused."]
    (_, shape, classes), units, unit = facts
    delta, few = told.few(units, unit)
    asked = Config(epsilon=EPSILON, delta=delta)
    fixed = f"ε {EPSILON:g} and {asked.minutes:g} minutes"
    fixed += f" (with --data.test-share {config.test_share:g}, which is assumed here)" if config.test_share else ""
    case = choice.Case(
        facts=Facts(n=units, shape=shape, classes=classes), budget=asked.budget(), minutes=asked.minutes,
        workers=workers(On()) or 1,
    )  # fmt: skip
    try:
        picked = choice.choose(case).picked
    except ValueError as error:
        return [*few, f"With {fixed} no method fits: {error}."]
    flag = "" if delta is None else f" --delta {delta:g}"
    return [
        *few,
        f"Which method fits, for {fixed}: {picked.method}, preset {picked.setting.preset} changed for these images, "
        f"about {told.in_minutes(picked.minutes)} here with its judging. Why, and what to expect: raysyn auto "
        f"{shlex.quote(given)}{_flags(config)} --epsilon {EPSILON:g}{flag} --dry-run",
    ]


def _read(config: DataConfig, facts: Known | str, found: Survey) -> str:
    """How a run would read it, with no flag of --data. but its name or path."""
    flag = f"--data.name {config.name}" if config.path is None else f"--data.path {shlex.quote(config.path)}"
    flag += _flags(config)
    if isinstance(facts, str):
        return f"A run with {flag} would be refused: {facts}."
    (n, (height, width, channels), classes), *_ = facts
    # Of a release of raysyn a share is held out.
    tested = found.classes.get("test", Counter()).total() or found.classes["train"].total() - n
    what = f"{n:,} training and {tested:,} test images of {width} x {height} pixels, {looked.KINDS[channels]}"
    many = f"{classes:,} class{'es' if classes > 1 else ''}"
    if not (differing := looked.differing(found, channels, config.size)):
        return f"A run with {flag} reads {what}, {many}."
    return (
        f"A run with {flag} begins to read {what}, {many}, and is refused at the first that {' or '.join(differing)}."
    )


def _shown(table: looked.Table) -> list[str]:
    """A table in lines, its words to the left, and columns of numbers to the right."""
    head, *rows = table.rows
    kept = [head, *rows[:MOST_ROWS]]
    widths = [max(len(row[column]) for row in kept) for column in range(len(head))]
    lines = []
    right = [table.numbers(column) for column in range(len(head))]
    for row in kept:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    more = len(rows) - MOST_ROWS
    return [f"{table.title}:", *(f"  {line}" for line in lines), *([f"  and {more:,} more"] if more > 0 else [])]


def told(usage: str, about: str) -> str:
    """Help: what it tells, and the flags."""
    more = "SOURCE is a file, a folder or a name, as --data.path and --data.name take them. Nothing of it is changed."
    texts = (f"usage: {usage}", about, more)
    return "\n".join([*(line for text in texts for line in (filled(text, 0), "")), *briefly_told(Flags())])
