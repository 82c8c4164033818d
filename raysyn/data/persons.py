"""Whose image each is: a column says it, an array, or a pattern over names of files.

Whoever is named has all images in one split, and wherever images are divided all of somebody's stay on one side: what
is tested must not be learned from, and a promise for persons holds for whole persons alone.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
import warnings
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysyn.data.names import legible, there_are
from raysyn.data.source import Source

USUAL = "person"
"""What the column is called, in whatever case, where none is named."""
NOBODY = ("", "nan", "none", "null", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "?", "-", "--", ".")
"""What tables hold in place of a name, in small letters."""
NEAR = (
    "account", "applicant", "case", "client", "cust", "customer", "donor", "employee", "fullname", "holder",
    "household", "iban", "individual", "konto", "kunde", "kunden", "lastname", "member", "mrn", "nachname", "owner",
    "participant", "pat", "patient", "patienten", "people", "person", "personen", "pid", "proband", "probanden", "ssn",
    "student", "subj", "subject", "surname", "uid", "user", "writer",
)  # fmt: skip
"""What else columns of persons are called, in small letters, without id before or after it: asked about, not read."""
SEAM = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Between letters and digits, and before capitals."""
FEW = 20
"""Persons: of fewer a run warns."""
PREFIX = r"([^/]+)[\s_-][^\s_/-]+$"
"""What a name of a file begins with, up to its last separator."""


@dataclass(frozen=True)
class Persons:
    """How a user names them; without any flag a column or array of the usual name does."""

    column: str | None = None
    pattern: re.Pattern[str] | None = None
    group: str = "data."
    """What the flags begin with."""

    @staticmethod
    def of(column: str | None, pattern: str | None, group: str = "data.") -> Persons:
        """From two fields of `DataConfig`; ValueError for both, and for what is no pattern."""
        if column is not None and pattern is not None:
            raise ValueError(
                f"{group}person_column={column!r} and {group}person_pattern={pattern!r} both say whose an image is; "
                "leave one of them out"
            )
        if pattern is None:
            return Persons(column, None, group)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)
                # Names are compared in one of the ways in which Unicode writes a letter, whatever a file system has.
                compiled = re.compile(unicodedata.normalize("NFC", pattern))
        except (re.error, RecursionError, OverflowError, FutureWarning) as error:
            raise ValueError(
                f"{group}person_pattern={pattern!r} is no regular expression ({error}); mend it, such as '{PREFIX}'"
            ) from error
        if compiled.groups > 1 and "person" not in compiled.groupindex:
            raise ValueError(
                f"{group}person_pattern={pattern!r} has {compiled.groups} groups; call the one that is the person "
                "(?P<person>...)"
            )
        return Persons(None, compiled, group)

    def given(self) -> list[tuple[str, str]]:
        """What a user has said: fields and values."""
        fields = {"person_column": self.column, "person_pattern": self.pattern and self.pattern.pattern}
        return [(name, value) for name, value in fields.items() if value is not None]

    def check_none(self, label: str) -> None:
        """ValueError where something is said of a set by name."""
        for name, value in self.given():
            raise ValueError(
                f"{self.group}{name}={value!r} says whose the images of own files are, and {label} is a set by name; "
                "leave it out"
            )

    def check_no_column(self, label: str) -> None:
        """ValueError where a column is named for what has none."""
        if self.column is not None:
            raise ValueError(
                f"{self.group}person_column={self.column!r} names a column, but {label} is no Parquet file, no "
                f"table and no .tar with .json; give --{self.group}person-pattern, or of a .npz the array train_persons"
            )

    def column_in(self, names: Sequence[str], label: str, others: Collection[str | None]) -> str | None:
        """Which column names them, None where none does; ValueError, in a sentence that `label` opens, where the one
        that is given is not there. `others` are read as something else."""
        if self.column is not None:
            if self.column in names:
                return self.column
            raise ValueError(
                f"{label} lacks the column that {self.group}person_column={self.column!r} names; it has "
                f"{there_are(names, self.column)}"
            )
        usual = sorted((name for name in names if name.lower() == USUAL), key=lambda name: name != USUAL)
        return usual[0] if usual and usual[0] not in others and self.pattern is None else None

    def asked(self, names: Iterable[str], others: Collection[str | None]) -> tuple[str, ...]:
        """A question about columns that by their names may be of persons, where none was read as such."""
        if self.column is not None or self.pattern is not None:
            return ()
        near = [name for name in names if name not in others and is_near(name)]
        if not near:
            return ()
        columns = f"Column {near[0]!r} looks" if len(near) == 1 else f"Columns {', '.join(map(repr, near))} look"
        return (
            f"{columns} like persons: name {'it' if len(near) == 1 else 'the one that says whose an image is'} with "
            f"--{self.group}person-column, or the promise is for one image, whoever has several.",
        )

    def of_names(self, source: Source, labels: bool = True) -> Source:
        """`source` with the persons that the pattern, if there is one, finds in the names of its files, whose folders
        are classes only with `labels`. ValueError where a file has no name, or one that tells nobody."""
        if self.pattern is None:
            return source
        numbers, splits = dict[str, int](), {}
        for split, part in source.splits.items():
            if part.names is None:
                raise ValueError(
                    f"{self.group}person_pattern={self.pattern.pattern!r} is for names of files, which {source.label} "
                    "has none of; name persons in a column, or of a .npz in the array train_persons"
                )
            found = array("q")
            for index, name in enumerate(part.names()):
                if (person := self._in_name(name)) is None:
                    raise ValueError(
                        f"{source.label}: {part.place(index)} has the name {legible(name)!r}, in which "
                        f"{self.group}person_pattern={self.pattern.pattern!r} finds no person; mend one of the two"
                    )
                found.append(number_of(person, numbers, ""))
            splits[split] = replace(part, persons_N=np.array(found, np.int64))
        told = "; ".join(filter(None, (source.told, "persons by names of files")))
        of_folders = not labels and set(source.class_names or ("",)) <= numbers.keys()
        of_one_class = [] if of_folders else _of_one_class(numbers, source)
        warned = (*source.warned, *of_one_class, *spelled_twice(numbers))
        return replace(source, splits=splits, told=told, warned=warned, persons=numbers)

    def _in_name(self, name: str) -> str | None:
        assert self.pattern is not None
        match = self.pattern.search(unicodedata.normalize("NFC", name))
        person = match and match["person" if "person" in self.pattern.groupindex else min(1, self.pattern.groups)]
        return person if person and person.strip() else None


