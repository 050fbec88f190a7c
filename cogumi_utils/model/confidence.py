"""Answers together with what their own probabilities say: how sure the model was of them.

All features are probabilities, so that a calibrator can start from any of them: of the whole answer (`sequence`), its
geometric mean a token (`mean`), its least likely token (`least`), e to the minus entropy of the first token (`first`),
and the token that ended it (`end`). That one is kept apart from the others: it says when a model stops, not whether the
answer is right, and where it was hardly trained it hides all that the answer's own tokens say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils import artifacts
from cogumi_utils.data.chat import prompt_text
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade
from cogumi_utils.judge.verifiers import after_marker
from cogumi_utils.model import student
from cogumi_utils.model.workers import finish, in_folders
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

FEATURES = ("sequence", "mean", "least", "first", "end")
TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # sqrt(2) apart; 1.0 is the model as it is
FILE = "answers.parquet"


class Recorder(LogitsProcessor):
    """Keeps, at each step of greedy decoding, ln p of the likeliest token at `TEMPERATURES`, and the first entropy.

    `generate(output_logits=True)` would keep all logits: at 128K words they fill the memory, these few numbers don't.
    """

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []  # each [batch, temperatures]
        self.first_entropy: torch.Tensor | None = None  # [batch], nats

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        below = scores.float() - scores.float().amax(-1, keepdim=True)
        # minus ln of a sum that begins with exp(0) = 1: exact where the token is nearly certain
        self.steps.append(torch.stack([-(below / t).exp().sum(-1).log() for t in TEMPERATURES], -1).cpu())
        if self.first_entropy is None:
            self.first_entropy = torch.distributions.Categorical(logits=below).entropy().cpu()
        return scores


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, max_new_tokens: int,
    batch: int = 128,
) -> pd.DataFrame:  # fmt: skip
    """Greedy answers in the order of `examples`: id, answer, tokens, finished, `FEATURES`, and `sequence_at_T`.

    tokens: without the one that ends the answer, except where there is nothing else. finished: whether it ended before
    `max_new_tokens`; end is 0 where not. sequence_at_T: `sequence` with every logit divided by T.
    """
    import pandas as pd

    found: dict[int, dict] = {}
    for chosen, inputs in _batches(model, tokenizer, [example.prompt for example in examples], batch):
        recorder = Recorder()
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id, logits_processor=LogitsProcessorList([recorder]),
        )  # fmt: skip
        new = output[:, inputs["input_ids"].shape[1] :].cpu()
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        for i, text, features in zip(chosen, texts, _features(new, recorder, tokenizer.eos_token_id), strict=True):
            found[i] = {"id": examples[i].id, "answer": text.strip(), **features}
    return pd.DataFrame([found[i] for i in range(len(examples))])


def _batches(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[dict[str, str]]], batch: int
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """(numbers of the prompts, padded ids and mask); prompts of similar length share a batch."""
    if not prompts:
        raise CogumiError(
            expected="questions to answer", found="none", why="confidence is measured on answers",
            fix="check that the evaluation set is not empty after filtering",
        )  # fmt: skip
    model.eval()
    texts = [prompt_text(tokenizer, messages) for messages in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False)
        yield chosen, inputs.to(model.device)


def _features(new: torch.Tensor, recorder: Recorder, end: int) -> Iterator[dict[str, float | int | bool]]:
    """One dict an answer. new: generated ids [batch, steps], padded after the token `end`."""
    ended = new == end
    lengths = torch.where(ended.any(1), ended.int().argmax(1), new.shape[1])
    log_probs = torch.stack(recorder.steps, 1).double().numpy()  # [batch, steps, temperatures]
    usual, names = TEMPERATURES.index(1.0), [f"sequence_at_{t:g}" for t in TEMPERATURES]
    for row, length, done, entropy in zip(log_probs, lengths, ended.any(1), recorder.first_entropy, strict=True):
        own = row[: max(1, int(length))]
        at = dict(zip(names, np.exp(own.sum(0)).tolist(), strict=True))
        yield {
            "tokens": len(own), "finished": bool(done), "sequence": at["sequence_at_1"],
            "mean": float(np.exp(own[:, usual].mean())), "least": float(np.exp(own[:, usual].min())),
            "first": float(np.exp(-float(entropy))), "end": float(np.exp(row[int(length), usual]) if done else 0),
            **at,
        }  # fmt: skip


def final_part(answer: str) -> str:
    """What two answers must share to agree: the words after the last `Answer:`, else all of them."""
    tail = after_marker(answer)
    return " ".join((answer if tail is None else tail).split())


def agreement(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], given: Sequence[str], *,
    samples: int, temperature: float, seed: int, max_new_tokens: int, batch: int = 128,
    part: Callable[[str], str] = final_part,
) -> np.ndarray:  # fmt: skip
    """Share of `samples` random answers at `temperature` whose `part` is that of the given answer, in order.

    For models whose logits are out of reach: as whole texts they agree with the probability of the answer and its end
    at that temperature, which `answers` gives without sampling. Raises CogumiError for no samples or a temperature that
    is not above 0.
    """
    if samples < 1 or not temperature > 0:
        raise CogumiError(
            expected="one sample or more, at a temperature above 0",
            found=f"{samples} samples at temperature {temperature}",
            why="at temperature 0 all samples are the greedy answer",
            fix="samples=8, temperature=1.0",
        )
    shares, number = np.zeros(len(examples)), batch // samples or 1
    torch.manual_seed(seed)
    for chosen, inputs in _batches(model, tokenizer, [example.prompt for example in examples], number):
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
            num_return_sequences=samples, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for place, i in enumerate(chosen):
            own = texts[place * samples : (place + 1) * samples]
            shares[i] = np.mean([part(text) == part(given[i]) for text in own])
    return shares


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the questions, asked in one process. model: its folder; digest: its files' digest."""

    number: int
    model: Path
    digest: str
    examples: Sequence[Example]
    max_new_tokens: int
    batch: int
    device: str = "cpu"

    @property
    def key(self) -> str:
        """Other questions, another model or other settings: another folder."""
        ids = [example.id for example in self.examples]
        what = [self.digest, ids, self.max_new_tokens, self.batch, self.device]
        return f"{self.number}-{artifacts.digest_of(what)[:8]}"


