"""From a file of a public set to its rows, whatever the format: JSON, JSON lines, CSV, TSV, text, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import sha256_file
from cogumi_utils.errors import CogumiError

Row = dict[str, Any]
ONE_TEXT = "one text"  # how `read_rows` is told that a .txt file is one row and not one row a line


class CorruptSource(CogumiError):
    """A file of a public set is not the one its manifest describes."""


def checked(path: Path, sha256: str) -> Path:
    """`path`, once its bytes have the digest that the manifest gives. Raises CorruptSource."""
    if not path.is_file():
        raise CorruptSource(
            expected=f"the file {path}",
            found="no such file",
            why="the manifest of the data folder lists it, and a set with a part missing is another set",
            fix="copy the data folder again, whole, or point COGUMI_DATA at a complete one",
        )
    found = sha256_file(path)
    if found != sha256:
        raise CorruptSource(
            expected=f"{path} with sha256 {sha256}",
            found=f"sha256 {found}",
            why="rows from a changed file would enter the data under the licence and name of another",
            fix="copy that file again from where the data folder came from",
        )
    return path


def read_rows(path: Path, shape: str = "") -> list[Row]:
    """All rows of one file, in its order.

    The format is told by the suffix before `.gz`. Objects stay as they are; a text line becomes `{"text": line}`, a TSV
    line `{"col0": ..., "col1": ...}` (no quoting), an entry of a JSON object `{"key": ..., "value": ...}`.
    shape: `ONE_TEXT` for a .txt file that is a single row. Raises CorruptSource on text that does not parse.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    parse = _one_text if shape == ONE_TEXT else PARSERS.get(suffix, _lines)
    try:
        return parse(_text(path))
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise CorruptSource(
            expected=f"{path} to be {suffix.lstrip('.') or 'text'} in UTF-8",
            found=f"{type(error).__name__}: {error}",
            why="a half-read set would silently be another set",
            fix="copy that file again from where the data folder came from",
        ) from error


def _text(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return raw.decode("utf-8-sig")


def _split_lines(text: str) -> list[str]:
    """Lines by newline alone: `str.splitlines` also breaks at U+2028 and the like, which occur inside rows."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _json_lines(text: str) -> list[Row]:
    return [_row(json.loads(line)) for line in _split_lines(text) if line.strip()]


def _json(text: str) -> list[Row]:
    """A list of rows, `{"examples": rows}`, any other object entry by entry, or JSON lines under a .json name."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        return _json_lines(text)
    if isinstance(value, dict) and isinstance(value.get("examples"), list):
        value = value["examples"]
    if isinstance(value, dict):
        return [{"key": key, "value": entry} for key, entry in value.items()]
    return [_row(entry) for entry in value]


def _row(value: Any) -> Row:
    return value if isinstance(value, dict) else {"text": value}


def _csv(text: str) -> list[Row]:
    csv.field_size_limit(1 << 24)  # fields hold whole model answers; the default of 128 KiB is too small
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _tsv(text: str) -> list[Row]:
    return [{f"col{i}": cell for i, cell in enumerate(line.split("\t"))} for line in _split_lines(text) if line]


def _lines(text: str) -> list[Row]:
    return [{"text": line} for line in _split_lines(text)]


def _one_text(text: str) -> list[Row]:
    return [{"text": text}]


PARSERS: dict[str, Callable[[str], list[Row]]] = {
    ".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _tsv, ".txt": _lines,
}  # fmt: skip
