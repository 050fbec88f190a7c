"""What a model makes of given answers: its distribution at every answer token, and what each token costs in nats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.packing import labelled
from cogumi_utils.schema import Example


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
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        padded = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
        lengths = torch.tensor([len(one) for one in ids])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        logits = model(input_ids=padded.to(model.device), attention_mask=mask.long().to(model.device)).logits
        for row, values in zip(rows, logits, strict=True):
            first, end = answer_start(row["labels"]), len(row["labels"])
            yield values[first - 1 : end - 1].float().log_softmax(-1).cpu().numpy()


def answer_start(labels: Sequence[int]) -> int:
    """Place of the first answer token: labels are -100 before it (see `packing.labelled`)."""
    return next(place for place, label in enumerate(labels) if label != -100)


def answer_ids(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> Iterator[np.ndarray]:
    """int64 [answer tokens] an example: what `answer_log_probs` is a distribution over."""
    for example in examples:
        labels = labelled(tokenizer, example)["labels"]
        yield np.asarray(labels[answer_start(labels) :])


def answer_costs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch: int = 64
) -> Iterator[np.ndarray]:
    """Nats of each answer token, float32 [answer tokens] an example. exp(their mean) is the answer's perplexity."""
    scored = answer_log_probs(model, tokenizer, examples, batch=batch)
    for log_probs, ids in zip(scored, answer_ids(tokenizer, examples), strict=True):
        yield -log_probs[np.arange(len(ids)), ids]


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
