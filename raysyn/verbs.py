"""What `raysyn VERB` does: the first words of the command that are no method.

What is heavy is imported where it is used: who only asks for help must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from raysyn.methods import catalogue
from raysyn.screen import cli, completion
from raysyn.screen.flags import Flag, flags_of
from raysyn.screen.help import large, of_preset, small
from raysyn.screen.kinds import listed
from raysyn.screen.text import filled, filled_patterns, folded
from raysyn.screen.words import guess

GUARANTEES = {"dp": "(ε, δ)-DP", "none": "none", "either": "(ε, δ)-DP or none"}


def connect(machines: Any, storage: str, show: Any) -> AbstractContextManager[Any]:
    """Ray behind the doorway, imported where it is asked for; or this process, with `--on.address here`."""
    from raysyn.on_ray import cluster

    return cluster.connect(machines, storage, show)


def look_for(command: Any) -> None:
    """ValueError, before an image is read, where the cluster that a command names is not there, unless its run is
    sealed: one that is joins no machines, and what is left of its erasure must be finished without them."""
    if getattr(command, "dry_run", False):
        return
    from raysyn.on_ray import ahead
    from raysyn.runs.sealing import is_sealed

    try:
        ahead.look_for(command.machines.address)
    except ValueError:
        if not is_sealed(command.out):
            raise


def all_methods() -> dict[str, catalogue.Entry]:
    """The catalogue; leaves with a sentence where a package that adds to it is broken."""
    try:
        return catalogue.methods()
    except ValueError as error:
        cli.refuse(str(error))


def _methods(arguments: Sequence[str]) -> int:
    """The methods: paper, guarantee, what each needs, presets."""
    if arguments and list(arguments) != ["--markdown"]:
        return cli.refuse(f"methods takes --markdown or nothing, but there is {' '.join(arguments)}: leave it out")
    if arguments:
        print(markdown())
        return 0
    for name, one in all_methods().items():
        told = {"paper": one.paper, "guarantee": GUARANTEES[one.guarantee], "needs": one.needs}
        presets = one.presets()
        told |= {"for a laptop": ", ".join(small(presets))}
        print(f"{name}\n  {filled(one.summary, 2)}")
        for key, text in told.items():
            print(f"  {key:<15}  {filled(text or 'none', 19)}")
        print(f"  {'as in the paper':<15}  {filled_patterns(folded(large(presets)) or ['none'], 19)}\n")
    return 0


def markdown() -> str:
    """The table of methods that README shows, between its two markers."""
    rows = [("method", "what it does", "paper", "guarantee", "what it needs"), ("---",) * 5]
    for name, one in all_methods().items():
        # Those that come with raysyn have a card.
        shown = f"[`{name}`](raysyn/methods/{name}/README.md)" if one in catalogue.METHODS else f"`{name}`"
        rows.append((shown, one.summary, one.paper, GUARANTEES[one.guarantee], one.needs))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _report(arguments: Sequence[str]) -> int:
    """A table over several finished runs."""
    if not arguments:
        return cli.refuse("report has no run: give the folders (--out) of finished runs, or one that holds them")
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        known = ["--html", "--columns"]
        if word.startswith("-") and word.partition("=")[0] not in known:
            return cli.refuse(f"{word} is no flag of report{guess(word, known)}: there are --html FILE, --columns NAME")
        if word == "--html" and not following:
            return cli.refuse("--html has no value: give the file that the tables are written to")
        if word == "--columns" and (not following or following.startswith("-")):
            return cli.refuse("--columns has no value: give names of figures: precision, utility.cnn.accuracy, ...")
    from raysyn.report.report import main as tables

    return tables(arguments)


def _verify(arguments: Sequence[str]) -> int:
    """Whether a release is as its certificate says."""
    if len(arguments) != 1:
        has = "no folder" if not arguments else f"{len(arguments)} words"
        return cli.refuse(f"verify has {has}: give one, the release/ of a run")
    from raysyn.verify import main as verify

    return verify(arguments)


def _auto(arguments: Sequence[str]) -> int:
    """Your images: picks the method and its settings from measured runs, says why and what to expect, and runs it."""
    if not arguments or arguments[0].startswith("-"):
        return cli.refuse("auto has no source: begin with a file, folder or name of images, then say --epsilon 3")
    from raysyn import own_data
    from raysyn.screen.console import Console

    source, *rest = arguments

    def check(stack: ExitStack) -> Any:
        picked = own_data.pick(source, rest)
        print(f"auto: {source}, in {picked.command.out}", flush=True)
        console, work = stack.enter_context(Console()), picked.entry.method()
        picked.tell(console)
        look_for(picked.command)
        return work, work.begin(picked.command, console, connect, stack, picked.timed)

    return cli.run_or_explain(check, lambda begun: begun[0].run(begun[1]))


def _draw(arguments: Sequence[str]) -> int:
    """More images from a finished run, other classes, shares or sampler: no further cost, the same certificate."""
    if not arguments or arguments[0].startswith("-"):
        return cli.refuse("draw has no run: begin with the folder (--out) of a finished one, then say --out NEW_FOLDER")
    from raysyn import more_images
    from raysyn.screen.console import Console

    run, *rest = arguments

    def check(stack: ExitStack) -> Any:
        made_by = more_images.source(run)
        given = more_images.read(made_by, rest)
        print(f"draw: {given.synthetic:,} images from {run}, in {given.out}", flush=True)
        return more_images.begin(made_by, given, stack.enter_context(Console()), connect, stack)

    return cli.run_or_explain(check, more_images.draw)


def _draw_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import more_images

    run, given, about = words[0], more_images.PLAIN, _draw.__doc__ or ""
    if run.startswith("-"):
        return of_preset(given, prog, "RUN --out FOLDER", [about, more_images.DEFAULTS], everything, more_images.OF_RUN)
    try:
        given = more_images.default(more_images.source(run))
    except ValueError as error:
        cli.refuse(str(error))
    return of_preset(given, prog, f"{run} --out FOLDER", [about], everything)


def _auto_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import own_data

    return of_preset(own_data.default("SOURCE"), prog, "SOURCE", [_auto.__doc__ or ""], everything=everything)


def _prepare(arguments: Sequence[str]) -> int:
    """A data set of the papers, from its original files to one Parquet file that --data.path and --public.path read."""
    from raysyn import preparing

    return preparing.main(arguments)


def _prepare_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import preparing

    return preparing.told(f"{prog} {USAGE['prepare']}", _prepare.__doc__ or "")


def _look(arguments: Sequence[str]) -> int:
    """What is in a source of images: classes, splits, sizes, modes, copies, damage, a contact sheet, how it is read."""
    from raysyn import looking

    return looking.main(arguments)


def _look_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import looking

    return looking.told(f"{prog} {USAGE['look']}", _look.__doc__ or "")


def _audit(arguments: Sequence[str]) -> int:
    """Whether raysyn's DP, or that of a run's settings, holds: attacks on DP-SGD and on noisy questions, beside ε."""
    from raysyn import auditing

    return auditing.main(arguments)


def _audit_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import auditing

    return auditing.told(f"{prog} {USAGE['audit']}", _audit.__doc__ or "")


def _attack(arguments: Sequence[str]) -> int:
    """Runs a finished run's method again on halves of its images, and tells what its release gives away of them."""
    from raysyn import attacking

    return attacking.main(arguments)


