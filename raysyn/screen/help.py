"""What a command can be told: its presets, and the flags of one, those that people use first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.screen.field_texts import text_under
from raysyn.screen.flags import Flag, difference, flags_of
from raysyn.screen.text import WIDEST, filled, filled_patterns, folded, terminal_width

SMALL = ("quick", "cpu-")
"""Beginnings of the presets that a laptop can run."""
GROUPS = ("data", "public", "target", "budget")
"""Groups that people use, and"""
SINGLE = (
    *("epsilon", "minutes", "delta", "methods", "presets", "epsilons", "seeds", "more", "synthetic", "classes"),
    *("shares", "seed", "out", "dry-run", "seal"),
)
"""single flags, and"""
ON = ("on.address", "on.workers", "on.gpus-per-worker", "on.storage")
"""what they say of the machines."""
THE_RUN = "the run"
"""Heading of flags without a group."""
HELP = {
    "-h, --help": "The flags that people use, and the values of all others.",
    "--help-all": "Every flag with its text.",
}


def small(presets: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Those for a laptop."""
    return [name for name in presets if name.startswith(SMALL)]


def large(presets: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The others: the papers' own settings."""
    return [name for name in presets if not name.startswith(SMALL)]


def overview(presets: Mapping[str, Any], prog: str, description: str, everything: bool = False) -> str:
    """The presets, those for a laptop first, the others folded unless everything is asked for."""
    shown = [f"usage: {prog} PRESET [--flags]", ""]
    shown += [filled(description, 0), ""] if description else []
    others = {name: name in presets for name in (large(presets) if everything else folded(large(presets)))}
    width = max(map(len, [*small(presets), *(name for name, is_one in others.items() if is_one)]), default=0) + 4
    room = max(min(terminal_width(), WIDEST) - width - 1, 20)

    def line(name: str) -> str:
        return f"  {name:<{width - 2}}{difference(presets[name], room)}"

    if small(presets):
        shown += ["presets for a laptop, with what they change:", *map(line, small(presets)), ""]
    if others:
        shown.append("presets as in the paper, for GPUs:")
        shown += [line(name) if is_one else f"  {filled_patterns([name], 6)}" for name, is_one in others.items()]
        shown.append("")
    if not all(others.values()):
        shown.append("  <a|b> is one of these words, [-a] may be left out.")
        shown += [f"  `{prog} --help-all` lists every name.", ""]
    return "\n".join([*shown, filled(f"`{prog} PRESET --help` shows the flags, with the preset's values.", 0)])


def briefly_told(whole: Any) -> list[str]:
    """The flags of a command that has few, each with its text."""
    flags = {f"--{one.name}{f', --{one.off}' * one.kind.switch}": one for one in flags_of(whole)}
    width = max(map(len, flags)) + 2
    return ["flags:", *(f"  {name:<{width}}{filled(flag.help, width + 2)}" for name, flag in flags.items())]


def of_preset(
    whole: Any, prog: str, preset: str, about: Sequence[str], everything: bool = False, unknown: Sequence[str] = ()
) -> str:  # fmt: skip
    """The flags of `whole`, the command with this preset's values: those that people use with their texts, the others
    by name and value; or everything with its text. Of those in `unknown` only the text says what the default is."""
    flags = list(flags_of(whole))
    used = [flag for flag in _in_order(flags) if _is_used(flag)]
    rest = [flag for flag in flags if flag not in used]
    shown = [f"usage: {prog} {preset} [--flags]", ""]
    shown += [line for text in about for line in (filled(text, 0), "")]
    for name in dict.fromkeys(flag.group for flag in used):
        # With everything, a group is not split.
        more = [flag for flag in rest if everything and flag.group == name]
        shown += _group(name, [flag for flag in used if flag.group == name] + more, whole, unknown)
    if everything:
        told = {flag.group for flag in used}
        for name, flags in _groups(rest).items():
            shown += [] if name in told else _group(name, flags, whole, unknown)
        return "\n".join(shown).rstrip()
    return "\n".join([*shown, *_briefly(rest, f"{prog} {preset}")]).rstrip()


def _is_used(flag: Flag) -> bool:
    return flag.group in GROUPS or flag.name in SINGLE or flag.name in ON


def _in_order(flags: Sequence[Flag]) -> list[Flag]:
    """Data and budget, then the run, then the machines."""

    def key(flag: Flag) -> tuple[int, int]:
        if flag.group in GROUPS:
            return GROUPS.index(flag.group), 0
        return len(GROUPS) + (flag.group == "on"), SINGLE.index(flag.name) if flag.name in SINGLE else len(SINGLE)

    return sorted(flags, key=key)


def _groups(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    """By group, each before the groups inside it, the machines last."""
    names = list(dict.fromkeys(flag.group for flag in flags))
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    tops.sort(key=lambda top: top == "on")
    names.sort(key=lambda name: (tops.index(name.split(".")[0]), name.count(".")))
    return {name: [flag for flag in flags if flag.group == name] for name in names}


def _group(name: str, flags: Sequence[Flag], whole: Any, unknown: Sequence[str]) -> list[str]:
    """A heading and the texts under it."""
    title = name or THE_RUN
    about = _about(name, whole)
    shown = [filled(f"{title}: {about}" if about else title, 2, 0)]
    for flag in flags:
        typed = f"--{flag.name}, --{flag.off}" if flag.kind.switch else f"--{flag.name} {flag.kind.shown}"
        default = "" if flag.name in unknown else f" (default: {_value(flag.value)})"
        shown += [filled(typed, 6, 2), filled(f"{flag.help}{default}".strip(), 6, 6)]
    if not name:
        for typed, text in HELP.items():
            shown += [f"  {typed}", filled(text, 6, 6)]
    return [*shown, ""]


def _about(name: str, whole: Any) -> str:
    """The text under a group's field, or of its type."""
    fields = [flag for flag in flags_of(whole) if flag.group == name]
    path = fields[0].path[:-1]
    if not name or not path:
        return ""
    home = whole
    for one in path[:-1]:
        home = getattr(home, one)
    own = fields[0].home
    text = text_under(type(home), path[-1]) or (own.__doc__ or "").split("\n\n")[0]
    # A dataclass without a text gets its signature from Python.
    return "" if text.startswith(f"{own.__name__}(") else " ".join(text.split())


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value) if value != "" else "empty"


def _briefly(flags: Sequence[Flag], prog: str) -> list[str]:
    """The other flags: a line for each group, with values."""
    if not flags:
        return []
    shown = [filled(f"all other flags, with this preset's values (`{prog} --help-all` explains them):", 0)]
    for group, inside in _groups(flags).items():
        told = ", ".join(f"{flag.name.rpartition('.')[2]}={flag.value}" for flag in inside)
        shown.append(filled(f"--{group}{'.' if group else ''}  {told}", 6, 2))
    switches = [flag for flag in flags if flag.kind.switch]
    if switches:
        shown.append(filled(f"True and False are said without a value: --{switches[0].name}, --{switches[0].off}.", 0))
    return shown
