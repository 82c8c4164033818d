"""Help is read from the configuration, says first what people use, and folds names; mistakes are said in words."""

import itertools
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from raysyn.methods import catalogue
from raysyn.screen import cli, help
from raysyn.screen.flags import assigned, difference, flags_of
from raysyn.screen.kinds import kind_of
from raysyn.screen.text import filled, folded
from raysyn.screen.words import guess

ENTRIES = [*catalogue.METHODS, *catalogue.TOOLS]
NAMES = [entry.name for entry in ENTRIES]


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A group inside
    a group."""

    batch_size: int = 8
    """Images
    per step."""


@dataclass(frozen=True, kw_only=True)
class Group:
    size: int | None = None
    """Its size."""
    rate: float = 0.5
    way: Literal["prv", "rdp"] = "prv"
    flip: bool = True
    """Mirror."""
    layout: bool | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"group.rate is {self.rate}: give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Absent:
    grain: int = 2


@dataclass(frozen=True, kw_only=True)
class Base:
    seed: int = 0
    """Inherited."""


@dataclass(frozen=True, kw_only=True)
class Config(Base):
    group: Group = field(default_factory=Group)
    absent: Absent | None = None
    name: str | None = "digits"
    place: Path = Path("here")
    sides: tuple[int, ...] = (16, 8)
    pair: tuple[float, float] = (0.0, 1.0)
    kinds: tuple[Literal["cnn", "mlp"], ...] = ("cnn",)
    means: tuple[float, ...] | None = None
    headline: Optional[Literal["online", "offline"]] = None  # noqa: UP045, configurations may be written so
    words: tuple[str, ...] = ()
    share: int | float = 1


def given(*words: str) -> Config:
    return assigned(Config(), words, "raysyn toy quick")


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("--seed 3", {"seed": 3}),
        ("--seed=-3", {"seed": -3}),
        ("--seed -3", {"seed": -3}),
        ("--seed 1 --seed 2", {"seed": 2}),
        ("--group.size 32", {"group": Group(size=32)}),
        ("--group.size 32 --group.size None", {}),
        ("--group.rate 1e-3 --group.way rdp", {"group": Group(rate=1e-3, way="rdp")}),
        ("--group.no-flip", {"group": Group(flip=False)}),
        ("--group.no_flip --group.flip", {}),
        ("--group.layout False", {"group": Group(layout=False)}),
        ("--group.inner.batch_size 4", {"group": Group(inner=Inner(batch_size=4))}),
        ("--name None", {"name": None}),
        ("--name none", {"name": "none"}),
        ("--name=-x=y", {"name": "-x=y"}),
        ("--name -", {"name": "-"}),
        ("--place a/b", {"place": Path("a/b")}),
        ("--sides 1 -2 3 --seed 0", {"sides": (1, -2, 3)}),
        ("--sides=1 2", {"sides": (1, 2)}),
        ("--sides", {"sides": ()}),
        ("--pair -1e-5 inf", {"pair": (-1e-5, float("inf"))}),
        ("--kinds mlp cnn", {"kinds": ("mlp", "cnn")}),
        ("--means 0.5 1", {"means": (0.5, 1.0)}),
        ("--means 1 --means None", {}),
        ("--headline offline", {"headline": "offline"}),
        ("--words a b", {"words": ("a", "b")}),
        ("--share 0.5", {"share": 0.5}),
    ],
)
def test_every_kind_of_value_is_read(words: str, changed: dict[str, Any]) -> None:
    assert given(*words.split()) == replace(Config(), **changed)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--group.size 32x", "group.size is 32x: give a whole number or None"),
        ("--group.size=", "group.size is '': give a whole number or None"),
        ("--group.size none", "group.size is none: give a whole number or None"),
        ("--seed 1.0", "seed is 1.0: give a whole number"),
        ("--group.inner.batch-size many", "group.inner.batch_size is many: give a whole number"),
        ("--group.rate fast", "group.rate is fast: give a number"),
        ("--group.rate 0", "group.rate is 0.0: give a number above 0"),
        ("--group.way foo", "group.way is foo: give prv or rdp"),
        ("--headline foo", "headline is foo: give online, offline or None"),
        ("--group.layout true", "group.layout is true: give True, False or None"),
        ("--group.flip True", "--group.flip takes no value, but has True: write --group.flip or --group.no-flip"),
        ("--group.no-flip=1", "--group.no-flip takes no value, but has 1: write --group.flip or --group.no-flip"),
        ("--sides 8 x", "sides is 8 x: give whole numbers"),
        ("--means 0.5 None", "means is 0.5 None: give numbers or None"),
        ("--pair 1", "pair is 1: give 2 numbers"),
        ("--kinds cnn vgg", "kinds is cnn vgg: give any of cnn or mlp"),
        ("--share x", "share is x: give a whole number or a number"),
        ("--name", "--name has no value: give a word or None"),
        ("--name --seed 1", "--name has no value: give a word or None"),
        ("--name -x", "--name has no value: give a word or None; one that begins with a hyphen as --name=-x"),
        ("--pair 1 2 3", "3 is no argument of raysyn toy quick; --help-all lists all flags"),
        ("stray", "stray is no argument of raysyn toy quick; --help-all lists all flags"),
        ("--group.sise 3", "--group.sise is no flag of raysyn toy quick (did you mean --group.size?); "
                           "--help-all lists all flags"),
        ("--rate=3", "--rate is no flag of raysyn toy quick (did you mean --group.rate?); --help-all lists all flags"),
        ("--no-group.flip", "--no-group.flip is no flag of raysyn toy quick (did you mean --group.no-flip?); "
                            "--help-all lists all flags"),
        ("--absent.zzz 3", "--absent.zzz is no flag of raysyn toy quick (did you mean --absent.grain?); "
                           "--help-all lists all flags"),
        ("-s 3", "-s is no flag of raysyn toy quick (did you mean --seed?); --help-all lists all flags"),
    ],
)  # fmt: skip
def test_every_kind_of_mistake_names_field_value_and_mend(words: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        given(*words.split())
    assert str(refused.value) == sentence


def test_a_group_that_is_none_is_made_by_its_first_flag() -> None:
    assert given("--seed", "3").absent is None
    assert given("--absent.grain", "3").absent == Absent(grain=3)


def test_a_group_is_checked_once_and_whole() -> None:
    """Two fields of which each alone would be refused beside the other's default."""

    @dataclass(frozen=True)
    class Range:
        low: int = 0
        high: int = 1

        def __post_init__(self) -> None:
            assert self.low < self.high

    assert assigned(Range(), ["--low", "5", "--high", "6"], "x") == Range(5, 6)


