"""The flags of a configuration: nested frozen dataclasses, whose fields they are named after.

`data.size` is --data.size, whose words are read by the field's type and whose help is the text under the field.
"""

from __future__ import annotations

import functools
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from raysyn.screen.field_texts import text_under
from raysyn.screen.kinds import Kind, fits, kind_of
from raysyn.screen.words import guess

C = TypeVar("C")
BARE = {"bare": True}
"""Metadata of a field whose own fields are flags without its name before them."""
ADDS = {"adds": True}
"""Metadata of a field of several words whose flag, given once more, adds to what it was given before."""
CALLED = "flag"
"""Metadata of a field whose flag has another name than it, with the groups before it: that of a group itself, say."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One of them."""

    name: str
    """As it is typed, less the two hyphens."""
    path: tuple[str, ...]
    """Fields that lead to its value."""
    home: Any
    """Dataclass whose field it is."""
    hint: Any
    """The field's type."""
    value: Any
    """What it is unless it is given."""
    adds: bool = False
    """Whether it can be given several times, each adding to the others."""

    @property
    def kind(self) -> Kind:
        """How its words are read."""
        return kind_of(self.hint)

    @property
    def group(self) -> str:
        """What stands before the last full stop of its name."""
        return self.name.rpartition(".")[0]

    @property
    def off(self) -> str:
        """How a switch is turned off."""
        return ".".join([*self.name.split(".")[:-1], f"no-{self.name.split('.')[-1]}"])

    @property
    def field(self) -> str:
        """As sentences name it: `on.gpus_per_worker`."""
        return self.name.replace("-", "_")

    @property
    def help(self) -> str:
        """The text under the field."""
        return text_under(self.home, self.path[-1])


def flags_of(config: Any, prefix: str = "", path: tuple[str, ...] = ()) -> Iterator[Flag]:
    """Every field that is not itself a group. A group that is None has the flags of its type, with that one's
    defaults: the first that is given makes it."""
    home: Any = type(config)
    hints = _hints(home)
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        name, here = prefix + field.name.replace("_", "-"), (*path, field.name)
        value = _group_of(hint)() if value is None and _group_of(hint) else value
        if is_dataclass(value):
            yield from flags_of(value, prefix if field.metadata.get("bare") else name + ".", here)
        elif field.init and not _group_of(hint):
            yield Flag(
                name=field.metadata.get(CALLED, name), path=here, home=home, hint=hint, value=value,
                adds=bool(field.metadata.get("adds")),
            )  # fmt: skip


def check_flags(config: Any) -> None:
    """ValueError for a field of a type that no flag can have, or with a value that its flag would not take."""
    if not is_dataclass(config):
        raise ValueError(f"it is a {type(config).__name__}: give an object of a dataclass")
    for flag in flags_of(config):
        try:
            said = flag.kind.said
        except TypeError as error:
            raise ValueError(f"{flag.field}, a field of {flag.home.__name__}: {error}") from error
        if not fits(flag.value, flag.hint):
            raise ValueError(f"{flag.field} is {flag.value!r}: give {said}")


def _group_of(hint: Any) -> Any:
    """The group that a field may hold beside None; None for any other field."""
    return next((one for one in typing.get_args(hint) if is_dataclass(one)), None)


