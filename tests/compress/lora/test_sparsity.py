import numpy as np
import pytest
import torch

from cogumi_utils.compress.lora import sparsity
from cogumi_utils.errors import CogumiError

A, B = "base_model.layers.0.q_proj.lora_A.weight", "base_model.layers.0.q_proj.lora_B.weight"


def adapter(seed: int = 0, modules: int = 4, rank: int = 8) -> dict[str, torch.Tensor]:
    """Like trained ones: factors of different size, ranks of different weight, long tails."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for module in range(modules):
        for factor, shape in (("A", (rank, 48)), ("B", (64, rank))):
            values = generator.standard_t(5, shape) * np.exp(generator.standard_normal())
            values *= np.exp(0.5 * generator.standard_normal(rank)).reshape((rank, 1) if factor == "A" else (1, rank))
            name = f"base_model.layers.{module // 2}.{'qv'[module % 2]}_proj.lora_{factor}.weight"
            tensors[name] = torch.tensor(values, dtype=torch.float32)
    return tensors


def pruned(tensors, *args, **options):
    masks = sparsity.prune_masks(tensors, *args, **options)
    return {name: tensors[name] * masks[name] for name in tensors}


def test_a_weight_counts_by_what_it_multiplies():
    tensors = {A: torch.tensor([[3.0, 1.0], [2.0, 2.0]]), B: torch.tensor([[1.0, 10.0]])}
    # scores: A 3·1, 1·1, 2·10, 2·10; B 1·√10, 10·√8. By magnitude alone the 3 would stay and the 2s go.
    masks = sparsity.prune_masks(tensors, 0.5)
    assert masks[A].tolist() == [[False, False], [True, True]]
    assert masks[B].tolist() == [[False, True]]
    plain = sparsity.prune_masks(tensors, 0.5, score="magnitude")
    assert plain[A].tolist() == [[True, False], [False, True]]  # of equal 2s the first goes


@pytest.mark.parametrize("scope", sparsity.SCOPES)
@pytest.mark.parametrize("share", [0, 0.001, 0.333, 0.5, 0.78, 0.8, 0.85, 0.9999])
def test_the_target_is_met_to_one_weight(scope, share):
    tensors = adapter()
    masks = sparsity.prune_masks(tensors, share, scope=scope)
    total = sum(tensor.numel() for tensor in tensors.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(share * total)
    assert {name: mask.shape for name, mask in masks.items()} == {name: t.shape for name, t in tensors.items()}
    if scope == "tensor":
        assert all(abs(int((~mask).sum()) - share * mask.numel()) <= 1 for mask in masks.values())


def test_equal_scores_go_by_name_and_place():
    tensors = {B: torch.ones(3, 2), A: torch.ones(2, 3)}
    masks = sparsity.prune_masks(tensors, 8 / 12)
    assert not masks[A].any()
    assert masks[B].tolist() == [[False, False], [True, True], [True, True]]


def test_the_order_of_the_dictionary_does_not_matter():
    tensors = adapter()
    backwards = dict(reversed(tensors.items()))
    one, other = sparsity.prune_masks(tensors, 0.8), sparsity.prune_masks(backwards, 0.8)
    assert all(torch.equal(one[name], other[name]) for name in tensors)


def test_error_of_the_product_is_that_of_the_full_matrices():
    tensors = adapter(1)
    changed = pruned(tensors, 0.7)
    products = [[source[up] @ source[down] for down, up in sparsity.pairs(tensors)] for source in (tensors, changed)]
    difference = sum((one - other).square().sum() for one, other in zip(*products, strict=True))
    expected = (difference / sum(one.square().sum() for one in products[0])).sqrt().item()
    assert sparsity.product_error(tensors, changed) == pytest.approx(expected, rel=1e-5)
    assert sparsity.product_error(tensors, tensors) == 0
    nothing = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    assert sparsity.product_error(nothing, nothing) == 0
    assert sparsity.product_error(tensors, nothing) == 1


def test_the_defaults_have_the_least_error():
    tensors = adapter(2)
    errors = {
        (score, scope): round(sparsity.product_error(tensors, pruned(tensors, 0.8, score=score, scope=scope)), 3)
        for score in sparsity.SCORES
        for scope in sparsity.SCOPES
    }
    assert errors == {
        ("product", "all"): 0.324, ("product", "kind"): 0.456, ("product", "tensor"): 0.465,
        ("magnitude", "all"): 0.626, ("magnitude", "kind"): 0.726, ("magnitude", "tensor"): 0.558,
    }  # fmt: skip
    assert min(errors, key=errors.get) == ("product", "all")


def test_an_untrained_adapter_loses_no_product():
    tensors = adapter(3)
    untrained = {name: tensor if "lora_A" in name else torch.zeros_like(tensor) for name, tensor in tensors.items()}
    assert sum(int(mask.sum()) for mask in sparsity.prune_masks(untrained, 0.5).values()) == 1792


def test_half_precision_adapters_are_pruned_too():
    tensors = {name: tensor.bfloat16() for name, tensor in adapter().items()}
    assert sum(int(mask.sum()) for mask in sparsity.prune_masks(tensors, 0.75).values()) == 896


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_sparsity_out_of_range_is_refused(share):
    with pytest.raises(CogumiError, match="0.8 for 80%"):
        sparsity.prune_masks(adapter(), share)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: {}, "no tensors"),
        (lambda t: {A: t[A]}, "without"),
        (lambda t: {**t, "x.lora_magnitude_vector.weight": t[A]}, "lora_magnitude_vector"),
        (lambda t: {**t, "../x/y.lora_A.weight": t[A]}, "x/y"),
        (lambda t: {**t, A: t[A][:3]}, "beside"),
        (lambda t: {**t, A: t[A][0]}, "shape"),
        (lambda t: {**t, A: t[A].int()}, "int32"),
        (lambda t: {**t, A: t[A] * float("nan")}, "NaN"),
        (lambda t: {**t, B: t[B] / 0}, "NaN or infinity"),
    ],
    ids=range(9),
)
def test_what_is_no_lora_adapter_is_refused(change, found):
    one = adapter(modules=1)
    tensors = dict(zip((A, B), (tensor for _, tensor in sorted(one.items())), strict=True))
    with pytest.raises(CogumiError, match=found):
        sparsity.prune_masks(change(tensors), 0.5)


@pytest.mark.parametrize("option", [{"score": "random"}, {"scope": "layer"}])
def test_unknown_rules_are_refused(option):
    with pytest.raises(CogumiError, match="among"):
        sparsity.prune_masks(adapter(), 0.5, **option)
