"""How a router is trained."""

from __future__ import annotations

from dataclasses import dataclass

from cogumi_utils.errors import CogumiError

DEFAULT_ROUTE = "base"


@dataclass(frozen=True, slots=True)
class Settings:
    """threshold: confidence (0 to 1) below which a query goes to `default`, 0 to always take the likeliest route.

    strength: inverse of the L2 penalty of the linear model that the table starts from. row_dropout: up to this share of
    a query's rows is not seen in a step, so that the head knows little evidence too; dropout: share of the hidden
    units; label_smoothing: share of each target that is spread over all routes. Learning rates are Adam's; a table_lr
    of 0 leaves the table as the linear model made it.
    """

    steps: int = 500
    batch: int = 128
    strength: float = 10.0
    table_lr: float = 0.0
    head_lr: float = 2e-3
    weight_decay: float = 1e-4
    row_dropout: float = 0.9
    dropout: float = 0.1
    label_smoothing: float = 0.02
    threshold: float = 0.0
    default: str = DEFAULT_ROUTE

    def __post_init__(self) -> None:
        shares = {"row_dropout": self.row_dropout, "dropout": self.dropout, "label_smoothing": self.label_smoothing}
        wrong = [f"{name} = {share}" for name, share in shares.items() if not 0 <= share < 1]
        wrong += [f"{name} = {value}" for name, value in (("steps", self.steps), ("batch", self.batch)) if value < 1]
        wrong += [f"threshold = {self.threshold}"] * (not 0 <= self.threshold <= 1)
        if wrong:
            raise CogumiError(
                expected="shares from 0 to below 1, a threshold from 0 to 1, at least one step and one query a step",
                found=", ".join(wrong),
                why="a router is trained by these",
                fix=f"leave them out: Settings() is {Settings()}",
            )
