"""What is released reads back and repeats byte for byte; what is reported keeps its contract."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report_stand_in import DONE, central, digits, privacy, report

from raysyn.attacks.found import RELEASED, found
from raysyn.data import images as data
from raysyn.data.images import Dataset, Images
from raysyn.methods.leaderboard import rows as leaderboard
from raysyn.methods.leaderboard.config import Run
from raysyn.methods.leaderboard.page import console_rows, page
from raysyn.methods.plan_shown import show_plan
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, epsilon
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.report import likeness, shadowed
from raysyn.report.columns import differences
from raysyn.report.pictures import _lettering, sample_sheet, unwritten
from raysyn.report.release import ALONE, certificate, parquet_bytes, write_release
from raysyn.report.report import Report, dp_section, main, no_dp_section, write_report
from raysyn.report.run_page import render, with_found
from raysyn.report.tables import table, table_rows
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder
from raysyn.screen.console import Console
from raysyn.screen.words import rounded_up


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    with RunFolder.open(tmp_path / "run", method="m", preset="p", config={}, data_fingerprint="f") as folder:
        yield folder


def colour(count: int = 12) -> Images:
    noise = np.random.default_rng(1)
    pixels = noise.integers(0, 256, (count, 9, 11, 3), dtype=np.uint8)
    return Images(pixels, np.arange(count) % 3, ("left lung", "Ünïted", "right"))


def read_back(content: bytes) -> tuple[Any, Images]:
    read = pq.read_table(io.BytesIO(content))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in read["image"].to_pylist()])
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    names = json.loads(read.schema.metadata[b"dataset"])["classes"]
    return read, Images(pixels, read["label"].to_numpy(), tuple(names))


@pytest.mark.parametrize("images", [digits(200), colour()], ids=["grey", "colour"])
def test_parquet_keeps_every_pixel_and_repeats_exactly(images: Images) -> None:
    content = parquet_bytes(images, "copy")
    assert content == parquet_bytes(images, "copy")
    read, back = read_back(content)
    assert np.array_equal(back.images_NHWC, images.images_NHWC) and np.array_equal(back.labels_N, images.labels_N)
    assert back.class_names == images.class_names and set(read["split"].to_pylist()) == {"train"}
    assert read.schema.names == ["image", "label", "split"]


def test_soft_labels_are_a_column() -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    read, _ = read_back(parquet_bytes(colour(), "copy", soft))
    assert np.allclose(np.array(read["soft_label"].to_pylist()), soft, atol=1e-6)


def test_release_is_a_source_of_data(folder: RunFolder) -> None:
    images = digits(300)
    terms = certificate(privacy(), method="m", name="set", n=300, shape=(8, 8, 1), class_names=images.class_names)
    write_release(folder, images, terms, name="digits-synthetic")
    # A data set needs test images too; these have only a train split, so add one as a user would.
    read = pq.read_table(folder.synthetic)
    split = read.schema.get_field_index("split")
    both = read.set_column(split, "split", [["train"] * 200 + ["test"] * 100])
    path = folder.out / "mended.parquet"
    pq.write_table(both, path)
    loaded = data.load(data.DataConfig(name=None, path=str(path)))
    assert np.array_equal(loaded.train.images_NHWC, images.images_NHWC[:200])
    assert loaded.train.class_names == images.class_names


def test_certificate_opens_with_the_promise(folder: RunFolder) -> None:
    write_release(
        folder,
        digits(50),
        certificate(privacy(), method="m", name="set", n=60000, shape=(28, 28, 1), class_names=["0"]),
        name="x",
    )
    first, content = (
        folder.certificate.read_text().splitlines()[0],
        json.loads(folder.certificate.read_text()),
    )
    assert first.startswith('{"statement": "This release is (10, 1.52e-6)-differentially private')
    assert content["epsilon"] == 9.9912 and content["epsilon_rdp"] == 10.8402 and len(content["ledger"]) == 2
    assert content["adjacency"] == ADD_REMOVE and content["accountant"] == "prv"
    everything = json.dumps(content)
    for words in (
        "group privacy",
        "the data set's name",
        "floating-point",
        "secret in the folder internal/",
        "uncharged_choices",
    ):
        assert words in everything
    assert content["files"] == {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.release.iterdir()
        if path != folder.certificate
    }
    for word in ("accuracy_real", "fid", "utility"):
        assert word not in everything, "nothing measured on real data leaves"
    # Judged anew with nothing to declare: what was once looked at stays declared.
    later = certificate(
        privacy() | {"uncharged_choices": ["new"]}, method="m", name="s", n=9, shape=(8, 8, 1), class_names=["0"]
    )
    write_release(folder, digits(50), later, name="x")
    assert json.loads(folder.certificate.read_text())["uncharged_choices"] == [*content["uncharged_choices"], "new"]
    assert sorted(path.name for path in folder.release.iterdir()) == [
        "README.md",
        "certificate.html",
        "certificate.json",
        "croissant.json",
        "disclosure.json",
        "samples.png",
        "synthetic.parquet",
    ]


def test_certificate_without_a_guarantee_says_so_first(folder: RunFolder) -> None:
    terms = certificate(no_dp_section(), method="pigan", name="set", n=10, shape=(8, 8, 1), class_names=["0"])
    write_release(folder, digits(50), terms, name="x")
    assert "There is NO differential privacy guarantee" in folder.certificate.read_text().splitlines()[0]
    assert terms["covers"] == [] and "epsilon" not in terms


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.9912, "10"),
        (9.981, "9.99"),
        (1e-5, "1e-5"),
        (1.5149e-6, "1.52e-6"),
        (0.20401, "0.205"),
        (1.0, "1"),
        (0.0, "0"),
        (123.4, "124"),
    ],
)
def test_printed_promises_are_rounded_up(value: float, text: str) -> None:
    assert rounded_up(value) == text


def test_what_an_earlier_report_looked_at_stays_in_a_later_one(folder: RunFolder) -> None:
    """The certificate adds it up; the report must not say less than it."""
    folder.certificate.parent.mkdir(parents=True, exist_ok=True)
    folder.certificate.write_text(json.dumps({"uncharged_choices": ["experiments were looked at"]}))
    write_report(folder, report(), synthetic=digits(), done=DONE)
    choices = json.loads(folder.report_json.read_text())["privacy"]["uncharged_choices"]
    assert choices == ["experiments were looked at", *report().as_dict()["privacy"]["uncharged_choices"]]
    assert "experiments were looked at" in folder.report_html.read_text()


@pytest.mark.parametrize(
    ("images", "network", "there"), [(b"the same", False, True), (b"others", False, False), (b"the same", True, False)]
)
def test_what_shadow_runs_found_is_kept_with_the_release_that_it_is_about(
    images: bytes, network: bool, there: bool, folder: RunFolder
) -> None:
    folder.synthetic.parent.mkdir(parents=True)
    folder.synthetic.write_bytes(b"the same")
    write_report(folder, report(), synthetic=digits())
    content = json.loads(folder.report_json.read_text())
    record = found("8 shadow runs", RELEASED, [1.0, 2.0], [0.0, 1.0])
    content["attacks"] = shadowed.added(content["attacks"], [record], b"the same", network)
    folder.report_json.write_text(json.dumps(content))
    folder.synthetic.write_bytes(images)
    for _ in range(2):  # and once more: what was left out is still said
        write_report(folder, report(), synthetic=digits())
        attacks = json.loads(folder.report_json.read_text())["attacks"]
        names = [one["attack"] for one in attacks.get("found", ())]
        assert ("8 shadow runs" in names, shadowed.LEFT_OUT in attacks) == (there, not there)
        assert (f"Warning: {shadowed.WHY}" in folder.report_html.read_text().replace("&#39;", "'")) is not there
    content["attacks"] = shadowed.added(attacks, [record], images, False)
    assert shadowed.LEFT_OUT not in content["attacks"]
    assert "8 shadow runs" in (page := str(with_found(folder.report_html.read_text(), content))) and "Time" in page
    assert with_found("another page", content) is None


def test_report_json_keeps_the_contract(folder: RunFolder) -> None:
    assert not folder.report_json.exists()
    write_report(folder, report(), synthetic=digits(), central=central(), done=DONE)
    assert folder.report_json.exists()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(folder.report_json.read_text(), parse_constant=refuse)
    assert list(content) == [
        "method",
        "preset",
        "config",
        "dataset",
        "privacy",
        "metrics",
        "attacks",
        "timings",
        "environment",
    ]
    assert {"name", "n_train", "n_test", "shape", "classes"} <= set(content["dataset"])
    assert {
        "guarantee",
        "epsilon",
        "delta",
        "adjacency",
        "accountant",
        "epsilon_rdp",
        "ledger",
        "uncharged_choices",
    } <= set(content["privacy"])
    metrics = content["metrics"]
    assert metrics["utility"]["cnn"] == {"accuracy": 0.9312, "accuracy_real_data": 0.9889}
    assert metrics["utility_best"]["accuracy"] == 0.9401 and "best" not in metrics["utility"]
    assert metrics["fidelity"]["fid"] is None and metrics["fidelity"]["recall"] is None
    assert metrics["fidelity"]["recall_reason"] == "it is not a finite number"
    assert all(set(spent) == {"wall_s", "cpu_s"} for spent in content["timings"].values())


def test_privacy_section_is_what_the_ledger_was_paid(tmp_path: Path) -> None:
    query = Cost(mechanism="means", noise_multiplier=5.0, sampling_rate=0.1, steps=5)
    training = Cost(mechanism="DP-SGD", noise_multiplier=4.0, sampling_rate=0.05, steps=20)
    plan = Plan(stages={"central": query, "finetune": training}, delta=1e-5, accountant="rdp", epsilon_budget=3.0)
    ledger = Ledger(plan, tmp_path / "ledger.jsonl")
    ledger.pay("central", Release(None, query))
    with pytest.raises(ValueError, match="has no entry for finetune"):
        dp_section(plan, ledger)
    ledger.pay("finetune", Release(None, training))
    whole = dp_section(plan, ledger, ["clip norm"])
    alone = epsilon([training], 1e-5, "rdp")
    assert whole["epsilon"] == whole["epsilon_rdp"] == plan.epsilon() > alone, "trap 8: composed, not the last"
    assert whole["epsilon_prv"] < whole["epsilon_rdp"] and whole["uncharged_choices"] == ["clip norm"]
    notes = [{"adjacency": cost.adjacency, "note": cost.note} for cost in plan.stages.values()]
    assert whole["ledger"] == [row | note for row, note in zip(plan.rows(), notes, strict=True)]
    # By name, since tools read them; of the real section, not of a made-up one.
    named = "stage mechanism noise_multiplier sampling_rate steps epsilon_alone adjacency note"
    assert all(list(row) == named.split() for row in whole["ledger"])
    assert whole["adjacency"] == ADD_REMOVE
    page = render(replace(report(), privacy=whole).as_dict(), digits())
    assert "The PRV accountant prices" in page and whole["what_an_attacker_can_do"]["sentence"] in page
    assert whole["account"] == {"sentence": ALONE} and ALONE in page
    assert "number of images held fixed" in page and "which was asked for" not in page


def test_it_says_when_rdp_priced_what_prv_was_asked_for(tmp_path: Path) -> None:
    """A noise multiplier too small for PRV's grid."""
    quiet = Cost(mechanism="means", noise_multiplier=5e-4, sampling_rate=1.0, steps=1)
    plan = Plan(stages={"means": quiet}, delta=1e-5, accountant="prv", epsilon_budget=1e8)
    ledger = Ledger(plan, tmp_path / "ledger.jsonl")
    ledger.pay("means", Release(None, quiet))
    section = dp_section(plan, ledger)
    assert section["accountant"] == "prv" and section["priced_by"] == "rdp"
    page = " ".join(render(replace(report(), privacy=section).as_dict(), digits()).split())
    assert "by the RDP accountant, whose bound is smaller here than that of PRV, which was asked for" in page
    terms = certificate(section, method="m", name="s", n=9_000, shape=(8, 8, 1), class_names=["0"])
    assert terms["priced_by"] == "rdp" and terms["delta_beside"] == "delta is 0.09 of 1/n"
    said = io.StringIO()
    images = digits(9)
    show_plan(Console(said), plan, Dataset("s", images, images, None))
    shown = " ".join(said.getvalue().split())
    assert "by RDP, here smaller than PRV's" in shown and "delta is 9e-5 of 1/n" in shown
    assert "wins at most 100 % of bets" in shown
    assert re.search(r"WARNING: this promises next to nothing: epsilon \S+ lets somebody tell almost surely", shown)
    said, kept = io.StringIO(), replace(plan, stages={"means": replace(quiet, noise_multiplier=1.0)}, epsilon_budget=10)
    show_plan(Console(said), kept, Dataset("s", images, images, None))
    assert "Plan for s" in said.getvalue() and "WARNING" not in said.getvalue()


