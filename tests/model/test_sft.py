"""QLoRA through TRL: what a row sees, what carries loss, and that a killed run ends in the same weights."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import pack_dataset

from cogumi_utils.data import chat, corpus, skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import sft, student

# Loss (nats per answer token) of six steps on random weights in 4 bits, and without bitsandbytes.
LOSSES = {
    True: [6.58017, 6.66811, 6.70369, 6.61377, 6.68833, 6.66509],
    False: [6.58472, 6.66978, 6.70476, 6.61532, 6.69018, 6.66835],
}


def adapter_of(result) -> dict[str, torch.Tensor]:
    return {name: value for name, value in result.model.state_dict().items() if "lora" in name}


def same_weights(one, other) -> bool:
    left, right = adapter_of(one), adapter_of(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def trainer(base, rows, validation, tmp_path_factory):
    """TRL's trainer as `train` makes it, on the plain base, before its first step."""
    model, tokenizer = student.load(base)
    recipe = sft.Recipe(steps=6, batch=4, max_length=96, rank=4, learning_rate=3e-3, seed=1, save_every=9, eval_every=9)
    return sft._trainer(model, tokenizer, rows, recipe, tmp_path_factory.mktemp("trainer"), validation, [])


@pytest.fixture(scope="module")
def batch(trainer) -> dict[str, torch.Tensor]:
    """The first batch of the real pipeline: [4, 96] of several chats a row."""
    return next(iter(trainer.get_train_dataloader()))


def segments(batch: dict[str, torch.Tensor], row: int) -> list[slice]:
    """Where the chats of a row lie; padding is a run of zero positions at its end."""
    positions = batch["position_ids"][row]
    starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
    return [slice(start, end) for start, end in zip(starts, starts[1:], strict=False) if end - start > 1]


def test_a_row_holds_whole_chats_and_only_answers_carry_loss(trainer, batch, tokenizer, rows):
    chats = {tokenizer.apply_chat_template(row.messages, tokenize=False): row for row in rows}
    assert set(batch) == {"input_ids", "labels", "position_ids"} and batch["input_ids"].shape == (4, 96)
    found = 0
    for row in range(4):
        for part in segments(batch, row):
            ids, labels = batch["input_ids"][row, part], batch["labels"][row, part]
            example = chats[tokenizer.decode(ids)]
            assert tokenizer.decode(labels[labels != -100]) == example.answer + chat.END
            assert torch.equal(labels[labels != -100], ids[-int((labels != -100).sum()) :])
            found += 1
    assert found >= 8
    covered = sum(part.stop - part.start for row in range(4) for part in segments(batch, row))
    assert (batch["labels"] != -100).sum() < covered
    padding = batch["input_ids"] == tokenizer.pad_token_id
    assert (batch["labels"][padding] == -100).all()


def test_a_chat_does_not_learn_its_first_token_from_the_chat_before():
    """Even where every token carries loss: what would predict a first token is the end of another chat."""
    collate = sft.RowCollator(pad_token_id=1, return_position_ids=True)
    rows = [{"input_ids": [7, 8, 9, 7, 8], "labels": [7, 8, 9, 7, 8], "seq_lengths": [3, 2]}]
    rows += [{"input_ids": [6, 9], "labels": [6, 9], "seq_lengths": [2]}]
    made = {name: value.tolist() for name, value in collate(rows).items()}
    assert made["input_ids"] == [[7, 8, 9, 7, 8], [6, 9, 1, 1, 1]]
    assert made["position_ids"] == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert made["labels"] == [[-100, 8, 9, -100, 8], [-100, 9, -100, -100, -100]]


