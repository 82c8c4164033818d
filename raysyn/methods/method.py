"""What a method hands over, and what is done with it: look at the input, show the plan, open the run, join machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from raysyn.data.counting import told_to
from raysyn.data.folders import reads
from raysyn.data.images import Dataset, Images
from raysyn.methods import account, account_place, canaries, ends, misfits, network, tracking, unpaid_looks
from raysyn.methods.class_shares import check_counted, say_few
from raysyn.methods.common import Asked, Connect, Setting, kept_settings, open_run, say_empty
from raysyn.methods.declared import Declared
from raysyn.methods.network import Network
from raysyn.methods.outlook import Stage
from raysyn.methods.plan_shown import planned, show_plan
from raysyn.methods.public_told import say_public
from raysyn.methods.source_told import say_source
from raysyn.methods.synthesis import Drawing
from raysyn.methods.whose import package_of, source_of
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Mechanism
from raysyn.privacy.queries.counts import COUNTS
from raysyn.runs import may_leave
from raysyn.runs.refusals import RUN_JSON, holds_another, identity, refuse_strangers, refused
from raysyn.runs.storage import local_folder
from raysyn.screen.console import Console
from raysyn.train import samplers


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a method found out before its first touch of the private images."""

    dataset: Dataset
    plan: Plan | None = None
    """Price of each touch; None where nothing is promised."""
    more: Any = None
    """What else its `run` needs, such as public images; found again as `setting.more`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What, beside configuration and private images, makes it this run and no other."""
    doubts: Sequence[str] = ()
    """Warnings to show before the work, as sentences without a full stop."""


class Wanted(Protocol):
    """A command that may only ask for the plan."""

    @property
    def dry_run(self) -> bool: ...


class Command(Asked, Wanted, Protocol):
    """What is needed of `cli.Command`."""


def usually_uncharged(config: Any) -> list[str]:
    """What a method that does not say it looks at: as `ends.finish` lists it, where its settings are the usual ones."""
    experiment = getattr(config, "experiment", None)
    says = experiment is None or hasattr(experiment, "asks")
    usual = isinstance(config, Declared) and says and hasattr(getattr(config, "eval", None), "classifiers")
    return ends.uncharged(config) if usual else unpaid_looks.usual(config)


