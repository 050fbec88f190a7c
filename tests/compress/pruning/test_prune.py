"""Pruning does what its papers say, to the sparsity that was asked for, and leaves nothing behind."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cogumi_utils.compress import _calibration
from cogumi_utils.compress.pruning import prune
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import fidelity
from cogumi_utils.model import score, student
from cogumi_utils.model.transfer import packed
from cogumi_utils.schema import Example

CALIBRATION = {"rows": 12, "length": 64, "seed": 1}
MATRICES = [
    f"model.layers.0.{name}"
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
]  # fmt: skip


@pytest.fixture(scope="module")
def parent(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def inputs(parent, tokenizer, rows) -> dict[str, torch.Tensor]:
    """{matrix: [tokens, in]} of the dense model on the calibration rows; with one layer no error is passed on."""
    seen, hooks = {}, []
    for name, module in prune.matrices(parent).items():

        def keep(_module, args, name=name):
            seen[name] = args[0].flatten(0, 1)

        hooks.append(module.register_forward_pre_hook(keep))
    data = packed(tokenizer, rows, **CALIBRATION)
    with torch.no_grad():
        parent(input_ids=data.ids, position_ids=data.positions, use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


def cut(parent, tokenizer, rows, method: str, sparsity: float):
    """(pruned copy, masks)"""
    model = copy.deepcopy(parent)
    return model, prune.one_shot(model, tokenizer, rows, method=method, sparsity=sparsity, **CALIBRATION)


@pytest.fixture(scope="module")
def halves(parent, tokenizer, rows):
    """{method: (model, masks)} at 50%."""
    return {method: cut(parent, tokenizer, rows, method, 0.5) for method in prune.METHODS}


def output_error(parent, model, inputs) -> float:
    """‖X·W'ᵀ − X·Wᵀ‖² over all matrices, relative."""
    gone = whole = 0.0
    for name, module in prune.matrices(parent).items():
        before, after = module.weight.detach(), prune.matrices(model)[name].weight.detach()
        gone += float((inputs[name] @ (after - before).T).square().sum())
        whole += float((inputs[name] @ before.T).square().sum())
    return gone / whole


def test_the_matrices_of_the_layers_and_no_others(parent):
    assert list(prune.matrices(parent)) == MATRICES


@pytest.mark.parametrize("method", prune.METHODS)
def test_embeddings_head_and_norms_stay_and_masks_are_where_the_zeros_are(parent, halves, method):
    model, masks = halves[method]
    before, after = dict(parent.named_parameters()), dict(model.named_parameters())
    assert [name.removesuffix(".weight") for name in masks] == MATRICES
    for name, parameter in after.items():
        if name in masks:
            assert torch.equal(masks[name], parameter != 0)
        else:
            assert torch.equal(parameter, before[name])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_exact_sparsities(parent, tokenizer, rows):
    """Magnitude rounds, Wanda rounds down in each row, SparseGPT takes one weight more in each 128 columns."""
    zeros = {}
    for method in prune.METHODS:
        table = prune.sparsities(cut(parent, tokenizer, rows, method, 0.325)[1])
        zeros[method] = dict(zip(table["matrix"].str.rpartition(".")[2], table["zeros"], strict=True))
    assert [zeros["magnitude"][name] for name in ("q_proj", "up_proj", "down_proj")] == [1331, 2662, 2662]
    assert [zeros["wanda"][name] for name in ("q_proj", "up_proj", "down_proj")] == [64 * 20, 128 * 20, 64 * 41]
    assert [zeros["sparsegpt"][name] for name in ("q_proj", "up_proj", "down_proj")] == [1332, 2663, 2663]


def test_sparsities_are_counted(halves):
    table = prune.sparsities(halves["magnitude"][1])
    assert list(table["matrix"]) == MATRICES and list(table["weights"]) == [4096] * 4 + [8192] * 3
    assert (table["sparsity"] == 0.5).all() and prune.sparsity_of(halves["magnitude"][1]) == 0.5


def test_magnitude_takes_the_smallest_of_each_matrix(parent, halves):
    model, _ = halves["magnitude"]
    for name, module in prune.matrices(parent).items():
        weight, pruned = module.weight.detach(), prune.matrices(model)[name].weight.detach()
        assert weight[pruned == 0].abs().max() <= weight[pruned != 0].abs().min()
        assert torch.equal(pruned[pruned != 0], weight[pruned != 0])


