"""Answers that were paid for, on disk, found by the whole request that they answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogumi_utils.data.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers(
  key TEXT PRIMARY KEY, request TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL, served_by TEXT NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost_pico INTEGER NOT NULL,
  created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of an endpoint. served_by: the model's name as the endpoint gives it. Tokens: 0 if it gives none."""

    text: str
    finish_reason: str
    served_by: str
    tokens_in: int
    tokens_out: int
    cost_pico: int


def request_key(base_url: str, body: dict[str, Any], sample: int) -> str:
    """SHA-256 over everything that decides the answer; `sample` tells apart repeated draws of one request."""
    text = json.dumps([base_url, body, sample], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """Safe to share between threads and processes."""

    def __init__(self, path: Path):
        self._db = Database(path, _SCHEMA)

    def __repr__(self) -> str:
        return f"AnswerCache({str(self._db.path)!r})"

    def get(self, key: str) -> Completion | None:
        row = self._db.connection.execute(
            "SELECT text, finish_reason, served_by, tokens_in, tokens_out, cost_pico FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return Completion(*row) if row else None

    def put(self, key: str, body: dict[str, Any], answer: Completion) -> None:
        """Keep `answer`; the first one stays if two were paid for at the same time."""
        request = json.dumps(body, sort_keys=True)
        with self._db.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO answers(key, request, text, finish_reason, served_by, tokens_in, tokens_out, "
                "cost_pico) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, request, answer.text, answer.finish_reason, answer.served_by, answer.tokens_in,
                 answer.tokens_out, answer.cost_pico),
            )  # fmt: skip

    def __len__(self) -> int:
        return next(self._db.connection.execute("SELECT count(*) FROM answers"))[0]
