"""What pipelines share that draw images from a trained model: drawing, judging, keeping images in a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.class_shares import labels_of
from raysyn.methods.common import PrivateSetting, Setting, plain_name
from raysyn.methods.floor import floor_images
from raysyn.methods.source_told import equal_ones
from raysyn.metrics.fidelity import fidelity
from raysyn.metrics.utility import EvalConfig, judge_all, raised, unit_name
from raysyn.metrics.yardsticks import NOBODY, Judged, joined, told
from raysyn.report.pictures import pairs_sheet, png_bytes
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import write_atomically
from raysyn.screen.console import Console
from raysyn.screen.ended import Ended
from raysyn.train.samplers import SamplerConfig, generate

# One seed per chunk: part of the result, so a constant and not a speed setting.
CHUNK = 500
LABELS = "synthesise-labels"
NEAREST = "nearest.png"
"""Of internal/: private images beside synthetic ones."""


class NoNumbers(Ended, ValueError):
    """What was drawn cannot be released."""


class WrongAnswer(Ended, ValueError):
    """What `draw` answers is no images of what was asked for."""


class Drawing(NamedTuple):
    """How images are drawn from what was paid for: post-processing."""

    draw: Callable[[Any, Any], Tensor]
    """draw((seed, labels (N,)), shared) -> uint8 (N, H, W, C)."""
    shared: Any
    told: str
    """For the console."""
    label: Callable[[np.ndarray, Any], Tensor] | None = None
    """label(images (N, H, W, C), shared) -> a teacher's probabilities (N, K), of a release with soft labels."""


def synthesise(setting: Setting, drawing: Drawing, name: str = "synthesise", count: int | None = None) -> Images:
    """`count` images, by default `config.synthetic`, classes in turn or by their shares, drawn chunk by chunk as the
    stage `name`."""
    config, like = setting.config, setting.dataset.train
    labels_N = labels_of(setting, config.synthetic if count is None else count)
    around = setting.compute, setting.folder, setting.console
    return drawn(*around, drawing, labels_N, config.seed, like.class_names, name, like.shape)


def drawn(
    compute: Compute, folder: RunFolder, console: Console, drawing: Drawing, labels_N: np.ndarray, seed: int,
    class_names: tuple[str, ...], name: str = "synthesise", shape: tuple[int, int, int] | None = None,
) -> Images:  # fmt: skip
    """One image of each label, of this shape if it is known, as a stored stage. With the same seed and labels full
    chunks are the same, however many images there are. WrongAnswer where `drawing.draw` answers something else."""
    chunks = chunks_of(labels_N, seed)
    shared = drawing.draw, drawing.shared, shape

    def all_of_it() -> Tensor:
        try:
            return torch.cat(compute.map(draw_checked, chunks, name=name, shared=shared))
        except RuntimeError as error:  # of a unit, on whatever machine: its first line ends with what was raised there
            said = str(error).partition("\n")[0].partition(f"{WrongAnswer.__name__}: ")[2]
            if not said:
                raise
            raise WrongAnswer(said) from error

    parts = folder.stage(name, all_of_it)
    console.stage(plain_name(name), f"{len(labels_N):,} images, {drawing.told}")
    return Images(parts.numpy(), labels_N, class_names)


def draw_checked(
    chunk: tuple[int, np.ndarray], shared: tuple[Callable[[Any, Any], Tensor], Any, tuple[int, int, int] | None]
) -> Tensor:  # fmt: skip
    """One unit: what `draw` answers, once it is seen that this is images."""
    (_, labels_N), (draw, own, shape) = chunk, shared
    found: Any = draw(chunk, own)
    if isinstance(found, Tensor):
        wanted = found.ndim == 4 and found.shape[3] in (1, 3) if shape is None else found.shape[1:] == shape
        if found.dtype == torch.uint8 and wanted and len(found) == len(labels_N):
            return found
    of = "" if shape is None else f" of images {shape}"
    raise WrongAnswer(
        f"draw answered {_kind(found)}, for {len(labels_N)} labels{of}: give a torch tensor, uint8 (N, H, W, C); "
        "what was paid is spent"
    )


def _kind(found: Any) -> str:
    """What somebody's function has answered, in few words."""
    if isinstance(found, Tensor):
        return f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}"
    if isinstance(found, np.ndarray):
        return f"a NumPy array, {found.dtype} {found.shape}"
    return "None" if found is None else f"a {type(found).__name__}"


def soft_labels(
    compute: Compute, folder: RunFolder, console: Console, drawing: Drawing, images: Images
) -> np.ndarray | None:  # fmt: skip
    """Soft labels (N, K) beside the classes that were asked for, as a stored stage; None where the drawing has no such.
    NoNumbers for such as are none."""
    if drawing.label is None:
        return None
    label, shared = drawing.label, drawing.shared
    # Of NumPy: a part of a tensor takes the whole along to a worker.
    chunks = [images.images_NHWC[at : at + CHUNK] for at in range(0, len(images), CHUNK)]
    parts = folder.stage(LABELS, lambda: torch.cat(compute.map(label, chunks, name=LABELS, shared=shared)))
    soft = parts.numpy()
    if not np.isfinite(soft).all():
        raise NoNumbers("the teacher's soft labels are no numbers (NaN or endless), so that none is released")
    # Of what is drawn and what its network says alone: no private image is asked.
    agreed = (soft.argmax(1) == images.labels_N).mean()
    console.say(f"The teacher sees the class that was asked for in {100 * agreed:.0f} % of them.")
    return soft


