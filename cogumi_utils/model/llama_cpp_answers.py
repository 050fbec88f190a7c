"""Answers and log-probabilities from llama.cpp, with the faces of `model.generate` and `model.score`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cogumi_utils.data.chat import prompt_text
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.llama_cpp_runtime import Piece, Runtime, load

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cogumi_utils.schema import Example

Messages = Sequence[dict[str, str]]
_MOST_LOGITS = 1 << 26  # values that one call may give: 256 MB


def complete(runtime: Runtime, texts: Sequence[str], *, max_new_tokens: int, stop: str) -> list[str]:
    """Greedy continuations of `texts` up to the token `stop`, in their order: the face of `generate.complete`.

    A sequence that has ended makes room for the next text, the longest first, so that no step is computed in vain.
    """
    if max_new_tokens < 1:
        raise CogumiError(
            expected="at least one new token an answer",
            found=f"max_new_tokens {max_new_tokens}",
            why="an answer is made of tokens",
            fix="raise `max_new_tokens`",
        )
    prompts, end = runtime.token_ids(texts), _one_token(runtime, stop)
    _check_lengths(runtime, [len(ids) + max_new_tokens for ids in prompts], min(map(len, prompts), default=1))
    waiting = deque(sorted(range(len(prompts)), key=lambda place: -len(prompts[place])))
    found: list[list[int]] = [[] for _ in prompts]
    busy: dict[int, int] = {}  # sequence: place in `texts`
    runtime.forget()
    while waiting or busy:
        for sequence in range(runtime.sequences):
            if waiting and sequence not in busy:
                busy[sequence] = waiting.popleft()
        order = sorted(busy)
        steps = [_step(sequence, prompts[busy[sequence]], found[busy[sequence]]) for sequence in order]
        for sequence, token in zip(order, runtime.log_odds(steps).argmax(-1).tolist(), strict=True):
            answer = found[busy[sequence]]
            answer.append(token)
            if token == end or len(answer) == max_new_tokens:
                runtime.forget(sequence)
                del busy[sequence]
    return [runtime.text(ids).strip() for ids in found]


def _step(sequence: int, prompt: list[int], answer: list[int]) -> Piece:
    """The whole prompt at first, then the newest token."""
    if not answer:
        return Piece(sequence, 0, prompt, len(prompt) - 1)
    return Piece(sequence, len(prompt) + len(answer) - 1, answer[-1:], 0)


def answerer(runtime: Runtime, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Callable:
    """`prompts -> answers` through the tokenizer's chat template, as `generate.answerer`; llama.cpp splits the text."""

    def answer(prompts: Sequence[Messages]) -> list[str]:
        texts = [prompt_text(tokenizer, messages) for messages in prompts]
        return complete(runtime, texts, stop=tokenizer.eos_token, **options)

    return answer


def file_answerer(
    file: str | Path, tokenizer: PreTrainedTokenizerBase, *, max_new_tokens: int, **options: Any
) -> Callable:
    """`prompts -> answers` of a GGUF file, loaded for the call with `options` (those of `llama_cpp_runtime.load`)."""

    def answer(prompts: Sequence[Messages]) -> list[str]:
        with load(file, **options) as runtime:
            return answerer(runtime, tokenizer, max_new_tokens=max_new_tokens)(prompts)

    return answer


def answer_log_probs(
    runtime: Runtime, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> Iterator[np.ndarray]:
    """Natural-log probabilities of the next token, float32 [answer tokens, vocabulary] an example, in order: what
    `score.answer_log_probs` gives of a transformers model, at the same token ids.
    """
    from cogumi_utils.model.packing import labelled
    from cogumi_utils.model.score import answer_start

    rows = [labelled(tokenizer, example) for example in examples]
    texts = [(row["input_ids"][:-1], answer_start(row["labels"]) - 1) for row in rows]
    _check_lengths(runtime, [len(ids) for ids, _ in texts], min((first + 1 for _, first in texts), default=1))
    for group in _groups(runtime, texts):
        yield from _group_log_probs(runtime, group)


def _groups(runtime: Runtime, texts: list[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
    """Neighbours that fit into the runtime's sequences, and their logits into memory."""
    group: list[tuple[list[int], int]] = []
    values = 0
    for ids, first in texts:
        own = (len(ids) - first) * runtime.vocabulary_size
        if group and (len(group) == runtime.sequences or values + own > _MOST_LOGITS):
            yield group
            group, values = [], 0
        group.append((ids, first))
        values += own
    if group:
        yield group


def _group_log_probs(runtime: Runtime, group: list[tuple[list[int], int]]) -> Iterator[np.ndarray]:
    """The longest text is the first sequence: llama.cpp goes on together only with neighbours."""
    from scipy.special import log_softmax

    order = sorted(range(len(group)), key=lambda place: -len(group[place][0]))
    runtime.forget()
    logits = runtime.log_odds([Piece(i, 0, *group[place]) for i, place in enumerate(order)])
    ends = np.cumsum([len(group[place][0]) - group[place][1] for place in order])[:-1]
    found = dict(zip(order, np.split(log_softmax(logits, axis=-1), ends), strict=True))
    yield from (found[place] for place in range(len(group)))


def _one_token(runtime: Runtime, text: str) -> int:
    (ids,) = runtime.token_ids([text])
    if len(ids) != 1:
        raise CogumiError(
            expected="a text that is one token of the model's vocabulary, to end answers with",
            found=f"{text!r}, which is {len(ids)} tokens",
            why="an answer would only end at the limit of tokens",
            fix="give the end-of-answer token of the tokenizer that was exported with the model",
        )
    return ids[0]


def _check_lengths(runtime: Runtime, lengths: list[int], shortest: int) -> None:
    if max(lengths, default=0) > runtime.context or shortest < 1:
        raise CogumiError(
            expected=f"texts of 1 to {runtime.context} tokens, answer included",
            found=f"one that needs {max(lengths)}" if shortest else "an empty one",
            why="llama.cpp reserves the memory of each sequence beforehand",
            fix="load the file with a larger `context`, or lower `max_new_tokens`",
        )
