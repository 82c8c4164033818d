"""The command `raysyn` itself: what there is, what is wrong with its words, and what the tab key offers."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raysyn
from raysyn import audit_table
from raysyn.command import main
from raysyn.methods import catalogue
from raysyn.screen import cli, help
from raysyn.screen.completion import SHELLS, Words, script
from raysyn.verbs import USAGE, VERBS, completions, markdown

FIRST = ", ".join(one.name for one in catalogue.METHODS)
README = Path(__file__).resolve().parents[1] / "README.md"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Output of a command that does what it was asked."""
    try:
        assert main(words) == 0
    except SystemExit as left:
        assert left.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "dp_fet quick",
            "dp_fet is no method or verb of raysyn (did you mean dp_feta?); `raysyn help` lists all",
        ),
        ("methds", "methds is no method or verb of raysyn (did you mean methods?); `raysyn help` lists all"),
        ("zzz", f"zzz is no method or verb of raysyn: the first word is one of {FIRST}"),
        ("--versoin", "--versoin is no flag of raysyn (did you mean --version?); `raysyn help` lists all"),
        ("--data.size 3", "--data.size is no flag of raysyn: the first word is one of"),
        ("report", "report has no run: give the folders"),
        ("report --htm x", "--htm is no flag of report (did you mean --html?)"),
        ("report x --html", "--html has no value: give the file"),
        ("report x --columns", "--columns has no value: give names of figures"),
        ("report /nowhere", "/nowhere/internal/report.json is missing: name the folders"),
        ("prepare", "prepare has no set: give one of celeba-gender, celeba, celeba-hair,"),
        (
            "prepare celebi x",
            "celebi is no set that prepare knows (did you mean celeba?): give one of celeba-gen",
        ),
        ("prepare lsun", "prepare lsun has no source: give the folder that holds bedroom_train_lmdb/"),
        ("prepare lsun /nowhere", "/nowhere is no folder: give the one that the downloaded files are unpacked in"),
        ("prepare lsun . --ot x", "--ot is no flag of prepare lsun (did you mean --out?)"),
        ("look", "look has no source: begin with a file, folder or name of images"),
        ("look --html x", "look has no source: begin with a file, folder or name of images"),
        ("look /nowhere", "data.path='/nowhere' does not exist; check the spelling, or use data.name"),
        ("look digits --htm x", "--htm is no flag of look (did you mean --html?)"),
        ("verify", "verify has no folder: give one, the release/ of a run"),
        ("verify a b", "verify has 2 words: give one, the release/ of a run"),
        ("verify /nowhere", "/nowhere/certificate.json cannot be read"),
        ("verify pyproject.toml", "pyproject.toml is a file: name the folder that it lies in, ."),
        ("audit engine --on.address ray://x:1", "on.address is ray://x:1, but an audit plays here alone: leave it"),
        ("audit run runs/a --on.address=auto", "on.address is auto, but an audit plays here alone: leave it"),
        ("audit run runs/a --on.address", "on.address is nothing, but an audit plays here alone: leave it"),
        ("methods dp_feta", "methods takes --markdown or nothing, but there is dp_feta: leave it out"),
        ("completion", "completion has no shell: give one of bash, zsh or fish"),
        ("completion tcsh", "completion has tcsh: give one of bash, zsh or fish"),
        (
            "leaderboard cpu-eps3",
            "cpu-eps3 is no preset; the first word must be one of quick; presets of the methods follow --presets",
        ),
        ("dp_feta quik", "quik is no preset (did you mean quick?); the first word must be one of quick"),
        ("dp_feta quick --data.size 32x", "data.size is 32x: give a whole number or None"),
    ],
)
def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str], words: str, sentence: str) -> None:
    try:
        assert main(words.split()) == 2
    except SystemExit as left:
        assert left.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {sentence}") and err.count("\n") == 1, err


def test_a_place_that_is_taken_is_refused_before_images_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main("noisy_means quick --data.path nowhere.parquet --out pyproject.toml".split())
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: --out pyproject.toml is a file; choose a new folder")


def test_who_would_prepare_images_of_their_own_is_told_that_they_need_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "scans/"])
    said = capsys.readouterr().err
    assert "scans/ is no set that prepare knows: give one of celeba-gender, " in said
    assert said.endswith("; it makes files of the papers' sets alone, and images of your own need none\n")


def test_an_audit_takes_the_place_where_it_plays_as_other_commands_do() -> None:
    for words in ([], ["--seed", "3"]):
        for more in (["--on.address", "here"], ["--on.address=here"], ["--on.address=here", "--on.address", "here"]):
            assert audit_table.here([*words, *more]) == audit_table.here([*more, *words]) == words


