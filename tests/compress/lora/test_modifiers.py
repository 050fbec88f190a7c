"""Tables about the domain adapters: groups of tasks, the ladder of states, and what each adapter must weigh."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cogumi_utils.compress.lora import modifiers
from cogumi_utils.data.skills.specialist import DOMAINS, specialist_skills
from cogumi_utils.judge.costs import load_plan
from cogumi_utils.judge.sizes import LLAMA_3_1_8B
from cogumi_utils.model import sft, student

CELL = """
profile = "smoke"  # profile, not empty
domain = "code"  # a domain, not empty
rank = 8  # of the adapter, 1..512
modules = []  # adapted matrices, each not empty
sparsities = [0.5, 0.8]  # share of zeros after each step, each 0.05..0.99
"""
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 2, "vocab_size": 800}  # fmt: skip
PLAN = Path(__file__).resolve().parents[3] / "params/plan.yaml"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """The working directory becomes a checkout with 10_modifiers, another notebook, and a profile of three domains."""
    root = tmp_path / "checkout"
    (root / "notebooks").mkdir(parents=True)
    (root / "params/tiny/10_modifiers").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\nname = 'fake'\n")
    write_notebook(root / "notebooks/10_modifiers.ipynb", CELL)
    write_notebook(root / "notebooks/09_other.ipynb", 'profile = "smoke"  # profile, not empty')
    shutil.copy(PLAN, root / "params/plan.yaml")
    (root / "params/tiny/profile.yaml").write_text("usd_per_hour: 3.6\n")
    (root / "params/tiny/09_other.yaml").write_text("")
    files = {
        "code": "rank: 4",
        "finance": "rank: 2\nsparsities: [0.5]",
        "math": "rank: 3\nmodules: [q_proj, down_proj]",
    }
    for domain, text in files.items():
        (root / f"params/tiny/10_modifiers/{domain}.yaml").write_text(f"{text}\n")
    monkeypatch.chdir(root)
    return root


def write_notebook(path: Path, cell: str) -> None:
    code = {"outputs": [], "execution_count": None, "metadata": {"tags": ["parameters"]}, "id": "a"}
    cells = [{"cell_type": "code", "source": cell.strip().splitlines(True), **code}]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def bits(sparsity: float) -> float:
    """A weight's share of the mask, and four bits where it is kept."""
    mask = -sparsity * math.log2(sparsity) - (1 - sparsity) * math.log2(1 - sparsity)
    return mask + (1 - sparsity) * 4


def test_a_row_a_domain_of_the_profile_with_its_own_values(checkout):
    table = modifiers.size_table("tiny", SMALL)
    assert table[["domain", "rank", "sparsity"]].to_numpy().tolist() == [
        ["code", 4, 0.8], ["finance", 2, 0.5], ["math", 3, 0.8],
    ]  # fmt: skip
    attention, mlp = 64 + 64, 64 + 128  # inputs and outputs of a matrix
    assert table["parameters"].tolist() == [4 * (4 * attention + 3 * mlp), 2 * (4 * attention + 3 * mlp),
                                            3 * (attention + mlp)]  # fmt: skip
    sparsities = [0.8, 0.5, 0.8]
    expected = [n * bits(s) / 8 / 1e3 for n, s in zip(table["parameters"], sparsities, strict=True)]
    assert table["bound, kB"].tolist() == pytest.approx(expected)


def test_the_8b_s_numbers_by_hand(checkout):
    """Rank 128 on all seven matrices of 32 layers: 128 · 32 · (2·8192 + 2·5120 + 3·18432), 1.522 bits each at 80%."""
    row = modifiers.size_table("tiny", SMALL).set_index("domain").loc["code"]
    assert (row["8B: rank"], row["8B: parameters"], row["8B: brief, MB"]) == (128, 335_544_320, 47)
    assert (
        row["8B: bound, MB"] == pytest.approx(335.544320 * 1.521928 / 8, rel=1e-6) == pytest.approx(63.8344, abs=1e-3)
    )
    assert not row["possible"]


def test_what_fits_is_possible(checkout):
    """Finance at 50% is far too large; mathematics on two matrices alone fits easily."""
    table = modifiers.size_table("tiny", SMALL).set_index("domain")
    assert table["8B: parameters"]["math"] == 96 * 32 * (8192 + 18432)
    assert table["possible"].to_dict() == {"code": False, "finance": False, "math": True}
    assert (table["8B: bound, MB"] <= table["8B: brief, MB"]).to_dict() == table["possible"].to_dict()


