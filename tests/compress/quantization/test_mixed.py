from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from cogumi_utils.compress.quantization import mixed, quantize
from cogumi_utils.compress.quantization._packed import Checkpoint
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.fidelity import compare
from cogumi_utils.model import student
from cogumi_utils.model.score import answer_ids, answer_log_probs

WIDTHS = (2, 4, 8)
KINDS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
         "mlp.down_proj")  # fmt: skip


def made_up(seed: int, layers: int = 1) -> pd.DataFrame:
    """Sensitivities that fall with the bits, of matrices of two sizes."""
    draw, rows = np.random.default_rng(seed), []
    for layer, kind in product(range(layers), KINDS):
        name, weights, scale = f"model.layers.{layer}.{kind}", 4096 * int(draw.integers(1, 4)), draw.lognormal(0, 2)
        for bits in WIDTHS:
            kl = scale * 4.0**-bits * draw.uniform(0.8, 1.2)
            rows.append((name, mixed.unit(name), weights, bits, bits + 0.25, kl))
    return pd.DataFrame(rows, columns=["matrix", "unit", "weights", "bits", "stored", "kl"])


def by_trying_all(table: pd.DataFrame, target: float) -> float:
    """The least sum of any assignment that fits."""
    units, best = list(table.unit.unique()), float("inf")
    for widths in product(WIDTHS, repeat=len(units)):
        rows = table[table.bits == table.unit.map(dict(zip(units, widths, strict=True)))]
        if (rows.weights * rows.stored).sum() <= target * rows.weights.sum():
            best = min(best, rows.kl.sum())
    return best


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [2.25, 3.5, 4.25, 6])
def test_no_other_choice_of_this_size_costs_less(seed, target):
    table = made_up(seed)
    found = mixed.forecast(table, mixed.choose(table, target))
    assert found["kl"] == pytest.approx(by_trying_all(table, target))
    assert found["bits a weight"] <= target * (1 + 1e-6)


def test_what_runs_as_one_matrix_has_one_width():
    table = made_up(3, layers=4)
    assert table.unit.nunique() == 16
    for bits in (mixed.choose(table, 4), mixed.at_random(table, 4, seed=1)):
        assert list(bits) == list(table.matrix.unique())
        assert all(len({bits[name] for name in group.matrix}) == 1 for _, group in table.groupby("unit"))


def test_matrices_may_be_freed_of_their_units():
    table = made_up(3)
    free = table.assign(unit=table.matrix)
    bits = mixed.choose(free, 4)
    assert len({bits[f"model.layers.0.self_attn.{kind}_proj"] for kind in "qkv"}) > 1
    assert mixed.forecast(table, bits)["kl"] < mixed.forecast(table, mixed.choose(table, 4))["kl"]


def test_the_ends_of_the_range():
    table = made_up(0)
    assert set(mixed.choose(table, 2.25).values()) == {2}
    assert set(mixed.at_random(table, 2.25, seed=1).values()) == {2}
    assert set(mixed.choose(table, 100).values()) == {8}
    assert set(mixed.at_random(table, 100, seed=1).values()) == {8}


@pytest.mark.parametrize("target", [2.2, 0, -1, float("nan")])
@pytest.mark.parametrize("chosen", [mixed.choose, lambda table, target: mixed.at_random(table, target, seed=1)])
def test_a_target_that_nothing_reaches_is_refused_with_the_smallest(target, chosen):
    with pytest.raises(CogumiError, match="at least 2.250 bits"):
        chosen(made_up(0), target)


@pytest.mark.parametrize("seed", range(5))
def test_chance_fills_the_size_without_looking(seed):
    table = made_up(seed, layers=3)
    bits = mixed.at_random(table, 4, seed=seed)
    size = mixed.forecast(table, bits)["bits a weight"]
    total = table[table.bits == 2].weights.sum()
    assert size <= 4 * (1 + 1e-6)
    for _, group in table[table.bits == 2].groupby("unit"):  # no unit could still be raised
        width = bits[group.matrix.iloc[0]]
        after = {2: 2, 4: 4}.get(width)
        assert after is None or size * total + after * group.weights.sum() > 4 * total
    assert bits == mixed.at_random(table, 4, seed=seed)
    assert bits != mixed.at_random(table, 4, seed=seed + 1)
    shuffled = table.assign(kl=table.kl.to_numpy()[::-1])
    assert bits == mixed.at_random(shuffled, 4, seed=seed)


def test_chosen_bits_beat_chance():
    table = made_up(1, layers=3)
    chosen = mixed.forecast(table, mixed.choose(table, 4))["kl"]
    chance = [mixed.forecast(table, mixed.at_random(table, 4, seed=seed))["kl"] for seed in range(10)]
    assert chosen < min(chance)


