"""Words on a screen: how wide it is, and how many names are told in few."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDEST = 120
"""Columns beyond which lines of text are hard to read."""


def terminal_width() -> int:
    return shutil.get_terminal_size((110, 24)).columns


def filled(text: str, indent: int, first: int | None = None) -> str:
    """`text` in lines that fit the terminal, each after `indent` spaces, the first after `first` (default: none, for
    what goes on where a line has begun)."""
    width = max(min(terminal_width(), WIDEST) - 1, indent + 40)
    lead = " " * indent
    told = textwrap.fill(
        text, width, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False, break_long_words=False
    )
    return " " * (first or 0) + told[indent:]


def filled_patterns(patterns: Sequence[str], indent: int) -> str:
    """What `folded` returns, each on its own line; one that is longer than a line goes on after a |."""
    told = [filled(pattern.replace("|", "| "), indent).splitlines() for pattern in patterns]
    return f"\n{' ' * indent}".join("\n".join(line.replace("| ", "|") for line in lines) for lines in told)


def folded(names: Sequence[str]) -> list[str]:
    """Names with hyphens, in few patterns that tell exactly these: `a-<x|y>[-z]`. Their order is kept."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for part in name.split("-"):
            node = node.setdefault(part, {})
        node[""] = {}
    return ["-".join(parts).replace("-[", "[") for parts in _patterns(tree, first=True)]


def _patterns(tree: Mapping[str, Any], first: bool = False) -> list[list[str]]:
    """Each a list of parts. Parts after which the same may follow stand together."""
    alike: list[tuple[list[list[str]], list[str]]] = []
    for part, below in tree.items():
        rest = _patterns(below) if part else [[]]
        for known, parts in alike:
            if known == rest and part and "" not in parts:
                parts.append(part)
                break
        else:
            alike.append((rest, [part]))
    found = [([_either(parts)] if parts != [""] else []) + after for rest, parts in alike for after in rest]
    for long in [] if first else list(found):
        if len(long) > 1 and long[1:] in found and not long[0].startswith(("<", "[")):
            # The same follows with it and without, so that it may be left out; the first part of a name may not.
            found[found.index(long[1:])] = [f"[-{long[0]}]", *long[1:]]
            found.remove(long)
    return found


def _either(parts: Sequence[str]) -> str:
    """`<x|y>`, or `eps<1|10>` where parts differ in a number alone."""
    if len(parts) == 1:
        return parts[0]
    split = [re.fullmatch(r"([a-z_]+)(\d[\d.]*)", part) for part in parts]
    heads = {one[1] if one else "" for one in split}
    if len(heads) == 1 and "" not in heads:
        return f"{heads.pop()}<{'|'.join(one[2] for one in split if one)}>"
    return f"<{'|'.join(parts)}>"
