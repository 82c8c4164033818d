"""`raysyn draw`: more images from a finished run, which read nothing private and cost nothing."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from damage import damaged
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from typed import said

import raysyn
from raysyn import audit_source, draw_source, more_images, verbs
from raysyn.audits import own_network, own_run
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import catalogue, synthesis
from raysyn.methods.network import SOME_LAYERS
from raysyn.report import choices
from raysyn.report.release import parquet_bytes, read_images
from raysyn.report.verify import verify
from raysyn.runs.may_leave import network_text
from raysyn.verify import check_network

HERE = ("--on.address", "here")


def files(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of everything in it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def images_of(out: Path) -> Images:
    return read_images((out / "release/synthetic.parquet").read_bytes())


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "CHUNK", 20)
        yield


@pytest.fixture(scope="module")
def finished(small_chunks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run, whose private images are gone. Its sampler draws noise at every step."""
    place = tmp_path_factory.mktemp("draw")
    digits, source = load(DataConfig(limit=200)).train, place / "private.parquet"
    names = tuple(f"digit {name}" for name in digits.class_names)
    source.write_bytes(parquet_bytes(Images(digits.images_NHWC, digits.labels_N, names), "hand-written"))
    raysyn.run(
        "dp_feta", data={"path": source, "test_share": 0.2}, epsilon=8, out=str(place / "run"), synthetic=40, seed=3,
        network={"width": 8, "multipliers": (1,), "patch": 2}, central={"count": 10}, warmup={"iterations": 3},
        finetune={"batch_size": 32, "epochs": 1}, sampler={"name": "edm", "steps": 5, "churn": 40.0},
        release={"network": True}, quiet=True, seal=True, on={"address": "here"},
        eval={"classifiers": (), "feature_epochs": 0},
    )  # fmt: skip
    source.unlink()
    return place / "run"


SHORT: dict[str, dict[str, Any]] = {
    "noisy_means": {},
    "dp_merf": {"features": {"count": 64}, "training": {"iterations": 3, "batch_size": 20}},
    "p3gm": {
        "pca": {"label_weight": 2.0}, "network": {"latent": 4, "components": 3},
        "finetune": {"batch_size": 32, "epochs": 1}, "warmup": {"iterations": 20},
    },
    "pigan": {"gan": {"epochs": 2, "batch_size": 32}, "penalty": {"delay_epochs": 1}, "experiment": {"lambdas": ()},
        "monte_carlo": {"components": 5}},
}  # fmt: skip


@pytest.mark.parametrize("method", SHORT)
def test_a_network_that_was_handed_on_holds_and_draws_as_its_run_does(method: str, tmp_path: Path) -> None:
    """Whatever its method: of DP-MERF it is made of what was paid for, and no row of the ledger."""
    run, further = tmp_path / "run", {"seed": 5, "synthetic": 20, "on": {"address": "here"}, "quiet": True}
    raysyn.run(
        method, data={"limit": 200}, out=str(run), synthetic=40, release={"network": True}, quiet=True,
        on={"address": "here"}, eval={"classifiers": (), "feature_epochs": 0}, **SHORT[method],
    )  # fmt: skip
    failed = [check for check in verify(run / "release", fits=check_network) if not check.holds]
    assert failed == [] and (run / "release/network.safetensors").is_file()
    for source, out in ((run, "of_run"), (run / "release", "of_release")):
        raysyn.draw(str(source), out=str(tmp_path / out), **further)
    pixels = [images_of(tmp_path / out).images_NHWC for out in ("of_run", "of_release")]
    assert len(pixels[0]) == 20 and np.array_equal(*pixels)


def test_the_configuration_of_a_finished_run_is_read_to_be_attacked(finished: Path) -> None:
    """From its folder alone, with the network that it trained."""
    run = audit_source.read(str(finished))
    assert (run.units, run.like.shape, run.unknown(), run.ranks) == (160, (8, 8, 1), [], 1)
    rows = own_run.cases(run, 1024, None, lambda *_: None)
    assert [row.name.partition(":")[0] for row in rows] == list(run.plan) == ["central", "finetune"]
    assert all(row.cost == run.plan["central"] for row in rows[:1]) and rows[1].cost.steps == run.plan["finetune"].steps
    assert not own_network.moved("finetune", run.learned()["finetune"], run.like).fails


