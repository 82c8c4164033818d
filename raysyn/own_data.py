"""`raysyn auto SOURCE`, on the command line and in Python: a method and its settings are picked, then run as any other.

What is picked follows from number, shape and classes of the images, which are public, from the budget and from the
machines: the same command picks the same again, and so continues its run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysyn.compute.worker import best_device
from raysyn.data.images import DataConfig, facts_and_units
from raysyn.data.names import check_by_name
from raysyn.data.public import load_public, look_beside
from raysyn.data.reading import Reading
from raysyn.data.sources import PRIVATE_NAMES, check_given
from raysyn.methods import catalogue
from raysyn.methods.auto import told
from raysyn.methods.auto.choice import Case, Choice, choose
from raysyn.methods.auto.config import Config, ShapeConfig
from raysyn.methods.auto.settings import WITH_PUBLIC, Facts
from raysyn.methods.auto.table import cells
from raysyn.methods.catalogue import Entry
from raysyn.methods.machines import On
from raysyn.report.choices import BY_TABLE
from raysyn.runs.refusals import refuse_strangers
from raysyn.runs.storage import local_folder, read_bytes
from raysyn.screen import cli
from raysyn.screen.accounts import AccountFlags
from raysyn.screen.flags import BARE, assigned, flags_of
from raysyn.screen.trackers import Kind

if TYPE_CHECKING:
    from raysyn.methods.outlook import Stage
    from raysyn.screen.console import Console

RUN_JSON = "internal/run.json"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    config: Config = field(default_factory=Config, metadata=BARE)
    budget: AccountFlags = field(default_factory=AccountFlags)
    on: On = field(default_factory=On)
    """Where the run happens; nothing here changes the result."""
    out: str
    """Run folder, or its URI on an object store. One that holds a run which this command began is continued."""
    dry_run: bool = False
    """Say what would be picked and why, print its plan, and stop."""
    seal: bool = False
    """Once the report is written, erase what could undo the noise."""
    track: Kind = "none"
    """Tell a tracker what the run is, how far, and its epsilon: tensorboard or mlflow."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A command that was made of one with a source alone."""

    entry: Entry
    command: cli.Command[Any, Any]
    words: tuple[str, ...]
    """The same command line with its method: `raysyn WORDS`."""
    case: Case
    choice: Choice
    images: int
    """How many there are; where persons are named, the case has the number of these."""
    unit: str
    """image, or person where these are named."""

    def tell(self, console: Console) -> None:
        """What was picked, and what to expect of it."""
        facts = self.case.facts
        height, width, channels = facts.shape
        colour = "colour" if channels == 3 else "grey"
        classes = f"{facts.classes} class{'es' if facts.classes > 1 else ''}"
        console.say(f"{self.images:,} images of {height} x {width} pixels, {colour}, {classes}")
        if self.unit == "person":
            console.say(f"They are of {facts.n:,} persons, each of whom counts as one image in what follows.")
        for line in told.lines(self.choice, self.case):
            console.say(line)
        if best_device().type == "cuda":
            console.say("There is a GPU here, and the table's minutes are of CPUs: the outlook below tells its own.")
        console.say(f"The same as: raysyn {shlex.join(self.words)}")

    def timed(self, console: Console, stages: Sequence[Stage]) -> None:
        """A warning where the outlook on this machine is longer than was given."""
        spent = sum(stage.with_workers(self.case.workers) for stage in stages)
        if (said := told.too_long(self.choice, self.case, spent)) is not None:
            console.say(said)


def default(source: str) -> Flags:
    """The command without a flag."""
    known = source if source in PRIVATE_NAMES else check_given(source, f"data.path={source!r}").resolve().stem
    return Flags(out=f"runs/auto-{known}")


