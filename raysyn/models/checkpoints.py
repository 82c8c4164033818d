"""The weights of a classifier from whatever file a user has them in, without running code from that file."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from raysyn.models.numpy_numbers import NUMBERS

KEYS = ("weights", "state_dict", "model_state_dict", "module_state_dict", "model_state", "model", "net", "network")
"""Where training loops put a state dict: raysyn's own, Lightning's, PyTorch's tutorial's, Opacus's, and others."""
PREFIXES = ("module.", "_module.", "model.", "net.", "network.")
"""What wrappers put before every name: DataParallel, Opacus, Lightning and others."""
COMPILED = "_orig_mod."
"""What torch.compile puts before the names of what it compiled, which may be a part."""
SAVE = "save model.state_dict() with torch.save, or with safetensors"


def read_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
    """The state dict in the file, as it fits the network, which takes it on.

    Reads what torch.save wrote of tensors and plain values, and safetensors; nothing is unpickled that could run code.
    A state dict may lie under one of `KEYS`, its names may begin with `PREFIXES`, and other tensors may stand beside
    those that do. ValueError, in one sentence, where the file is another, where names or shapes do not fit, and for
    weights that are not finite; what a fresh network has of infinity in its buffers (a mask) may stay there.
    """
    fresh = {name: buffer.clone() for name, buffer in network.named_buffers()}
    names = _chosen(path, _state_dict(path, _content(path)), set(network.state_dict()))
    try:
        network.load_state_dict(names)
    except (RuntimeError, TypeError, AttributeError) as error:
        _refuse(
            path,
            f"does not fit the network ({last_line(error)}): give --target.model, or --classifier as it was trained",
            error,
        )
    found = network.state_dict()
    for name, value in found.items():
        wrong = ~torch.isfinite(value)
        if name in fresh:
            wrong &= (value != fresh[name]) & ~(value.isnan() & fresh[name].isnan())
        if count := int(wrong.sum()):
            _refuse(
                path,
                f"holds weights that are not finite, {count:,} of the {value.numel():,} in {name} first: training "
                "diverged, take an earlier checkpoint",
            )
    return found


def last_line(error: BaseException) -> str:
    """Of an error's text, which is where torch says what is wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _content(path: str) -> Any:
    """What the file holds, as tensors and plain values."""
    file = Path(path)
    if not file.exists():
        _refuse(path, f"does not exist (looked for {file.absolute()}): name the file of the classifier's weights")
    if file.is_dir():
        _refuse(path, "is a folder: name the file of the classifier's weights in it")
    with file.open("rb") as opened:
        start = opened.read(9)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < file.stat().st_size:
        return _safetensors(path)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            _refuse_programs(path, archive.namelist())
    with torch.serialization.safe_globals(NUMBERS):
        try:
            with warnings.catch_warnings():
                # That a pickle is of another protocol than torch.save's is no concern where it can be read.
                warnings.simplefilter("ignore", UserWarning)
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever the unpickler meets
            _refuse_pickles(path, error)


def _safetensors(path: str) -> Any:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        _refuse(path, f"is a damaged safetensors file ({last_line(error)}): copy it anew", error)


def _refuse_programs(path: str, members: list[str]) -> None:
    """ValueError for archives of torch that hold a program beside its weights."""
    for inside, kind in (("/constants.pkl", "TorchScript"), ("/archive_format", "a program of torch.export")):
        if any(member.endswith(inside) for member in members):
            _refuse(path, f"is {kind}, which holds code beside the weights: load it where you trust it, and {SAVE}")


def _refuse_pickles(path: str, error: Exception) -> NoReturn:
    """Say what else the file holds, where it is a pickle of more than tensors."""
    try:
        names = list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no archive of torch.save: older files tell the first one in their error
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    with open(path, "rb") as opened:
        pickled = bool(names) or opened.read(1) == pickle.PROTO
    if not pickled:
        _refuse(path, f"is no file of tensors that torch.load(..., weights_only=True) reads: {SAVE}", error)
    kind = "a pickled module" if any(".nn." in name for name in names) else "a pickle of more than tensors"
    shown = ", ".join(sorted(names)[:3]) + (" and more" if len(names) > 3 else "")
    _refuse(
        path,
        f"is {kind}{f' ({shown})' if names else ''}, and unpickling one runs what its writer wanted: load it where you "
        f"trust it, and {SAVE}",
        error,
    )


def _state_dict(path: str, content: Any) -> Mapping[str, Any]:
    """The mapping of names to tensors, out of what a training loop put around it."""
    while len(inside := _inside(content)) == 1:
        content = content[inside[0]]
    if inside:
        _refuse(path, f"holds weights under {' and '.join(inside)}: save those of the attacked classifier alone")
    if not _holds_tensors(content):
        keys = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content).__name__
        _refuse(path, f"holds no state dict ({keys or 'nothing'}): put it alone, or under one of {', '.join(KEYS)}")
    if odd := [key for key in content if not isinstance(key, str)]:
        _refuse(path, f"holds tensors under {odd[0]!r}, which is no name of a network's: {SAVE}")
    return content


def _inside(content: Any) -> list[str]:
    """Those of `KEYS` under which weights lie."""
    return [key for key in KEYS if isinstance(content, Mapping) and _holds_tensors(content.get(key))]


def _holds_tensors(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    return any(isinstance(value, Tensor) for value in content.values()) or bool(_inside(content))


def _chosen(path: str, state: Mapping[str, Any], own: set[str]) -> Mapping[str, Any]:
    """The state dict in the spelling that fits the names of the network, or best."""
    whole = list(_spellings(state))
    best = max(whole, key=lambda names: len(own & names.keys()))
    if best.keys() == own:
        return best
    # What a wrapper has of its own stands beside what it wraps: AveragedModel's count, the weights of a loss.
    parts = {prefix: part for prefix, part in _parts(whole) if part.keys() == own}
    if len(parts) > 1:
        _refuse(path, f"holds weights under {' and '.join(parts)}: save those of the attacked classifier alone")
    return next(iter(parts.values()), best)


def _spellings(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The state dict under its own names, then without what wrappers put before all of them, one after another."""
    names = state
    yield names
    if any(COMPILED in key for key in names):
        names = {key.replace(COMPILED, ""): value for key, value in names.items()}
        yield names
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in names)), ""):
        names = {key.removeprefix(prefix): value for key, value in names.items()}
        yield names


def _parts(whole: list[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(prefix, spelling) of the tensors whose names begin with one of `PREFIXES`, where others stand beside them."""
    for names in whole:
        for prefix in PREFIXES:
            some = {key.removeprefix(prefix): value for key, value in names.items() if key.startswith(prefix)}
            if some and len(some) < len(names):
                yield from ((prefix, part) for part in _spellings(some))


def _refuse(path: str, fault: str, error: BaseException | None = None) -> NoReturn:
    raise ValueError(f"target.checkpoint {path} {fault}") from error