def test_more_of_a_sealed_run_begins_with_what_it_released(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = files(finished), tmp_path / "more"
    words = ("--synthetic", "70", "--seed", "3", "--out", str(out))
    told = said(capsys, "draw", str(finished), *words, *HERE)
    assert "draw: 70 images" in told and "Release (may leave)" in told
    assert "seed is 3, the run's own: images of its release may be among these" in " ".join(told.split())
    assert files(finished) == before, "the run itself is as it was"
    more, first = images_of(out), images_of(finished)
    # By full chunks, which are of 20 here.
    np.testing.assert_array_equal(more.images_NHWC[:40], first.images_NHWC)
    assert len(more) == 70 and more.class_names == first.class_names
    assert not (out / "internal/ledger.jsonl").exists()

    signed, was = (json.loads((one / "release/certificate.json").read_text()) for one in (out, finished))
    assert signed["drawn_anew"] == {"of": was["files"], "settings": "synthetic=70"}
    different = {name for name in signed if signed[name] != was.get(name)}
    assert different == {"drawn_anew", "files"} and all(check.holds for check in verify(out / "release"))

    # The same command finds it finished; another one is another release.
    assert "found finished" in said(capsys, "draw", str(finished), *words, *HERE)
    before = files(out / "release")
    refused = said(capsys, "draw", str(finished), *words, "--synthetic", "71", *HERE, status=2)
    assert "synthetic = 70" in refused and files(out / "release") == before


@pytest.mark.parametrize("flags", [{}, {"classes": ("digit 7",), "synthetic": 60}])
def test_a_draw_without_a_seed_repeats_nothing_of_the_release(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, Any]
) -> None:
    drawn = raysyn.draw(str(finished), out=str(tmp_path / "more"), on={"address": "here"}, **flags)
    told = " ".join(capsys.readouterr().out.split())
    assert "the run's own: images" not in told
    assert "seed is 4, as of every draw of this run without --seed: give a further draw another one." in told
    assert drawn.certificate["drawn_anew"]["settings"].endswith("seed=4"), "the run's is 3"
    first, more = ({one.tobytes() for one in images.images_NHWC} for images in (images_of(finished), drawn.images))
    assert len(first) == 40 and not first & more


