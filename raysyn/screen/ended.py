"""What ends a command, once its work has begun, with a sentence in place of a traceback."""

from __future__ import annotations


class Ended(Exception):
    """Its sentence is the user's, and the exit status is 1."""

    is_told = True
    """As of exceptions of rooms that know no screen."""
