"""The command `raysyn`, also `python -m raysyn`: a method, tool or verb by its first word.

`raysyn METHOD PRESET [--flags]` is the same as `python jobs/METHOD.py PRESET [--flags]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import raysyn
from raysyn.compute.compiler import put_off_compiler
from raysyn.methods import catalogue
from raysyn.methods.catalogue import Entry
from raysyn.screen import cli
from raysyn.screen.text import filled
from raysyn.screen.words import guess
from raysyn.verbs import LONG_HELP, USAGE, VERBS, all_methods, connect, look_for


def main(arguments: Sequence[str] | None = None, prog: str = "raysyn") -> int:
    """Exit status of the command; `arguments` (default: the process's) begin with its first word.

    0: done; 1: a run is refuted by its own canaries, or its method fails what it planned; 2: bad input, said in one
    sentence on stderr; 130: interrupted; 141: nobody reads on; 143: terminated.
    """
    words = list(sys.argv[1:]) if arguments is None else list(arguments)
    with cli.printing():
        try:
            return _main(words, prog)
        except catalogue.Broken as error:  # of a verb that looks at all methods
            cli.refuse(str(error))


def _main(words: Sequence[str], prog: str) -> int:
    if not words:
        print(overview(prog), file=sys.stderr)
        return cli.refuse(
            f"{prog} has nothing to do: give a method and a preset, or a verb; `{prog} look FOLDER` and "
            f"`{prog} auto FOLDER --epsilon 3 --dry-run` begin with images of yours"
        )
    first, *rest = words
    # As other programs have it.
    if first == "help" and rest:
        first, rest = rest[0], [*rest[1:], "--help"]
    first = SPELT.get(first, first)
    if first in cli.HELP:
        print(overview(prog))
        return 0
    if first == "--version":
        print(f"raysyn {raysyn.__version__}")
        return 0
    if first in VERBS:
        if asked := set(rest) & set(cli.HELP):
            print(_help(first, f"{prog} {first}", rest, "--help-all" in asked))
            return 0
        return VERBS[first](rest)
    entry = _known(first, prog)
    return run(entry, rest, f"{prog} {entry.name}")


SPELT = {"help": "--help", "version": "--version"}


def _help(verb: str, prog: str, words: Sequence[str], everything: bool) -> str:
    if verb in LONG_HELP:
        return LONG_HELP[verb](prog, words, everything)
    return f"{filled(f'usage: {prog} {USAGE[verb]}', 0)}\n\n{filled(VERBS[verb].__doc__ or '', 0)}"


def run(entry: Entry, arguments: Sequence[str], prog: str) -> int:
    """Exit status of one method or tool; `prog` names it in messages and help."""

    def check(stack: ExitStack) -> Any:
        """Everything that can be wrong with the input, before the first stage."""
        command = cli.parse(
            entry.presets(), arguments, entry.summary, machines=entry.machines(), prog=prog, seal=entry.seal
        )
        # Before what takes seconds to import.
        print(f"{entry.name} {command.preset}, in {command.out}", flush=True)
        put_off_compiler()
        from raysyn.screen.console import Console

        return beginning(entry)(command, stack.enter_context(Console()), connect, stack)

    return cli.run_or_explain(check, entry.run)


def beginning(entry: Entry) -> Callable[..., Any]:
    """What begins a run of it; one that starts others can read their command lines."""

    def begin(command: Any, *around: Any, **more: Any) -> Any:
        look_for(command)
        return entry.method().begin(command, *around, **more)

    return partial(begin, read=read) if entry.starts_others else begin


def read(method: str, words: Sequence[str]) -> Any:
    """What a method's command line asks for, a `cli.Command`; ValueError, in one sentence, for bad input."""
    one = catalogue.find(method)
    return cli.read(one.presets(), words, machines=one.machines(), prog=method, seal=one.seal)


def overview(prog: str) -> str:
    """What there is to type."""
    shown = [f"usage: {prog} METHOD PRESET [--flags]", "", "methods, each with presets of its own:"]
    shown += [_row(name, one.summary) for name, one in all_methods().items()]
    shown += ["", "started alike:", *(_row(one.name, one.summary) for one in catalogue.TOOLS)]
    shown += ["", "verbs:", *(_row(name, verb.__doc__ or "") for name, verb in VERBS.items())]
    more = (
        f"`{prog} METHOD` lists its presets, `{prog} METHOD PRESET --help` its flags, `{prog} --version` the version."
    )
    return "\n".join([*shown, "", filled(more, 0)])


def _row(name: str, text: str) -> str:
    return f"  {name:<20} {filled(text, 23)}"


def _known(word: str, prog: str) -> Entry:
    """The method or tool; leaves with a sentence, and what was probably meant, where there is none."""
    for spelt in (word, word.replace("-", "_")) if not word.startswith("-") else ():
        with suppress(ValueError):
            # First: a broken package of somebody else's stops no method of ours.
            return catalogue.find(spelt)
    entries = all_methods() | {one.name: one for one in catalogue.TOOLS}
    if word not in entries:
        kind = "flag" if word.startswith("-") else "method or verb"
        more = "" if word.startswith("-") else "; a method of another package must be installed"
        near = guess(word, [*entries, *VERBS, "--version", "--help"])
        known = f": the first word is one of {', '.join([*entries, *VERBS])}{more}"
        cli.refuse(f"{word} is no {kind} of {prog}{near}{f'; `{prog} help` lists all' if near else known}")
    return entries[word]
