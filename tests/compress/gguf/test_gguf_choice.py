"""The type is chosen by what it changes, never above the target, and bits go where they count."""

from __future__ import annotations

import numpy as np
import pytest
from gguf_models import save, small_tokenizer

from cogumi_utils.compress.gguf import choice as gguf_choice
from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf import types as gguf_types
from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.fidelity import Fidelity
from cogumi_utils.model import student
from cogumi_utils.stats import Interval


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def f16(tokenizer, tmp_path_factory):
    folder = save(tmp_path_factory.mktemp("m") / "m", tokenizer, hidden_size=256, intermediate_size=512)
    return gguf_export.export(folder, folder.parent / "f16.gguf")


@pytest.fixture(scope="module")
def score(f16, tokenizer):
    return gguf_choice.scorer(f16, tokenizer, skills.mixed(skills.trained_skills(), 1, split="validation", seed=1)[:8])


def bits(f16, kind: str) -> float:
    reader = gguf_read.read(f16)
    size = gguf_types.planned_bytes(reader, gguf_types.planned_types(reader, kind))
    return 8 * size / gguf_read.parameters(reader)


def known(costs):
    """A score that is read off a file's types: {tensor: {block: nats}}."""

    def score(file):
        types = gguf_read.block_types(gguf_read.read(file))
        kl = sum(cost[types[name]] for name, cost in costs.items())
        return Fidelity(*(Interval(kl, kl, kl, 1) for _ in range(3)), tokens=1)

    return score


def test_the_file_itself_scores_nothing(f16, score):
    found = score(f16)
    assert found.kl.value == 0 and found.agreement.value == 1


def test_fewer_bits_change_more(f16, score, tmp_path):
    table = gguf_choice.types_table(f16, tmp_path, score)
    assert list(table.kind) == ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"]
    assert table.kl.is_monotonic_increasing and table.bytes.is_monotonic_decreasing
    assert list(table.bytes) == [(tmp_path / f"{kind}.gguf").stat().st_size for kind in table.kind]


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_K_M", "Q3_K_M"])
def test_a_target_that_is_met_exactly_is_met(kind, f16, score, tmp_path):
    found = gguf_choice.choose(f16, tmp_path / "c.gguf", score, bits_per_weight=bits(f16, kind))
    assert found.kind == kind and found.bits_per_weight == bits(f16, kind)
    assert [path.name for path in tmp_path.iterdir()] == ["c.gguf"]
    assert score(found.file) == found.fidelity


def test_a_hair_less_is_the_next_type(f16, score, tmp_path):
    found = gguf_choice.choose(f16, tmp_path / "c.gguf", score, bits_per_weight=bits(f16, "Q5_K_M") - 1e-6)
    assert found.kind == "Q4_K_M"


def test_the_lowest_divergence_wins_and_not_the_largest_file(f16, tmp_path):
    odd = {"Q3_K": 3.0, "Q4_K": 1.0, "Q5_K": 2.0, "Q6_K": 2.5, "Q8_0": 2.7}
    found = gguf_choice.choose(f16, tmp_path / "c.gguf", known({"blk.0.attn_q.weight": odd}), bits_per_weight=16.0)
    assert found.kind == "Q4_K_M" and list(found.tried.kl) == sorted(odd.values())


def test_below_the_smallest_names_it(f16, score, tmp_path):
    with pytest.raises(CogumiError, match=f"at least {bits(f16, 'Q3_K_M'):.3f}(.|\n)*Q3_K_M"):
        gguf_choice.choose(f16, tmp_path / "c.gguf", score, bits_per_weight=3.0)
    assert not list(tmp_path.iterdir())


def test_bits_go_where_they_count(f16, tmp_path):
    name = "blk.0.attn_k.weight"
    steep = {"Q3_K": 9.0, "Q4_K": 5.0, "Q5_K": 3.0, "Q6_K": 1.0, "Q8_0": 0.5, "F16": 0.0}
    flat = {block: value / 100 for block, value in steep.items()}
    others = [n for n, t in gguf_read.block_types(gguf_read.read(f16)).items() if t == "F16" and n != name]
    score = known({name: steep, **dict.fromkeys(others, flat)})
    table = gguf_choice.sensitivity(f16, score)
    assert table[(table.matrix == name) & (table.block == "Q4_K")].kl.item() == 5.0
    found = gguf_choice.choose(f16, tmp_path / "c.gguf", score, bits_per_weight=5.0, table=table)
    assert found.kind == "by tensor" and found.bits_per_weight <= 5.0
    types = gguf_read.block_types(gguf_read.read(found.file))
    assert types[name] == found.tensor_types[name] == "Q8_0"
    assert len(found.tried) == 2 and not list(f16.parent.glob("*trial*"))


