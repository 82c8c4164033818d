"""The console: quiet in logs, one line per stage, a bar in a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from raysyn.screen import console as module
from raysyn.screen.console import Console, duration


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Log(io.StringIO):
    encoding = "utf-8"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_log_gets_few_plain_lines(clock: Any) -> None:
    log = Log()
    with Console(log) as console:
        for step in range(0, 2001):
            console.show("finetune", step, 2000, {"epsilon": 3.217, "loss": 0.123})
            clock[0] += 0.25
        console.stage("finetune", "DP-SGD spent ε = 9.9", seconds=500)
    lines = log.getvalue().splitlines()
    assert 8 <= len(lines) <= 12 and "\x1b" not in log.getvalue() and "\r" not in log.getvalue()
    assert lines[0] == "  finetune: 200/2000 · ε 3.217 · loss 0.123 · 4 per s · 7 min 30 s left"
    assert lines[-1] == "✓ finetune      8 min 20 s  DP-SGD spent ε = 9.9"


def test_what_goes_on_inside_stands_below_the_bar_and_in_a_log_now_and_then(clock: Any) -> None:
    log, screen = Log(), Terminal()
    for file in (log, screen):
        with Console(file) as console:
            console.show("runs", 0, 6, {})
            for step in range(4):
                console.below([f"first: {step}/9", "second: starts"])
                clock[0] += 70
            if file is screen:
                assert console._bar is not None
                console._bar.refresh()
                assert "first: 3/9" in screen.getvalue() and "second: starts" in screen.getvalue()
            console.below([])
            if file is screen:
                screen.truncate(0)
                console._bar.refresh()
                assert "first" not in screen.getvalue() and "runs" in screen.getvalue()
    assert log.getvalue().splitlines() == ["    first: 2/9", "    second: starts"]


def test_slow_stage_still_shows_that_it_lives(clock: Any) -> None:
    log = Log()
    console = Console(log)
    for step in range(100):
        console.show("generate", step, 10_000, {})
        clock[0] += 20
    assert 25 <= len(log.getvalue().splitlines()) <= 40


def test_what_is_not_counted_is_named_once_in_a_log(clock: Any) -> None:
    log = Log()
    console = Console(log)
    console.begin(["central", "finetune"])
    for _ in range(3):
        console.show("Ray is starting", 0, 0, {})
        clock[0] += 20
    console.show("central", 0, 0, {})  # of a stage that says no more a log has the line at its end
    console.stage("central", "noisy")
    for _ in range(3):
        console.show("finetune: 2 workers are starting", 0, 0, {"nodes": 1.0, "starting": 2.0})
        clock[0] += 20
    console.show("finetune", 1, 2, {})
    assert log.getvalue().splitlines() == [
        "  Ray is starting",
        "✓ 1/2 central            0.0 s  noisy",
        "  finetune (2 of 2): 2 workers are starting",
    ]


def test_a_terminal_shows_how_long_what_is_not_counted_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Console(terminal) as console:
        console.show("finetune: 2 workers are starting", 0, 0, {"nodes": 1.0, "starting": 2.0})
    shown = terminal.getvalue()
    assert "finetune: 2 workers are starting  · 1 nodes · 2 starting " in shown and "0/0" not in shown


def test_times_are_those_that_somebody_keeps(clock: Any) -> None:
    """The report's: what lies before a stage is none of it, and what is found finished took no time now."""
    log, known = Log(), {"central": (0.2, True), "warmup": (90.0, False)}
    console = Console(log)
    console.timed = known.get
    clock[0] += 12
    console.stage("central", "noisy")
    console.stage("warmup", "steps")
    clock[0] += 3
    console.stage("dissimilarity", "of 9")
    console.end(96.5, "Images.", "Release: here")
    assert log.getvalue().splitlines() == [
        "✓ central            0.2 s  noisy",
        "✓ warmup        found finished  steps",
        "✓ dissimilarity      3.0 s  of 9",
        "✓ all stages    1 min 36 s  as in the report; 15 s from the first line to this one",
        "Images.",
        "Release: here",
    ]


def test_ray_s_start_is_no_part_of_the_next_stage(clock: Any) -> None:
    log = Log()
    console = Console(log)
    console.show("Ray is starting", 0, 0, {})
    clock[0] += 12
    console.close()
    clock[0] += 1
    console.stage("central", "noisy")
    assert log.getvalue().splitlines()[-1] == "✓ central            1.0 s  noisy"


@pytest.mark.parametrize("name", ["gan", "dissimilarity", "a_stage_of_somebody_s_own_method"])
@pytest.mark.parametrize("seconds", [0.1, 63, 20_000, 200_000])
def test_a_name_never_touches_its_time(name: str, seconds: float) -> None:
    log = Log()
    Console(log).stage(name, "done", seconds=seconds)
    assert f"{name} " in log.getvalue() and f" {duration(seconds)}  done" in log.getvalue()


def test_figures_have_words(clock: Any) -> None:
    log = Log()
    console = Console(log)
    figures = {"examples_per_s": 4172.3, "discriminator_loss": 0.5, "best_accuracy": 0.91, "waiting": 3.0, "again": 1}
    figures["judging_share"] = 0.999
    console.show("finetune", 0, 100, figures)
    clock[0] += 100
    console.show("finetune", 50, 100, figures)
    assert log.getvalue() == (
        "  finetune: 50/100 · 4,172 images/s · discriminator loss 0.5 · best accuracy 0.91 · 3 waiting · 1 tried again "
        "· judging 99 % · 0.5 per s · 1 min 40 s left\n"
    )