def optional_groups(config: Any, prefix: str = "", path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(name, path) of the groups that can be None."""
    home: Any = type(config)
    hints = _hints(home)
    for field in fields(config):
        value, group = getattr(config, field.name), _group_of(hints[field.name])
        name, here = prefix + field.name.replace("_", "-"), (*path, field.name)
        if group:
            yield name, here
        elif is_dataclass(value):
            yield from optional_groups(value, prefix if field.metadata.get("bare") else name + ".", here)


def _without_groups(config: Any, words: Sequence[str]) -> tuple[dict[tuple[str, ...], None], list[str]]:
    """Optional groups that are left out by `--sampler-fid None`, by their paths, and all other words. ValueError for
    one that has a flag too."""
    gone, left = dict[tuple[str, ...], None](), list(words)
    for name, path in optional_groups(config):
        for said in ([f"--{name}=None"], [f"--{name}", "None"]):
            for at in range(len(left) - len(said), -1, -1):
                if left[at : at + len(said)] == said:
                    del left[at : at + len(said)]
                    gone[path] = None
        if path in gone and (more := [word for word in left if word.startswith(f"--{name}.")]):
            raise ValueError(f"{name.replace('-', '_')} is None, but there is {more[0]} too: say one of both")
    return gone, left


def assigned(config: C, words: Sequence[str], prog: str) -> C:
    """`config` with the flags that the words give; ValueError, in one sentence, for words that are none. A group that
    may be left out is by its name and None."""
    known: dict[str, Flag] = {}
    for flag in flags_of(config):
        known |= {flag.name: flag} | ({flag.off: flag} if flag.kind.switch else {})
    gone, words = _without_groups(config, words)
    changes: dict[tuple[str, ...], Any] = {**gone}
    at = 0
    while at < len(words):
        head, equals, first = words[at].partition("=")
        name = _spelt(head[2:].replace("_", "-"), known)
        if not head.startswith("--") or name not in known:
            raise ValueError(_unknown(words[at], head, known, prog))
        flag, end = known[name], at + 1
        given = [first] if equals else []
        # A switch takes what follows too, so that it is refused as what it was meant to be.
        room = len(words) if flag.kind.most is None else at + 1 + max(flag.kind.most, 1) - len(given)
        if flag.adds and not equals and end < len(words):
            # It may be flags itself, for something else: --more "--data.no-labels".
            given.append(words[end])
            end += 1
        while end < min(room, len(words)) and not _names_a_flag(words[end]):
            given.append(words[end])
            end += 1
        value = _value(flag, name, given, words[end] if end < len(words) else "")
        changes[flag.path] = (*changes.get(flag.path, ()), *value) if flag.adds else value
        at = end
    made = _rebuilt(config, changes)
    for flag in known.values():
        # One that is as the preset has it says nothing new.
        if flag.path in changes and changes[flag.path] != flag.value:
            _refuse_unread(made, flag.path, flag.name)
    return made


ALSO = {"epsilon": "budget.epsilon", "delta": "budget.delta", "budget.epsilon": "epsilon", "budget.delta": "delta"}
"""Flags that are called otherwise where a budget is a group, or where it is none: each is taken for the other."""


def _spelt(name: str, known: Mapping[str, Flag]) -> str:
    """`name`, or what it is called here."""
    other = ALSO.get(name)
    return other if name not in known and other in known and other is not None else name


def _refuse_unread(made: Any, path: tuple[str, ...], name: str) -> None:
    """ValueError for a flag that changes a setting and nothing else, as one of the groups around it tells by its
    `unread()`, {its field, dotted: why nothing reads it}."""
    group = made
    for at, field in enumerate(path):
        if group is None:
            return
        unread = getattr(group, "unread", None)
        if callable(unread) and (why := unread().get(".".join(path[at:]))):
            raise ValueError(f"--{name} {why}: leave it out")
        group = getattr(group, field)


def difference(config: Any, width: int) -> str:
    """How `config` differs from the defaults of its type, as `field=value, ...` cut to `width` characters."""
    default = {flag.name: flag.value for flag in flags_of(type(config)())}
    now = {flag.name: flag.value for flag in flags_of(config)}
    changed = [f"{name}={value}" for name, value in now.items() if name not in default or default[name] != value]
    told = ", ".join(changed) or "all defaults"
    return textwrap.shorten(told, width, placeholder=" ...", break_on_hyphens=False)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _names_a_flag(word: str) -> bool:
    """Whether it cannot be a value: it begins as a flag does, is no number below 0, and no quoted list of flags."""
    if not word.startswith("-") or word == "-" or any(map(str.isspace, word.partition("=")[0])):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _value(flag: Flag, name: str, given: Sequence[str], following: str) -> Any:
    kind = flag.kind
    if kind.switch:
        if given:
            raise ValueError(f"--{name} takes no value, but has {given[0]}: write --{flag.name} or --{flag.off}")
        return name == flag.name
    if not given and kind.most is not None:
        single = following.startswith("-") and not following.startswith("--")
        hyphen = f"; one that begins with a hyphen as --{name}={following}" if single else ""
        raise ValueError(f"--{name} has no value: give {kind.said}{hyphen}")
    try:
        return kind.read(given)
    except ValueError as error:
        raise ValueError(f"{flag.field} is {' '.join(given) or repr('')}: give {kind.said}") from error


def _unknown(word: str, head: str, known: Mapping[str, Flag], prog: str) -> str:
    if not word.startswith("-"):
        return f"{word} is no argument of {prog}; --help-all lists all flags"
    name = head.lstrip("-").replace("_", "-").lower()
    # --epsilon is the end of one name alone, and --no-query.flip has its no- in the wrong place.
    ends = [one for one in known if one.split(".")[-1] == name]
    if name.removeprefix("no-") in known and known[name.removeprefix("no-")].kind.switch:
        ends = [known[name.removeprefix("no-")].off]
    near = f" (did you mean --{ends[0]}?)" if len(ends) == 1 else guess(f"--{name}", [f"--{one}" for one in known])
    return f"{head} is no flag of {prog}{near}; --help-all lists all flags"


def _rebuilt(part: Any, changes: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = (), named: str = "") -> Any:
    """`part`, which flags call `named`, with what changes in it, each group once, so that its own checks see it whole;
    these know no more than the last word of its name, or not even that."""
    own: dict[str, Any] = {}
    home: Any = type(part)
    hints = _hints(home)
    for field in fields(part):
        here, value = (*path, field.name), getattr(part, field.name)
        if here in changes:
            own[field.name] = changes[here]
            continue
        if value is None and (group := _group_of(hints[field.name])):
            value = group()
        if any(changed[: len(here)] == here for changed in changes):
            inside = named if field.metadata.get("bare") else f"{named}.{field.name}".strip(".")
            own[field.name] = _rebuilt(value, changes, here, inside)
    outside, _, last = named.rpartition(".")
    try:
        return replace(part, **own) if own else part
    except ValueError as error:
        said = str(error)
        if outside and said.startswith(f"{last}."):
            raise ValueError(f"{outside}.{said}") from error
        if named and not said.startswith(f"{last}.") and re.split(r"[ .]", said)[0] in hints:
            raise ValueError(f"{named}.{said}") from error
        raise


def restored(config: C, stored: Mapping[str, Any], but: str = "") -> C:
    """`config` with the values that `stored`, nested as it is and read from JSON, has for its flags; those that begin
    with `but` stay as they are. ValueError for a value that no flag gives."""
    changes: dict[tuple[str, ...], Any] = {}
    for flag in flags_of(config):
        found: Any = stored
        for name in flag.path:
            found = found.get(name, flag) if isinstance(found, Mapping) else flag
        if found is not flag and not (but and flag.name.startswith(but)):
            changes[flag.path] = value = _tuples(found)
            if not fits(value, flag.hint):
                raise ValueError(f"{flag.field} is {found!r}: give {flag.kind.said}")
    return _rebuilt(config, changes)


def _tuples(value: Any) -> Any:
    """JSON has no tuples, and configurations no lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
