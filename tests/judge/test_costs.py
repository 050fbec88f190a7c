import re

import pytest
import yaml

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import costs, speed
from cogumi_utils.judge.sizes import LLAMA_3_1_8B, shape_counts
from cogumi_utils.paths import params_dir, repo_root


@pytest.fixture
def changed_plan(tmp_path):
    """Write a plan that differs from the real one, and give its path."""

    def write(change):
        plan = yaml.safe_load((params_dir() / "plan.yaml").read_text())
        change(plan)
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan))
        return path

    return write


def row(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_price_is_the_briefs_own():
    assert round(82.5 / (192_389 * 0.49 / 3600), 2) == costs.load_plan()["usd_per_hour"]


def test_rates_are_what_their_basis_says():
    rates = costs.load_plan()["rates"]
    h100 = speed.device("H100")
    forward = speed.training_flops_per_token(LLAMA_3_1_8B, "none")
    assert rates["score"]["tokens_per_second"] == pytest.approx(0.40 * h100.bf16_flops / forward, rel=0.02)
    read = 64 * speed.generation_bound(2 * shape_counts(LLAMA_3_1_8B).total, h100.bandwidth)
    assert rates["generate"]["tokens_per_second"] == pytest.approx(0.22 * read, rel=0.03)


def test_qlora_stage_takes_21_hours_at_the_published_rate():
    stage = row(costs.stage_costs(), stage="02_qlora")
    assert stage["hours"] == pytest.approx(640_637 * 3 * 500 / 12_500 / 3600)
    assert round(stage["hours"], 2) == 21.35
    assert stage["USD"] == pytest.approx(stage["hours"] * 3.15)
    assert stage["brief hours paid for"] == pytest.approx(220 / 3.15)
    assert stage["basis"] == "published"


def test_pieces_of_one_phase_are_added_up():
    stage = row(costs.stage_costs(), phase="2A")
    assert stage["hours"] == pytest.approx(8 + 10_000 * 2048 / 26_000 / 3600)
    assert stage["basis"] == "assumed, brief"
    assert stage["brief USD"] == 180


def test_last_row_is_the_total():
    table = costs.stage_costs()
    assert table.iloc[-1]["stage"] == "all"
    for column in ("hours", "USD", "brief USD"):
        assert table.iloc[-1][column] == pytest.approx(table.iloc[:-1][column].sum())
    assert round(table.iloc[-1]["hours"], 1) == 54.9


def test_measured_rate_price_and_length_replace_the_plans():
    before, after = costs.stage_costs(), costs.stage_costs({"train": 25_000}, usd_per_hour=2.0, mean_tokens=250)
    training, scoring = row(after, stage="02_qlora"), row(after, stage="03_failure_clusters")
    assert training["hours"] == pytest.approx(row(before, stage="02_qlora")["hours"] / 4)
    assert training["basis"] == "measured"
    assert training["USD"] == pytest.approx(2 * training["hours"])
    assert scoring["hours"] == row(before, stage="03_failure_clusters")["hours"]  # its 300 tokens are given


def test_sums_of_the_brief():
    table = costs.brief_sums().set_index("total")
    wrong = {name: (claimed, round(found, 2)) for name, claimed, found in _not_adding_up(table)}
    assert wrong == {
        "MVP weeks": (17, 20),
        "MVP USD": (1269.5, 1449.5),
        "post-MVP weeks": (13, 18.43),
        "phase 7 cost": (85, 67.5),
        "phase 7A cost": (67.5, 50),
        "phase 14 cost": (885, 925),
        "MVP size, overview": (703, 695),
        "MVP size, upload step": (703, 683),
        "MVP size, first document": (668, 671),
        "eight modifiers": (271, 331),
        "full system": (911, 831),
        "expansion to 8 domains, first document": (864, 867),
        "configuration Developer Pro": (701, 729),
        "configuration Academic": (737, 765),
        "configuration Professional": (748, 723),
    }
    assert set(table.index) - set(wrong) == {"post-MVP USD", "phase 1 cost", "phase 2 cost", "phases 3-5 cost"}
    assert costs.brief_sum("MVP weeks") == 20


def _not_adding_up(table):
    bad = table[table["verdict"] == "does not add up"]
    return zip(bad.index, bad["claimed"], bad["sum of its parts"], strict=True)


def test_rows_are_those_of_the_briefs_table():
    brief = repo_root().parent / "shared" / "brief" / "4_execution_plan.md"
    if not brief.is_file():
        pytest.skip(f"the brief's documents are not beside this checkout ({brief})")
    pattern = re.compile(
        r"^\| \*\*([\d-]+)\*\* \| .+? \| (?:~?(\d+) weeks?|(\d+) days|Complete) \| \$([\d.,]+)", re.MULTILINE
    )
    told = {
        phase: (int(weeks) if weeks else round(int(days or 0) / 7, 2), float(usd))
        for phase, weeks, days, usd in pattern.findall(brief.read_text())
    }
    assert {entry["phase"]: (entry["weeks"], entry["usd"]) for entry in costs.load_plan()["rows"]} == told
    assert len(told) == 14


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.pop("rates"),
        lambda plan: plan.update(wok=[]),
        lambda plan: plan["work"][0].update(kind="trian"),
        lambda plan: plan["work"][0].update(exampels=3),
        lambda plan: plan["work"][0].pop("stage"),
    ],
    ids=["section missing", "section unknown", "kind unknown", "field unknown", "field missing"],
)
def test_a_misspelled_plan_is_refused(changed_plan, change):
    with pytest.raises(CogumiError, match="plan.yaml"):
        costs.load_plan(changed_plan(change))


def test_nf4_takes_what_bitsandbytes_stores():
    import torch
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(torch.randn(1024, 1024), quant_type="nf4", compress_statistics=True)
    stored = packed.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    part = row(costs.qlora_memory({**LLAMA_3_1_8B}), part="matrices in NF4")
    assert part["bytes"] / shape_counts(LLAMA_3_1_8B).linear == pytest.approx(stored / 1024**2, rel=1e-4)


def test_qlora_of_the_8b_fits_an_h100_and_not_a_small_card():
    table = costs.qlora_memory(LLAMA_3_1_8B, rank=64, tokens=4096)
    assert table.iloc[-1]["verdict"] == "fits in 80 GB"
    assert table.iloc[-1]["bytes"] == table.iloc[:-1]["bytes"].sum()
    assert round(table.iloc[-1]["GB"], 1) == 17.7
    assert costs.qlora_memory(LLAMA_3_1_8B, limit_bytes=16e9).iloc[-1]["verdict"] == "does not fit in 16 GB"


def test_memory_grows_with_tokens_rank_and_kept_activations():
    def total(**change):
        return costs.qlora_memory(LLAMA_3_1_8B, **change).iloc[-1]["GB"]

    assert total(tokens=65536) > 80 > total()
    assert total(rank=128) - total(rank=64) == pytest.approx(16 * 167_772_160 / 1e9)
    assert total(checkpointing=False) - total() == pytest.approx(
        31 * row(costs.qlora_memory(LLAMA_3_1_8B), part="inside of one layer")["GB"]
    )
