"""`raysyn audit engine`: a table, a file, an exit status that says whether every claim holds."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from row_of_audit import ROW_OF_AUDIT

import raysyn
from raysyn import audit_run, audit_table, auditing
from raysyn.audits import findings
from raysyn.privacy.queries import counts, noise

COUNTS = ["engine", "--only", "counts", "--games", "4096"]


def test_a_claim_that_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    assert auditing.main([*COUNTS, "--out", str(out)]) == 0
    said = capsys.readouterr()
    first, *lines = said.out.splitlines()
    assert first == "audit engine: 3 claims, 4,096 games, seed 0"
    assert lines[0].split()[:4] == ["games", "claimed", "ε", "any"] and len({len(line) for line in lines[:4]}) == 1
    named = [f"noisy class counts, {units}" for units in ("images", "persons", "persons of several classes")]
    assert [line.split("  ")[0] for line in lines[1:4]] == named and all("1,024" in line for line in lines[1:4])
    assert [line.split("  ")[-1].strip() for line in lines[1:4]] == [findings.FINE, findings.FINE, findings.LOOSE]
    assert "Nothing of 3 claims is refuted." in said.out and "95% confidence" in " ".join(said.out.split())
    assert said.err.splitlines() == [f"audit engine: {k} of 3" for k in (1, 2, 3)]
    kept = json.loads(out.read_text())
    assert (kept["games"], kept["seed"], len(kept["findings"])) == (4096, 0, 3) and out.stat().st_mode & 0o077 == 0
    one = kept["findings"][0]
    assert one["claimed"] == pytest.approx(3.56, abs=0.01) and one["over"] < 0 < one["low"] < one["high"]


def test_a_claim_that_does_not_hold_is_named_and_is_the_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_quiet(parts: Any, sensitivity: float, noise_multiplier: float, drawn: Any) -> Any:
        return noise.noisy_sum(parts, sensitivity, noise_multiplier / 2, drawn)

    monkeypatch.setattr(counts, "noisy_sum", too_quiet)
    assert auditing.main(COUNTS) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(findings.REFUTED) == 3
    assert (
        "3 of 3 claims do not hold: noisy class counts, images (" in said
        and "more than its curve allows" in said
        and "SECURITY.md" in said
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "audit has nothing to attack: give engine"),
        ("engin", "engin is nothing that audit knows (did you mean engine?): give engine"),
        ("engine --game 5", "--game is no flag of audit engine (did you mean --games?)"),
        ("engine --games 5", "games is 5: give at least 1024, 8192 is usual"),
        ("engine --seed -1", "seed is -1: give 0 or more"),
        ("engine --confidence 1", "confidence is 1.0: give 0.5 to 0.9999, 0.95 is usual"),
        ("engine --only person looop", "only is looop, which is in no row (did you mean loop?): rows are named by"),
        ("engine --only counts ?", "only is empty, as where a shell variable is not set: give a word"),
        ("engine --out s3://bucket/x.json", "out is s3://bucket/x.json, an address: give a file of this machine"),
        ("engine --out x.txt", "out is x.txt: give a name that ends in .json"),
        ("engine --out /nowhere/x.json", "out is /nowhere/x.json, where no file can be"),
        ("engine --out {there}/x.json", "out is {there}/x.json, which is there already: give another name"),
        ("engine --out {release}/x.json", "out is {release}/x.json, in a release: what attackers found stays inside"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "certificate.json").write_text("{}")
    (tmp_path / "x.json").write_text("{}")
    places = {"there": str(tmp_path), "release": str(tmp_path / "release")}
    with pytest.raises(SystemExit) as left:
        auditing.main([word.replace("?", "") for word in words.format(**places).split()])
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    assert said.err.startswith(f"error: {sentence.format(**places)}") and said.err.count("\n") == 1, said.err


def stand_in(verdict: str, *, fails: bool = False) -> SimpleNamespace:
    """A finding, as far as the exit status goes."""
    little, unclear = verdict == findings.LITTLE, verdict == findings.UNCLEAR
    return SimpleNamespace(name="row", why="why", fails=fails, unclear=unclear, too_little=little)


@pytest.mark.parametrize(
    ("found", "out", "status"),
    [
        ((findings.FINE, findings.LOOSE), "x.json", 0),
        ((findings.FINE, findings.REFUTED), "x.json", 1),
        ((findings.UNCLEAR, findings.FINE), "x.json", 3),
        ((findings.FINE,), "gone/x.json", 4),
        ((findings.UNCLEAR,), "gone/x.json", 4),
        ((findings.LITTLE,), "gone/x.json", 1),
    ],
)
def test_the_exit_status_says_what_came_out(
    found: tuple[str, ...], out: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A folder that goes while games are played takes the file with it, but neither the table nor what it says."""
    rows = [stand_in(one, fails=one in (findings.REFUTED, findings.LITTLE)) for one in found]
    (tmp_path / "gone").mkdir()

    def play(_: object, __: object, told: list[Any]) -> None:
        (tmp_path / "gone").rmdir()
        print("table")
        told.extend(rows)

    monkeypatch.setattr(auditing, "_play", play)
    monkeypatch.setattr(auditing, "_as_json", lambda *_: "{}")
    assert auditing.main(["engine", "--only", "counts", "--out", str(tmp_path / out)]) == status
    said = capsys.readouterr()
    assert said.out.startswith("table")
    lost = f"error: out is {tmp_path / out}, which cannot be written (No such file or directory): the table is all\n"
    assert said.err == (lost if "gone" in out else "")