def test_wanda_takes_the_smallest_weight_times_input_norm_of_each_row(parent, halves, inputs):
    """By hand, from the inputs that the model itself gives: packed chats do not see each other there either."""
    model, masks = halves["wanda"]
    for name, module in prune.matrices(parent).items():
        scores = module.weight.detach().abs() * inputs[name].norm(dim=0)
        kept = masks[f"{name}.weight"]
        for row, stay in zip(scores, kept, strict=True):
            assert int(stay.sum()) == len(stay) // 2
            assert row[~stay].max() <= row[stay].min() * (1 + 1e-4)
        pruned = prune.matrices(model)[name].weight.detach()
        assert torch.equal(pruned[kept], module.weight.detach()[kept])


def test_the_output_error_falls_from_magnitude_to_wanda_to_sparsegpt(parent, halves, inputs):
    errors = {method: output_error(parent, model, inputs) for method, (model, _) in halves.items()}
    assert list(errors.values()) == pytest.approx([0.0710, 0.0673, 0.0229], abs=2e-3)  # two kinds of CPU
    assert errors["magnitude"] > errors["wanda"] > errors["sparsegpt"]


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_again_and_again_in_one_process_with_nothing_left_behind(
    parent, tokenizer, rows, halves, method, tmp_path, monkeypatch, capfd
):
    from llmcompressor.core import active_session

    monkeypatch.chdir(tmp_path)
    session, modifiers = active_session(), list(active_session().lifecycle.recipe.modifiers)
    name = parent.config._name_or_path
    model, masks = cut(parent, tokenizer, rows, method, 0.5)
    assert all(torch.equal(mask, halves[method][1][place]) for place, mask in masks.items())
    assert capfd.readouterr() == ("", "") and list(tmp_path.iterdir()) == []
    assert active_session() is session and session.lifecycle.recipe.modifiers == modifiers
    assert "save_pretrained" not in vars(model) and model.config._name_or_path == name
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    student.save(model, tokenizer, tmp_path / "saved")
    assert not (tmp_path / "saved" / "recipe.yaml").exists()
    again, _ = student.load(tmp_path / "saved")
    assert all(torch.equal(one, two) for one, two in zip(again.parameters(), model.parameters(), strict=True))


def test_another_seed_reads_other_text(parent, tokenizer, rows, halves):
    model = copy.deepcopy(parent)
    other = prune.one_shot(model, tokenizer, rows, method="wanda", sparsity=0.5, **CALIBRATION | {"seed": 2})
    assert any(not torch.equal(mask, halves["wanda"][1][name]) for name, mask in other.items())


def test_a_model_that_comes_from_nowhere_can_be_pruned(tokenizer, rows, small_shape):
    """llm-compressor looks for the configuration in the folder that the model was loaded from."""
    model = student.small_llama(len(tokenizer), seed=1, **small_shape)
    masks = prune.one_shot(model, tokenizer, rows, method="wanda", sparsity=0.25, **CALIBRATION)
    assert prune.sparsity_of(masks) == 0.25


@pytest.mark.parametrize("method", prune.METHODS)
def test_no_sparsity_no_change(parent, tokenizer, rows, method):
    model, masks = cut(parent, tokenizer, rows, method, 0.0)
    assert prune.sparsity_of(masks) == 0
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), parent.parameters(), strict=True))


@pytest.mark.parametrize("method", prune.METHODS)
def test_zeros_stay_zeros_at_the_next_level(halves, tokenizer, rows, method):
    model, before = copy.deepcopy(halves[method][0]), halves[method][1]
    after = prune.one_shot(model, tokenizer, rows, method=method, sparsity=0.7, **CALIBRATION)
    assert not any((after[name] & ~mask).any() for name, mask in before.items())
    assert prune.sparsity_of(after) == pytest.approx(0.7, abs=0.012)  # Wanda rounds down in each row


def test_zeros_stay_zeros_where_sparsegpt_goes_block_by_block(tokenizer, rows, small_shape):
    """Beyond 128 columns it changes the weights of the blocks that follow before it chooses there."""
    model = student.small_llama(len(tokenizer), seed=1, **small_shape | {"ffn": 256})
    before, after = (
        prune.one_shot(model, tokenizer, rows, method="sparsegpt", sparsity=level, **CALIBRATION)
        for level in (0.3, 0.5)
    )
    assert not any((after[name] & ~mask).any() for name, mask in before.items())


def test_less_than_a_model_has_already_is_refused(halves, tokenizer, rows):
    with pytest.raises(CogumiError, match="0.5 of its weights are zero already"):
        prune.one_shot(halves["magnitude"][0], tokenizer, rows, method="sparsegpt", sparsity=0.3, **CALIBRATION)


