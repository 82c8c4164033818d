"""examples/own_method: found by its entry point, run by command, on Ray, in the leaderboard and from Python."""

from __future__ import annotations

import csv
import html
import importlib
import inspect
import json
import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from installed import OWN, ROOT, Install

import raysyn
from raysyn import command
from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods import catalogue, ends
from raysyn.methods.bearing import bearable_noise
from raysyn.privacy import units
from raysyn.privacy.cost import LEAST_NOISE, Budget, Cost
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.report.terms import FOREIGN
from raysyn.report.verify import main as verify
from raysyn.runs import may_leave
from raysyn.runs.versions import version

TINY = "--data.limit 200 --means 2 --synthetic 40 --eval.classifiers logreg --eval.epochs 1 --eval.feature-epochs 0"
PAGE = ROOT / "docs/own_method.md"
HERE = [*TINY.split(), "--on.address", "here"]


def test_it_has_at_most_80_lines_and_the_entry_point_that_the_tests_stand_in_for() -> None:
    assert sum(len(file.read_text().splitlines()) for file in OWN.rglob("*.py")) <= 80
    assert '[project.entry-points."raysyn.methods"]\nmeans = "means:ENTRY"\n' in (OWN / "pyproject.toml").read_text()


def test_an_installed_method_is_run_and_listed_by_the_command(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process; the leaderboard below runs it in one of its own."""
    install()
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", "quick", *HERE, "--budget.epsilon", "4", "--out", "run"]) == 0
    assert capsys.readouterr().err == ""
    shown = json.loads((tmp_path / "run/release/certificate.json").read_text())
    assert shown["made_by"]["method"] == "means" and 3.9 < shown["epsilon"] <= 4
    # Nothing of it is said as if it were raysyn's own.
    assert shown["made_by"]["package"] == "means 0.1"
    assert FOREIGN.format("means 0.1") in shown["does_not_cover"]
    for file in ("README.md", "croissant.json", "disclosure.json", "certificate.html"):
        told = (tmp_path / "run/release" / file).read_text()
        assert f"means of means 0.1, run by raysyn {version()}" in told.replace("\\", ""), file
    assert "As the code of its method says (" in (tmp_path / "run/release/disclosure.json").read_text()
    (paid,) = shown["ledger"]
    assert (paid["stage"], paid["steps"], paid["sampling_rate"]) == ("means", 2, 1.0)
    assert any("digits" in choice for choice in shown["uncharged_choices"])
    assert verify([str(tmp_path / "run/release")]) == 0
    capsys.readouterr()
    assert command.main(["methods"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^means\n  Noisy class means.*\n.*\n  guarantee +\(ε, δ\)-DP\n", listed, re.M)


def test_it_is_a_function_of_python_and_continues_what_it_began(install: Install, tmp_path: Path) -> None:
    install()
    flags = {"data": {"limit": 200}, "means": 2, "synthetic": 40, "on": {"address": "here"}, "out": tmp_path / "run"}
    judged = {"classifiers": (), "feature_epochs": 0}
    result = raysyn.run("means", epsilon=4, eval=judged, quiet=True, **flags)
    assert len(result.images) == 40 and result.images.labels_N.tolist() == [i % 10 for i in range(40)]
    assert result.report["privacy"]["epsilon"] <= 4 and result.report["method"] == "means"
    # Blends of one class's two means, and not of others.
    assert len(np.unique(result.images.images_NHWC, axis=0)) > 20
    again = raysyn.run("means", epsilon=4, eval=judged | {"classifiers": ("logreg",), "epochs": 1}, quiet=True, **flags)
    assert np.array_equal(again.images.images_NHWC, result.images.images_NHWC) and again.report["metrics"]["utility"]
    with pytest.raises(ValueError, match="means is 0: give at least 1"):
        raysyn.run("means", quiet=True, **flags | {"means": 0})
    with pytest.raises(ValueError, match="choose another --out"):
        raysyn.run("means", epsilon=5, quiet=True, **flags)


@pytest.mark.timeout(200)
def test_its_units_are_fanned_out_on_ray(install: Install, ray_session: None, tmp_path: Path) -> None:
    install()
    out = str(tmp_path / "run")
    assert command.main(["means", "quick", *TINY.split(), "--on.workers", "1", "--out", out]) == 0
    same = raysyn.run("means", quiet=True, out=tmp_path / "again", on={"address": "here"}, data={"limit": 200}, means=2,
                      synthetic=40, eval={"classifiers": (), "feature_epochs": 0})  # fmt: skip
    # Another run has another secret.
    first = raysyn.load(out)
    assert first.report["environment"]["workers"] == 1 and len(first.images) == len(same.images) == 40
    assert not np.array_equal(first.images.images_NHWC, same.images.images_NHWC)
    assert (Path(out) / "internal/units/synthesise").is_dir(), "answers of Ray's tasks"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_stands_in_the_leaderboard(
    install: Install, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose run is a process of its own."""
    install()
    monkeypatch.chdir(tmp_path)
    told = ["--methods", "means", "--epsilons", "8", "--seeds", "0", f"--more={TINY}", "--on.address", "here"]
    told += ["--judges.classifiers", "logreg", "--judges.epochs", "1"]
    assert command.main(["leaderboard", "quick", *told, "--out", "board"]) == 0
    assert capfd.readouterr().err == ""
    (row,) = csv.DictReader((tmp_path / "board/internal/table.csv").read_text().splitlines())
    assert (row["method"], row["guarantee"], row["epsilon_asked"]) == ("means", "dp", "8.0")
    assert 0 < float(row["epsilon"]) <= 8


ENTRY = (
    "from raysyn.methods.catalogue import Entry\n"
    "ENTRY = Entry(name={name!r}, summary='x.', guarantee='dp', settings='s', work='w')\n"
)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("odd", "ENTRY = 3\n", "is of type int, and not raysyn.methods.catalogue.Entry"),
        ("odd", "x = 3\n", "cannot be loaded (AttributeError: module 'odd' has no attribute 'ENTRY')"),
        ("odd", "import nothing_such\n", "cannot be loaded (ModuleNotFoundError: No module named 'nothing_such')"),
        ("odd", "ENTRY = \n", "cannot be loaded (SyntaxError: invalid syntax"),
        ("odd", ENTRY.format(name="even"), "calls its method 'even': give entry point and Entry one name"),
        ("Odd", ENTRY.format(name="Odd"), "of lower case, digits and underscores"),
        ("pigan", ENTRY.format(name="pigan"), "brings a second pigan: uninstall it, or have it choose another name"),
        ("lira", ENTRY.format(name="lira"), "brings a second lira"),
    ],
)
def test_a_broken_entry_point_costs_one_sentence_that_names_its_package(
    install: Install, capsys: pytest.CaptureFixture[str], name: str, source: str, words: str
) -> None:
    install(name, **{name: source})
    for asked in (["methods"], ["--help"], ["nothing_such", "quick"]):
        with pytest.raises(SystemExit) as left:
            command.main(asked)
        said = capsys.readouterr().err
        assert left.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1, said
        assert words in said and f"entry point {name} = {name}:ENTRY of package {name} " in said, said
    # What comes with raysyn works beside it, for the command too, and is not taken over.
    with pytest.raises(SystemExit) as left:
        command.main(["dp_feta", "quick", "--help"])
    assert left.value.code == 0 and "budget.epsilon" in capsys.readouterr().out
    assert catalogue.find(name if name in ("pigan", "lira") else "dp_feta").settings.startswith("raysyn.methods.")


