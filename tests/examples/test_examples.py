"""What users copy: every example is run, and the code of docs/python.md."""

from __future__ import annotations

import io
import json
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from installed import ROOT, typed
from safetensors.torch import save

import raysyn
import raysyn.data.glyphs
from raysyn import command
from raysyn.data.images import DataConfig, load
from raysyn.methods.dp_feta import presets
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.unet import UNetConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.report.release import certificate, parquet_bytes, release_files
from raysyn.report.release_config import ReleaseConfig
from raysyn.report.report import no_dp_section

EXAMPLES = ROOT / "examples"


def example(name: str, *words: str) -> str:
    """What an example prints, as the program of this process: a new one imports for seconds."""
    out = io.StringIO()
    with patch.object(sys, "argv", [str(EXAMPLES / name), *words]), redirect_stdout(out):
        runpy.run_path(sys.argv[0], run_name="__main__")
    return out.getvalue()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_example_is_run_by_a_test_and_says_how_it_is_started() -> None:
    tests = [*Path(__file__).parent.glob("test_*.py"), ROOT / "tests/on_ray/test_submitted_jobs.py"]
    told = "".join(path.read_text() for path in tests)
    for file in EXAMPLES.glob("*.py"):
        assert f'"{file.name}"' in told or f"examples/{file.name}" in told, file.name
        assert f"    python examples/{file.name}" in file.read_text(), file.name


def test_a_search_is_driven_from_a_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "MACHINES", On(sgd=PLAIN))
    script = runpy.run_path(str(EXAMPLES / "drive_search.py"))
    script["SMALL"].update(TINY)
    script["main"](2, "here", "search")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(re.match(r" *\d+\.\d %  \{'central\.noise-multiplier'", line) for line in lines[:2])
    # The line to type is one that raysyn takes.
    typed_words = shlex.split(lines[2].replace("YOURS", str(write_scans(tmp_path))))
    with pytest.raises(SystemExit) as left:
        command.main([*typed_words[1:], "--finetune.batch-size", "64", "--dry-run"])
    assert left.value.code == 0
    assert "Plan for scans" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_search_is_driven_from_a_script_with_tune_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = typed(str(EXAMPLES / "drive_search.py"), "3", cwd=tmp_path, timeout_s=380)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 4 and "--tuned-on digits" in done.stdout


@pytest.mark.timeout(300)
def test_shadow_models_are_swept_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, smaller = raysyn.run, {"data": {"name": "digits", "limit": 100}, "recipe": {"epochs": 2}}
    monkeypatch.setattr(raysyn, "run", lambda *name, **flags: run(*name, **flags | smaller))
    shown = example("shadow_sweep.py", "4", "here")
    assert re.search(r"^right about \d+\.\d % of test images$", shown, re.M) and "The report (stays inside): " in shown
    more = example("shadow_sweep.py", "6", "here")
    (sweep,) = {file.parent for file in tmp_path.rglob("shadows-*/000005.pt")}
    assert "The report (stays inside): " in more and len({file.name for file in sweep.glob("00000[0-5].pt")}) == 6


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_release_is_read_by_its_recipient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load(DataConfig(limit=40)).train
    terms = certificate(no_dp_section(), method="m", name="digits", n=1, shape=(8, 8, 1), class_names=["0"])
    written = ReleaseConfig(layout=("folder", "webdataset"))
    weights = {"network.safetensors": save({"finetune/ema/weight": torch.zeros(2, 3)})}
    files = release_files(digits, terms, name="synthetic digits", written=written, more=weights)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    shown = example("read_release.py", str(tmp_path))
    assert "NO differential privacy" in shown.splitlines()[0]
    assert "\npandas: 40 images" in shown and "the first one is (8, 8)" in shown
    assert "class folders: 40 images of 10 classes" in shown and "tar files: 40 images" in shown
    assert "network: 1 tensors, 6 numbers" in shown
    labels = digits.labels_N[:8].tolist()
    assert f"a batch (8, 1, 8, 8) with {labels}" in shown and "datasets" in shown
    assert "raysyn" not in (EXAMPLES / "read_release.py").read_text(), "whoever is handed it may not have that"


