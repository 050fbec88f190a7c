"""The one row that every stage reads and writes: an `Example`, kept as Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cogumi_utils.errors import CogumiError

SPLITS = ("pretrain", "train", "validation", "test")
ROLES = ("system", "user", "assistant", "tool")

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_VERIFIER = pa.struct([("kind", pa.string()), ("payload", pa.string())])  # payload: JSON text
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("skill", pa.string()),
        ("difficulty", pa.int8()),
        ("messages", pa.list_(_MESSAGE)),
        ("verifier", _VERIFIER),
        ("teacher", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("quality", pa.float32()),
        ("language", pa.string()),
        ("split", pa.string()),
        ("parents", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Example:
    """One chat with the check that decides whether an answer to it is right.

    messages: `[{"role": ..., "content": ...}, ...]`, ending with the reference answer (role assistant)
    where one is known. verifier: `{"kind": ..., "payload": {...}}`, read by `judge.grade`; kind "none"
    where correctness cannot be checked. quality: judge score from 0 to 10, NaN where not judged.
    """

    domain: str
    skill: str
    messages: list[dict[str, str]]
    difficulty: int = 1
    verifier: dict[str, Any] = field(default_factory=lambda: {"kind": "none", "payload": {}})
    teacher: str = ""
    source: str = ""
    licence: str = ""
    quality: float = float("nan")
    language: str = "en"
    split: str = "train"
    parents: tuple[str, ...] = ()
    id: str = ""

    def __post_init__(self):
        if not self.id:
            object.__setattr__(self, "id", content_id(self.messages, self.verifier))

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The messages up to the last user turn: what a student sees."""
        return self.messages[:-1] if self.messages[-1]["role"] == "assistant" else self.messages

    @property
    def answer(self) -> str:
        """The reference answer, empty where none is known."""
        return self.messages[-1]["content"] if self.messages[-1]["role"] == "assistant" else ""

    def with_answer(self, answer: str, **changes: Any) -> Example:
        """The same question with another answer; a new id, its parent recorded."""
        messages = [*self.prompt, {"role": "assistant", "content": answer}]
        changes = {"parents": (self.id,), **changes}
        return replace(self, messages=messages, id="", **changes)


def content_id(messages: Sequence[dict[str, str]], verifier: dict[str, Any]) -> str:
    """128-bit content hash, hex: equal for equal chats with equal verifiers, whatever their source."""
    text = json.dumps([list(messages), verifier], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def to_table(examples: Iterable[Example]) -> pa.Table:
    """Examples → Arrow table of `SCHEMA`; the verifier's payload becomes JSON text."""
    rows = []
    for example in examples:
        row = asdict(example)
        payload = json.dumps(row["verifier"]["payload"], sort_keys=True, ensure_ascii=False)
        row["verifier"] = {"kind": row["verifier"]["kind"], "payload": payload}
        row["parents"] = list(row["parents"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> list[Example]:
    """Arrow table of `SCHEMA` → Examples."""
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise CogumiError(
            expected=f"columns {', '.join(SCHEMA.names)}",
            found=f"no column {', '.join(missing)}",
            why="an Example without them can be neither trained on nor verified",
            fix="write the file with cogumi_utils.schema.write_examples",
        )
    examples = []
    for row in table.select(SCHEMA.names).to_pylist():
        row["verifier"] = {"kind": row["verifier"]["kind"], "payload": json.loads(row["verifier"]["payload"])}
        row["parents"] = tuple(row["parents"])
        examples.append(Example(**row))
    return examples


def write_examples(path: Path, examples: Iterable[Example]) -> Path:
    """Write Parquet (zstd). Deterministic: equal rows give equal bytes."""
    pq.write_table(to_table(examples), path, compression="zstd")
    return path


def read_examples(path: Path) -> list[Example]:
    return from_table(pq.read_table(path))
