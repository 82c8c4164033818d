"""What a person is told of the public images of a run before anything is spent."""

from __future__ import annotations

from typing import Any

from raysyn.data.images import Dataset
from raysyn.data.streams import PublicConfig
from raysyn.report.advice import LETTERS
from raysyn.screen.console import Console


def say_public(console: Console, config: Any, dataset: Dataset) -> None:
    """Which public images a run learns from, if it does; a WARNING where images of one's own meet built-in letters."""
    public = getattr(config, "public", None)
    if not isinstance(public, PublicConfig) or not public.sets() or not getattr(config, "reads_public", True):
        return
    if dataset.own and public.sets() == (LETTERS,):
        console.say(
            "WARNING: the public images are built-in letters, which are there to try the command: with them students "
            "of dp_imgsyn had learned nothing of X-rays; unless yours are writing, name images like yours with "
            "--public.path."
        )
    else:
        built_in = " (letters, built in)" if public.sets() == (LETTERS,) else ""
        console.say(f"Public images: {', '.join(public.sets())}{built_in}.")