def _attack_help(prog: str, words: Sequence[str], everything: bool) -> str:
    from raysyn import attacking

    return attacking.told(f"{prog} {USAGE['attack']}", _attack.__doc__ or "")


def _account(arguments: Sequence[str]) -> int:
    """What all runs on the same images have spent together, what is reserved, and what is left of the total."""
    from raysyn.report import accounts

    def check(_: ExitStack) -> Any:
        return accounts.told(*accounts.read(arguments))

    return cli.run_or_explain(check, accounts.show, "interrupted: nothing is changed")


def _completion(arguments: Sequence[str]) -> int:
    """What the tab key offers, as a script for your shell."""
    shells = list(completion.SHELLS)
    if len(arguments) != 1 or arguments[0] not in shells:
        has = " ".join(arguments) or "no shell"
        return cli.refuse(f"completion has {has}: give one of {listed(shells)}")
    print(completion.script(arguments[0], completions()), end="")
    return 0


def completions() -> dict[str, completion.Words]:
    """Of every first word, from the presets and flags that there are."""
    known: dict[str, completion.Words] = {}
    for name, one in (all_methods() | {tool.name: tool for tool in catalogue.TOOLS}).items():
        presets, machines = one.presets(), one.machines()
        flags: dict[str, Sequence[str]] = {}
        for preset in presets:
            flags |= _typed(flags_of(cli.unchanged(presets, preset, machines=machines, prog=name, seal=one.seal)))
        known[name] = completion.Words(second=list(presets), flags=flags | dict.fromkeys(("--help", "--help-all"), ()))
    from raysyn import attacking, auditing, looking, more_images, own_data, preparing

    known["look"] = completion.Words(flags=_typed(flags_of(looking.Flags())) | {"--help": ()})
    known["attack"] = completion.Words(flags=_typed(flags_of(attacking.Flags())) | {"--help": ()})
    known["audit"] = completion.Words(
        second=list(auditing.WHAT), flags=_typed(flags_of(auditing.Flags())) | {"--help": ()}
    )
    known["prepare"] = completion.Words(
        second=list(preparing.SETS), flags=_typed(flags_of(preparing.Flags())) | {"--help": ()}
    )
    for verb, own in {"auto": own_data.default("SOURCE"), "draw": more_images.PLAIN}.items():
        known[verb] = completion.Words(flags=_typed(flags_of(own)) | dict.fromkeys(("--help", "--help-all"), ()))
    known["account"] = completion.Words(flags={"--delta": (), "--help": ()})
    second = {"methods": ["--markdown"], "completion": list(completion.SHELLS)}
    return {verb: completion.Words(second=second.get(verb, ())) for verb in VERBS} | known


