"""What every method does around its pipeline: show the plan, open or continue the run folder, join the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from raysyn.attacks.membership import attack
from raysyn.attacks.shadows import ShadowSpeed
from raysyn.attacks.teaching import Architecture, Learns, Recipe
from raysyn.compute.doorway import Compute, Machines, Show, Watched, digest
from raysyn.data.images import Dataset, Images
from raysyn.methods import account, account_place, canaries, sealed
from raysyn.methods.account_place import Asked as AccountAsked
from raysyn.methods.network import Network
from raysyn.methods.source_told import copies_counted, source_facts
from raysyn.methods.tracking import followed
from raysyn.privacy.ledger import Ledger, Plan
from raysyn.privacy.trial import SGDSpeed
from raysyn.report.report import Report, environment
from raysyn.runs import sealing
from raysyn.runs.account_lines import Book
from raysyn.runs.folder import RunFolder
from raysyn.runs.ownership import forget, make_private
from raysyn.runs.storage import local_folder, under
from raysyn.screen.console import Console
from raysyn.screen.trackers import Kind
from raysyn.screen.words import rounded_up, shortened


class Asked(Protocol):
    """What is needed of `cli.Command`."""

    @property
    def preset(self) -> str: ...
    @property
    def config(self) -> Any: ...
    @property
    def machines(self) -> Any: ...
    @property
    def out(self) -> str: ...
    @property
    def seal(self) -> bool: ...
    @property
    def account(self) -> AccountAsked: ...
    @property
    def track(self) -> Kind: ...


Connect = Callable[[Machines, str, Show], AbstractContextManager[Compute]]
"""connect(machines, storage, show): who answers `train` and `map` inside a `with` block."""


@dataclass(frozen=True)
class Setting:
    """All that a pipeline's `run` is given."""

    config: Any
    dataset: Dataset
    compute: Compute
    folder: RunFolder
    console: Console
    machines: Any
    more: Any = None
    """What `prepare` found beside the data set, such as public images."""
    network: Network | None = None
    """What of the method's answers its images are drawn from."""
    kept: account.Kept | None = None
    """The account that the run was entered in, if one is kept."""
    tried: canaries.Tried | None = None
    """The canaries that the run is audited by, if there are any."""
    weights_leave: bool = False
    """Whether the release holds weights that canaries are guessed about: by `Method.shown`."""
    drawing: Callable[..., Any] | None = None
    """`Method.drawing`."""
    package: str | None = None  # whose the method is, where it is not raysyn's

    @property
    def loaded(self) -> Dataset:
        """The data set as it was loaded, for measures: `dataset` may have other images in place of canaries."""
        return self.dataset if self.tried is None else self.tried.original

    def report(
        self, method: str, *, privacy: Mapping[str, Any], metrics: Mapping[str, Any],
        attacks: Mapping[str, Any] | None = None, **more: Any,
    ) -> Report:  # fmt: skip
        """The report of this run: what is named is the pipeline's, `more` joins the environment."""
        dataset, private = self.loaded, self.dataset.train
        persons = {} if private.persons_N is None else {"n_persons": private.units}
        empty = {"classes_without_training_image": names} if (names := dataset.empty_classes()) else {}
        return Report(
            method=method,
            preset=self.folder.preset,
            config=asdict(self.config),
            dataset={
                "name": dataset.name,
                "n_train": len(private),
                **persons,
                "n_test": len(dataset.test),
                "shape": private.shape,
                "classes": private.class_names,
                **source_facts(dataset),
            },
            privacy=privacy,
            metrics={**metrics, **empty, **copies_counted(dataset)},
            attacks=attacks or {},
            timings=_by_plain_name(self.folder.timings),
            environment=environment(device=self.compute.device, workers=self.compute.workers, **more),
        )

    def end(self, sentence: str, places: str) -> None:
        """The console's last lines: how long it took, the report's `sentence`, and where things are."""
        self.console.end(sum(spent["wall_s"] for spent in self.folder.timings.values()), sentence, places)

    def attack(
        self, targets: Mapping[str, Mapping[str, Tensor] | Learns], members: Images, network: Architecture,
        speed: ShadowSpeed, recipe: Recipe | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """`attacks.membership.attack` on classifiers trained by `recipe`, by default the configuration's, as a stored
        stage."""
        config, test, recipe = self.config, self.dataset.test, recipe or self.config.recipe
        return self.folder.stage(
            f"attack-{digest(config.attack)}",
            lambda: attack(self.compute, targets, members, test, config.attack, network, recipe, config.seed, speed),
        )


@dataclass(frozen=True, kw_only=True)
class PrivateSetting(Setting):
    """That of a pipeline with a guarantee, which pays for what it touches."""

    plan: Plan
    ledger: Ledger

    def spent(self) -> str:
        """The epsilon of what was paid for by now, and whether more is to come."""
        left = set(self.plan.stages) - {entry["stage"] for entry in self.ledger.entries()}
        return f"ε {rounded_up(self.ledger.epsilon(), 4)} {'so far' if left else 'spent in all'}"


def plain_name(stage: str) -> str:
    """What a person calls a stage: without the mark that tells one way of judging from another."""
    return stage.partition("-")[0]


def _by_plain_name(timings: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """A measure taken in two ways has two stages and one name: their times add up, and the larger memory is told."""
    merged: dict[str, dict[str, float]] = {}
    for stage, spent in timings.items():
        before = merged.get(plain_name(stage), {})
        both = {
            name: max(before.get(name, 0), value) if name.endswith("_bytes") else before.get(name, 0.0) + value
            for name, value in spent.items()
        }
        merged[plain_name(stage)] = before | both
    return merged


def watch(console: Console, folder: RunFolder) -> Show:
    """Have the console name each stage of a run and its time; who is to be told of progress."""

    def show(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        folder.tick()
        name, *what = stage.split(": ", 1)
        console.show(": ".join([plain_name(name), *what]), done, total, metrics)

    folder.began = lambda stage: console.show(plain_name(stage), 0, 0, {})
    console.timed = partial(_timed, folder)
    return show


def _timed(folder: RunFolder, stage: str) -> tuple[float, bool] | None:
    """What `Console.timed` is to know."""
    spent = _by_plain_name(folder.timings).get(stage)
    return None if spent is None else (spent["wall_s"], stage in map(plain_name, folder.ran))


def say_empty(console: Console, dataset: Dataset) -> None:
    """Which declared classes have no training image; on the console and in the report alone, which stay inside."""
    if names := dataset.empty_classes():
        shown = ", ".join(map(shortened, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        console.say(f"Without a training image: {shown}. Synthetic images of such a class show nothing of it.")


def apart(machines: Any, folder: RunFolder) -> Any:
    """`machines` with a place of this run's own: those that share a storage must never find one another's answers."""
    if machines.storage is None:
        return machines
    place = under(machines.storage, folder.run_id)
    if (here := local_folder(place)) is not None:
        make_private(here)
    return replace(machines, storage=place)


def kept_settings(
    config: Any, *, plan: Plan | None, judged_by: Sequence[str], facts: Mapping[str, Any] | None, tried: int
) -> dict[str, Any]:
    """What a run is continued with or not at all; arguments as those of `open_run`."""
    known = dict(facts or {})
    if plan is not None:
        # Packages that calibrate otherwise must not continue a run.
        known["plan"] = {stage: asdict(cost) for stage, cost in plan.stages.items()}
    # What a run was chosen among is said of it afterwards, and changes nothing in it; nor does by whose results its
    # settings were found, or what a preset is for.
    apart = {*judged_by, "release", "chosen_among", "tuned_on", "made_for", "audit"}
    settings = {name: value for name, value in asdict(config).items() if name not in apart}
    return settings | canaries.identity(tried, config) | known


def open_run(
    command: Asked, method: str, dataset: Dataset, console: Console, connect: Connect, stack: ExitStack, *,
    plan: Plan | None = None, more: Any = None, judged_by: Sequence[str] = ("eval",),
    facts: Mapping[str, Any] | None = None, network: Network | None = None, book: Book | None = None,
    looks: Sequence[str] = (), tried: int = 0, weights_leave: bool = False,
) -> Setting:  # fmt: skip
    """Open or continue the run folder, then join the machines; `stack` closes both. A plan brings its ledger.

    The groups of settings `judged_by` change nothing that is released: a finished run may be judged anew. `facts`
    beside the configuration are part of the run: with others it is not continued. The run is entered in `book`, and has
    so many units `tried` by a coin. Raises ValueError, in one sentence, for a folder of another run, machines that
    cannot be had and a total with no room.
    """
    whole = asdict(command.config)
    judged = {name: whole[name] for name in (*judged_by, "release") if name in whole}
    told = kept_settings(command.config, plan=plan, judged_by=judged_by, facts=facts, tried=tried)
    opened = RunFolder.open(
        command.out, method=method, preset=command.preset, config=told, data_fingerprint=dataset.fingerprint(),
        source_fingerprint=dataset.source_fingerprint,
    )  # fmt: skip
    folder = stack.enter_context(opened)
    if folder.sealed is not None:
        sealed.leave(folder, command, judged, console, book)
    if command.seal:
        sealing.check_places(folder)
        # Entered before the machines, so that it comes after them: nothing writes any more.
        stack.push(partial(sealed.at_the_end, folder, judged, console))

    seen = watch(console, folder)
    tracked = stack.enter_context(followed(command.track, folder, command.out, method, plan, seen, console))
    show = Watched(tracked, frozenset(() if plan is None else plan.stages))
    machines = apart(command.machines, folder)
    sealing.note_place(folder, machines.storage)
    compute = join(stack, connect, machines, folder, show)
    console.close()  # of what was shown while they were joined
    folder.cpu_clock, folder.forget_peaks, folder.peaks = compute.cpu_s, compute.forget_peaks, compute.peaks
    with or_forgotten(folder):
        kept = account.enter(book, command, method, looks, dataset, folder, plan)
        if kept is not None:
            account_place.note_elsewhere(command, dataset, kept.book, console)
    own = canaries.drawn(tried, command.config, dataset, folder.secret)
    given = dataset if own is None else own.dataset
    parts = (command.config, given, compute, folder, console, machines, more, network, kept, own, weights_leave)
    if plan is None:
        return Setting(*parts)
    more_durable = () if kept is None else (kept.pay,)
    return PrivateSetting(*parts, plan=plan, ledger=Ledger(plan, folder.ledger, folder.push, *more_durable))


def join(stack: ExitStack, connect: Connect, machines: Any, folder: RunFolder, show: Show) -> Compute:
    """The machines; where they are refused, a folder that began with this command is taken away again."""
    with or_forgotten(folder):
        compute = stack.enter_context(connect(machines, folder.storage, show))
        if compute.device == "cpu":
            getattr(machines, "sgd", SGDSpeed()).refuse_on_cpu()
    return compute


@contextmanager
def or_forgotten(folder: RunFolder) -> Iterator[None]:
    """A folder that began with this command is taken away again where what follows is refused."""
    try:
        yield
    except (ValueError, OSError):
        if folder.fresh and "://" not in folder.storage:
            forget(folder.out)
        raise
