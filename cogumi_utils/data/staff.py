"""Who teaches: the oracle's tiers, or models behind OpenAI-compatible endpoints; the same two calls for both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cogumi_utils.data.authors import Author, EndpointAuthor, OracleAuthor
from cogumi_utils.data.openai_teacher import OpenAITeacher
from cogumi_utils.data.oracle import OracleTeacher, OracleTier
from cogumi_utils.data.spending import Price
from cogumi_utils.data.teachers import Teacher
from cogumi_utils.errors import CogumiError

ORACLE, KEY = "oracle", "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Post:
    """One tier. model: `oracle`, or a model's name at `base_url`. error_rate: of the oracle at difficulty 2; it errs
    half as often on easy tasks and half again as often on hard ones. limit_usd: over all that this tier ever spent in
    `folder`, which holds the answers that were paid for. Raises CogumiError for a model without an address.
    """

    name: str
    model: str
    base_url: str
    error_rate: float
    usd_per_million: Sequence[float]  # tokens read, tokens written
    limit_usd: float
    folder: Path
    seed: int

    def __post_init__(self):
        if self.model != ORACLE and not self.base_url:
            raise CogumiError(
                expected="an address for every model that is not the oracle",
                found=f"none for {self.model}",
                why="the model is asked over HTTP",
                fix="write it into the stage's parameter file, such as http://localhost:8000/v1",
            )
        if len(self.usd_per_million) != 2:
            raise CogumiError(
                expected="two prices, for a million tokens read and for a million written",
                found=f"{len(self.usd_per_million)} for {self.name}",
                why="the spending limit is kept by them",
                fix="write both into the stage's parameter file, such as [1.25, 10.0]",
            )

    @property
    def price(self) -> Price:
        return Price(*self.usd_per_million)

    def teacher(self) -> Teacher:
        return OracleTeacher(self._tier(), seed=self.seed) if self.model == ORACLE else self._endpoint()

    def author(self) -> Author:
        return (
            OracleAuthor(self._tier(), seed=self.seed)
            if self.model == ORACLE
            else EndpointAuthor(self._endpoint(), seed=self.seed)
        )

    def _tier(self) -> OracleTier:
        rates = {1: self.error_rate / 2, 2: self.error_rate, 3: min(1.0, 1.5 * self.error_rate)}
        return OracleTier(self.name, rates, price=self.price)

    def _endpoint(self) -> OpenAITeacher:
        return OpenAITeacher(
            self.model, base_url=self.base_url, prices={self.model: self.price}, limit_usd=self.limit_usd,
            folder=self.folder / self.name.replace(" ", "_"), name=self.name,
            api_key_env=KEY if KEY in os.environ else "",  # a server of one's own asks for none
        )  # fmt: skip


def posts(
    models: Sequence[str], base_urls: Sequence[str], error_rates: Sequence[float], usd_read: Sequence[float],
    usd_written: Sequence[float], *, limit_usd: float, folder: Path, seed: int,
) -> list[Post]:  # fmt: skip
    """One Post a model, named `tier 1`, `tier 2`, ...; all lists have its length (dollars for a million tokens).

    base_urls: empty text for the oracle. Raises CogumiError for lists of unequal length, and as `Post` does.
    """
    lengths = {
        "models": models, "base_urls": base_urls, "error_rates": error_rates, "usd_read": usd_read,
        "usd_written": usd_written,
    }  # fmt: skip
    if len({len(values) for values in lengths.values()}) != 1 or not models:
        raise CogumiError(
            expected="one entry for each tier in models, base_urls, error_rates, usd_read and usd_written",
            found=", ".join(f"{name}: {len(values)}" for name, values in lengths.items()),
            why="each tier needs its model, its address and its price",
            fix="make the lists equally long in the stage's parameter file",
        )
    return [
        Post(f"tier {number}", model, url, rate, (dollars_in, dollars_out), limit_usd, folder, seed)
        for number, (model, url, rate, dollars_in, dollars_out) in enumerate(
            zip(models, base_urls, error_rates, usd_read, usd_written, strict=True), 1
        )
    ]
