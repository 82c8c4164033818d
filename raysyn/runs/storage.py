"""Durable files: written whole or not at all, in a folder or on any file system that pyarrow knows by URI."""

from __future__ import annotations

import functools
import io
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from raysyn.runs.may_leave import is_laid_out


@contextmanager
def written_atomically(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write in: a temporary neighbour, flushed to disk and renamed to `path` at the end.

    A reader sees the old file or all of the new one; after an error the old one stays.
    """
    temporary = path.with_name(_temporary(path.name))
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Make renames in it durable."""
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


def write_folder(folder: Path, contents: Mapping[str, bytes], ours: Collection[str]) -> None:
    """`folder` with these files and no others of the names that are `ours`, folders of layouts in it among them: after
    an error or a kill these are as they were before, or as they shall be. What somebody else has put there stays.

    Between two renames it may be missing for a moment; `mend_folder` then gives back what was there before.
    """
    new, old = _beside(folder)
    mend_folder(folder, ours)
    try:
        new.mkdir()
        for name, content in contents.items():
            if "/" not in name:
                with written_atomically(new / name) as file:
                    file.write(content)
        _write_within(new, {name: content for name, content in contents.items() if "/" in name})
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        _flush(folder.parent)
    except BaseException:
        mend_folder(folder, ours)
        raise
    mend_folder(folder, ours)


def _write_within(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Files in folders of it, of which there may be very many: flushed together, not one by one."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if contents:
        os.sync()


def ours_in(folder: Path, ours: Collection[str]) -> dict[str, bytes]:
    """The files of such a folder by their places, without what somebody else has put there."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes() for name, path in found.items()
        if name.parts[0] in ours and (len(name.parts) == 1 or is_laid_out(name.as_posix()))
    }  # fmt: skip


def mend_folder(folder: Path, ours: Collection[str]) -> None:
    """Tidy up after a `write_folder`, also one that was cut off; see there."""
    new, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for path in old.iterdir() if old.exists() else ():
        # Only moved: whatever it is, it need not be read.
        if path.name not in ours and not os.path.lexists(folder / path.name):
            path.rename(folder / path.name)
        elif path.is_dir() and not path.is_symlink():
            _give_back(path, old, folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)


def _give_back(inside: Path, old: Path, folder: Path) -> None:
    """Move what somebody else has put into one of our folders to its place in the new one."""
    for path in sorted(inside.rglob("*")):
        place = path.relative_to(old).as_posix()
        if (path.is_symlink() or not path.is_dir()) and not is_laid_out(place) and not os.path.lexists(folder / place):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            path.rename(folder / place)


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where the next content is built, and where the last one waits until that is in its place."""
    return folder.with_name(f".{folder.name}.new.tmp"), folder.with_name(f".{folder.name}.old.tmp")


def save_atomically(state: Any, path: Path) -> None:
    """`torch.save`, so that a reader sees all of it or nothing; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # For the owner alone: states of private stages must be no easier to read than the run folder, wherever they lie.
    with written_atomically(path, 0o600) as file:
        torch.save(state, file)


def load_saved(path: Path) -> Any:
    """What `save_atomically` wrote, on the CPU; refuses anything but tensors and plain values."""
    return torch.load(path, map_location="cpu", weights_only=True)


def as_typed(place: Any) -> str:
    """A place as one types it: a path, a URI, or the run of a `raysyn.Result`."""
    return str(getattr(place, "out", place))


def under(root: str, *names: str) -> str:
    """A place inside `root`, which may be a URI with a query."""
    place, mark, query = root.partition("?") if "://" in root else (root, "", "")
    return "/".join([place.rstrip("/"), *names]) + mark + query


def local_folder(root: str) -> Path | None:
    """The folder that `root` names, or None where it is a URI elsewhere."""
    return Path(root.removeprefix("file://")) if "://" not in root or root.startswith("file://") else None


def without_password(uri: str) -> str:
    """A place to be shown or written down: without the credentials and the query that a URI may have."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


@functools.lru_cache(maxsize=16)
def file_system(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it; ValueError in one sentence for what is no such place."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow.fs

    try:
        system, path = pyarrow.fs.FileSystem.from_uri(uri)
    except (ValueError, ImportError, OSError) as error:  # S3 looks for a bucket at once
        raise ValueError(
            f"{without_password(uri)!r} is no place that can be written to ({error}): give a folder, or a "
            "URI such as s3://bucket/run"
        ) from error
    return system, path.rstrip("/")


def read_bytes(root: str, name: str) -> bytes:
    """A file under a folder or URI; FileNotFoundError where there is none."""
    if "://" not in root:
        return (Path(root) / name).read_bytes()
    system, path = file_system(root)
    with system.open_input_file(f"{path}/{name}") as file:
        return bytes(file.read())


def folders_in(root: str) -> list[str]:
    """Names of the folders in a folder or at a URI, in order; none where it is not there. Hidden ones are left out."""
    if (here := local_folder(root)) is not None:
        names = [path.name for path in here.iterdir() if path.is_dir()] if here.is_dir() else []
    else:
        import pyarrow.fs

        system, path = file_system(root)
        found = system.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        names = [one.base_name for one in found if one.type == pyarrow.fs.FileType.Directory]
    return sorted(name for name in names if not name.startswith("."))


def write_bytes(uri: str, name: str, content: bytes | memoryview) -> None:
    """A file under a URI, whole or not at all."""
    system, path = file_system(uri)
    folder, _, last = f"{path}/{name}".rpartition("/")
    # Object stores show a key only when its upload is complete: no temporary name is needed there, nor a folder.
    complete = system.type_name in ("s3", "gcs", "abfs")
    if not complete:
        system.create_dir(folder, recursive=True)
    begun = f"{folder}/{last if complete else _temporary(last)}"
    try:
        with system.open_output_stream(begun) as file:
            file.write(content)
        if not complete:
            system.move(begun, f"{folder}/{last}")
    except BaseException:
        if not complete:
            with suppress(Exception):  # What went wrong first is what counts.
                system.delete_file(begun)
        raise


def _temporary(name: str) -> str:
    # Process numbers alone meet: containers on one file system all count from one.
    return f".{name}.{uuid.uuid4().hex[:12]}.tmp"


REACH = "reach.pt"
"""What a driver writes into a store, and workers read before they do anything: whether they share it."""


class Store:
    """Tensors and plain values under a root; a reader finds all of a file or nothing. Pickles as its root."""

    def __init__(self, root: str | Path) -> None:
        # Workers run in a working folder of Ray's, so a relative root would mean another place there.
        self.root = str(root) if "://" in str(root) else str(Path(root).resolve())
        self._folder = local_folder(self.root)

    def __getitem__(self, key: str) -> Any:
        if self._folder is not None:
            return load_saved(self._folder / key)
        return torch.load(io.BytesIO(read_bytes(self.root, key)), map_location="cpu", weights_only=True)

    def __setitem__(self, key: str, value: Any) -> None:
        if self._folder is not None:
            save_atomically(value, self._folder / key)
            return
        buffer = io.BytesIO()
        torch.save(value, buffer)
        write_bytes(self.root, key, buffer.getbuffer())

    def __contains__(self, key: str) -> bool:
        if self._folder is not None:
            return (self._folder / key).exists()
        import pyarrow.fs

        system, path = file_system(self.root)
        return bool(system.get_file_info(f"{path}/{key}").type == pyarrow.fs.FileType.File)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in one folder, in order."""
        if self._folder is not None:
            return [path.name for path in sorted((self._folder / folder).glob("[!.]*")) if path.is_dir()]
        import pyarrow.fs

        system, path = file_system(self.root)
        found = system.get_file_info(pyarrow.fs.FileSelector(f"{path}/{folder}", allow_not_found=True))
        return sorted(one.base_name for one in found if one.type == pyarrow.fs.FileType.Directory)

    def names(self, folder: str) -> list[str]:
        """Keys of the files in one folder, in order."""
        if self._folder is not None:
            return [f"{folder}/{path.name}" for path in sorted((self._folder / folder).glob("[!.]*"))]
        import pyarrow.fs

        system, path = file_system(self.root)
        found = system.get_file_info(pyarrow.fs.FileSelector(f"{path}/{folder}", allow_not_found=True))
        names = [one.base_name for one in found if one.type == pyarrow.fs.FileType.File]
        return [f"{folder}/{name}" for name in sorted(names) if not name.startswith(".")]


def write_atomically(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """The whole content or, after an error, what was there before (see `storage.written_atomically`). What of a text is
    no UTF-8 (a path on an old disk) is escaped, in JSON by its own escapes."""
    with written_atomically(path, mode) as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


class NotPlain(TypeError):
    """A stage answers what is not stored."""

    is_told = True  # to whoever writes the method


def check_plain(value: Any, where: str) -> None:
    """NotPlain now, not from the continued run that cannot read its own stage back."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_plain(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            check_plain(inner, f"{where}[{index}]")
    elif not (value is None or type(value) in (str, int, float, bool) or isinstance(value, torch.Tensor)):
        raise NotPlain(
            f"stage {where} answers a {type(value).__name__}, which is not stored: give tensors (torch.from_numpy "
            "makes one of an array), numbers, strings, lists or dicts of these; what was paid is spent"
        )
