"""Weights from whatever file they are in: the same ones come out, or one sentence."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from safetensors.torch import save_file
from torch import Tensor, nn

from raysyn.models.checkpoints import KEYS, _content, read_weights


def network(seed: int = 0, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), norm(2), nn.Flatten(), nn.Linear(72, 3))


def same(read: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return list(read) == list(wanted) and all(torch.equal(read[name], wanted[name]) for name in wanted)


def check(path: Path, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
    into, wanted = network(1, norm), network(0, norm).state_dict()
    assert same(read_weights(str(path), into), wanted)
    assert same(into.state_dict(), wanted), "the network takes them on"


@pytest.mark.parametrize("key", [*KEYS, ""])
def test_a_state_dict_is_found_where_training_loops_put_it(tmp_path: Path, key: str) -> None:
    state = network().state_dict()
    content = {key: state, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}} if key else state
    torch.save(content, tmp_path / "net.pt")
    check(tmp_path / "net.pt")
    torch.save({"model": content}, tmp_path / "deeper.pt")
    check(tmp_path / "deeper.pt")


def test_a_released_students_other_entries_are_no_weights(tmp_path: Path) -> None:
    torch.save({"weights": network().state_dict(), "network": {"width": 4}, "classes": ["a"]}, tmp_path / "student.pt")
    check(tmp_path / "student.pt")


@pytest.mark.parametrize("written", ["torch.save", "older torch.save", "safetensors"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_module.", "model.", "_orig_mod.", "net.", "module._orig_mod.", "_orig_mod._module."]
)
def test_what_wrappers_put_before_names_is_taken_off(tmp_path: Path, prefix: str, written: str) -> None:
    state = {f"{prefix}{name}": value for name, value in network().state_dict().items()}
    path = tmp_path / "net.bin"
    if written == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=written == "torch.save")
    check(path)


def _compiled_part(net: nn.Module) -> nn.Module:
    assert isinstance(net, nn.Sequential)
    net[3] = torch.compile(net[3])  # type: ignore[assignment]
    return net


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, _compiled_part, GradSampleModule])
def test_the_wrappers_themselves(tmp_path: Path, wrap: Callable[[nn.Module], Any]) -> None:
    def norm(channels: int) -> nn.Module:  # one that Opacus takes
        return nn.GroupNorm(1, channels)

    state = wrap(network(0, norm)).state_dict()
    assert set(state) != set(network(0, norm).state_dict())
    torch.save({"model_state_dict": state}, tmp_path / "net.pt")
    check(tmp_path / "net.pt", norm)


def test_a_network_whose_own_names_begin_so_keeps_them(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.model = network(seed)

    torch.save({f"module.{name}": value for name, value in Own(0).state_dict().items()}, tmp_path / "net.pt")
    assert same(read_weights(str(tmp_path / "net.pt"), Own(1)), Own(0).state_dict())


@pytest.mark.parametrize("under", ["", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "model._orig_mod.", "module.model."])
def test_what_a_wrapper_has_of_its_own_is_left_aside(tmp_path: Path, prefix: str, under: str) -> None:
    """AveragedModel's count, the weights of Lightning's loss."""
    state: dict[str, Any] = {f"{prefix}{name}": value for name, value in network().state_dict().items()}
    state |= {"n_averaged": torch.tensor(3), "criterion.weight": torch.ones(3)}
    torch.save({under: state} if under else state, tmp_path / "net.pt")
    check(tmp_path / "net.pt")


def test_an_averaged_model_is_read(tmp_path: Path) -> None:
    torch.save(torch.optim.swa_utils.AveragedModel(network()).state_dict(), tmp_path / "net.pt")
    check(tmp_path / "net.pt")


class Masked(nn.Module):
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([[0, -torch.inf], [0, 0]]))


def test_a_mask_of_infinity_is_no_sign_of_training_that_diverged(tmp_path: Path) -> None:
    torch.save((state := Masked().state_dict()), tmp_path / "net.pt")
    assert same(read_weights(str(tmp_path / "net.pt"), Masked()), state)
    state["mask"][1, 1] = -torch.inf
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="not finite, 1 of the 4 in mask first"):
        read_weights(str(tmp_path / "net.pt"), Masked())
    state = Masked().state_dict()
    state["inner.bias"][0] = -torch.inf
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"not finite, 1 of the 2 in inner\.bias first"):
        read_weights(str(tmp_path / "net.pt"), Masked())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "uint8", "bool", "complex64", ">f4", "U3"])
def test_numbers_of_numpy_beside_the_weights_are_numbers(tmp_path: Path, kind: str, zipped: bool) -> None:
    best = np.array([0.5], kind)[0]
    content = {"state_dict": network().state_dict(), "best_acc": best}
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    check(tmp_path / "net.pt")
    assert _content(str(tmp_path / "net.pt"))["best_acc"] == best


def test_numbers_written_by_an_older_numpy_are_read(tmp_path: Path) -> None:
    torch.save({"model": STATE, "best": np.float64(0.5)}, tmp_path / "new.pt", _use_new_zipfile_serialization=False)
    older = (tmp_path / "new.pt").read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "net.pt").write_bytes(older)
    check(tmp_path / "net.pt")


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network().eval(), torch.zeros(1, 1, 8, 8)).save(str(path))


def _exported(path: Path) -> None:
    torch.export.save(torch.export.export(network().eval(), (torch.zeros(1, 1, 8, 8),)), path)


def _damaged(path: Path) -> None:
    save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])


def _infinite(path: Path) -> None:
    state = network().state_dict()
    state["1.running_var"][1], state["3.bias"][0] = torch.nan, torch.inf
    torch.save(state, path)


STATE = network().state_dict()
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "TorchScript": (_script, "is TorchScript, which holds code beside the weights"),
    "a program": (_exported, "is a program of torch.export"),
    "a module": (lambda path: torch.save(network(), path), r"is a pickled module \(torch.nn.modules.* and more\)"),
    "an old module": (
        lambda path: torch.save(network(), path, _use_new_zipfile_serialization=False),
        r"is a pickled module \(torch.nn.modules",
    ),
    "other objects": (
        lambda path: torch.save({"model": STATE, "args": argparse.Namespace(lr=1)}, path),
        r"is a pickle of more than tensors \(argparse.Namespace\)",
    ),
    "pickle's own": (lambda path: path.write_bytes(pickle.dumps(network())), "is a pickle of more than tensors, and"),
    "no weights": (lambda path: torch.save({"epoch": 3, "best": 0.9}, path), r"holds no state dict \(epoch, best\)"),
    "nothing": (lambda path: torch.save({}, path), r"holds no state dict \(nothing\)"),
    "whole numbers for names": (lambda path: torch.save({0: torch.zeros(1)}, path), "holds tensors under 0, which"),
    "two in one": (
        lambda path: torch.save({f"{part}.{name}": STATE[name] for part in ("model", "net") for name in STATE}, path),
        r"holds weights under model\. and net\.: save those",
    ),
    "an object of numpy": (
        lambda path: torch.save({"model": STATE, "x": np.array([None])}, path),
        r"is a pickle of more than tensors \(numpy\._core\.multiarray\._reconstruct",
    ),
    "a date of numpy": (
        lambda path: torch.save({"model": STATE, "x": np.datetime64("2026-01-01")}, path),
        "is no file of tensors",
    ),
    "a list": (lambda path: torch.save([torch.zeros(1)], path), r"holds no state dict \(list\)"),
    "two": (lambda path: torch.save({"model": STATE, "net": STATE}, path), "holds weights under model and net"),
    "text": (lambda path: path.write_text("not tensors"), "is no file of tensors"),
    "empty": (lambda path: path.write_text(""), "is no file of tensors"),
    "a folder": (lambda path: path.mkdir(), "is a folder: name the file"),
    "nowhere": (lambda path: None, "does not exist .looked for /.*net.pt.: name the file"),
    "damaged": (_damaged, "is a damaged safetensors file"),
    "not finite": (_infinite, r"holds weights that are not finite, 1 of the 2 in 1\.running_var first"),
    "another": (
        lambda path: torch.save({"module.0.weight": torch.zeros(2, 1, 3, 3)}, path),
        "does not fit the network .*: give --target.model",
    ),
}


@pytest.mark.filterwarnings("ignore:ast.Str is deprecated", "ignore::FutureWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_any_other_file_costs_one_sentence(tmp_path: Path, case: str) -> None:
    write, words = REFUSED[case]
    write(tmp_path / "net.pt")
    with pytest.raises(ValueError, match=words) as found:
        read_weights(str(tmp_path / "net.pt"), network())
    assert str(found.value).startswith(f"target.checkpoint {tmp_path / 'net.pt'} ") and "\n" not in str(found.value)


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    for content in ({"model": STATE, "x": Trap()}, Trap()):
        for written in (True, False):
            torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=written)
            with pytest.raises(ValueError, match=r"is a pickle of more than tensors"):
                read_weights(str(tmp_path / "net.pt"), network())
    assert not (tmp_path / "sprung").exists()
