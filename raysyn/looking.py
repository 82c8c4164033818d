"""`raysyn look SOURCE`: what is in a source of images, and how it will be read. It changes nothing of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from raysyn import look_run
from raysyn.data import grouped
from raysyn.data.images import DataConfig
from raysyn.data.named_classes import called_like_persons
from raysyn.data.names import check_by_name
from raysyn.data.parquet_schema import Columns
from raysyn.data.persons import Persons
from raysyn.data.picture import Crop, Fit, chosen_fit
from raysyn.data.reading import Colour, Reading
from raysyn.data.several import MultiLabel, Several
from raysyn.data.shares import OWN_SHARE
from raysyn.data.source import Source
from raysyn.data.sources import PRIVATE_NAMES, check_given, from_name, from_path
from raysyn.data.survey import survey
from raysyn.report import look_depths, look_page, looked
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import write_atomically
from raysyn.screen import cli
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled

INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
OF_RUN = re.compile(r"--data\.(?=[a-z_-]+(=|$))")
"""How the name of a flag begins that a run takes."""
NO_SHEET = "none"
PRIVATE = "Private images, which stay inside:"
WITHOUT = "Stays inside:"
"""What the place of a page begins with that holds images, and of one that holds none."""
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
    crop: Crop | None = None
    """centre: of every image the square in its middle, as --data.crop of a run; the tables are of images as they
    are."""
    fit: Fit | None = None
    """stretch, pad or crop: how an image that is not square comes into that size, as --data.fit of a run. The contact
    sheet shows what a run then learns from."""
    test_share: float | None = None
    """Share of the training images held out as test images, as --data.test-share of a run; the tables are of all."""
    window: tuple[float, float] | None = None
    """LOW HIGH: which values of images deeper than 8 bits become 0 and 255, as --data.window of a run."""
    colour: Colour = "auto"
    """grey or rgb: look at all images as one kind, as --data.colour of a run."""
    background: str | None = None
    """white, black or #rrggbb: what shows through transparent images, as --data.background of a run."""
    skip_broken: int = 0
    """How many images that cannot be decoded a run may leave out, as --data.skip-broken of a run; the tables are of
    all."""
    sheet: str | None = None
    """The contact sheet to write, a PNG of private images: the first of each class; by default look-SOURCE.png, here,
    or the next look-SOURCE-2.png that is not there. none: write none, nor show it in the page."""
    html: str | None = None
    """A page to write, with everything that is told here and the sheet."""
    overwrite: bool = False
    """Write over files that are there."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 once everything is told, 2 after one sentence on stderr about what is wrong."""

    def check(_: ExitStack) -> Sequence[str]:
        if not arguments or arguments[0].startswith("-"):
            raise ValueError("look has no source: begin with a file, folder or name of images")
        # Flags of a run, in whose words this command advises, are its own.
        words = [OF_RUN.sub("--", word) if OF_RUN.match(word) else word for word in arguments[1:]]
        return look(arguments[0], assigned(Flags(), words, "look"))

    return cli.run_or_explain(check, lambda lines: print("\n".join(lines)), INTERRUPTED)


