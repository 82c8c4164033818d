"""From what a user says of a data set (`images.DataConfig`) to its source, labels and the pictures to read; nothing is
decoded but to find what is broken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from raysyn.data import persons
from raysyn.data.broken import without_broken
from raysyn.data.labels import check_gap, names_of_classes, whole_numbers
from raysyn.data.named_classes import called_like_persons
from raysyn.data.names import check_name
from raysyn.data.parquet_schema import Columns, check_no_columns
from raysyn.data.pixels import SMALLEST
from raysyn.data.reading import Reading
from raysyn.data.several import Several
from raysyn.data.shares import check_share, left_out_by, limited, with_test_images
from raysyn.data.source import SPLITS, Source
from raysyn.data.sources import from_name, from_path


def kept_of(
    source: Source, labels: dict[str, np.ndarray], class_names: tuple[str, ...], config: Any
) -> tuple[dict[str, np.ndarray], str]:
    """{split: places of the images to read}, and a word on those that were left out as broken; ValueError where a class
    that no source has declared is left without an image."""
    some = {split: limited(source, split, config.limit) for split, found in labels.items() if found.size}
    check_gap(naming_of(source), labels["train"][some["train"]], len(class_names), *left_out_by(config))
    kept, left_out = without_broken(source, some)
    check_gap(naming_of(source), labels["train"][kept["train"]], len(class_names), *left_out_by(config))
    return kept, left_out


def naming_of(source: Source) -> str | None:
    """How it could declare names of its classes, where it knows them only as the labels of its images."""
    return source.naming if source.class_names is None or source.of_labels else None


def opened(config: Any) -> tuple[Source, dict[str, np.ndarray], tuple[str, ...]]:
    """The source with its test images, the labels of each split and the names of classes; nothing is decoded."""
    _check(config)
    source = _source(config)
    labels = _labels(source)
    if not labels["train"].size:
        raise ValueError(f"{source.label} has no train images; both train and test are needed")
    # Of all images: which classes there are must not depend on what is held out.
    class_names = names_of_classes(source, labels)
    if config.path is not None:
        source = replace(source, warned=(*source.warned, *called_like_persons(class_names, config.label_column)))
    source = with_test_images(source, config.test_share)
    labels = _labels(source)
    whose_N = source.splits["train"].persons_N
    n, what = (len(labels["train"]), "images") if whose_N is None else (len(np.unique(whose_N)), "persons")
    if config.limit is not None and config.limit > n:
        left = f"{n} {what} of {source.label}" + (" that are left to train" if config.test_share else "")
        raise ValueError(f"data.limit={config.limit} exceeds the {left}; lower it")
    return source, labels, class_names


def _check(config: Any) -> None:
    """ValueError for what is wrong whatever the source is."""
    if config.size is not None and config.size < SMALLEST:
        raise ValueError(f"data.size={config.size} is too small; give at least {SMALLEST} or leave it out")
    if config.limit is not None and config.limit < 1:
        raise ValueError(f"data.limit={config.limit} leaves no images; give at least 1 or leave it out")
    if config.most_per_person is not None and config.most_per_person < 1:
        raise ValueError(
            f"data.most_per_person={config.most_per_person} leaves nobody an image; give at least 1 or leave it out"
        )
    config.how()
    check_share(config.test_share)
    Reading.of(config)
    config.persons()
    several = Several.of(config.multi_label, config.label_order)
    if config.label_column is not None and config.label_column == config.person_column:
        raise ValueError(
            f"data.label_column={config.label_column!r} and data.person_column={config.person_column!r} name one "
            "column, and names of classes leave with the release: name another column of labels, or forget them with "
            "--data.no-labels"
        )
    if config.label_column is not None and not config.labels:
        raise ValueError(
            f"data.label_column={config.label_column!r} says where labels are, and --data.no-labels forgets them; "
            "leave one of them out"
        )
    if several is not None and not config.labels:
        raise ValueError(
            f"data.multi_label={several.how!r} says which labels to heed, and --data.no-labels forgets them; leave one "
            "of them out"
        )


def _source(config: Any) -> Source:
    """All of it, with how it is read; ValueError where that does not fit it."""
    columns, whose = Columns(config.image_column, config.label_column), config.persons()
    several, reading = Several.of(config.multi_label, config.label_order), Reading.of(config)
    if config.path is None:
        check_no_columns(columns, f"data.name={config.name!r}")
        whose.check_none(f"data.name={config.name!r}")
        source = from_name(config.name, config.size, several=several, labels=config.labels)
    else:
        source = from_path(config.path, columns, several, labels=config.labels, persons=whose)
    source = replace(source, reading=reading)
    for split, part in source.splits.items():
        reading.check_arrays(part.pictures, source.label if split == "train" else f"{source.label}: {split}")
    check_name(source.label, "the data set", source.name)
    persons.check_apart(source)
    if config.most_per_person is not None and source.splits["train"].persons_N is None:
        raise ValueError(
            f"data.most_per_person={config.most_per_person} bounds the images of a person, but nobody is named in "
            f"{source.label}; name them with --data.person-column or --data.person-pattern, or leave it out"
        )
    return source


def _labels(source: Source) -> dict[str, np.ndarray]:
    return {split: whole_numbers(source, split) for split in SPLITS if split in source.splits}
