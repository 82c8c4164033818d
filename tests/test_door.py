"""The Python door takes what the command takes, and a mistake costs the sentence that the command prints."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raysyn
from raysyn import command, door
from raysyn.keywords import flat, once, words_of
from raysyn.methods import catalogue
from raysyn.report.release import read_images
from raysyn.screen import cli

TINY: dict[str, Any] = {
    "data": {"limit": 200}, "network": {"width": 8, "multipliers": (1,), "patch": 2}, "central": {"count": 10},
    "warmup": {"iterations": 3}, "finetune": {"batch_size": 32, "epochs": 1}, "sampler": {"steps": 2}, "synthetic": 20,
    "eval": {"classifiers": (), "feature_epochs": 0}, "quiet": True,
    "on": {"address": "here", "sgd": {"engine": "bookkeeping", "micro_batch": 32, "channels_last": True}},
}  # fmt: skip


def printed(*words: str) -> str:
    """The sentence with which the command refuses."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as left:
        command.main(list(words))
    assert left.value.code == 2 and said.getvalue().startswith("error: "), said.getvalue()
    return said.getvalue().removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("dp_feta quick --budget.epsilon=-1", {"epsilon": -1}),
        ("dp_feta quick --budget.epsilon=nan", {"epsilon": float("nan")}),
        ("dp_feta quick --budget.epsilon=much", {"epsilon": "much"}),
        ("dp_feta quick --data.path=nothing.parquet", {"data": "nothing.parquet"}),
        ("dp_feta quick --data.path=nothing.parquet", {"data": Path("nothing.parquet")}),
        ("dp_feta quick --synthetic=3", {"synthetic": 3}),
        ("dp_feta quick --synthetic=3.5", {"synthetic": 3.5}),
        ("dp_feta quick --synthetic=None", {"synthetic": None}),
        ("dp_feta quick --sampler.name=euler", {"sampler": {"name": "euler"}}),
        ("dp_feta quick --sampler.steps=0", {"sampler.steps": 0}),
        ("dp_feta quick --finetune.batch-size=0", {"finetune": {"batch_size": 0}}),
        ("dp_feta quick --finetune.batchsize=4", {"finetune": {"batchsize": 4}}),
        ("dp_feta quick --synthetc=4", {"synthetc": 4}),
        ("dp_feta quick --on.worker=4", {"on": {"worker": 4}}),
        ("dp_feta quick --network.multipliers", {"network": {"multipliers": ()}}),
        ("dp_feta quick --network.multipliers 1 two", {"network": {"multipliers": (1, "two")}}),
        ("dp_feta quick --eval.classifiers cnn cnn", {"eval": {"classifiers": ("cnn", "cnn")}}),
        ("dp_feta quick --network.positions=maybe", {"network": {"positions": "maybe"}}),
        ("dp_feta quickest", {"preset": "quickest"}),
        ("dp_feta quick --tuned-on=-5", {"tuned_on": "-5", "synthetic": 3}),
        ("lira quick --attack.shadow-models=0", {"attack": {"shadow_models": 0}}),
        ("lira quick --seal", {"seal": True}),
    ],
)
def test_a_mistake_raises_the_sentence_that_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, given: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = words.split()
    if "tuned_on" in given:
        line.append("--synthetic=3")
    with pytest.raises(ValueError) as refused:
        raysyn.run(line[0], quiet=True, **given)
    # The command says the prog before the preset.
    assert " ".join(str(refused.value).split()) == printed(*line)
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_an_unknown_method_is_named_with_its_neighbour() -> None:
    with pytest.raises(ValueError, match=r"dp_fetta is no method \(did you mean dp_feta\?\)") as refused:
        raysyn.run("dp_fetta")
    # Where one can type it, verbs are named too.
    assert "(did you mean dp_feta?)" in printed("dp_fetta", "quick") and "(did you mean" in str(refused.value)