# --- in steps ---

LEVELS, STEPS = (0.3, 0.6), (3, 5)


@pytest.fixture(scope="module")
def steps(parent, tokenizer, rows):
    """What each level leaves: (cut, weights)."""
    model = copy.deepcopy(parent)
    cuts = prune.gradually(
        model, tokenizer, parent, rows, method="sparsegpt", levels=LEVELS, steps=STEPS, batch=4, **CALIBRATION
    )
    return [(cut, {name: value.detach().clone() for name, value in model.named_parameters()}) for cut in cuts]


def test_masks_grow_and_hold_through_training(steps):
    for cut_, weights in steps:
        for name, mask in cut_.masks.items():
            assert torch.equal(mask, weights[name] != 0)
    first, second = (cut_.masks for cut_, _ in steps)
    assert not any((second[name] & ~mask).any() for name, mask in first.items())
    assert [cut_.level for cut_, _ in steps] == list(LEVELS)
    assert [prune.sparsity_of(cut_.masks) for cut_, _ in steps] == pytest.approx([0.3003, 0.6002], abs=3e-4)


def test_each_cut_has_its_own_training(steps):
    assert [len(cut_.recovery.losses) for cut_, _ in steps] == list(STEPS)
    assert [loss for cut_, _ in steps for loss in cut_.recovery.losses] == pytest.approx(
        [0.000883, 0.014389, 0.009755, 0.02238, 0.021118, 0.01345, 0.017469, 0.013836], abs=5e-3
    )  # bf16: another kind of CPU rounds otherwise, by up to 4e-3
    assert all(cut_.prune_seconds > 0 for cut_, _ in steps)


def test_training_brings_something_back(parent, tokenizer, rows):
    """The same masks with and without: KL to the parent on other rows than those it was trained on."""
    others, ids = rows[200:], list(score.answer_ids(tokenizer, rows[200:]))

    def kl(model) -> float:
        both = [list(score.answer_log_probs(one, tokenizer, others)) for one in (parent, model)]
        return fidelity.compare(*both, ids, 1).kl.value

    model, _ = cut(parent, tokenizer, rows[:200], "magnitude", 0.6)
    trained = copy.deepcopy(parent)
    options = {"method": "magnitude", "levels": [0.6], "steps": [30], "batch": 4, **CALIBRATION}
    (only,) = prune.gradually(trained, tokenizer, parent, rows[:200], **options)
    assert prune.sparsity_of(only.masks) == pytest.approx(0.6, abs=1e-3)
    assert kl(trained) < 0.5 * kl(model)


@pytest.mark.parametrize(
    ("levels", "counts"),
    [((0.5, 0.3), (1, 1)), ((0.5, 0.5), (1, 1)), ((), ()), ((0.3, 0.5), (1,)), ((0.3,), (-1,)), ((0.3, 1.0), (1, 1))],
)
def test_levels_that_do_not_rise_are_refused_before_any_work(parent, tokenizer, rows, levels, counts):
    with pytest.raises(CogumiError):
        prune.gradually(
            parent, tokenizer, parent, rows, method="magnitude", levels=levels, steps=counts, batch=2, **CALIBRATION
        )


# --- by eye ---


def test_by_eye():
    found = prune.by_eye()
    assert [int((weight == 0).sum()) for weight in found.after.values()] == [8, 8, 8]
    assert list(found.error.values()) == pytest.approx([0.5425, 0.3454, 0.0567], abs=1e-4)
    assert str(found).splitlines() == [
        "inputs                            weight",
        "   2.00   1.80   1.00   0.10         0.90   0.30  -0.50   0.80",
        "  -1.00  -1.20   2.00   0.20        -0.40   0.70   0.20  -0.90",
        "   1.50   1.40  -1.00  -0.20         0.60  -0.50   0.80   0.30",
        "  -2.00  -1.90   0.50   0.10         0.20   0.40  -0.70   0.50",
        "",
        "magnitude                         wanda                             sparsegpt",
        "   0.90      ·  -0.50   0.80         0.90      ·  -0.50      ·            ·   1.26  -0.39      ·",
        "      ·   0.70      ·  -0.90        -0.40   0.70      ·      ·            ·   0.27      ·  -0.17",
        "   0.60      ·   0.80      ·         0.60      ·   0.80      ·            ·   0.14   0.87      ·",
        "      ·      ·  -0.70      ·            ·   0.40  -0.70      ·            ·   0.61  -0.68      ·",
        "",
        "error of the output: magnitude 54.3%  wanda 34.5%  sparsegpt 5.7%",
    ]  # fmt: skip