def ask(
    model: Path, examples: Sequence[Example], folder: Path, *, max_new_tokens: int, batch: int = 128, shards: int = 2,
    workers: int = 1, device: str = "cpu",
) -> pd.DataFrame:  # fmt: skip
    """`answers` of the model in folder `model`, graded: with domain, skill and passed, in the order of `examples`.

    The questions go in `shards` parts, `workers` at a time in processes of their own; a part that is finished in
    `folder` is not asked again. Results do not depend on `workers`. On a GPU the parts take turns, in bf16. Raises
    CogumiError where nothing can be asked.
    """
    import pandas as pd

    shards = max(1, min(shards, len(examples)))
    digest, numbers = artifacts.sha256_tree(model), range(shards)
    parts = [Shard(i, model, digest, examples[i::shards], max_new_tokens, batch, device) for i in numbers]
    folders = in_folders(folder, parts)
    finish(partial(_ask_shard, folder), folders, workers=workers if device == "cpu" else 1)
    places = [range(len(examples))[i::shards] for i in numbers]
    whole = [pd.read_parquet(one / FILE).set_index(pd.Index(own)) for one, own in zip(folders, places, strict=True)]
    return pd.concat(whole).sort_index()


def _ask_shard(folder: Path, shard: Shard) -> None:
    dtype = torch.float32 if shard.device == "cpu" else torch.bfloat16
    model, tokenizer = student.load(shard.model, dtype=dtype, device_map=shard.device)
    with _one_thread():
        frame = answers(model, tokenizer, shard.examples, max_new_tokens=shard.max_new_tokens, batch=shard.batch)
    graded = grade.grade(shard.examples, list(frame.answer), workers=1)
    own = folder / shard.key
    own.mkdir(parents=True, exist_ok=True)
    frame.assign(**{name: list(graded[name]) for name in ("domain", "skill", "passed")}).to_parquet(own / FILE)
    artifacts.write_manifest(own, {"outputs": artifacts.describe(own, [FILE])})


@contextmanager
def _one_thread() -> Iterator[None]:
    """The other processes have the other cores; where there is no other, what follows gets its threads back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
