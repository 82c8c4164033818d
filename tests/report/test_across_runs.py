"""Tables over several runs: Knowledge Recycling's are those of the paper, whatever folder the runs are found in."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from report_stand_in import report

from raysyn.report import across_runs, trade_off
from raysyn.report.figures import charts
from raysyn.report.report import main
from raysyn.report.tables import table
from raysyn.runs.storage import folders_in

# Table 2 of the paper: accuracy, AUC and AOP of teacher and student, in percent.
PAPER = {
    "CIFAR10": (96.24, 95.83, 63.10, 51.98, 60.42, 88.80),
    "CIFAR100": (77.65, 74.92, 80.76, 55.46, 29.76, 60.90),
    "FashionMNIST": (95.94, 95.21, 57.80, 51.20, 71.72, 90.81),
    "BloodMNIST": (97.49, 96.26, 56.31, 50.99, 76.81, 92.59),
    "DermaMNIST": (79.50, 76.46, 79.75, 51.57, 31.25, 71.91),
    "OrganCMNIST": (93.16, 90.23, 69.99, 59.29, 47.54, 64.13),
    "OrganSMNIST": (79.78, 78.76, 66.19, 58.18, 45.52, 58.10),
    "PneumoniaMNIST": (86.54, 86.70, 58.88, 57.36, 62.49, 65.90),
    "RetinaMNIST": (54.25, 55.00, 56.13, 52.33, 43.02, 50.22),
}


def recycled(name: str, figures: tuple[float, ...], attacked: bool = True) -> dict[str, Any]:
    """report.json of a run of Knowledge Recycling with these figures."""
    content = report(dp=False).as_dict()
    shares = [figure / 100 for figure in figures]
    content |= {"method": "knowledge_recycling", "dataset": content["dataset"] | {"name": name}, "attacks": {}}
    tuned = {"standard_deviation": 1.4, "regeneration_rate": 9, "cardinality_scale": 8, "delta_cas": 0.0202}
    useful = {"resnet14": {"accuracy": shares[1], "accuracy_real_data": shares[0]}}
    content["metrics"] |= {"utility": useful, "table_1": tuned}
    if attacked:
        leaked = {"teacher": (shares[2], shares[4]), "student": (shares[3], shares[5])}
        content["attacks"] = {
            model: dict(zip(("best_auc", "best_aop"), told, strict=True)) for model, told in leaked.items()
        }
        content["attacks"]["shadow_models"] = {}
    return content


def write(folder: Path, content: dict[str, Any] | None, begun: bool = True) -> Path:
    """A run folder, as far as a table looks at it."""
    (folder / "internal").mkdir(parents=True)
    if begun:
        (folder / "internal/run.json").write_text("{}")
    if content is not None:
        (folder / "internal/report.json").write_text(json.dumps(content))
    return folder


def rows_of(table: across_runs.Table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_the_papers_own_figures_give_the_papers_table_2() -> None:
    """Min, mean and max as printed there; but of AOP, where the paper prints 12.58 and 28.60 for its smallest and mean
    improvement, while its rows have 3.41 (PneumoniaMNIST) and 19.43."""
    runs = [(name, recycled(name, figures)) for name, figures in PAPER.items()]
    rows = rows_of(across_runs.table_2(runs))
    for name, figures in PAPER.items():
        assert [float(cell.strip("*")) for cell in rows[name]] == pytest.approx(figures), name
    assert rows["CIFAR10"] == ["**96.24**", "95.83", "63.10", "**51.98**", "60.42", "**88.80**"]
    assert rows["RetinaMNIST"][:2] == ["54.25", "**55.00**"]
    assert rows["Min improvement"] == ["-", "-3.04", "-", "-1.52", "-", "+3.41"]
    assert rows["Mean improvement"] == ["-", "-1.24", "-", "-11.17", "-", "+19.43"]
    assert rows["Max improvement"] == ["-", "+0.75", "-", "-28.18", "-", "+40.66"]


def test_the_vanilla_generator_has_rows_of_its_own_and_no_part_in_the_improvements() -> None:
    runs = [(name, recycled(name, PAPER["CIFAR10"])) for name in ("cifar10", "cifar10")]
    runs[1][1]["config"] |= {"gan": {"hinge": True}, "network": {"output": "tanh"}}
    runs[1][1]["metrics"]["utility"]["resnet14"]["accuracy"] = 0.5
    rows = rows_of(across_runs.table_2(runs))
    assert rows["cifar10, vanilla BigGAN-deep"][1] == "50.00" and rows["cifar10"][1] == "95.83"
    assert rows["Min improvement"] == rows_of(across_runs.table_2(runs[:1]))["Min improvement"]
    assert list(rows_of(across_runs.table_1(runs))) == ["Data set", "cifar10", "cifar10, vanilla BigGAN-deep"]


def test_table_1_has_what_tuning_found() -> None:
    table = across_runs.table_1([("run", recycled("CIFAR10", PAPER["CIFAR10"]))])
    assert rows_of(table)["CIFAR10"] == ["1.40", "9", "8", "+2.02"]


def test_a_run_without_the_attack_leaves_the_improvements_to_the_others() -> None:
    bare = recycled("bare", PAPER["DermaMNIST"], attacked=False)
    rows = rows_of(across_runs.table_2([("a", bare), ("b", recycled("whole", PAPER["CIFAR10"]))]))
    assert rows["bare"] == ["**79.50**", "76.46", "-", "-", "-", "-"]
    assert rows["Mean improvement"] == ["-", "-1.73", "-", "-11.12", "-", "+28.38"]
    alone = rows_of(across_runs.table_2([("a", bare)]))
    assert alone["Max improvement"] == ["-", "-3.04", "-", "-", "-", "-"]


def test_equal_figures_are_neither_better() -> None:
    rows = rows_of(across_runs.table_2([("a", recycled("even", (80.0, 80.0, 50.0, 50.0, 80.0, 80.0)))]))
    assert not any("*" in cell for cell in rows["even"]) and rows["Min improvement"][1] == "+0.00"


def test_runs_on_one_data_set_are_told_apart_by_their_folders() -> None:
    contents = [recycled(name, PAPER["CIFAR10"]) for name in ("digits", "digits", "mnist")]
    places = ["runs/one/", "s3://bucket/runs/two?region=eu", "runs/three"]
    rows = rows_of(across_runs.table_1(list(zip(places, contents, strict=True))))
    assert list(rows) == ["Data set", "digits (one)", "digits (two)", "mnist"]


@pytest.mark.parametrize("uri", [False, True])
def test_one_folder_of_runs_is_as_good_as_their_names(
    tmp_path: Path, uri: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison's runs are found, too; what has not ended is named and left out; the rest is no run."""
    runs = [write(tmp_path / "all" / name, recycled(name, figures)) for name, figures in list(PAPER.items())[:2]]
    board = write(tmp_path / "all/zboard", None)
    runs.append(write(board / "internal/runs/blood", recycled("BloodMNIST", PAPER["BloodMNIST"])))
    (tmp_path / "all/notes").mkdir()
    (tmp_path / "all/.hidden").mkdir()
    prefix = "file://" if uri else ""
    assert main([f"{prefix}{run}" for run in runs]) == 0
    named = capsys.readouterr()
    assert named.err == "" and "**60.42**" not in named.out and "| CIFAR100" in named.out
    begun = write(tmp_path / "all/begun", None)
    assert main([f"{prefix}{tmp_path}/all"]) == 0
    found = capsys.readouterr()
    assert found.out == named.out
    assert found.err == f"not finished, and left out: {prefix}{begun}\n"
    # None that has ended: nothing to show.
    assert main([f"{prefix}{begun}"]) == 2
    assert f"error: {prefix}{begun}/internal/report.json is missing" in capsys.readouterr().err
    drawn = write(tmp_path / "all/drawn", None)
    (drawn / "internal/run.json").write_text('{"method": "draw of dp_feta"}')
    assert main([f"{prefix}{tmp_path}/all"]) == 0
    said = f"{prefix}{begun}\ndrawn from a run, without a report, and left out: {prefix}{drawn}\n"
    assert capsys.readouterr().err == f"not finished, and left out: {said}"
    assert main([f"{prefix}{drawn}"]) == 2 and "not finished" not in capsys.readouterr().err
    assert main([f"{prefix}{tmp_path}/all", str(tmp_path / "all/notes")]) == 2
    assert main([]) == main(["--columns", "privacy.epsilon", str(runs[0])]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "error: no run folder given: name the folders (--out) of finished runs",
        "error: no run folder given: name the runs before --columns",
    ]
    assert folders_in(f"{prefix}{tmp_path}/all") == ["CIFAR10", "CIFAR100", "begun", "drawn", "notes", "zboard"]
    assert folders_in(f"{prefix}{tmp_path}/absent") == []