def test_a_mixture_reaches_below_the_fixed_types(f16, score, tmp_path):
    table = gguf_choice.sensitivity(f16, score, blocks=("Q3_K", "Q8_0"), unit=gguf_choice.same_kind)
    assert set(table.matrix) == {"token_embd.weight", *(f"{n}.weight" for n in (
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"))}  # fmt: skip
    alone = gguf_choice.lines(table)["ffn_up"]
    assert alone[0] == [3.4375, 8.5] and alone[1] == list(table.kl[table.matrix == "ffn_up.weight"])
    target = bits(f16, "Q3_K_M") - 0.3
    found = gguf_choice.choose(
        f16, tmp_path / "c.gguf", score, bits_per_weight=target, table=table, unit=gguf_choice.same_kind
    )
    assert found.kind == "by tensor" and found.bits_per_weight <= target
    with pytest.raises(CogumiError, match="by tensor"):
        gguf_choice.choose(
            f16, tmp_path / "d.gguf", score, bits_per_weight=3.0, table=table, unit=gguf_choice.same_kind
        )


@pytest.mark.parametrize("given", [lambda folder: student.load(folder)[0], str])
def test_the_parent_can_be_a_transformers_model_or_its_folder(given, f16, tokenizer):
    model = given(f16.parent / "m")
    examples = skills.mixed(skills.trained_skills(), 1, split="validation", seed=1)[:8]
    found = gguf_choice.scorer(model, tokenizer, examples, exact=True)(f16)
    assert 0 < found.kl.value < 1e-3 and found.perplexity_ratio.value == pytest.approx(1, abs=1e-2)
    quantised = gguf_types.quantise(f16, f16.with_name("q3.gguf"), "Q3_K_M")
    assert gguf_choice.scorer(model, tokenizer, examples)(quantised).kl.value > 10 * found.kl.value


def test_a_table_for_readers(f16, score, tmp_path):
    table = gguf_choice.types_table(f16, tmp_path, score, kinds=("Q8_0", "Q3_K_M")).assign(study="a")
    found = gguf_choice.in_words(table)
    assert list(found) == ["study", "type", "kB", "bits a weight", "KL, nats a token", "same top token",
                           "perplexity, over that at 16 bits"]  # fmt: skip
    assert found["same top token"][0] == f"{100 * table.agreement[0]:.1f}% " \
        f"[{100 * table['agreement low'][0]:.1f}, {100 * table['agreement high'][0]:.1f}]"  # fmt: skip
    assert list(found["kB"] * 1e3) == list(table.bytes)
    choice = gguf_choice.choose(f16, tmp_path / "c.gguf", score, bits_per_weight=16.0, kinds=("Q8_0",))
    assert gguf_choice.in_words(choice.tried)["type"].item() == "Q8_0"


def test_a_study_of_importance(f16, score, tmp_path):
    measured = {"blk.0.ffn_down.weight": np.geomspace(1e-4, 1e4, 512).astype(np.float32)}
    found = gguf_choice.importance_study(f16, tmp_path, score, measured, kinds=("Q4_K_M", "Q3_K_M"))
    assert list(found["importance matrix"]) == ["none"] * 2 + ["shuffled"] * 2 + ["measured"] * 2
    assert found.kl[found.kind == "Q3_K_M"].nunique() == 3
    again = gguf_types.quantise(f16, tmp_path / "again.gguf", "Q3_K_M", importance=measured)
    assert (tmp_path / "Q3_K_M.gguf").read_bytes() == again.read_bytes()
    lines = gguf_choice.lines(found)
    tops = [max(costs) for _, costs in lines.values()]
    assert set(lines) == {"none", "shuffled", "measured"} and tops == sorted(tops, reverse=True)
    axes = gguf_choice.figure(found).axes[0]
    assert [line.get_label() for line in axes.lines] == list(lines) and axes.get_yscale() == "log"
    assert lines["none"] == (sorted(found["bits/weight"][:2]), list(found.kl[:2])[::-1])


def test_units_of_a_kind():
    assert gguf_choice.same_kind("blk.11.ffn_down.weight") == "ffn_down.weight"
    assert gguf_choice.same_kind("token_embd.weight") == "token_embd.weight"
