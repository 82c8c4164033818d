"""The Python door: what the command line does, as functions. `import raysyn` leads here, and costs nothing until then.

    result = raysyn.run("dp_feta", preset="quick", data="scans.parquet", epsilon=5, out="runs/scans")

Names and values are those of the flags, and a mistake raises ValueError with the sentence that the command prints.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from raysyn.compute.doorway import Compute, Show, machines_of
from raysyn.data.images import Images
from raysyn.keywords import flat, once, words_of
from raysyn.methods.catalogue import Entry, find
from raysyn.runs.folder import REPORT_HTML, REPORT_JSON
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import as_typed, read_bytes, under
from raysyn.screen import cli

if TYPE_CHECKING:
    from raysyn.own_data import Picked

RELEASE = ("release/synthetic.parquet", "release/samples.png", "release/certificate.json")
OF_TOOLS = {
    "leaderboard": {
        "table": "internal/table.html",
        "csv": "internal/table.csv",
        "each": "internal/runs.csv",
        "runs": "internal/runs",
    },
    "lira": {"report": REPORT_HTML},
}
"""What those that make no images leave, all of which stays inside."""


@dataclass(frozen=True)
class Result:
    """A finished run, read from its folder when asked."""

    out: str
    """Run folder, or its URI."""
    plan: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """After a dry run what it found, not rounded; None otherwise, since a finished run has a certificate. `method` and
    `preset`, of raysyn.auto those that it picked, `n` of `unit` (image or person), `guarantee` (dp or none), `seconds`
    of one worker for each stage; under dp also `epsilon` of all stages together by `accountant`, `delta`, `adjacency`,
    `most_right_guesses` (of bets on whether one was among them), and `stages`, each with `stage`, `mechanism`,
    `noise_multiplier`, `sampling_rate`, `steps`, `epsilon_alone`."""

    @cached_property
    def report(self) -> dict[str, Any]:
        """`internal/report.json`: stays inside. ValueError where there is none, as of images that were drawn anew."""
        if self._drawn_anew:
            raise ValueError(f"out is {self.out}, drawn from a run: it has no report, see that of the run")
        return self._json(REPORT_JSON)

    @cached_property
    def certificate(self) -> dict[str, Any]:
        """What the run promises, and what it does not."""
        return self._json(RELEASE[2])

    @cached_property
    def images(self) -> Images:
        """The synthetic images, uint8 (N, H, W, C), with labels and names of classes."""
        from raysyn.report.release import read_images

        return read_images(self._bytes(RELEASE[0]))

    @property
    def _drawn_anew(self) -> bool:
        """Whether these are more images from a run, as `draw` makes them."""
        try:
            return "drawn_anew" in self.certificate
        except ValueError:
            return False

    @property
    def _made_by(self) -> str | None:
        """The first word of its command; None where there is no run."""
        try:
            return str(self._json(RUN_JSON)["method"])
        except ValueError:
            return None

    @property
    def paths(self) -> dict[str, str]:
        """Where things are: release, images, samples, certificate (these may leave); report, which stays inside, and
        which images that were drawn anew do not have. Of a leaderboard its table, csv and the folder of its runs, of
        lira its report, which stay inside."""
        if (files := OF_TOOLS.get(self._made_by or "")) is None:
            files = {"images": RELEASE[0], "samples": RELEASE[1], "certificate": RELEASE[2], "release": "release"}
            files |= {} if self._drawn_anew else {"report": REPORT_HTML}
        return {name: under(self.out, *file.split("/")) for name, file in files.items()}

    def as_frame(self) -> Any:
        """The release as a pandas DataFrame: image (PNG bytes), label, split and, where there is one, soft_label."""
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self._bytes(RELEASE[0]))).to_pandas()

    def _json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._bytes(name))
        return found

    def _bytes(self, name: str) -> bytes:
        try:
            return read_bytes(self.out, name)
        except FileNotFoundError as error:
            mend = "name the folder of a finished run"
            if name != RUN_JSON and self._made_by == "leaderboard":
                mend = f"it is a leaderboard's: name one of its runs, which lie in {self.paths['runs']}"
            raise ValueError(f"out is {self.out}, which holds no {name}: {mend}") from error


def load(out: str) -> Result:
    """The finished run in a folder, or what was drawn from one, without a report; ValueError where there is neither."""
    result = Result(str(out))
    if not result._drawn_anew:
        result.report  # noqa: B018, asked for here so that a mistake is named here
    return result


def run(
    method: str,
    preset: str = "quick",
    *,
    data: str | Mapping[str, Any] | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    out: str | None = None,
    quiet: bool = False,
    **flags: Any,
) -> Result:
    """Make the run that `raysyn METHOD PRESET` would, or continue it, and return what it made.

    `data` is a file, a folder or the name of a data set, or {"path": ..., "size": ...}; `epsilon` and `delta` are those
    of --budget. Every other flag is a keyword: `synthetic=2000`, a group as a mapping, `on={"workers": 2}`, or in full,
    `**{"finetune.batch-size": 256}`. `quiet` shows no progress, and warns as Python does. Raises ValueError for bad
    input.
    """
    entry = find(method)
    if not isinstance(preset, str) or preset.startswith("-"):
        raise ValueError(f"preset is {preset}: give one of {', '.join(entry.presets())}")
    own: dict[str, Any] = {"out": out, "budget.epsilon": epsilon, "budget.delta": delta}
    own |= dict(flat({"data": _place(data)}))
    given = once([*((name, value) for name, value in own.items() if value is not None), *flat(flags)])
    presets, machines = entry.presets(), entry.machines()
    words = words_of(given, presets.get(preset), machines)
    command = cli.read(presets, [preset, *words], machines=machines, prog=f"raysyn {method}", seal=entry.seal)
    return _made(entry, command, quiet)


def auto(
    source: str,
    *,
    epsilon: float | None = None,
    minutes: float = 30.0,
    delta: float | None = None,
    out: str | None = None,
    quiet: bool = False,
    **flags: Any,
) -> Result:
    """Make a run of your images whose method and settings are picked: what `raysyn auto SOURCE` does. A `Result`.

    `source` is a file, a folder or the name of a data set. What was picked, why, and what to expect is printed before
    anything is spent; `dry_run=True` stops there. Other flags are keywords, as of `run`: `data={"size": 32}`,
    `public={"path": ("letters.parquet",)}`, `on={"address": "here"}`. Raises ValueError for bad input.
    """
    from raysyn import own_data

    own: dict[str, Any] = {"epsilon": epsilon, "minutes": minutes, "delta": delta, "out": out}
    given = once([*((name, value) for name, value in own.items() if value is not None), *flat(flags)])
    default = own_data.default(source := as_typed(source))
    with cli.explained():
        picked = own_data.pick(source, words_of(given, default.config, default.on))
    return _made(picked.entry, picked.command, quiet, picked)


def draw(run: str, *, out: str, quiet: bool = False, **flags: Any) -> Result:
    """More images from a finished run: what `raysyn draw RUN` does. A `Result` without a report.

    `flags` are those of the command: `synthetic=100_000, classes=("3", "7"), shares=(1, 2), sampler={"guidance": 1.0}`.
    No private image is read, nothing is paid, and the run's certificate is theirs too. Raises ValueError for bad input.
    """
    from raysyn import more_images
    from raysyn.screen.console import Console
    from raysyn.verbs import connect as join

    with ExitStack() as stack:
        said = io.StringIO()
        console = stack.enter_context(Console(said) if quiet else Console())
        if quiet:
            stack.callback(_warn, said)
        with cli.explained():
            made_by = more_images.source(as_typed(run))
            plain, place = more_images.default(made_by), () if out is None else (("out", out),)
            given = more_images.read(made_by, words_of(once([*flat(flags), *place]), plain, plain.on))
            begun = more_images.begin(made_by, given, console, join, stack)
        more_images.draw(begun)
    return Result(given.out)


def account(source: str, *, delta: float | None = None) -> dict[str, Any]:
    """What all runs on the images of a source have cost, as `raysyn account` tells; ValueError for bad input."""
    from raysyn.report.accounts import told

    if not isinstance(source, str | os.PathLike | Result):
        raise ValueError(f"source is a {type(source).__name__}: give the path or the name of the images, as text")
    return cli.explained()(told)(as_typed(source), delta)


def _made(entry: Entry, command: cli.Command[Any, Any], quiet: bool, picked: Picked | None = None) -> Result:
    """The run of a command, or its plan where that was asked for."""
    from raysyn.command import beginning
    from raysyn.screen.console import Console
    from raysyn.verbs import connect as join

    work = entry.method()
    with ExitStack() as stack:
        said = io.StringIO()
        console = stack.enter_context(Console(said) if quiet else Console())
        if quiet:
            stack.callback(_warn, said)
        try:
            with cli.explained():
                if picked is None:
                    setting = beginning(entry)(command, console, join, stack)
                else:
                    picked.tell(console)
                    setting = work.begin(command, console, join, stack, picked.timed)
        except SystemExit as ended:  # a plan that was asked for was shown, or a sealed run has nothing to do
            if ended.code:
                raise
            found = getattr(ended, "found", None)
            asked = {"method": entry.name, "preset": command.preset}
            return Result(command.out, plan=found and asked | found)
        entry.run(setting)
    return Result(command.out)


@contextmanager
def connect(
    address: str = "local", storage: str = "runs/search", show: Show | None = None, **on: Any
) -> Iterator[Compute]:
    """Machines for a search or a fan-out of your own: `with raysyn.connect("auto") as compute: compute.search(...)`.

    `address` and `on` are the flags of --on.*, `storage` is where answers are kept, so that the same program continues
    where it stopped. Raises ValueError for machines that cannot be had.
    """
    from raysyn.compute.doorway import silent
    from raysyn.on_ray import cluster

    if "on" in on:
        raise ValueError(
            f"on is {on['on']!r}: connect has the flags of --on.* itself, as in connect('here', workers=2)"
        )
    with cluster.connect(machines_of({"address": address, **on}), storage, show or silent) as compute:
        yield compute


def _warn(said: io.StringIO) -> None:
    """What a quiet run must not keep to itself."""
    for line in said.getvalue().splitlines():
        if line.startswith("WARNING: "):
            warnings.warn(line.removeprefix("WARNING: "), stacklevel=1)


def _place(data: Any) -> Mapping[str, Any] | None:
    """`data` as the flags that it would be: a name that is known, else a path; ValueError for what is no place."""
    from raysyn.data.sources import NAMES

    if data is None or isinstance(data, Mapping):
        return data
    if not isinstance(data, str | os.PathLike | Result):
        raise ValueError(
            f"data is a {type(data).__name__}: give a path, the name of a data set, or its flags by their names, as in "
            "data={'path': ...}"
        )
    return {"name": data} if data in NAMES else {"path": str(data)}
