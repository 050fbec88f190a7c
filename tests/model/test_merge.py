"""The merged model is the trained one."""

from __future__ import annotations

import json

import pytest
import torch

from cogumi_utils.data import chat
from cogumi_utils.model import merge, sft, student


@pytest.fixture(scope="module")
def texts(rows, tokenizer) -> list[str]:
    return [chat.prompt_text(tokenizer, row.prompt) + row.answer for row in rows[:12]]


@pytest.fixture(scope="module")
def config():
    return sft.quantisation("cpu")[0]


@pytest.fixture(scope="module")
def merged(base, adapter, config):
    return merge.merge(base, adapter, config)


def test_merged_answers_as_trained(trained, merged, tokenizer, texts):
    assert merge.logit_gap(trained.model, merged, tokenizer, texts) < 1e-3


def test_the_adapter_makes_a_difference_that_the_gap_sees(base, trained, merged, tokenizer, texts, config):
    before, _ = student.load(base, quantization_config=config, device_map="cpu")
    assert merge.logit_gap(before, merged, tokenizer, texts) > 0.05
    full, _ = student.load(base)
    assert merge.logit_gap(full, merged, tokenizer, texts) > 0.05


def test_the_merged_model_is_a_plain_one_in_float32(merged, base, tokenizer, tmp_path, texts):
    names = {name for name, _ in merged.named_parameters()}
    assert names == {name for name, _ in student.load(base)[0].named_parameters()}
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float32}
    again, _ = student.load(student.save(merged, tokenizer, tmp_path / "model"))
    assert merge.logit_gap(again, merged, tokenizer, texts) == 0.0
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in (tmp_path / "model").iterdir())


def test_an_adapter_is_safetensors_and_names_its_base_as_stages_do(adapter):
    assert {path.name for path in adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "00_student/model" and settings["r"] == 4
    assert "/tmp" not in (adapter / "adapter_config.json").read_text()


def test_without_quantisation(trainings, tokenizer, tmp_path, texts):
    plain = trainings.run(tmp_path / "run", steps=2, quantised=False)
    adapter = sft.save_adapter(plain.model, tmp_path / "adapter", "00_student/model")
    merged = merge.merge(trainings.base, adapter, None)
    assert merge.logit_gap(plain.model, merged, tokenizer, texts) < 1e-4


@pytest.mark.parametrize("quantised", [True, False], ids=["4-bit", "plain"])
def test_put_on_is_the_trained_model_beside_its_base(trainings, base, tokenizer, tmp_path, texts, quantised, config):
    result = trainings.run(tmp_path / "run", steps=2, quantised=quantised)
    adapter = sft.save_adapter(result.model, tmp_path / "adapter", "00_student/model")
    adapted, own = merge.put_on(base, adapter, config if quantised else None)
    assert merge.logit_gap(result.model, adapted, tokenizer, texts) == 0.0
    assert own.get_vocab() == tokenizer.get_vocab() and own.chat_template == tokenizer.chat_template
    plain, _ = student.load(base, quantization_config=config if quantised else None, device_map="cpu")
    assert merge.logit_gap(plain, adapted, tokenizer, texts) > 0.01
    with adapted.disable_adapter():
        assert merge.logit_gap(plain, adapted, tokenizer, texts) == 0.0


def test_texts_are_chats_as_the_template_writes_them_up_to_the_answer_s_end(tokenizer, rows):
    for row, text in zip(rows[:12], merge.texts_of(tokenizer, rows[:12]), strict=True):
        whole = tokenizer.apply_chat_template(row.messages, tokenize=False)
        assert whole.startswith(text) and text.endswith(row.answer) and whole[len(text) :].strip() == chat.END
    assert merge.texts_of(tokenizer, []) == []


def test_the_gap_is_the_largest_difference_of_log_probabilities(base, tokenizer, texts):
    one, _ = student.load(base)
    other, _ = student.load(base)
    assert merge.logit_gap(one, other, tokenizer, texts) == 0.0
    with torch.no_grad():
        other.model.norm.weight.mul_(1.1)
    expected = 0.0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = [model(ids).logits.log_softmax(-1) for model in (one, other)]
        expected = max(expected, (logs[0] - logs[1]).abs().max().item())
    assert merge.logit_gap(one, other, tokenizer, texts) == pytest.approx(expected)
    assert merge.logit_gap(one, other, tokenizer, []) == 0.0
