"""How close two image sets are in meaning: cosines of the word vectors of their class names (PrivImage, equation 5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = dict[str, NDArray[np.float64]]


def semantic_similarity(
    names_1: Sequence[str], weights_1: NDArray[Any], names_2: Sequence[str], weights_2: NDArray[Any],
    vectors: Vectors,
) -> dict[str, object]:  # fmt: skip
    """SDS of two sets: {"value": mean cosine over all pairs of their classes, each weighted by its share of its set, in
    [-1, 1]; "reason": None, or why there is no value; "without_vector": names left out on both sides}.

    Args: class names, and how frequent each is (any scale; at least 0); vectors of words, by the word in lower case. A
    name of several words has the mean of their vectors.
    """
    sides, unknown = [], list[str]()
    for names, weights in ((names_1, weights_1), (names_2, weights_2)):
        found = [(vector_of(name, vectors), weight) for name, weight in zip(names, weights, strict=True)]
        unknown += [name for name, (vector, _) in zip(names, found, strict=True) if vector is None]
        known = [(vector / np.linalg.norm(vector), weight) for vector, weight in found if vector is not None]
        total = sum(weight for _, weight in known)
        if not total:
            return {"value": None, "reason": "no class of one set has a word vector", "without_vector": unknown}
        # The sum over pairs of weighted cosines is the product of the two weighted sums of unit vectors.
        sides.append(sum(vector * (weight / total) for vector, weight in known))
    return {"value": float(sides[0] @ sides[1]), "reason": None, "without_vector": unknown}


def vector_of(name: str, vectors: Vectors) -> NDArray[np.float64] | None:
    """The mean vector of the words of a class name, None where none is known."""
    found = [vectors[word] for word in words_of(name) if word in vectors]
    mean = np.mean(found, axis=0) if found else None
    return mean if mean is not None and np.any(mean) else None


def words_of(name: str) -> list[str]:
    """The words of a class name such as `aquarium_fish` or `T-shirt/top`, in lower case."""
    return re.findall(r"[a-z0-9]+", name.lower())


def read_vectors(path: str, names: Sequence[str]) -> Vectors:
    """The vectors of the words of `names` in a text file of lines `word x1 x2 ...` (GloVe, word2vec, fastText).

    Reads the file as a stream. Raises ValueError, in one sentence, for a file that is none.
    """
    wanted = {word for name in names for word in words_of(name)}
    vectors: Vectors = {}
    try:
        for number, (word, rest) in enumerate(_lines(path)):
            if word.lower() in wanted and word.lower() not in vectors:
                vectors[word.lower()] = np.array(rest.split(), np.float64)
            if number == 1 and len(rest.split()) < 2:
                raise ValueError("lines are no words with numbers")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"word_vectors={path!r} cannot be read as lines of a word and its numbers ({str(error).splitlines()[0]}): "
            "give a file of GloVe, word2vec or fastText vectors in text form"
        ) from error
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise ValueError(f"word_vectors={path!r} has vectors of several lengths: give a whole file")
    return vectors


def _lines(path: str) -> Iterator[tuple[str, str]]:
    with Path(path).expanduser().open(encoding="utf-8-sig") as file:
        for line in file:
            word, _, rest = line.rstrip().partition(" ")
            yield word, rest