def test_only_runs_of_knowledge_recycling_have_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "other", report().as_dict())
    assert main([str(other)]) == 0
    assert "table 2" not in capsys.readouterr().out
    own = write(tmp_path / "own", recycled("<b>own</b>", PAPER["CIFAR10"]))
    assert main([str(other), str(own), "--html", str(tmp_path / "tables.html")]) == 0
    assert capsys.readouterr().out.count("| <b>own</b> ") == 3
    page = (tmp_path / "tables.html").read_text()
    assert page.count("&lt;b&gt;own") == 3 and "<b>own" not in page and "<strong>88.80</strong>" in page
    assert page.count("<table>") == 3 and "DP-FETA" in page and "**" not in page


def priced(method: str, epsilon: float, reached: float, name: str = "mnist") -> dict[str, Any]:
    content = report().as_dict()
    content["privacy"]["epsilon_budget"], content["dataset"]["name"] = epsilon, name
    mean = {"accuracy": reached, "accuracy_real_data": 0.9, "accuracy_floor": 0.5}
    content["metrics"] |= {"utility_mean": mean, "utility_guessing": {"chance": 0.1, "largest_class": 0.2}}
    return content | {"method": method}


def test_accuracy_is_drawn_by_epsilon_with_its_yardsticks() -> None:
    """By rising epsilon, seeds as their mean; a data set of one point, and what promises nothing, is left out."""
    runs = [priced("a", 10, 0.8), priced("a", 1, 0.6), priced("a", 1, 0.7), priced("b", 1, 0.4)]
    runs.append(priced("a", 1, 0.1, "another"))
    (panel,) = trade_off.panels([*runs, report(dp=False).as_dict()])
    assert panel.title == "mnist, 60,000 images" and panel.log_x
    drawn = {name: (list(line.x), [round(y, 6) for y in line.y]) for name, line in panel.lines.items()}
    assert drawn == {
        "a": ([1, 10], [65, 80]), "b": ([1], [40]), "floor": ([1, 10], [50, 50]),
        "real images": ([1, 10], [90, 90]), "largest class": ([1, 10], [20, 20]),
    }  # fmt: skip
    other = priced("a", 1, 0.9)
    other["config"] = other.get("config", {}) | {"eval": {"epochs": 1}}
    (panel,) = trade_off.panels([*runs[:3], other])
    reached = sorted(round(y) for name, line in panel.lines.items() if name.startswith("a") for y in line.y)
    assert reached == [65, 80, 90], "of other classifiers, and so no mean"
    picture = trade_off.picture(runs)
    assert picture is not None and picture in across_runs.page([], {}, picture)
    assert trade_off.picture(runs[:1]) is None and "Accuracy by" not in across_runs.page([], {})