def test_page_is_self_contained_and_leaves_nothing_blank() -> None:
    for content in (report().as_dict(), report(dp=False).as_dict()):
        page = render(content, digits(), central() if content["privacy"]["guarantee"] == "dp" else None, DONE)
        assert not re.search(r"https?://|<script|<link|@import|url\(", page)
        assert not re.search(r"\b(null|None|nan|undefined|Undefined)\b", re.sub(r"base64,[^\"]*", "", page))
        chart = {"data:image/svg+xml;base64"} if content["privacy"]["guarantee"] == "dp" else set()
        assert set(re.findall(r'src="([^,]*),', page)) == {"data:image/png;base64", *chart}
    assert "no differential privacy guarantee" in page and "Privacy budget" not in page


def test_page_says_what_matters() -> None:
    page = render(report().as_dict(), digits(), central(), DONE)
    for words in (
        *(part["sentence"] for part in privacy()["meaning"].values()),
        "600 synthetic images, (10, 1.52e-6)-differentially private; 4 classifiers trained on them reach 91.1 % in the "
        "mean (87.0 to 94.0 %) on real test images, the same trained on the real images 97.1 %.",
        "not available: no Inception weights were given",
        "tuned on MNIST",
        "2,197",
        "33 min 31 s",
        "10.9",
        "best over classifiers",
        "94.0 %",
        "engine, name",
    ):
        assert words in page.replace("&#39;", "'"), words
    assert page.count("<img ") == 21