def is_near(column: str) -> bool:
    """Whether a column is called like one of persons."""
    bare = re.sub(r"[\W_]+", "", column.lower())
    bare = (
        re.sub(r"^id(?=.)|(?<=.)(ids?|no|nr|num|nummer|number|name|key|code)$", "", bare) if bare not in NEAR else bare
    )
    return bare in NEAR or bare.removesuffix("s") in NEAR


def _of_one_class(persons: Collection[str], source: Source) -> list[str]:
    """A warning where names of persons have that of a class in them: as the folder above them, wherever that lies, or,
    of half of the persons, as words, or as a folder of a number, which may be somebody's too."""
    folders = {_words(name) for name in source.class_names or ()} - {()}
    numbers = {name for name in folders if not re.search(r"[^\W\d_]", "".join(name))}
    named = folders - numbers
    words = named | {_words(name, True) for name in source.class_names or () if _words(name) in named}
    lengths, within = {len(some) for some in words}, 0
    for person in persons:
        above = {_words(part) for part in person.split("/")[:-1]}
        if not above.isdisjoint(named):
            break
        parts = {
            some[at : at + length] for some in (_words(person), _words(person, True)) for length in lengths
            for at in range(len(some) - length + 1)
        }  # fmt: skip
        within += not above.isdisjoint(numbers) or not parts.isdisjoint(words)
    else:
        if not within or 2 * within < len(persons):
            return []
    return [
        "Names of persons have the name of a class in them, so that somebody with images of two classes is two "
        "persons, each with a promise of its own: let the group of --data.person-pattern hold the name alone."
    ]


def _words(name: str, seams: bool = False) -> tuple[str, ...]:
    """In small letters; with `seams` also those with nothing between them, such as cat1, pt1cat or catPatient."""
    apart = SEAM.sub(" ", name) if seams else name
    return tuple(filter(None, re.split(r"[\s_/.-]+", apart.casefold())))


def spelled_twice(persons: Iterable[str]) -> list[str]:
    """A warning where persons differ in capital letters, leading zeros or what stands between words alone; none is
    named in it."""
    groups = Counter(_spelled(person) for person in persons)
    if not (several := [count for count in groups.values() if count > 1]):
        return []
    return [
        f"{sum(several):,} persons are {len(several):,} but for capital letters, leading zeros, dashes, an apostrophe "
        "before them, or what stands between words (007 and 7, Ann and ann): if such are one, spell them alike, or "
        "somebody is hidden as two."
    ]