def hidden_states(trainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """[rows, length, hidden] before the output layer, in the forward pass of the trainer's own loss."""
    caught = []
    norm = trainer.model.get_base_model().model.norm
    hook = norm.register_forward_hook(lambda module, given, result: caught.append(result.detach().clone()))
    trainer.compute_loss(trainer.model, dict(batch))
    hook.remove()
    (states,) = caught
    return states


def test_packed_chats_do_not_see_each_other(trainer, batch):
    """The first chat of a row is changed: what the model makes of all others stays the same to the last bit."""
    trainer.model.train()
    first, rest = segments(batch, 0)[0], slice(segments(batch, 0)[0].stop, None)
    changed = {name: value.clone() for name, value in batch.items()}
    changed["input_ids"][0, first] = (batch["input_ids"][0, first] + 50) % 700 + 6
    before, after = (hidden_states(trainer, one) for one in (batch, changed))
    assert not torch.allclose(before[0, first], after[0, first], atol=1e-3)
    assert torch.equal(before[0, rest], after[0, rest]) and torch.equal(before[1:], after[1:])


def test_the_packed_loss_is_the_loss_of_the_chats_one_by_one(trainer, batch):
    """What the trainer minimises, against a forward pass of each chat alone that knows nothing of packing."""
    trainer.model.eval()
    total = count = 0.0
    with torch.no_grad():
        packed = trainer.compute_loss(trainer.model, dict(batch)).item()
        for row in range(4):
            for part in segments(batch, row):
                ids, labels = batch["input_ids"][row : row + 1, part], batch["labels"][row, part][1:]
                logs = trainer.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                kept = labels != -100
                total -= logs[kept].gather(-1, labels[kept, None]).sum().item()
                count += int(kept.sum())
    assert packed == pytest.approx(total / count, abs=1e-4)


def test_the_gap_that_the_notebook_shows_is_small_and_sees_a_leak(base, rows, monkeypatch):
    model, tokenizer = student.load(base)
    assert sft.packing_gap(model, tokenizer, rows[:24], max_length=96) < 1e-5
    keep = sft.RowCollator.torch_call

    def running_on(self, examples):
        batch = keep(self, examples)
        batch["position_ids"] = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
        return batch

    monkeypatch.setattr(sft.RowCollator, "torch_call", running_on)
    assert sft.packing_gap(model, tokenizer, rows[:24], max_length=96) > 1e-2


def test_packed_rows_are_full():
    """2,000 skill tasks in rows of 256, best fit first, with the tokenizer of the default profile."""
    tokenizer = student.train_tokenizer(corpus.sample(1, 20_000), 1024)
    some = skills.mixed(skills.trained_skills(), 60, split="train", seed=1)[:2000]
    rows = [sft._labelled(tokenizer, row) for row in some]
    packed = pack_dataset(Dataset.from_list(rows), 256, "bfd")
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert len(some) == 2000 and sum(map(len, packed["input_ids"])) == tokens, "no chat is cut or lost"
    assert (tokens, len(packed)) == (59845, 238)
    assert tokens / (256 * len(packed)) >= 0.98


def test_fill_and_rows_are_those_of_the_packed_data(trained, trainings, tokenizer):
    tokens = sum(chat.token_lengths(tokenizer, trainings.rows))
    assert trained.rows * 64 * trained.fill == pytest.approx(tokens)
    assert 0.9 < trained.fill <= 1 and trained.tokens == round(6 * 2 * 64 * trained.fill)


@pytest.mark.parametrize("quantised", [True, False], ids=["4-bit", "plain"])
def test_the_first_losses(trainings, tokenizer, untrained, tmp_path, quantised):
    """Six steps from fixed weights. A change of data order, packing, rank, rate or base shows here first."""
    fresh = replace(trainings, base=student.save(untrained, tokenizer, tmp_path / "base"))
    result = fresh.run(tmp_path / "run", quantised=quantised, learning_rate=1e-2)
    assert [step for step, _ in result.losses] == [1, 2, 3, 4, 5, 6]
    assert [loss for _, loss in result.losses] == pytest.approx(LOSSES[quantised], abs=2e-4)


def test_curves_rise_in_steps_and_reach_the_log(trainings, trained, tmp_path):
    told = []
    result = trainings.run(tmp_path, log=lambda values, step: told.append((step, *values.items())))
    assert result.curves().keys() == {"training", "validation"}
    for steps, losses in result.curves().values():
        assert steps == sorted(set(steps)) and len(steps) == len(losses) and all(loss > 0 for loss in losses)
    (first, before), (last, after) = result.validation
    assert (first, last) == (3, 6) and after < before, "six steps learn something"
    expected = [(step, ("sft/loss", loss)) for step, loss in result.losses]
    expected += [(step, ("sft/eval_loss", loss)) for step, loss in result.validation]
    assert sorted(told) == sorted(expected)
    assert same_weights(result, trained), "two runs of one seed end in the same weights, bit for bit"


def test_another_seed_ends_elsewhere(trainings, trained, tmp_path):
    assert not same_weights(trainings.run(tmp_path, seed=2, steps=2), trained)


def test_an_evaluation_before_training_changes_nothing(trainings, trained, tmp_path):
    """On some processors bitsandbytes repacks 4-bit weights in evaluation, for a kernel that has no gradient."""
    result = trainings.run(tmp_path, evaluate_first=True, steps=2, eval_every=1)
    whole = trainings.run(tmp_path / "other", steps=2, eval_every=2)
    assert same_weights(result, whole)


class Killed(Exception):
    pass


def killed_at(step: int):
    def log(values: dict, now: int) -> None:
        if now == step:
            raise Killed

    return log


@pytest.mark.parametrize("spoil", [False, True], ids=["killed", "killed while saving"])
def test_a_killed_run_ends_in_the_same_weights(trainings, trained, tmp_path, spoil):
    """Killed in step 5, one after the checkpoint of step 4, which in the second case is found half written."""
    with pytest.raises(Killed):
        trainings.run(tmp_path, log=killed_at(5))
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    if spoil:
        weights = tmp_path / "checkpoint-4/adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-8] + b"\0" * 8)
    result = trainings.run(tmp_path, evaluate_first=True)
    assert result.resumed_from == (2 if spoil else 4)
    assert same_weights(result, trained)
    assert result.losses == trained.losses and result.validation == trained.validation, "the whole curve, not its end"
    assert result.tokens == round((6 - result.resumed_from) * 2 * 64 * result.fill)


def test_a_run_killed_after_its_last_checkpoint_takes_no_step_more(trainings, trained, tmp_path):
    """Left to itself the Trainer would: the curve would be a point longer, and a checkpoint of a step 7 follow."""
    trainings.run(tmp_path)
    result = trainings.run(tmp_path, evaluate_first=True)
    assert (result.resumed_from, result.tokens) == (6, 0) and same_weights(result, trained)
    assert result.losses == trained.losses and result.validation == trained.validation
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}


