"""What images are drawn from, as files of a release: nothing but answers that were paid for, and the settings that
drawing reads. Whoever has them draws more, without the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules import module

from raysyn.data.images import Images
from raysyn.privacy.queries.counts import COUNTS
from raysyn.runs import may_leave
from raysyn.runs.versions import version
from raysyn.screen.ended import Ended
from raysyn.screen.words import in_a_line

WEIGHTS, ABOUT = may_leave.NETWORK_WEIGHTS, may_leave.NETWORK_ABOUT
FORM = may_leave.NETWORK_FORM

MORE_NUMBERS, SOME_NUMBERS = 10, 10**7
"""A network that is built for stored weights has at most so many times their numbers, and so many more: beside what is
stored, which may be a generator alone, its partners are built."""
MORE_LAYERS, SOME_LAYERS = 10, 300
"""The same of its layers, beside the tensors that are stored."""

Answer = Callable[[str], Any]


class Unnamed(Ended, ValueError):
    """A method draws by more than its network holds."""


class Network(NamedTuple):
    """Of a method: what of its answers and settings leaves, so that its `drawing` can be done from that alone."""

    settings: tuple[str, ...]
    """Fields of the configuration that drawing reads, all of them: from a release it is refused any other."""
    parts: Callable[[Any, Answer], Mapping[str, Any]]
    """parts(config, answer): {stage: a tensor, or nested mappings of them by names without a slash}. It picks by names
    and computes nothing: of these very parts it gives all, by which `raysyn verify` knows them."""
    made: tuple[str, ...] = ()
    """Stages among these that no ledger has a row of, because they are made of paid answers alone."""


def files(
    network: Network, config: Any, answer: Answer, *, method: str, preset: str, statement: str, made_by: str
) -> dict[str, bytes]:  # fmt: skip
    """Both files by name; `made_by` is what the certificate calls the method. ValueError for settings that a release
    cannot hold."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from safetensors.torch import save

    about = {
        "statement": statement, "form": FORM, "raysyn": version(), "method": method, "preset": preset,
        "made_by": made_by, "settings": _settings(network, config),
    }  # fmt: skip
    may_leave.check_network(about)
    return {WEIGHTS: save(_held(network, config, answer)), ABOUT: may_leave.network_text(about).encode()}


def _held(network: Network, config: Any, answer: Answer) -> dict[str, Tensor]:
    """The tensors that leave, by name."""
    parts = dict(network.parts(held_to(config, network.settings), answer))
    if config.classes.noisy_counts is not None:
        parts[COUNTS] = answer(COUNTS)
    return dict(_flat(parts))


def check(network: Network | None, config: Any, method: str) -> None:
    """ValueError, before any work, where the network cannot leave."""
    if network is None:
        raise ValueError(
            f"release.network is True, but {method} draws its images from nothing that could be handed on: leave it out"
        )
    if getattr(getattr(config, "network", None), "factory", None) is not None:
        raise ValueError(
            f"release.network is True, but network.factory is {config.network.factory}, code of your own that a "
            "release cannot hold: leave one of them out"
        )
    may_leave.check_network({"settings": _settings(network, config)})


def held_to(config: Any, settings: Collection[str]) -> Any:
    """`config` of another package's method, which raises Unnamed where it is asked for another field than `settings`: a
    release does not hold that, and a default in its place would draw other images without a word. raysyn's own comes
    back as it is: some of its methods ask for more on the way, of which nothing shows in what is drawn."""
    kind: Any = type(config)
    if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return config
    others = {field.name for field in fields(config)} - set(settings)

    def asked(self: Any, name: str) -> Any:
        if name in others:
            raise Unnamed(f"`drawing` or `parts` asks for the setting {name}: name it in Network.settings")
        return kind.__getattribute__(self, name)

    def reduced(self: Any) -> Any:  # on its way to a worker
        return held_to, (config, tuple(settings))

    made: Any = object.__new__(type(kind.__name__, (kind,), {"__getattribute__": asked, "__reduce__": reduced}))
    for field in fields(config):
        object.__setattr__(made, field.name, getattr(config, field.name))
    return made


