"""A small LSTM that learns from the teacher's probabilities, written out as ONNX, in float32 and in int8.

Its words are the teacher's word pieces, cut to the most frequent ones. What they mean stays as the encoder says; only a
projection of that is learned, and folded into the table when it is done. A table that is learned word by word moves the
words of the training texts away from their neighbours, and what it learned does not hold for the neighbours.
Distilling BERT into an LSTM: Tang et al. (2019, arXiv 1903.12136); here the targets are probabilities, which keeps a
sure teacher in bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import _onnx
from cogumi_utils.route.escalation.detector import SPECIAL, Detector, token_ids
from cogumi_utils.route.escalation.teacher import Teacher, equal_length

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tokenizers import Tokenizer

    Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """vocabulary: word pieces. width: of the table. hidden: of the LSTM, in each direction. epochs: over the
    labelled texts; each reads as many of the others, drawn anew, so that a large set drowns no small one.
    projection_rate: learning rate of the projection beside the others'. label_weight: of the labels beside the
    teacher's probabilities. forget: share of pieces that are replaced by "unknown" in training."""

    vocabulary: int = 8000
    width: int = 64
    hidden: int = 128
    epochs: int = 8
    batch: int = 64
    learning_rate: float = 3e-3
    projection_rate: float = 0.3
    label_weight: float = 0.3
    forget: float = 0.05
    dropout: float = 0.1


def distil(
    teacher: Teacher,
    probabilities: Sequence[float],
    texts: Sequence[str],
    labels: Sequence[int] | None = None,
    settings: StudentSettings | None = None,
    seed: int = 0,
) -> Detector:
    """A detector that says what the teacher would say. Deterministic in `seed`.

    probabilities: the teacher's, for `texts`. labels: 1 dissatisfied, 0 not, -1 not known (only the teacher counts).
    Raises CogumiError for columns of unequal length and a teacher whose words are no word pieces.
    """
    import numpy as np
    import torch

    settings = settings or StudentSettings()
    truth = np.full(len(texts), -1) if labels is None else np.asarray(labels)
    _check(texts, probabilities, truth)
    torch.manual_seed(seed)
    tokenizer, kept = cut_tokenizer(teacher, texts, settings.vocabulary)
    model = _network(teacher.word_vectors(kept), settings)
    ids = [token_ids(tokenizer, text) or [SPECIAL["[UNK]"]] for text in texts]
    # what is not labelled is learned from the teacher alone
    weight = np.where(truth < 0, 0.0, settings.label_weight)
    targets = (1 - weight) * np.asarray(probabilities, dtype=float) + weight * np.maximum(truth, 0)
    read_whole = truth >= 0 if (truth >= 0).any() else truth < 0
    parts = (_batches(ids, targets, np.flatnonzero(some), settings.batch) for some in (read_whole, ~read_whole))
    _train(model, *parts, settings, seed)
    return Detector(_onnx.graph(folded(model)), tokenizer)


def cut_tokenizer(teacher: Teacher, texts: Sequence[str], size: int) -> tuple[Tokenizer, list[int]]:
    """(a tokenizer of at most `size` pieces, their rows in the teacher's table).

    First single letters, so that every Latin word can be spelled; then the pieces of `texts`, the most frequent first;
    then the teacher's own in their order (BERT lists them by frequency).
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece

    whole = teacher.tokenizer.backend_tokenizer
    if not isinstance(whole.model, WordPiece):
        raise CogumiError(
            expected="a teacher whose tokenizer makes word pieces",
            found=type(whole.model).__name__,
            why="the student's words are the teacher's, cut to the frequent ones",
            fix="set `encoder` to a BERT-class model: packaged, google-bert/bert-base-uncased, ...",
        )
    known = whole.get_vocab()
    counts = Counter(piece for one in whole.encode_batch(list(texts)) for piece in one.tokens)
    frequent = sorted(counts, key=lambda piece: (-counts[piece], known.get(piece, 0)))
    letters = [piece for piece in known if len(piece.removeprefix("##")) == 1 and piece.isascii()]
    own = sorted((piece for piece in known if not piece.startswith("[")), key=known.__getitem__)
    order = dict.fromkeys([*SPECIAL, *sorted(letters), *frequent, *own])
    vocabulary = [piece for piece in order if piece in known and (piece in SPECIAL or not piece.startswith("[unused"))]
    vocabulary = vocabulary[:size]
    cut = Tokenizer(WordPiece({piece: number for number, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    cut.normalizer, cut.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    cut.add_special_tokens(list(SPECIAL))
    return cut, [known[piece] for piece in vocabulary]


def principal(table: np.ndarray, width: int) -> np.ndarray:
    """The rows' `width` principal axes, float32 [columns, width], scaled so that projected rows have variance 1."""
    import numpy as np

    values, axes = np.linalg.eigh(table.T @ table)
    chosen = axes[:, np.argsort(-values)[:width]]
    return (chosen / (table @ chosen).std()).astype(np.float32)


