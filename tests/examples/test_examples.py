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


PLAIN = SGDSpeed(engine="bookkeeping", micro_batch=32, channels_last=True)
TINY: dict[str, Any] = {
    "data": {"name": "digits", "limit": 200}, "synthetic": 40, "warmup": {"iterations": 3}, "sampler": {"steps": 2},
    "finetune": {"epochs": 1, "batch_size": 64}, "central": {"count": 10},
    "network": {"width": 8, "multipliers": (1,), "patch": 2},
    "eval": {"classifiers": ("logreg",), "epochs": 1, "feature_epochs": 0},
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
        synthetic=40, eval=EvalConfig(classifiers=("logreg",), epochs=1, feature_epochs=0),
    )  # fmt: skip
    monkeypatch.setitem(presets.PRESETS, "quick", tiny)
    monkeypatch.setattr(presets, "MACHINES", On(address="here", sgd=PLAIN))


def test_the_code_of_the_page_on_python_runs_and_says_what_it_shows(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 7
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
