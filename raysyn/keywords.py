"""Keywords of the Python door as the words of a command line, by which they are read, and refused, alike."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from numbers import Number
from typing import Any

from raysyn.compute.doorway import in_a_mapping


def flat(flags: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted flag, value) of nested mappings."""
    for name, value in flags.items():
        name = prefix + name.replace("_", "-")
        if isinstance(value, Mapping):
            yield from flat(value, name + ".")
        else:
            yield name, value


def once(flags: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """{flag: value}; ValueError for one that is given by two names, of which one would be lost."""
    found: dict[str, Any] = {}
    for name, value in flags:
        if name in found:
            raise ValueError(f"{name} is given twice: say it once")
        found[name] = value
    return found


def words_of(flags: Mapping[str, Any], config: Any, machines: Any) -> list[str]:
    """The command line that says the same, so that it is read, and refused, alike."""
    words: list[str] = []
    for name, value in flags.items():
        _refuse_group(name, value, config, machines)
        _refuse_type(name, value)
        value = value.item() if getattr(value, "shape", None) == () else value  # a number of NumPy's or PyTorch's
        if isinstance(value, bool) and _is_switch(name, config, machines):
            group, _, last = name.rpartition(".")
            words.append(f"--{group}{'.' if group else ''}{'' if value else 'no-'}{last}")
        elif isinstance(value, (list, tuple)) and _adds(name, config, machines):
            words += [f"--{name}={one}" for one in value]
        elif isinstance(value, (list, tuple)):
            _refuse_several(name, value, config, machines)
            words += [f"--{name}", *map(str, value)]
        else:
            words.append(f"--{name}={value}")
    return words


def _refuse_type(name: str, value: Any) -> None:
    """ValueError, by its type alone, for what no word can say: in words it would be what it holds, private images and
    names of persons among it."""
    single = not isinstance(value, (list, tuple))
    for one in (value,) if single else value:
        if not isinstance(one, (str, os.PathLike, Number, type(None))) and getattr(one, "shape", None) != ():
            what = type(value).__name__ if single else f"{type(value).__name__} that holds a {type(one).__name__}"
            raise ValueError(f"{name.replace('-', '_')} is a {what}: give a text, a path, a number, or a list of such")


def _refuse_group(name: str, value: Any, config: Any, machines: Any) -> None:
    """ValueError for one value where there are several flags. A group that may be left out can be None."""
    first, *parts = name.replace("-", "_").split(".")
    group = machines if first == "on" else getattr(config, first, None)
    for part in parts:
        group = getattr(group, part, None)
    if is_dataclass(group) and not (value is None and _may_be_none(name, config, machines)):
        raise ValueError(in_a_mapping(name.replace("-", "_"), value, [field.name for field in fields(group)]))


def _refuse_several(name: str, value: Any, config: Any, machines: Any) -> None:
    """ValueError for a list where the flag takes one value: its second would be read as what no flag is."""
    home, last = _home(name, config, machines)
    if home is not None and not _of(home, last) & {list, tuple}:
        raise ValueError(f"{name.replace('-', '_')} is a {type(value).__name__}: give one value")


def _of(home: Any, last: str) -> set[Any]:
    """What a field may be, without what its members are."""
    hint = typing.get_type_hints(home)[last]
    return {typing.get_origin(one) or one for one in (hint, *typing.get_args(hint))}


def _may_be_none(name: str, config: Any, machines: Any) -> bool:
    home, last = _home(name, config, machines)
    return home is not None and type(None) in _of(home, last)


def _is_switch(name: str, config: Any, machines: Any) -> bool:
    """Whether the flag is said as --name or --no-name: a plain bool, not one of three answers."""
    home, last = _home(name, config, machines)
    return last in ("dry_run", "seal") if home is None else typing.get_type_hints(home)[last] is bool


def _adds(name: str, config: Any, machines: Any) -> bool:
    """Whether each value is said with the flag before it."""
    home, last = _home(name, config, machines)
    return home is not None and any(field.name == last and field.metadata.get("adds") for field in fields(home))


def _home(name: str, config: Any, machines: Any) -> tuple[Any, str]:
    """The dataclass that has the flag's field, None where none has, and the field's name."""
    on, config = name.startswith("on."), machines if name.startswith("on.") else config
    *groups, last = name.removeprefix("on.").replace("-", "_").split(".") if on else name.replace("-", "_").split(".")
    for group in groups:
        config = getattr(config, group, None)
    if not is_dataclass(config) or last not in {field.name for field in fields(config)}:
        return None, last
    return type(config), last
