"""Both ends of a pipeline that makes images: the input is looked at, release and report are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysyn.data.images import Dataset, Images, load
from raysyn.methods.canary_attack import attack, check, may_leave, sections_of, with_audit
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.declared import declared
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.releasing import release
from raysyn.methods.sweep import looked_at
from raysyn.methods.synthesis import evaluate
from raysyn.methods.weighing import Weighed
from raysyn.metrics.checks import check_measures
from raysyn.metrics.yardsticks import best_uncharged
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, Section, write_report
from raysyn.report.run_page import fault
from raysyn.screen.ended import Ended
from raysyn.screen.words import in_a_line


class WrongArgument(Ended, TypeError):
    """A method ends with what is no images."""


def look(
    method: str, config: Any, uncharged: Callable[[Any], Sequence[str]] | None = None, sets: Sequence[str] = (),
    networks: Mapping[str, str | None] | None = None,
) -> Dataset:  # fmt: skip
    """The data set that `config` names, once everything that will be measured and written of it has been tried, with
    the names of public `sets`, the files of public `networks` by their fields, and what is `uncharged`, where that is
    more than usual.

    ValueError, in one sentence, where it cannot be. Reads the images and spends nothing.
    """
    dataset = load(config.data)
    check_measures(config.eval, dataset.train.classes, synthetic=config.synthetic, train=len(dataset.train))
    rehearse(method, dataset, told=config, uncharged=(uncharged or usual)(config), sets=sets, networks=networks)
    return dataset


def uncharged(config: Any) -> list[str]:
    """What looking at private data may have shaped without being paid for (house rule: charge it or say it)."""
    return [*best_uncharged(config.eval.classifiers), *looked_at(config), *declared(config)]


usual = uncharged
"""What is uncharged of most methods."""


Beside = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[Section]]]
"""beside(metrics): what else is measured once the images are, for report.json and as parts of the page."""


def finish(
    setting: Setting, method: str, synthetic: Images, *, done: Sequence[str], central: Images | None = None,
    drawn_again: Images | None = None, beside: Beside | None = None, weighed: Weighed | None = None,
    uncharged: Sequence[str] | None = None, public: Mapping[str, Any] | None = None,
    generated: Images | None = None, sections: Callable[[], Sequence[Section]] = tuple,
    answered: Weighed | None = None, weights_leave: bool = False, **more: Any,
) -> Report:  # fmt: skip
    """The end of a pipeline: certificate and release, then measures on real images and the report, which stay inside.

    Args:
        method: its name, as the certificate says it; of another package's its own, or one that begins with that.
        synthetic: what leaves; computed from nothing but what the ledger was paid for, if there is one.
        done: what was done, a sentence per stage.
        central: noisy images that were paid for, to be shown beside.
        generated: images of a generator that learned from a noisy answer, to be shown beside.
        drawn_again: images of the same model, drawn for measures of fidelity alone.
        beside: what else is measured, after the release.
        weighed: by what weights canaries are guessed about, if there are any.
        answered: by what noisy answer they are guessed about beside, which no release holds.
        uncharged: what is uncharged, where that is more than usual.
        public: what was public, as the certificate names it.
        sections: makes parts of the page, after the release; they stand before what `beside` brings. Where another
            package's fails, or one of them cannot be shown, the page says so in its place.
        weights_leave: that the release holds weights by which canaries are guessed, where `Method.shown` does not say.
        more: of the report's environment.
    Raises WrongArgument for other values, ValueError where a stage of the plan was not paid, both before anything is
    written, and, once all is written, Refuted where the canaries of the run show more than is promised.
    """
    _check(done, synthetic=synthetic, central=central, generated=generated, drawn_again=drawn_again)
    config, folder, method = setting.config, setting.folder, _name(setting, method)
    if weights_leave:
        setting = replace(setting, weights_leave=True)
    privacy = release(
        setting, method, synthetic, usual(config) if uncharged is None else uncharged, **(public or {})
    )  # fmt: skip
    parts = _parts(setting, sections)
    metrics = evaluate(setting, synthetic, config.eval, drawn_again=drawn_again)
    attacks = attack_by_distances(setting, synthetic, config.eval.distances)
    further, compared = ({}, ()) if beside is None else beside(metrics)
    audit = attack(setting, synthetic, privacy, weighed, answered)
    found = with_audit(attacks, audit)
    report = setting.report(method, privacy=privacy, metrics={**metrics, **further}, attacks=found, **more)
    verdict = write_report(
        folder, report, synthetic=synthetic, central=central, done=done,
        sections=[*sections_of(audit), *parts, *compared],
        generated=generated,
    )  # fmt: skip
    may = may_leave(audit, isinstance(setting, PrivateSetting))
    setting.end(verdict, folder.where(f"Release ({may})"))
    check(audit)
    return report


def _check(done: Sequence[str], **images: Images | None) -> None:
    """WrongArgument for what is no images, or no sentences."""
    for name, one in images.items():
        if not isinstance(one, Images) and (one is not None or name == "synthetic"):
            raise WrongArgument(
                f"finish was given {name} of type {type(one).__name__}: give raysyn.data.images.Images; nothing is "
                "released yet, and what was paid is spent"
            )
    if isinstance(done, str) or not isinstance(done, Sequence) or not all(isinstance(one, str) for one in done):
        raise WrongArgument(
            f"finish was given done={done!r}: give a list of sentences; nothing is released yet, and what was paid is "
            "spent"
        )


def _parts(setting: Setting, sections: Callable[[], Sequence[Section]]) -> list[Section]:
    """What another package's method shows of its own must not cost the report of what was paid for."""
    if setting.package is None:
        return list(sections())
    try:
        made = list(sections())
    except Exception as error:
        made, faults = [], [f"`sections` has failed ({in_a_line(error)})"]
    else:
        faults = [why for one in made if (why := fault(one)) is not None]
    for why in faults:
        setting.console.say(f"WARNING: {why}; the report is without it.")
    missing = [Section(title="Parts that are missing", warnings=faults)] if faults else []
    return [one for one in made if fault(one) is None] + missing


def _name(setting: Setting, method: str) -> str:
    """`method`, but for another method's name that another package's gives: said, as its `run` was paid for by now."""
    own: str = json.loads(setting.folder.run_json.read_text())["method"]
    if setting.package is None or method.startswith(own):
        return method
    setting.console.say(f"WARNING: finish(setting, {method!r}, ...) names another method: certified as {own}.")
    return own
