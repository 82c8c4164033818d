"""PIGAN's results as tables and figures: tables 1 to 3, figures 1 to 3 of the paper, sample grids."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raysyn.attacks.gan_attacks import BINS
from raysyn.figures import COLOURS, Line, chart
from raysyn.methods.pigan_experiments import NAMES
from raysyn.release import mosaic, png_bytes
from raysyn.report import Section, percent

if TYPE_CHECKING:
    from raysyn.methods.pigan import Config

Result = Mapping[str, Any]
TITLES = {
    "lambdas": "Weight of the penalty (figure 1 of the paper)",
    "parts": "Number of parts (table 2 of the paper)",
    "compare": "GAN, PIGAN, PrivGAN and DPGAN",
    "fewer_epochs": "PIGAN with fewer epochs (table 3 a of the paper)",
    "fewer_images": "PIGAN with fewer images (table 3 b of the paper)",
}
ATTACKS: dict[str, Callable[[Result], Mapping[str, Any]]] = {
    "white-box": lambda result: result["white_box"],
    "total variation": lambda result: result["total_variation"],
    "MC-set": lambda result: result["monte_carlo"]["set"],
    "MC-single": lambda result: result["monte_carlo"]["single"],
}
IN_PERCENT = ("white-box", "MC-set", "MC-single")


def value_of(attack: str, result: Result) -> float:
    """The figure of one attack, shares in percent."""
    found = ATTACKS[attack](result)
    return 100 * found["accuracy"] if attack in IN_PERCENT else found["distance"]


def scores(result: Result) -> dict[str, float | None]:
    """The fidelity of one GAN's images, by name; None for what was not measured."""
    faithful, useful = result["fidelity"], list(result["accuracy"].values())
    return {
        "inception score": faithful["inception_score"]["value"],
        "FID": faithful["fid"]["value"],
        "intra-FID": faithful["intra_fid"]["value"],
        "distance*": faithful["frechet_distance_cnn_features"],
        "intra-distance*": faithful["intra_frechet_distance_cnn_features"],
        "accuracy, %": 100 * useful[0] if useful else None,
    }


def fidelity(useful: Mapping[str, Any], faithful: Mapping[str, Any]) -> str:
    """The console's sentence."""
    reached = f"accuracy on the others {percent(useful['mean']['accuracy'])}; " if useful else ""
    distance = faithful["intra_fid"]["value"]
    if distance is not None:
        return f"{reached}intra-FID {distance:.4g}"
    distance = faithful["intra_frechet_distance_cnn_features"]
    return reached + ("no distance measured" if distance is None else f"intra-distance {distance:.4g} (not FID)")


def white_box(result: Result, units: int) -> str:
    """The console's sentence."""
    chance = result["white_box"]["chance"]
    more = f"; {units} GANs attacked in all" if units > 1 else ""
    return (
        f"white-box accuracy {percent(result['white_box']['accuracy'])} (by chance {percent(chance['low'])} to "
        f"{percent(chance['high'])}){more}"
    )


def metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """What joins the `metrics` of report.json: mean and spread of every experiment."""
    return {
        "experiments": {
            name: [
                {
                    "title": one["title"],
                    "splits": len(one["results"]),
                    **{column: _spread(values) for column, values in _columns(one["results"]).items()},
                }
                for one in group
            ]
            for name, group in results["experiments"].items()
        }
    }


def attacks(results: Mapping[str, Any]) -> dict[str, Any]:
    """The `attacks` section of report.json: those on the released GAN."""
    released = results["released"]
    return {name: released[name] for name in ("white_box", "total_variation", "monte_carlo")}


