"""The pinned copy of the public sets: the folder that COGUMI_DATA names, described by its MANIFEST.json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import combine
from cogumi_utils.data import _assemble
from cogumi_utils.data._readers import ONE_TEXT, CorruptSource, Row, checked, read_rows
from cogumi_utils.paths import DATA_ENV, data_dir

MANIFEST = "MANIFEST.json"
_WORDS = {"train": r"\b(train|seed)\b", "validation": r"\b(validation|dev|val)\b", "test": r"\btest\b"}


class Missing(Exception):
    """A set is not in a place; the text says why, in words for the `found` part of an error."""


@dataclass(frozen=True, slots=True)
class LocalSet:
    """One set of the manifest: its folder and its entry as written there."""

    folder: Path
    entry: dict[str, Any]

    @property
    def files(self) -> list[dict[str, Any]]:
        return self.entry["files"]

    @property
    def sha256(self) -> str:
        """One digest for the set: of the sorted lines `<sha256>  <file>` over all its files."""
        return combine({file["file"]: file["sha256"] for file in self.files})


def find(name: str, *, verify: bool = False) -> LocalSet:
    """The set `name` of the data folder; verify: every file of it checked against its digest.

    Raises Missing when there is no folder or no such set in it, CorruptSource when a digest is wrong.
    """
    folder = data_dir()
    if folder is None:
        raise Missing(f"{DATA_ENV} is not set")
    for entry in _manifest(folder).get("data_sets", []):
        if entry.get("name") == name:
            return _verified(LocalSet(folder, entry)) if verify else LocalSet(folder, entry)
    raise Missing(f"no set {name} in {folder / MANIFEST}")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise Missing(f"no {MANIFEST} in {folder}, the folder that {DATA_ENV} names")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptSource(
            expected=f"{path} to be JSON",
            found=str(error),
            why="it names every file with its digest and licence",
            fix="copy the data folder again, whole",
        ) from None


def _verified(local: LocalSet) -> LocalSet:
    for file in local.files:
        checked(_inside(local.folder, file["file"]), file["sha256"])
    return local


def read(local: LocalSet, default_split: str) -> list[Row]:
    """All rows that the manifest counts, in the order of its files, what belongs to them joined on.

    Each row is as in its file, plus `_split`, `_part` (the manifest's words for that file), `_file` and `_row`
    (number in the file, from 0). Raises CorruptSource when a digest or a number of rows is wrong.
    """
    parts = {file["file"]: _file_rows(local, file, default_split) for file in local.files}
    counted = [file["file"] for file in local.files if file.get("counted_in_rows") is not False]
    rows = _assemble.assemble(local.entry["name"], parts, counted)
    if len(rows) != local.entry["rows"]:
        raise CorruptSource(
            expected=f"{local.entry['rows']} rows of {local.entry['name']}",
            found=f"{len(rows)} rows",
            why="the manifest and the files do not belong together",
            fix="copy the data folder again, whole",
        )
    return rows


def _file_rows(local: LocalSet, file: dict[str, Any], default_split: str) -> list[Row]:
    path = checked(_inside(local.folder, file["file"]), file["sha256"])
    rows = read_rows(path, ONE_TEXT if path.suffix == ".txt" and file["rows"] == 1 else "")
    split = split_of(file.get("split", ""), default_split)
    origin = {"_split": split, "_part": file.get("split", ""), "_file": file["file"]}
    return [{**row, **origin, "_row": i} for i, row in enumerate(rows)]


def split_of(words: str, default: str) -> str:
    """train, validation or test from a manifest's words such as `arc_easy train`; more than one of them: `default`."""
    named = [split for split, pattern in _WORDS.items() if re.search(pattern, words)]
    return named[0] if len(named) == 1 else default


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CorruptSource(
            expected=f"files inside {folder}",
            found=name,
            why="a manifest may not reach for other files of this machine",
            fix="use a manifest whose paths stay inside its folder",
        )
    return path