def read(method: str = "dp_feta", preset: str = "quick", **given: Any) -> Any:
    """The command that `run` makes of these keywords."""
    entry = raysyn.catalogue()[method]
    presets, machines = entry.presets(), entry.machines()
    words = words_of(once(flat(given)), presets[preset], machines)
    return cli.read(presets, [preset, *words], machines=machines, prog="raysyn", seal=entry.seal)


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        ({"synthetic": 40}, "config.synthetic", 40),
        ({"finetune": {"learning_rate": 1e-3, "optimizer": "sgd"}}, "config.finetune.optimizer", "sgd"),
        ({"finetune.learning-rate": 1e-7}, "config.finetune.learning_rate", 1e-7),
        ({"finetune.learning_rate": 1e-7}, "config.finetune.learning_rate", 1e-7),
        ({"network": {"positions": False}}, "config.network.positions", False),
        ({"network": {"positions": True}}, "config.network.positions", True),
        ({"network.positions": False}, "config.network.positions", False),
        ({"network": {"multipliers": (1, 2, 4)}}, "config.network.multipliers", (1, 2, 4)),
        ({"network": {"multipliers": [3]}}, "config.network.multipliers", (3,)),
        ({"network": {"attention": ()}}, "config.network.attention", ()),
        ({"augment": {"magnitude": (2, 5)}}, "config.augment.magnitude", (2, 5)),
        ({"eval": {"classifiers": ()}}, "config.eval.classifiers", ()),
        # Words of a user stand beside the preset's, which they cannot take away.
        ({"tuned_on": None}, "config.tuned_on", "digits"),
        ({"tuned_on": "-5 of them, and more"}, "config.tuned_on", "digits; -5 of them, and more"),
        ({"tuned_on": "--seal"}, "config.tuned_on", "digits; --seal"),
        ({"tuned_on": " "}, "config.tuned_on", "digits"),
        ({"tuned_on": "digits; my scans"}, "config.tuned_on", "digits; my scans"),
        ({"tuned_on": "my digits; digits, twice"}, "config.tuned_on", "digits; my digits; digits, twice"),
        ({"chosen_among": "--seal"}, "config.chosen_among", "--seal"),
        ({"data": {"name": None, "path": "-x=y.parquet"}}, "config.data.path", "-x=y.parquet"),
        ({"central": {"clip_norm": None}}, "config.central.clip_norm", None),
        ({"on": {"sgd": {"channels_last": True}}}, "machines.sgd.channels_last", True),
        ({"on": {"sgd": {"channels_last": False}}}, "machines.sgd.channels_last", False),
        ({"on": {"sgd": {"channels_last": None}}}, "machines.sgd.channels_last", None),
        ({"on": {"workers": 2, "address": "auto"}}, "machines.workers", 2),
        ({"on.workers": 2}, "machines.workers", 2),
        ({"on": {"gpus_per_unit": 0.5}}, "machines.gpus_per_unit", 0.5),
        ({"dry_run": True}, "dry_run", True),
        ({"dry_run": False}, "dry_run", False),
        ({"seal": True}, "seal", True),
        ({"seal": False}, "seal", False),
        ({"out": "-odd name"}, "out", "-odd name"),
        ({"synthetic": np.int64(40)}, "config.synthetic", 40),
        ({"finetune": {"learning_rate": np.float64(0.25)}}, "config.finetune.learning_rate", 0.25),
        ({"network": {"positions": np.bool_(False)}}, "config.network.positions", False),
    ],
)
def test_keywords_have_the_names_and_types_of_the_flags(given: dict[str, Any], place: str, value: Any) -> None:
    found = read(**given)
    for name in place.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


def test_flags_that_add_up_keep_every_value_whatever_it_begins_with() -> None:
    more, vary = ("--data.no-labels", "--synthetic 90"), ("--central.count 0 10", "--private --no-private")
    entry = catalogue.find("leaderboard")
    presets, machines = entry.presets(), entry.machines()
    words = words_of({"more": more, "vary": vary, "methods": ["dp_feta"], "columns": ()}, presets["quick"], machines)
    found = cli.read(presets, ["quick", *words], machines=machines, prog="raysyn leaderboard").config
    assert (found.more, found.vary, found.methods, found.columns) == (more, vary, ("dp_feta",), ())


class Held:
    """As a table of pandas: in words it is what it holds."""

    def __str__(self) -> str:
        raise AssertionError("the customers' names")

    __repr__ = __str__


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def test_every_value_of_every_preset_comes_through_unchanged() -> None:
    for method, entry in raysyn.catalogue().items():
        for preset, config in entry.presets().items():
            given = {name: value for name, value in leaves(config) if not isinstance(value, dict)}
            assert read(method, preset, **given).config == config, (method, preset)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": {"path": Held()}}, "data.path is a Held: give a text, a path, a number, or a list of such"),
        ({"epsilon": [Held()]}, "budget.epsilon is a list that holds a Held: give"),
        ({"data": {"path": np.zeros((2, 2))}}, "data.path is a ndarray: give"),
        ({"budget": {"epsilon": [1, 10]}}, "budget.epsilon is a list: give one value"),
        ({"seed": (1,)}, "seed is a tuple: give one value"),
        ({"data": Held()}, "data is a Held: give a path"),
    ],
)
def test_what_no_flag_can_be_is_told_by_its_type_and_never_by_what_it_holds(given: dict[str, Any], said: str) -> None:
    """A table of customers and their pictures would stand in a notebook, or in a log."""
    with pytest.raises(ValueError) as refused:
        raysyn.run("noisy_means", quiet=True, **given)
    assert str(refused.value).startswith(said)
    with pytest.raises(ValueError, match=r"^source is a Held: give the path or the name of the images, as text$"):
        raysyn.account(Held())  # type: ignore[arg-type]


