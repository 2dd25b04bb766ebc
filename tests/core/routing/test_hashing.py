"""Many hashes at once are those of the library, whatever the texts are."""

from __future__ import annotations

import random
import string

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.routing.hashing import xxh64

PREFIXES = ("", "r:", "12345678", "01JGFJJZ000000000000000000:", "p" * 255)


def expected(prefix: str, texts: list[str], seed: int) -> list[int]:
    """What the library says to each."""
    return [xxhash.xxh64_intdigest((prefix + text).encode(), seed) for text in texts]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_texts_of_every_length_hash_as_the_library_hashes_them(prefix: str) -> None:
    """Batches of every length from 0 to 75 bytes, and of a length that is left to the library, are hashed alike."""
    made = random.Random(0)
    for length in [*range(76), 300]:
        texts = ["".join(made.choices(string.printable, k=length)) for _ in range(70)]
        assert xxh64(prefix, texts, 42).tolist() == expected(prefix, texts, 42), length


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=20), st.integers(0, 2**64 - 1))
def test_lengths_and_scripts_may_be_mixed(texts: list[str], seed: int) -> None:
    """Each text gets its own hash at its own place, with rare lengths and common ones, and letters of many bytes."""
    batch = [text for text in texts for _ in range(70)] + ["", "ä", "日本語", "TX0001", "\0"]
    random.Random(0).shuffle(batch)
    assert xxh64("r:", batch, seed).tolist() == expected("r:", batch, seed)


def test_a_batch_may_be_longer_than_what_is_hashed_at_once() -> None:
    """40,000 texts of one length are hashed in parts, each to its own place."""
    texts = [f"TX{number:08d}" for number in range(40_000)]
    assert xxh64("r:", texts, 42).tolist() == expected("r:", texts, 42)


def test_no_texts_have_no_hashes() -> None:
    """An empty batch is no error."""
    assert xxh64("r:", [], 42).shape == (0,)
