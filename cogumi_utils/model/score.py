"""What a model makes of given answers: its distribution at every answer token, and what each token costs in nats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.packing import labelled
from cogumi_utils.schema import Example

WINDOW = 4096  # examples whose lengths are compared, so that little is computed on padding


@torch.inference_mode()
def answer_log_probs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch: int = 64
) -> Iterator[np.ndarray]:
    """Natural-log probabilities of the next token, float32 [answer tokens, vocabulary] an example, in order.

    The answer is the reference answer and the token that ends it. A generator: at 128K words the logits of a whole
    test set fit no memory, so two models are compared example by example (`judge.fidelity`).
    """
    model.eval()
    for start in range(0, len(examples), batch):
        rows = [labelled(tokenizer, example) for example in examples[start : start + batch]]
        for logits, _ in _answer_logits(model, tokenizer, rows):
            yield logits.log_softmax(-1).cpu().numpy()


def _answer_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(logits, float32 [answer tokens, vocabulary]; the answer's ids) of each row of one batch, on the model's device.

    rows: as `packing.labelled` makes them.
    """
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id).to(model.device)
    lengths = torch.tensor([len(one) for one in ids], device=model.device)
    mask = torch.arange(padded.shape[1], device=model.device) < lengths[:, None]
    logits = model(input_ids=padded, attention_mask=mask.long()).logits
    for row, tokens, values in zip(rows, padded, logits, strict=True):
        first, end = answer_start(row["labels"]), len(row["labels"])
        yield values[first - 1 : end - 1].float(), tokens[first:end]


def answer_start(labels: Sequence[int]) -> int:
    """Place of the first answer token: labels are -100 before it (see `packing.labelled`)."""
    return next(place for place, label in enumerate(labels) if label != -100)


def answer_ids(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> Iterator[np.ndarray]:
    """int64 [answer tokens] an example: what `answer_log_probs` is a distribution over."""
    for example in examples:
        labels = labelled(tokenizer, example)["labels"]
        yield np.asarray(labels[answer_start(labels) :])


@torch.inference_mode()
def answer_costs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch: int = 64,
    bf16: bool = False,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Nats of each answer token, float32 [answer tokens] an example, in order. exp(their mean) is the perplexity.

    Chats of similar length share a batch, and distributions stay where they were computed: a whole training set is
    scored in a small part of the time that its distributions would take to copy. bf16: matrix products in bf16 on the
    CPU too; half of the time, and means that differ in their second digit after the point.
    """
    model.eval()
    for start in range(0, len(examples), WINDOW):
        rows = [labelled(tokenizer, example) for example in examples[start : start + WINDOW]]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        found: dict[int, np.ndarray] = {}
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                scored = _answer_logits(model, tokenizer, [rows[i] for i in chosen])
                for i, (logits, ids) in zip(chosen, scored, strict=True):
                    found[i] = F.cross_entropy(logits, ids, reduction="none").cpu().numpy()
        yield from (found[i] for i in range(len(rows)))


def hardest(examples: Sequence[Example], costs: Iterable[np.ndarray], share: float) -> list[Example]:
    """The `share` of the examples whose answers have the highest perplexity, hardest first; one at least.

    costs: as `answer_costs` gives them, one array an example. Raises CogumiError for a share that is none.
    """
    if not 0 < share <= 1 or not examples:
        raise CogumiError(
            expected="examples, and a share of them above 0 and at most 1",
            found=f"{len(examples)} examples, share {share}",
            why="the hardest part is trained on once more",
            fix="give the share as a fraction, 0.02 for 2%",
        )
    means = [float(cost.mean()) for cost in costs]
    order = sorted(range(len(examples)), key=lambda i: (-means[i], examples[i].id))
    return [examples[i] for i in order[: max(1, round(share * len(examples)))]]
