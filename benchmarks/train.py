"""Our QLoRA stage against bare TRL on the same packed chats, in one run, alternating.

    python benchmarks/train.py [--rounds 5] [--steps 30]

Bare TRL is `SFTTrainer` with the same model, adapters, data and configuration, its own collator, and no checkpoints
that are certified. tokens/s are those of the steps, start-up left out on both sides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd
import report
import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from trl import SFTTrainer

from cogumi_utils.data import corpus, skills
from cogumi_utils.data.chat import as_prompt_completion, mean_tokens
from cogumi_utils.judge import speed
from cogumi_utils.model import sft, student

SHAPE = {"hidden": 256, "layers": 2, "heads": 8, "kv_heads": 8, "ffn": 512, "context": 512}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        race(Path(folder), options.rounds, options.steps)


def race(folder: Path, rounds: int, steps: int) -> None:
    texts = corpus.sample(0, 5_000)
    model, tokenizer = student.obtain("scratch", model_id="", texts=texts, vocab_size=1024, shape=SHAPE, seed=0)
    student.save(model, tokenizer, folder / "base")
    rows = skills.mixed(skills.trained_skills(), 60, split="train", seed=0)
    recipe = sft.Recipe(
        steps=steps, batch=8, max_length=192, rank=32, learning_rate=3e-3, seed=0, save_every=steps, eval_every=steps
    )  # fmt: skip
    found: dict[str, list[float]] = {"ours": [], "bare TRL": []}
    for turn in range(rounds):
        found["ours"].append(ours(folder, tokenizer, rows, recipe, turn))
        found["bare TRL"].append(bare(folder, tokenizer, rows, recipe, turn))
    ratios = [a / b for a, b in zip(found["ours"], found["bare TRL"], strict=True)]
    flops = speed.training_flops_per_token(model.config.to_dict(), context=mean_tokens(tokenizer, rows), rank=32)
    peak = speed.matmul_peak(seconds=0.5, dtype="float32")
    columns = ["contender", "tokens/s, median", "lowest", "highest", "share of the matmul peak"]
    lines = [(name, median(r), min(r), max(r), speed.mfu(median(r), flops, peak)) for name, r in found.items()]
    table = pd.DataFrame(lines, columns=columns)
    notes = [
        f"Ours / bare TRL: median {median(ratios):.3f} of {rounds} rounds, {min(ratios):.3f} to {max(ratios):.3f}.",
        f"Limit: {peak / flops:,.0f} tokens/s at the measured float32 matmul peak of {peak / 1e9:.0f} GFLOP/s.",
    ]
    report.keep("train", table, notes, {"tokens_per_second": found, "ratios": ratios, "steps": steps})


def base(folder: Path):
    quantisation, _ = sft.quantisation("cpu")
    return student.load(folder / "base", quantization_config=quantisation)[0]


def ours(folder: Path, tokenizer, rows, recipe: sft.Recipe, turn: int) -> float:
    return sft.train(base(folder), tokenizer, rows, recipe, folder=folder / f"ours-{turn}").tokens_per_second


def bare(folder: Path, tokenizer, rows, recipe: sft.Recipe, turn: int) -> float:
    trainer = SFTTrainer(
        model=base(folder), processing_class=tokenizer, peft_config=sft.lora(recipe.rank),
        args=sft.config(recipe, folder / f"bare-{turn}", "cpu", has_validation=False),
        train_dataset=Dataset.from_list(as_prompt_completion(rows)),
    )  # fmt: skip
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    lengths = [sum(row) for row in trainer.train_dataset["seq_lengths"]]
    return recipe.steps * recipe.batch * sum(lengths) / len(lengths) / seconds


if __name__ == "__main__":
    main()
