"""A run that is sealed: how one ends that was, and what seals one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from raysyn.methods import account
from raysyn.report import choices
from raysyn.report.release import declare
from raysyn.runs import sealing
from raysyn.runs.account_lines import Book
from raysyn.runs.folder import RunFolder
from raysyn.screen.console import Console


def leave(folder: RunFolder, command: Any, judged: Mapping[str, Any], console: Console, book: Book | None) -> NoReturn:
    """Say where a sealed run's report is and end with status 0; ValueError where it shall be judged by other settings,
    which would need what is gone. What it was chosen among can still be said."""
    sealing.check_settings(folder, judged)
    sealing.finish(folder)
    if command.config.chosen_among:
        declare(command.out, choices.chosen(command.config.chosen_among))
        if book is not None:
            account.enter_choice(book, command.out, command.config.chosen_among)
    console.say(f"Sealed, finished: nothing is left to do.\n{folder.where('Release')}")
    raise SystemExit(0)


def at_the_end(folder: RunFolder, judged: Mapping[str, Any], console: Console, failed: Any, *_: object) -> None:
    """Seal a run that has ended well, as the last thing that is done."""
    if failed is None:
        sealing.seal(folder, judged)
        console.say("Sealed: the secret, exact answers and unreleased states are erased")
