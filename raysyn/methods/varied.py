"""Flags that a leaderboard gives to its runs: to all or to one method's, fixed or varied."""

from __future__ import annotations

import re
import shlex

from raysyn.compute.doorway import digest

Alternative = tuple[str, ...]
"""Words of one flag with one value, or of a switch without."""
_ADDRESSED = re.compile(r"([a-z][a-z0-9_]*):\s*(.*)", re.DOTALL)
_LONGEST = 60
"""Characters of a value in the name of a folder."""


def addressed(told: str) -> tuple[str | None, str]:
    """(method, flags) of `method:flags`; None for flags that are everybody's."""
    found = _ADDRESSED.fullmatch(told)
    return (None, told) if found is None else (found[1], found[2])


def words_of(name: str, text: str) -> list[str]:
    """As a shell divides them, but that a backslash is one, as in regular expressions; ValueError, in one sentence,
    where none could."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, which no shell could read ({error}): mend its quotes") from error


def alternatives(text: str) -> list[Alternative]:
    """`--flag a 'b c'` is --flag a, and --flag b c; `--private --no-private` is one of these words each.

    Raises ValueError, in one sentence, for what is neither.
    """
    words = words_of("vary", text)
    flags = [word for word in words if word.startswith("--")]
    if len(flags) == len(words) > 1:
        found: list[Alternative] = [(word,) for word in words]
    elif len(flags) == 1 and words[0] == flags[0] and len(words) > 1:
        found = [(words[0], *words_of("vary", value)) for value in words[1:]]
    else:
        raise ValueError(
            f"vary is {text!r}: give one flag with its values, as in --vary '--central.count 0 20', or both words of a "
            "switch, as in --vary '--private --no-private'; give --vary once more for another flag"
        )
    if len({short_name(one) for one in found}) != len(found):
        raise ValueError(f"vary is {text!r}: give each value once")
    return found


def spelled(one: Alternative) -> str:
    """As it is typed, without the hyphens before it."""
    return " ".join([one[0].removeprefix("--").replace("_", "-"), *one[1:]])


def short_name(one: Alternative) -> str:
    """Of one value, for the name of a folder: different for different ones."""
    text = spelled(one).replace(" ", "-", 1)
    plain = re.sub(r"[^\w.+-]+", "_", text)[:_LONGEST]
    return plain if plain == text else f"{plain}-{digest(text)}"