def story(config: Config, members: int, others: int, results: Mapping[str, Any]) -> list[str]:
    """One plain sentence per stage."""
    monte_carlo, title = config.monte_carlo, results["released"]["title"]
    told = [f"Trained a {title} for {config.gan.epochs:,} epochs on {members:,} images, the members."]
    if config.model in ("pigan", "privgan"):
        told.append(
            f"Its penalty: a classifier pre-trained for {config.penalty.pretrain_epochs} epochs to tell "
            f"{config.penalty.parts} parts of the members apart, and trained on generated images after epoch "
            f"{config.penalty.delay_epochs}."
        )
    told += [
        f"Drew {config.synthetic:,} images, equally many per class.",
        f"Attacked it with the {others:,} other images: by its discriminator (white-box, total variation), and by "
        f"{monte_carlo.fakes:,} generated images near {monte_carlo.suspects} suspects of each side, "
        f"{monte_carlo.repeats} times (Monte Carlo).",
    ]
    trained = {id(one): one for group in results["experiments"].values() for one in group}
    if trained:
        told.append(
            f"For comparison, trained and attacked {len({one['title'] for one in trained.values()})} GANs on "
            f"{config.experiment.splits} splits into members and others."
        )
    return told


def sections(config: Config, results: Mapping[str, Any]) -> list[Section]:
    """What this pipeline's report shows beyond that of others."""
    released = results["released"]
    parts = [_attacks(released), _histograms("Discriminator scores", [(released["title"], released)])]
    for name, group in results["experiments"].items():
        parts.append(_table(TITLES[name], group))
        if name == "lambdas":
            parts += _against_lambda(group, config.experiment.lambdas)
            shown = [(one["title"], one["results"][0]) for one in group]
            parts.append(_histograms("Discriminator scores by weight (figure 3 of the paper)", shown))
        if name == "compare":
            parts += _trade_off(group)
            parts.append(_equal(group, config))
    everyone = {one["title"]: one for group in results["experiments"].values() for one in group}
    parts += [_grid(one["title"], one["results"][0]) for one in everyone.values()]
    return parts


def _attacks(released: Result) -> Section:
    rows = []
    for name, find in ATTACKS.items():
        chance = find(released)["chance"]
        scale, digits = (100, 1) if name in IN_PERCENT else (1, 3)
        low, high = (f"{scale * chance[side]:.{digits}f}" for side in ("low", "high"))
        rows.append(
            (
                name + (", %" if name in IN_PERCENT else ""),
                f"{value_of(name, released):.{digits}f}",
                f"{scale * chance['value']:.{digits}f} ({low} to {high})",
            )
        )
    return Section(
        title=f"Membership inference against the released {released['title']}",
        text="Each attack beside what it would reach by chance, with the interval in which chance puts it 95 times of "
        "100. Total variation is an upper limit on attacks that use discriminator scores.",
        rows=[("Attack", "Reached", "By chance"), *rows],
    )


