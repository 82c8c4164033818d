"""A network that the user wrote, named on the command line."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import site
import sys
import sysconfig
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from raysyn.models import start_folder

_LIBRARIES = tuple(
    {
        folder + os.sep
        for folder in (
            *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
            site.getusersitepackages(),
            str(Path(__file__).parents[1]),
        )
    }
)
EVERYWHERE = (
    "on a cluster of several machines the file must be on every node, or in the working directory of `ray job submit`"
)


@dataclass(frozen=True)
class Imported:
    """An architecture that raysyn does not know, or a training: a function that every worker can import.

    Its module is looked for in `folder` first, so that no package of the same name comes before it; what that module
    imports, in `folder` last, so that a user's statistics.py is not taken for Python's own.
    """

    function: str
    """`module:function`; called with what `takes` names it returns the untrained network."""
    identity: str = ""
    """What `identified` found: answers of another network under the same name are stored under another one."""
    files: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)
    """Its code then, file by file."""
    folder: str = field(default_factory=os.getcwd, repr=False, compare=False)
    """The folder that the command starts in, which workers elsewhere would not know."""
    flag: str = field(default="target.model", repr=False)
    """The setting that names it, for errors."""
    takes: tuple[str, ...] = field(default=("channels", "classes"), repr=False)
    """What the function is called with, in words."""

    def build(self, *arguments: Any) -> nn.Module:
        """The network for these arguments; ValueError, in one sentence, where there is none."""
        network = self.called(*arguments)
        if not isinstance(network, nn.Module):
            self._refuse(f"it returned something of type {type(network).__name__}: return a torch.nn.Module")
        return network

    def called(self, *arguments: Any, shown: str = "") -> Any:
        """What the function returns for these arguments, which an error calls as `shown`."""
        make = self._find()
        self._refuse_edited()
        if (takes := _signature(make)) is not None:
            try:
                takes.bind(*arguments)
            except TypeError as error:
                self._refuse(f"it takes {takes} ({error}): write it as a function of {self._takes()}", error)
        try:
            made = make(*arguments)
        except (Exception, SystemExit) as error:
            self._refuse(f"called with {shown or arguments}, {self.told(error)}: mend it", error)
        # Once more, for what it imported only now.
        self._refuse_edited()
        return made

    def source(self, *arguments: Any) -> str:
        """SHA-256 (hex) of what the network is: another one under its name is another network.

        Of a fresh one, what it shows and the shapes of its state; and the file that defines the function, with all
        that is loaded by then of its package and from the start folder.
        """
        network = self.build(*arguments)
        # Where an object lies in memory is another matter each time.
        shown = re.sub(r" at 0x[0-9a-f]+", "", repr(network))
        shapes = [(name, tuple(value.shape), str(value.dtype)) for name, value in network.state_dict().items()]
        return self.code(repr((shown, shapes)))

    def code(self, beside: str = "") -> str:
        """SHA-256 (hex) of the function's code, as `source` has it and as it was loaded, with what is said `beside`."""
        found = hashlib.sha256(beside.encode())
        for name, told in self._files():
            found.update(f"{name}:{told}\n".encode())
        return found.hexdigest()

    def identified(self, *arguments: Any) -> Imported:
        """The same, whose repr tells it from another one under its name, and which no process runs by other code."""
        return replace(self, identity=self.source(*arguments), files=self._files())

    def fixed(self) -> Imported:
        """The same of a function that makes no network."""
        return replace(self, identity=self.code(), files=self._files())

    def _files(self) -> tuple[tuple[str, str], ...]:
        """(module, SHA-256 of its file) of all that its code is."""
        self._module()
        return self._loaded()

    def _loaded(self) -> tuple[tuple[str, str], ...]:
        """Those of them that are loaded by now, which from here on are known as they are; ValueError where one was
        edited between."""
        package, found = self.function.partition(":")[0].partition(".")[0], []
        for name in start_folder.loaded(self.folder, _LIBRARIES, package):
            if start_folder.edited(name):
                file = self._shown(str(sys.modules[name].__file__))
                self._refuse(f"{file} was edited after it was loaded: load it again (importlib.reload), or begin anew")
            if (told := start_folder.digest(name)) is not None:
                found.append((name, told))
        return tuple(found)

    def _refuse_edited(self) -> None:
        """ValueError where this process has loaded other code than that which was fixed."""
        self._loaded()  # What was loaded just now is known from now on as it is.
        for name, known in self.files:
            if start_folder.digest(name) not in (None, known):
                file = self._shown(str(sys.modules[name].__file__))
                self._refuse(f"{file} is not as it was when the run began: bring that back, or begin another run")

    def told(self, error: BaseException) -> str:
        """`mynets.py, line 3, raised NameError: ...`: an error of the user's code, by the innermost place in it."""
        text = textwrap.shorten(" ".join(str(error).split()), 300)
        if isinstance(error, SyntaxError):
            line = f", line {error.lineno}" if error.lineno else ""
            return f"{self._shown(error.filename or 'its file')}{line}: {error.msg}"
        place = self._place(error)
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"{place} imports {error.name}, which is not there"
        said = "ended the process (sys.exit)" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
        return f"{place} {said}: {text}" if text else f"{place} {said}"

    def _find(self) -> Callable[..., Any]:
        """The function itself."""
        module, _, name = self.function.partition(":")
        if not re.fullmatch(r"\w+(\.\w+)*", module) or not name.isidentifier() or module.endswith(".py"):
            guess = f"{Path(module.removesuffix('.py')).name or 'mynets'}:{name or 'build'}"
            self._refuse(f"give module:function, such as {guess} for a function in {guess.partition(':')[0]}.py")
        loaded = self._module()
        found, file = getattr(loaded, name, None), self._shown(getattr(loaded, "__file__", None) or module)
        if found is None:
            own = (key for key, value in vars(loaded).items() if getattr(value, "__module__", "") == module)
            there = sorted(key for key in own if callable(vars(loaded)[key]) and not key.startswith("_"))
            close = difflib.get_close_matches(name, there, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            self._refuse(f"{file} has no function {name}{guess}; it has {', '.join(there) or 'none'}")
        if isinstance(found, nn.Module):
            self._refuse(
                f"{file} has a finished network under this name: name a function of {self._takes()} that makes a fresh "
                "one at each call"
            )
        if not callable(found):
            self._refuse(f"it is of type {type(found).__name__} in {file}: name a function of {self._takes()}")
        return found

    def _takes(self) -> str:
        return f"({', '.join(self.takes)})"

    def _module(self) -> ModuleType:
        """The user's module; ValueError, in one sentence, for all that may be wrong with it."""
        name = self.function.partition(":")[0]
        # Of what was loaded before raysyn looked: what is loaded from here on is looked at as it is loaded.
        self._loaded()
        try:
            return self._imported(name)
        except ModuleNotFoundError as error:
            if error.name and f"{name}.".startswith(f"{error.name}.") and not _run(error):
                close = difflib.get_close_matches(name, [path.stem for path in Path(self.folder).glob("*.py")], n=1)
                guess = f" (did you mean {close[0]}?)" if close else ""
                self._refuse(
                    f"there is no {name.replace('.', '/')}.py in {self.folder}, where the command started, and no "
                    f"installed module {error.name}{guess}: start in its folder, or correct the name; {EVERYWHERE}",
                    error,
                )
            self._refuse(f"{self.told(error)}: install it wherever raysyn runs, or correct the name", error)
        except (Exception, SystemExit) as error:
            if isinstance(error, _NameTaken):
                raise
            self._refuse(f"{self.told(error)}; mend the file", error)

    def _imported(self, name: str) -> ModuleType:
        if self.folder not in sys.path:
            sys.path.append(self.folder)
        importlib.invalidate_caches()
        top = name.partition(".")[0]
        spec = PathFinder.find_spec(top, [self.folder])
        if spec is not None and spec.origin is not None:
            if top not in sys.modules:
                self._refuse_hidden(name)
            self._load(top, spec)
        return importlib.import_module(name)

    def _refuse_hidden(self, name: str) -> None:
        """ValueError for what the user's files import from another place than the folder, which has it too."""
        if (found := start_folder.hidden(name, self.folder)) is not None:
            file, top, own, other = found
            raise _NameTaken(
                f"{self.flag} {self.function}: {self._shown(str(file))} imports {top}, which is {other} and not "
                f"{self._shown(own)}: rename {self._shown(own)}"
            )

    def _load(self, top: str, spec: ModuleSpec) -> None:
        """The module or package of the start folder, as if nothing came before it on the path."""
        assert spec.origin is not None and spec.loader is not None, spec
        known = sys.modules.get(top)
        own = getattr(known, "__file__", None)
        if top in sys.stdlib_module_names or (
            known is not None and (own is None or not os.path.samefile(own, spec.origin))
        ):
            whose = "Python's own" if top in sys.stdlib_module_names else f"loaded from {own} already"
            raise _NameTaken(
                f"{self.flag} {self.function}: {self._shown(spec.origin)} has the name of a module that is {whose}: "
                "rename the file"
            )
        if known is None:
            sys.modules[top] = module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(top, None)
                raise

    def _place(self, error: BaseException) -> str:
        """`mynets.py, line 3,`: the innermost place in the user's own files, if there is one."""
        users = [frame for frame in _run(error) if not frame.filename.startswith((*_LIBRARIES, "<"))]
        return f"{self._shown(users[-1].filename)}, line {users[-1].lineno}," if users else "it"

    def _shown(self, file: str) -> str:
        path = Path(file)
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)

    def _refuse(self, fault: str, error: BaseException | None = None) -> NoReturn:
        raise ValueError(f"{self.flag} {self.function}: {fault}") from error


def _run(error: BaseException) -> list[traceback.FrameSummary]:
    """What was run until the error arose, without this file and Python's import machinery."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # some builtins do not tell what they take
        return None


class _NameTaken(ValueError):
    """A file that cannot be loaded under its own name."""