def test_the_first_of_several_that_run_at_once_foretells_nothing(clock: Any) -> None:
    log = Log()
    console = Console(log)
    console.show("synthesise", 0, 4, {})
    for done in (1, 2):
        clock[0] += 36
        console.show("synthesise", done, 4, {})
    first, second = log.getvalue().splitlines()
    assert first == "  synthesise: 1/4" and "left" in second


def test_continued_stage_counts_only_its_own_steps(clock: Any) -> None:
    log = Log()
    console = Console(log)
    console.show("train", 900, 1000, {})
    clock[0] += 70
    console.show("train", 935, 1000, {})
    assert "0.5 per s · 2 min 10 s left" in log.getvalue()


def test_plan_table_and_sentences_are_taken_literally() -> None:
    log = Log()
    console = Console(log)
    console.say("pixels in [0, 1] and [bold] words :smile:")
    console.plan_table(
        [
            {"stage": "central", "noise_multiplier": 5.0, "steps": 5, "epsilon_alone": 0.204},
            {"stage": "finetune", "noise_multiplier": None, "steps": 2197, "epsilon_alone": None},
        ],
        caption="epsilon 10 in all",
    )
    text = log.getvalue()
    assert "pixels in [0, 1] and [bold] words :smile:" in text
    for words in ("noise multiplier", "epsilon alone", "2197", "0.204", "epsilon 10 in all"):
        assert words in text
    assert "None" not in text


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_no_word_and_no_figure_of_a_table_is_broken(width: int) -> None:
    log = Log()
    console = Console(log)
    console._rich.width = width
    row = {"stage": "finetune", "mechanism": "DP-SGD on the diffusion model", "noise_multiplier": 0.6475,
           "sampling_rate": 0.06831, "steps": 2197, "epsilon_alone": 6.481}  # fmt: skip
    run = {"run": "ab12cd34", "method": "noisy_means quick", "promise": "1,498 images", "ε alone": "6.481",
           "ε so far": "6.481", "state": "partly paid", "in an earlier run": "about 50 % in ab12cd34"}  # fmt: skip
    for rows in ([row], [run]):
        console.plan_table(rows, title="Plan", caption="together")
    text = log.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = set(re.findall(r"[^\s│┃,]+", text))
    told = " ".join([*map(str, [*row.values(), *run.values()]), "Plan together mechanism steps promise earlier"])
    assert words >= set(told.replace(",", " ").split()), set(told.split()) - words
    assert ("┏" in text) == (width >= 60) and text.count("together") == 2


def test_no_epsilon_is_printed_smaller_than_it_is() -> None:
    log = Log()
    console = Console(log)
    console.plan_table([{"stage": "one", "noise_multiplier": 1.33935, "epsilon_alone": 1.33935}])
    console.show("finetune", 0, 10, {"epsilon": 1.33935})
    console.show("finetune", 10, 10, {"epsilon": 1.33935, "loss": 1.33935})
    assert console._describe(1, 2, {"epsilon": 1.33935, "loss": 1.33935}, 0.0) == "1/2 · ε 1.34 · loss 1.339"
    assert "1.339 " in log.getvalue() and "1.34 " in log.getvalue(), "noise is not rounded up"


def test_ascii_terminal_is_enough() -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    console.stage("central", "spent ε = 0.2 · fine", seconds=1)
    console.plan_table([{"stage": "central"}])
    assert raw.getvalue().startswith(b"* central") and b"spent epsilon = 0.2 ? fine" in raw.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_plan_is_shown_in_any_encoding(encoding: str) -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    row = {"stage": "ε of größe", "良性": 0.1, "a very long heading that is cut off with dots": "x" * 200}
    console.plan_table([row], title="Plan for 良性 größe: ε", caption="together ε 10, δ 1e-5 · in all")
    shown = raw.getvalue().decode(encoding)
    assert "epsilon 10, delta 1e-5" in " ".join(shown.split()) and "Plan for ??" in shown
    assert ("größe" in shown) == (encoding != "ascii")


def test_bar_comes_and_goes_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Console(terminal) as console:
        for step in range(0, 101, 10):
            console.show("finetune", step, 100, {"epsilon": 1.0})
        console.say("a word in between")
        console.show("evaluate", 1, 4, {})
        console.stage("evaluate", "CNN 93.1 %")
        console.show("again", 0, 0, {})
    text = terminal.getvalue()
    assert "a word in between" in text and "100/100" in text and "CNN 93.1 %" in text
    assert console._bar is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_how_far_the_reading_of_images_is_stands_in_a_bar_or_lines_and_is_no_part_of_a_stage(clock: Any) -> None:
    for file in (log := Log(), screen := Terminal()):
        with Console(file) as console:
            console.show("images are read and checked", 0, 0, {})
            for done in range(500, 50_001, 500):
                console.show("images are read", done, 50_000, {})
                clock[0] += 0.5
            console.close()
            clock[0] += 3
            console.stage("query", "one")
    lines = log.getvalue().splitlines()
    assert lines[0] == "  images are read and checked" and lines[-1] == "✓ query              3.0 s  one"
    assert lines[1] == "  images are read: 10500/50000 · 1e+03 per s · 40 s left" and len(lines) == 6
    assert "images are read" in screen.getvalue() and "━" in screen.getvalue()