def _check(texts: Sequence[str], probabilities: Sequence[float], truth: np.ndarray) -> None:
    if not len(texts) or not len(texts) == len(probabilities) == len(truth):
        raise CogumiError(
            expected="a probability of the teacher, and a label where labels are given, for each text",
            found=f"{len(texts)} texts, {len(probabilities)} probabilities, {len(truth)} labels",
            why="they are matched by their position",
            fix="distil(teacher, teacher.probabilities(texts), texts, labels)",
        )


def _network(vectors: np.ndarray, settings: StudentSettings) -> torch.nn.ModuleDict:
    """vectors: [pieces, columns], which stay; the projection starts as their principal axes."""
    import numpy as np
    import torch

    centred = vectors - vectors.mean(0)
    table = (centred / centred.std()).astype(np.float32)
    projection = torch.nn.Linear(table.shape[1], settings.width, bias=False)
    projection.weight = torch.nn.Parameter(torch.from_numpy(principal(table, settings.width).T.copy()))
    return torch.nn.ModuleDict(
        {
            "table": torch.nn.Embedding.from_pretrained(torch.from_numpy(table)),  # frozen
            "projection": projection,
            "lstm": torch.nn.LSTM(settings.width, settings.hidden, bidirectional=True, batch_first=True),
            "head": torch.nn.Linear(4 * settings.hidden, 1),
        }
    )


def folded(model: torch.nn.ModuleDict) -> dict[str, np.ndarray]:
    """The weights with table and projection as one table [pieces, width]."""
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    table = weights["table.weight"] @ weights.pop("projection.weight").T
    return weights | {"table.weight": table}


def logits(model: torch.nn.ModuleDict, ids: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """[texts], from ids [texts, pieces]: table, projection, LSTM, maximum and mean over pieces, one line."""
    import torch

    drop = torch.nn.functional.dropout
    words = model["projection"](drop(model["table"](ids), dropout))
    states, _ = model["lstm"](drop(words, dropout))
    pooled = torch.cat([states.amax(1), states.mean(1)], dim=-1)
    return model["head"](drop(pooled, dropout)).squeeze(-1)


def _batches(ids: list[list[int]], targets: np.ndarray, places: np.ndarray, size: int) -> list[Batch]:
    """(pieces [texts, pieces], targets [texts]) of the texts at `places`, those of one length together."""
    import torch

    members = (places[one] for one in equal_length([len(ids[place]) for place in places], size))
    return [(torch.tensor([ids[one] for one in some]), torch.from_numpy(targets[some]).float()) for some in members]


def _train(
    model: torch.nn.ModuleDict, labelled: list[Batch], others: list[Batch], settings: StudentSettings, seed: int
) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    batches = labelled + others
    rates = {"projection": settings.projection_rate * settings.learning_rate}
    groups = [
        {"params": part.parameters(), "lr": rates.get(name, settings.learning_rate)} for name, part in model.items()
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = settings.epochs * min(2 * len(labelled), len(batches))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(settings.epochs):
        for number in _epoch(len(labelled), len(others), generator):
            read, target = batches[number]
            unknown = torch.rand(read.shape, generator=generator) < settings.forget
            found = logits(model, read.masked_fill(unknown, SPECIAL["[UNK]"]), dropout=settings.dropout)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(found, target, reduction="sum") / settings.batch
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()


def _epoch(labelled: int, others: int, generator: torch.Generator) -> list[int]:
    """Numbers of an epoch's batches, mixed: all labelled ones, which come first, and as many of the others."""
    import torch

    drawn = labelled + torch.randperm(others, generator=generator)[:labelled]
    chosen = torch.cat([torch.arange(labelled), drawn])
    return chosen[torch.randperm(len(chosen), generator=generator)].tolist()