@pytest.mark.parametrize("error", [IndexError("x"), ValueError("x"), OSError(errno.ENOSPC, "no space")])
@pytest.mark.parametrize("where", [auditing, audit_run])
def test_what_goes_wrong_in_the_audit_itself_refutes_nothing(
    where: Any, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its exit status."""

    def play(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(auditing, "_read", lambda *_: (auditing.Flags(), []))
    monkeypatch.setattr(audit_run, "_read", lambda *_: SimpleNamespace(flags=audit_run.Flags()))
    monkeypatch.setattr(where, "_play", play)
    assert auditing.main(["engine"] if where is auditing else ["run", "here"]) == 5
    assert "\nerror: " in f"\n{capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("before", "status"),
    [((findings.FINE,), 5), ((findings.REFUTED,), 1), ((findings.FINE, findings.LITTLE), 1), ((findings.UNCLEAR,), 5)],
)
def test_what_is_refuted_stays_so_whatever_goes_wrong_afterwards(
    before: tuple[str, ...], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def audit(cases: Any, games: int, seed: int, confidence: float, tell: Any) -> None:
        for done, verdict in enumerate(before):
            tell(done + 1, replace(ROW_OF_AUDIT, verdict=verdict))
        raise IndexError("x")

    monkeypatch.setattr(findings, "audit", audit)
    out = tmp_path / "found.json"
    assert auditing.main([*COUNTS, "--out", str(out)]) == status
    said = capsys.readouterr()
    assert "which says nothing of the claims that have no row above: report it" in said.err
    assert out.exists() == (status == 1) == ("do not hold: row" in said.out)
    if status == 1:
        kept = json.loads(out.read_text())
        assert [one["verdict"] for one in kept["findings"]] == list(before)
        assert len(kept["nothing_is_said_of"]) == 3 - len(before)
        assert "Nothing is said of: noisy class counts" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("rows", "checks", "advice"),
    [
        ([findings.REFUTED], {}, "Release nothing x. Play once more with another --seed, and report"),
        ([findings.LITTLE], {}, "but something is not as it was planned. Play once more with another --seed, and"),
        ([findings.LITTLE, findings.REFUTED], {}, "Release nothing x. Play once more"),
        ([findings.LITTLE], {"network": "moves"}, "Release nothing x. Play once more"),
        ([findings.FINE], {"network": "moves"}, "Release nothing x. Report it as SECURITY.md says: another --seed"),
        ([findings.FINE], {"network": ""}, "Nothing of 2 claims is refuted."),
    ],
)
def test_what_to_do_follows_from_what_was_found(rows: list[str], checks: dict[str, str], advice: str) -> None:
    wrong = {one: SimpleNamespace(name=one, why="why", fails=one != findings.FINE, unclear=False,
                                  too_little=one == findings.LITTLE) for one in rows}  # fmt: skip
    assert advice in audit_table.summary(list(wrong.values()), "x", checks)  # type: ignore[arg-type]


def test_from_python_the_same_rows_come_without_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    images, persons, _ = raysyn.audit(games=4096, only=["counts"])
    assert (images["name"], images["games"], images["fails"]) == ("noisy class counts, images", 1024, False)
    assert images["claimed"] == persons["claimed"] and images["estimate"] != persons["estimate"]
    assert capsys.readouterr() == ("", "")
    for wrong, said in ({"what": "motor"}, "motor is no"), ({"games": 3}, "games is 3"), ({"only": ["x"]}, "only is x"):
        with pytest.raises(ValueError, match=f"^{said}"):
            raysyn.audit(**wrong)


def test_help_tells_flags() -> None:
    told = auditing.told("raysyn audit engine", "about")
    assert all(f"--{flag}" in told for flag in ("games", "seed", "only", "confidence", "out", "overwrite"))
