import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import speed
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


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_generation_is_bound_by_bandwidth():
    assert speed.generation_bound(5.725e9, 273e9) == pytest.approx(47.69, abs=0.01)
    assert speed.kv_bytes_per_token(LLAMA_3_1_8B) == 131_072


def test_best_rate_takes_the_least_disturbed_call():
    clock, durations = Clock(), iter([9.0, 4.0, 2.0, 5.0, 5.0])

    def action():
        clock.now += next(durations)

    assert speed.best_rate(action, 100, seconds=11, clock=clock) == 50  # the first call only warms up
    assert list(durations) == [5.0]  # 4 + 2 + 5 seconds are enough


def test_best_rate_calls_at_least_three_times():
    clock, calls = Clock(), []

    def action():
        calls.append(1)
        clock.now += 10

    assert speed.best_rate(action, 20, seconds=1, clock=clock) == 2
    assert len(calls) == 4


def test_memory_bandwidth_counts_the_bytes_that_move(monkeypatch):
    amounts = []

    def record(action, amount, seconds, clock):
        action()
        amounts.append(amount)
        return amount

    monkeypatch.setattr(speed, "best_rate", record)
    assert speed.memory_bandwidth(working_set=1_600_000, threads=2) == 1_600_000
    assert amounts == [1_600_000, 800_000]  # a copy reads and writes, a sum only reads


def test_memory_bandwidth_of_this_machine_is_plausible():
    assert 1e8 < speed.memory_bandwidth(seconds=0.02, working_set=4e6) < 1e13


def test_matmul_peak_of_this_machine_is_plausible():
    assert 1e7 < speed.matmul_peak(seconds=0.02, size=128, dtype="float32") < 1e14


@pytest.mark.parametrize("trainable", ["none", "lora", "all"])
def test_training_flops_are_what_torch_counts(trainable):
    """torch counts full attention, we count the causal half: so its context is twice ours."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**TINY, attn_implementation="eager"))
    if trainable == "lora":
        model.enable_input_require_grads()  # else the first layer's backward is cut short
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    tokens = torch.zeros(2, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counted, torch.set_grad_enabled(trainable != "none"):
        loss = model(input_ids=tokens, labels=tokens).loss
        if trainable != "none":
            loss.backward()
    ours = speed.training_flops_per_token(TINY, trainable, context=2 * 64, rank=8 if trainable == "lora" else 0)
    assert ours * tokens.numel() == pytest.approx(counted.get_total_flops(), rel=0.002)


def test_mfu_of_the_published_lora_rate():
    flops = speed.training_flops_per_token(LLAMA_3_1_8B, "lora", context=500, rank=64)
    assert flops == pytest.approx(31.418e9, rel=1e-4)
    assert speed.mfu(12_500, flops, speed.device("H100").bf16_flops) == pytest.approx(0.3971, abs=1e-4)


@pytest.mark.parametrize(
    ("spelled", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("Tesla T4", None),
    ],
)
def test_devices_by_the_name_torch_gives(spelled, flops):
    assert speed.device(spelled).bf16_flops == flops


@pytest.mark.parametrize("spelled", ["NVIDIA T400", "NVIDIA GH200 480GB", "cpu"])
def test_unknown_devices_are_not_guessed(spelled):
    with pytest.raises(CogumiError, match="DEVICES"):
        speed.device(spelled)


def test_unknown_training_mode_is_refused():
    with pytest.raises(CogumiError, match="adapters"):
        speed.training_flops_per_token(TINY, "qlora")


class FakeRunner:
    """Takes as long as it is told, and notes what it is asked."""

    weight_bytes, kv_bytes = 1000, 2

    def __init__(self, clock, name, notes, prompts, news):
        self.clock, self.name, self.notes = clock, name, notes
        self.prompts, self.news = iter(prompts), iter(news)

    def prompt(self, tokens):
        self.notes.append((self.name, "prompt", tokens))
        self.clock.now += next(self.prompts)

    def generate(self, tokens):
        self.notes.append((self.name, "generate", tokens))
        self.clock.now += next(self.news)


@pytest.fixture
def timed():
    clock, notes, rates = Clock(), [], iter([9e9, 1e3, 5e3, 2e3, 3e3, 4e3, 7e3, 6e3])
    runners = {
        "slow": FakeRunner(clock, "slow", notes, [99, 4, 2, 8], [99, 16, 8, 32]),
        "fast": FakeRunner(clock, "fast", notes, [99, 1, 1, 1], [99, 2, 2, 2]),
    }
    working_sets = []

    def bandwidth(working_set):
        working_sets.append(working_set)
        return next(rates)

    found = speed.time_runners(runners, bandwidth=bandwidth, prompt_tokens=8, new_tokens=16, rounds=3, clock=clock)
    return found, notes, working_sets


def test_runners_take_turns_and_the_first_round_is_not_counted(timed):
    found, notes, working_sets = timed
    turn = [("slow", "prompt", 8), ("slow", "generate", 16), ("fast", "prompt", 8), ("fast", "generate", 16)]
    assert notes == 4 * turn and working_sets == 8 * [1000]
    assert found[0].prompt_seconds == (4, 2, 8) and found[0].new_seconds == (16, 8, 32)
    assert [row.bandwidth for row in found] == [7e3, 6e3]  # the best of the counted rounds
    assert [row.bytes_per_token for row in found] == 2 * [1000 + 2 * (8 + 16 / 2)]


def test_speed_table_has_medians_bounds_and_shares(timed):
    table = speed.speed_table(timed[0], {"slow": 3e6}).set_index("model")
    slow = table.loc["slow"]
    assert slow["prompt tokens/s"] == 8 / 4 and slow["first token, ms"] == 4000
    assert (slow["generated tokens/s"], slow["slowest"], slow["fastest"]) == (1, 0.5, 2)
    assert slow["bound, tokens/s"] == pytest.approx(7e3 / 1032)
    assert slow["share of bound"] == pytest.approx(1032 / 7e3)
    assert slow["peak memory, MB"] == 3 and table["peak memory, MB"].isna()["fast"]