def _typed(flags: Iterable[Flag]) -> dict[str, Sequence[str]]:
    """{flag as it is typed: words that it takes, where they can be listed}."""
    found: dict[str, Sequence[str]] = {}
    for flag in flags:
        found |= {f"--{flag.name}": flag.kind.choices} | ({f"--{flag.off}": ()} if flag.kind.switch else {})
    return found


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "auto": _auto,
    "draw": _draw,
    "prepare": _prepare,
    "look": _look,
    "account": _account,
    "attack": _attack,
    "audit": _audit,
    "methods": _methods,
    "report": _report,
    "verify": _verify,
    "completion": _completion,
}
LONG_HELP: dict[str, Callable[[str, Sequence[str], bool], str]] = {
    "auto": _auto_help, "draw": _draw_help, "prepare": _prepare_help, "look": _look_help,
    "attack": _attack_help, "audit": _audit_help,
}  # fmt: skip
USAGE = {
    "draw": "RUN --out FOLDER [--flags]",
    "auto": "SOURCE --epsilon NUMBER [--minutes NUMBER] [--flags]",
    "look": "SOURCE [--sheet FILE.png] [--html FILE.html]",
    "account": "SOURCE|FILE [--delta NUMBER]",
    "attack": "RUN [--shadow-runs NUMBER] [--flags]",
    "audit": "engine|run RUN [--games NUMBER] [--only WORD...] [--out FILE.json]",
    "prepare": "SET SOURCE [--out FILE.parquet] [--flags]",
    "methods": "[--markdown]",
    "report": "RUN... [--columns NAME...] [--html FILE]",
    "verify": "RELEASE_FOLDER",
    "completion": "bash|zsh|fish",
}
