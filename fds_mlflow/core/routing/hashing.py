"""XXH64 of many short texts at once: the steps of the algorithm, each as one operation on a column of 64-bit words.

Texts of one length go through the same steps, so they are hashed together. Beside a call of a library per text this
saves the call, which costs more than the hash. The results are those of `xxhash` to the last bit.

Source: the XXH64 specification, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

__all__ = ["xxh64"]

Words = npt.NDArray[np.uint64]

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5 = np.uint64(0x27D4EB2F165667C5)
_ZERO = np.zeros(1, np.uint64)

_AT_ONCE = 16_384
"""Texts that are gone through at once: they, their words and what is computed from them stay in the cache."""

_FEW = 64
"""Below so many texts of one length the library is faster."""

_LONG = 256
"""Bytes from which a text is left to the library: its hash then costs more than the call."""


def xxh64(prefix: str, texts: Sequence[str], seed: int) -> Words:
    """XXH64 of the UTF-8 of prefix + text, for every text: shape (number of texts,), dtype uint64.

    Args:
        prefix: What all texts begin with.
        texts: What follows it in each.
        seed: Of the hash.
    """
    start = prefix.encode()
    found = np.empty(len(texts), np.uint64)
    for first in range(0, len(texts), _AT_ONCE):
        found[first : first + _AT_ONCE] = _some(start, texts[first : first + _AT_ONCE], seed)
    return found


def _some(start: bytes, texts: Sequence[str], seed: int) -> Words:
    """The hashes of some texts: those of one length together."""
    data, lengths = _joined(texts)
    starts = np.cumsum(lengths) - lengths
    found = np.empty(len(texts), np.uint64)
    kinds = np.minimum(lengths, _LONG)
    for length, count in enumerate(np.bincount(kinds).tolist()):
        if count == 0:
            continue
        places = np.flatnonzero(kinds == length)
        if count < _FEW or len(start) + length >= _LONG:
            for place in places.tolist():
                text = start + data[starts[place] : starts[place] + lengths[place]]
                found[place] = xxhash.xxh64_intdigest(text, seed)
            continue
        words = _words(start, data, starts[places], length)
        found[places] = _hashed(words, len(start) + length, seed)
    return found


def _joined(texts: Sequence[str]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """All texts behind one another in UTF-8, and how many bytes each has."""
    together = "".join(texts)
    if together.isascii():  # a character is a byte
        return together.encode(), np.fromiter(map(len, texts), np.int64, len(texts))
    # A lone surrogate has no UTF-8; as half a character it has a bucket all the same, and stops nobody else's.
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    return b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(texts))


def _words(start: bytes, data: bytes, starts: npt.NDArray[np.int64], length: int) -> list[Words]:
    """The words of start + text, little-endian, the last one filled up with zeros.

    Returns:
        One array a word: shape (1,) where it is the same in all texts, else (number of texts,).
    """
    same = len(start) // 8 * 8
    words: list[Words] = [np.frombuffer(start[place : place + 8], "<u8") for place in range(0, same, 8)]
    rest = np.frombuffer(start[same:], np.uint8)
    block = np.zeros((len(starts), -(-(len(rest) + length) // 8) * 8), np.uint8)
    block[:, : len(rest)] = rest
    if length:
        # One window a byte of the data; each row copies the bytes of its text at once.
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), length)
        block[:, len(rest) : len(rest) + length] = windows[starts]
    words.extend(np.ascontiguousarray(block.view("<u8").T))
    return [word.astype(np.uint64, copy=False) for word in words]  # on a big-endian machine its own order


def _hashed(words: Sequence[Words], size: int, seed: int) -> Words:
    """XXH64 of texts of `size` bytes each, given as words."""
    whole, position = size // 8, 0
    begin = np.array([seed], np.uint64)
    if size >= 32:
        lanes = [begin + _PRIME_1 + _PRIME_2, begin + _PRIME_2, begin, begin - _PRIME_1]
        while position + 4 <= whole:
            lanes = [_round(lane, words[position + place]) for place, lane in enumerate(lanes)]
            position += 4
        one, two, three, four = lanes
        found = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        for lane in lanes:
            found = (found ^ _round(_ZERO, lane)) * _PRIME_1 + _PRIME_4
    else:
        found = begin + _PRIME_5
    found = found + np.uint64(size)
    for word in words[position:whole]:
        found = _rotated(found ^ _round(_ZERO, word), 27) * _PRIME_1 + _PRIME_4
    if size % 8:
        found = _tail(found, words[whole], size % 8)
    return _avalanche(found)


def _tail(found: Words, word: Words, size: int) -> Words:
    """Take in the last `size` bytes, 1 to 7, given as the low bytes of a word."""
    first = 0
    if size >= 4:
        found = _rotated(found ^ ((word & np.uint64(0xFFFFFFFF)) * _PRIME_1), 23) * _PRIME_2 + _PRIME_3
        first = 4
    for place in range(first, size):
        byte = (word >> np.uint64(8 * place)) & np.uint64(0xFF)
        found = _rotated(found ^ (byte * _PRIME_5), 11) * _PRIME_1
    return found


def _avalanche(found: Words) -> Words:
    found = (found ^ (found >> np.uint64(33))) * _PRIME_2
    found = (found ^ (found >> np.uint64(29))) * _PRIME_3
    return found ^ (found >> np.uint64(32))


def _round(lane: Words, word: Words) -> Words:
    return _rotated(lane + word * _PRIME_2, 31) * _PRIME_1


def _rotated(words: Words, bits: int) -> Words:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))