def test_assignments_are_the_choice_and_chance_for_each_target():
    table = made_up(2, layers=2)
    found = mixed.assignments(table, [4.0, 3.5], draws=2, seed=5)
    assert list(found) == [
        "by sensitivity, 4 bits", "by sensitivity, 3.5 bits", "at random, 4 bits, 1", "at random, 4 bits, 2",
        "at random, 3.5 bits, 1", "at random, 3.5 bits, 2",
    ]  # fmt: skip
    assert found["by sensitivity, 3.5 bits"] == mixed.choose(table, 3.5)
    assert found["at random, 4 bits, 2"] == mixed.at_random(table, 4, seed=6)
    assert list(mixed.assignments(table, [4.0], draws=0, seed=5)) == ["by sensitivity, 4 bits"]


def test_costs_stand_beside_the_bits_that_were_chosen():
    table = made_up(1)
    bits = mixed.choose(table, 4)
    found = mixed.costs(table, {"mine": bits})
    assert list(found.columns) == ["matrix", "weights", "KL at 2 bits", "KL at 4 bits", "KL at 8 bits", "mine"]
    assert list(found.matrix) == list(table.matrix.unique())
    assert dict(zip(found.matrix, found.mine, strict=True)) == bits
    for row in table.itertuples():
        (line,) = found[found.matrix == row.matrix].to_dict("records")
        assert (line[f"KL at {row.bits} bits"], line["weights"]) == (row.kl, row.weights)


@pytest.fixture(scope="module")
def parent(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def children(base, tokenizer, rows, tmp_path_factory):
    """{bits: folder}, groups of 32."""
    folder = tmp_path_factory.mktemp("uniform")
    settings = {"method": "rtn", "group": 32, "rows": 4, "length": 64}
    return {
        bits: quantize.quantise(base, tokenizer, rows, bits=bits, target=folder / str(bits), **settings).folder
        for bits in WIDTHS
    }


@pytest.fixture(scope="module")
def measured(parent, tokenizer, rows, children):
    return mixed.sensitivity(parent, tokenizer, rows[:16], children)


def test_sensitivity_is_that_of_one_matrix_alone(base, parent, tokenizer, rows, children, measured):
    name = "model.layers.0.self_attn.v_proj"
    model = student.load(base)[0]
    model.get_submodule(name).weight.data = Checkpoint(children[2]).weight(name)
    scored = [answer_log_probs(one, tokenizer, rows[:16]) for one in (parent, model)]
    kl = compare(*scored, answer_ids(tokenizer, rows[:16]), seed=0).kl.value
    row = measured[(measured.matrix == name) & (measured.bits == 2)].iloc[0]
    assert row.kl == pytest.approx(kl, rel=1e-4)
    assert (row.weights, row.unit) == (4096, "model.layers.0.self_attn.qkv_proj")
    assert row.stored == 2 + 16 / 32 + 2 / 32 + 128 / 4096


def test_sensitivity_falls_with_the_bits(measured):
    sums = measured.groupby("bits").kl.sum()
    assert sums[2] > 4 * sums[4] > 100 * sums[8] > 0
    assert len(measured) == 7 * len(WIDTHS)


def test_the_parent_is_put_back(base, parent, tokenizer, rows, children):
    mixed.sensitivity(parent, tokenizer, rows[:2], {2: children[2]})
    with pytest.raises(TypeError):
        mixed.sensitivity(parent, tokenizer, rows[:2], {2: children[2]}, batch="x")
    fresh = student.load(base)[0].state_dict()
    assert all(torch.equal(fresh[name], tensor) for name, tensor in parent.state_dict().items())


def test_the_parent_is_put_back_after_an_error(parent, children):
    name = "model.layers.0.mlp.up_proj"
    before = parent.get_submodule(name).weight.detach().clone()
    with pytest.raises(KeyError), mixed._replaced(parent, Checkpoint(children[2]), name):
        assert not torch.equal(parent.get_submodule(name).weight, before)
        raise KeyError
    assert torch.equal(parent.get_submodule(name).weight, before)


def test_children_must_be_what_they_are_called(parent, tokenizer, rows, children):
    with pytest.raises(CogumiError, match="all its 7 matrices at 4 bits"):
        mixed.sensitivity(parent, tokenizer, rows[:2], {4: children[2]})


def test_a_mixed_model_is_smaller_than_its_target_and_better_than_the_smallest(
    base, parent, tokenizer, rows, children, measured, tmp_path
):
    bits = mixed.choose(measured, 4.0)
    settings = {"method": "rtn", "group": 32, "rows": 4, "length": 64}
    quantize.quantise(base, tokenizer, rows, bits=bits, target=tmp_path / "mixed", **settings)
    assert len(set(bits.values())) > 1
    table = quantize.code_table(tmp_path / "mixed")
    size = (table.weights * table.stored).sum() / table.weights.sum()
    assert size == pytest.approx(mixed.forecast(measured, bits)["bits a weight"]) and size <= 4.0
    both = {"mixed": tmp_path / "mixed", "two": children[2]}
    found = quantize.fidelities(parent, tokenizer, rows[:16], both, seed=1)
    assert found["mixed"].kl.value < found["two"].kl.value / 2