def pick(source: str, words: Sequence[str]) -> Picked:
    """Read the flags, look at what is public about the images, and pick. ValueError, in one sentence, for bad input."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from raysyn.methods.outlook import workers

    flags = assigned(default(source), words, "auto")
    cli.check_out(flags.out)
    if not flags.dry_run and (here := local_folder(flags.out)) is not None:
        refuse_strangers(here)
    config = flags.config
    budget = config.budget()
    if source in PRIVATE_NAMES:
        check_by_name(source)
    data: dict[str, Any] = {"name": source} if source in PRIVATE_NAMES else {"path": source}
    own = {name.name: getattr(config.data, name.name) for name in fields(config.data)}
    (n, shape, classes), units, unit = facts_and_units(DataConfig(**data, **own))
    budget.delta_for(units, unit)
    case = Case(
        facts=Facts(n=units, shape=shape, classes=classes), budget=budget, minutes=config.minutes,
        workers=workers(flags.on) or 1, public=config.has_public, begun=begun(flags.out),
        synthetic=config.synthetic, named=config.method,
    )  # fmt: skip
    choice = choose(case)
    made = choice.picked.setting
    if made.method == "dp_prototypes" and config.synthetic is None:
        # It releases public images. They are decoded once, here or by the run, unless they are the private ones.
        look_beside(DataConfig(**data, **own), shape, config.public)
        there = len(load_public(config.public, shape).train)
        made = replace(made, flags={**made.flags, "synthetic": str(min(int(made.flags["synthetic"]), there))})
    entry = catalogue.find(made.method)
    typed = [*_source_words(data, own), *_budget_words(config), *_account_words(flags.budget), *made.words()[2:]]
    typed += _public_words(config) if made.method in WITH_PUBLIC else []
    typed += _written_words(config)
    told = {"tuned-on": tuned_on(source, config), "chosen-among": config.chosen_among}
    typed += [f"--{name}={words}" for name, words in told.items() if words is not None]
    typed += [f"--out={flags.out}", *(["--seed", str(config.seed)] if config.seed else [])]
    command = cli.read(
        entry.presets(), [made.preset, *typed], machines=entry.machines(), prog=f"raysyn {made.method}", seal=entry.seal
    )
    command = replace(command, machines=flags.on, dry_run=flags.dry_run, seal=flags.seal, track=flags.track)
    return Picked(
        entry=entry, command=command, words=(made.method, made.preset, *typed), case=case, choice=choice, images=n,
        unit=unit,
    )  # fmt: skip


def tuned_on(source: str, config: Config) -> str | None:
    """By whose results settings were found: what the user says, and this set itself where the table is of it and a
    method was picked by the table."""
    name = source if source in PRIVATE_NAMES else Path(source).stem
    by_table = config.method is None and name in {cell.data for cell in cells()}
    table = f"{name}{BY_TABLE}" if by_table else None
    return "; ".join(filter(None, [config.tuned_on, table])) or None


def begun(out: str) -> str | None:
    """The method of the run in a folder, which goes on whatever would be picked now; None where there is none."""
    try:
        method = str(json.loads(read_bytes(out, RUN_JSON))["method"])
    except FileNotFoundError:
        return None
    if method not in {cell.method for cell in cells()}:
        raise ValueError(f"out is {out}, which holds a run of {method}, which auto never begins: give another folder")
    return method


def _source_words(data: dict[str, str], own: dict[str, Any]) -> list[str]:
    plain = ShapeConfig()
    given = data | {name.replace("_", "-"): value for name, value in own.items() if value != getattr(plain, name)}
    return [word for name, value in given.items() for word in _words(f"--data.{name}", value)]


def _words(flag: str, value: Any) -> list[str]:
    """A flag with its value, of one word or several."""
    if value is False:
        group, _, name = flag.rpartition(".")
        return [f"{group}.no-{name}"]
    return [flag, *map(str, value)] if isinstance(value, tuple) else [f"{flag}={value}"]


def _written_words(config: Config) -> list[str]:
    """How many of each class, and in which files."""
    words, plain = list[str](), {flag.path: flag.value for flag in flags_of(Config())}
    for flag in flags_of(config):
        if flag.path[0] in ("classes", "release") and flag.value != plain[flag.path]:
            name = "--" + ".".join(flag.path).replace("_", "-")
            if isinstance(flag.value, tuple):
                words += [name, *map(str, flag.value)]
            else:
                words.append(name if flag.value is True else f"{name}={flag.value}")
    return words


def _budget_words(config: Config) -> list[str]:
    delta = [] if config.delta is None else [f"--budget.delta={config.delta!r}"]
    return [f"--budget.epsilon={config.epsilon!r}", *delta]


def _account_words(given: AccountFlags) -> list[str]:
    return [f"--budget.{name.replace('_', '-')}={value}" for name, value in vars(given).items() if value is not None]


def _public_words(config: Config) -> list[str]:
    limit = [] if config.public.limit is None else [f"--public.limit={config.public.limit}"]
    named = ["--public.path", *config.public.path] if config.public.path else ["--public.name", *config.public.name]
    told = {"crop": config.public.crop, "fit": config.public.fit}
    fit = [f"--public.{what}={how}" for what, how in told.items() if how is not None]
    columns = {"image": config.public.image_column, "label": config.public.label_column}
    given = [f"--public.{what}-column={name}" for what, name in columns.items() if name is not None]
    asked = Reading.of(config.public, "public.").given()
    given += [word for name, value in asked for word in _words(f"--public.{name.replace('_', '-')}", value)]
    return [*named, *given, *fit, *limit]