WHOLE = ["quick", *HERE, "--out", "run"]


@pytest.mark.parametrize(
    ("file", "old", "new", "status", "words"),
    [
        (
            "method",
            "return finish(",
            "return None\n    finish(",
            1,
            "means ended without a report and perhaps without a release",
        ),
        (
            "method",
            '.pay("means", answer())',
            '.pay("means", answer().value)',
            1,
            "'means' is paid with a Images, which",
        ),
        (
            "method",
            'setting.ledger.pay("means", answer())',
            "answer().value",
            1,
            "or `run` never paid for it by ledger",
        ),
        (
            "method",
            'pack(setting.ledger.pay("means", answer()))',
            'setting.ledger.pay("means", answer()).images_NHWC',
            1,
            "stage means answers a ndarray, which is not stored: give tensors (torch.from_numpy",
        ),
        ("method", "central=means,", "central=means.images_NHWC,", 1, "was given central of type ndarray: give raysyn"),
        ("method", '"means", synthetic,', '"means", synthetic.images_NHWC,', 1, "was given synthetic of type ndarray"),
        ("method", '"means", synthetic,', '"means", None,', 1, "was given synthetic of type NoneType"),
        (
            "method",
            'done=[f"Blended {len(means)} noisy class means."]',
            'done="Blended."',
            1,
            "finish was given done='Blended.': give a list of sentences",
        ),
        ("method", 'METHOD = Method(name="means"', 'METHOD = Method(name="others"', 2, "is called 'others': give it"),
        ("method", "plan=plan, ", "", 2, "guarantee='dp', but its `prepare` answers no plan"),
        (
            "method",
            "(config.budget, n, ",
            "(config.budget, 100, ",
            2,
            "the plan is for n = 100, but there are 200 images",
        ),
        ("method", "PRESETS = {", "OTHERS = {", 2, "PRESETS of means.method, which its Entry names as 'settings'"),
        (
            "method",
            "    means: int = 4\n",
            "    means: int = 4\n    table: dict = None\n",
            2,
            "means: means.method, preset quick: table, a field of Config: no flag is of type <class 'dict'>: use str",
        ),
        ("method", "synthetic=1000,", "synthetic=1000, means='4',", 2, "'<' not supported"),
        ("method", "synthetic=1000,", "synthetic=1000, means=4.5,", 2, "preset quick: means is 4.5: give a whole num"),
        ("__init__", 'guarantee="dp"', 'guarantee="none"', 2, "guarantee='none', but its `prepare` answers a plan"),
        ("__init__", 'guarantee="dp"', 'guarantee="DP"', 2, "says guarantee='DP': give one of dp, none, either"),
        ("__init__", 'settings="means.method"', 'settings="means.settings"', 2, "No module named 'means.settings'"),
    ],
)
def test_a_mistake_in_a_method_costs_one_sentence(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str,
    old: str, new: str, status: int, words: str,
) -> None:  # fmt: skip
    place = install() / "means" / f"{file}.py"
    source = place.read_text()
    assert old in source
    place.write_text(source.replace(old, new))
    monkeypatch.chdir(tmp_path)
    try:
        left = command.main(["means", *WHOLE])
    except SystemExit as ended:
        left = ended.code
    said = capsys.readouterr().err
    assert left == status and said.startswith("error: ") and said.count("\n") == 1 and words in said, said


