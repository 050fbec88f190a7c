"""Decides from the user's last turns whether a human should take over, and says which words decided. No torch.

What cannot be judged (nothing said, another script, pictures only) is not escalated, with probability 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import onnx_file, onnx_graph
from cogumi_utils.route.escalation import _onnx
from cogumi_utils.route.escalation.turns import MAX_PIECES, joined

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

SPECIAL = {"[UNK]": 0, "[SEP]": 1}
MODEL, MODEL_INT8, WORDS, CARD = "detector.onnx", "detector.int8.onnx", "tokenizer.json", "detector.json"
SHOWN = 3  # reasons
LEAST = 0.02  # fall of the probability from which a word or turn counts as a reason
KNOWN = 0.5  # share of pieces that must be known: of another script or of pictures almost none are
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Reason:
    """part: "word" or "turn"; text: what was said; raised: how much lower the probability is without it."""

    part: str
    text: str
    raised: float


@dataclass(frozen=True, slots=True)
class Score:
    """probability: that the user is dissatisfied; escalate: it reaches the threshold; reasons: if it does, strongest
    first."""

    probability: float
    escalate: bool
    reasons: tuple[Reason, ...] = ()


class Detector:
    """`score` one user's turns, or `probabilities` of many texts; `save` and `load`."""

    def __init__(self, model: bytes, tokenizer: Tokenizer, threshold: float = 0.5, model_int8: bytes | None = None):
        """model: ONNX in float32. threshold: of the probability, chosen on validation texts (`judge.best_threshold`).
        model_int8: made from `model` where it is not given."""
        self._models = {False: model, True: model_int8 or onnx_graph.int8(model)}
        self._tokenizer, self.threshold, self._int8 = tokenizer, threshold, False
        self._session = onnx_file.session(model)
        self._words = frozenset(
            number for piece, number in tokenizer.get_vocab().items() if piece not in SPECIAL and _spelled(piece)
        )

    def __repr__(self) -> str:
        return f"Detector(threshold={self.threshold:.3f}, int8={self._int8}, bytes={len(self._models[self._int8])})"

    def using(self, int8: bool | None = None, threshold: float | None = None) -> Detector:
        """The same detector with its int8 weights, or at another threshold. Raises CogumiError outside 0 to 1."""
        chosen = self.threshold if threshold is None else threshold
        if not 0 <= chosen <= 1:
            raise CogumiError(
                expected="a threshold between 0 and 1",
                found=repr(threshold),
                why="it is compared with a probability",
                fix="judge.best_threshold(labels, detector.probabilities(texts)) on validation texts",
            )
        other = object.__new__(Detector)
        other.__dict__ = {**self.__dict__, "threshold": float(chosen)}
        if int8 is not None and int8 != self._int8:
            other._int8, other._session = int8, onnx_file.session(self._models[int8])
        return other

    def score(self, turns: Sequence[str]) -> Score:
        """From the user's turns, oldest first. Reasons are looked for only where it escalates: they take longer."""
        text = joined(turns)
        ids = token_ids(self._tokenizer, text)
        if not self._readable(ids):
            return Score(0.0, False)
        probability = float(self._run([ids])[0])
        escalate = probability >= self.threshold
        return Score(probability, escalate, self.reasons(text) if escalate else ())

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n] float64; a text is turns joined by `turns.joined`, and one that cannot be judged has 0."""
        import numpy as np

        ids = [token_ids(self._tokenizer, text) for text in texts]
        found = np.zeros(len(ids))
        by_length: dict[int, list[int]] = {}
        for number, one in enumerate(ids):
            if self._readable(one):
                by_length.setdefault(len(one), []).append(number)
        for members in by_length.values():  # texts of one length: no padding, so each has one score in whatever company
            for start in range(0, len(members), _BATCH):
                part = members[start : start + _BATCH]
                found[part] = self._run([ids[number] for number in part])
        return found

    def reasons(self, text: str) -> tuple[Reason, ...]:
        """Occlusion: each word, and each turn of several, is made unknown; what lowers the probability was a reason.

        Deterministic; in order of what they raised it by, at most `SHOWN`.
        """
        import numpy as np

        encoded, ids = _newest(self._tokenizer, text)
        parts = _parts(text, encoded, len(encoded.ids) - len(ids))
        hidden = np.tile(np.array(ids, dtype=np.int64), (len(parts) + 1, 1))
        for row, (_, _, places) in enumerate(parts, start=1):
            hidden[row, places] = SPECIAL["[UNK]"]
        found = self._run(hidden)
        raised = [
            Reason(part, words, float(found[0] - one)) for (part, words, _), one in zip(parts, found[1:], strict=True)
        ]
        return tuple(sorted((one for one in raised if one.raised >= LEAST), key=lambda one: -one.raised)[:SHOWN])

    def sizes(self) -> dict[str, dict[str, int]]:
        """{"float32" and "int8": bytes of the table of words, of the rest, of the file}."""
        named = {"float32": self._models[False], "int8": self._models[True]}
        return {name: {**_onnx.sizes(model), "file": len(model)} for name, model in named.items()}

    def save(self, folder: Path) -> Path:
        """Both ONNX files, the words, and last a card with their sha256 and the threshold."""
        words = self._tokenizer.to_str().encode()
        files = {MODEL: self._models[False], MODEL_INT8: self._models[True], WORDS: words}
        return onnx_file.save(Path(folder) / CARD, {"threshold": self.threshold}, files)

    @classmethod
    def load(cls, folder: Path, int8: bool = False) -> Detector:
        """What `save` wrote. Raises CogumiError where a file is missing, altered, or no detector's."""
        from tokenizers import Tokenizer

        folder = Path(folder)
        card = onnx_file.read_card(folder / CARD, "a detector")
        names = (MODEL, MODEL_INT8, WORDS)
        files = [onnx_file.read_checked(folder / name, card["files"][name], "a detector") for name in names]
        try:
            float32, int8_weights, words = files
            found = cls(float32, Tokenizer.from_str(words.decode()), float(card["threshold"]), int8_weights)
        except CogumiError:
            raise
        except Exception as error:  # tokenizers raises plain Exception
            raise CogumiError(
                expected=f"a detector in {folder}",
                found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                why="its files agree with its card and still cannot be read",
                fix="make it again with student.distil(...).save(folder)",
            ) from error
        return found.using(int8)

    def _readable(self, ids: Sequence[int]) -> bool:
        """Whether there are words, and at least half of the pieces of what was said are known."""
        said = [one for one in ids if one != SPECIAL["[SEP]"]]
        known = sum(one != SPECIAL["[UNK]"] for one in said)
        return known >= KNOWN * len(said) and not self._words.isdisjoint(said)

    def _run(self, ids: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
        import numpy as np

        (logits,) = self._session.run([_onnx.OUTPUT], {_onnx.INPUT: np.asarray(ids, dtype=np.int64)})
        return 1 / (1 + np.exp(-logits.astype(np.float64)))


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Numbers of the newest `MAX_PIECES` pieces."""
    return _newest(tokenizer, text)[1]


def _spelled(piece: str) -> bool:
    return any(sign.isalpha() for sign in piece)


def _newest(tokenizer: Tokenizer, text: str):
    encoded = tokenizer.encode(text, add_special_tokens=False)
    return encoded, encoded.ids[-MAX_PIECES:]


def _parts(text: str, encoded, skipped: int) -> list[tuple[str, str, list[int]]]:
    """("word" or "turn", its text, places of its pieces) of everything that can be left out."""
    words: dict[int, list[int]] = {}
    turns: list[list[int]] = [[]]
    for place, (number, word) in enumerate(zip(encoded.ids[skipped:], encoded.word_ids[skipped:], strict=True)):
        if number == SPECIAL["[SEP]"]:
            turns.append([])
            continue
        turns[-1].append(place)
        words.setdefault(word, []).append(place)
    named = [("word", places) for places in words.values()]
    if len(turns) > 1:
        named += [("turn", places) for places in turns if places]
    spans = encoded.offsets[skipped:]
    return [(part, text[spans[places[0]][0] : spans[places[-1]][1]], places) for part, places in named]
