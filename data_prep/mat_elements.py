"""What MATLAB files of versions 5 to 7 are made of, checked before SciPy reads them.

SciPy trusts a file: a type of data that does not exist ends the process, and whatever size is
claimed is allocated. A file is a header and elements; an element is its type, its size and its
data; an array is an element of elements: flags, dimensions, name, and numbers or further arrays.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator

__all__ = ["select_arrays"]

_HEADER_BYTES = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_UINT32, _ARRAY, _COMPRESSED = 6, 14, 15
# Types of numbers and of text.
_NUMBERS = frozenset([1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18])
# Classes of arrays: cells hold arrays; text and numbers hold numbers.
_CELL, _TEXT_AND_NUMBERS = 1, frozenset([4, *range(6, 16)])
_IS_COMPLEX = 1 << 11
# Names of joints are text in cells in a cell.
_DEEPEST = 8
# Of one array. NYU's annotation for training, the largest there is, has 190 MB.
_MOST_BYTES = 1 << 29


def select_arrays(data: bytes, names: Collection[str]) -> bytes:
    """Returns a file of only some of its arrays, whose structure is sound.

    Args:
      data: the file.
      names: the arrays that are wanted; they hold numbers, text, or cells of such arrays.

    Raises:
      ValueError: if the file or one of these arrays is damaged.
    """
    order = _ORDERS.get(data[_HEADER_BYTES - 2 : _HEADER_BYTES])
    # A zero there is the sign of version 4.
    if order is None or 0 in data[:4]:
        raise ValueError("expected a MATLAB file of version 5 or later, found something else")
    wanted = {name.encode() for name in names}
    chosen, found = [], set()
    for kind, content in _split(memoryview(data)[_HEADER_BYTES:], order, padded=False):
        if kind == _COMPRESSED:
            kind, content = next(_split(_inflate(content), order, padded=False))
        if kind != _ARRAY:
            raise ValueError(f"expected arrays, found an element of type {kind}")
        elements = [*_split(content, order)]
        if len(elements) > 2 and bytes(elements[2][1]) in wanted:
            _check_array(elements, order)
            name = bytes(elements[2][1])
            if name in found:
                raise ValueError(f"expected one array {name.decode()}, found a second")
            found.add(name)
            chosen += [struct.pack(f"{order}II", _ARRAY, len(content)), content]
    return data[:_HEADER_BYTES] + b"".join(chosen)


def _inflate(data):
    stream = zlib.decompressobj()
    inflated = stream.decompress(data, _MOST_BYTES)
    if not 8 < len(inflated) < _MOST_BYTES:
        raise ValueError(f"expected arrays of less than {_MOST_BYTES} bytes, found others")
    # Only at its end is the stream compared with its checksum.
    if not stream.eof or stream.unused_data:
        raise ValueError("expected a whole compressed array, found part of one, or more")
    return memoryview(inflated)


def _split(data, order, padded=True) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the data of every element."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError("expected an element, found the end of the data")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:
            # Up to 4 bytes lie in the tag itself.
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            end = start + size + (-size % 8 if padded else 0)
        if start + size > min(end, len(data)):
            raise ValueError(f"expected an element of {size} bytes, found the end of the data")
        yield kind, data[start : start + size]
        place = end


def _check_array(elements, order, depth=0):
    if len(elements) < 3 or depth > _DEEPEST:
        raise ValueError(f"expected an array, found {len(elements)} elements at depth {depth}")
    (flags_kind, flags), (_, dimensions), (name_kind, _), *contents = elements
    if (flags_kind, len(flags)) != (_UINT32, 8) or name_kind not in _NUMBERS:
        raise ValueError("expected flags and name of an array, found other elements")
    (flags, _) = struct.unpack(f"{order}II", flags)
    sizes = [size for (size,) in struct.iter_unpack(f"{order}i", dimensions)]
    kinds = {kind for kind, _ in contents}
    if flags & 0xFF == _CELL:
        if kinds - {_ARRAY} or len(contents) != math.prod(sizes):
            raise ValueError(f"expected a cell array of shape {sizes}, found {len(contents)} cells")
        for _, content in contents:
            # An empty cell may have no content at all.
            if content:
                _check_array([*_split(content, order)], order, depth + 1)
        return
    parts = 2 if flags & _IS_COMPLEX else 1
    if flags & 0xFF not in _TEXT_AND_NUMBERS or kinds - _NUMBERS or len(contents) != parts:
        raise ValueError("expected an array of numbers or text, found something else")