@pytest.mark.parametrize("text", ["", '{"method": "a", "pre', "[]", "3", '{"method": "m"}', "[" * 100_000, "\udcff"])
def test_a_damaged_report_is_one_sentence_and_does_not_take_the_others_with_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, broken = write(tmp_path / "sound", priced("a", 1, 0.6)), write(tmp_path / "broken", {})
    (broken / "internal/report.json").write_bytes(text.encode(errors="surrogateescape"))
    assert main([str(broken)]) == 2
    *_, told = capsys.readouterr().err.splitlines()
    assert told.startswith(f"error: {broken}/internal/report.json is damaged, or of another version of raysyn: ")
    page = tmp_path / "page.html"
    assert main([str(tmp_path), "--html", str(page)]) == 0
    said = capsys.readouterr()
    assert f"damaged, or of another version of raysyn, and left out: {broken}\n" in said.err and "| a " in said.out
    assert f"<p>Damaged, or of another version of raysyn, and left out: {broken}.</p>" in page.read_text()
    assert said.out.count("\n") == 3 and str(sound) not in said.err


def test_a_damaged_note_of_a_run_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for begun in ("[]", "{"):
        run = write(tmp_path / begun, priced("a", 1, 0.6))
        (run / "internal/run.json").write_text(begun)
        assert main([str(run)]) == 2 and "damaged" in capsys.readouterr().err