def check_drawn(
    network: Network, drawing: Callable[[Any, Images, int, Answer], Any], config: Any, like: Images,
    files: Mapping[str, bytes],
) -> None:  # fmt: skip
    """Unnamed where images cannot be drawn from these files as by a run of images as `like`."""
    none = Images(np.zeros((0, *like.shape), np.uint8), np.zeros(0, np.int64), like.class_names)
    try:
        drawing(held_to(config, network.settings), none, like.units, read(files[WEIGHTS], files[ABOUT])[1])
    except Exception as error:  # of anybody's code
        why = f"`drawing` cannot do with Network.parts ({in_a_line(error)}): mend them"
        why = str(error) if isinstance(error, Unnamed) else why
        raise Unnamed(
            f"release.network is True, but {why} in the next run; --release.no-network releases this one's images"
        ) from error


def read(weights: bytes, about: bytes) -> tuple[dict[str, Any], Answer]:
    """What network.json says, and answer(stage) as `Method.drawing` asks; ValueError where these are no such files."""
    from safetensors.torch import load

    told = json.loads(about)
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise ValueError(f"{ABOUT} is not of the form {FORM}")
    try:
        tensors = load(weights)
    except Exception as error:  # a damaged file raises anything
        raise ValueError(f"{WEIGHTS} is damaged ({error})") from error
    return told, _by_stage(tensors).__getitem__


def _by_stage(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    stages: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *path, last = name.split("/")
        inside = stages
        for one in path:
            inside = inside.setdefault(one, {})
        inside[last] = tensor
    return stages


def check_read(network: Network | None, about: Mapping[str, Any], config: Any, method: str) -> None:
    """ValueError for a network.json that no run of the method writes: it may have come from anywhere, and must name no
    code, no file, and no setting beside those that drawing reads. `config` is what its settings give."""
    may_leave.check_network(about)
    settings = about["settings"]
    if network is None or set(settings) != set(network.settings):
        raise ValueError(f"{ABOUT} has other settings than those that {method} draws by")
    if getattr(getattr(config, "network", None), "factory", None) is not None:
        raise ValueError(f"{ABOUT} names code, network.factory {config.network.factory}, which is not run")
    if _settings(network, config) != settings:
        raise ValueError(f"{ABOUT} has settings that {method} does not have, or of another kind")


def check_held(network: Network, config: Any, signed: Mapping[str, Any], names: Collection[str]) -> None:
    """ValueError where tensors of these names, or noisy counts without their row in the ledger of the certificate
    `signed`, or the other way round, are of no run with these settings."""
    counts, paid = config.classes.noisy_counts, COUNTS in {row["stage"] for row in signed.get("ledger", [])}
    if (counts is not None) != paid:
        raise ValueError(
            f"{ABOUT} says classes.noisy_counts {counts}, and the ledger has {'a' if paid else 'no'} row {COUNTS}"
        )
    try:
        known = _held(network, config, _by_stage(dict.fromkeys(names, torch.empty(0))).__getitem__)
    except (LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{WEIGHTS} lacks {error}, or has other names than those that are drawn by") from error
    if more := sorted(set(names) - set(known)):
        raise ValueError(f"{WEIGHTS} holds {more[0]}, which nothing is drawn by")


def _settings(network: Network, config: Any) -> dict[str, Any]:
    every = asdict(config)
    settings: dict[str, Any] = json.loads(json.dumps({name: every[name] for name in network.settings}))
    return settings


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        # A file of its own memory, however the tensor is laid out.
        yield name, value.detach().cpu().contiguous().clone()
        return
    for key, inner in value.items():
        assert "/" not in key, key
        yield from _flat(inner, f"{name}/{key}" if name else key)


@contextmanager
def built_for(answer: Answer) -> Iterator[Answer]:
    """`answer`, whose weights bound what may be built from now on inside of the block: ValueError, before it is filled,
    for a layer beyond what they could fit. Settings that somebody has damaged would else be built without an end."""
    most = {"numbers": SOME_NUMBERS, "layers": SOME_LAYERS}
    built = dict.fromkeys(most, 0)

    def asked(stage: str) -> Any:
        found = answer(stage)
        tensors = list(_tensors(found))
        most["numbers"] += MORE_NUMBERS * sum(one.numel() for one in tensors)
        most["layers"] += MORE_LAYERS * len(tensors)
        return found

    def count(what: str, more: int) -> None:
        built[what] += more
        if built[what] > most[what]:
            raise ValueError(f"its settings make a network of more than {most[what]:,} {what}, unlike what is stored")

    hooks = [
        module.register_module_module_registration_hook(lambda *_: count("layers", 1)),
        module.register_module_parameter_registration_hook(
            lambda _, name, value: count("numbers", 0 if value is None else value.numel())
        ),
    ]
    try:
        yield asked
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(inner)