def chunks_of(labels_N: np.ndarray, seed: int) -> list[tuple[int, np.ndarray]]:
    """Units of drawing: (seed, labels)."""
    return [
        (int(np.random.SeedSequence([seed, index]).generate_state(1)[0]), labels_N[at : at + CHUNK])
        for index, at in enumerate(range(0, len(labels_N), CHUNK))
    ]


def draw_chunk(chunk: tuple[int, np.ndarray], shared: tuple[nn.Module, SamplerConfig, tuple[int, int, int]]) -> Tensor:
    """One unit of a diffusion model's synthesis: (seed, labels) to uint8 (N, H, W, C)."""
    (seed, labels_N), (denoiser, sampler, shape) = chunk, shared
    return generate(denoiser, sampler, torch.from_numpy(labels_N), shape, seed, best_device())


def again(sampler: SamplerConfig | None) -> str:
    """Mark of the stages of a second draw, by this sampler."""
    return f"again-{digest(sampler)}"


def in_words(sampler: SamplerConfig) -> str:
    """What a report says of a second draw."""
    told = f"{sampler.name}, {sampler.steps} steps, guidance {sampler.guidance:g}, churn {sampler.churn:g}"
    return f"drawn once more for these measures, not released: {told} from {sampler.s_min:g} to {sampler.s_max:g}"


def judging(config: EvalConfig, students: Sequence[str] | None = None) -> list[str]:
    """The stages of `evaluate`, those that teach `students` before it, if there may be some, and of the attack by
    distances after it."""
    floor = ["floor"] if config.floor and (config.classifiers or students) else []
    taught = [] if students is None else ["students"]
    useful, attacked = bool(config.classifiers or students), bool(config.distances)
    return [*floor, *taught, *["utility"] * useful, "fidelity", *["distances"] * attacked]


def evaluate(
    setting: Setting, synthetic: Images, config: EvalConfig, students: Judged = NOBODY, floor: Images | None = None,
    drawn_again: Images | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train on synthetic, test on real, and fidelity: figures that never enter release/. `students` were taught already
    and stand among the classifiers; `floor` is drawn where it is not given. Fidelity is of the images `drawn_again`, by
    `config.sampler_fid` of the setting, where there are such."""
    compute, dataset, seed = setting.compute, setting.loaded, setting.config.seed
    if floor is None and config.floor and config.classifiers:
        floor = floor_images(setting, min(len(synthetic), config.images or len(synthetic)))
    judged = setting.folder.stage(
        unit_name("utility", config),
        lambda: judge_all(compute, synthetic, dataset.train, dataset.test, config, seed, floor),
    )
    useful = told(joined(students, judged), dataset.test)
    if useful:
        setting.console.stage("utility", f"mean accuracy on real test images over the classifiers: {beside(useful)}")
        if more := raised(useful, config.epochs):
            setting.console.say(f"{more}.")
    compared, mark = synthetic, ""
    if drawn_again is not None:
        compared, mark = drawn_again, f"-{again(setting.config.sampler_fid)}"
    # Units are found by their own name: those of other images must not be.
    faithful = setting.folder.stage(
        unit_name("fidelity", config) + mark,
        lambda: fidelity(
            compute, compared, dataset.train, config, seed, mark=mark, released=synthetic, test=dataset.test
        ),
    )
    setting.console.stage("fidelity", "distances between synthetic and real images")
    faithful |= draw_nearest(setting, synthetic, faithful.pop("nearest", None))
    if drawn_again is not None:
        faithful |= {"sampler": in_words(setting.config.sampler_fid)}
    return {"utility": useful, "fidelity": faithful, **equal_ones(synthetic, dataset)}


def draw_nearest(setting: Setting, synthetic: Images, pairs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write internal/nearest.png, four pairs of a synthetic and its nearest private image in a row; what the report
    says of it. Without pairs that of an earlier report goes: it holds private images, and nobody is told of it."""
    if pairs is None:
        (setting.folder.internal / NEAREST).unlink(missing_ok=True)
        return {}
    places = {"synthetic": synthetic, "real": setting.loaded.train}
    sides = [side.images_NHWC[np.array(pairs[name])] for name, side in places.items()]
    write_atomically(setting.folder.internal / NEAREST, png_bytes(pairs_sheet(*sides)), 0o600)
    erased = " and is erased by --seal" if isinstance(setting, PrivateSetting) else ""
    setting.console.say(f"Nearest private images, in a file that stays inside{erased}: {NEAREST}")
    return {"nearest_pair": pairs["distances"][0], "nearest_pairs": f"internal/{NEAREST}"}


def beside(useful: Mapping[str, Any]) -> str:
    """The mean accuracy and its yardsticks, in words."""
    mean, guessing = useful["mean"], useful["guessing"]
    yardsticks = {
        "floor": mean.get("accuracy_floor"),
        "largest class": guessing["largest_class"],
        "real images": mean.get("accuracy_real_data"),
    }
    known = [f"{name} {100 * value:.1f} %" for name, value in yardsticks.items() if value is not None]
    return f"{100 * mean['accuracy']:.1f} % ({', '.join(known)})"


def pack(images: Images) -> dict[str, Tensor]:
    """Images as a stored stage keeps them: plain tensors."""
    return {"images": torch.from_numpy(images.images_NHWC), "labels": torch.from_numpy(images.labels_N)}


def unpack(stored: Mapping[str, Tensor], like: Images) -> Images:
    """The inverse of `pack`, with the class names of `like`."""
    return Images(stored["images"].numpy(), stored["labels"].numpy(), like.class_names)
