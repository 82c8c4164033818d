"""A user's own network, by name: found where the command starts, and every mistake in one sentence."""

from __future__ import annotations

import importlib
import pickle
import random
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from raysyn.models.imported import Imported

GOOD = """
from torch import nn
from mysizes import WIDTH

def build(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a command starts in; what is imported from it is forgotten afterwards."""
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path / "start"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(function: str, source: str) -> str:
    Path("mynets.py").write_text(source)
    with pytest.raises(ValueError) as found:
        Imported(function).build(1, 10)
    assert "\n" not in str(found.value) and str(found.value).startswith(f"target.model {function}: ")
    return str(found.value)


def test_a_file_in_the_start_folder_is_found_with_what_it_imports_also_from_elsewhere(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (start / "mynets.py").write_text(GOOD)
    (start / "mysizes.py").write_text("WIDTH = 48")
    packed = pickle.dumps(Imported("mynets:build"))
    # A worker: another folder, another path.
    monkeypatch.chdir("/")
    built = pickle.loads(packed).build(1, 10)
    assert isinstance(built, nn.Sequential) and sys.modules["mynets"].__file__ == str(start / "mynets.py")
    assert sys.path[-1] == str(start) and repr(Imported("mynets:build")) == repr(pickle.loads(packed))


def test_a_package_in_the_start_folder_is_found(start: Path) -> None:
    (start / "mypackage").mkdir()
    (start / "mypackage/__init__.py").write_text("")
    (start / "mypackage/nets.py").write_text(GOOD.replace("mysizes", "mypackage.sizes"))
    (start / "mypackage/sizes.py").write_text("WIDTH = 8")
    assert Imported("mypackage.nets:build").build(1, 10)[1].out_features == 8  # type: ignore[index]


def test_the_users_file_comes_before_another_package_of_its_name_but_not_before_pythons_own(start: Path) -> None:
    installed = start.parent / "installed"
    installed.mkdir()
    (installed / "mynets.py").write_text("raise SystemError('not this one')")
    sys.path.insert(0, str(installed))
    source = "import statistics, random\n" + GOOD.replace("mysizes", "mysizes_too")
    (start / "mynets.py").write_text(source)
    (start / "mysizes_too.py").write_text("WIDTH = 4")
    for name in ("statistics", "random", "numpy", "colorsys"):  # of which numpy is not imported by the user
        (start / f"{name}.py").write_text("raise SystemError('nor this one')")
    sys.modules.pop("colorsys", None)
    Imported("mynets:build").build(1, 10)
    import colorsys

    assert [sys.modules[name] for name in ("statistics", "random")] == [statistics, random]
    assert colorsys.__file__ != str(start / "colorsys.py")


@pytest.mark.parametrize("name", ["random", "colorsys", "numpy"])
def test_a_file_named_like_what_is_there_already_is_to_be_renamed(start: Path, name: str) -> None:
    (start / f"{name}.py").write_text(GOOD)
    with pytest.raises(ValueError, match=rf"{name}\.py has the name of a module .*: rename the file"):
        Imported(f"{name}:build").build(1, 10)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("lira", {"mynets": "from lira import WIDTH\n"}),  # beside the command's own file
        ("lira", {"mynets": "import mysizes\n", "mysizes": "def width():\n    import lira\n"}),
        ("numpy", {"mynets": "import numpy.linalg\n"}),  # an installed package, loaded already
        ("pyarrow", {"mynets": "from pyarrow import compute\n"}),  # or not yet, or so
        ("lira", {"mynets/__init__": "", "mynets/nets": "from . import sizes", "mynets/sizes": "import lira"}),
    ],
)
def test_a_file_beside_the_users_that_another_one_comes_before_is_to_be_renamed(
    start: Path, name: str, files: dict[str, str]
) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "jobs"))
    for file, source in (files | {name: "WIDTH = 4\n"}).items():
        (start / f"{file}.py").parent.mkdir(exist_ok=True)
        (start / f"{file}.py").write_text(source)
    last = list(files)[-1]
    with pytest.raises(ValueError, match=rf"{last}\.py imports {name}, which is /.* and not {name}\.py: rename {name}"):
        Imported("mynets.nets:build" if len(files) == 3 else "mynets:build").build(1, 10)


def test_without_a_file_of_the_users_in_its_place_anything_is_imported(start: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "jobs"))
    (start / "mysizes.py").write_text("from numpy import pi\nfrom raysyn.models import norm\nWIDTH = 4")
    (start / "mynets.py").write_text("import mynets\n" + GOOD)
    Imported("mynets:build").build(1, 10)


