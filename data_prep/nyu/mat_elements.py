"""Elements of MATLAB files of versions 5 to 7, checked before SciPy reads them.

SciPy trusts a file: a type of data that does not exist ends the process, and whatever size is
claimed is allocated. A file is a header and elements; an element is its type, its size and its
data; an array is an element of elements: flags, dimensions, name, and numbers or further arrays.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Collection, Iterator

__all__ = ["select_arrays"]

_HEADER_BYTES = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_UINT32, _ARRAY, _COMPRESSED = 6, 14, 15
# Bytes of a number by its type; text is numbers as well.
_NUMBERS = {
    1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4,
}  # fmt: skip
# Classes of arrays: cells hold arrays; text and numbers hold numbers.
_CELL, _TEXT, _TEXT_AND_NUMBERS = 1, 4, frozenset([4, *range(6, 16)])
_IS_COMPLEX = 1 << 11
# Names of joints are text in cells in a cell.
_DEEPEST = 8
# Of all selected arrays, in the file and as float64. NYU's annotation for training, the
# largest there is, has 190 MB.
_MOST_BYTES = 1 << 28
# Of cells, which hold the names of joints.
_MOST_BYTES_OF_CELLS = 1 << 20
_MOST_DIMENSIONS = 32
# Flags, dimensions and name lie at the start of an array.
_HEAD_BYTES = 1 << 10


def select_arrays(data: bytes, names: Collection[str]) -> bytes:
    """Returns a file of only some of its arrays, whose structure is sound.

    Args:
        data: The file.
        names: Names of the arrays; they hold numbers, text, or cells of such arrays.

    Raises:
        ValueError: If the file or one of these arrays is damaged, or they are larger than any
            annotation.
    """
    order = _ORDERS.get(data[_HEADER_BYTES - 2 : _HEADER_BYTES])
    # A zero there is the sign of version 4.
    if order is None or 0 in data[:4]:
        raise ValueError("expected a MATLAB file of version 5 or later, found something else")
    selected = {name.encode(): [] for name in names}
    num_bytes = 0
    for kind, content in _split(memoryview(data)[_HEADER_BYTES:], order, padded=False):
        name = _read_name(kind, content, order)
        if name not in selected:
            continue
        if selected[name]:
            raise ValueError(f"expected one array {name.decode()}, found a second")
        if kind == _COMPRESSED:
            _, content = next(_split(_inflate(content, _MOST_BYTES), order, padded=False))
        num_bytes += max(len(content), _check_array(content, order))
        if num_bytes > _MOST_BYTES:
            raise ValueError(f"expected arrays of at most {_MOST_BYTES} bytes, found more")
        selected[name] = [struct.pack(f"{order}II", _ARRAY, len(content)), content]
    return data[:_HEADER_BYTES] + b"".join(itertools.chain(*selected.values()))


def _read_name(kind, content, order):
    """Returns the name of an array, None where it has none; of a packed one inflates the start."""
    if kind == _COMPRESSED:
        head = zlib.decompressobj().decompress(content, _HEAD_BYTES)
        if len(head) < 8:
            raise ValueError("expected an array, found an empty compressed element")
        (kind,), content = struct.unpack_from(f"{order}I", head), memoryview(head)[8:]
    if kind != _ARRAY:
        raise ValueError(f"expected arrays, found an element of type {kind}")
    elements = [*itertools.islice(_split(content, order), 3)]
    return bytes(elements[2][1]) if len(elements) == 3 else None


def _inflate(data, most_bytes):
    stream = zlib.decompressobj()
    inflated = stream.decompress(data, most_bytes)
    if len(inflated) == most_bytes:
        raise ValueError(f"expected arrays of less than {most_bytes} bytes, found others")
    # Only at its end is the stream compared with its checksum.
    if not stream.eof or stream.unused_data:
        raise ValueError("expected a whole compressed array, found part of one, or more")
    return memoryview(inflated)


def _split(data, order, padded=True) -> Iterator[tuple[int, memoryview]]:
    """Yields the type and the data of every element."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("expected an element, found the end of the data")
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if kind >> 16:
            # Up to 4 bytes lie in the tag itself.
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
        else:
            start = position + 8
            end = start + size + (-size % 8 if padded else 0)
        if start + size > min(end, len(data)):
            raise ValueError(f"expected an element of {size} bytes, found the end of the data")
        yield kind, data[start : start + size]
        position = end


def _check_array(content, order, depth=0):
    """Checks an array, and those in its cells; returns the bytes of its numbers as float64."""
    elements = _split(content, order)
    head = [*itertools.islice(elements, 3)]
    if len(head) < 3 or depth > _DEEPEST:
        raise ValueError(f"expected an array, found {len(head)} elements at depth {depth}")
    (flags_kind, flags), (_, dimensions), (name_kind, _) = head
    if (flags_kind, len(flags)) != (_UINT32, 8) or name_kind not in _NUMBERS:
        raise ValueError("expected flags and name of an array, found other elements")
    (flags, _) = struct.unpack(f"{order}II", flags)
    sizes = _read_sizes(dimensions, order)
    if flags & 0xFF == _CELL:
        if len(content) > _MOST_BYTES_OF_CELLS:
            raise ValueError(f"expected at most {_MOST_BYTES_OF_CELLS} bytes in cells, found more")
        return _check_cells([*elements], sizes, order, depth)
    # One more than there may be.
    return _check_numbers([*itertools.islice(elements, 3)], sizes, flags)


def _read_sizes(dimensions, order):
    if len(dimensions) % 4 or len(dimensions) > 4 * _MOST_DIMENSIONS:
        raise ValueError(f"expected dimensions of an array, found {len(dimensions)} bytes")
    sizes = [size for (size,) in struct.iter_unpack(f"{order}i", dimensions)]
    if any(size < 0 for size in sizes):
        raise ValueError(f"expected dimensions of an array, found {sizes}")
    return sizes


def _check_cells(cells, sizes, order, depth):
    if any(kind != _ARRAY for kind, _ in cells) or len(cells) != math.prod(sizes):
        raise ValueError(f"expected a cell array of shape {sizes}, found {len(cells)} cells")
    # An empty cell may have no content at all.
    return sum(_check_array(content, order, depth + 1) for _, content in cells if content)


def _check_numbers(parts, sizes, flags):
    kind_of_array, count = flags & 0xFF, math.prod(sizes)
    is_sound = all(kind in _NUMBERS for kind, _ in parts)
    if (
        kind_of_array not in _TEXT_AND_NUMBERS
        or not is_sound
        or len(parts) != (2 if flags & _IS_COMPLEX else 1)
    ):
        raise ValueError("expected an array of numbers or text, found something else")
    for kind, content in parts:
        num_stored = len(content) // _NUMBERS[kind]
        # A character may take several bytes of UTF-8.
        if count > num_stored or (kind_of_array != _TEXT and count < num_stored):
            raise ValueError(f"expected an array of shape {sizes}, found {num_stored} numbers")
    return 8 * len(parts) * count
