"""report.html: the figures of one run as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from raysyn.data.images import Images
from raysyn.report import attackers, classes, likeness
from raysyn.report.advice import advice
from raysyn.report.meaning import picture
from raysyn.report.pictures import first_of_class, mosaic, png_uri
from raysyn.report.section import Section
from raysyn.report.tables import MEMORY, figure, in_words, percent, size
from raysyn.report.verdict import verdict
from raysyn.runs.refusals import leaves
from raysyn.screen.console import duration
from raysyn.screen.words import in_a_line, rounded_up, shortened, so_many

FOUND = "<!-- what attackers found -->\n", "<!-- end of what attackers found -->\n"
"""In the page, around the section that `raysyn attack` draws anew."""


def render(
    content: Mapping[str, Any], synthetic: Images | None, central: Images | None = None, done: Sequence[str] = (),
    sections: Sequence[Section] = (), headline: str | None = None, generated: Images | None = None,
) -> str:  # fmt: skip
    """The self-contained page: pictures inline, no script, nothing fetched; private images lie beside it."""
    grids = [] if synthetic is None else list(_grids(synthetic, central, generated))
    n_synthetic = 0 if synthetic is None else len(synthetic)
    return _page().render(
        r=content,
        verdict=headline or verdict(content, n_synthetic),
        done=done,
        grids=grids,
        with_central=central is not None,
        with_generated=generated is not None,
        left_out=len(content["dataset"]["classes"]) - len(grids),
        n_synthetic=n_synthetic,
        config=list(leaves(content["config"])),
        machine=list(leaves(content["environment"])),
        fidelity=likeness.known(content),
        by_class=_by_class(content),
        advice=advice(content),
        trade_off=picture(content["privacy"]),
        found=attackers.of_report(content),
        sections=sections,
        memory=[name for name in MEMORY if any(name in spent for spent in content["timings"].values())],
        total={key: sum(spent[key] for spent in content["timings"].values()) for key in ("wall_s", "cpu_s")},
    )


def with_found(page: str, content: Mapping[str, Any]) -> str | None:
    """A run's page with what attackers have found by now in place of what they had; None for another page."""
    (begin, end), drawn = FOUND, _page().environment.get_template("section.html.j2")
    before, _, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not ended:
        return None
    return "".join([before, begin, *(drawn.render(section=one) for one in attackers.of_report(content)), end, after])


def fault(part: Any) -> str | None:
    """Why somebody's part of the page cannot be shown, in a sentence without a full stop; None for one that can."""
    if not isinstance(part, Section):
        return f"a part of the page is a {type(part).__name__}: give raysyn.report.section.Section"
    try:
        pictures = [picture for _, picture in part.strips] + ([] if part.picture is None else [part.picture])
        for one in pictures:
            if not isinstance(one, str) or not one.startswith("data:image/"):
                told = shortened(one, 40) if isinstance(one, str) else f"a {type(one).__name__}"
                return (
                    f"the picture of the part {part.title!r} is {told}: give a data URI, as "
                    "raysyn.report.pictures.png_uri makes of an image and raysyn.report.figures.uri of a figure"
                )
        _page().environment.get_template("section.html.j2").render(section=part)
    except Exception as error:  # whatever values that nobody has checked may raise
        return f"the part {part.title!r} cannot be shown ({in_a_line(error)})"
    return None


@cache
def _page() -> Any:
    """The page without its figures: a run renders it more than once."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters.update(
        percent=percent, figure=figure, up=rounded_up, name=in_words, duration=duration, size=size, so_many=so_many
    )
    return page.get_template("report.html.j2")


def _by_class(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page shows of each class; None where nothing is known."""
    if not (known := content["metrics"].get("utility_classes")):
        return None
    names = content["dataset"]["classes"]
    return {
        "rows": classes.rows(known, names), "names": names, "confusions": classes.confusions(known),
        "mistakes": classes.mistakes(known), "left_out": len(names) - classes.SHOWN,
    }  # fmt: skip


def _grids(
    synthetic: Images, central: Images | None, generated: Images | None, most: int = 20
) -> Iterator[dict[str, str | None]]:
    """Per class its name, a strip of synthetic, one of central and one of generated images as data URIs."""
    names = synthetic.class_names[:most]
    lines = min(3, max(1, 6 // len(names)))
    scale = max(1, round(56 / synthetic.images_NHWC.shape[1]))
    # About as many as fit beside each other on the page.
    columns = min(10, max(4, 500 // (synthetic.images_NHWC.shape[2] * scale)))
    for label, name in enumerate(names):
        grid: dict[str, str | None] = {"name": name, "synthetic": None, "central": None, "generated": None}
        for kind, images, across in (
            ("synthetic", synthetic, columns),
            ("central", central, min(5, columns)),
            ("generated", generated, min(5, columns)),
        ):
            if images is None:
                continue
            chosen = first_of_class(images, label, across * lines)
            if len(chosen):
                grid[kind] = png_uri(mosaic(chosen, min(across, len(chosen)), scale, 2))
        yield grid
