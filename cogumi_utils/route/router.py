"""Which route answers a query: a hashed table and a small head, trained with torch, decided by onnxruntime alone.

Trained on soft targets: which route answers right, or the domain's own route, or a mix of the two. A query that says
nothing, and one that the router is not sure of, goes to the default route.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import features, onnx_file, onnx_graph
from cogumi_utils.route.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    import pandas as pd

FLOAT, INT8, CARD = "router.onnx", "router.int8.onnx", "router.json"
_PARTS = {"table": "table"}


@dataclass(frozen=True, slots=True)
class Decision:
    """confidence: probability of the likeliest route, 0 to 1; `route` is another one where that is below the threshold.

    why: empty, or why the default route was taken.
    """

    route: str
    confidence: float
    probabilities: dict[str, float]
    why: str = ""


@dataclass(frozen=True, eq=False)
class Router:
    """routes: as the columns of `probabilities`. model: ONNX, see `training.to_onnx`. int8: whether it is quantised."""

    routes: tuple[str, ...]
    model: bytes
    settings: Settings
    int8: bool = False

    def __repr__(self) -> str:
        kind = "int8" if self.int8 else "float32"
        return f"Router({', '.join(self.routes)}; {kind}, {len(self.model) / 1e6:.1f} MB, {self.settings})"

    @functools.cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return onnx_file.session(self.model)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, routes], each row sums to 1. One query at a time, so that no answer depends on its neighbours."""
        import numpy as np

        if not len(texts):
            return np.zeros((0, len(self.routes)), dtype=np.float32)
        return np.concatenate([self._run(text) for text in texts])

    def _run(self, text: str) -> np.ndarray:
        rows, weights = features.rows_of(text)
        return self._session.run(None, {"rows": rows[None], "weights": weights[None]})[0]

    def decide(self, text: str | bytes) -> Decision:
        """The route of one query; the default one where it is empty, unreadable or its route is not sure enough."""
        text = features.as_text(text)
        if not features.readable(text):
            even = dict.fromkeys(self.routes, 1 / len(self.routes))
            return Decision(self.settings.default, 1 / len(self.routes), even, "nothing to read")
        chances = self._run(text)[0].tolist()
        confidence = max(chances)
        probabilities = dict(zip(self.routes, chances, strict=True))
        if confidence < self.settings.threshold:
            return Decision(self.settings.default, confidence, probabilities, "not sure enough")
        return Decision(self.routes[chances.index(confidence)], confidence, probabilities)

    def with_threshold(self, threshold: float) -> Router:
        """The same router that goes to the default route below another confidence."""
        return replace(self, settings=replace(self.settings, threshold=threshold))

    def quantised(self) -> Router:
        """The same router with table and head as 8-bit integers."""
        return self if self.int8 else replace(self, model=onnx_graph.int8(self.model), int8=True)

    def sizes(self) -> pd.DataFrame:
        """file, part (table, head, file), parameters, bytes."""
        return onnx_file.size_table({INT8 if self.int8 else FLOAT: self.model}, _PARTS)

    def save(self, folder: Path) -> Path:
        """Write the model, as float32 and int8, and last of all the card that names them; gives `folder`.

        Raises CogumiError for a router that was read as int8: its float32 weights are not known.
        """
        if self.int8:
            raise CogumiError(
                expected="a router with its float32 weights",
                found="one that was read or made as int8",
                why="both files are written from the float32 weights",
                fix="save the router that was trained, or load(folder, int8=False)",
            )
        body = {"routes": list(self.routes), "settings": asdict(self.settings), "features": features.VERSION}
        return onnx_file.save(Path(folder) / CARD, body, {FLOAT: self.model, INT8: self.quantised().model})


def train(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], *, settings: Settings | None = None, seed: int,
    weights: Sequence[float] | None = None,
) -> Router:  # fmt: skip
    """A router of `texts` to `routes`, deterministic in `seed` on one machine.

    targets: [texts, routes], 0 or more: probabilities, or 1 for each route that answers right; a row is divided by its
    sum, and a row of zeros says nothing and is left out. weights: of the texts, above 0. Raises CogumiError for shapes
    that do not fit and a default route that is none of `routes`.
    """
    import numpy as np

    from cogumi_utils.route import training

    settings = settings or Settings()
    wanted = np.asarray(targets, dtype=np.float64)
    _check(texts, wanted, tuple(routes), settings.default)
    says = np.flatnonzero(wanted.sum(1) > 0)
    soft = wanted[says] / wanted[says].sum(1, keepdims=True)
    importance = None if weights is None else np.asarray(weights, dtype=np.float64)[says]
    importance = None if importance is None else importance / importance.mean()
    bag = training.fit([texts[place] for place in says], soft, settings, seed, importance)
    return Router(tuple(routes), training.to_onnx(bag), settings)


def _check(texts: Sequence[str], targets: np.ndarray, routes: tuple[str, ...], default: str) -> None:
    import numpy as np

    faults = [f"targets of shape {targets.shape}"] * (targets.shape != (len(texts), len(routes)))
    faults += [f"routes {list(routes)}"] * (len(set(routes)) != len(routes) or len(routes) < 2)
    faults += [f"no route {default!r}"] * (default not in routes)
    faults += ["targets below 0 or not finite"] * (not (np.isfinite(targets).all() and (targets >= 0).all()))
    faults += ["no text with a target above 0"] * (not faults and not (targets > 0).any())
    if faults:
        raise CogumiError(
            expected="one row a text and one column a route, values of 0 or more, and the default among the routes",
            found="; ".join(faults),
            why="each text teaches which routes answer it",
            fix=f"give a [{len(texts)}, {len(routes)}] array, and Settings(default=...) with the name of a route",
        )


def load(folder: Path, int8: bool = False, routes: Sequence[str] | None = None) -> Router:
    """The router that was saved in `folder`. routes: those that exist, where that is known.

    Raises CogumiError for a missing or altered file, a router of other features, and one that knows another route.
    """
    card = onnx_file.read_card(Path(folder) / CARD, "a router")
    if card["features"] != features.VERSION:
        raise CogumiError(
            expected=f"a router of features of version {features.VERSION}, in {folder}",
            found=f"features of version {card['features']}",
            why="its table's rows stand for other words",
            fix="train the router again",
        )
    unknown = [] if routes is None else [route for route in card["routes"] if route not in routes]
    if unknown:
        raise CogumiError(
            expected=f"a router to {', '.join(routes)}",
            found=f"one that also sends queries to {', '.join(unknown)}",
            why="a query sent to a route that does not exist has no answer",
            fix="train the router for these routes, or make the modifiers that it knows",
        )
    name = INT8 if int8 else FLOAT
    model = onnx_file.read_checked(Path(folder) / name, card["files"][name], "a router")
    return Router(tuple(card["routes"]), model, Settings(**card["settings"]), int8)