@dataclass
class Steps(TrainerCallback):
    """The steps that a callback sees, each with the kind of model that it is given."""

    seen: list[tuple[int, str]]

    def on_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        self.seen.append((state.global_step, type(model).__name__))


SHORT = {"steps": 3, "batch": 2, "max_length": 64, "rank": 4, "learning_rate": 5e-3}


def test_callbacks_see_every_step_and_the_adapted_model(base, rows, tmp_path):
    model, tokenizer = student.load(base)
    steps = Steps([])
    sft.train(model, tokenizer, rows, sft.recipe(**SHORT, seed=1), folder=tmp_path, callbacks=[steps])
    assert steps.seen == [(step, "PeftModelForCausalLM") for step in (0, 1, 2)]


def test_an_adapted_model_is_trained_on_and_gets_no_second_adapter(base, rows, tmp_path):
    model, tokenizer = student.load(base)
    dials = sft.recipe(**SHORT, seed=1, modules=["q_proj", "down_proj"])
    first = sft.train(model, tokenizer, rows, dials, folder=tmp_path / "first")
    before = {name: value.clone() for name, value in adapter_of(first).items()}
    second = sft.train(first.model, tokenizer, rows, replace(dials, seed=2), folder=tmp_path / "second")
    after = adapter_of(second)
    assert list(second.model.peft_config) == ["default"] and second.trained_parameters == first.trained_parameters
    assert before.keys() == after.keys() and not any(torch.equal(before[name], after[name]) for name in before)
    assert second.losses[0][1] < first.losses[0][1], "it goes on from where the first ended"
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in after}
    assert layers == {"q_proj", "down_proj"}


