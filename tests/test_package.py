"""What makes the tree a package: licence, citation, versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import raysyn

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(one) for one in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINNED = dict(line.split("==") for line in LINES if not line.startswith("#"))
LEANT_ON = ("ray", "torch", "torch-fidelity")
"""Packages whose internals the code uses: their next major version may lack them."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_licence_is_whole_and_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 11_000


def test_the_citation_is_of_this_version_and_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == raysyn.__version__ and cited["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_a_flaw_can_be_reported_and_a_newcomer_can_begin() -> None:
    assert "How to report" in (ROOT / "SECURITY.md").read_text()
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(contributing.splitlines()) <= 50
    assert "make test" in contributing and "docs/own_method.md" in contributing


def test_images_of_clusters_take_along_what_the_package_is_built_from() -> None:
    built_from = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "raysyn", "jobs"}
    for name in ("Dockerfile", "aws.yaml", "gcp.yaml"):
        text = (ROOT / "clusters" / name).read_text()
        assert all(re.search(rf"[ /]{re.escape(one)}\s", text) for one in built_from), name


@pytest.mark.parametrize("needed", NEEDED, ids=lambda needed: needed.name)
def test_what_is_needed_is_constrained_to_a_version_within_its_bounds(needed: Requirement) -> None:
    version = {plain(name): version for name, version in PINNED.items()}[plain(needed.name)]
    assert needed.specifier.contains(version)
    assert plain(needed.name) not in LEANT_ON or any(one.operator == "<" for one in needed.specifier)


def test_constraints_are_exact_public_and_of_a_python_that_is_named() -> None:
    assert re.search(r"under Python 3\.\d+\.\d+", LINES[0])
    pins = [line for line in LINES if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9._]*", line) for line in pins)
    # CUDA's are PyTorch's own to name: on another platform there are none.
    assert not [name for name in PINNED if name.startswith(("nvidia", "cuda", "triton", "raysyn"))]


def test_make_installs_what_is_constrained() -> None:
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"^\$\(VENV\)/\.ready: pyproject\.toml \$\(CONSTRAINTS\)$", text, re.MULTILINE)
    assert "--constraint $(CONSTRAINTS)" in text and re.search(r"^constraints:$", text, re.MULTILINE)