def test_page_counts_copies_which_no_certificate_does() -> None:
    copied = replace(report(), metrics={**report().metrics, "copies_among_private": 1234})
    words = "1,234 of the private images are exact copies"
    assert words in render(copied.as_dict(), digits()) and words not in render(report().as_dict(), digits())
    one = replace(report(), metrics={**report().metrics, "copies_among_private": 1})
    assert "1 of the private images is an exact copy of another one among them" in render(one.as_dict(), digits())
    with pytest.raises(ValueError, match=r"^certificate\.json may not say public_facts\.copies_among_private"):
        told = certificate(privacy(), method="m", name="set", n=9, shape=(8, 8, 1), class_names=["0"])
        may_leave.check(told | {"public_facts": {"copies_among_private": 1234}}, ())


def test_page_takes_no_multiple_of_epsilon_for_a_limit() -> None:
    counted = {"copies_among_private": 3, "copies_of_one_private": 4}
    page = render(replace(report(), metrics={**report().metrics, **counted}).as_dict(), digits())
    assert "for one that is there 4 times, ε at the same δ is larger, as certificate.json says of 2, 4 and 8." in page


def test_page_says_how_images_were_read_and_what_that_leaves_to_do() -> None:
    facts = {"read_as": "a folder; 4 DICOM files", "warned": ["Text that is <burnt> in stays."]}
    page = render(replace(report(), dataset={**report().dataset, **facts}).as_dict(), digits())
    assert "were read as a folder; 4 DICOM files." in page and "Text that is &lt;burnt&gt; in stays." in page