def identity(start: Path, **files: str) -> str:
    """As a new process finds it."""
    for name, source in files.items():
        (start / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
    found = Imported("mynets:build").identified(1, 10)
    assert repr(found) == repr(pickle.loads(pickle.dumps(found))), "workers know it under this name too"
    return repr(found)


def test_whatever_changes_the_network_changes_its_identity_and_nothing_else_does(start: Path) -> None:
    files = {"mynets": GOOD, "mysizes": "WIDTH = 8", "mynotes": "x = 1"}
    first = identity(start, **files)
    assert identity(start, **files) == first == identity(start, **files | {"mynotes": "x = 22"})
    assert len({
        first,
        identity(start, **files | {"mysizes": "WIDTH = 16"}),
        identity(start, **files | {"mysizes": "WIDTH = 16  # of the same shapes"}),
        identity(start, **files | {"mynets": GOOD.replace("ReLU", "Tanh")}),
    }) == 4  # fmt: skip


LAZY = """
def build(channels, classes):
    from torch import nn
    from mysizes import WIDTH
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))
"""


@pytest.mark.parametrize("edited", ["mynets", "mysizes", None])
@pytest.mark.parametrize("source", [GOOD, LAZY])
def test_a_process_that_starts_later_refuses_other_code_and_this_one_keeps_to_its_own(
    start: Path, source: str, edited: str | None
) -> None:
    """What is imported at the top, and what only once the function runs."""
    for name, text in {"mynets": source, "mysizes": "WIDTH = 8", "mynotes": ""}.items():
        (start / f"{name}.py").write_text(text)
    fixed = Imported("mynets:build").identified(1, 10)
    with (start / f"{edited or 'mynotes'}.py").open("a") as file:
        file.write("# Another one.\n")
    again = Imported("mynets:build").identified(1, 10)
    assert repr(again) == repr(fixed), "as it was loaded"
    packed = pickle.dumps(fixed)
    for name in ("mynets", "mysizes"):
        del sys.modules[name]
    if edited is None:
        pickle.loads(packed).build(1, 10)
        return
    with pytest.raises(ValueError, match=rf"^target\.model mynets:build: {edited}\.py is not as it was when the run"):
        pickle.loads(packed).build(1, 10)


@pytest.mark.parametrize("edited", ["mynets", "mysizes", None])
@pytest.mark.parametrize("looked", [False, True])
def test_what_was_edited_after_it_was_loaded_and_before_raysyn_looked_is_refused(
    start: Path, looked: bool, edited: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook: nobody knows then what it is that runs."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    sys.path.insert(0, str(start))
    for name, text in {"mynets": GOOD, "mysizes": "WIDTH = 8", "mynotes": ""}.items():
        (start / f"{name}.py").write_text(text)
    importlib.import_module("mynets")
    if looked:
        Imported("mynets:build").build(1, 10)
    with (start / f"{edited or 'mynotes'}.py").open("a") as file:
        file.write("# Another one.\n")
    if edited is None or looked:
        Imported("mynets:build").identified(1, 10)
        return
    with pytest.raises(ValueError, match=rf"^target\.model mynets:build: {edited}\.py was edited after it was loaded"):
        Imported("mynets:build").identified(1, 10)
    importlib.reload(sys.modules[edited])
    Imported("mynets:build").identified(1, 10)


def test_what_its_function_imports_and_somebody_edits_meanwhile_is_refused(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs then is not what other processes will load."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (start / "mysizes.py").write_text("WIDTH = 8")
    edit = "pathlib.Path('mysizes.py').write_text('WIDTH = 8  # Another one.')"
    (start / "mynets.py").write_text(
        f"import pathlib\nfrom torch import nn\n\ndef build(channels, classes):\n    import mysizes\n    {edit}\n"
        "    return nn.Flatten()\n"
    )
    with pytest.raises(ValueError, match=r"^target\.model mynets:build: mysizes\.py was edited after it was loaded"):
        Imported("mynets:build").build(1, 10)


def test_what_is_loaded_anew_in_place_is_another_network(start: Path) -> None:
    first = identity(start, mynets=GOOD, mysizes="WIDTH = 8")
    (start / "mysizes.py").write_text("WIDTH = 16")
    importlib.reload(sys.modules["mysizes"])
    assert repr(Imported("mynets:build").identified(1, 10)) != first


def test_what_only_the_built_network_tells_changes_its_identity(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = GOOD.replace("from mysizes import WIDTH", "import os\nWIDTH = int(os.environ['MY_WIDTH'])")
    monkeypatch.setenv("MY_WIDTH", "8")
    first = identity(start, mynets=source)
    monkeypatch.setenv("MY_WIDTH", "16")
    assert identity(start, mynets=source) != first


def test_where_a_network_lies_in_memory_is_no_part_of_its_identity(start: Path) -> None:
    source = GOOD.replace("from mysizes import WIDTH", "WIDTH = 4").replace("nn.ReLU()", "Own()") + (
        "class Own(nn.ReLU):\n    def extra_repr(self):\n"
        "        return repr(self.__dict__.setdefault('kept', object()))\n"
    )
    first = identity(start, mynets=source)
    build = Imported("mynets:build").build
    one, other = build(1, 10), build(1, 10)
    assert repr(one) != repr(other) and identity(start, mynets=source) == first


SUM = "def build(channels, classes):\n    return {}\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n\ndef build(:\n", "mynets.py, line 3: invalid syntax; mend the file"),
        ("def build(a, b):\n\treturn a\n        return b\n", "mynets.py, line 3: "),
        ("x = 1\ny = nn.Linear\n", "mynets.py, line 2, raised NameError: name 'nn' is not defined; mend the file"),
        ("def f():\n    return 1 / 0\nf()\n", "mynets.py, line 2, raised ZeroDivisionError: division by zero"),
        ("from torch import nothing_such\n", "mynets.py, line 1, raised ImportError: cannot import name"),
        ("import json\njson.loads('{')\n", "mynets.py, line 2, raised JSONDecodeError"),
        ("raise ValueError\n", "mynets.py, line 1, raised ValueError; mend the file"),
        ("import sys\n\nsys.exit(2)\n", "mynets.py, line 3, ended the process (sys.exit)"),
        ("\nimport timm_of_mine\n", "mynets.py, line 2, imports timm_of_mine, which is not there: install it"),
        ("import mynets.deeper\n", "mynets.py, line 1, imports mynets.deeper, which is not there"),
        ("def biuld(channels, classes): ...\n", "mynets.py has no function build (did you mean biuld?); it has biuld"),
        ("x = 1\n", "mynets.py has no function build; it has none"),
        ("build = 3\n", "it is of type int in mynets.py: name a function"),
        ("from torch import nn\nbuild = nn.Linear(1, 1)\n", "mynets.py has a finished network under this name"),
        ("def build(): ...\n", "it takes () (too many positional arguments): write it as a function of"),
        ("def build(channels, classes, depth): ...\n", "(missing a required argument: 'depth')"),
        (SUM.format("channels / 0"), "called with (1, 10), mynets.py, line 2, raised ZeroDivisionError"),
        (SUM.format("__import__('torch').nn.Conv2d(1, 2, 3, groups=5)"), "mynets.py, line 2, raised ValueError: in_ch"),
        (SUM.format("classes"), "it returned something of type int: return a torch.nn.Module"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_users_file_is_named_with_its_place(start: Path, source: str, words: str) -> None:
    assert words in refusal("mynets:build", source)


def test_where_nothing_of_the_users_ran_no_place_inside_a_library_is_named(start: Path) -> None:
    with pytest.raises(ValueError, match=r"^target\.model torch\.nn:Linear: called with \(-1, 10\), it raised Runtime"):
        Imported("torch.nn:Linear").build(-1, 10)


def test_a_mistake_in_a_file_that_it_imports_is_named_there(start: Path) -> None:
    (start / "myblocks.py").write_text("\n\nclass Block\n")
    assert "myblocks.py, line 3: expected ':'" in refusal("mynets:build", "import myblocks\n")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            "mynet:build",
            "there is no mynet.py in {start}, where the command started, and no installed module mynet (did",
        ),
        ("mynet:build", "(did you mean mynets?)"),
        ("mynet:build", "on a cluster of several machines the file must be on every node, or in the working directory"),
        ("mynets.nets:build", "no installed module mynets.nets"),
        ("mynets", "give module:function, such as mynets:build"),
        ("mynets.py:build", "give module:function, such as mynets:build"),
        ("nets/mynets.py:build", "give module:function, such as mynets:build"),
        (":build", "give module:function"),
        ("mynets:Net.make", "give module:function"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_it_was_looked_for(start: Path, function: str, words: str) -> None:
    assert words.format(start=start) in refusal(function, "x = 1\n")