def test_help_names_a_default_that_only_the_run_knows_where_it_is_named(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, shown in (((), False), ((str(finished),), True)):
        told = " ".join(said(capsys, "draw", *words, "--help").split())
        assert ("as many as the run has released. (default: 40)" in told) == shown
        assert ("by full five hundreds. (default: 4)" in told) == shown and "60000" not in told
        assert "by their names as the run has them (numbers where it has no names)" in told


def test_how_many_were_released_is_read_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by, places, read = draw_source.source(str(finished)), list[str](), draw_source.read_bytes
    monkeypatch.setattr(draw_source, "read_bytes", lambda run, place: (places.append(place), read(run, place))[1])
    assert [made_by.released for _ in range(3)] == [40] * 3 and places == ["release/synthetic.parquet"]


def test_other_classes_shares_seed_and_sampler(finished: Path, tmp_path: Path) -> None:
    chosen = ("digit 7", "digit 3")
    drawn = raysyn.draw(
        str(finished), out=str(tmp_path / "some"), synthetic=30, classes=chosen, shares=(1, 2), seed=4,
        sampler={"steps": 6, "guidance": 0.5}, chosen_among="3 guidances", quiet=True, on={"address": "here"},
    )  # fmt: skip
    assert np.bincount(drawn.images.labels_N, minlength=10).tolist() == [0, 0, 0, 20, 0, 0, 0, 10, 0, 0]
    settings = drawn.certificate["drawn_anew"]["settings"]
    for part in ("synthetic=30", "classes=('digit 7', 'digit 3')", "shares=(1.0, 2.0)", "seed=4", "sampler.steps=6"):
        assert part in settings
    told = drawn.certificate["uncharged_choices"]
    assert any("3 guidances" in choice for choice in told) and choices.BY_HAND in told
    same, other = (
        raysyn.draw(str(finished), out=str(tmp_path / name), quiet=True, on={"address": "here"}, **flags).images
        for name, flags in {"same": {"seed": 3}, "other": {"seed": 3, "sampler.guidance": 2.0}}.items()
    )
    np.testing.assert_array_equal(same.images_NHWC, images_of(finished).images_NHWC)
    assert (other.images_NHWC != same.images_NHWC).any(), "guidance makes other images"
    few = {"sampler": {"name": "edm", "steps": 2}, "synthetic": 10}
    with pytest.warns(UserWarning, match=r"^sampler\.steps is 2, of which edm overshoots and draws rubbish"):
        raysyn.draw(str(finished), out=str(tmp_path / "few"), quiet=True, on={"address": "here"}, **few)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--synthetic 0 --out OUT", "synthetic is 0"),
        ("--classes 3 --out OUT", "classes has 3"),
        ("--classes 'digit 3' 'digit 3' --out OUT", "name each once"),
        ("--classes 'digit 3' --shares 1 2 --out OUT", "shares is"),
        ("--shares 1 2 --out OUT", "shares is"),
        ("--sampler.steps 0 --out OUT", "steps is 0"),
        ("--finetune.epochs 3 --out OUT", "--finetune.epochs is no flag"),
        ("--synthetic 3", "out is not given"),
        ("--out ' '", "out is not given"),
        ("--out RUN", "inside of the run itself"),
        ("--out RUN/release/new", "inside of the run itself"),
        ("--shares 1e308 1e308 1e308 1e308 1 1 1 1 1 1 --out OUT", "shares is"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    words: str, sentence: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    before = files(finished)
    given = [word.replace("OUT", str(tmp_path / "new")).replace("RUN", str(finished)) for word in shlex.split(words)]
    assert sentence in said(capsys, "draw", str(finished), *given, *HERE, status=2)
    assert files(finished) == before and not (tmp_path / "new").exists()


def test_no_folder_among_the_private_images_is_taken(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next run on them would read what was drawn as private images."""
    scans = finished.parent / "private.parquet"
    (scans / "cat").mkdir(parents=True)
    try:
        for out in ("new", "cat/new"):
            told = said(capsys, "draw", str(finished), "--out", str(scans / out), *HERE, status=2)
            assert f"--out {scans / out} lies in {scans}, the images that the run is made of" in told
        assert [*scans.rglob("*")] == [scans / "cat"]
    finally:
        shutil.rmtree(scans)


def test_runs_that_nothing_can_be_drawn_from_are_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ("--out", str(tmp_path / "new"))
    assert "begin with the folder" in said(capsys, "draw", "--out", "x", status=2)
    assert "holds no finished run" in said(capsys, "draw", str(tmp_path), *new, status=2)
    for changes, sentence in (
        ({"method": "dp_imgsyn"}, "turns public images into its own"),
        ({"raysyn": "0.0.1"}, "made by raysyn 0.0.1"),
        ({"preset": "gone"}, "of the preset gone"), ({"method": "gone"}, "gone"),
    ):  # fmt: skip
        other = tmp_path / "other"
        shutil.copytree(finished, other)
        about = json.loads((other / "internal/run.json").read_text())
        (other / "internal/run.json").write_text(json.dumps(about | changes))
        assert sentence in said(capsys, "draw", str(other), *new, status=2)
        shutil.rmtree(other)
    for damage, sentence in (
        (lambda run: (run / "internal/stages/finetune.pt").unlink(), "or it was taken away; put it back\n"),
        (lambda run: (run / "internal/stages/finetune.pt").write_bytes(b"x"), "finetune.pt cannot be read"),
        (lambda run: (run / "internal/run.json").write_text("{"), "is damaged"),
        (
            lambda run: (run / "internal/report.json").unlink(),
            "name a folder that was an --out, and whose run has ended",
        ),
        (lambda run: classes_anew(run, noisy_counts=20.0), "whose ledger has no counts: nothing may be drawn from it"),
        (
            lambda run: classes_anew(run, shares=["1", "2"]),
            "fit its internal/run.json (ValueError: classes.shares has 2",
        ),
        (lambda run: classes_anew(run, shares=["9=1"]), "fit its internal/run.json (ValueError: classes.shares has 9"),
        (lambda run: signed_anew(run, epsilon=1.0), "does not hold"),
        (lambda run: signed_anew(run, guarantee="none"), "of another run"),
        (lambda run: signed_anew(run, ledger=[]), "of another run"),
        (
            lambda run: (run / "release/synthetic.parquet").write_bytes(b"x"),
            "is not the file that the certificate names",
        ),
    ):
        other = tmp_path / "other"
        shutil.copytree(finished, other)
        damage(other)
        assert sentence in said(capsys, "draw", str(other), *new, *HERE, status=2)
        assert not (tmp_path / "new").exists(), "before anything is opened"
        shutil.rmtree(other)
    with pytest.raises(ValueError, match="whose ledger has no warmup"):
        more_images.source(str(finished)).answer("warmup")


def test_nothing_is_drawn_from_what_canaries_have_refuted(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither from the run nor from its release, which has a network and a certificate that holds."""
    run = tmp_path / "refuted"
    shutil.copytree(finished, run)
    place = run / "internal/report.json"
    report = json.loads(place.read_text())
    report["attacks"]["audit"] = {"refuted": True, "sentence": "it shows more"}
    place.write_text(json.dumps(report))
    (run / "release/network.safetensors").touch()
    for what in (run, run / "release"):
        told = said(capsys, "draw", str(what), "--out", str(tmp_path / "new"), *HERE, status=2)
        assert f"run is {what}, whose canaries refute its certificate: nothing may be drawn from it" in told


def classes_anew(run: Path, **changes: Any) -> None:
    """Other classes in its configuration than those of the run."""
    place = run / "internal/run.json"
    about = json.loads(place.read_text())
    about["config"]["classes"] |= changes
    place.write_text(json.dumps(about))


def files_signed_anew(release: Path, contents: dict[str, bytes]) -> None:
    """Other files, with a certificate whose hashes fit."""
    place = release / "certificate.json"
    signed = json.loads(place.read_text())
    for name, content in contents.items():
        (release / name).write_bytes(content)
        signed["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
    place.write_text(json.dumps(signed))


def signed_anew(run: Path, **changes: Any) -> None:
    """Other words in a certificate."""
    place = run / "release/certificate.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


def test_a_certificate_of_another_run_signs_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"quiet": True, "on": {"address": "here"}, "eval": {"classifiers": (), "feature_epochs": 0}}
    for name, more in {"own": {"epsilon": 8}, "plain": {"epsilon": 9}}.items():
        raysyn.run("noisy_means", data={"limit": 200}, synthetic=20, out=str(tmp_path / name), **more, **quick)
    shutil.rmtree(tmp_path / "own/release")
    for other in (finished, tmp_path / "plain"):
        shutil.copytree(other / "release", tmp_path / "own/release", dirs_exist_ok=True)
        refused = said(capsys, "draw", str(tmp_path / "own"), "--out", str(tmp_path / "new"), *HERE, status=2)
        assert "is of another run" in refused and not (tmp_path / "new").exists()


def test_a_release_that_holds_the_network_is_enough(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handed = tmp_path / "handed on"
    shutil.copytree(finished / "release", handed)
    more = raysyn.draw(
        str(handed), out=str(tmp_path / "more"), synthetic=50, seed=3, quiet=True, on={"address": "here"},
        release={"layout": ("folder",)},
    )  # fmt: skip
    np.testing.assert_array_equal(more.images.images_NHWC[:40], images_of(finished).images_NHWC)
    assert more.certificate["ledger"] == json.loads((handed / "certificate.json").read_text())["ledger"]
    assert all(check.holds for check in verify(tmp_path / "more/release"))
    assert len(list((tmp_path / "more/release/folder/train").rglob("*.png"))) == 50
    about = json.loads((handed / "network.json").read_text())
    assert about["settings"].keys() == {"network", "noise", "sampler", "classes", "synthetic", "seed"}
    assert str(finished.parent) not in json.dumps(about), "no place of a file leaves"

    new = ("--out", str(tmp_path / "new"))
    settings, weights = about["settings"], (handed / "network.safetensors").read_bytes()
    code, wide = ({"network": {**settings["network"], **more}} for more in ({"factory": "evil:make"}, {"width": 16}))
    for changed, content, sentence in (
        (code, weights, "names code, network.factory evil:make"),
        (wide, weights, "network.safetensors does not fit its network.json"),
        ({"sampler": [1]}, weights, "of another kind"),
        ({"classes": {"shares": [], "noisy_counts": 20.0}}, weights, "and the ledger has no row counts"),
        ({"classes": {"shares": ["1", "2"], "noisy_counts": None}}, weights, "classes.shares has 2 numbers"),
        ({}, save({"finetune/other/x": torch.zeros(1)}), "network.safetensors lacks 'ema'"),
        ({}, save(load_tensors(weights) | {"finetune/other/x": torch.zeros(1)}), "finetune/other/x, which nothing"),
        ({}, b"junk", "network.safetensors is damaged"),
    ):  # fmt: skip
        told = network_text(about | {"settings": settings | changed}).encode()
        files_signed_anew(handed, {"network.json": told, "network.safetensors": content})
        assert sentence in said(capsys, "draw", str(handed), *new, *HERE, status=2)
        # Tensors are compared with their hashes alone.
        fails = next(check for check in verify(handed, fits=check_network) if check.name == "network")
        assert fails.holds == (changed is wide) and (fails.holds or sentence in fails.found)
    files_signed_anew(handed, {"network.json": network_text(about).encode(), "network.safetensors": weights})
    assert "release.network is True" in said(capsys, "draw", str(handed), "--release.network", *new, status=2)
    (handed / "network.json").write_text(json.dumps(about | {"preset": "gone"}))
    assert "network.json is not the file that the certificate" in said(capsys, "draw", str(handed), *new, status=2)
    for name in ("network.json", "network.safetensors"):
        (handed / name).unlink()
    assert "without network.safetensors" in said(capsys, "draw", str(handed), *new, status=2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"width": 10**30}, "Overflow"), ({"width": 4000}, "numbers"), ({"patch": 10**9}, "Storage size"),
        ({"blocks": 10**30}, "layers"), ({"multipliers": [1] * 2000}, "layers"), ({"multipliers": [10**5]}, "numbers"),
    ],
)  # fmt: skip
def test_sizes_beyond_what_is_stored_are_not_built(
    more: dict[str, Any], said: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, run = draw_source.read_bytes, str(finished)
    about = json.loads(read(run, draw_source.RUN_JSON))
    about["config"]["network"] |= more
    monkeypatch.setattr(
        draw_source, "read_bytes",
        lambda run, place: json.dumps(about).encode() if place == draw_source.RUN_JSON else read(run, place),
    )  # fmt: skip
    made_by = draw_source.source(run)
    with pytest.raises(ValueError, match=f"^run is {run}, whose internal/stages do not fit .*{said}"):
        made_by.drawing(made_by.config, made_by.like, 160, made_by.answer)


@pytest.mark.parametrize(("network", "bounded"), [
    (SimpleNamespace(factory="mine:build"), False), (SimpleNamespace(factory=None), True), (SimpleNamespace(), True),
    (None, True),
])  # fmt: skip
def test_a_network_of_a_user_s_own_has_any_size(network: Any, bounded: bool) -> None:
    method = replace(
        catalogue.find("dp_feta").method(),
        drawing=lambda *_: torch.nn.Sequential(*(torch.nn.Identity() for _ in range(2 * SOME_LAYERS))),
    )
    like = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
    words = "^run is run, that is wrong .*layers, unlike what is stored"
    with pytest.raises(ValueError, match=words) if bounded else nullcontext():
        draw_source._drawn_by("run", "that is wrong", method, SimpleNamespace(network=network), like, 9, {}.get)


FEW = (None, "x", [], {}, -1, math.nan)


@pytest.mark.parametrize("name", [draw_source.RUN_JSON, draw_source.CERTIFICATE])
def test_no_damage_of_a_run_gives_a_traceback(name: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything in the place of anything: it is read, or refused in one sentence."""
    read, run = draw_source.read_bytes, str(finished)
    if name == draw_source.RUN_JSON:
        monkeypatch.setattr(draw_source, "verify", lambda *_: [])  # it reads no run.json
    contents = [("deep", "[" * 10**5), ("none", "null"), ("text", '"x"'), ("bytes", b"\xff")]
    # Of every third value one other, in turn.
    turns = list(damaged(json.loads(read(run, name)), FEW))[:: 3 * len(FEW) + 1]
    contents += [(what, json.dumps(one)) for what, one in turns]
    for what, content in contents:
        other = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(
            draw_source, "read_bytes", lambda run, place, other=other: other if place == name else read(run, place)
        )  # fmt: skip
        try:
            made_by = draw_source.source(run)
            given = more_images.read(made_by, ["--out", "x"])
            made_by.drawing(made_by.config, made_by.like, 160, made_by.answer)
            more_images.labels(given, made_by.like.class_names, made_by.shares())
            assert given.synthetic > 0
        except ValueError as error:
            assert str(error).startswith(f"run is {run}, "), (what, str(error))


def test_what_was_drawn_is_no_run_and_has_the_labels_that_it_says(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, new = tmp_path / "drawn", tmp_path / "new"
    said(capsys, "draw", str(finished), "--synthetic", "20", "--classes", "digit 7", "digit 2", "--shares", "1", "3",
         "--out", str(drawn), *HERE)  # fmt: skip
    # Each image is of the label that stands beside it.
    made_by, images = more_images.source(str(finished)), images_of(drawn)
    drawing = made_by.drawing(made_by.config, made_by.like, 160, made_by.answer)
    seed = int(np.random.SeedSequence([made_by.config.seed + 1, 0]).generate_state(1)[0])
    again = drawing.draw((seed, images.labels_N.copy()), drawing.shared).numpy()
    np.testing.assert_array_equal(again, images.images_NHWC)

    assert "itself drawn" in said(capsys, "draw", str(drawn), "--out", str(new), *HERE, status=2)


def test_machines_that_refuse_leave_nothing_behind(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("on.address is far away")

    monkeypatch.setattr(verbs, "connect", refuse)
    assert "far away" in said(capsys, "draw", str(finished), "--out", str(tmp_path / "new"), status=2)
    assert not (tmp_path / "new").exists()