def test_page_escapes_names_and_survives_little() -> None:
    bare = replace(report(), metrics={}, timings={}, dataset={**report().dataset, "name": "<script>alert(1)</script>"})
    one = Images(digits(1).images_NHWC, np.zeros(1, np.int64), ("<b>zero</b>", "absent"))
    page = render(bare.as_dict(), one)
    assert "<script" not in page and "<b>zero" not in page and "no image" in page


def test_missing_figures_show_their_reason() -> None:
    fidelity = {
        "fid": {"value": None, "reason": "no weights were given"},
        "inception_score": {"value": 7.5, "reason": None, "images": {"synthetic": 50}},
        "precision": None,
        "recall": None,
        "kid": {"value": None, "reason": "no weights were given"},
        "images": {},
        "reason": "no CNN was trained",
    }
    page = render(replace(report(), metrics={"fidelity": fidelity}).as_dict(), digits())
    rows = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td></tr>", page.split("Fidelity")[1].split("</section>")[0])
    assert rows == [
        ("FID (Inception), KID (Inception)", "not available: no weights were given"),
        ("Synthetic images for inception score", "50"),
        ("Precision, Recall", "not available: no CNN was trained"),
    ]
    assert '<td class="n">7.5</td><td class="n">-</td><td>higher</td>' in page