def _spelled(name: str) -> str:
    """What another spelling of the same name has too. A sign before a number is a part of it, and so is its point."""
    name = unicodedata.normalize("NFKC", name).casefold().strip().lstrip("'\u2019")
    name = "".join("-" if unicodedata.category(one) == "Pd" else one for one in name)
    name = re.sub(r"(?<=\d)\.0+$", "", name)
    apart = re.sub(r"(?<=\w)(?:[\s_/-]|\.(?!\d)|(?<!\d)\.)+(?=\w)", " ", name)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", apart)


def _visible(name: str) -> str:
    """Without format characters, which mostly do not show, as zero-width spaces and soft hyphens of a copied cell."""
    plain = "".join(one for one in name if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFC", plain).strip()


def number_of(person: Any, numbers: dict[str, int], place: str) -> int:
    """The number of whom a field names, which follows from the name alone; it is noted in `numbers`. ValueError, in a
    sentence that `place` opens, for an empty field: to nobody knows whom nothing can be promised."""
    name = "" if person is None else _visible(str(person))
    if name.casefold() in NOBODY:
        raise ValueError(
            f"{place} has {'an empty person' if not name else f'the person {name!r}, which is nobody'}; "
            "name whose image it is, or drop it"
        )
    if name not in numbers:
        told = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=b"raysyn persons")
        # Of two names with one number, which are not to be expected, both would be hidden together.
        numbers[name] = int.from_bytes(told.digest(), "big") >> 1
    return numbers[name]


def with_arrays(source: Source, arrays: Mapping[str, Any]) -> Source:
    """`source` with the persons of an array for each split; ValueError where one is missing or does not fit."""
    numbers, splits = dict[str, int](), {}
    for split, part in source.splits.items():
        where, n = f"{source.label}: {split}_persons", len(part.labels_N)
        if split not in arrays:
            other = next(iter(arrays))
            raise ValueError(f"{source.label} has an array {other}_persons, but lacks {split}_persons; give both")
        found = arrays[split]
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuU" or found.shape not in ((n,), (n, 1)):
            given = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "no array"
            raise ValueError(f"{where} is {given}; give a number or string for each of the {n} images")
        persons = [
            number_of(one, numbers, f"{source.label}: {part.place(index)}") for index, one in enumerate(found.flat)
        ]
        splits[split] = replace(part, persons_N=np.array(persons, np.int64))
    warned = (*source.warned, *spelled_twice(numbers))
    told = f"{source.told}, persons by arrays"
    return replace(source, splits=splits, told=told, warned=warned, persons=numbers)


def check_apart(source: Source) -> None:
    """ValueError where somebody has images in two splits."""
    named = [(split, part.persons_N) for split, part in source.splits.items() if part.persons_N is not None]
    for (one, first_N), (other, second_N) in itertools.combinations(named, 2):
        if count := len(np.intersect1d(first_N, second_N)):
            have = "1 person has" if count == 1 else f"{count:,} persons have"
            raise ValueError(
                f"{source.label}: {have} images in {one} and in {other}, so what is measured would not be held out; "
                "divide by person, or give all as train and --data.test-share"
            )


def renumbered(persons_N: np.ndarray) -> np.ndarray:
    """The same persons as 0 to their number, in the order in which they are met."""
    _, first, inverse_N = np.unique(persons_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse_N].astype(np.int64)


def some_persons(persons_N: np.ndarray, count: int) -> np.ndarray:
    """Sorted places of all images of `count` persons: those with the smallest numbers, which follow from their names.
    So whoever comes or goes leaves the others in their order, and at most one of them changes sides; it also does not
    matter where in a source somebody is, or with how many images."""
    return np.flatnonzero(np.isin(persons_N, np.unique(persons_N)[:count]))


def told(persons_N: np.ndarray) -> str:
    """How many there are, and how many images they have: of the images themselves, so this stays inside."""
    each = np.bincount(renumbered(persons_N))
    many = "1 person" if len(each) == 1 else f"{len(each):,} persons"
    span = f"{each.min():,}" if each.min() == each.max() else f"{each.min():,} to {each.max():,}"
    return f"{many} in train, of {span} image{'s' if each.max() > 1 else ''} each"
