"""Semantic distribution similarity against its definition, and what a file of vectors may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysyn.metrics.semantics import read_vectors, semantic_similarity, vector_of, words_of


def test_it_is_the_double_sum_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    names_1, names_2 = [f"one{i}" for i in range(4)], [f"two{i}" for i in range(6)]
    vectors = {name: rng.standard_normal(5) for name in (*names_1, *names_2)}
    weights_1, weights_2 = rng.random(4), rng.random(6)
    slow = 0.0
    for a, name_a in enumerate(names_1):
        for b, name_b in enumerate(names_2):
            u, v = vectors[name_a], vectors[name_b]
            share = weights_1[a] / weights_1.sum() * weights_2[b] / weights_2.sum()
            slow += share * (u @ v) / (np.linalg.norm(u) * np.linalg.norm(v))
    found = semantic_similarity(names_1, weights_1, names_2, weights_2, vectors)
    assert found["value"] == pytest.approx(slow) and found["without_vector"] == []


def test_a_set_is_closest_to_its_own_meaning() -> None:
    vectors = {"cat": np.array([1.0, 0]), "dog": np.array([0.9, 0.1]), "ship": np.array([0, 1.0])}
    both = [semantic_similarity(["cat"], np.ones(1), [name], np.ones(1), vectors)["value"] for name in ("dog", "ship")]
    assert both[0] > 0.9 and both[1] == pytest.approx(0)


def test_words_without_a_vector_are_named_and_left_out() -> None:
    vectors = {"maple": np.array([1.0, 0]), "tree": np.array([0, 1.0]), "nothing": np.zeros(2)}
    assert words_of("T-shirt/top") == ["t", "shirt", "top"]
    assert vector_of("maple_tree", vectors) == pytest.approx([0.5, 0.5])
    assert vector_of("nothing", vectors) is None
    found = semantic_similarity(["maple_tree", "x"], np.ones(2), ["tree"], np.ones(1), vectors)
    assert found["value"] == pytest.approx(np.sqrt(0.5)) and found["without_vector"] == ["x"]
    none = semantic_similarity(["x"], np.ones(1), ["tree"], np.ones(1), vectors)
    assert none["value"] is None and "no class" in str(none["reason"])


def test_a_file_is_read_for_the_words_needed(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("3 2\nCat 1 0\ndog 0.5 0.5\nship 0 1\n")
    assert {word: vector.tolist() for word, vector in read_vectors(str(file), ["cat", "tug_ship", "bus"]).items()} == {
        "cat": [1, 0], "ship": [0, 1],
    }  # fmt: skip
    for content in ("cat one two\n", "cat 1\ndog\n", "cat 1 2\ndog 1\n"):
        file.write_text(content)
        with pytest.raises(ValueError, match="word_vectors"):
            read_vectors(str(file), ["cat", "dog"])
    with pytest.raises(ValueError, match="word_vectors"):
        read_vectors(str(tmp_path / "missing"), ["cat"])