@pytest.mark.parametrize("words", [(), ("one", "two")])
def test_a_release_that_is_not_named_is_asked_for(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        example("read_release.py", *words)
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith("usage: python examples/read_release.py ") and said.count("\n") == 1


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of fewer images, judged and attacked by less."""
    run = raysyn.run

    def small(method: str, **flags: Any) -> raysyn.Result:
        less: dict[str, Any] = {"synthetic": 200}
        if method == "lira":
            less = {"attack": {"shadow_models": 4}, "data": flags["data"] | {"limit": 120}}
            less |= {"recipe": {"epochs": 1}, "classifier": {"width": 2, "blocks": 1}}
        if flags.get("eval", {}).get("classifiers"):
            less["eval"] = flags["eval"] | {"epochs": 20}
        return run(method, **flags | less)

    monkeypatch.setattr(raysyn, "run", small)


@pytest.mark.slow
def test_a_hospital_looks_names_patients_releases_checks_draws_and_is_refused_more(smaller: None) -> None:
    shown = example("hospital.py")
    assert "Persons that are named: 599, with 3 images each." in shown
    assert "- This release is (3, 1e-5)-differentially private: whether any one person with all their images" in shown
    assert "everything that can be checked from a release holds" in shown and "\n500 more images, of abdomen" in shown
    assert re.search(r"^Spent: ε 3\.00 of 4\. Room for another of about ε 2\.\d\d\.$", shown, re.M)
    assert re.search(r"^Refused: budget\.total is 4 at delta 1e-5, of which earlier runs have spent 3,", shown, re.M)


@pytest.mark.slow
def test_a_bank_chooses_on_letters_and_its_vendor_learns_from_the_release(
    smaller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = raysyn.data.glyphs.glyphs
    monkeypatch.setattr("raysyn.data.sources.glyphs", lambda size: few(size, per_class=24))
    shown = example("bank.py")
    assert len(re.findall(r"^on public letters, .* %$", shown, re.M)) == 3
    assert "noisy numbers of images per class" in shown
    found = re.search(r"^The vendor's classifier is right about (\d+\.\d) % of 296 real test images\.$", shown, re.M)
    assert found and float(found[1]) > 50
    assert re.search(r"^The report says \d+\.\d %, and \d+\.\d % from real images\.$", shown, re.M)
    told = raysyn.load("runs/bank/release").certificate
    assert any("ten letters of raysyn's glyphs" in one for one in told["uncharged_choices"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:members and non-members differ:UserWarning")
def test_a_moderator_attacks_first_and_then_hands_out_what_has_seen_a_release_alone(smaller: None) -> None:
    shown = example("moderation.py")
    assert re.search(r"^A training image is told from another one with probability 0\.\d\d \(0\.\d\d to", shown, re.M)
    (right,) = re.findall(r"^right about (\d+\.\d) % of test images$", shown, re.M)
    assert float(right) > 40 and "This release is (4, 1e-5)-differentially private" in shown
    assert "Whatever the attack, it finds on average at most" in shown and "\nCovered: every released file" in shown


PLAIN = SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True)
TINY: dict[str, Any] = {
    "data": {"name": "digits", "limit": 200}, "synthetic": 40, "warmup": {"iterations": 3}, "sampler": {"steps": 2},
    "finetune": {"epochs": 1, "batch_size": 64}, "central": {"count": 10},
    "network": {"width": 8, "multipliers": (1,), "patch": 2},
    "eval": {"classifiers": ("logreg",), "epochs": 1, "feature_epochs": 0, "distances": 0, "floor": False},
}  # fmt: skip
"""Flags of a run of seconds."""


def write_scans(folder: Path) -> Path:
    """Digits as a file of the user's."""
    digits, tables = load(DataConfig(limit=200)), []
    for images, split in ((digits.train, "train"), (digits.test.select(range(60)), "test")):
        table = pq.read_table(io.BytesIO(parquet_bytes(images, "scans")))
        tables.append(table.set_column(2, "split", pa.array([split] * len(table))))
    whole = pa.concat_tables(tables)
    # Somebody's own, and no release of raysyn.
    about = json.loads(whole.schema.metadata[b"dataset"])
    del about["encoding"]
    whole = whole.replace_schema_metadata({b"dataset": json.dumps(about)})
    pq.write_table(whole, folder / "scans.parquet")
    return folder / "scans.parquet"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start folder with scans.parquet, and a preset `quick` that is quicker, without Ray and choices of an engine."""
    write_scans(tmp_path)
    quick = presets.PRESETS["quick"]
    tiny = replace(
        quick, network=UNetConfig(width=8, multipliers=(1,), patch=2), warmup=replace(quick.warmup, iterations=3),
        finetune=replace(quick.finetune, epochs=1, batch_size=64), sampler=replace(quick.sampler, steps=2),
        synthetic=40, eval=EvalConfig(classifiers=("logreg",), epochs=1, feature_epochs=0, distances=0, floor=False),
    )  # fmt: skip
    monkeypatch.setitem(presets.PRESETS, "quick", tiny)
    monkeypatch.setattr(presets, "MACHINES", On(address="here", sgd=PLAIN))


def test_the_code_of_the_page_on_python_runs_and_says_what_it_shows(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 11
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        if block.startswith("# mynets.py"):
            (tmp_path / "mynets.py").write_text(block)
            continue
        exec(block, names)
    shown = capsys.readouterr().out
    assert "(40, 8, 8, 1) ('0', '1'" in shown and "differentially private" in shown
    (comment,) = re.findall(r"print\(error\)  # (.*)\n", page)
    assert f"{comment}\n" in shown, "the sentence that the page shows is another one"
    assert len(raysyn.load("runs/small").images) == 60
    none = {"budget.account": "none"}
    for data in ({"path": "table.parquet", "test_share": 0.15}, "arrays.npz"):
        raysyn.run("noisy_means", data=data, epsilon=3, delta=1e-4, out="runs/k", quiet=True, dry_run=True, **none)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = raysyn.run("dp_feta", network={"factory": "mynets:build"}, out="runs/own", quiet=True)
    sys.modules.pop("mynets")
    assert own.certificate["guarantee"] == "dp"


def test_the_page_names_what_there_is() -> None:
    page = (ROOT / "docs/python.md").read_text()
    functions = set(re.findall(r"raysyn\.(\w+)", page)) - {"py"}
    assert functions <= set(raysyn.__all__), functions - set(raysyn.__all__)
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "docs" / link.partition("#")[0]).exists(), link
    shown = set(re.findall(r"`result\.(\w+)", page))
    assert shown == {name for name in vars(raysyn.Result) if not name.startswith("_")} - {"out"}