def test_nothing_to_do_is_said_under_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == ""
    assert "error: raysyn has nothing to do: give a method and a preset, or a verb; `raysyn look FOLDER` and " in err
    assert err.endswith("`raysyn auto FOLDER --epsilon 3 --dry-run` begin with images of yours\n")
    assert all(f"\n  {name} " in err for name in (*catalogue.methods(), *VERBS, "lira", "leaderboard"))


@pytest.mark.parametrize("word", cli.HELP)
def test_what_there_is_fits(word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    texts = [said(capsys, word), said(capsys, "methods"), *(said(capsys, verb, word) for verb in VERBS)]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80
    assert all(verb in texts[0] for verb in VERBS) and set(USAGE) == set(VERBS)
    assert all(text.startswith("usage: raysyn ") for text in (texts[0], *texts[2:]))


def test_help_and_version_are_words_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words, same in (
        (["help"], ["--help"]), (["version"], ["--version"]), (["help", "dp_feta"], ["dp_feta", "--help"]),
        (["help", "dp-feta", "quick"], ["dp_feta", "quick", "--help"]), (["help", "look"], ["look", "--help"]),
        (["help", "help"], ["--help"]), (["help", "version"], ["--version"]),
    ):  # fmt: skip
        assert said(capsys, *words) == said(capsys, *same)


def test_a_method_may_be_written_with_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "dp-merf", "--help") == said(capsys, "dp_merf", "--help")


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == f"raysyn {raysyn.__version__}\n"


def test_methods_are_told_with_their_presets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    blocks = said(capsys, "methods").strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == list(catalogue.methods())
    for block, one in zip(blocks, catalogue.methods().values(), strict=True):
        in_one = " ".join(block.split())
        assert all(text in in_one for text in (one.summary, one.paper, f"needs {one.needs}")), block
        papers = "paper-" if any(name.startswith("paper-") for name in one.presets()) else "none"
        assert f"for a laptop {', '.join(help.small(one.presets()))} as in the paper {papers}" in in_one


def test_the_table_of_the_readme_is_the_catalogues(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "methods", "--markdown") == markdown() + "\n"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown().splitlines()]
    assert rows[0] == ["method", "what it does", "paper", "guarantee", "what it needs"]
    assert {len(row) for row in rows} == {5}
    assert [row[0].split("`")[1] for row in rows[2:]] == list(catalogue.methods())
    between = re.search(r"<!-- methods -->\n(.*)\n<!-- /methods -->", README.read_text(), re.DOTALL)
    assert between is not None
    assert between[1].strip() == markdown(), "put the output of `raysyn methods --markdown` there"