def test_a_short_recipe_saves_once_at_its_end_and_never_validates(base, rows, tmp_path):
    dials = sft.recipe(**SHORT, seed=7, modules=["q_proj"])
    assert (dials.save_every, dials.eval_every, dials.seed, dials.modules) == (3, 3, 7, ("q_proj",))
    model, tokenizer = student.load(base)
    result = sft.train(model, tokenizer, rows, dials, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"] and result.validation == []


@pytest.mark.parametrize("modules", [["qproj"], ["q_proj", "attn_v"]])
def test_a_matrix_that_no_block_has_is_refused(modules):
    with pytest.raises(CogumiError) as caught:
        sft.lora(4, modules)
    assert caught.value.found == modules[-1] and "q_proj, k_proj" in caught.value.expected


def test_a_checkpoint_that_was_half_written_is_not_resumed(trainings, trained, tmp_path):
    with pytest.raises(Killed):
        trainings.run(tmp_path, log=killed_at(3))
    (tmp_path / "checkpoint-2/manifest.json").unlink()
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "checkpoint-5")
    result = trainings.run(tmp_path)
    assert result.resumed_from == 0 and same_weights(result, trained)
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}


def test_adapters_on_every_linear_layer_in_float32(trained):
    weights = adapter_of(trained)
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in weights}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert trained.trained_parameters == sum(value.numel() for value in weights.values())
    learning = {name for name, parameter in trained.model.named_parameters() if parameter.requires_grad}
    assert {name.replace(".default", "") for name in learning} == {name.replace(".default", "") for name in weights}


def test_the_base_stays_as_it_was(trained, base):
    config, _ = sft.quantisation("cpu")
    fresh, _ = student.load(base, quantization_config=config, device_map="cpu")
    before = {name: value for name, value in fresh.state_dict().items() if "norm" in name or "embed" in name}
    after = {name.removeprefix("base_model.model."): value for name, value in trained.model.state_dict().items()}
    assert len(before) >= 4 and all(torch.equal(value, after[name]) for name, value in before.items())
    assert trained.model.get_base_model().is_quantized


def test_four_bits_where_bitsandbytes_runs():
    config, why = sft.quantisation("cpu")
    assert config.load_in_4bit and config.bnb_4bit_quant_type == "nf4" and config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.float32
    assert why.startswith("NF4 QLoRA: bitsandbytes ") and why.endswith("runs on cpu")


def test_plain_lora_where_it_does_not_and_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert sft.quantisation("cpu") == (None, "plain LoRA: bitsandbytes does not run on cpu (ModuleNotFoundError)")


def test_plain_lora_where_its_native_code_fails(monkeypatch):
    import bitsandbytes

    def broken(*args, **kwargs):
        raise RuntimeError("no kernel for this machine")

    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", broken)
    assert sft.quantisation("cpu") == (None, "plain LoRA: bitsandbytes does not run on cpu (RuntimeError)")


def test_a_chat_without_an_answer_stops_the_training(trainings, tmp_path):
    open_ended = skills.examples(skills.trained_skills()[0], 1, split="train", seed=1)[0]
    with pytest.raises(CogumiError, match="ends with an assistant message"):
        replace(trainings, rows=[open_ended.with_answer("")]).run(tmp_path)


def test_no_chat_at_all_stops_the_training(trainings, tmp_path):
    with pytest.raises(CogumiError) as caught:
        replace(trainings, rows=[]).run(tmp_path)
    assert caught.value.found == "none" and caught.value.expected and caught.value.why and caught.value.fix