def _columns(found: Sequence[Result]) -> dict[str, list[float | None]]:
    """All figures of one variant, a list over splits each."""
    columns: dict[str, list[float | None]] = {name: [value_of(name, one) for one in found] for name in ATTACKS}
    each = [scores(one) for one in found]
    return columns | {name: [one[name] for one in each] for name in each[0]}


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "std": None}
    return {"mean": float(np.mean(known)), "std": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def _told(values: Sequence[float | None]) -> str:
    spread = _spread(values)
    if spread["mean"] is None:
        return "-"
    mean = f"{spread['mean']:.4g}"
    return mean if spread["std"] is None else f"{mean} ± {spread['std']:.2g}"


def _table(title: str, group: Sequence[Mapping[str, Any]]) -> Section:
    columns = [_columns(one["results"]) for one in group]
    # A column that nobody has a figure in is left out.
    names = [name for name in columns[0] if any(value is not None for one in columns for value in one[name])]
    heads = [name + (", %" if name in IN_PERCENT else "") for name in names]
    splits = len(group[0]["results"])
    text = "One split into members and others." if splits == 1 else f"Mean ± standard deviation over {splits} splits."
    if "distance*" in names:
        text += " * Fréchet distance on features of a CNN trained here on the members, not FID."
    rows = [(one["title"], *(_told(found[name]) for name in names)) for one, found in zip(group, columns, strict=True)]
    return Section(title=title, text=text, rows=[("GAN", *heads), *rows])


def _fidelities(group: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to plot privacy against: accuracy, and the intra-class distance that there is."""
    measured = scores(group[0]["results"][0])
    distance = "intra-FID" if measured["intra-FID"] is not None else "intra-distance*"
    return [name for name in ("accuracy, %", distance) if measured[name] is not None]


def _mean(one: Mapping[str, Any], name: str) -> float:
    found = _spread(_columns(one["results"])[name])["mean"]
    assert found is not None
    return found


def _against_lambda(group: Sequence[Mapping[str, Any]], lambdas: Sequence[float]) -> list[Section]:
    """Figure 1: attacks and fidelity over the weight; the GAN without a penalty is a level."""
    plain, *swept = group
    parts = []
    for name, y in (("white-box", "white-box accuracy, %"), *((one, one) for one in _fidelities(group))):
        level = _mean(plain, name)
        ordered = sorted(zip(lambdas, swept, strict=True), key=lambda pair: pair[0])
        lines = {
            "PIGAN": Line([weight for weight, _ in ordered], [_mean(one, name) for _, one in ordered], "o-"),
            "GAN": Line([min(lambdas), max(lambdas)], [level, level], "--"),
        }
        picture = chart(lines, x="λ", y=y.replace("*", " (not FID)"))
        parts.append(Section(title=f"λ and {y.rstrip('*')}", picture=picture, alt=f"{y} over the weight"))
    return parts


def _trade_off(group: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Figure 2: what fidelity each GAN gives for its white-box accuracy."""
    parts = []
    for name in _fidelities(group):
        lines = {}
        for model in dict.fromkeys(one["model"] for one in group):
            points = sorted((_mean(one, "white-box"), _mean(one, name)) for one in group if one["model"] == model)
            lines[NAMES[model]] = Line([x for x, _ in points], [y for _, y in points], "o-")
        parts.append(
            Section(
                title=f"Privacy and {name.rstrip('*')} (figure 2 of the paper)",
                picture=chart(lines, x="white-box accuracy, %", y=name.replace("*", " (not FID)")),
                alt=f"{name} over white-box accuracy",
            )
        )
    return parts


def _equal(group: Sequence[Mapping[str, Any]], config: Config) -> Section:
    """Table 1: of each private GAN the setting whose white-box accuracy is nearest to PIGAN's at --penalty.weight."""
    swept = [one for one in group if one["model"] == "pigan"]
    reference = next((one for one in swept if one["title"].endswith(f"λ {config.penalty.weight:g}")), swept[0])
    level = _mean(reference, "white-box")
    nearest = [reference]
    for model in ("privgan", "dpgan"):
        candidates = [one for one in group if one["model"] == model]
        nearest += sorted(candidates, key=lambda one: abs(_mean(one, "white-box") - level))[:1]
    table = _table("At equal white-box accuracy (table 1 of the paper)", nearest)
    text = f"The settings tried whose white-box accuracy is nearest to that of {reference['title']}. {table.text}"
    return Section(title=table.title, text=text, rows=table.rows)


def _histograms(title: str, shown: Sequence[tuple[str, Result]]) -> Section:
    """Figure 3: the first discriminator's, or code's, scores of members and others."""
    centres = (np.arange(BINS) + 0.5) / BINS
    lines = {}
    for index, (name, result) in enumerate(shown):
        histograms = result["total_variation"]["histograms"]
        for side, style in (("members", "-"), ("others", "--")):
            lines[f"{name}, {side}"] = Line(
                centres.tolist(), (100 * np.array(histograms[side][0])).tolist(), style, COLOURS[index % len(COLOURS)]
            )
    return Section(
        title=title,
        text="Share of images per score: where the curves of members and others part, the discriminator knows its own.",
        picture=chart(lines, x="score: probability of being real", y="images, %"),
        alt="Histograms of discriminator scores of members and others",
    )


def _grid(title: str, result: Result) -> Section:
    pixels = result["samples"].numpy()
    classes = len(pixels) // 8
    # Classes come in turn: a row for each of the eight, a column per class.
    png = png_bytes(mosaic(pixels, classes, max(1, round(40 / pixels.shape[1])), 2))
    return Section(
        title=f"Images of {title}",
        text="The first ones, a column per class.",
        picture="data:image/png;base64," + base64.b64encode(png).decode(),
        alt=f"images generated by {title}",
    )
