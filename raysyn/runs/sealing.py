"""A finished run without what could undo its noise: the secret, exact answers, unreleased states, all erased.

What stays is release/, the report, the ledger, and the answers that the ledger was paid for, which may be handed on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from raysyn.runs.folder import RunFolder
from raysyn.runs.refusals import RUN_JSON, leaves
from raysyn.runs.storage import file_system, local_folder, read_bytes, without_password, write_atomically

KEPT = (
    "run.json", "report.json", "report.html", "ledger.jsonl", "timings.json", "lock", "lease.json", "account.json",
    "audit.json",
)  # fmt: skip
"""Of internal/: everything else is erased, but for the stages that were paid for. The last has figures of an audit with
made-up canaries, which read no private image."""
_PLACES = "places.json"
FILES = ("eval.inception_weights", "word_vectors")
"""Settings that say where a file lies: a run that is finished reads none."""
_NO_FILE = ("download", "try-download")
"""What they may say instead."""


def is_sealed(out: str) -> bool:
    """Whether this folder or URI says that it holds a sealed run; False also where it cannot be read."""
    try:
        return "sealed" in json.loads(read_bytes(out, RUN_JSON))
    except (OSError, ValueError):
        return False


def note_place(folder: RunFolder, place: str | None) -> None:
    """Remember where workers of this run write besides its folder, so that it can be erased there too."""
    known = _noted(folder)
    if place is not None and (here := local_folder(place)) is not None:
        # The command that seals may start elsewhere.
        place = str(here.resolve())
    if place is not None and place not in known:
        write_atomically(folder.internal / _PLACES, json.dumps([*known, place]), 0o600)
        folder.push()


def seal(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Erase, here, at the run's URI and wherever its workers wrote, what a run that was reported needs no more.

    `settings` are those it was judged by. Interrupted, it is finished by `finish`. Raises OSError, or ValueError in one
    sentence, where a place cannot be reached.
    """
    assert folder.report_json.exists(), "only a run that has ended may lose its secret"
    _refuse_links(folder)
    for place in _noted(folder):
        _check_ours(place, folder.run_id)
    about = json.loads(folder.run_json.read_text())
    about["sealed"] = {"settings": _plain(settings), "places": _noted(folder), "run": folder.run_id}
    # Said before anything is erased: without its secret a run must be known as sealed, not as damaged.
    write_atomically(folder.run_json, json.dumps(about, indent=2), 0o600)
    folder.push()
    finish(folder)


def finish(folder: RunFolder) -> None:
    """Erase what a sealed run still has; nothing where that was done."""
    sealed = folder.sealed
    assert sealed is not None, "not sealed"
    _refuse_links(folder)
    for place in sealed["places"]:
        _check_ours(place, sealed["run"])
    for place in sealed["places"]:
        _erase_place(folder, place)
    paid = (
        [json.loads(line)["stage"] for line in folder.ledger.read_text().splitlines()] if folder.ledger.exists() else []
    )
    kept = {*KEPT, *(f"stages/{stage}.pt" for stage in paid)}
    _erase_in(folder.internal, kept)
    folder.erase_at_uri(kept)


def check_places(folder: RunFolder) -> None:
    """ValueError, before the work that shall end with a seal, where a place that it must erase is not there."""
    _refuse_links(folder)
    for place in _noted(folder):
        _check_ours(place, folder.run_id)
        _there(place)


def _check_ours(place: str, run: str) -> None:
    """ValueError for a place that is not this run's own: a folder that somebody has handed over may name any."""
    folder = place.partition("?")[0] if "://" in place else place
    if not re.fullmatch("[0-9a-f]{16}", run) or folder.rstrip("/").rpartition("/")[2] != run:
        raise ValueError(
            f"on.storage: {without_password(place)}, noted in internal/ as where this run kept exact answers, is no "
            f"place of this run ({run}), and nothing is erased there: if you know what wrote that, take it out of "
            "run.json and places.json"
        )


def _refuse_links(folder: RunFolder) -> None:
    """ValueError where something of internal/ lies elsewhere: to erase a link leaves what it leads to."""
    if link := next((path for path in folder.internal.rglob("*") if path.is_symlink()), None):
        raise ValueError(
            f"{link} is a link, and what it leads to would not be erased: move that back in its place, and give the "
            "same command again"
        )


def _noted(folder: RunFolder) -> list[str]:
    path = folder.internal / _PLACES
    return json.loads(path.read_text()) if path.exists() else []


def _there(place: str) -> Path | None:
    """The folder of a place on this machine, None for one elsewhere; ValueError where it is not there."""
    here = local_folder(place)
    if here is not None and not here.is_dir():
        raise ValueError(
            f"on.storage: {place}, where this run kept exact answers, is not there, so that they cannot be erased: "
            "bring it back (mount it) and give the same command again"
        )
    return here


def _erase_place(folder: RunFolder, place: str) -> None:
    """Erase what workers wrote there, and note that it is done; ValueError where it is not there to be erased."""
    here = _there(place)
    if here is None:
        _erase_at(place)
    else:
        _erase_in(here, ())
    about = json.loads(folder.run_json.read_text())
    about["sealed"]["places"].remove(place)
    write_atomically(folder.run_json, json.dumps(about, indent=2), 0o600)
    folder.push()
    if here is not None:
        shutil.rmtree(here)


def check_settings(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """ValueError where a sealed run was judged by other settings: what these need is erased. Where a file lies that
    both name may differ."""
    assert folder.sealed is not None, "not sealed"
    before, now = dict(leaves(folder.sealed["settings"])), dict(leaves(_plain(settings)))
    for field in [*now, *before]:
        old, new = before.get(field, "absent"), now.get(field, "absent")
        if old != new and not (field in FILES and _is_path(old) and _is_path(new)):
            if field.startswith("release."):
                raise ValueError(
                    f"--out {folder.out} holds a sealed run, whose release stays as it was written, with {field} = "
                    f"{old}: raysyn draw, where its method draws, writes its images with {field} = {new} to another "
                    "--out."
                )
            raise ValueError(
                f"--out {folder.out} holds a sealed run with {field} = {old}, this one has {field} = {new}, and what "
                "that would need is erased; choose another --out."
            )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value not in (*_NO_FILE, "absent")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def _erase_in(folder: Path, kept: Collection[str]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in kept:
            _overwrite(path)
            path.unlink()


def _overwrite(path: Path) -> None:
    """Zeros in place; on file systems that write elsewhere instead, the old bytes are merely free."""
    if path.is_symlink() or not path.is_file():
        return
    path.chmod(0o600)
    with path.open("r+b") as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
        file.flush()
        os.fsync(file.fileno())


def _erase_at(place: str) -> None:
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow.fs

    system, path = file_system(place)
    if system.get_file_info(path).type == pyarrow.fs.FileType.Directory:
        system.delete_dir(path)
