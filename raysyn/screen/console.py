"""What a person sees while a run is going: one line per finished stage, one live progress bar, the plan."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

_LOG_EVERY_S = 10.0
_LOG_AT_LEAST_EVERY_S = 60.0
_LOG_FRACTION = 0.1
_HEADINGS = {
    "noise_multiplier": "noise multiplier",
    "sampling_rate": "sampling rate",
    "epsilon_alone": "epsilon alone",
}


class Console:
    """Prints to a terminal or, in plain lines, to a log; `show` is a `compute.Show`. Thread-safe."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._rich = RichConsole(file=file or sys.stdout, highlight=False, markup=False, emoji=False)
        if not self._rich.is_terminal:
            self._rich.width = 120  # a log has no width of its own
        self._encoding = self._rich.encoding or "ascii"
        unicode = self._encoding.lower().startswith("utf")
        self._tick, self._epsilon = ("✓", "ε") if unicode else ("*", "eps")
        self._lock = threading.RLock()
        self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._stage: str | None = None
        self._start = self._logged = (0.0, 0)

    def say(self, sentence: str) -> None:
        """One plain line; a running bar stays below it."""
        with self._lock:
            self._rich.print(Text(self._legible(sentence)), soft_wrap=True)

    def stage(self, name: str, sentence: str, seconds: float | None = None) -> None:
        """The line of a finished stage; `sentence` has the key figure, the time counts from the last."""
        with self._lock:
            self.close()
            now = time.monotonic()
            spent = now - self._last_line if seconds is None else seconds
            self._last_line = now
            line = Text.assemble(
                (f"{self._tick} ", "green"),
                (f"{name:<12}", "bold"),
                (f"{duration(spent):>10}  ", "dim"),
                self._legible(sentence),
            )
            self._rich.print(line, soft_wrap=True)

    def show(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Draw the progress of `stage`; a log gets a line after each tenth, ten seconds or more apart."""
        with self._lock:
            now = time.monotonic()
            if stage != self._stage or done < self._start[1]:
                self._begin(stage, done, total, now)
            text = self._describe(done, total, metrics, now)
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=done, total=total, text=text)
            elif self._worth_a_line(done, total, now):
                self._logged = (now, done)
                self._rich.print(Text(f"  {stage}: {text}"), soft_wrap=True)

    def plan_table(self, rows: Sequence[Mapping[str, Any]], title: str = "Plan", caption: str = "") -> None:
        """The rows of a plan (or any list of equal dicts) as a table, with a caption for the totals."""
        title, caption = self._legible(title), self._legible(caption)
        table = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left")
        for key in rows[0] if rows else ():
            number = any(isinstance(row[key], int | float) for row in rows)
            heading = Text(self._legible(_HEADINGS.get(key, key)))
            # What is cut off would end in dots that not every terminal has.
            table.add_column(heading, justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(self._legible(_cell(value))) for value in row.values()))
        with self._lock:
            self._rich.print(table)

    def close(self) -> None:
        """Take the bar away, also after an error; safe to call twice."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            self._bar = self._stage = None

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _legible(self, sentence: str) -> str:
        """`sentence` in the characters that this terminal has."""
        if self._epsilon == "ε":
            return sentence.encode("utf-8", "backslashreplace").decode()
        plain = sentence.replace("ε", "epsilon").replace("δ", "delta")
        return plain.encode(self._encoding, "replace").decode(self._encoding)

    def _begin(self, stage: str, done: int, total: int, now: float) -> None:
        self.close()
        # A continued stage starts at `done`: only steps made from here on count towards the speed.
        self._stage, self._start, self._logged = stage, (now, done), (now, done)
        if self._rich.is_terminal:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[text]}"),
                console=self._rich,
                transient=True,
            )
            self._bar.add_task(stage, total=total, completed=done, text="")
            self._bar.start()

    def _worth_a_line(self, done: int, total: int, now: float) -> bool:
        silence = now - self._logged[0]
        advance = (done - self._logged[1]) / max(1, total)
        return silence >= _LOG_EVERY_S and (advance >= _LOG_FRACTION or silence >= _LOG_AT_LEAST_EVERY_S)

    def _describe(self, done: int, total: int, metrics: Mapping[str, float], now: float) -> str:
        """`120/400 · ε 3.21 · loss 0.123 · 4.1 per s · 1 min 8 s left`."""
        parts = [f"{done}/{total}"]
        parts += [f"{self._epsilon if key == 'epsilon' else key} {value:.4g}" for key, value in metrics.items()]
        elapsed, made = now - self._start[0], done - self._start[1]
        if made > 0 and elapsed > 0:
            rate = made / elapsed
            parts.append(f"{rate:.3g} per s" if rate >= 0.1 else f"{duration(1 / rate)} each")
            parts.append(f"{duration((total - done) / rate)} left")
        return (" · " if self._epsilon == "ε" else ", ").join(parts)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