@pytest.mark.parametrize(("given", "certified"), [("pigan", "means"), ("means-blend", "means-blend")])
def test_a_release_names_its_own_method_or_a_kind_of_it(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: str,
    certified: str,
) -> None:  # fmt: skip
    """What was paid for by then is released all the same."""
    place = install() / "means" / "method.py"
    place.write_text(place.read_text().replace('finish(setting, "means"', f'finish(setting, "{given}"'))
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", *WHOLE]) == 0
    assert json.loads((tmp_path / "run/release/certificate.json").read_text())["made_by"]["method"] == certified
    assert (f"certified as {certified}." in capsys.readouterr().out) == (given != certified)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("method", "PRESETS = {", "OTHERS = {", "means: PRESETS of means.method"),
        ("__init__", 'settings="means.method"', 'settings="means.settings"', "No module named 'means.settings'"),
        ("__init__", 'guarantee="dp"', 'guarantee="DP"', "says guarantee='DP': give one of dp, none, either"),
    ],
)
@pytest.mark.parametrize("asked", [["methods"], ["completion", "bash"]])
def test_who_looks_at_all_methods_is_told_which_package_is_broken(
    install: Install, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str, asked: list[str]
) -> None:
    place = install() / "means" / f"{file}.py"
    place.write_text(place.read_text().replace(old, new))
    with pytest.raises(SystemExit) as left:
        command.main(asked)
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1 and words in said, said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("images.float()", "float32 (40, 8, 8, 1), for 40 labels of images (8, 8, 1)"),
        ("images[1:]", "uint8 (39, 8, 8, 1), for 40 labels"),
        ("images[..., 0]", "uint8 (40, 8, 8), for 40 labels"),
        ("images.permute(0, 3, 1, 2)", "uint8 (40, 1, 8, 8), for 40 labels"),
        ("images.numpy()", "a NumPy array, uint8 (40, 8, 8, 1), for 40 labels"),
        ("(images, labels_N.astype(float))", "a tuple, for 40 labels"),
        ("None", "None, for 40 labels"),
    ],
)
def test_what_draw_answers_wrongly_is_told_beside_what_it_should(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str,
    words: str,
) -> None:  # fmt: skip
    place = install() / "means/method.py"
    source = place.read_text().replace("    return torch.from_numpy(", "    images = torch.from_numpy(")
    place.write_text(source.replace(".astype(np.uint8))\n", f".astype(np.uint8))\n    return {answer}\n"))
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", *WHOLE]) == 1
    said = capsys.readouterr().err
    assert said == f"error: draw answered {words}{'' if 'of images' in words else ' of images (8, 8, 1)'}: give a " \
        "torch tensor, uint8 (N, H, W, C); what was paid is spent\n"  # fmt: skip