def test_by_eye_wanda_by_formula():
    """The smallest |weight| · ‖input‖ of each row."""
    found = prune.by_eye(zeros=4)
    scores = found.weight.abs() * found.inputs.norm(dim=0)
    assert torch.equal(found.after["wanda"] == 0, scores == scores.min(dim=1, keepdim=True).values)


@pytest.mark.parametrize("zeros", [2, 8])
def test_by_eye_sparsegpt_by_formula(zeros):
    """Column by column with explicit inverses: w² / [H⁻¹]₁₁ of the columns that are left picks, and the rest of the row
    moves by −w / [H⁻¹]₁₁ · [H⁻¹]₁ (Hassibi and Stork 1993).
    """
    found = prune.by_eye(zeros=zeros)
    weight, hessian = found.weight.double(), 2 * found.inputs.double().T @ found.inputs.double()
    hessian += 0.01 * hessian.diag().mean() * torch.eye(4)
    inverses = [torch.linalg.inv(hessian[j:, j:]) for j in range(4)]
    costs = torch.stack([weight[:, j] ** 2 / inverses[j][0, 0] for j in range(4)], dim=1)
    gone = torch.zeros(16, dtype=torch.bool)
    gone[costs.flatten().argsort()[:zeros]] = True
    for j, inverse in enumerate(inverses):
        error = torch.where(gone.view(4, 4)[:, j], weight[:, j] / inverse[0, 0], 0.0)
        weight[:, j:] -= error[:, None] * inverse[0]
    weight[gone.view(4, 4)] = 0
    assert torch.allclose(found.after["sparsegpt"].double(), weight, atol=1e-5)


# --- bad input ---


@pytest.mark.parametrize("sparsity", [1.0, 1.5, -0.1, float("nan")])
def test_impossible_sparsities(parent, tokenizer, rows, sparsity):
    with pytest.raises(CogumiError) as caught:
        prune.one_shot(parent, tokenizer, rows, method="magnitude", sparsity=sparsity)
    assert caught.value.found == str(sparsity)


def test_an_unknown_method(parent, tokenizer, rows):
    with pytest.raises(CogumiError, match="magnitude, wanda, sparsegpt"):
        prune.one_shot(parent, tokenizer, rows, method="random", sparsity=0.5)


def test_no_llama(tokenizer, rows):
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16, n_positions=8))
    with pytest.raises(CogumiError, match="gpt2"):
        prune.one_shot(model, tokenizer, rows, method="magnitude", sparsity=0.5)


@pytest.mark.parametrize("empty", [[], [Example("code", "x", [{"role": "user", "content": "?"}])]])
def test_no_calibration_text(parent, tokenizer, empty):
    with pytest.raises(CogumiError, match="chats with answers"):
        prune.one_shot(parent, tokenizer, empty, method="wanda", sparsity=0.5)


def test_too_little_calibration_text(parent, tokenizer, rows):
    with pytest.raises(CogumiError, match="calibration text for 50 rows") as caught:
        prune.one_shot(parent, tokenizer, rows[:20], method="wanda", sparsity=0.5, rows=50, length=64)
    assert 3 <= int(caught.value.found.split()[-1]) < 50


RUSSIAN = "Сколько яблок осталось у Маши, если она съела два из пяти?", "У Маши осталось три яблока."
CHINESE = "小明有五个苹果，吃了两个，还剩几个？", "还剩三个苹果。"


@pytest.mark.parametrize("texts", [RUSSIAN, CHINESE], ids=["Russian", "Chinese"])
def test_calibration_text_in_another_language_is_refused_with_its_ratio(parent, tokenizer, texts):
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
    with pytest.raises(CogumiError, match="spells it out") as caught:
        prune.one_shot(parent, tokenizer, [Example("math", "x", messages)] * 40, method="wanda", sparsity=0.5)
    assert float(caught.value.found.split()[0]) > 1.5


def test_the_model_s_own_language_is_not(tokenizer, rows):
    assert _calibration.tokens_a_character(tokenizer, rows) == pytest.approx(0.3734, abs=1e-3)
    _calibration.check_language(tokenizer, rows)


def test_nothing_is_written_by_the_import(tmp_path: Path):
    """In a process of its own: `import cogumi_utils.compress.pruning.prune` does not load llm-compressor."""
    import subprocess
    import sys

    code = "import sys, cogumi_utils.compress.pruning.prune; print('llmcompressor' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout == "False\n" and list(tmp_path.iterdir()) == []
