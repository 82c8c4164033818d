"""How wide the columns of a table are on a screen, so that no word in them is broken."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len


def longest_word(cell: str) -> int:
    """How many columns of a screen it takes."""
    return max(map(cell_len, cell.split()), default=1)


def widths_of(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """How wide each column is where together they have so much room; None where a word would have to be broken."""
    least = [max(map(longest_word, column)) for column in columns]
    widest = [max(map(cell_len, column)) for column in columns]
    if (left := room - sum(least)) < 0:
        return None
    found = list(least)
    # Who lacks little gets all of it, and those who lack much what is left.
    order = sorted(range(len(columns)), key=lambda at: widest[at] - least[at])
    for done, at in enumerate(order):
        more = min(widest[at] - least[at], left // (len(order) - done))
        found[at], left = found[at] + more, left - more
    return found
