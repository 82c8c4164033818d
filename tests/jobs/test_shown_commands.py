"""What README, docs and cards show to type is what the jobs take: every command, flag and preset of them."""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from running import ROOT, job

from raysyn import attacking, audit_run, auditing, looking, more_images, own_data, preparing
from raysyn.report import accounts
from raysyn.screen import cli
from raysyn.screen.flags import assigned
from raysyn.screen.flags import flags_of as flags_in

CARDS = sorted((ROOT / "raysyn/methods").glob("*/README.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), *CARDS]
# What that page says to type needs the package that it builds: tests/examples does it.
PAGES.remove(ROOT / "docs/own_method.md")
JOBS = {path.stem for path in (ROOT / "jobs").glob("*.py")}
BEFORE = ("RAY_AUTH_MODE=token ray job submit", "git clone")
"""What stands before a command of ours, or is none of ours."""


class Read(BaseException):
    """Leaves a job as soon as its command line is read; no handler of mistakes catches it."""

    def __init__(self, command: cli.Command[Any, Any]) -> None:
        super().__init__()
        self.command = command


def read(name: str, *flags: str) -> cli.Command[Any, Any]:
    """The command as the job reads it, and no step further; SystemExit where it refuses."""
    parse = cli.parse

    def told(*given: Any, **named: Any) -> Any:
        raise Read(parse(*given, **named))

    argv = patch.object(sys, "argv", job(name, *flags)[1:])
    with argv, patch.object(cli, "parse", told), pytest.raises(Read) as left:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return left.value.command


def lines(page: Path) -> Iterator[str]:
    """Command lines of a page: those of its fences without a language, one that goes on below counting as one."""
    # Text and fences take turns, each fence beginning with the rest of its first line: its language.
    for fence in page.read_text().split("\n```")[1::2]:
        if fence.startswith("\n") and not fence.startswith("\n<out>/"):
            yield from filter(None, fence.replace("\\\n", " ").splitlines())


SHOWN = list(dict.fromkeys(line for page in PAGES for line in lines(page)))
OURS = [line for line in SHOWN if re.match(r"(raysyn|python jobs/|python -m raysyn|RAY_AUTH_MODE=token ray job)", line)]


def spelled(line: str) -> list[str]:
    """The words of one of our commands, job or verb first, however it is spelled."""
    words = shlex.split(line.partition(" -- ")[2] or line, comments=True)
    if words[:1] == ["raysyn"]:
        return words[1:]
    if words[:3] == ["python", "-m", "raysyn"]:
        return words[3:]
    return [Path(words[1]).stem, *words[2:]]


def test_commands_of_the_readme_docs_and_cards_are_all_of_a_known_kind() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in SHOWN:
        words = shlex.split(line, comments=True)
        if line in OURS or line.startswith(BEFORE):
            continue
        assert words[1] in targets if words[0] == "make" else words[0] == "python", line
        assert words[0] == "make" or (ROOT / words[1]).is_file(), line


@pytest.mark.parametrize("line", OURS)
def test_commands_of_the_readme_docs_and_cards_are_taken(line: str) -> None:
    name, *flags = spelled(line)
    if name in JOBS:
        assert read(name, *flags).preset == flags[0]
    elif name == "auto":
        assert not flags[0].startswith("-") and assigned(own_data.default(flags[0]), flags[1:], "auto")
    elif name == "report":
        assert flags and {flag for flag in flags if flag.startswith("-")} <= {"--html", "--columns"}
    elif name == "draw":
        assert not flags[0].startswith("-") and assigned(more_images.PLAIN, flags[1:], "draw").out
    elif name == "account":
        assert accounts.read(flags)[0]
    elif name == "attack":
        assert not flags[0].startswith("-") and assigned(attacking.Flags(), flags[1:], "attack")
    elif name == "audit" and flags[0] == "run":
        assert not flags[1].startswith("-") and assigned(audit_run.Flags(), flags[2:], "audit run")
    elif name == "audit":
        assert flags[0] == "engine" and assigned(auditing.Flags(), flags[1:], "audit engine")
    elif name == "look":
        assert not flags[0].startswith("-") and assigned(looking.Flags(), flags[1:], "look")
    elif name == "prepare":
        assert flags[0] in preparing.SETS and not flags[1].startswith("-")
        assert assigned(preparing.Flags(), flags[2:], "prepare")
    else:
        assert (name, len(flags)) in {("methods", 0), ("verify", 1)}, line


def presets_of(name: str) -> dict[str, Any]:
    """The presets that a job hands to its command line."""
    found: list[Any] = []
    parse = cli.parse

    def told(presets: Any, *given: Any, **named: Any) -> Any:
        found.append(presets)
        raise Read(parse(presets, *given, **named))

    with patch.object(cli, "parse", told):
        read(name, "quick")
    return found[0]


def leaves(settings: Any, prefix: str = "--") -> Iterator[str]:
    """Every flag of these settings, as it is typed, those of a group that is left out by default too."""
    yield from (prefix + flag.name for flag in flags_in(settings))


def expanded(pattern: str) -> Iterator[str]:
    """paper-<a|b>-eps<1|10> as the four names it stands for."""
    parts = re.split(r"<([^>]*)>", pattern)
    choices = [part.split("|") if at % 2 else [part] for at, part in enumerate(parts)]
    yield from map("".join, itertools.product(*choices))


def flags_of(name: str) -> set[str]:
    """All flags of a job, as they are typed."""
    command = read(name, "quick")
    return {*leaves(command.config), *leaves(command.machines, "--on."), "--out", "--dry-run", "--seal", "--help"}


def unknown(text: str, flags: set[str]) -> list[str]:
    """The flags in a text that are not among these: a group (`--eval.*`) has flags that begin so, and a switch is also
    spelled with no-."""
    found = dict.fromkeys(re.findall(r"`(--[\w.-]+)[^`]*`", text))
    begun = {one[: at + 1] for one in flags for at, letter in enumerate(one) if letter == "."}
    return [one for one in found if one not in begun and re.sub(r"(^--|\.)no-", r"\1", one) not in flags]


def test_commands_of_the_readme_docs_and_cards_speak_of_flags_that_exist() -> None:
    every = set().union(*map(flags_of, sorted(JOBS)))
    every |= {f"--{flag.name}" for flag in flags_in(own_data.default("SOURCE"))}
    every |= {
        f"--{flag.name}"
        for flags in (preparing.Flags(), looking.Flags(), auditing.Flags(), audit_run.Flags(), attacking.Flags())
        for flag in flags_in(flags)
    }
    # Of `ray start` and `ray job submit`, and of `raysyn report`.
    others = {"--object-spilling-directory", "--temp-dir", "--metadata-json", "--submission-id", "--html", "--help-all"}
    for page in PAGES:
        assert not unknown(page.read_text(), every | others), page.relative_to(ROOT)


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_commands_of_the_readme_docs_and_cards_name_each_preset_and_the_methods_own_flags(card: Path) -> None:
    name, text = card.parent.name, card.read_text()
    assert not unknown(text, flags_of(name))
    table = text.partition("## Presets")[2].partition("\n## ")[0].replace("\\|", "|")
    cells = re.findall(r"^\|( `.*?) \| ", table, re.MULTILINE)
    named = [one for cell in cells for pattern in re.findall(r"`(.*?)`", cell) for one in expanded(pattern)]
    if table:
        assert sorted(named) == sorted(presets_of(name))
