"""What a person sees while a run is going: one line per finished stage, one live progress bar, the plan."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from raysyn.screen.widths import longest_word, widths_of
from raysyn.screen.words import rounded_up

_LOG_EVERY_S = 10.0
_LOG_AT_LEAST_EVERY_S = 60.0
_LOG_FRACTION = 0.1
_BELOW_EVERY_S = 120.0
_HEADINGS = {
    "noise_multiplier": "noise multiplier",
    "sampling_rate": "sampling rate",
    "epsilon_alone": "epsilon alone",
}
_SHORT = {"noise_multiplier": "noise", "sampling_rate": "rate", "epsilon_alone": "ε alone"}
"""The same, where there is little room."""
_FIGURES = {"examples_per_s": "{} images/s", "nodes": "{} nodes", "starting": "{} starting", "waiting": "{} waiting",
            "again": "{} tried again"}  # fmt: skip
"""How a figure of progress reads; others are named before their value."""
_NAME_WIDTH, _TIME_WIDTH = 14, 10  # one more than `dissimilarity`

Timed = Callable[[str], tuple[float, bool] | None]
"""timed(stage): its seconds so far, and whether any of them fell into this process; None where nobody knows."""


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
        self._began = self._last_line = time.monotonic()
        self._bar: _Bar | None = None
        self._below: tuple[str, ...] = ()
        self._told_below = self._began
        self._stage: str | None = None
        self._counts = False
        self._stages: tuple[str, ...] = ()
        self.timed: Timed = lambda stage: None
        """Who knows how long a stage took; else it is the time since the last line."""
        self._start = self._logged = (0.0, 0)

    def say(self, sentence: str, alarm: bool = False) -> None:
        """One plain line, red for an alarm; a running bar stays below it."""
        with self._lock:
            self._rich.print(Text(self._legible(sentence), "bold red" if alarm else ""), soft_wrap=True)

    def begin(self, stages: Sequence[str]) -> None:
        """Name the stages to come, in their order: from now on each says which of how many it is."""
        with self._lock:
            self._stages = tuple(stages)

    def stage(self, name: str, sentence: str, seconds: float | None = None) -> None:
        """The line of a finished stage; `sentence` has the key figure. Its time is `seconds`, or what `timed` knows."""
        with self._lock:
            self.close()
            now, known = time.monotonic(), self.timed(name)
            if seconds is None:
                seconds = now - self._last_line if known is None else known[0]
            self._last_line = now
            new = known is None or known[1]
            self._line(name, duration(seconds) if new else "found finished", sentence)

    def end(self, seconds: float, sentence: str, places: str) -> None:
        """The last lines: what all stages took together, the run in one `sentence`, and where things are."""
        with self._lock:
            self.close()
            whole = duration(time.monotonic() - self._began)
            self._stages = ()
            self._line("all stages", duration(seconds), f"as in the report; {whole} from the first line to this one")
            self.say(sentence)
            self.say(places)

    def show(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Draw the progress of `stage`; a log gets a line after each tenth, ten seconds or more apart.

        A total of 0 says that nothing is counted yet: `stage` may then end with `: ` and what is being done.
        """
        with self._lock:
            now = time.monotonic()
            if stage != self._stage or bool(total) != self._counts or done < self._start[1]:
                self._open(stage, done, total, now)
            text = self._describe(done, total, metrics, now)
            if self._bar is not None:
                # Completed by its own count, and never by none.
                self._bar.update(self._bar.task_ids[0], completed=done, total=total or None, text=text)
            elif total and self._worth_a_line(done, total, now):
                self._logged = (now, done)
                self._rich.print(Text(f"  {self._title(stage)}: {text}"), soft_wrap=True)

    def below(self, lines: Sequence[str]) -> None:
        """What goes on inside of the stage that is shown, in its place below the bar until others replace it. A log
        gets those that are new, at most every two minutes."""
        with self._lock:
            fresh, now = tuple(map(self._legible, lines)), time.monotonic()
            if self._bar is not None:
                self._bar.below = fresh
            elif not self._rich.is_terminal and now - self._told_below >= _BELOW_EVERY_S:
                for line in fresh:
                    if line not in self._below:
                        self._rich.print(Text(f"    {line}"), soft_wrap=True)
                self._told_below, self._below = now, fresh

    def plan_table(self, rows: Sequence[Mapping[str, Any]], title: str = "Plan", caption: str = "") -> None:
        """The rows of a plan (or any list of equal dicts) as a table, with a caption for the totals; as lines where a
        terminal is too narrow for words and figures to stay whole in columns."""
        title, caption = self._legible(title), self._legible(caption)
        cells = [[self._legible(_cell(key, value)) for key, value in row.items()] for row in rows]
        keys = list(rows[0]) if rows else []
        numbers = [any(isinstance(row[key], int | float) for row in rows) for key in keys]
        room = self._rich.width - 3 * len(keys) - 1  # but for the frame
        for names in (_HEADINGS, _SHORT):
            heads = [self._legible(names.get(key, key)) for key in keys]
            columns = list(zip(heads, *cells, strict=True))
            if (widths := widths_of(columns, room)) is not None:
                break
        longest = max((longest_word(cell) for column in columns for cell in column), default=0)
        with self._lock:
            if widths is None and longest < self._rich.width:
                self._rich.print(Text(title, "italic"))
                for row in cells:
                    told = ", ".join(f"{head} {cell}" for head, cell in zip(heads, row, strict=True))
                    self._rich.print(Padding(Text(told), (0, 0, 0, 2)))
                self._rich.print(Text(caption, "dim"), end="\n" * bool(caption))
                return
            table = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left")
            for at, (head, number) in enumerate(zip(heads, numbers, strict=True)):
                width = None if widths is None else widths[at]
                # What is cut off would end in dots that not every terminal has.
                table.add_column(Text(head), justify="right" if number else "left", overflow="fold", width=width)
            for row in cells:
                table.add_row(*map(Text, row))
            self._rich.print(table)

    def close(self) -> None:
        """Take the bar away, also after an error; safe to call twice."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            if self._stage is not None and self._what_of(self._stage)[0] == "":
                # Ray's start and the reading of images are no part of the stage after them.
                self._last_line = time.monotonic()
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

    def _line(self, name: str, spent: str, sentence: str) -> None:
        number = self._number(name)
        line = Text.assemble(
            (f"{self._tick} ", "green"),
            (f"{f'{number} ' if number else ''}{name:<{_NAME_WIDTH - 1}} ", "bold"),
            (f"{spent:>{_TIME_WIDTH}}  ", "dim"),
            self._legible(sentence),
        )
        self._rich.print(line, soft_wrap=True)

    def _number(self, name: str) -> str:
        return f"{self._stages.index(name) + 1}/{len(self._stages)}" if name in self._stages else ""

    @staticmethod
    def _what_of(stage: str) -> tuple[str, str]:
        """(stage, what is being done); what belongs to no stage stands alone."""
        name, colon, what = stage.partition(": ")
        return (name, what) if colon or " " not in name else ("", name)

    def _title(self, stage: str) -> str:
        name, what = self._what_of(stage)
        if number := self._number(name):
            name = f"{name} ({number.replace('/', ' of ')})"
        return self._legible(": ".join(part for part in (name, what) if part))

    def _open(self, stage: str, done: int, total: int, now: float) -> None:
        self.close()
        # A continued stage starts at `done`: only steps made from here on count towards the speed.
        self._stage, self._start, self._logged = stage, (now, done), (now, done)
        self._counts = total > 0
        if self._rich.is_terminal:
            columns = [TextColumn("  {task.description}"), *([BarColumn(bar_width=30)] if total else [])]
            self._bar = _Bar(
                *columns,
                TextColumn("{task.fields[text]}"),
                _Elapsed(),
                console=self._rich,
                transient=True,
                refresh_per_second=4,
            )
            self._bar.add_task(self._title(stage), total=total or None, completed=done, text="")
            self._bar.start()
        elif not total and self._what_of(stage)[1]:
            self._rich.print(Text(f"  {self._title(stage)}"), soft_wrap=True)

    def _worth_a_line(self, done: int, total: int, now: float) -> bool:
        silence = now - self._logged[0]
        advance = (done - self._logged[1]) / max(1, total)
        return silence >= _LOG_EVERY_S and (advance >= _LOG_FRACTION or silence >= _LOG_AT_LEAST_EVERY_S)

    def _describe(self, done: int, total: int, metrics: Mapping[str, float], now: float) -> str:
        """`120/400 · ε 3.21 · loss 0.123 · 4.1 per s · 1 min 8 s left`."""
        parts = [f"{done}/{total}"] if total else [""] * bool(metrics)
        parts += [self._figure(key, value) for key, value in metrics.items()]
        elapsed, made = now - self._start[0], done - self._start[1]
        # The first of several that run at the same time says nothing of the others.
        if made > 1 and elapsed > 0:
            rate = made / elapsed
            parts.append(f"{rate:.3g} per s" if rate >= 0.1 else f"{duration(1 / rate)} each")
            parts.append(f"{duration((total - done) / rate)} left")
        return (" · " if self._epsilon == "ε" else ", ").join(parts)

    def _figure(self, key: str, value: float) -> str:
        if key == "epsilon":
            return f"{self._epsilon} {rounded_up(value, 4)}"
        if key in _FIGURES:
            return _FIGURES[key].format(f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
        if key.endswith("_share"):
            return f"{key.removesuffix('_share').replace('_', ' ')} {int(100 * value)} %"
        return f"{key.replace('_', ' ')} {value:.4g}"


class _Bar(Progress):
    """With lines below it."""

    below: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Padding(Text(line, style="dim"), (0, 0, 0, 4)) for line in self.below)


class _Elapsed(ProgressColumn):
    """For how long already."""

    def render(self, task: Task) -> Text:
        return Text(f"({duration(task.elapsed or 0.0)})", style="dim")


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


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and key.startswith("epsilon"):
        return rounded_up(value, 4)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