MEASURES = 1000
"""More than any method's weights are asked by."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method: functions of its configuration, which `begin` and the command call."""

    name: str
    prepare: Callable[[Any], Prepared]
    """prepare(config): all that can be wrong with the input; ValueError in one sentence."""
    check_memory: Callable[[Console, Any, Prepared, Any], None] | None = None
    """check_memory(console, config, prepared, machines): ValueError where a stage has no place in memory."""
    outlook: Callable[[Console, Any, Prepared, Any], Sequence[Stage]] | None = None
    """outlook(console, config, prepared, machines): shows what time the stages take, in --dry-run, and answers it."""
    run: Callable[[Any], Any]
    """run(setting): the pipeline; `setting.ledger` is there where `Prepared` had a plan."""
    uncharged: Callable[[Any], Sequence[str]] = usually_uncharged
    """uncharged(config): what looking at private data may have shaped without being paid for, a sentence each: what its
    certificate lists, and what the account over all runs holds."""
    judged_by: Sequence[str] = ("eval",)
    """Groups of settings that change nothing that is released."""
    drawing: Callable[[Any, Images, int, Callable[[str], Any]], Drawing] | None = None
    """drawing(config, like, n, answer): how further images are drawn from a finished run of `n` private images, whose
    shape and classes `like` has, and itself no image; answer(stage) is what was paid for. None where there is no such
    thing. Reads nothing private."""
    knows: Callable[[Any, Images, Callable[[str], Any], Images], Tensor | None] | None = None
    """knows(config, like, answer, images): float (N, Q), how well the weights of a finished run know each image, higher
    for those that they learned from, by each of some measures; `like` and `answer` as in `drawing`. For attacks alone.
    None where weights say no more than the images drawn from them."""
    shown: Callable[[Any], slice] = lambda config: slice(0)
    """shown(config): which of these measures are by weights that the release holds."""
    held_out: Callable[[Any, Dataset], NDArray[np.bool_]] | None = None
    """held_out(config, dataset): (N,), which training images a run sets apart to choose by, and does not learn from,
    where the data set has none for that."""
    unmeasured: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    """unmeasured(config): settings under which a run releases the same and measures as little as can be, beside those
    that all methods have; and those by which training images are the data set's own."""
    files: Sequence[str] = ()
    """Names of files that `run` gives the release beside images and network: what may not leave is refused before
    anything is spent."""
    network: Network | None = None
    """What `drawing` reads, for a release that holds it; None where it shall never leave."""
    audited: bool = False
    """Whether it asks private images by nothing but `privacy`, which leaves out who is absent, and attacks its canaries
    at its end (`canary_attack`)."""
    mechanisms: Callable[[Any, Images, Callable[[str], Any]], Mapping[str, Mechanism]] | None = None
    """mechanisms(config, like, answer): what each stage of the plan asks of the private images, so that `raysyn audit
    run` asks the same of made-up ones; arguments as those of `drawing`."""

    guarantee: str | None = None
    """What the catalogue says of another package's method, which gives it here: a plan is held to that."""

    def begin(
        self, command: Command, console: Console, connect: Connect, stack: ExitStack,
        timed: Callable[[Console, Sequence[Stage]], None] | None = None,
    ) -> Setting:  # fmt: skip
        """Everything that can be wrong, then the run folder and the machines, which `stack` closes.

        With `timed` the outlook is shown before a run too, and `timed` is told its stages.

        Raises ValueError, in one sentence, for bad input; `Planned` after a dry run.
        """
        self._check(command)
        prepared = self._prepared(command.config, console)
        tried = canaries.asked(command.config, self.audited, self.name, prepared.plan, prepared.dataset.train)
        self._say(command.config, console, prepared, tried)
        book = account_place.found(command, prepared.dataset, console)
        looks = self.looks(command.config)
        others = holds_another(command.out, partial(self._identity, command, prepared, tried))
        account.look(book, command, self.name, looks, prepared.dataset, prepared.plan, console, others)
        if self.check_memory is not None:
            self.check_memory(console, command.config, prepared, command.machines)
        stages: Sequence[Stage] = ()
        if self.outlook is not None and (command.dry_run or timed is not None):
            console.show("measuring, on made-up images, how long each stage takes here", 0, 0, {})
            stages = self.outlook(console, command.config, prepared, command.machines)
            console.close()
            if timed is not None:
                timed(console, stages)
        if command.dry_run:
            self._look_at_folder(command, console, prepared, tried)
            raise planned(prepared.plan, prepared.dataset, stages)
        setting = open_run(
            command, self.name, prepared.dataset, console, connect, stack, plan=prepared.plan, more=prepared.more,
            judged_by=self.judged_by, facts={**prepared.facts, **self.source()}, network=self.network, book=book,
            looks=looks, tried=tried, weights_leave=self.weights_leave(command.config),
        )  # fmt: skip
        return replace(setting, drawing=self.drawing, package=package_of(self.name, self.run, self.prepare))

    def _check(self, command: Command) -> None:
        """ValueError for what is wrong whatever the images are."""
        tracking.check(command.track, command.out)
        if not command.dry_run and (here := local_folder(command.out)) is not None:
            refuse_strangers(here)
        refuse_inside(command.out, getattr(getattr(command.config, "data", None), "path", None), command.config)
        if (written := getattr(command.config, "release", None)) is not None and written.network:
            network.check(self.network, command.config, self.name)
        check_counted(command.config)  # before further runs are priced, which would be with counts

    def _prepared(self, config: Any, console: Console) -> Prepared:
        """What `prepare` finds; ValueError for a plan, or files, that cannot be."""
        console.show("images are read and checked", 0, 0, {})
        with told_to(partial(console.show, metrics={})):
            prepared = self.prepare(config)
        self._check_promise(prepared.plan)
        if prepared.plan is not None:
            units.check_plan(prepared.plan, prepared.dataset.train)
        may_leave.check({"guarantee": "none" if prepared.plan is None else "dp"}, self.files)
        console.close()
        return prepared

    def _say(self, config: Any, console: Console, prepared: Prepared, tried: int) -> None:
        """Warnings, the source and the plan; ValueError for shares of classes that cannot be."""
        train, plan = prepared.dataset.train, prepared.plan
        differs = misfits.other_size(config, train.units, units.word(train))
        for sentence in [*differs, *rough(config), *prepared.doubts]:
            console.say(f"WARNING: {sentence}.")
        if not differs and (made_for := getattr(config, "made_for", None)) is not None:
            persons = "" if train.persons_N is None else " persons"
            console.say(f"Settings made for n = {made_for:,} training images; there are {train.units:,}{persons}.")
        say_source(console, prepared.dataset, plan)
        say_public(console, config, prepared.dataset)
        say_empty(console, prepared.dataset)
        self.look_at_shares(config, console, prepared.dataset, plan)
        if plan is not None:
            show_plan(console, plan, prepared.dataset)
        if tried:
            console.say(canaries.told(tried, config, train))

    def _look_at_folder(self, command: Command, console: Console, prepared: Prepared, tried: int) -> None:
        """Warn of a folder that the run itself would be refused."""
        if (why := refused(command.out, partial(self._identity, command, prepared, tried))) is not None:
            console.say(f"WARNING: the run itself would be refused: {why}")

    def _identity(self, command: Command, prepared: Prepared, tried: int) -> dict[str, Any]:
        """What its folder would say that the run is."""
        facts = {**prepared.facts, **self.source()}
        told = kept_settings(command.config, plan=prepared.plan, judged_by=self.judged_by, facts=facts, tried=tried)
        fingerprint = prepared.dataset.fingerprint()
        return identity(method=self.name, preset=command.preset, config=told, data_fingerprint=fingerprint)

    def source(self) -> dict[str, str]:
        """See `whose.source_of`."""
        return source_of(self.run, self.prepare)

    def weights_leave(self, config: Any) -> bool:
        """Whether the release holds weights that say which images were learned from."""
        return bool(range(MEASURES)[self.shown(config)])

    def looks(self, config: Any) -> tuple[str, ...]:
        """What of a run looks at real images and is paid for by nobody, for the account."""
        return unpaid_looks.unpaid(config, self.uncharged(config))

    def look_at_shares(self, config: Any, console: Console, dataset: Dataset, plan: Plan | None) -> None:
        """Warn of classes that have too little for what is asked; ValueError for shares that cannot be."""
        if (classes := getattr(config, "classes", None)) is None:
            return
        if classes.shares and self.drawing is None:
            raise ValueError(
                f"classes.shares is {', '.join(classes.shares)}, but {self.name} does not draw images of a class that "
                "is asked for: leave it out"
            )
        if classes.noisy_counts is not None:
            self._check_counts(classes.noisy_counts, plan)
        if self.drawing is not None:
            say_few(console, dataset, config)

    def _check_promise(self, plan: Plan | None) -> None:
        """ValueError where a method is entered as what it is not."""
        answered, wanted = ("no plan", "dp") if plan is None else ("a plan", "none")
        if self.guarantee == wanted:
            raise ValueError(
                f"{self.name} is entered with guarantee={wanted!r}, but its `prepare` answers {answered}: have it "
                "answer Prepared(dataset=..., plan=...) with what is promised, or mend its Entry"
            )

    def _check_counts(self, std: float, plan: Plan | None) -> None:
        """ValueError where no plan has a place for them."""
        if plan is None or COUNTS not in plan.stages:
            raise ValueError(f"classes.noisy_counts is {std:g}, but {self.name} does not ask for them: leave it out")


def rough(config: Any) -> list[str]:
    """Sentences on samplers of a diffusion model that draw rubbish."""
    if getattr(config, "generator", "diffusion") != "diffusion":
        return []
    fields = {field: getattr(config, field, None) for field in ("sampler", "sampler_fid")}
    doubts = [samplers.doubt(one, field) for field, one in fields.items() if isinstance(one, samplers.SamplerConfig)]
    return [doubt for doubt in doubts if doubt is not None]


def refuse_inside(out: str, private: str | None, config: Any) -> None:
    """ValueError where a new folder would be read as some of the images that a run is made of, `private` or the public
    ones of its configuration, also when it is continued."""
    here = local_folder(out)
    if here is None or (here / RUN_JSON).exists():
        return
    public = getattr(getattr(config, "public", None), "path", None) or ()
    for source in filter(None, (private, *public)):
        if reads(source, here):
            kind = "images" if source == private else "public images"
            raise ValueError(
                f"--out {out} lies in {source}, the {kind} that the run is made of, and its files would be read among "
                "them; choose a folder elsewhere"
            )