FIGURE = """
import matplotlib.figure
from raysyn.report import figures, pictures
from raysyn.report.section import Section
"""


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("[1 / 0]", "`sections` has failed (ZeroDivisionError: division by zero)"),
        ("3", "`sections` has failed (TypeError: 'int' object is not iterable)"),
        ("['text']", "a part of the page is a str: give raysyn.report.section.Section"),
        ("[Section(title='P', picture='fig.svg')]", "the picture of the part 'P' is fig.svg: give a data URI"),
        ("[Section(title='P', picture='<svg></svg>')]", "the picture of the part 'P' is <svg></svg>: give a data URI"),
        ("[Section(title='P', picture=matplotlib.figure.Figure())]", "the picture of the part 'P' is a Figure: give"),
        ("[Section(title='P', strips=[('s', b'png')])]", "the picture of the part 'P' is a bytes: give a data URI"),
        ("[Section(title='P', strips=[1])]", "the part 'P' cannot be shown (TypeError: "),
        ("[Section(title='P', rows=3)]", "the part 'P' cannot be shown ("),
        ("[Section(title='P', picture=figures.uri(matplotlib.figure.Figure()))]", ""),
        ("[Section(title='P', picture=pictures.png_uri(means.images_NHWC[0]), rows=[['a'], [1.5]])]", ""),
        ("[replace(brightness(means), title='P')]", ""),
    ],
)
def test_a_part_of_the_page_that_cannot_be_shown_costs_a_sentence_and_no_report(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, made: str,
    words: str,
) -> None:  # fmt: skip
    place = install() / "means/method.py"
    source = place.read_text().replace("central=means, ", f"central=means, sections=lambda: {made}, ")
    shown = f"{FIGURE}{of_the_page('a part of the page')}"
    place.write_text(source.replace("import numpy as np\n", f"{shown}import numpy as np\n"))
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", *WHOLE]) == 0
    said = " ".join(capsys.readouterr().out.split())
    page = html.unescape((tmp_path / "run/internal/report.html").read_text())
    assert ("WARNING: " in said) == bool(words) and ("Parts that are missing" in page) == bool(words)
    assert words in said and words in page and ("<h2>P</h2>" in page) == (not words)


DRAWN = """
from raysyn.methods.network import Network


def drawing(config, like, n, answer):
    return Drawing(blend, unpack(answer({stage!r}), like), f"blends of {{config.means}} noisy means")


def parts(config, answer):
    return {{"means": answer("means")}}


METHOD = replace(METHOD, drawing=drawing, network=Network({settings}, parts))
"""