def test_measures_stand_beside_halves_of_the_real_images() -> None:
    """Each once; what is not known between halves is a dash, and what is left over is listed."""
    known = {
        "density": 0.5,
        "density_real_halves": 0.9,
        "kid": {"value": 0.25, "images": {"real": 4}},
        "reference": "r",
    }
    assert [row[:3] for row in likeness.rows(known)[1:]] == [
        ["KID (Inception)", "0.25", "-"], ["Density", "0.5", "0.9"]
    ]  # fmt: skip
    assert sorted(likeness.others(known)) == [("Real images for KID (Inception)", "4"), ("reference", "r")]
    sides = {"synthetic": 3, "real": 4}
    counted = {"images": {name: sides for name in ("frechet_distance", "halves")}}
    assert likeness.others(counted) == [
        ("Synthetic images for Fréchet distance", "3"), ("Real images for Fréchet distance", "4"),
        ("Synthetic images beside halves, and real ones of the other half", "3"), ("Real images beside halves", "4"),
    ]  # fmt: skip
    assert likeness.rows({"precision": None}) == []


def test_names_of_any_language_are_written_or_numbered() -> None:
    names = ("größe", "κ", "良性", "a")
    font, written = _lettering(names)
    assert written == ["größe", "κ", "class 2", "a"]
    box = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != box for name in written for letter in name if letter != " ")
    images = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4), names)
    assert sample_sheet(images).size[0] > 0


def test_a_name_that_a_font_lacks_in_part_keeps_its_number_and_the_rest() -> None:
    names = ("良性 (benign)", "a良b良性c", "良-性", "größe", "x" * 203, "b")
    _, written = _lettering(names)
    assert written == ["0: … (benign)", "1: a … b … c", "class 2", "größe", "x" * 23 + "…", "b"]
    (told,) = unwritten(names, "samples.png")
    lacking = "classes 0 (良性 (benign)), 1 (a良b良性c), 2 (良-性), where the number stands instead."
    assert told == f"The font of samples.png lacks letters of the names of {lacking}"
    assert unwritten(names[3:], "it") == [] and unwritten(["a"] * 25 + ["良"], "it") == []
    images = Images(np.zeros((6, 8, 8, 1), np.uint8), np.arange(6), names)
    assert sample_sheet(images).size[0] < 1000


def test_long_names_and_narrow_pages_break_no_report() -> None:
    made = report().as_dict()
    made["dataset"]["classes"] = ["x" * 203]
    one = Images(digits(20).images_NHWC, np.zeros(20, np.int64), ("x" * 203,))
    page = render(made, one)
    assert " in 1 class." in page and "1 classes" not in page
    for chart in re.finditer(r'<svg |<img class="chart"', page):
        assert page[: chart.start()].endswith('<div class="scroll">'), "letters of a chart would shrink with it"
    assert "td:first-child { min-width: 7rem; max-width: 18rem; overflow-wrap: anywhere; }" in page
    assert page.count("<div") == page.count("</div>")


def test_sample_sheet_fits_any_shape() -> None:
    assert sample_sheet(digits()).size[0] > 12 * digits().shape[1]
    assert sample_sheet(colour()).mode == "RGB"
    many = Images(colour(30).images_NHWC, np.arange(30), tuple(f"class {label}" for label in range(30)))
    assert sample_sheet(many).size[1] < 25 * 80
    empty = Images(digits(1).images_NHWC[:0], np.zeros(0, np.int64), ("a", "b"))
    assert sample_sheet(empty).size[0] > 0


def test_table_over_runs() -> None:
    lines = table([report().as_dict(), report(dp=False).as_dict()]).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2][3:6] == ["10", "1.52e-6", "93.1 %"] and cells[3][3:5] == ["none", "none"]
    assert dict(zip(cells[0], cells[2], strict=True))["real images"] == "97.1 %"
    assert not {"differs in", "floor", "chance", "FID"} & set(cells[0]), "of which nobody knows anything"
    told = report().as_dict() | {"attacks": {"audit": {"refuted": True}}}
    assert "| 10, REFUTED |" in table([told])


