"""A BERT-class encoder fine-tuned to tell dissatisfied from other users: what the small student learns from.

Its lower layers stay as they are, so their output is computed once and kept. A batch holds texts of one length in
word pieces: nothing is padded, nothing masked, and nothing is computed on what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.model import encoders
from cogumi_utils.route.escalation.turns import MAX_PIECES

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

_INFERENCE_BATCH = 128
WORDS_AT = 2 / 3  # of the layers from below: where fine-tuning left them as they were, by default


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """encoder: "packaged", a folder or a hub id. frozen_layers: of the encoder, from below, with the embeddings.
    learning_rate: of the layers above, ten times as much for the new head; both fall linearly to 0."""

    encoder: str = encoders.PACKAGED
    frozen_layers: int = 4
    epochs: int = 4
    batch: int = 32
    learning_rate: float = 2e-4


class Teacher:
    """probabilities: [n] that a text's writer is dissatisfied; a text is turns joined by `turns.joined`."""

    def __init__(self, model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast):
        self.model, self.tokenizer = model.eval(), tokenizer

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[n] float64, in the order of `texts`; equal texts are computed once."""
        import numpy as np
        import torch

        distinct = list(dict.fromkeys(texts))
        ids, found = pieces(self.tokenizer, distinct), np.zeros(len(distinct))
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for members in equal_length([len(one) for one in ids], _INFERENCE_BATCH):
                batch = torch.tensor([ids[member] for member in members])
                found[members] = self.model(batch).logits.float().softmax(-1)[:, 1].numpy()
        place = {text: number for number, text in enumerate(distinct)}
        return found[[place[text] for text in texts]]

    def word_vectors(self, numbers: Sequence[int]) -> np.ndarray:
        """What the encoder makes of each word piece alone, float32 [pieces, width]: the mean of its states at
        `WORDS_AT` of its depth.

        As model2vec does it, but lower: the layers above were fine-tuned on the task, and their states of words that it
        never met say little. On validation wordings students of the last layer ranked 8 points of PR-AUC lower.
        """
        import torch

        begin, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        layer, found = round(WORDS_AT * self.model.config.num_hidden_layers), []
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for start in range(0, len(numbers), 512):
                batch = torch.tensor([[begin, number, end] for number in numbers[start : start + 512]])
                found.append(_states(self.model, batch, layer).float().mean(1))
        return torch.cat(found).numpy()

    def save(self, folder: Path) -> Path:
        """As safetensors with configuration and tokenizer, which `load` takes as `encoder` again."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return Path(folder)

    @classmethod
    def load(cls, folder: Path) -> Teacher:
        """What `save` wrote. Raises CogumiError where there is none."""
        return cls(*_encoder(str(folder)))


def fit(texts: Sequence[str], labels: Sequence[int], settings: TeacherSettings | None = None, seed: int = 0) -> Teacher:
    """Fine-tune on texts and their labels (1: dissatisfied). Deterministic in `seed`.

    Raises CogumiError where both labels do not occur, and for an encoder that cannot be had or is none of BERT's kind.
    """
    import torch

    settings = settings or TeacherSettings()
    _check(texts, labels)
    torch.manual_seed(seed)
    model, tokenizer = _encoder(settings.encoder)
    batches = _lower_layers(model, pieces(tokenizer, texts), labels, settings)
    model.train()
    _train(model, batches, settings, seed)
    return Teacher(model, tokenizer)


def pieces(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Word pieces of each text between its two marks, the newest `MAX_PIECES` of a long one."""
    if not len(texts):
        return []
    tokenizer.truncation_side = "left"
    return tokenizer(list(texts), truncation=True, max_length=MAX_PIECES + 2)["input_ids"]


def equal_length(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Numbers of the items in batches whose items have one length, shortest first."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = 0
    for place in range(1, len(order) + 1):
        ends = place == len(order) or lengths[order[place]] != lengths[order[start]]
        if ends or place - start == batch:
            yield order[start:place]
            start = place


def _check(texts: Sequence[str], labels: Sequence[int]) -> None:
    if len(texts) != len(labels) or set(labels) != {0, 1}:
        raise CogumiError(
            expected="a label for each text, 1 for dissatisfied and 0 for the rest, and both of them",
            found=f"{len(texts)} texts and {len(labels)} labels, {sorted(set(labels))[:5]}",
            why="a detector learns from both kinds",
            fix='rows = data.read(["dialogues"], "train"); fit(rows.text, rows.label)',
        )


def _encoder(name: str) -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    from transformers import AutoTokenizer, BertForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is new is no news
    try:
        source = encoders.place(name)
        model = BertForSequenceClassification.from_pretrained(source, use_safetensors=True)  # two labels
        return model, AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, RuntimeError) as error:
        raise CogumiError(
            expected="an encoder of BERT's kind: `packaged`, a folder with safetensors, or a hub id",
            found=f"{name}: {str(error).strip().splitlines()[0]}",
            why="the student learns from its probabilities and takes over its words",
            fix=f"set `encoder` to {encoders.PACKAGED!r}, which needs no network",
        ) from error
    finally:
        logging.set_verbosity(before)


def _lower_layers(
    model: BertForSequenceClassification, ids: list[list[int]], labels: Sequence[int], settings: TeacherSettings
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(output of the frozen layers, bfloat16 [texts, pieces, width]; labels) of each batch."""
    import torch

    truth, found = list(labels), []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for members in equal_length([len(one) for one in ids], settings.batch):
            hidden = _states(model, torch.tensor([ids[member] for member in members]), settings.frozen_layers)
            found.append((hidden.bfloat16(), torch.tensor([truth[member] for member in members])))
    return found


def _states(model: BertForSequenceClassification, ids: torch.Tensor, layers: int) -> torch.Tensor:
    """[texts, pieces, width] after the lowest `layers`, of texts of one length: there is nothing to mask."""
    hidden = model.bert.embeddings(ids)
    for layer in model.bert.encoder.layer[:layers]:
        hidden = layer(hidden)
    return hidden


def _train(model: BertForSequenceClassification, batches: list, settings: TeacherSettings, seed: int) -> None:
    import torch

    upper = model.bert.encoder.layer[settings.frozen_layers :]
    body = [*upper.parameters(), *model.bert.pooler.parameters()]
    rates = [
        {"params": body, "lr": settings.learning_rate},
        {"params": model.classifier.parameters(), "lr": 10 * settings.learning_rate},
    ]
    optimiser = torch.optim.AdamW(rates, weight_decay=0.01)
    steps = settings.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, 10 * (step + 1) / steps) * (1 - step / steps)
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(settings.epochs):
        for number in torch.randperm(len(batches), generator=generator).tolist():
            hidden, truth = batches[number]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                for layer in upper:
                    hidden = layer(hidden)
                logits = model.classifier(model.dropout(model.bert.pooler(hidden)))
                # a mean over the planned batch: a batch that its length left small must not weigh as a full one
                loss = torch.nn.functional.cross_entropy(logits.float(), truth, reduction="sum") / settings.batch
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(body, 1.0)
            optimiser.step()
            schedule.step()
