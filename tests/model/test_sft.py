"""QLoRA through TRL: what a row sees, what carries loss, and that a killed run ends in the same weights."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from transformers import TrainerCallback

from cogumi_utils.data import chat, skills
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
