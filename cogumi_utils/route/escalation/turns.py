"""The last turns of a user as the one text that teacher and student read."""

from __future__ import annotations

from collections.abc import Sequence

from cogumi_utils.errors import CogumiError

LAST_TURNS = 3  # of the user; what is further back says little about how the user feels now
MAX_PIECES = 64  # word pieces that are read, the newest ones
LONGEST = 600  # characters kept of a turn: more than MAX_PIECES words, and a turn of 1 MB costs nothing
SEPARATOR = " [SEP] "


def joined(turns: Sequence[str]) -> str:
    """The last turns, oldest first, as one text; of a long turn its end. Raises CogumiError for what is no text."""
    if isinstance(turns, (str, bytes)) or not all(isinstance(turn, str) for turn in turns):
        raise CogumiError(
            expected="a list of texts, one for each of the user's turns, oldest first",
            found=type(turns).__name__ if isinstance(turns, (str, bytes)) else "an entry that is no text",
            why="words are read, and which turn they are from is part of the answer",
            fix='score(["Where is my parcel?", "I asked you where it is."]); decode bytes first',
        )
    return SEPARATOR.join(filter(None, map(cleaned, turns[-LAST_TURNS:])))


def cleaned(turn: str) -> str:
    """One line without control characters, half surrogate pairs and the separator; its last `LONGEST` characters."""
    end = turn[-4 * LONGEST :]  # a megabyte is not searched for white space
    plain = end if end.isascii() else end.encode("utf-8", "replace").decode()
    printable = plain if plain.isprintable() else "".join(sign if sign.isprintable() else " " for sign in plain)
    return " ".join(printable.replace(SEPARATOR.strip(), " ").split())[-LONGEST:]
