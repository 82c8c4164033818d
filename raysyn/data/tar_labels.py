"""Labels of WebDataset samples: class numbers in .cls, words or numbers in .json and .txt; and persons in .json."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.data.manifest import LABEL
from raysyn.data.members import Member
from raysyn.data.names import CONTROL
from raysyn.data.parquet_schema import usual_name
from raysyn.data.persons import Persons, number_of, spelled_twice
from raysyn.data.reading import Unsuited
from raysyn.data.word_labels import WHOLE

LABELS = ("cls", "json", "txt")
"""In the order in which they are taken, where a sample has several."""
MOST_OF_LABEL = 2**20
"""Bytes of a label's file that are read."""
LONGEST_WORD = 64
"""Characters of a class's name in a .txt file: a caption is longer."""
FEW_WORDS = 20
"""So many may differ in each .txt file. Captions differ in most."""
BELOW_0 = re.compile(r"-\d+")
"""Taken for a word, it would make words of all numbers beside it."""
MEND = "; give labels as .cls or .json, or, of private images, forget them (--data.no-labels)"


def label_of(labels: Mapping[str, Member], place: str) -> tuple[str, str]:
    """(kind of label, label) of a sample with these {kind: file}; ValueError, in a sentence that `place` opens, for
    what is no label."""
    kind = next((kind for kind in LABELS if kind in labels), None)
    if kind is None:
        raise ValueError(
            f"{place} has no label (cls, json or txt); give one each (if the archive holds class folders, unpack it)"
        )
    word = _text(labels[kind], place)
    if kind == "json":
        word = _of_json(word, place)
    if not word:
        raise ValueError(f"{place} has an empty label; give a number or a word")
    if kind == "txt" and (len(word) > LONGEST_WORD or any(unicodedata.category(one) in CONTROL for one in word)):
        raise ValueError(f"{place} has a .txt that looks like a caption{MEND}")
    if "|" in word:
        # Taken for one, each combination that occurs would be a class, and tell of rare ones.
        raise ValueError(f"{place} has several labels, with | between them; give one each")
    if kind == "cls":
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise ValueError(f"{place} has a label cls that is no class number; give 0, 1, 2, ...")
        word = str(int(word))
    if BELOW_0.fullmatch(word):
        raise ValueError(f"{place} has the label {word}; number classes 0, 1, 2, ...")
    return kind, word


def _text(member: Member, place: str) -> str:
    if member.size > MOST_OF_LABEL:
        raise ValueError(f"{place} has a label of {member.size:,} bytes; give a number or a word")
    try:
        # Windows begins files with a mark of their encoding.
        return member.read().decode("utf-8-sig").strip()
    except Unsuited as error:
        raise ValueError(f"{place} cannot be used: {error}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{place} has a label that is not UTF-8; mend it") from None


class Whose:
    """Whose each sample is, as its .json says: one for all samples of a set, asked in turn."""

    def __init__(self, persons: Persons) -> None:
        self.persons, self.keys = persons, set[str]()
        self.unreadable = 0
        """Files .json that are none; without a column that is named they say nothing of persons."""
        self.named = dict[str, int]()
        """{name: number} of persons, once there are numbers."""
        self._with_json = self._unfit = False
        self._found: list[tuple[str, bool, Any, str | None]] = []
        """(place, whether it names somebody, whom, why it cannot)."""

    def ask(self, labels: Mapping[str, Member], place: str) -> None:
        """Note the person of a sample; ValueError, in a sentence that `place` opens, where a column is named that its
        json lacks, or that holds none."""
        column = self.persons.column
        if "json" not in labels:
            what = f"{self.persons.group}person_column={column!r}" if column is not None else "its person"
            self._found.append((place, False, None, f"{place} has no json, in which {what} would be; add it"))
            return
        self._with_json = True
        try:
            fields = _parsed(_text(labels["json"], place), place)
        except ValueError as error:
            if column is not None:
                raise
            self.unreadable += 1
            self._found.append((place, False, None, str(error)))
            return
        fields = fields if isinstance(fields, dict) else {}
        self.keys.update(fields)
        key = self.persons.column_in(list(fields), place, ())
        person = None if key is None else fields[key]
        if not isinstance(person, int | str | None) or isinstance(person, bool):
            if column is not None:
                raise ValueError(f"{place} has a {key} in its json that is no number or word; mend it")
            self._unfit = True
        self._found.append((place, key is not None, person, None))

    def numbers(self, label: str) -> tuple[list[int] | None, tuple[str, ...]]:
        """A number for each sample, None where nobody is named; and what a user must know of them. ValueError where
        some samples name nobody."""
        if not self._with_json:
            self.persons.check_no_column(label)
        if self.persons.column is None and (self._unfit or not any(named for _, named, *_ in self._found)):
            return None, self.persons.asked(sorted(self.keys), LABEL)
        if fault := next((fault for *_, fault in self._found if fault is not None), None):
            raise ValueError(fault)
        known = self.named
        return [number_of(person, known, place) for place, _, person, _ in self._found], tuple(spelled_twice(known))


def refuse_strange(labels: Sequence[tuple[str, str]], places: Sequence[str], label: str, by_txt: bool) -> None:
    """ValueError for captions, and for words of a split that train lacks. The words are not shown: they may be what
    somebody has written of a person."""
    words = {word for _, word in labels}
    if all(map(WHOLE.fullmatch, words)):
        return
    if by_txt and len(words) > max(FEW_WORDS, len(labels) // 2):
        raise ValueError(f"{label} has .txt files of which most differ, as captions do{MEND}")
    known = {word for split, word in labels if split == "train"}
    for place, (_, word) in zip(places, labels, strict=True):
        if word not in known:
            raise ValueError(f"{label}: {place} has a label that is no class of train; mend it")


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{place} has a label json that is no JSON; mend it") from None


def _of_json(text: str, place: str) -> str:
    found = _parsed(text, place)
    for name in LABEL if isinstance(found, dict) else ():
        value = found.get(usual_name(list(found), (name,)))
        if isinstance(value, int | str) and not isinstance(value, bool):
            return str(value)
    raise ValueError(f"{place} has no number or word {', '.join(LABEL[:-1])} or {LABEL[-1]} in its json; add it")
