"""Reads `phrases.yaml`: what users of the embedded dialogues say, by kind and split.

A line of a block is a family, its wordings between " | ": written so, a wording that begins with a brace or holds a
colon needs no quotes, and all is read in some 30 ms. An empty line or one that begins with # says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.yaml_lines import read_yaml

FILE = Path(__file__).with_name("phrases.yaml")
SPLITS = ("train", "validation", "test")
TOPIC = ("thing", "do", "ask", "fact")  # a topic's parts, as they stand in its line
LABELS = ("dissatisfied", "calm")
TURNS = ("openers", "middles", "questions", "after")  # turns that make no kind
MADE_BY_CODE = ("repeats", "mended")  # kinds that `dialogues` puts together in a way of their own
MOST_WORDINGS = 3

Family = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrases:
    """topics: their four parts. fillers: what each other slot may hold. kinds: their names, by label.

    ways: families of each kind and of each of `TURNS`, by split.
    """

    topics: tuple[Family, ...]
    fillers: Mapping[str, Family]
    kinds: Mapping[str, Family]
    ways: Mapping[str, Mapping[str, tuple[Family, ...]]]


@cache
def read(path: Path = FILE) -> Phrases:
    """The whole file, each line checked. Raises CogumiError that says where the fault is."""
    found = read_yaml(path)[0]
    try:
        topics = _families(found["topics"])
        fillers = {name: _wordings(str(line)) for name, line in found["fillers"].items()}
        blocks: dict[str, Any] = {name: found[name] for name in TURNS} | found["dissatisfied"] | found["calm"]
        ways = {name: {split: _families(block[split]) for split in SPLITS} for name, block in blocks.items()}
        kinds = {label: tuple(found[label]) for label in LABELS}
    except (KeyError, TypeError, AttributeError) as error:
        raise _faulty(path, f"{type(error).__name__}: {error}") from None
    if faults := [*_faults(topics, fillers, ways)]:
        raise _faulty(path, "; ".join(faults[:5]))
    return Phrases(topics, fillers, kinds, ways)


def _families(block: str) -> tuple[Family, ...]:
    return tuple(_wordings(line) for line in block.splitlines() if line.strip() and not line.startswith("#"))


def _wordings(line: str) -> Family:
    return tuple(wording.strip() for wording in line.split("|"))


def _faults(topics: tuple[Family, ...], fillers: Mapping[str, Family], ways: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"no kind {name!r}" for name in MADE_BY_CODE if name not in ways)
    yield from (f"a topic without {len(TOPIC)} parts: {topic}" for topic in topics if len(topic) != len(TOPIC))
    yield from (f"slots of the topic {topic}" for topic in topics if not _slots(topic) <= {*fillers})
    for name, split, families in ((name, split, way[split]) for name, way in ways.items() for split in SPLITS):
        if not families:
            yield f"no line in {name}, {split}"
        for family in families:
            if not all(family) or len(family) > MOST_WORDINGS:
                yield f"not one to {MOST_WORDINGS} wordings in {name}, {split}: {' | '.join(family)}"
            elif not _slots(family) <= {*TOPIC, *fillers}:
                yield f"a slot that nothing fills in {name}, {split}: {' | '.join(family)}"


def _slots(family: Family) -> set[str]:
    """Names in braces; a brace that is never closed is given back as a name that nothing has."""
    try:
        return {slot for text in family for _, slot, _, _ in Formatter().parse(text) if slot is not None}
    except ValueError:
        return {"{"}


def _faulty(path: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"topics, fillers, {', '.join(LABELS + TURNS)}; in each kind lines for {', '.join(SPLITS)}",
        found=f"{path.name}: {found}",
        why="dialogues are made of these lines, and a fault would show only when its line is drawn",
        fix=f"write lines like: Hello, {{ask}}? | Hi, I want to {{do}}.   (in {path})",
    )