def test_a_table_tells_in_which_flags_runs_differ_and_how_real_images_look() -> None:
    def run(command: str, preset: str = "quick", count: int = 20, seed: int = 0) -> dict[str, Any]:
        content = report().as_dict()
        content["metrics"]["fidelity"] |= {"fid": {"value": None}, "frechet_distance_cnn_features": 1.5}
        content["metrics"]["utility_guessing"] = {"chance": 0.1, "largest_class": 0.2}
        config = {"central": {"count": count, "downscale": None}, "seed": seed, "private": bool(seed)}
        return content | {"method": command, "preset": preset, "config": config}

    runs = [run("dp_feta"), run("dpdm", count=0, seed=1), run("dp_feta", "cpu-mnist"), run("privimage", count=3)]
    commands = ["dp_feta", "dp_feta", "dp_feta", "privimage"]
    head, *rows = table_rows(runs, commands, ["recall", "precision", "chance", "cnn.accuracy"])
    told = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["differs in"] for row in told] == [
        "central.count 20, seed 0, no-private", "central.count 0, seed 1, private", "", ""
    ]  # fmt: skip
    assert told[1]["method"] == "dpdm" and (told[0]["chance"], told[0]["largest class"]) == ("10.0 %", "20.0 %")
    assert told[0]["Fréchet distance"] == "1.5" and "FID" not in head
    figures = {name: told[0][name] for name in head[-4:]}
    assert figures == {
        "fidelity.recall": "-", "fidelity.precision": "0.71", "utility_guessing.chance": "0.1",
        "utility.cnn.accuracy": "0.9312",
    }  # fmt: skip
    assert differences(runs, commands, but=["seed", "private"])[0] == "central.count 20"
    # How they were judged makes them no others; what is empty has a name.
    runs[0]["config"] |= {"eval": {"classifiers": ["cnn"]}, "public": {"path": []}}
    runs[1]["config"] |= {"eval": {"classifiers": []}, "public": {"path": ["a", "b"]}}
    assert differences(runs, commands, but=["seed", "private"])[:2] == [
        "central.count 20, public.path none", "central.count 0, public.path a b"
    ]  # fmt: skip
    for name, words in {
        "precisoin": r"\(did you mean precision\?\): there are .*timings",
        "accuracy": "several",
    }.items():
        with pytest.raises(ValueError, match=f"columns has {name}.*{words}"):
            table_rows(runs, commands, [name])


def test_an_epsilon_for_persons_never_stands_unlabelled() -> None:
    """In the tables of reports and of a leaderboard; where all promises are to images nothing is said of it."""
    of_images, of_persons, of_nobody = (report(dp).as_dict() for dp in (True, True, False))
    of_persons["privacy"]["adjacency"] = ADD_REMOVE_PERSON
    both, alone, plain = (table_rows(runs) for runs in ([of_images, of_persons, of_nobody], [of_persons], [of_images]))
    units = [row[both[0].index("unit")] for row in both[1:]]
    assert units == ["image", "person", "-"] and both[0].index("unit") + 1 == both[0].index("epsilon")
    assert alone[1][alone[0].index("unit")] == "person" and "unit" not in plain[0]
    runs = [Run("dp_feta", "quick", 1.0, seed) for seed in range(3)]
    rows = [leaderboard.table([one], [of])[0] for one, of in zip(runs, (of_images, of_persons, of_nobody), strict=True)]
    assert [row["unit"] for row in rows] == ["image", "person", None]
    assert [row["unit"] for row in console_rows(rows)] == ["image", "person", "-"]
    assert "unit" not in console_rows(rows[:1])[0] and ">unit<" in page(rows, [], 1, [], None)


def test_table_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "internal"
    folder.mkdir(parents=True)
    assert main([str(tmp_path / "run")]) == 2 and main([]) == 2
    assert all(line.endswith("finished runs") for line in capsys.readouterr().err.splitlines())
    (folder / "report.json").write_text(json.dumps(report().as_dict()))
    assert main([str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == table([report().as_dict()])
    # The command that made it is not what a paper calls it.
    (folder / "run.json").write_text(json.dumps({"method": "dp_feta"}))
    assert main([str(tmp_path / "run"), "--columns", "wall_s", "--html", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "x").exists()
    assert main([str(tmp_path / "run"), "--columns", "warmup.wall_s", "--columns", "epsilon_rdp"]) == 0
    asked = ["warmup.wall_s", "epsilon_rdp"]
    assert capsys.readouterr().out == table([report().as_dict()], ["dp_feta"], asked)


def test_report_insists_on_its_fields() -> None:
    with pytest.raises(AssertionError):
        replace(report(), dataset={"name": "x"})
    with pytest.raises(AssertionError):
        replace(report(), privacy={"guarantee": "surely"})
    assert isinstance(report(), Report)