@pytest.mark.parametrize(
    ("stage", "settings", "words"),
    [("means", ("classes", "seed"), "asks for the setting means: name it in Network.settings"),
     ("others", ("seed", "means"), "`drawing` cannot do with Network.parts (KeyError: 'others')"),
     ("means", ("means", "seed", "synthetic"), "")],
)  # fmt: skip
def test_a_network_that_lacks_what_is_drawn_by_does_not_leave(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stage: str,
    settings: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    """Images would be drawn from it that are others, or none; those of the run leave."""
    monkeypatch.setattr(may_leave, "SETTINGS", (*may_leave.SETTINGS, "means"))
    place = install() / "means/method.py"
    place.write_text(place.read_text() + DRAWN.format(stage=stage, settings=settings))
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", *WHOLE, "--release.network"]) == (1 if words else 0)
    said = capsys.readouterr().err
    if words:
        assert said.startswith("error: release.network is True, but ") and said.count("\n") == 1 and words in said
        assert not (tmp_path / "run/release").exists()
        assert command.main(["means", *WHOLE]) == 0
    assert (tmp_path / "run/release/synthetic.parquet").exists()
    assert (tmp_path / "run/release/network.json").exists() == (not words)


def test_whoever_draws_from_a_release_is_told_of_a_setting_that_it_lacks(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of one by a package that has changed since."""
    monkeypatch.setattr(may_leave, "SETTINGS", (*may_leave.SETTINGS, "means"))
    place = install() / "means/method.py"
    source = place.read_text() + DRAWN.format(stage="means", settings=("means", "seed"))
    place.write_text(source)
    monkeypatch.chdir(tmp_path)
    assert command.main(["means", *WHOLE, "--release.network"]) == 0
    further = {"synthetic": 20, "on": {"address": "here"}, "quiet": True}
    assert len(raysyn.draw("run/release", out="more", **further).images) == 20
    place.write_text(source.replace("{config.means} noisy", "{config.synthetic} noisy"))
    for module in ("means", "means.method"):
        sys.modules.pop(module, None)
    with pytest.raises(ValueError, match=r"asks for the setting synthetic: name it in Network\.settings"):
        raysyn.draw("run/release", out="others", **further)


def test_a_run_is_not_continued_by_edited_code(install: Install, tmp_path: Path) -> None:
    """Which might ask the private images anew, with the noise of the old answer."""
    package = install()
    flags = {"data": {"limit": 200}, "means": 2, "synthetic": 40, "on": {"address": "here"}, "out": tmp_path / "run"}
    judged = {"classifiers": (), "feature_epochs": 0}
    raysyn.run("means", eval=judged, quiet=True, **flags)
    # Of a module that nothing has loaded yet, too.
    (package / "means" / "later.py").write_text("# what `run` would import\n")
    with pytest.raises(ValueError, match="holds a run of means by other code, as a file of its package has"):
        raysyn.run("means", eval=judged, quiet=True, **flags)


def of_the_page(name: str) -> str:
    """A block of code, by its first line."""
    (source,) = re.findall(rf"```python\n *# {name}\n(.*?)```", PAGE.read_text(), re.S)
    return textwrap.dedent(source)


@pytest.fixture
def made(install: Install) -> ModuleType:
    """The mechanism of the page, where the page says that it lies."""
    (install() / "means/mechanism.py").write_text(of_the_page("means/mechanism.py"))
    return importlib.import_module("means.mechanism")


def named(config: DataConfig) -> Dataset:
    """The same images, each five of one person."""
    dataset = load(config)
    persons_N = np.arange(len(dataset.train)) // 5
    return replace(dataset, train=replace(dataset.train, persons_N=persons_N))


@pytest.mark.parametrize("persons", [False, True])
def test_the_example_takes_persons_and_so_does_a_mechanism_of_the_pages(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persons: bool
) -> None:
    """The example as it is, then with what the page says of a mechanism of one's own in place of its question."""
    place = install() / "means"
    mechanism, around = map(of_the_page, ("means/mechanism.py", "in method.py"))
    judged = {"data": {"limit": 600}, "synthetic": 40, "eval": {"classifiers": (), "feature_epochs": 0}}
    units_there = 120 if persons else 600
    for name in ("example", "page"):
        if name == "page":
            (place / "mechanism.py").write_text(mechanism)
            source = (place / "method.py").read_text()
            instead = "from means.mechanism import image_sum, price\n\n" + around + textwrap.dedent(
                """
                def repeat(chunk, mean):
                    return mean.expand(len(chunk[1]), *mean.shape).contiguous()

                def run(setting):
                    private = setting.dataset.train
                    mean = (ask(setting) / private.units).clamp(0, 1).mul(255).round().byte().reshape(private.shape)
                    synthetic = synthesise(setting, Drawing(repeat, mean, "the mean"))
                    return finish(setting, "means", synthetic, done=["Asked."])

                """
            )  # fmt: skip
            (place / "method.py").write_text(source.replace("PRESETS = {", f"{instead}\nPRESETS = {{"))
            for module in ("means", "means.method"):
                sys.modules.pop(module, None)
        with monkeypatch.context() as patch:
            if persons:
                patch.setattr(ends, "load", named)
            made = raysyn.run("means", out=tmp_path / name, on={"address": "here"}, quiet=True, **judged)
        signed = made.certificate
        assert [row["stage"] for row in signed["ledger"]] == ["sum" if name == "page" else "means"]
        assert ("one person" if persons else "one image") in signed["adjacency"]
        assert signed["delta"] == pytest.approx(1 / (10 * units_there))


def test_the_mechanism_of_the_page_says_what_it_takes(made: ModuleType) -> None:
    """To whoever checks types: every argument and every answer."""
    for function in (made.price, made.sensitivity, made.image_sum, made.asked):
        assert set(inspect.signature(function).parameters) | {"return"} == set(function.__annotations__)
    with pytest.raises(AssertionError, match="as the plan found it"):
        private = Images(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64), ("a",))
        made.image_sum(private, replace(made.price(private, 1.0), noise_multiplier=None), Stream(bytes(32), "s"))


@pytest.mark.parametrize("persons", [False, True])
def test_the_plan_of_two_questions_of_the_page_spends_its_budget_by_shares(made: ModuleType, persons: bool) -> None:
    dataset = (named if persons else load)(DataConfig())
    budget = Budget(epsilon=4.0)
    names: dict[str, Any] = {
        "dataset": dataset, "config": SimpleNamespace(budget=budget), "price": made.price, "units": units,
        "bearable_noise": bearable_noise, "Plan": Plan,
    }  # fmt: skip
    exec(of_the_page("in prepare, of two questions"), names)
    plan = names["plan"]
    assert 3.99 < plan.epsilon() <= 4 * (1 + 1e-6) and list(plan.stages) == ["first", "second"]
    first, second = (1 / plan.noise(stage) ** 2 for stage in plan.stages)
    assert first / (first + second) == pytest.approx(0.2, rel=0.01)
    units.check_plan(plan, dataset.train)


def test_the_mechanism_of_the_page_is_one(made: ModuleType) -> None:
    rng = np.random.default_rng(0)
    private = Images(rng.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8), np.zeros(50, np.int64), ("a",))
    blank = Images(private.images_NHWC * (np.arange(50) != 3)[:, None, None, None], private.labels_N, ("a",))
    absent = replace(private, absent_U=np.arange(50) == 3)
    price = made.price(private, 2.0)
    first, second, third = (made.image_sum(one, price, Stream(bytes(32), "s")) for one in (private, blank, absent))
    # The same noise on all: what is left is one image's share, at most the sensitivity that was priced.
    assert 0 < np.linalg.norm(first.value - second.value) <= 4.0
    np.testing.assert_allclose(second.value, third.value)
    again = made.image_sum(private, price, Stream(bytes(31) + b"1", "s"))
    spread = np.std((again.value - first.value) / 2**0.5)
    assert 4 < spread < 14 and first.cost.noise_multiplier == 2.0


