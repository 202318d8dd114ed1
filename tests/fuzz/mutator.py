"""Damages bytes: what disks, networks and half-finished copies do to files, from a seed."""

import re

import numpy as np

__all__ = ["KINDS", "mutate"]

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_STRANGE_NUMBERS = (
    b"-1", b"0", b"1", b"3.5", b"1e39", b"1e308", b"1e999", b"-1e308", b"99999999999999999999",
    b"2147483648", b"NaN", b"nan", b"Infinity", b"null", b"true", b"[]", b"{}", b'"1"', b"",
)  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns the data with one to three kinds of damage.

    Args:
        data: What to damage.
        rng: Decides on everything.
    """
    for _ in range(int(rng.integers(1, 4))):
        damage = KINDS[int(rng.integers(len(KINDS)))]
        data = damage(bytes(data), rng)
    return data


def _place(data, rng):
    """Returns an offset; half of them are near the start, where headers are."""
    length = max(len(data), 1)
    if rng.random() < 0.5:
        return int(length ** rng.random()) % length
    return int(rng.integers(length))


def _span(data, rng, longest=64):
    start = _place(data, rng)
    return start, start + int(rng.integers(1, longest + 1))


def flip_bits(data, rng):
    """Turns over one to eight bits."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 9))) if data else ():
        damaged[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncate(data, rng):
    """Cuts off the end."""
    return data[: _place(data, rng)]


def insert(data, rng):
    """Puts random bytes between others."""
    place = _place(data, rng)
    return data[:place] + rng.bytes(int(rng.integers(1, 33))) + data[place:]


def duplicate(data, rng):
    """Repeats a part."""
    start, stop = _span(data, rng, 512)
    return data[:stop] + data[start:stop] + data[stop:]


def zero(data, rng):
    """Blanks a part, as a lost sector does."""
    start, stop = _span(data, rng, 512)
    return data[:start] + bytes(len(data[start:stop])) + data[stop:]


def splice(data, rng):
    """Writes a part over another one."""
    (start, stop), target = _span(data, rng, 256), _place(data, rng)
    part = data[start:stop]
    return data[:target] + part + data[target + len(part) :]


def swap_blocks(data, rng):
    """Exchanges two neighboring parts."""
    a, b, c = sorted(_place(data, rng) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def write_extreme(data, rng):
    """Writes an integer that no size should have over 1 to 8 bytes."""
    length = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice([0xFF, 0x7F, 0x80]))
    filler = int(rng.choice([0x00, 0xFF]))
    number = bytes([value] + [filler] * (length - 1))
    number = number if rng.random() < 0.5 else number[::-1]
    place = _place(data, rng)
    return data[:place] + number + data[place + length :]


def renumber(data, rng):
    """Writes another number over one in digits, so that text stays readable."""
    found = [match.span() for match in _NUMBER.finditer(data[: 1 << 16])]
    if not found:
        return flip_bits(data, rng)
    start, stop = found[int(rng.integers(len(found)))]
    strange = _STRANGE_NUMBERS[int(rng.integers(len(_STRANGE_NUMBERS)))]
    return data[:start] + strange + data[stop:]


KINDS = (
    flip_bits, truncate, insert, duplicate, zero, splice, swap_blocks, write_extreme, renumber,
)  # fmt: skip
