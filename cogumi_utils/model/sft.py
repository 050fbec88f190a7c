"""QLoRA: low-rank adapters on a 4-bit base, trained by TRL and PEFT on packed chats (Dettmers et al. 2023)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import (
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerState,
)
from trl import SFTConfig, SFTTrainer

from cogumi_utils.data.chat import as_prompt_completion
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.checkpoints import CertifyCheckpoints, newest_verified
from cogumi_utils.model.packing import RowCollator
from cogumi_utils.schema import Example

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # of a Llama block


@dataclass(frozen=True, slots=True)
class Recipe:
    """One dial per line; lengths in tokens, `batch` in packed rows a step."""

    steps: int
    batch: int
    max_length: int
    rank: int
    learning_rate: float
    seed: int
    save_every: int
    eval_every: int
    gradient_checkpointing: bool = False
    bf16: bool = False  # matrix products in bf16 on the CPU too (autocast); on a GPU they always are
    modules: tuple[str, ...] = ()  # adapted matrices, such as q_proj; none: all linear layers of the blocks


def recipe(
    steps: int, batch: int, max_length: int, rank: int, learning_rate: float, seed: int, modules: Sequence[str] = ()
) -> Recipe:
    """A short training: matrix products in bf16, one checkpoint at its end, no validation on the way."""
    dials = {"steps": steps, "batch": batch, "max_length": max_length, "rank": rank, "learning_rate": learning_rate}
    return Recipe(**dials, seed=seed, save_every=steps, eval_every=steps, bf16=True, modules=tuple(modules))


@dataclass(frozen=True, slots=True)
class SftResult:
    model: PreTrainedModel  # with its adapter
    losses: list[tuple[int, float]]  # (step, nats per answer token)
    validation: list[tuple[int, float]]
    trained_parameters: int
    rows: int  # packed rows at hand
    fill: float  # share of the packed rows' tokens that are not padding
    tokens: int  # of the steps done in this process, padding not counted
    seconds: float
    resumed_from: int  # step, 0 when from the start

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else float("nan")

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """{name: (steps, nats per answer token)} of the curves that have points."""
        both = {"training": self.losses, "validation": self.validation}
        return {name: tuple(map(list, zip(*points, strict=True))) for name, points in both.items() if points}


def answer_loss(model, inputs, return_outputs=False, num_items_in_batch=None):
    """The trainer's loss where there is no Triton: cross-entropy of the answer tokens, nats, mean over the batch.

    TRL's fused head computes the logits of every position there, prompts and padding too, twice and in float32: 30%
    of a step on the CPU.
    """
    labels = inputs["labels"][:, 1:]
    outputs = model(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False)
    chosen = labels != -100
    costs = F.cross_entropy(outputs.logits[:, :-1][chosen].float(), labels[chosen], reduction="sum")
    loss = costs / (num_items_in_batch or chosen.sum().clamp(min=1))
    return (loss, outputs) if return_outputs else loss


class _Forward(TrainerCallback):
    """Hands each point of the curves to `log`."""

    def __init__(self, log: Callable[[dict, int], None]):
        self._log = log

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        for key in {"loss", "eval_loss"} & logs.keys():
            self._log({f"sft/{key}": float(logs[key])}, state.global_step)


def quantisation(device: str) -> tuple[BitsAndBytesConfig | None, str]:
    """NF4 where bitsandbytes runs on `device`, else None; with the reason in words."""
    try:
        import bitsandbytes as bnb

        layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32).to(device)
        layer(torch.ones(1, 64, device=device))
    except Exception as error:  # whatever its native code raises, plain LoRA is the way on
        return None, f"plain LoRA: bitsandbytes does not run on {device} ({type(error).__name__})"
    compute = torch.bfloat16 if device == "cuda" else torch.float32
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
    return config, f"NF4 QLoRA: bitsandbytes {bnb.__version__} runs on {device}"


def lora(rank: int, modules: Sequence[str] = ()) -> LoraConfig:
    """Adapters on `modules` or all linear layers of the blocks, alpha = 2 rank, no dropout (so that runs repeat).

    Raises CogumiError for a matrix that a block does not have: PEFT leaves those out in silence.
    """
    unknown = sorted(set(modules) - set(MODULES))
    if unknown:
        raise CogumiError(
            expected=f"matrices among {', '.join(MODULES)}",
            found=", ".join(unknown),
            why="an adapter on a matrix that is not there would be left out",
            fix="correct `modules`, or leave it empty for all of them",
        )
    targets = list(modules) or "all-linear"
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")


def config(recipe: Recipe, folder: Path, device: str, has_validation: bool) -> SFTConfig:
    """TRL's configuration: packed, loss on the answers alone, cosine decay, checkpoints that resume exactly."""
    return SFTConfig(
        output_dir=str(folder), seed=recipe.seed, data_seed=recipe.seed, max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch, per_device_eval_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate, lr_scheduler_type="cosine", warmup_steps=max(1, recipe.steps // 50),
        packing=True, packing_strategy="bfd", eval_packing=True, max_length=recipe.max_length,
        completion_only_loss=True, shuffle_dataset=True, bf16=device == "cuda" or recipe.bf16, use_cpu=device == "cpu",
        gradient_checkpointing=recipe.gradient_checkpointing, logging_steps=max(1, recipe.steps // 100),
        save_strategy="steps", save_steps=recipe.save_every, save_total_limit=2,
        eval_strategy="steps" if has_validation else "no", eval_steps=recipe.eval_every,
        report_to="none", disable_tqdm=True, dataloader_pin_memory=device == "cuda", remove_unused_columns=True,
    )  # fmt: skip


def train(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], recipe: Recipe, *,
    folder: Path, validation: Sequence[Example] = (), log: Callable[[dict, int], None] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> SftResult:  # fmt: skip
    """Train adapters on `model`, new ones or those that it has, from the newest verified checkpoint in `folder` on.

    A killed run that is started again ends in the same weights as one that was never killed. Raises CogumiError
    without examples, or for one that has no answer.
    """
    if not examples:
        raise CogumiError(
            expected="chats to train on",
            found="none",
            why="an empty data set trains nothing",
            fix="look at what 01_dataset dropped and why (its dropped.parquet), and let more of it pass",
        )
    callbacks = [*callbacks, *([_Forward(log)] if log else [])]
    trainer = _trainer(model, tokenizer, examples, recipe, folder, validation, callbacks)
    resume = newest_verified(folder)
    first = int(resume.name.rsplit("-", 1)[1]) if resume else 0
    started = time.perf_counter()
    if first < recipe.steps:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    else:
        _restore(trainer, resume)
    seconds = time.perf_counter() - started
    return _result(trainer, recipe, first, seconds)


def save_adapter(adapted: PeftModel, folder: Path, base: str) -> Path:
    """Adapter weights and configuration that name `base` as stages do, and no folder of this machine.

    The embeddings are left out by name: PEFT would look `base` up on the hub to see whether they changed.
    The adapted modules are sorted: PEFT keeps a set, and equal adapters must be equal files.
    """
    for settings in adapted.peft_config.values():
        settings.base_model_name_or_path = base
        settings.target_modules = sorted(settings.target_modules)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template of a model card, with nothing filled in
    return folder


def _trainer(model, tokenizer, examples, recipe, folder, validation, callbacks) -> SFTTrainer:
    disable_progress_bar()
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=config(recipe, folder, model.device.type, bool(validation)),
        train_dataset=Dataset.from_list(as_prompt_completion(examples)),
        eval_dataset=Dataset.from_list(as_prompt_completion(validation)) if validation else None,
        peft_config=None if isinstance(model, PeftModel) else lora(recipe.rank, recipe.modules),
        callbacks=[*callbacks, CertifyCheckpoints()],
    )
    trainer.create_model_card = lambda **_: None  # a checkpoint needs none, and it asks W&B for the run's address
    trainer.remove_callback(PrinterCallback)  # the curves are shown as a figure
    if model.device.type == "cpu":
        _adapters_in_float32(trainer.model)
        trainer.compute_loss = answer_loss
    # TRL packs only together with its own flattening collator, so the collator is exchanged afterwards.
    trainer.data_collator = RowCollator(pad_token_id=tokenizer.pad_token_id, return_position_ids=True)
    return trainer


def _restore(trainer: SFTTrainer, checkpoint: Path) -> None:
    """Weights and curves of a finished training: resumed from its last checkpoint, the Trainer takes one step more."""
    set_peft_model_state_dict(trainer.model, load_file(checkpoint / "adapter_model.safetensors"))
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


def _adapters_in_float32(model: PreTrainedModel) -> None:
    """Undo what TRL does to the adapters of a 4-bit model: it makes them bf16.

    On the CPU that saves no time, and the rounding of what passes through them (0.08 nats) would be in the trained
    model and not in the merged one.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _result(trainer: SFTTrainer, recipe: Recipe, first: int, seconds: float) -> SftResult:
    lengths = [sum(row) for row in trainer.train_dataset["seq_lengths"]]
    fill = sum(lengths) / (len(lengths) * recipe.max_length)
    return SftResult(
        model=trainer.model, losses=_curve(trainer, "loss"), validation=_curve(trainer, "eval_loss"),
        trained_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        rows=len(lengths), fill=fill, tokens=round((recipe.steps - first) * recipe.batch * recipe.max_length * fill),
        seconds=seconds, resumed_from=first,
    )  # fmt: skip


def _curve(trainer: SFTTrainer, key: str) -> list[tuple[int, float]]:
    """(step, value) of the whole training: the history is kept in the checkpoints, so a resumed run has it too."""
    return [(entry["step"], float(entry[key])) for entry in trainer.state.log_history if key in entry]
