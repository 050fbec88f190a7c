"""Next-token training from scratch on the CPU: Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from cogumi_utils.data.corpus import documents
from cogumi_utils.errors import CogumiError


@dataclass(frozen=True, slots=True)
class PretrainResult:
    losses: list[float]  # nats per token, one a step
    tokens: int
    seconds: float  # of the steps alone, compiling included

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.tokens else float("nan")

    def smoothed(self, window: int = 25) -> tuple[list[int], list[float]]:
        """(steps, mean loss of the `window` steps that end there)."""
        n, window = len(self.losses), min(window, len(self.losses))
        ends = range(window, n + 1, max(1, n // 100)) if n else range(0)
        return list(ends), [sum(self.losses[end - window : end]) / window for end in ends]


def reading(
    tokenizer: PreTrainedTokenizerBase, *, seed: int, steps: int, warm_steps: int, batch: int, length: int,
    repeat_share: float, fact_share: float,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Ids and positions, both [steps * batch, length]: `warm_steps` of repeats alone, then the corpus.

    The repeats come first because everything that copies a name or a number waits for induction to form.
    """
    if not 0 <= warm_steps <= steps:
        raise CogumiError(
            expected=f"warm_steps between 0 and steps, here {steps}",
            found=f"warm_steps = {warm_steps}",
            why="the warm steps are the first of all steps",
            fix="set warm_steps to 0, or ask for more steps, in the parameter file of 00_student",
        )
    special = set(tokenizer.get_added_vocab().values())  # the chat's own tokens are no text
    words = [tokenizer.decode([i]) for i in range(len(tokenizer)) if i not in special]
    alphabet = [word for word in words if word.isascii() and word.isprintable()]
    warm = documents(seed + 1, repeat_share=1.0, fact_share=0.0, alphabet=alphabet)
    corpus = documents(seed, repeat_share=repeat_share, fact_share=fact_share, alphabet=alphabet)
    parts = ((warm, warm_steps), (corpus, steps - warm_steps))
    packed = [packed_rows(texts, tokenizer, rows=n * batch, length=length) for texts, n in parts]
    return tuple(torch.cat(both) for both in zip(*packed, strict=True))


def digest(rows: tuple[torch.Tensor, torch.Tensor]) -> str:
    """SHA-256 of the token ids, hex: what the lineage records of a text that was made and not read."""
    return hashlib.sha256(rows[0].numpy().tobytes()).hexdigest()


def packed_rows(
    documents: Iterator[str], tokenizer: PreTrainedTokenizerBase, *, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and positions, both [rows, length]: documents one after another, each opened by the start token.

    Positions restart with each document, from which transformers derives the mask that keeps documents apart: what
    is to be copied is then in the same document or nowhere, and copying forms with far fewer tokens.
    """
    ids: list[int] = []
    positions: list[int] = []
    while len(ids) < rows * length:
        texts = [next(documents) for _ in range(2048)]
        for encoded in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            ids += [tokenizer.bos_token_id, *encoded]
            positions += range(len(encoded) + 1)
    shape = (rows, length)
    keep = rows * length
    return tuple(torch.tensor(some[:keep], dtype=torch.long).reshape(shape) for some in (ids, positions))


def optimizers(model: LlamaForCausalLM, *, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [
        p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "lm_head" not in name
    ]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=muon_lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def linear_decay(step: int, steps: int) -> float:
    """1 over the first half, then straight down to 0 (a trapezoid without warm-up)."""
    return min(1.0, 2.0 * (1.0 - step / steps))


def pretrain(
    model: LlamaForCausalLM,
    rows: tuple[torch.Tensor, torch.Tensor],
    *,
    batch: int,
    muon_lr: float = 0.02,
    adam_lr: float = 3e-3,
    compile_model: bool = False,
    log: Callable[[dict[str, float], int], None] | None = None,
) -> PretrainResult:
    """Train `model` in place on [rows, length] ids, one pass, `batch` rows a step.

    log: called with ({"pretrain/loss": nats per token}, step) after each step. No rows, no training.
    """
    ids_all, positions_all = rows
    steps = len(ids_all) // batch
    losses: list[float] = []
    if not steps:
        return PretrainResult(losses, 0, 0.0)
    parts = optimizers(model, muon_lr=muon_lr, adam_lr=adam_lr)
    schedules = [torch.optim.lr_scheduler.LambdaLR(part, lambda step: linear_decay(step, steps)) for part in parts]
    forward = torch.compile(model) if compile_model else model
    model.train()
    started = time.perf_counter()
    for step in range(steps):
        part_of_rows = slice(step * batch, (step + 1) * batch)
        ids, positions = ids_all[part_of_rows], positions_all[part_of_rows]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(input_ids=ids, position_ids=positions, use_cache=False).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        for part, schedule in zip(parts, schedules, strict=True):
            part.step()
            part.zero_grad(set_to_none=True)
            schedule.step()
        losses.append(loss.item())
        if log:
            log({"pretrain/loss": losses[-1]}, step)
    model.eval()
    return PretrainResult(losses, steps * batch * ids_all.shape[1], time.perf_counter() - started)
