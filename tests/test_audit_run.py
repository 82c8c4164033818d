"""`raysyn audit run RUN`: a table, a file, an exit status; and one sentence for what cannot be audited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_of_audit import ROW_OF_AUDIT
from torch import nn

import raysyn
from raysyn import audit_run, audit_source, auditing
from raysyn.audits import findings, own_network, own_run
from raysyn.audits.own_network import Moved
from raysyn.audits.own_run import Run
from raysyn.data.images import Images
from raysyn.methods import catalogue
from raysyn.methods.noisy_means import pipeline
from raysyn.privacy.cost import ADD_REMOVE_PERSON, epsilon
from raysyn.privacy.mechanisms import Learned
from raysyn.privacy.queries import counts, noise
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import Choice

LIKE = Images(np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
TINY = SGDConfig(batch_size=10, epochs=1.0, noise_multiplicity=1, max_grad_norm=1.0)


class Nothing:
    """A task that no image goes through here."""


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """A folder that is read as this run: counts, and DP-SGD if it is asked for."""

    def made(*, learns: bool = False, moves: float = 1.0, unknown: tuple[str, ...] = ()) -> Path:
        plan, asked = {COUNTS: counts.cost(1.2)}, dict[str, Any]({COUNTS: None})
        if learns:
            plan["finetune"] = replace(TINY.cost(40), noise_multiplier=1.2)
            choice = Choice(engine="bookkeeping", micro_batch=16, channels_last=False, precision="float32")
            asked["finetune"] = Learned(nn.Linear(3, 1), Nothing(), TINY, choice)  # type: ignore[arg-type]
        for stage in unknown:
            plan[stage] = asked.pop(stage, None) or plan.get(stage, plan[COUNTS])
        run = Run(plan=plan, asked=asked, like=LIKE, units=40, ranks=1)
        monkeypatch.setattr(audit_source, "read", lambda name, trust=None: run)
        monkeypatch.setattr(own_network, "moved", lambda stage, *_: Moved(stage, "bookkeeping", moves))
        (tmp_path / "internal").mkdir(exist_ok=True)
        return tmp_path

    return made


def audited(folder: Path, *words: str) -> int:
    return auditing.main(["run", str(folder), "--games", "4096", *words])


def test_a_run_whose_claims_hold(of: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = of(learns=True)
    assert audited(folder) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Nothing of 3 claims is refuted." in said and "no private image is read" in said
    kept = json.loads((folder / audit_run.AUDIT_JSON).read_text())
    named = ["counts: noisy class counts", "finetune: DP-SGD, bookkeeping, K 1"]
    assert [one["name"] for one in kept["findings"]] == named
    (played,) = kept["as_played"]
    assert (played["stage"], played["sampling_rate"], played["of_run"]) == ("finetune", 0.25, 0.25)
    assert (played["steps"], played["steps_of_run"], played["canaries"]) == (4, 4, 2048)
    assert kept["networks"][0]["most"] == 1.0 and (kept["not_played"], kept["networks_left_out"]) == ([], [])


@pytest.mark.parametrize("moves", [1.5, float("nan")])
def test_a_network_that_fails_alone_is_the_sum_of_it(
    moves: float, of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(of(learns=True, moves=moves), "--only", "finetune", "--steps", "1") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 claims do not hold: finetune: network" in said and "Nothing of 2" not in said
    assert "Release nothing of this run. Report it as SECURITY.md says: another --seed shows the same." in said


def test_a_network_that_was_not_tried_is_left_open(of: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = of(learns=True, moves=0.0)
    assert audited(folder, "--only", "finetune", "--steps", "1") == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "gives alone: not tried, as gradients are zero or no numbers." in said
    assert "Nothing of 1 claim is refuted." in said and "Nothing is said of: network of finetune." in said
    kept = json.loads((folder / audit_run.AUDIT_JSON).read_text())
    assert kept["nothing_is_said_of"] == ["network of finetune"] and kept["networks"][0]["verdict"] == "not tried"


def test_a_claim_that_does_not_hold_is_the_exit_status(
    of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(counts, "noisy_sum", lambda p, unit, std, drawn: noise.noisy_sum(p, unit, std / 2, drawn))
    assert audited(of()) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 1 claims do not hold: counts: noisy class counts (" in said and "Release nothing of this run" in said


@pytest.mark.parametrize("later", ["row", "network"])
@pytest.mark.parametrize(
    ("verdict", "status"), [(findings.REFUTED, 1), (findings.LITTLE, 1), (findings.FINE, 5), (findings.UNCLEAR, 5)]
)
def test_a_claim_that_does_not_hold_stays_so_whatever_goes_wrong_afterwards(
    later: str, verdict: str, status: int, of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = of(learns=True)

    def audit(cases: Any, games: int, seed: int, confidence: float, tell: Any) -> None:
        for done, case in enumerate(cases[: 1 if later == "row" else 2]):
            tell(done + 1, replace(ROW_OF_AUDIT, name=case.name, verdict=verdict))
        if later == "row":
            raise IndexError("x")

    def moved(*_: Any) -> Any:
        raise IndexError("x")

    monkeypatch.setattr(findings, "audit", audit)
    monkeypatch.setattr(own_network, "moved", moved)
    assert audited(folder) == status
    said = capsys.readouterr()
    assert "which says nothing of the claims that have no row above: report it" in said.err
    assert (folder / audit_run.AUDIT_JSON).exists() == (status == 1) == ("claims do not hold: counts" in said.out)
    if status == 1:
        kept = json.loads((folder / audit_run.AUDIT_JSON).read_text())
        left = ["finetune: DP-SGD, bookkeeping, K 1"] if later == "row" else []
        assert kept["nothing_is_said_of"] == [*left, "network of finetune"] and kept["findings"][0]["fails"]
        assert f"Nothing is said of: {'; '.join(kept['nothing_is_said_of'])}." in " ".join(said.out.split())


def test_what_is_left_out_is_told(of: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = of(learns=True, unknown=("other",))
    assert audited(folder, "--only", "counts") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "as its method does not say how: other." in said and "Not looked at, as --only leaves its row out" in said
    assert "Nothing is said of: other; network of finetune." in said
    kept = json.loads((folder / audit_run.AUDIT_JSON).read_text())
    assert (kept["not_played"], kept["networks_left_out"]) == (["other"], ["finetune"])


def test_figures_are_written_over_only_where_that_is_asked_for(
    of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = of()
    (folder / audit_run.AUDIT_JSON).write_text("before")
    with pytest.raises(SystemExit) as left:
        audited(folder)
    assert left.value.code == 2
    assert "which is there already: give another name, or --overwrite" in capsys.readouterr().err
    assert (folder / audit_run.AUDIT_JSON).read_text() == "before" and audited(folder, "--dry-run") == 0
    assert (folder / audit_run.AUDIT_JSON).read_text() == "before" and audited(folder, "--overwrite") == 0
    assert "findings" in json.loads((folder / audit_run.AUDIT_JSON).read_text())


def test_a_place_where_figures_cannot_be_is_found_before_anything_is_played(
    of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_run, "_play", None)
    (of() / audit_run.AUDIT_JSON).mkdir()
    with pytest.raises(SystemExit) as left:
        audited(of())
    assert left.value.code == 2 and "where no file can be" in capsys.readouterr().err


def test_of_a_run_at_an_address_no_figures_are_written_which_is_said(
    of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_run, "local_folder", lambda name: None)
    folder = of()
    monkeypatch.setattr(audit_run, "_play", lambda asked, found: audit_run._begin(asked))
    assert audited(folder) == 0 and not (folder / audit_run.AUDIT_JSON).exists()
    said = " ".join(capsys.readouterr().out.split())
    assert "No figures are written, as the run is at an address: --out FILE.json" in said


def test_a_price_says_what_it_may_come_to(
    of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_run, "pace", lambda case, games: 60.0)
    assert audited(of(learns=True), "--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "counts: noisy class counts 1,024 games 1 min" in said and "K 1 2 x 2,048 games 1 min" in said
    assert "In all 2 min 00 s on this machine, as measured for a moment, and at most 10 min 00 s where" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "audit run has no run: begin with the folder (--out) of a finished one"),
        ("--games 5000", "audit run has no run"),
        ("{run} --games 5", "games is 5: give at least 1024"),
        ("{run} --steps 0", "steps is 0: give at least 1, or leave it out for all"),
        ("{run} --only cuonts", "only is cuonts, which is in no row (did you mean counts?)"),
        ("{run} --gmes 5", "--gmes is no flag of audit run"),
        ("{run} --steps 3", "steps is 3, but no row that is played is DP-SGD or noisy functions: leave it out"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, sentence: str, of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        auditing.main(["run", *words.format(run=of()).split()])
    said = capsys.readouterr()
    assert left.value.code == 2 and said.err.startswith(f"error: {sentence}") and said.err.count("\n") == 1, said.err


def test_a_run_of_which_nothing_can_be_played_is_refused(of: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"its method says of no stage how it is played: nothing can be audited$"):
        raysyn.audit("run", str(of(unknown=(COUNTS,))))


def test_whom_claims_are_made_to_is_said(
    of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = of()
    run = audit_source.read("")
    persons = replace(run, plan={COUNTS: replace(run.plan[COUNTS], adjacency=ADD_REMOVE_PERSON)})
    monkeypatch.setattr(audit_source, "read", lambda name, trust=None: persons)
    assert audited(folder, "--dry-run") == 0
    assert ", 1 claim to persons, 4,096 games" in capsys.readouterr().out


def test_from_python_a_network_is_a_row(of: Callable[..., Path]) -> None:
    _, _, network = raysyn.audit("run", str(of(learns=True, moves=2.0)), games=1024, steps=1)
    assert (network["name"], network["fails"]) == ("finetune: network, bookkeeping", True)


def test_from_python_what_is_left_out_is_a_row_too(of: Callable[..., Path]) -> None:
    folder = of(learns=True, unknown=("other",))
    _, *left = raysyn.audit("run", str(folder), games=1024, only=["counts"])
    assert left == [
        {"name": name, "verdict": "not played", "fails": False} for name in ("other", "network of finetune")
    ]


# ---- what is read


PAID = counts.cost(1.2)


def written(folder: Path, **more: Any) -> Path:
    """What a run of noisy_means leaves, as far as it is read."""
    for place in ("internal", "release"):
        (folder / place).mkdir(exist_ok=True)
    plan, paid = {"means": asdict(PAID)}, {"stage": "means"} | asdict(PAID)
    about = {"method": "noisy_means", "preset": "quick", "raysyn": audit_source.version(), "config": {"plan": plan}}
    signed = {"guarantee": "dp", "public_facts": {}, "delta": 1e-5, "accountant": "prv", "ledger": [paid]}
    signed["epsilon"] = epsilon([PAID], 1e-5, "prv")
    (folder / audit_source.RUN_JSON).write_text(json.dumps(about | more.get("about", {})))
    (folder / audit_source.CERTIFICATE).write_text(json.dumps(signed | more.get("signed", {})))
    if more.get("ledger", True):
        rows = more.get("rows", [paid])
        (folder / audit_source.LEDGER).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


ROW = {"stage": "means"} | asdict(PAID)
OTHER = ROW | {"noise_multiplier": 2.0}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        *(
            (more, f"whose {name} says other prices than the plan in {audit_source.RUN_JSON}: one was changed")
            for rows in ([ROW, ROW], [OTHER], [OTHER, ROW], [ROW, ROW | {"stage": "more"}], [])
            for name, more in (
                (audit_source.LEDGER, {"rows": rows}),
                (audit_source.CERTIFICATE, {"signed": {"ledger": rows}}),
            )
        ),
        ({"signed": {"epsilon": 0.01}}, "promises ε 0.01, but its ledger comes to 3.5"),
        ({"signed": {"delta": 1e-9}}, "but its ledger comes to 5."),
        ({"signed": {"epsilon": "4"}}, "whose files do not fit one another"),
        ({"signed": {"guarantee": "none"}}, "which promises nothing, so that nothing can be held against an attack"),
        ({"about": {"config": {}}}, "has no plan, as of images that were drawn anew: name the run"),
        ({"ledger": False}, "which has no internal/ledger.jsonl: what it paid is not known"),
        ({"about": {"raysyn": "0.0"}}, "made by raysyn 0.0 or another version of noisy_means"),
        ({"about": {"preset": "gone"}}, "of the preset gone, which noisy_means does not have here"),
        ({"about": {"method": "knowledge_recycling"}}, "which does not say how its mechanisms are played"),
    ],
)
def test_a_run_that_cannot_be_audited_is_refused(more: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^run is ") as told:
        audit_source.read(str(written(tmp_path, **more)))
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^run is .*, which holds no finished run: name a folder"):
        audit_source.read(str(tmp_path))


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ('{"method": "lira"}', "made by lira, which promises and releases nothing that could be audited"),
        (
            '{"method": "leaderboard"}',
            "made by leaderboard, which starts others: name one of the runs in its internal/runs",
        ),
        *(
            (about, "which holds no finished run: name a folder that was an --out")
            for about in ('{"method": "noisy_means"}', '{"method": "gone"}', "{}", "[]", "no JSON")
        ),
    ],
)
def test_a_run_without_a_release_is_refused_by_what_it_is(about: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "internal").mkdir()
    (tmp_path / audit_source.RUN_JSON).write_text(about)
    with pytest.raises(ValueError, match=r"^run is ") as told:
        audit_source.read(str(tmp_path))
    assert str(told.value) == f"run is {tmp_path}, {sentence}"


def test_a_method_that_does_not_say_how_it_is_played_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue.Entry, "method", lambda entry: replace(pipeline.METHOD, mechanisms=None))
    with pytest.raises(ValueError, match=r"made by noisy_means, which does not say how its mechanisms are played$"):
        audit_source.read(str(written(tmp_path)))
