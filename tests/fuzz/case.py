"""What is to be known of an input to damage it and to judge what its reader does."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz import mutator

__all__ = ["Format", "find_problem_of_error"]

_LONGEST_MESSAGE = 2000


@dataclasses.dataclass(frozen=True)
class Format:
    """An input of the package.

    Attributes:
        count: Damaged inputs of a whole run.
        make: Makes an undamaged input, and whatever else its reader needs, in an empty folder;
            returns the bytes that are damaged.
        read: Reads an input of the given bytes, in that folder, by the package's own reader.
        check: Raises unless a result is sane; its second argument is that of the undamaged input.
        named: What an error must contain: the file's name.
        mutate: Damages the bytes; called with them and a generator.
        bombs: Inputs made to be as bad as possible, from the undamaged one, by name.
        errors: What the reader is documented to raise.
    """

    count: int
    make: Callable[[Path], bytes]
    read: Callable[[bytes, Path], Any]
    check: Callable[[Any, Any], None]
    named: str = ""
    mutate: Callable[..., bytes] = mutator.mutate
    bombs: Mapping[str, Callable[[bytes], bytes]] = dataclasses.field(default_factory=dict)
    errors: tuple[type[Exception], ...] = (ValueError, OSError)


def find_problem_of_error(case: Format, error: Exception) -> str | None:
    """Says what is wrong with an error that a reader raised, or None."""
    text = " ".join(str(error).split())
    found = f"{type(error).__name__}: {text[:200]}"
    if not isinstance(error, case.errors):
        return f"an error that is not documented: {found}"
    if isinstance(error, (UnicodeError, json.JSONDecodeError)):
        return f"an error from deep inside: {found}"
    if case.named not in text:
        return f"an error that does not name {case.named}: {found}"
    if not text or len(text) > _LONGEST_MESSAGE:
        return f"an error of {len(text)} characters: {found}"
    return None
