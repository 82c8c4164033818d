"""Whose a method is: by who enters it, and by where its functions come from."""

from __future__ import annotations

from functools import partial
from importlib.metadata import entry_points
from typing import Any
from unittest.mock import Mock

import pytest

from raysyn.methods import whose
from raysyn.methods.catalogue import METHODS


def mine(*_: Any) -> None:
    """A function of another package: of this one."""


HERE = __name__.partition(".")[0]


@pytest.mark.parametrize("entry", METHODS, ids=lambda one: one.name)
def test_raysyns_own_are_nobodys_else(entry: Any) -> None:
    method = entry.method()
    assert whose.package_of(method.name, method.run, method.prepare) is None and method.source() == {}


@pytest.mark.parametrize("part", [mine, partial(mine, 1), partial(partial(mine, 1), 2)])
def test_one_foreign_part_makes_a_method_foreign(part: Any) -> None:
    own = METHODS[0].method()
    for parts in ((part, own.prepare), (own.run, part), (part, part)):
        assert whose.package_of("mine", *parts) == HERE
        assert whose.source_of(*parts) == whose.source_of(mine) != {}


def test_a_package_that_enters_a_method_of_raysyns_parts_owns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dist = Mock(version="2.0")
    dist.name = "their-package"
    point = Mock(spec=["name", "module", "dist"], module="theirs.methods", dist=dist)
    point.name = "theirs"
    monkeypatch.setattr(whose, "entry_points", lambda group: [point] if group == "raysyn.methods" else entry_points())
    own = METHODS[0].method()
    assert whose.package_of("theirs", own.run, own.prepare) == "their-package 2.0"
    for name in ("theirs", own.name):  # also where they enter one that raysyn has, which is raysyn's all the same
        point.name = name
        assert whose.package_of(own.name, own.run, own.prepare) is None
