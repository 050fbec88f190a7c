"""Pruned in steps: the sparsity is met, zeros stay through training, packing and loading, and the loss recovers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from cogumi_utils.compress.lora import adapters, pack
from cogumi_utils.compress.lora.sparsity import prune_masks
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import merge, score, sft, student

TARGETS = (0.5, 0.8)
RECIPE = sft.Recipe(
    steps=8, batch=4, max_length=96, rank=4, learning_rate=5e-3, seed=1, save_every=4, eval_every=8,
    modules=("q_proj", "down_proj"),
)  # fmt: skip


def trained(base: Path, rows, folder: Path) -> PeftModel:
    model, tokenizer = student.load(base)
    return sft.train(model, tokenizer, rows, RECIPE, folder=folder).model


def nats(model, tokenizer, rows) -> float:
    """Mean loss over the answer tokens of `rows`, each chat alone."""
    costs = [(len(costs), float(costs.sum())) for costs in score.answer_costs(model, tokenizer, rows)]
    return sum(total for _, total in costs) / sum(count for count, _ in costs)


@dataclass(frozen=True)
class Pruned:
    folder: Path  # of the checkpoints of all steps
    before: dict[str, Tensor]
    masks: dict[str, Tensor]
    after: dict[str, Tensor]
    adapted: PeftModel
    saved: Path


@pytest.fixture(scope="module")
def pruned(base, rows, tokenizer, tmp_path_factory) -> Pruned:
    folder = tmp_path_factory.mktemp("pruned")
    adapted = trained(base, rows, folder / "dense")
    before = adapters.tensors_of(adapted)
    masks = adapters.prune_in_steps(adapted, tokenizer, rows, RECIPE, TARGETS, folder / "sparse")
    after = adapters.tensors_of(adapted)
    saved = sft.save_adapter(adapted, folder / "adapter", "base")
    return Pruned(folder, before, masks, after, adapted, saved)


def zeros(tensors: dict[str, Tensor]) -> int:
    return sum(int((tensor == 0).sum()) for tensor in tensors.values())


def total(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def test_the_factors_are_those_of_the_adapter_s_file(pruned):
    written = load_file(pruned.saved / "adapter_model.safetensors")
    assert written.keys() == pruned.after.keys() and len(written) == 4
    assert all(torch.equal(written[name], pruned.after[name]) for name in written)
    assert {tensor.dtype for tensor in pruned.after.values()} == {torch.float32}


def test_factors_are_copies(pruned):
    name = next(iter(pruned.after))
    adapters.tensors_of(pruned.adapted)[name].fill_(7.0)
    assert torch.equal(adapters.tensors_of(pruned.adapted)[name], pruned.after[name])


def test_no_hub_is_asked_for_the_base(pruned, monkeypatch):
    """PEFT would look up whether the base of that name has other embeddings."""
    from peft.utils import save_and_load

    asked = []
    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda *args, **kwargs: asked.append(args))
    adapters.tensors_of(pruned.adapted)
    assert asked == []


def test_the_last_sparsity_is_met_to_one_weight(pruned):
    assert sum(int((~mask).sum()) for mask in pruned.masks.values()) == round(0.8 * total(pruned.masks))
    assert {name: mask.shape for name, mask in pruned.masks.items()} == {n: t.shape for n, t in pruned.after.items()}
    assert zeros(pruned.after) == round(0.8 * total(pruned.after))  # what is kept was trained and is not 0


def test_what_is_pruned_is_zero_after_training_and_what_is_kept_has_learned(pruned):
    for name, mask in pruned.masks.items():
        assert not pruned.after[name][~mask].any()
    kept = torch.cat([pruned.after[name][mask] - pruned.before[name][mask] for name, mask in pruned.masks.items()])
    assert (kept != 0).float().mean() > 0.99


def test_the_first_step_s_zeros_are_among_the_last_step_s(pruned):
    first = load_file(pruned.folder / "sparse/0/checkpoint-8/adapter_model.safetensors")
    assert zeros(first) == round(0.5 * total(first))
    assert all(not pruned.after[name][tensor == 0].any() for name, tensor in first.items())
    assert all(torch.equal(mask, pruned.masks[name]) for name, mask in prune_masks(first, 0.8).items())


def test_training_under_the_masks_brings_the_loss_down(pruned, base, rows, tokenizer, tmp_path):
    dense = trained(base, rows, tmp_path)
    whole = nats(dense, tokenizer, rows)
    masks = prune_masks(adapters.tensors_of(dense), 0.8)
    adapters.apply_masks(dense, masks)
    cut, recovered = nats(dense, tokenizer, rows), nats(pruned.adapted, tokenizer, rows)
    assert whole < cut and recovered < cut - 0.02
    assert [whole, cut, recovered] == pytest.approx([4.6664, 4.7044, 4.6001], abs=1e-2)  # two kinds of CPU


def test_only_what_is_masked_is_cleared(base, rows, tmp_path):
    adapted = trained(base, rows, tmp_path)
    before = adapters.tensors_of(adapted)
    one, *others = before
    mask = torch.ones_like(before[one], dtype=torch.bool)
    mask[0, 1] = False
    adapters.apply_masks(adapted, {one: mask})
    after = adapters.tensors_of(adapted)
    assert torch.equal(after[one], before[one] * mask) and before[one][0, 1] != 0
    assert all(torch.equal(after[name], before[name]) for name in others)


def test_a_run_killed_between_two_steps_ends_in_the_same_weights(pruned, base, rows, tokenizer, tmp_path):
    """The dense training and the first step are found finished, the second one half-way."""
    for name in ("dense", "sparse"):
        shutil.copytree(pruned.folder / name, tmp_path / name)
    shutil.rmtree(tmp_path / "sparse/1/checkpoint-8")
    adapted = trained(base, rows, tmp_path / "dense")
    masks = adapters.prune_in_steps(adapted, tokenizer, rows, RECIPE, TARGETS, tmp_path / "sparse")
    again = adapters.tensors_of(adapted)
    assert all(torch.equal(mask, masks[name]) for name, mask in pruned.masks.items())
    assert all(torch.equal(tensor, again[name]) for name, tensor in pruned.after.items())


@pytest.mark.parametrize("sparsities", [(), (0.8, 0.5), (0.5, 0.5)])
def test_sparsities_that_do_not_rise_are_refused(pruned, tokenizer, rows, tmp_path, sparsities):
    with pytest.raises(CogumiError) as caught:
        adapters.prune_in_steps(pruned.adapted, tokenizer, rows, RECIPE, sparsities, tmp_path)
    assert caught.value.found == f"{list(sparsities)}" and list(tmp_path.iterdir()) == []


def test_packed_unpacked_and_put_on_it_has_the_masks_zeros(pruned, base, rows, tokenizer, tmp_path):
    report = pack.pack_adapter(pruned.saved, tmp_path / "a.pack", sparsity=0.8, group_size=32, masks=pruned.masks)
    adapted, own = merge.put_on(base, pack.unpack_adapter(tmp_path / "a.pack", tmp_path / "adapter"))
    loaded = adapters.tensors_of(adapted)
    for name, mask in pruned.masks.items():
        assert not loaded[name][~mask].any()
        assert (loaded[name][mask] - pruned.after[name][mask]).abs().max() <= report.max_error
    assert report.pruning_error == 0.0 and report.sparsity == pytest.approx(0.8, abs=1 / total(loaded))
    assert 0 < report.max_error < 0.1 and own.get_vocab() == tokenizer.get_vocab()
    assert nats(adapted, tokenizer, rows) == pytest.approx(nats(pruned.adapted, tokenizer, rows), abs=0.05)