def test_without_domain_files_the_cell_s_domain_is_the_one_row(checkout):
    shutil.rmtree(checkout / "params/tiny/10_modifiers")
    (checkout / "params/tiny/10_modifiers.yaml").write_text("rank: 5\n")
    for profile, rank in (("tiny", 5), ("smoke", 8)):
        table = modifiers.size_table(profile, SMALL)
        assert table[["domain", "rank", "8B: rank"]].to_numpy().tolist() == [["code", rank, 128]]


def test_the_brief_has_a_rank_and_a_size_for_every_domain():
    assert set(load_plan(PLAN)["modifiers"]) == set(DOMAINS)
    assert all(set(row) == {"rank", "mb"} for row in load_plan(PLAN)["modifiers"].values())


def test_the_matrices_have_the_same_shapes_under_both_names():
    model = student.small_llama(300, hidden=64, layers=1, heads=4, kv_heads=2, ffn=96, context=64, seed=0)
    shapes = {name.split(".")[-2]: tuple(p.shape) for name, p in model.named_parameters() if "_proj" in name}
    from cogumi_utils.judge.sizes import layer_tensors

    sizes = {tensor.name: (tensor.rows, tensor.columns) for tensor in layer_tensors(model.config.to_dict(), 0)}
    assert {hf: sizes[gguf] for hf, gguf in modifiers.MATRICES.items()} == shapes and set(shapes) == set(sft.MODULES)
    assert modifiers._count(LLAMA_3_1_8B, 1, []) == 32 * 81920


# --- graded answers


def frame(*rows: tuple[str, str, bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["domain", "skill", "passed"])


def test_tasks_are_grouped_by_what_the_adapter_is_for():
    own, foreign = specialist_skills("math")[0].name, specialist_skills("finance")[0].name
    graded = frame(("math", own, True), ("math", "age", False), ("finance", foreign, True), ("science", own, False))
    found = modifiers.grouped(graded, "math")
    assert found["group"].tolist() == [modifiers.SPECIALIST, modifiers.KNOWN, modifiers.ELSEWHERE, modifiers.ELSEWHERE]
    assert "group" not in graded and found.drop(columns="group").equals(graded)


def test_the_ladder_has_a_row_a_state_and_a_share_a_group():
    own = specialist_skills("math")[0].name
    before = modifiers.grouped(frame(("math", own, False), ("math", own, False), ("code", "x", True)), "math")
    after = modifiers.grouped(frame(("math", own, True), ("math", own, False), ("code", "x", True)), "math")
    table = modifiers.ladder({"base": before, "packed": after})
    assert table["state"].tolist() == ["base", "packed"]
    assert [text.split(" ")[0] for text in table[modifiers.SPECIALIST]] == ["0.0%", "50.0%"]
    assert [text.split(" ")[0] for text in table[modifiers.ELSEWHERE]] == ["100.0%", "100.0%"]
    assert modifiers.KNOWN not in table and "n=2" in table[modifiers.SPECIALIST][0]


def test_the_digest_is_of_the_tasks_whatever_their_order(rows):
    assert modifiers.digest(rows) == modifiers.digest(rows[::-1]) != modifiers.digest(rows[1:])
    assert len(modifiers.digest(rows)) == 64


# --- with the adapter on and off


def test_with_the_adapter_off_the_base_s_answers_come_back_exactly(base, rows, tmp_path):
    model, tokenizer = student.load(base)
    tests = [row for row in rows if row.verifier["kind"] != "python_tests"][:24]
    before = modifiers.judged(model, tokenizer, tests, "math", 24)
    recipe = sft.Recipe(
        steps=12, batch=4, max_length=96, rank=4, learning_rate=2e-2, seed=1, save_every=12, eval_every=12
    )
    adapted = sft.train(model, tokenizer, rows, recipe, folder=tmp_path).model
    on = modifiers.judged(adapted, tokenizer, tests, "math", 24)
    off = modifiers.judged_off(adapted, tokenizer, tests, "math", 24)
    again = modifiers.judged(adapted, tokenizer, tests, "math", 24)
    assert off.equals(before) and again.equals(on)
    assert (on["answer"] != before["answer"]).sum() > 12
    assert set(before["group"]) <= {modifiers.KNOWN, modifiers.ELSEWHERE} and list(before["id"]) == [
        t.id for t in tests
    ]
