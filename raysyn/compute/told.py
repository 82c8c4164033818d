"""Failures that are told in a sentence: what a user can mend, and nobody looks for in a traceback."""

from __future__ import annotations

import traceback


class Told(RuntimeError):
    """Its sentence is the user's, and the exit status is 1."""

    is_told = True
    """Asked by the screen, which knows no machines."""


class Sentence(str):
    """What a unit or a trial has failed with, where that is told so."""


def failure(error: Exception) -> str:
    """What is handed on of an `error` that is being handled: its sentence, or else its traceback."""
    return Sentence(error) if isinstance(error, Told) else traceback.format_exc()