def test_words_stand_to_the_left_and_no_name_begins_a_column(tmp_path: Path) -> None:
    runs = [priced("a", 1, 0.6), priced("a", 1, 0.7)]
    for run, path in zip(runs, (None, "x|y"), strict=True):
        run["dataset"]["name"], run["config"] = "a|b", {"data": {"path": path}, "seed": 1 if path else 2}
    head, rule, first, second = table(runs).splitlines()
    cells = [cell.strip() for cell in head.strip("|").split("|")]
    right = {cell for cell, line in zip(cells, rule.strip("|").split("|"), strict=True) if line.strip().endswith(":")}
    assert not {"method", "preset", "data", "differs in"} & right and {"epsilon", "delta", "wall"} <= right
    assert "None" not in first and "| seed 2 " in first and "data.path x\\|y, seed 1" in second and "a\\|b" in first
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, first, second)} == {len(cells) + 1}


def test_a_page_without_a_picture_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, numbers = str(tmp_path / "page.html"), count()

    def said(*runs: dict[str, Any]) -> str:
        folders = [str(write(tmp_path / str(next(numbers)), one)) for one in runs]
        assert main([*folders, "--html", page]) == 0
        return capsys.readouterr().err

    unjudged = priced("a", 1, 0.6)
    unjudged["metrics"]["utility_mean"] = None
    begin = "no accuracy by epsilon is drawn: "
    assert said(report(dp=False).as_dict()) == f"{begin}none of these runs has a guarantee\n"
    assert said(unjudged).startswith(f"{begin}no run with a guarantee was judged by classifiers")
    assert said(priced("a", 1, 0.6), priced("a", 1, 0.7)).startswith(f"{begin}of no data set are there runs of several")
    assert said(priced("a", 1, 0.6), priced("a", 10, 0.7)) == ""


def test_guessing_is_told_in_words_where_it_would_press_all_else_into_one_line() -> None:
    runs = [priced("a", 10, 0.88), priced("a", 1, 0.86)]
    for run in runs:
        run["metrics"]["utility_mean"]["accuracy_floor"] = 0.87
    (panel,) = trade_off.panels(runs)
    assert "largest class" not in panel.lines and panel.title == "mnist, 60,000 images; largest class 20.0 %, far below"
    runs[1]["metrics"]["utility_mean"]["accuracy"] = 0.6
    (panel,) = trade_off.panels(runs)
    assert "largest class" in panel.lines and "far below" not in panel.title


def test_intervals_are_drawn_where_every_run_of_a_line_has_one() -> None:
    """Of several seeds the mean of their ends; a report of an earlier raysyn has none, and its line goes without."""
    runs = [priced("a", 10, 0.8), priced("a", 1, 0.6), priced("a", 1, 0.7), priced("b", 1, 0.4)]
    for run, (low, high) in zip(runs, [(0.75, 0.85), (0.5, 0.65), (0.6, 0.85)], strict=False):
        run["metrics"]["utility_interval"] = {"low": low, "high": high}
    runs[3]["metrics"].pop("utility_interval", None)
    (panel,) = trade_off.panels(runs)
    assert [pytest.approx(ends) for ends in panel.lines["a"].spread] == [(55, 75), (75, 85)]
    assert not panel.lines["b"].spread and not panel.lines["floor"].spread and not panel.lines["real images"].spread
    drawn, bare = (
        base64.b64decode(charts([replace(panel, lines=lines)]).partition("base64,")[2]).decode()
        for lines in (panel.lines, {name: replace(line, spread=()) for name, line in panel.lines.items()})
    )
    assert drawn.count("LineCollection") == 1 and "LineCollection" not in bare
    runs[1]["metrics"].pop("utility_interval")
    (panel,) = trade_off.panels(runs)
    assert not panel.lines["a"].spread
