"""`raysyn attack RUN`, on the command line and in Python: a finished run attacked by shadow runs.

The run's method is run again on random halves of its images, each time with a secret of its own, and likelihood ratios
tell who was in which half. All of it happens inside: these runs touch the private images without a place in any budget,
and nothing of them, and nothing that attacks find, enters a release.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from raysyn.attacked_run import Attacked, add_found, attacked
from raysyn.attacks import shadow_runs
from raysyn.attacks.released import centred, signals, space_of
from raysyn.compute.doorway import Compute, Machines, Show, machines_of
from raysyn.data.counting import told_to
from raysyn.methods import shadowing
from raysyn.methods.account import enter_look, noted_in
from raysyn.methods.common import apart, join, watch
from raysyn.methods.exposed import parquet
from raysyn.report.across_runs import ATTACKED
from raysyn.report.attackers import guessing
from raysyn.runs.account_book import beside, book_at
from raysyn.runs.folder import REPORT_HTML, RunFolder
from raysyn.runs.storage import as_typed, local_folder, under, without_password, write_atomically
from raysyn.screen import cli
from raysyn.screen.console import Console, duration
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled
from raysyn.screen.words import rounded_up

STAGE, FOLDER = "shadow-runs", "shadow_runs"
LOOK = "whole runs on random halves of the images, to attack this one by (nothing of them leaves)"
INSIDE = (
    "Shadow runs touch the private images once more, without a place in any budget: nothing of them is released, "
    "and what is found stays inside. Who picks a run or its settings by it says so with --chosen-among."
)
AGAIN = f" The run is sealed, and this puts private material into it again: delete internal/{FOLDER} after reading."
Connect = Callable[[Machines, str, Show], AbstractContextManager[Compute]]


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Where the private images are."""

    path: str | None = None
    """Where the private images of the run are now, if not where they were. They must be the same ones."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    shadow_runs: int = 16
    """Runs of the method on random halves of the images, an even number of at least 6: more show smaller leaks. Asking
    for more later keeps those that exist."""
    data: DataFlags = field(default_factory=DataFlags)
    trust: str | None = None
    """network.factory of the run, where it has one: code that its folder names and that is run, so it is named here."""
    on: Machines = field(default_factory=Machines)
    """Where shadow runs happen, each on one CPU; with GPUs `gpus_per_unit` is each one's share."""
    account: str | None = None
    """The account that the run was entered in, if that is not beside the images: it holds the attack as a look."""
    out: str | None = None
    """Folder for all of it, by default internal/shadow_runs of the run. The same command continues there."""
    dry_run: bool = False
    """Check everything, say what would be run, and stop."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 once what was found is told, 2 for bad input."""

    def check(stack: ExitStack) -> Any:
        if not arguments or arguments[0].startswith("-"):
            raise ValueError("attack has no run: begin with the folder (--out) of a finished one")
        flags = assigned(Flags(), arguments[1:], "attack")
        print(f"attack: {arguments[0]} by {flags.shadow_runs} shadow runs", flush=True)
        return begin(arguments[0], flags, stack.enter_context(Console()), _connect, stack)

    return cli.run_or_explain(check, made)


