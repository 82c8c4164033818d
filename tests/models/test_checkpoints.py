"""Weights from whatever file they are in: the same ones come out, or one sentence."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from opacus import GradSampleModule
from safetensors.torch import save_file
from torch import Tensor, nn

from raysyn.models.checkpoints import KEYS, read_weights


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