def look(given: str, flags: Flags) -> list[str]:
    """Look at every image, write the sheet and the page, and say what there is. ValueError where nothing can be read of
    the source; a picture that cannot be is counted."""
    config = _config(given, flags)
    # First, so that memory holds the source once.
    facts = look_run.facts_of(config)
    # Without test images a run is refused, and with a share held out may not be.
    assumed = replace(config, test_share=OWN_SHARE) if isinstance(facts, str) else config
    fit = look_run.facts_of(assumed) if isinstance(facts, str) else facts
    source = _source(config)
    sheet, html = _places(config, source, flags)
    print(f"look: {given}\n{filled(looked.INSIDE, 0)}", flush=True)

    def tell(done: int, total: int) -> None:
        print(f"look: {done:,} of {total:,} images", file=sys.stderr, flush=True)

    found = survey(source, look_page.COLUMNS, look_page.ROWS, tell, config.size, config.how())
    if deep := look_depths.of_two_depths(found, flags.window is not None):
        found = look_depths.mended(found)
        facts, fit = (look_depths.to_one_depth(one) if isinstance(one, str) else one for one in (facts, fit))
    persons = grouped.named(source)
    tables = [*looked.tables(found, source.class_names), *looked.table_of_persons(persons)]
    named = config.path is None
    lines = [
        look_run.read_as(config, facts, found),
        *([f"Understood as {source.told}."] if source.told else []),
        *([f"Looked at so: {told}."] if (told := source.reading.told()) else []),
        *source.reading.warned(),
        *source.warned,
        *called_like_persons(source.class_names or (), config.label_column, ""),
        *look_run.fitting(given, assumed, fit, found, assumed != config),
        *deep,
        *looked.sentences(found, config.skip_broken, windows=not deep),
        *looked.of_persons(persons, None if persons else grouped.suggested(source), named),
        *looked.advice(found, config.size, config.how()),
        *(look_page.of_letters(found, source.class_names) if sheet is not None else []),
        *look_run.again(config, assumed, fit, found),
    ]
    drawn = partial(look_page.sheet, found, source.class_names)
    written = _written(f"look: {given}", lines, tables, sheet, html, drawn)
    shown = (one for table in tables for one in ("", *_shown(table)))
    return [*shown, "", *(filled(line, 0) for line in lines), *written]


def _written(
    title: str, lines: list[str], tables: list[looked.Table], sheet: Path | None, html: Path | None,
    drawn: Callable[[], bytes],
) -> list[str]:  # fmt: skip
    """Write the sheet and the page, as far as they are wanted, and say where."""
    png, told = None, []
    if sheet is not None:
        write_atomically(sheet, png := drawn(), 0o600)
        told.append(f"{PRIVATE} contact sheet {looked.printable(str(sheet.absolute()))} (--sheet says where, or none)")
    if html is not None:
        write_atomically(html, look_page.page(title, [*lines, *told], tables, png), 0o600)
        what = PRIVATE if sheet is not None else WITHOUT
        told.append(f"{what} page {looked.printable(str(html.absolute()))}")
    return told


def _config(given: str, flags: Flags) -> DataConfig:
    """What a run would be told of the source; ValueError for flags that do not go together."""
    if named := given in PRIVATE_NAMES:
        check_by_name(given)
    chosen_fit(flags.fit, flags.crop, "", flags.size is not None)
    whose = Persons.of(flags.person_column, flags.person_pattern, group="")
    if named:
        whose.check_none(given)
    Reading.of(flags, group="")
    return DataConfig(
        name=given if named else None, path=None if named else given,
        image_column=flags.image_column, label_column=flags.label_column, crop=flags.crop, size=flags.size,
        fit=flags.fit, window=flags.window, colour=flags.colour, background=flags.background, labels=flags.labels,
        multi_label=flags.multi_label, label_order=flags.label_order, person_column=flags.person_column,
        person_pattern=flags.person_pattern, test_share=flags.test_share, skip_broken=flags.skip_broken,
    )  # fmt: skip


def _source(config: DataConfig) -> Source:
    """All of it as it is, in the words of this command's flags."""
    several = Several.of(config.multi_label, config.label_order)
    if config.path is None:
        assert config.name is not None
        source = from_name(config.name, None, several=several, labels=config.labels)
    else:
        columns = Columns(config.image_column, config.label_column, group="")
        whose = Persons.of(config.person_column, config.person_pattern, group="")
        source = from_path(config.path, columns, several, labels=config.labels, persons=whose)
    return replace(source, reading=Reading.of(config, group=""))


def _places(config: DataConfig, source: Source, flags: Flags) -> tuple[Path | None, Path | None]:
    """Where the sheet and the page go, if there are such; ValueError where nothing can be written."""
    sheet = None
    if flags.sheet != NO_SHEET:
        given = flags.sheet and check_given(flags.sheet, f"sheet={flags.sheet!r}")
        sheet = given or _usual(source.name, flags.overwrite)
    html = check_given(flags.html, f"html={flags.html!r}") if flags.html else None
    own = None if config.path is None else Path(config.path).expanduser()
    for field, path in (("sheet", sheet), ("html", html)):
        if path is not None:
            _check(field, path, own, flags.overwrite)
    return sheet, html


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
