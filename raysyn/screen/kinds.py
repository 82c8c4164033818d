"""What a flag takes, from the type of its field: how its words are read, and how a person writes it down."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The words after a flag."""

    read: Callable[[Sequence[str]], Any]
    """From these words to the value; ValueError where they are none of this kind."""
    said: str
    """After "give", in a sentence: `a whole number or None`."""
    shown: str
    """After the flag, in help: `INT or None`."""
    most: int | None = 1
    """Words that it takes at most; None for any number of them."""
    choices: tuple[str, ...] = ()
    """Words that are possible, where they can be listed."""
    switch: bool = False
    """Said as --name or --no-name, without a word."""


PLAIN: dict[Any, tuple[str, str, str]] = {
    str: ("a word", "words", "TEXT"),
    Path: ("a path", "paths", "PATH"),
    int: ("a whole number", "whole numbers", "INT"),
    float: ("a number", "numbers", "NUMBER"),
}
"""Types of one word: one of it, several of it, and in help."""


def kind_of(hint: Any) -> Kind:
    """Of a field's type; TypeError, for programmers, where no flag can be made of it."""
    if hint in PLAIN:
        one, _, shown = PLAIN[hint]
        return Kind(read=_single(hint), said=one, shown=shown)
    if hint in (None, type(None)):
        return _choice((None,))
    if hint is bool:
        return Kind(read=_choice((True, False)).read, said="True or False", shown="", most=0, switch=True)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _choice(inside)
    if origin is tuple and inside:
        return _several(inside)
    if origin in (Union, types.UnionType):
        return _union(inside)
    raise TypeError(
        f"no flag is of type {hint}: use str, int, float, bool, Path, Literal, tuples of these, or None too"
    )


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, as JSON has it, is of a field's type."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inside)
    if origin is tuple:
        each = inside[:1] * len(value) if inside[-1] is Ellipsis and isinstance(value, tuple) else inside
        return isinstance(value, tuple) and len(value) == len(each) and all(map(fits, value, each))
    # A path is written as text, and a number may be a whole one.
    allowed = {Path: (str, type(Path())), float: (float, int), None: (type(None),)}.get(hint, (hint,))
    return type(value) in allowed


def listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _single(type_: Callable[[str], Any]) -> Callable[[Sequence[str]], Any]:
    def read(words: Sequence[str]) -> Any:
        if len(words) != 1:
            raise ValueError("not one word")
        return type_(words[0])

    return read


def _choice(values: Sequence[Any]) -> Kind:
    known = {str(value): value for value in values}

    def read(words: Sequence[str]) -> Any:
        if len(words) != 1 or words[0] not in known:
            raise ValueError("none of the choices")
        return known[words[0]]

    return Kind(read=read, said=listed(list(known)), shown=listed(list(known)), choices=tuple(known))


def _several(inside: tuple[Any, ...]) -> Kind:
    """A tuple: any number of one type, or as many as there are types."""
    if inside[-1] is Ellipsis:
        one = kind_of(inside[0])
        plural = PLAIN[inside[0]][1] if inside[0] in PLAIN else f"any of {one.said}"
        shown = f"any of {one.shown}" if one.choices else f"{one.shown} ..."
        return Kind(
            read=lambda words: tuple(one.read([word]) for word in words),
            said=plural, shown=shown, most=None, choices=one.choices,
        )  # fmt: skip
    each = [kind_of(hint) for hint in inside]
    alike = len(set(inside)) == 1 and inside[0] in PLAIN
    said = f"{len(each)} {PLAIN[inside[0]][1]}" if alike else " and ".join(kind.said for kind in each)

    def read(words: Sequence[str]) -> Any:
        return tuple(kind.read([word]) for kind, word in zip(each, words, strict=True))

    return Kind(read=read, said=said, shown=" ".join(kind.shown for kind in each), most=len(each))


def _union(inside: tuple[Any, ...]) -> Kind:
    """One of several types. None is read first and told last; text, which everything is, is read last."""
    by_need = sorted(inside, key=lambda hint: (hint is str, hint is not type(None)))
    kinds = [_choice((True, False)) if hint is bool else kind_of(hint) for hint in by_need]

    def read(words: Sequence[str]) -> Any:
        for kind in kinds:
            try:
                return kind.read(words)
            except ValueError:
                continue
        raise ValueError("none of the types")

    told = [kind for kind in kinds if kind.choices != ("None",)] + [kind for kind in kinds if kind.choices == ("None",)]
    unbounded = any(kind.most is None for kind in kinds)
    return Kind(
        read=read,
        said=_joined([kind.said for kind in told]),
        shown=_joined([kind.shown for kind in told]),
        most=None if unbounded else max(kind.most or 0 for kind in kinds),
        choices=tuple(choice for kind in told for choice in kind.choices) if all(kind.choices for kind in told) else (),
    )


def _joined(parts: Sequence[str]) -> str:
    """`listed`, where a part may be a list itself: `True, False or None`."""
    return listed([word for part in parts for word in part.replace(" or ", ", ").split(", ")])