@pytest.mark.parametrize("hint", [dict, dict[str, int], list[int], object, tuple])
def test_a_type_that_no_flag_can_be_of_is_named(hint: Any) -> None:
    with pytest.raises(TypeError, match=r"no flag is of type .*: use str, int"):
        kind_of(hint)


def test_texts_are_joined_and_inherited_and_comments_are_none() -> None:
    texts = {flag.name: flag.help for flag in flags_of(Config())}
    assert texts["group.inner.batch-size"] == "Images per step." and texts["seed"] == "Inherited."
    assert texts["headline"] == ""


# ---- help, of what there is


def whole(entry: catalogue.Entry, preset: str) -> Any:
    presets = entry.presets()
    return cli.unchanged(presets, preset, machines=entry.machines(), prog=f"raysyn {entry.name}", seal=entry.seal)


def shown(capsys: pytest.CaptureFixture[str], entry: catalogue.Entry, *argv: str) -> str:
    with pytest.raises(SystemExit) as left:
        cli.parse(entry.presets(), argv, entry.summary, machines=entry.machines(), prog=f"raysyn {entry.name}",
                  seal=entry.seal)  # fmt: skip
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_help_fits_and_tells_every_flag(
    entry: catalogue.Entry, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    preset = next(iter(entry.presets()))
    everything, first = shown(capsys, entry, preset, "--help-all"), shown(capsys, entry, preset, "--help")
    lists = shown(capsys, entry, "--help"), shown(capsys, entry, "--help-all")
    for text in (everything, first, *lists):
        assert max(map(len, text.splitlines())) <= columns and "{" not in text
        assert text == "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    in_one = " ".join(everything.split())
    for flag in flags_of(whole(entry, preset)):
        # The whole text, so that no line of it ends where the source's did.
        assert f" {flag.help} (default: " in in_one and flag.help, flag.name
        assert re.search(rf"^  --{re.escape(flag.name)}[ ,]", everything, re.MULTILINE), flag.name
        last = flag.name.split(".")[-1]
        assert f"--{flag.name}" in first or f" {last}=" in first, flag.name
    assert first == shown(capsys, entry, preset, "--data.limit", "x", "-h")


@pytest.mark.parametrize("entry", catalogue.METHODS, ids=[one.name for one in catalogue.METHODS])
def test_what_people_use_comes_first(entry: catalogue.Entry, capsys: pytest.CaptureFixture[str]) -> None:
    told = re.findall(r"^  --([a-z.-]+)[ ,]", shown(capsys, entry, "quick", "--help"), re.MULTILINE)
    used = [name for name in told if not name.endswith(".") and name.strip("-")]
    columns = ["image-column", "label-column"]
    expected = ["data.name", "data.path", "data.test-share", *(f"data.{name}" for name in columns)]
    expected += ["data.person-column", "data.person-pattern", "data.most-per-person"]
    unlike = ["window", "background", "skip-broken"]
    expected += [f"data.{name}" for name in ("multi-label", "label-order", "crop", "size", "fit", "window", "colour")]
    expected += [f"data.{name}" for name in ("background", "skip-broken", "limit", "labels")]
    if entry.needs.startswith("public"):
        own = [*columns, "crop", "fit", *unlike, "limit"]
        expected += ["public.name", "public.path", *(f"public.{name}" for name in own)]
    if entry.guarantee != "none":
        expected += ["budget.epsilon", "budget.delta", "budget.accountant"]
    expected += [f"budget.{name}" for name in ("account", "total", "new-total", "reason")]
    expected += ["synthetic", "seed", "out", "dry-run", *(["seal"] if entry.seal else [])]
    assert [name for name in used if not name.startswith(("on.", "help"))] == expected
    assert [name for name in used if name.startswith("on.")] == [
        "on.address", "on.workers", "on.gpus-per-worker", "on.storage"
    ]  # fmt: skip


def test_no_flag_says_how_a_switch_is_turned_on_and_off_of_a_method_without_one() -> None:
    @dataclass(frozen=True)
    class Small:
        rate: float = 1.0

    assert "without a value" not in help.of_preset(Small(), "raysyn toy", "quick", [])


# ---- presets


def expanded(pattern: str) -> list[str]:
    """The names that a pattern stands for."""
    choices = []
    for options, optional, plain in re.findall(r"<([^>]*)>|\[([^\]]*)\]|([^<\[]+)", pattern):
        choices.append(options.split("|") if options else ["", optional] if optional else [plain])
    return ["".join(parts) for parts in itertools.product(*choices)]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_patterns_stand_for_the_presets_and_no_other(entry: catalogue.Entry) -> None:
    names = help.large(entry.presets())
    patterns = folded(names)
    assert sorted(name for pattern in patterns for name in expanded(pattern)) == sorted(names)
    assert len(patterns) <= 3


def test_patterns_are_exact_for_whatever_there_is() -> None:
    draw = random.Random(0)
    parts = ["a", "b", "eps1", "eps10", "eps0.2", "x_y"]
    every = ["-".join(name) for n in (1, 2, 3) for name in itertools.product(parts, repeat=n)]
    shorter = 0
    for _ in range(300):
        names = draw.sample(every, draw.randint(0, 12))
        patterns = folded(names)
        assert sorted(name for pattern in patterns for name in expanded(pattern)) == sorted(names), names
        shorter += len(patterns) < len(names)
    assert shorter > 100


def test_patterns_are_short() -> None:
    models, budgets = ("a-", "b-gan-"), (1, 5, 10)
    assert folded([f"{m}eps{e}" for m in models for e in budgets]) == ["a-eps<1|5|10>", "b-gan-eps<1|5|10>"]
    assert folded(["p-a-x", "p-b-x", "p-a-g-x", "p-b-g-x"]) == ["p-<a|b>[-g]-x"]
    assert folded(["p-a1", "p-a1-g"]) == ["p-a1", "p-a1-g"] and folded(["only"]) == ["only"] and folded([]) == []


def test_presets_for_a_laptop_come_first_and_all_names_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue.find("privimage")
    presets = entry.presets()
    short, every = shown(capsys, entry, "--help"), shown(capsys, entry, "--help-all")
    assert "paper-<cifar10|celeba32|celeba64>[-gan]-eps<1|5|10>\n" in short and "paper-cifar10-eps1 " not in short
    lines = [line.split()[0] for line in every.splitlines() if line.startswith("  ")]
    assert lines == [*help.small(presets), *help.large(presets)] and set(lines) == set(presets)
    assert help.small(presets)[0] == "quick" and short.index("cpu-mnist") < short.index("paper-")
    for name in presets:
        command = cli.read(presets, [name], machines=entry.machines(), prog="x", seal=True)
        assert command.config == presets[name]


def test_all_presets_may_be_folded() -> None:
    text = help.overview({f"paper-eps{epsilon}": Config() for epsilon in (1, 2)}, "raysyn toy", "")
    assert "  paper-eps<1|2>\n" in text and "laptop" not in text


def test_a_wrong_preset_is_refused_with_the_folded_names(capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue.find("privimage")
    with pytest.raises(ValueError, match=r"quic is no preset \(did you mean quick\?\); .*\[-gan\]-eps<1\|5\|10>"):
        cli.read(entry.presets(), ["quic"], machines=entry.machines(), prog="x")


# ---- text


def test_text_is_filled_to_the_terminal_and_no_wider_than_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a word-with-hyphens and more " * 20
    for columns, most in (("60", 60), ("100", 100), ("300", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = filled(text, 4, 2).splitlines()
        assert most - 25 < max(map(len, lines)) <= most
        assert lines[0].startswith("  a") and all(line.startswith("    ") for line in lines[1:])
        assert " ".join(" ".join(lines).split()) == text.strip()


def test_a_difference_is_cut_between_words() -> None:
    changed = replace(Config(), group=Group(inner=Inner(batch_size=4)), seed=1)
    assert difference(changed, 80) == "seed=1, group.inner.batch-size=4"
    assert difference(changed, 24) == "seed=1, ..."


def test_a_guess_is_made_only_where_one_is_near() -> None:
    assert guess("quik", ["quick", "paper"]) == " (did you mean quick?)" and guess("zzz", ["quick"]) == ""
