"""Knowledge Recycling: the best generator checkpoint, soft labels and tuned generation teach a student whose training
data leaks less (Lomurno and Matteucci 2024).

Reads downwards in the paper's order: teacher (3.1), generator (3.2), checkpoint optimisation (3.4), tuning (3.5),
membership inference attack (3.6). There is no differential privacy here: the certificate says so in its first line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from raysyn.attacks.checks import check_classes, check_views
from raysyn.attacks.shadows import check_enough
from raysyn.compute.doorway import Compute
from raysyn.compute.searches import Outcome, Search, Space
from raysyn.data.images import Images, load
from raysyn.methods.attack_report import attack_words, side_warnings, with_records
from raysyn.methods.class_shares import mix_of, stated
from raysyn.methods.common import Setting
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.exposed import expose
from raysyn.methods.knowledge_recycling import drawing as drawn_by
from raysyn.methods.knowledge_recycling import report as shown
from raysyn.methods.knowledge_recycling.config import NAME, Config, set_apart, split
from raysyn.methods.knowledge_recycling.drawing import CHOSEN, TEACHER
from raysyn.methods.knowledge_recycling.judging import judge
from raysyn.methods.knowledge_recycling.knowing import knows, unmeasured
from raysyn.methods.knowledge_recycling.knowing import shown as student_shown
from raysyn.methods.knowledge_recycling.outlook import check_memory, show_outlook
from raysyn.methods.knowledge_recycling.report import uncharged
from raysyn.methods.method import Method, Prepared
from raysyn.methods.releasing import release
from raysyn.methods.source_told import equal_ones
from raysyn.methods.synthesis import soft_labels, synthesise
from raysyn.report.rehearsal import rehearse
from raysyn.report.release import state_bytes
from raysyn.report.report import Report, write_report
from raysyn.report.tables import percent
from raysyn.train import gan
from raysyn.train.gan import checkpoint_name
from raysyn.train.students import Lesson, fit_student, fit_teacher, try_student

STUDENT = "student.pt"
TEACHER_LEAVES = (
    "release.network is True, so that the teacher leaves too, which learned from the private images themselves and "
    "tells more of them than the student does; without it no teacher leaves"
)


def prepare(config: Config) -> Prepared:
    """The data set; ValueError in one sentence where the networks cannot take it."""
    dataset = load(config.data)
    gan.new_networks(config.network, dataset.train, config.seed)
    real = split(config, dataset)
    replace(dataset, train=real.train).check_classes(f"valid_share={config.valid_share}", "change it")
    if (steps := config.gan.steps(len(real.train))) < config.gan.discriminator_steps:
        raise ValueError(
            f"gan.epochs is {config.gan.epochs}, of {len(real.train)} images {steps} steps of the discriminator, and "
            f"gan.discriminator_steps {config.gan.discriminator_steps}: the generator would make none; give more epochs"
        )
    check_classes(config.attack, real.train.classes, "--attack.shadow-models 0 leaves the attack out")
    check_views(config.attack, config.recipe)
    check_enough(config.attack, real.train, dataset.test, config.seed)
    rehearse(NAME, dataset, soft_labels=True, told=config, uncharged=uncharged(config))
    doubts = [TEACHER_LEAVES] if config.release.network else []
    return Prepared(dataset=dataset, facts={"classes_asked": mix_of(config)}, doubts=doubts)


def run(setting: Setting) -> Report:
    """Teach, choose, tune, attack; a finished stage is stored and never repeated."""
    config, dataset, folder = setting.config, setting.dataset, setting.folder
    compute, console = setting.compute, setting.console
    lesson = Lesson(
        real=split(config, dataset), classifier=config.classifier, network=config.network, recipe=config.recipe,
        recycling=config.recycling, shares=stated(config, dataset.train.class_names), seed=config.seed,
    )  # fmt: skip
    train = lesson.real.train
    console.begin(stages_of(config))

    # Preliminary step (paper 3.1, 3.2): teacher and generator learn from the same real images.
    teacher = folder.stage("teacher", lambda: compute.once(fit_teacher, lesson, name="teacher"))
    console.stage("teacher", f"accuracy on validation images {percent(teacher['valid_accuracy'])}")
    generator = folder.stage("generator", lambda: fit_generator(setting, train))
    console.stage("generator", shown.training(config, generator))

    # Checkpoint optimisation (3.4): a brief student for each checkpoint, soft labels from the teacher.
    lesson = replace(lesson, teacher=teacher["weights"])
    brief = replace(lesson, recipe=replace(config.recipe, epochs=config.search_epochs))
    by_checkpoint = search_stage(setting, "checkpoints", {"checkpoint": generator["kept"]}, brief)
    best, checkpoint = by_checkpoint[0], by_checkpoint[0]["params"]["checkpoint"]
    console.stage("checkpoints", f"best CAS {percent(best['score'])}, after epoch {checkpoint} of the generator")
    by_labels = label_stage(setting, best, brief) if config.compare_labels else []

    # Tuning (3.5): parameters of generation, then the student that stays.
    chosen, trials = tune(setting, best, brief)
    params = {"checkpoint": checkpoint, **chosen["params"]}
    student = folder.stage("student", lambda: compute.once(fit_student, params, lesson, name="student"))
    console.stage("student", f"accuracy on validation images {percent(student['valid_accuracy'])}")

    synthetic, privacy = hand_out(setting, train, teacher, student, params)

    # Membership inference attack (3.6), and the only looks at the test images.
    useful = judge(setting, lesson, teacher["weights"], student["weights"], len(synthetic))
    judged = evaluate(setting, lesson, {"teacher": teacher["weights"], "student": student["weights"]})
    results = {
        "teacher": teacher["valid_accuracy"], "teacher_by_epoch": teacher["valid_by_epoch"], "default": best,
        "student": student["valid_accuracy"], "checkpoints": by_checkpoint, "generator": generator,
        "labels": by_labels, "tuning": trials, "chosen": chosen,
        "real": len(train), "synthetic": len(synthetic), "useful": useful, **judged,
    }  # fmt: skip
    near = attack_by_distances(setting, synthetic, config.distances, train)
    attacks = near | with_records(judged, *near.get("found", ()))
    metrics = {**shown.metrics(results), **equal_ones(synthetic, dataset)}
    report = setting.report(NAME, privacy=privacy, metrics=metrics, attacks=attacks)
    story, sections = shown.story(config, results), [*shown.sections(results), *expose(setting, judged, train)]
    verdict = write_report(folder, report, synthetic=synthetic, done=story, sections=sections)
    setting.end(verdict, folder.where("Release"))
    return report


def hand_out(
    setting: Setting, train: Images, teacher: dict[str, Any], student: dict[str, Any], params: Mapping[str, Any]
) -> tuple[Images, Mapping[str, Any]]:
    """(synthetic images, the report's privacy section) of what is released: the student and a set of the generator,
    noise and mix of its own sets, each image under the class that was asked for and the teacher's soft label, whatever
    kind of labels the student learned from."""
    config, folder = setting.config, setting.folder
    kept = {TEACHER: teacher, CHOSEN: folder.stage(CHOSEN, lambda: keep_chosen(setting.compute, params))}
    drawing = drawn_by.drawing(config, train, len(train), kept.__getitem__)
    # How many images persons have is theirs.
    count = config.synthetic or train.units * params["cardinality_scale"]
    synthetic = synthesise(setting, drawing, count=count)
    soft = soft_labels(setting.compute, folder, setting.console, drawing, synthetic)
    weights = {STUDENT: state_bytes(student["weights"], asdict(config.classifier), train)}
    return synthetic, release(setting, NAME, synthetic, uncharged(config), soft_labels=soft, files=weights)


def stages_of(config: Config) -> list[str]:
    """What the console counts, in this order."""
    asked = {
        "teacher": True, "generator": True, "checkpoints": True, "labels": bool(config.compare_labels),
        "tuning": config.tuning.trials > 0, "student": True, "synthesise": True,
        "floor": config.floor, "utility": True, "attack": config.attack.shadow_models > 0,
        "distances": config.distances > 0,
    }  # fmt: skip
    return [name for name, is_so in asked.items() if is_so]


def fit_generator(setting: Setting, train: Images) -> dict[str, Any]:
    """The GAN, on all workers or on one."""
    config, compute, alone = setting.config, setting.compute, setting.machines.gan_alone
    by_itself = compute.device == "cpu" if alone is None else alone
    return compute.train(gan.fit, config.network, train, config.gan, config.seed, name="generator", alone=by_itself)


def search_stage(
    setting: Setting, name: str, space: Space, lesson: Lesson, search: Search | None = None
) -> list[dict[str, Any]]:
    """Outcomes of a search over students, best first, as a stored stage; by default every combination is tried."""
    search = search or Search(metric="accuracy", reports=lesson.recipe.epochs)

    def find() -> list[dict[str, Any]]:
        return [asdict(one) for one in setting.compute.search(try_student, space, search, name=name, shared=lesson)]

    return setting.folder.stage(name, find)


def label_stage(setting: Setting, best: dict[str, Any], lesson: Lesson) -> list[dict[str, Any]]:
    """A student of the best checkpoint for each kind of labels, best first; the kind that is taught anyway is known."""
    taught, asked = lesson.recycling.labels, setting.config.compare_labels
    checkpoint = best["params"]["checkpoint"]
    space = {"labels": [labels for labels in asked if labels != taught], "checkpoint": [checkpoint]}
    found = search_stage(setting, "labels", space, lesson) if space["labels"] else []
    known = [best | {"params": {"labels": taught, "checkpoint": checkpoint}}] if taught in asked else []
    ranked = sorted([*known, *found], key=lambda one: -one["score"])
    reached = ", ".join(f"{one['params']['labels']} {percent(one['score'])}" for one in ranked)
    setting.console.stage("labels", f"CAS by kind of label: {reached}")
    return ranked


def tune(setting: Setting, best: dict[str, Any], lesson: Lesson) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best generation parameters, and all trials. The default's CAS is told to the search, if it lies in its range,
    and not measured again."""
    tuning, checkpoint, epochs = setting.config.tuning, best["params"]["checkpoint"], lesson.recipe.epochs
    defaults = {name: getattr(lesson.recycling, name) for name in tuning.ranges()}
    searched = all(low <= defaults[name] <= high for name, (low, high) in tuning.ranges().items())
    default = asdict(Outcome(defaults, best["score"], epochs, False))
    if not tuning.trials:
        return default, []
    search = Search(
        metric="accuracy", reports=epochs, trials=tuning.trials, first_verdict=min(tuning.first_verdict, epochs),
        seed=setting.config.seed, known=(({**defaults, "checkpoint": checkpoint}, best["score"]),) if searched else (),
    )  # fmt: skip
    trials = search_stage(setting, "tuning", {**tuning.space(), "checkpoint": [checkpoint]}, lesson, search)
    trials = [trial | {"params": {name: trial["params"][name] for name in defaults}} for trial in trials]
    chosen = max([default, *(trial for trial in trials if not trial["pruned"])], key=lambda trial: trial["score"])
    gain = 100 * (chosen["score"] - best["score"])
    setting.console.stage("tuning", f"best CAS {percent(chosen['score'])}, {gain:+.1f} points over the defaults")
    return chosen, trials


def keep_chosen(compute: Compute, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the release is drawn from, in the run's own folder: checkpoints may lie on storage that goes."""
    deviation = torch.tensor(params["standard_deviation"], dtype=torch.float64)
    return {"weights": compute.kept(checkpoint_name(params["checkpoint"])), "deviation": deviation}


def evaluate(setting: Setting, lesson: Lesson, models: Mapping[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Accuracy on the real test images, LiRA on teacher and student, and the trade-off of the two."""
    config = setting.config
    found = setting.attack(models, lesson.real.train, config.classifier, setting.machines.shadows)
    if found["attacks"]:
        reached = ", ".join(f"{target} {found['attacks'][target]['auc']:.3f}" for target in models)
        variant = found["attacks"][next(iter(models))]["headline"]["variant"]
        words = attack_words(variant, config.attack.shadow_models)
        setting.console.stage("attack", f"{words}, AUC: {reached}")
        for sentence in side_warnings(found["attacks"]):
            setting.console.say(f"WARNING: {sentence}.")
    return found


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, uncharged=uncharged,
    judged_by=("attack", "floor", "distances"), drawing=drawn_by.drawing, network=drawn_by.NETWORK,
    knows=knows, unmeasured=unmeasured, shown=student_shown, held_out=set_apart, files=(STUDENT,),
)  # fmt: skip