def test_the_game_of_the_page_tells_noise_that_is_too_small(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    test: dict[str, Any] = {}
    exec(of_the_page("test_mechanism.py"), test)
    for images in (1, 3):
        test["test_it_is_as_noisy_as_it_claims"](images)
    ask = made.image_sum

    def quieter(private: Images, cost: Cost, stream: Stream) -> Release[Any]:
        return ask(private, replace(cost, noise_multiplier=max(cost.noise_multiplier / 2, LEAST_NOISE)), stream)

    monkeypatch.setattr(made, "image_sum", quieter)
    with pytest.raises(AssertionError):
        test["test_it_is_as_noisy_as_it_claims"](1)
    # A person's images that are summed are more than what was priced.
    monkeypatch.setattr(made, "image_sum", ask)
    monkeypatch.setattr(made.units, "weights", lambda private: np.ones(len(private)))
    test["test_it_is_as_noisy_as_it_claims"](1)
    with pytest.raises(AssertionError):
        test["test_it_is_as_noisy_as_it_claims"](3)


def test_the_page_shows_the_example_as_it_is() -> None:
    page = PAGE.read_text()
    shown = re.findall(r"```python\n# (means/\w+\.py)\n(.*?)```", page, re.S)
    assert [name for name, _ in shown] == ["means/__init__.py", "means/method.py"]
    for name, source in shown:
        assert source == (OWN / name).read_text(), f"docs/own_method.md shows another {name}"


def test_the_tests_of_the_page_pass(install: Install, tmp_path: Path) -> None:
    install()
    tests: dict[str, Any] = {}
    exec(of_the_page("test_means.py"), tests)
    names = [name for name in tests if name.startswith("test_")]
    for name in names:
        (tmp_path / name).mkdir()
        tests[name](tmp_path / name)
    assert len(names) == 3
