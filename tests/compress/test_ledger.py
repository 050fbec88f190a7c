import pytest

from cogumi_utils.compress import ledger
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import LLAMA_3_1_8B

TINY = {
    "vocab_size": 550,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def step_plan(**step):
    return {"compression": [{"stage": "07_gguf", "step": "2C", "name": "test", "sparsity": 0, "bits": 4, **step}]}


def test_ledger_of_the_briefs_student():
    table = ledger.plan_ledger(LLAMA_3_1_8B).set_index("step")
    megabytes = (table[["planned", "mask", "bound", "encoder"]] / 1e6).round(0).astype(int)
    assert megabytes.to_dict("index") == {
        "start": {"planned": 10000, "mask": 0, "bound": 10941, "encoder": 16061},
        "2A": {"planned": 3500, "mask": 938, "bound": 4767, "encoder": 6625},
        "2B": {"planned": 900, "mask": 938, "bound": 2343, "encoder": 5728},
        "2C": {"planned": 600, "mask": 938, "bound": 2343, "encoder": 5725},
        "2D": {"planned": 500, "mask": 938, "bound": 2343, "encoder": 5725},
        "2E": {"planned": 520, "mask": 938, "bound": 2678, "encoder": 6061},
    }
    assert (
        list(table["verdict"]) == ["impossible: below the bound"] * 2 + ["impossible: smaller than the mask alone"] * 4
    )
    assert table.loc["2E", "planned bits/weight"] == pytest.approx(0.518040, abs=1e-6)


def test_no_real_format_is_below_the_bound():
    for config in (LLAMA_3_1_8B, TINY):
        table = ledger.plan_ledger(config)
        assert (table["encoder"] > table["bound"]).all()


def test_a_tiny_student_gets_the_same_bits_a_weight():
    large, tiny = ledger.plan_ledger(LLAMA_3_1_8B), ledger.plan_ledger(TINY)
    assert tiny["planned bits/weight"].tolist() == pytest.approx(large["planned bits/weight"].tolist())
    assert tiny.loc[tiny["step"] == "2C", "encoder"].item() == 1_360_940
    assert tiny["verdict"].tolist() == large["verdict"].tolist()


def test_the_adapters_rank_shrinks_with_the_student():
    tiny = ledger.plan_ledger(TINY).set_index("step")
    # rank 64 · 256 / 4096 = 4 on q (256+256), k and v (256+128), o (256+256), gate, up, down (256+512)
    adapter = 2 * 4 * 3 * (512 + 384 + 384 + 512 + 3 * 768)
    assert tiny.loc["2E", "encoder"] - tiny.loc["2D", "encoder"] == adapter


def test_written_files_beside_their_bound():
    files = [ledger.File("near", 1000, 500.0, 520), ledger.File("far", 1000, 500.0, 600)]
    files += [ledger.File("repeats", 1000, 500.0, 450)]
    table = ledger.written(files).set_index("file")
    assert table["gap"].round(6).to_dict() == {"near": 0.04, "far": 0.2, "repeats": -0.1}
    assert table["bits/weight"].to_dict() == {"near": 4.16, "far": 4.8, "repeats": 3.6}
    far = "an entropy coder would save more"
    assert list(table["verdict"]) == ["at its bound", far, "at its bound"]
    assert list(ledger.written(files, near=0.2)["verdict"]) == ["at its bound"] * 3
    assert list(ledger.written([]).columns) == list(table.reset_index().columns)


@pytest.mark.parametrize(
    ("planned_mb", "verdict"),
    [
        (5800, "possible"),
        (5000, "above the bound, but the named format writes more"),
        (4000, "impossible: below the bound"),
    ],
)
def test_verdicts(planned_mb, verdict):
    plan = step_plan(planned_mb=planned_mb, encoding="Q5_K_M")
    assert ledger.plan_ledger(LLAMA_3_1_8B, plan)["verdict"].item() == verdict


def test_a_plan_below_its_mask_is_called_so():
    plan = step_plan(planned_mb=900, sparsity=0.65, encoding="awq")
    assert ledger.plan_ledger(LLAMA_3_1_8B, plan)["verdict"].item() == "impossible: smaller than the mask alone"


def test_what_520_mb_hold():
    table = ledger.capacity(LLAMA_3_1_8B, 520e6).set_index("format")
    millions = (table["parameters"] / 1e6).round(0).astype(int)
    assert millions.to_dict() == {
        "bf16": 260, "awq": 729, "F16": 260, "Q8_0": 489, "Q6_K": 634, "Q5_K_M": 729, "Q4_K_M": 850, "Q3_K_M": 1041,
    }  # fmt: skip
    assert table.loc["Q4_K_M", "share"] == pytest.approx(0.1058, abs=1e-4)


def test_bitmask_keeps_one_bit_a_weight():
    assert ledger.encoder_bytes(LLAMA_3_1_8B, "bitmask", 0.65) == pytest.approx(6.62497e9, rel=1e-6)
    assert ledger.encoder_bytes(LLAMA_3_1_8B, "bf16", 0.65) == 2 * 8_030_261_248


def test_unknown_encoding_is_refused():
    with pytest.raises(CogumiError, match="bitmask"):
        ledger.plan_ledger(TINY, step_plan(planned_mb=1, encoding="zip"))