def test_what_is_said_twice_or_is_no_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^budget\.epsilon is given twice: say it once$"):
        raysyn.run("dp_feta", epsilon=5, budget={"epsilon": 4})
    with pytest.raises(ValueError, match=r"^data\.path is given twice: say it once$"):
        raysyn.run("dp_feta", data="a.parquet", **{"data.path": "b.parquet"})
    with pytest.raises(ValueError, match=r"^budget\.epsilon is given twice: say it once$"):
        raysyn.run("dp_feta", epsilon=5, **{"budget.epsilon": 4})
    with pytest.raises(ValueError, match=r"^finetune\.batch-size is given twice: say it once$"):
        raysyn.run("dp_feta", finetune={"batch_size": 4}, **{"finetune.batch-size": 5})
    with pytest.raises(ValueError, match=r"^out is ~/run, in which nobody has put the home folder for ~"):
        raysyn.run("dp_feta", out="~/run")
    with pytest.raises(ValueError, match=r"^on\.wokers is no flag"), raysyn.connect("here", wokers=2):
        pass


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"on": "here"}, "on is 'here': give its flags by their names, as in on={'address': 'here'}, or leave it out"),
        ({"on": 2}, "on is 2: give its flags by their names, as in on={'address': ...}, or leave it out"),
        ({"on": None}, "on is None: give its flags by their names, as in on={'address': ...}, or leave it out"),
        ({"on": {"sgd": "loop"}}, "on.sgd is 'loop': give its flags by their names, as in on.sgd={'engine': ...}, or"),
        ({"epsilon": 5, "budget": 5}, "budget is 5: give its flags by their names, as in budget={'epsilon': ...}, or"),
        ({"finetune": [3]}, "finetune is a list: give its flags by their names, as in finetune={'"),
        (
            {"data": np.zeros((3, 8, 8))},
            "data is a ndarray: give a path, the name of a data set, or its flags by their",
        ),
        (
            {"data": ["a.png"]},
            "data is a list: give a path, the name of a data set, or its flags by their names, as in",
        ),
    ],
)
def test_one_value_for_a_group_of_flags_is_told_as_that(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        raysyn.run("dp_feta", quiet=True, **given)


def test_on_is_told_alike_in_every_function() -> None:
    sentence = r"^on is 'here': give its flags by their names, as in on=\{'address': 'here'\}, or leave it out$"
    for call in (partial(raysyn.auto, "digits"), partial(raysyn.attack, "run"), partial(raysyn.run, "dp_feta")):
        with pytest.raises(ValueError, match=sentence):
            call(on="here")
    told = r"^on is 'here': connect has the flags of --on.* itself, as in connect\('here', workers=2\)$"
    with pytest.raises(ValueError, match=told), raysyn.connect(on="here"):
        pass


def test_a_method_by_its_own_name_leads_to_run() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'raysyn' has no attribute 'dp_merf': call raysyn.run\('dp_merf'"
    ):
        _ = raysyn.dp_merf
    assert not hasattr(raysyn, "__wrapped__")


def test_importing_raysyn_imports_neither_torch_nor_ray_and_names_what_it_has() -> None:
    told = "import raysyn, sys; raysyn.__version__; dir(raysyn); print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "numpy", "tyro", "sklearn"} & set(eval(done.stdout))
    rooms = {path.stem for path in Path(raysyn.__file__).parent.iterdir()}
    for name in raysyn.__all__:
        assert getattr(raysyn, name) is not None
        # Whoever imports a room of this name would have that instead, and by then a function is called.
        assert name not in rooms
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        _ = raysyn.runn


def test_a_result_is_what_was_released_and_a_run_is_continued_or_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = raysyn.run("dp_feta", epsilon=8, out=out, **TINY)
    released = read_images((out / "release/synthetic.parquet").read_bytes())
    assert np.array_equal(result.images.images_NHWC, released.images_NHWC)
    assert result.images.class_names == released.class_names and len(result.images) == 20
    assert result.certificate == json.loads((out / "release/certificate.json").read_text())
    assert result.certificate["epsilon"] <= 8 and result.report["method"] == "dp_feta"
    assert all(Path(path).exists() for path in result.paths.values()) and result.out == str(out)
    frame = result.as_frame()
    assert list(frame.columns) == ["image", "label", "split"] and frame["image"][0].startswith(b"\x89PNG")
    before = (out / "release/synthetic.parquet").read_bytes()
    again = raysyn.run("dp_feta", epsilon=8, out=out, **TINY)
    assert (out / "release/synthetic.parquet").read_bytes() == before and again.certificate == result.certificate
    assert raysyn.load(str(out)).report["privacy"] == result.report["privacy"]
    rows = raysyn.check(result.paths["release"])
    assert rows and all(row.holds for row in rows) and "epsilon" in {row.name for row in rows}
    with pytest.raises(ValueError, match=r"cannot be read .*: name .*/release$"):
        raysyn.check(str(out))
    with pytest.raises(ValueError, match="choose another --out"):
        raysyn.run("dp_feta", epsilon=7, out=out, **TINY)
    sealed = raysyn.run("dp_feta", epsilon=8, out=out, seal=True, **TINY)
    assert not (out / "internal/secret").exists() and sealed.certificate == result.certificate
    # Nothing is left to do, and the result is there.
    assert raysyn.run("dp_feta", epsilon=8, out=out, seal=True, **TINY).certificate == result.certificate


def test_a_run_is_named_by_its_path_or_by_what_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each function alike; what is none costs a sentence."""
    monkeypatch.chdir(tmp_path)
    at, small = {"address": "here"}, {"eval": {"classifiers": (), "feature_epochs": 0, "distances": 0}, "quiet": True}
    result = raysyn.run("noisy_means", out="run", data={"limit": 300}, synthetic=20, on=at, **small)
    for number, run in enumerate((result, Path("run"), "run")):
        drawn = raysyn.draw(run, out=Path(f"more{number}"), synthetic=3, on=at, quiet=True)
        assert len(drawn.images) == 3 and drawn.paths.keys() == result.paths.keys() - {"report"}
        assert raysyn.attack(run, shadow_runs=6, dry_run=True, on=at, quiet=True) == []
        assert all(row["fails"] is False for row in raysyn.audit("run", run, games=1024, only=("means",)))
    (tmp_path / "scans").mkdir()
    for source in (Path("scans"), "scans"):
        with pytest.raises(ValueError, match=r"^(?!.*\n).*scans"):
            raysyn.auto(source, epsilon=2, dry_run=True)
        with pytest.raises(ValueError, match=r"^(?!.*\n).*scans"):
            raysyn.account(source)
    with pytest.raises(ValueError, match="out is not given: say with --out where the new release goes"):
        raysyn.draw(result, out=None, synthetic=3)  # type: ignore[arg-type]
    assert not Path("None").exists()
    with pytest.raises(ValueError, match=r"^on\.addres is no flag: there are address, "):
        raysyn.attack("run", dry_run=True, on={"addres": "here"})
    with pytest.raises(ValueError, match="preset is None: give one of quick"):
        raysyn.run("noisy_means", None)  # type: ignore[arg-type]
    capsys.readouterr()


def test_a_leaderboard_has_a_table_and_runs(tmp_path: Path) -> None:
    few = {"methods": ("noisy_means",), "epsilons": (10,), "seeds": (0,), "judges": {"classifiers": ()}}
    more = "--eval.classifiers logreg --eval.epochs 1 --eval.feature-epochs 0 --eval.distances 0 --data.limit 300"
    board = raysyn.run("leaderboard", out=tmp_path, more=(more,), on={"address": "here"}, quiet=True, **few)
    assert {name: Path(place).exists() for name, place in board.paths.items()} == dict.fromkeys(
        ("table", "csv", "each", "runs"), True
    )
    for asked in (lambda: board.report, lambda: board.images, lambda: raysyn.load(str(tmp_path))):
        with pytest.raises(
            ValueError, match=r"it is a leaderboard's: name one of its runs, which lie in .*/internal/runs$"
        ):
            asked()
    (folder,) = Path(board.paths["runs"]).iterdir()
    assert raysyn.load(str(folder)).report["method"] == "noisy_means"


def test_a_dry_run_shows_the_plan_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = raysyn.run("dp_feta", out=tmp_path / "run", dry_run=True, **TINY | {"quiet": False})
    assert "Plan for digits" in capsys.readouterr().out and not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"holds no internal/report\.json: name the folder of a finished run"):
        _ = planned.report
    with pytest.raises(ValueError, match=r"out is .*, which holds no internal/report\.json"):
        raysyn.load(str(tmp_path / "run"))
    with pytest.warns(UserWarning, match="^central images would be mostly noise: each is made of about 20 images"):
        assert raysyn.run("dp_feta", out=tmp_path / "run", dry_run=True, **TINY).out == str(tmp_path / "run")
    few = {"sampler": {"steps": 8}, "sampler_fid": {"name": "edm", "steps": 4}}
    with pytest.warns(UserWarning, match=r"^sampler_fid\.steps is 4, of which edm overshoots and draws rubbish"):
        raysyn.run("dp_feta", out=tmp_path / "run", dry_run=True, **TINY | few)
    assert capsys.readouterr().out == "", "quiet"


def test_a_dry_run_answers_with_what_the_run_would_say_that_it_paid(tmp_path: Path) -> None:
    asked = {**TINY, "epsilon": 3}
    with pytest.warns(UserWarning, match="central images would be mostly noise"):
        plan = raysyn.run("dp_feta", out=tmp_path / "run", dry_run=True, **asked).plan
    assert plan is not None and (plan["method"], plan["preset"], plan["n"]) == ("dp_feta", "quick", 200)
    assert json.loads(json.dumps(plan)) == plan, "plain values"
    with pytest.warns(UserWarning, match="central images would be mostly noise"):
        made = raysyn.run("dp_feta", out=tmp_path / "run", **asked)
    assert made.plan is None and (plan["guarantee"], plan["unit"]) == ("dp", "image")
    promised, paid = made.certificate, made.certificate["ledger"]
    assert [row["stage"] for row in plan["stages"]] == [row["stage"] for row in paid]
    for planned, row in zip(plan["stages"], paid, strict=True):
        assert all(planned[name] == row[name] for name in ("noise_multiplier", "sampling_rate", "steps", "mechanism"))
    assert plan["delta"] <= promised["delta"] and plan["epsilon"] <= promised["epsilon"] <= 3
    assert 2.9 < plan["epsilon"] < 1.0001 * 3 and plan["adjacency"] == promised["adjacency"]
    assert plan["most_right_guesses"] == promised["what_an_attacker_can_do"]["most_right_guesses"]
    assert {"warmup", "finetune"} <= set(plan["seconds"]) and all(spent >= 0 for spent in plan["seconds"].values())


def test_a_dry_run_without_a_guarantee_says_so(tmp_path: Path) -> None:
    plan = raysyn.run("pigan", out=tmp_path / "run", dry_run=True, quiet=True, on={"address": "here"}).plan
    assert plan is not None and (plan["guarantee"], plan["n"], plan["unit"]) == ("none", 449, "image")
    assert "epsilon" not in plan and "stages" not in plan and plan["seconds"]


def test_images_that_were_drawn_anew_are_loaded_without_a_report(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    (release / "certificate.json").write_text(json.dumps({"guarantee": "dp"}))
    with pytest.raises(ValueError, match=r"which holds no internal/report\.json"):
        raysyn.load(str(tmp_path))
    (release / "certificate.json").write_text(json.dumps({"guarantee": "dp", "drawn_anew": {"of": {}}}))
    loaded = raysyn.load(str(tmp_path))
    assert loaded.certificate["guarantee"] == "dp"
    with pytest.raises(ValueError, match=r"drawn from a run: it has no report, see that of the run$"):
        _ = loaded.report


def test_a_quiet_run_warns_all_the_same() -> None:
    said = io.StringIO("  images are read\nWARNING: the target looks untrained.\n✓ attack\n")
    with pytest.warns(UserWarning, match=r"^the target looks untrained\.$") as given:
        door._warn(said)
    assert len(given) == 1


def test_a_group_that_may_be_left_out_can_be_none() -> None:
    """As --sampler-fid None; what cannot be left out is told by its name in Python."""
    config = catalogue.find("dp_feta").presets()["paper-mnist-eps1"]
    assert config.sampler_fid is not None
    assert words_of({"sampler-fid": None}, config, None) == ["--sampler-fid=None"]
    with pytest.raises(ValueError, match=r"^sampler_fid is 3: give its flags by their names, as in sampler_fid=\{"):
        words_of({"sampler-fid": 3}, config, None)
    with pytest.raises(ValueError, match=r"^sampler is None: "):
        words_of({"sampler": None}, config, None)