def attack(
    run: str, *, shadow_runs: int = 16, data: str | None = None, trust: str | None = None, account: str | None = None,
    out: str | None = None, dry_run: bool = False, quiet: bool = False, on: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """What `raysyn attack RUN` finds, as records that stay inside; none after a dry run. ValueError for bad input."""
    flags = Flags(
        shadow_runs=shadow_runs,
        data=DataFlags(path=data),
        trust=trust,
        on=machines_of(on or {}),
        account=account,
        out=out,
        dry_run=dry_run,
    )
    with ExitStack() as stack:
        console = stack.enter_context(Console(io.StringIO()) if quiet else Console())
        try:
            with cli.explained():
                begun = begin(as_typed(run), flags, console, _connect, stack)
        except SystemExit as ended:
            if ended.code:
                raise
            return []
        return made(begun)


def _connect(machines: Machines, storage: str, show: Show) -> AbstractContextManager[Compute]:
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from raysyn.on_ray import cluster

    return cluster.connect(machines, storage, show)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A folder and machines, ready for shadow runs."""

    attacked: Attacked
    flags: Flags
    shadows: shadowing.Shadows
    folder: RunFolder
    compute: Compute
    console: Console


def begin(name: str, flags: Flags, console: Console, connect: Connect, stack: ExitStack) -> Begun:
    """Everything that can be wrong, then the folder and the machines, which `stack` closes. ValueError, in one
    sentence, for bad input; SystemExit(0) after a dry run."""
    shadow_runs.check_runs(flags.shadow_runs)
    cli.check_out(flags.out)
    out = flags.out or under(name, "internal", FOLDER)
    _check_out(out)
    console.show("images are read and checked", 0, 0, {})
    with told_to(partial(console.show, metrics={})):
        one = attacked(name, flags.data.path, flags.trust)
    everybody = shadowing.everybody(one.dataset)
    shadows = shadowing.Shadows(
        one.about["method"], one.about["preset"], one.config, one.dataset, space_of(everybody), one.config.seed,
        under(out, "internal"),
    )  # fmt: skip
    shadowing.check(shadows, one.delta)
    console.close()
    _say_what(console, one, flags)
    if flags.dry_run:
        raise SystemExit(0)
    folder = stack.enter_context(
        RunFolder.open(
            out, method=f"{ATTACKED}{shadows.method}", preset=shadows.preset, config=_shaping(one),
            data_fingerprint=one.dataset.fingerprint(), unheeded=_judged(one),
        )
    )  # fmt: skip
    compute = join(stack, connect, apart(flags.on, folder), folder, watch(console, folder))
    console.close()  # of what was shown while they were joined
    return Begun(attacked=one, flags=flags, shadows=shadows, folder=folder, compute=compute, console=console)


def _shaping(one: Attacked) -> dict[str, Any]:
    """Settings that shape a release."""
    return {name: value for name, value in asdict(one.config).items() if name not in _judged(one)}


def _judged(one: Attacked) -> set[str]:
    """How the run was judged, which may change, is nothing that shadow runs have."""
    return {*one.method.judged_by, "release", "chosen_among", "made_for"}


def _check_out(out: str) -> None:
    """ValueError for a place in a release: it would leave."""
    if (here := local_folder(out)) is not None:
        home = here.resolve()
        if any((place / "certificate.json").is_file() for place in (home, *home.parents)):
            raise ValueError(f"out is {out}, in a release: what attackers found stays inside, so give a place outside")


def _say_what(console: Console, one: Attacked, flags: Flags) -> None:
    n, took = one.dataset.train.units, sum(stage["wall_s"] for stage in one.report["timings"].values())
    promise = f", each with ε {rounded_up(one.report['privacy']['epsilon'], 4)}" if one.delta is not None else ""
    console.say(
        f"{flags.shadow_runs} runs of {one.about['method']} {one.about['preset']} on random halves of {n:,} "
        f"{'images' if one.dataset.train.persons_N is None else 'persons'}{promise}. The run itself took "
        f"{duration(took)} with all that it measured, on all of them."
    )
    if one.method.knows is None:
        console.say(f"{one.about['method']} does not say what its weights know: attacks see released images alone.")
    again = AGAIN if one.about.get("sealed") and flags.out is None else ""
    console.say(INSIDE + again)


def made(begun: Begun) -> list[dict[str, Any]]:
    """Make the shadow runs, attack, and write what was found, inside; the records."""
    one, console, folder = begun.attacked, begun.console, begun.folder
    console.begin([STAGE, "attack"])
    _enter(one, begun.flags.account, console)
    shared, runs = (begun.shadows, one.delta), range(begun.flags.shadow_runs)
    answers = begun.compute.map(shadowing.run_shadow, runs, name=STAGE, shared=shared)
    shadowing.tidy(begun.shadows.storage)
    console.stage(STAGE, f"{len(answers)} runs on halves of the images, none of them released")

    train, test = one.dataset.train, one.dataset.test
    everybody = shadowing.everybody(one.dataset)
    own = {
        "images": signals(one.released(), everybody, begun.shadows.space),
        "weights": shadowing.of_run(one.method, one.config, train.select([]), one.answer, everybody),
    }
    asked = [_asked([answer[name] for answer in answers], own[name], everybody.labels_N) for name in own]
    crowd = shadow_runs.Crowd(
        train, test, shadow_runs.design(len(answers), train, begun.shadows.seed), begun.shadows.seed, one.left_out_U
    )
    assert asked[0] is not None
    records, each = shadow_runs.records(asked[0], asked[1], crowd, one.delta, one.method.shown(one.config))
    write_atomically(folder.internal / "exposed.parquet", parquet(_exposed(one, each)), 0o600)
    report, drawn = add_found(one.run, records)
    write_atomically(folder.internal / "found.json", json.dumps(records, indent=2), 0o600)
    folder.push()
    page = without_password(under(one.run, REPORT_HTML))
    console.stage("attack", f"{len(records)} attacks")
    console.plan_table(rows(records, report), title="What attackers found")
    if not drawn:
        console.say(
            f"WARNING: {page} is not there, or not as this raysyn writes it: the run's own command draws it anew."
        )
    console.say(f"Report (stays inside): {page}\nMost exposed: {folder.shown(folder.internal / 'exposed.parquet')}")
    return records


def _enter(one: Attacked, account: str | None, console: Console) -> None:
    """Tell the account that the run was entered in, if it was, that the images are looked at once more."""
    paths = {one.report["config"]["data"]["path"], one.config.data.path}
    books = [beside(path) for path in paths if path is not None and "://" not in path]
    told = [enter_look(book, one.run, LOOK) for book in ([book_at(account)] if account else books)]
    if not any(told) and (account or noted_in(one.run) is not None):
        console.say(
            f"WARNING: the account that {one.run} was entered in is not {account or 'beside its images'}, and holds "
            "nothing of this attack: name it with --account"
        )


def _asked(shadows: Sequence[Any], own: Any, labels_N: np.ndarray) -> shadow_runs.Asked | None:
    """What was said of everybody by all; None where somebody said nothing."""
    if own is None or any(one is None for one in shadows):
        return None
    told = [centred(one.double().numpy(), labels_N) for one in (*shadows, own)]
    return shadow_runs.Asked(np.stack(told[:-1]), told[-1])


def _exposed(one: Attacked, each: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Which training images are most exposed: of each its place, class and person, and the percent of non-members that
    lie below, in the mean over shadow runs that had it, and of this run."""
    train, persons = one.dataset.train, {} if one.persons_N is None else {"person": one.persons_N.tolist()}
    return {
        "index": one.places_N.tolist(),
        "label": [train.class_names[label] for label in train.labels_N],
        **persons,
        **{f"percentile_{name}": (100 * below_N).tolist() for name, below_N in each.items()},
    }


def rows(records: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The console's table."""
    privacy = report["privacy"]
    claimed = rounded_up(privacy["epsilon"], 4) if privacy["guarantee"] == "dp" else "none"
    useful = (report["metrics"].get("utility_mean") or {}).get("accuracy")
    return [
        {
            "attack": one["attack"],
            "sees": one["sees"],
            "area": _within(one["auc"], 1, 3),
            "advantage, points": _within(one["advantage"], 100, 1) + guessing(one["advantage"]),
            "caught at 1 %": _within(one["tpr"]["0.01"], 100, 1),
            "shown ε": "-" if one["epsilon"]["value"] is None else f"{one['epsilon']['value']:.2f}",
            "claimed ε": claimed,
            "accuracy": "-" if useful is None else f"{100 * useful:.1f} %",
        }
        for one in records
    ]


def _within(figure: Mapping[str, Any], scale: float, digits: int) -> str:
    if figure["value"] is None:
        return "-"
    value, low, high = (f"{round(scale * figure[key], digits) + 0.0:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def told(usage: str, about: str) -> str:
    """Help: what it does, and the flags."""
    more = (INSIDE, "Each shadow run takes about as long as the run itself did without its measures.")
    texts = (f"usage: {usage}", about, *more)
    return "\n".join([*(line for text in texts for line in (filled(text, 0), "")), *briefly_told(Flags())])
