"""Knowledge Recycling's results as figures and tables: figure 1, tables 1 and 2 of the paper, ROC curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysyn.methods.attack_report import BLUE, CHOSEN_AFTER, GREY, RED, attack_sections
from raysyn.methods.class_shares import mix_of
from raysyn.methods.declared import declared
from raysyn.methods.knowledge_recycling.config import Config
from raysyn.report.figures import Line, Mark, chart
from raysyn.report.report import Section

KINDS = {
    "soft": "soft labels of the teacher (GKD)",
    "hard": "the class asked for",
    "agree": "the same, where the teacher agrees",
    "confident": "the same, where it is also sure",
}


def metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """The `metrics` section of report.json."""
    chosen, default = results["chosen"], results["default"]
    return {
        "utility": results["useful"],
        "validation": {
            "teacher": results["teacher"],
            "teacher_best": dict(zip(("epoch", "accuracy"), _best(results), strict=True)),
            "student": results["student"],
        },
        "cas_by_checkpoint": {str(one["params"]["checkpoint"]): one["score"] for one in _by_epoch(results)},
        "cas_by_labels": {one["params"]["labels"]: one["score"] for one in results["labels"]},
        "table_1": {**chosen["params"], "delta_cas": chosen["score"] - default["score"]},
        "tuning": [
            {**one["params"], "cas": one["score"], "epochs": one["reports"], "pruned": one["pruned"]}
            for one in results["tuning"]
        ],
    }


def story(config: Config, results: Mapping[str, Any]) -> list[str]:
    """One plain sentence per stage."""
    chosen, epoch = results["chosen"]["params"], results["default"]["params"]["checkpoint"]
    told = [
        f"Trained a teacher on the real images for {config.recipe.epochs} epochs, and a BigGAN-deep: "
        f"{training(config, results['generator'])}.",
        f"Trained a student for each of {len(results['checkpoints'])} checkpoints of the generator, for "
        f"{config.search_epochs} epochs; its labels: {KINDS[config.recycling.labels]}. The one after epoch "
        f"{epoch} was best on real validation images.",
    ]
    if results["tuning"]:
        pruned = sum(one["pruned"] for one in results["tuning"])
        told.append(
            f"Tried {len(results['tuning'])} settings of generation beside the default, {pruned} of them pruned early."
        )
    told.append(
        f"Trained the final student for {config.recipe.epochs} epochs: {chosen['cardinality_scale']} times as many "
        f"images as there are real ones, drawn anew every {chosen['regeneration_rate']} epochs, noise of standard "
        f"deviation {chosen['standard_deviation']:.2f}. Images are asked of the generator, for the students and "
        f"for the release, {mix_of(config)}; each image of the release has the class that was asked for and the "
        "teacher's soft label."
    )
    if results["attacks"]:
        told.append(
            f"Attacked teacher and student with LiRA and {config.attack.shadow_models} shadow models: trained as the "
            f"teacher was, on {results['shadow_images']:,} images each (the teacher on {results['real']:,}), halves of "
            "a pool of its training images and the test images. The paper splits its validation images instead. That "
            "attack is not adaptive, for its shadow models are classifiers trained by the recipe, not by the whole "
            "pipeline of teacher, GAN and student, which raysyn attack RUN --shadow-runs N runs again on random halves "
            "of the images."
        )
    return told


def training(config: Config, generator: Mapping[str, Any]) -> str:
    """How the generator's training went."""
    epochs, kept = len(generator["history"]), len(generator["kept"])
    if epochs == config.gan.epochs:
        return f"{epochs:,} epochs, {kept} checkpoints"
    return (
        f"ended after {epochs:,} of {config.gan.epochs:,} epochs, {kept} checkpoints, for the discriminator answered "
        "all images alike; a lower gan.discriminator_learning_rate would have gone on"
    )


def sections(results: Mapping[str, Any]) -> list[Section]:
    """What this pipeline's report shows beyond that of others."""
    parts = [_figure_1(results), _table_1(results)]
    if results["labels"]:
        rows = [(KINDS[one["params"]["labels"]], percent(one["score"])) for one in results["labels"]]
        parts.append(
            Section(
                title="Labels on the best checkpoint",
                text="CAS of students that differ in nothing but their labels; 0 where no image passed the filter.",
                rows=[("Labels", "CAS"), *rows],
            )
        )
    if results["attacks"]:
        parts += attack_sections(results, "Usefulness and membership inference (table 2 of the paper)")
    return parts


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _best(results: Mapping[str, Any]) -> tuple[int, float]:
    """The teacher's best epoch on the validation images (from 1; the first of equals), and what it reached there."""
    reached = results["teacher_by_epoch"]
    best = max(reached)
    return reached.index(best) + 1, best


def _by_epoch(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(results["checkpoints"], key=lambda one: one["params"]["checkpoint"])


def _figure_1(results: Mapping[str, Any]) -> Section:
    found = _by_epoch(results)
    epochs, scores = [one["params"]["checkpoint"] for one in found], [100 * one["score"] for one in found]
    best, tuned = results["default"], results["chosen"]
    epoch, (teacher_epoch, teacher) = best["params"]["checkpoint"], _best(results)
    picture = chart(
        {
            "students": Line(epochs, scores, "o-" if len(epochs) < 30 else "-", BLUE),
            "teacher's best epoch": Line([epochs[0], epochs[-1]], [100 * teacher] * 2, "--", GREY),
        },
        x="epoch of the generator",
        y="accuracy on validation images, %",
        marks={
            "best checkpoint": Mark(epoch, 100 * best["score"], BLUE),
            "after tuning": Mark(epoch, 100 * tuned["score"], RED),
        },
    )
    return Section(
        title="Checkpoints of the generator (figure 1 of the paper)",
        text="Classification Accuracy Score: accuracy on real validation images of a student trained on what the "
        "checkpoint generates. Checkpoint and generation parameters are chosen by it. The dashed line is the best that "
        f"the teacher reached there, {percent(teacher)} after epoch {teacher_epoch} of "
        f"{len(results['teacher_by_epoch'])}. No epoch is chosen by it: the teacher that labels and is attacked is "
        f"that of the last epoch ({percent(results['teacher'])}), as students and shadow models are.",
        picture=picture,
        alt="Classification Accuracy Score of every checkpoint, beside the teacher's accuracy",
    )


def _table_1(results: Mapping[str, Any]) -> Section:
    chosen = results["chosen"]
    names = ("standard_deviation", "regeneration_rate", "cardinality_scale")
    gain = 100 * (chosen["score"] - results["default"]["score"])
    values = [f"{chosen['params'][name]:.2f}" if name == names[0] else chosen["params"][name] for name in names]
    return Section(
        title="Generation parameters after tuning (table 1 of the paper)",
        text="Δ CAS is measured on the very images that chose, and the default is among the choices, so it is never "
        "below 0.",
        rows=[
            ("", "Standard deviation", "Regeneration rate", "Cardinality scale", "Δ CAS, points"),
            ("best found", *values, f"{gain:+.2f}"),
        ],
    )


def uncharged(config: Config) -> list[str]:
    """What was chosen by looking at private images; there is no budget that it could be charged to."""
    choices = ["the generator's checkpoint is the one whose student is best on real validation images"]
    if config.tuning.trials:
        choices.append("the generation parameters are those whose student is best on real validation images")
    if config.attack.shadow_models:
        choices.append(CHOSEN_AFTER)
    return [*choices, *declared(config)]