# ---- whoever reads the output


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [["methods"], ["--help"], ["dp_feta", "--help"], ["dp_feta", "quick", "--help"]])
def test_who_stops_reading_gets_no_traceback(
    words: list[str], buffered: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb", buffering=-1 if buffered else 0) as binary:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(binary, write_through=not buffered))
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 141
        sys.stdout.flush()  # as Python does when it ends
        sys.stdout.detach()
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_broken_pipe_that_is_not_the_outputs_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "out", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(BrokenPipeError), cli.printing():
            raise BrokenPipeError


# ---- the tab key


@pytest.fixture(scope="module")
def known() -> dict[str, Words]:
    return completions()


EXPECTED = {
    "raysyn dp_f": ["dp_feta"],
    "raysyn --v": ["--version"],
    "raysyn dp_feta cpu-m": ["cpu-mnist", "cpu-mnist-pro"],
    "raysyn dp_feta quick --data.": [
        f"--data.{name}"
        for name in (
            *(
                "name",
                "path",
                "test-share",
                "image-column",
                "label-column",
                "person-column",
                "person-pattern",
                "most-per-person",
            ),
            *("multi-label", "label-order"),
            *("crop", "size", "fit", "window", "colour", "background", "skip-broken", "limit", "labels", "no-labels"),
        )
    ],
    "raysyn dp_feta quick --data.size 8 --budget.e": ["--budget.epsilon"],
    "raysyn dp_feta quick --budget.accountant ": ["prv", "rdp"],
    "raysyn dp_feta quick --budget.accountant r": ["rdp"],
    "raysyn dp_feta quick --central.no": [
        "--central.noise-multiplier",
        "--central.no-conditional",
        "--central.no-smooth",
    ],
    "raysyn privimage paper-celeba32-g": [f"paper-celeba32-gan-eps{e}" for e in (1, 5, 10)],
    "raysyn lira quick --help": ["--help", "--help-all"],
    "raysyn completion ": ["bash", "zsh", "fish", "--help"],
    "raysyn methods --m": ["--markdown"],
    "raysyn look scans --s": ["--sheet", "--size", "--skip-broken"],
    "raysyn audit engine --g": ["--games"],
    "raysyn prepare celeba": ["celeba-gender", "celeba", "celeba-hair"],
    "raysyn prepare lsun scenes --o": ["--out", "--overwrite"],
    "raysyn auto scans.parquet --ep": ["--epsilon"],
    "raysyn auto scans.parquet --epsilon 3 --public.": [
        f"--public.{name}"
        for name in (
            *("name", "path", "image-column", "label-column", "crop", "fit"),
            *("window", "background", "skip-broken", "limit"),
        )
    ],
    "raysyn zzz quick --data.": [],
}
"""{line up to the cursor: what is offered}. Beside these: after a flag that wants a value come files."""


@pytest.mark.parametrize("line", EXPECTED)
def test_the_tab_key_in_bash(line: str, known: dict[str, Words], tmp_path: Path) -> None:
    if (bash := shutil.which("bash")) is None:
        pytest.skip("there is no bash")
    words = " ".join(f"'{word}'" for word in line.split(" "))
    (tmp_path / "raysyn.bash").write_text(script("bash", known))
    ask = f'source raysyn.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _raysyn; printf "%s\\n" '
    done = subprocess.run(
        [bash, "--norc", "-euc", ask + '"${COMPREPLY[@]-}"'], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # compgen says 1 where it has nothing to offer.
    assert done.stderr == "" and sorted(done.stdout.split()) == sorted(EXPECTED[line])


@pytest.mark.parametrize("line", EXPECTED)
def test_the_tab_key_in_zsh(line: str, known: dict[str, Words], tmp_path: Path) -> None:
    if (zsh := shutil.which("zsh")) is None:
        pytest.skip("there is no zsh")
    words = " ".join(f"'{word}'" for word in line.split(" "))
    (tmp_path / "raysyn.zsh").write_text(script("zsh", known))
    ask = "compdef() { : }; _files() { : }; compadd() { shift; print -l -- $@ }; source ./raysyn.zsh; "
    done = subprocess.run(
        [zsh, "-fc", ask + f"words=({words}); CURRENT=$#words; _raysyn"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # The shell itself leaves out what does not begin as the word does.
    offered = [word for word in done.stdout.split() if word.startswith(line.split(" ")[-1])]
    assert sorted(offered) == sorted(EXPECTED[line]), done.stderr


@pytest.mark.parametrize("line", EXPECTED)
def test_the_tab_key_in_fish(line: str, known: dict[str, Words], tmp_path: Path) -> None:
    if (fish := shutil.which("fish")) is None:
        pytest.skip("there is no fish")
    (tmp_path / "raysyn.fish").write_text(script("fish", known))
    done = subprocess.run(
        [fish, "--no-config", "-c", f"source raysyn.fish; complete -C '{line}'"],
        cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == sorted(EXPECTED[line]), done.stderr


def test_after_a_flag_that_wants_a_value_come_files(known: dict[str, Words], tmp_path: Path) -> None:
    if (bash := shutil.which("bash")) is None:
        pytest.skip("there is no bash")
    (tmp_path / "raysyn.bash").write_text(script("bash", known))
    for before, word in (("--data.path", ""), ("--data.path", "ima"), ("--out", "")):
        ask = f"source raysyn.bash; COMP_WORDS=(raysyn dp_feta quick {before} '{word}'); COMP_CWORD=4; _raysyn"
        done = subprocess.run([bash, "--norc", "-c", f"{ask}; echo ${{#COMPREPLY[@]}}"], cwd=tmp_path,
                              capture_output=True, text=True, check=False)  # fmt: skip
        # Nothing of ours, so that bash offers its own.
        assert done.stdout == "0\n"
    assert "complete -o default -F _raysyn raysyn" in script("bash", known)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_is_in_the_script_and_nothing_is_run(
    shell: str, known: dict[str, Words], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "completion", shell)
    assert text == script(shell, known) and "python" not in text
    for name, entry in catalogue.methods().items():
        assert set(entry.presets()) == set(known[name].second) and "--on.address" in known[name].flags
        assert all(re.search(rf"[ ('\n]{re.escape(preset)}[ )'\n]", text) for preset in entry.presets())
    assert set(VERBS) < set(known)


def test_a_word_that_a_shell_would_read_is_not_written() -> None:
    with pytest.raises(AssertionError, match="would have to be quoted"):
        script("bash", {"x": Words(second=["$(rm -r x)"])})
