import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, MistralForCausalLM

from cogumi_utils import schema
from cogumi_utils.compress.pruning.prune import matrices
from cogumi_utils.compress.quantization import _awq, quantize
from cogumi_utils.compress.quantization._packed import Checkpoint
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import group_bits
from cogumi_utils.model import generate, student

PATHS = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
SETTINGS = {"group": 32, "rows": 8, "length": 64}
METHODS = ("awq", "awq+gptq", "gptq", "rtn")


@pytest.fixture(scope="module")
def parent(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def written(base, tokenizer, rows, tmp_path_factory):
    """{method: four bits in groups of 32}"""
    folder = tmp_path_factory.mktemp("quantised")
    return {
        method: quantize.quantise(base, tokenizer, rows, method=method, target=folder / method, **SETTINGS)
        for method in METHODS
    }


@pytest.fixture(scope="module")
def folders(written):
    return {method: one.folder for method, one in written.items()}


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("method", METHODS)
def test_the_configuration_says_what_the_codes_are(written, method):
    config = json.loads((written[method].folder / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["format"]) == ("compressed-tensors", "pack-quantized")
    (group,) = config["config_groups"].values()
    weights = group["weights"]
    assert [weights[part] for part in ("num_bits", "group_size", "symmetric", "type")] == [4, 32, False, "int"]
    assert config["ignore"] == ["lm_head"]
    assert written[method].bits == dict.fromkeys(Checkpoint(written[method].folder).names, 4)
    assert len(written[method].bits) == 7
    assert written[method].tokens == (0 if method == "rtn" else 8 * 64)


@pytest.mark.parametrize("method", METHODS)
def test_the_folder_holds_a_model_and_nothing_else(folders, method):
    names = {path.name for path in folders[method].iterdir()}
    scales = {"awq_scales.safetensors"} if "awq" in method else set()
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names == expected | {"chat_template.jinja"} | scales
    assert json.loads((folders[method] / "config.json").read_text())["dtype"] == "float16"


@pytest.mark.parametrize("method", METHODS)
def test_it_loads_in_transformers_and_answers_alike_by_either_way(folders, method, tokenizer, rows):
    prompts = [example.prompt for example in rows[:6]]
    unpacked, _ = quantize.load(folders[method])
    alone = AutoModelForCausalLM.from_pretrained(folders[method], dtype=torch.float32)
    packed, _ = quantize.load(folders[method], packed=True)
    for model in (alone, packed):
        assert model.get_submodule("model.layers.0.mlp.down_proj").weight_packed.dtype == torch.int32
    answers = [generate.answerer(model, tokenizer, max_new_tokens=12)(prompts) for model in (unpacked, alone, packed)]
    assert answers[0] == answers[1] == answers[2]
    assert any(answers[0])


def test_the_stated_bits_are_those_of_the_configuration(base, tokenizer, rows, folders, tmp_path):
    names = list(matrices(student.load(base)[0]))
    for bits in (3, {name: 2 + place // 4 for place, name in enumerate(names)}):
        quantize.quantise(base, tokenizer, rows, method="rtn", bits=bits, target=tmp_path / str(type(bits)), **SETTINGS)
    assert quantize.stated_bits(folders["awq"]) == 4
    assert quantize.stated_bits(tmp_path / str(int)) == 3
    with pytest.raises(CogumiError, match="2, 3 bits in"):
        quantize.stated_bits(tmp_path / str(dict))


def test_it_answers_nearly_like_its_parent(parent, tokenizer, rows, folders):
    found = quantize.fidelities(parent, tokenizer, rows[:24], folders, seed=1)
    assert all(0 < one.kl.value < 0.05 and one.agreement.value > 0.9 for one in found.values()), found


def nearest(weight: torch.Tensor, group: int) -> torch.Tensor:
    """Codes 0 to 15 by hand: the smallest and the largest weight of a group, and zero, are on the grid."""
    parts = weight.double().unflatten(1, (-1, group))
    low, high = parts.amin(-1, keepdim=True).clamp(max=0), parts.amax(-1, keepdim=True).clamp(min=0)
    step = (high - low) / 15
    return ((parts / step).round() + (-low / step).round()).clamp(0, 15).flatten(1).long()


def test_round_to_nearest_takes_the_nearest_code(parent, folders):
    checkpoint = Checkpoint(folders["rtn"])
    for name, module in matrices(parent).items():
        different = checkpoint.codes(name) != nearest(module.weight.detach(), 32)
        assert different.float().mean() < 0.001  # a tie may fall to either side


@pytest.mark.parametrize("method", ["gptq", "rtn"])
def test_read_and_loaded_weights_are_the_same(folders, method):
    model, checkpoint = quantize.load(folders[method])[0], Checkpoint(folders[method])
    for name, module in matrices(model).items():
        assert torch.equal(checkpoint.weight(name), module.weight)


def test_what_is_not_a_code_is_the_parents_in_sixteen_bits(parent, folders):
    model = quantize.load(folders["gptq"])[0]
    for name in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight"):
        assert torch.equal(model.get_parameter(name), parent.get_parameter(name).half().float())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_scales_are_undone_on_columns_and_rows():
    weight = torch.arange(1.0, 7).view(2, 3)
    columns, rows = torch.tensor([1.0, 2, 4]), torch.tensor([3.0, 5])
    scales = {"x.v_proj": columns, "x.o_proj": rows, "x.q_proj": columns}
    torch.testing.assert_close(_awq.undo("x.v_proj", weight * columns / rows[:, None], scales), weight)
    torch.testing.assert_close(_awq.undo("x.q_proj", weight * columns, scales), weight)
    assert _awq.undo("x.k_proj", weight, {}) is weight


@pytest.mark.parametrize("method", ["awq", "awq+gptq"])
def test_awqs_own_scales_are_undone(parent, tokenizer, rows, base, method, tmp_path):
    quantize.quantise(base, tokenizer, rows, method=method, bits=8, target=tmp_path / "eight", **SETTINGS)
    checkpoint, model = Checkpoint(tmp_path / "eight"), quantize.load(tmp_path / "eight")[0]
    for name, module in matrices(parent).items():
        weight = module.weight.detach()
        assert (checkpoint.weight(name) - weight).norm() < 0.01 * weight.norm()
        assert (
            model.get_submodule(name).weight - weight
        ).norm() > 0.02 * weight.norm()  # they were there: 0.04 to 0.05


def test_errors_of_the_layers_are_those_of_their_outputs(parent, tokenizer, rows, folders):
    table = quantize.layer_errors(parent, tokenizer, rows, folders, rows=8, length=64).set_index("matrix")
    assert list(table.index) == list(matrices(parent))
    assert list(table.columns) == list(METHODS)
    name, inputs = "model.layers.0.mlp.up_proj", []
    hook = parent.get_submodule(name).register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    data = quantize.calibration_rows(tokenizer, rows, rows=8, length=64, seed=1)
    with torch.no_grad():
        parent(input_ids=data.ids, position_ids=data.positions, use_cache=False)
    hook.remove()
    x, weight = inputs[0].flatten(0, -2), parent.get_submodule(name).weight.detach()
    error = (x @ (weight - Checkpoint(folders["gptq"]).weight(name)).T).norm() / (x @ weight.T).norm()
    assert table.gptq[name] == pytest.approx(error.item(), rel=1e-4)
    assert table.gptq.mean() < table.rtn.mean()
    assert table.awq.mean() < table.rtn.mean()
    assert ((table > 0) & (table < 0.2)).all(axis=None)


def test_more_bits_lose_less_and_weigh_more(parent, base, tokenizer, rows, tmp_path):
    children = {}
    for bits in (2, 3, 8):
        children[bits] = tmp_path / str(bits)
        quantize.quantise(base, tokenizer, rows, method="rtn", bits=bits, target=children[bits], **SETTINGS)
    kl = [one.kl.value for one in quantize.fidelities(parent, tokenizer, rows[:24], children, seed=1).values()]
    assert kl[0] > 3 * kl[1] > 100 * kl[2] > 0
    sizes = quantize.size_table(children)
    assert list(sizes.bytes) == [(folder / "model.safetensors").stat().st_size for folder in children.values()]
    assert sizes.bytes.is_monotonic_increasing


@pytest.mark.parametrize("symmetric", [True, False])
def test_sizes_are_counted_with_scales_and_the_bound_without_waste(base, tokenizer, rows, symmetric, tmp_path):
    quantize.quantise(base, tokenizer, rows, method="rtn", symmetric=symmetric, target=tmp_path, **SETTINGS)
    table = quantize.code_table(tmp_path)
    assert list(table.weights) == [64 * 64] * 4 + [64 * 128] * 3
    shape = 128 / table.weights  # two int64
    assert list(table.stored - shape) == [group_bits(4, 32, zero_bits=0 if symmetric else 4)] * 7
    assert ((table.entropy > 3) & (table.entropy < 4)).all()
    (size,) = quantize.size_table({"x": tmp_path}).itertuples()
    saved = (table.weights * (4 - table.entropy)).sum() / 8
    assert size.bound == pytest.approx(size.bytes - saved)
    assert size.gap == pytest.approx(size.bytes / size.bound - 1)


@pytest.mark.parametrize("method", ["awq", "rtn"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_pruned_weights_stay_zero(base, tokenizer, rows, method, symmetric, tmp_path):
    model = student.load(base)[0]
    for module in matrices(model).values():
        module.weight.data[module.weight.abs() < module.weight.abs().median()] = 0
    quantize.quantise(model, tokenizer, rows, method=method, symmetric=symmetric, target=tmp_path, **SETTINGS)
    checkpoint = Checkpoint(tmp_path)
    for name, module in matrices(model).items():
        assert (checkpoint.weight(name)[module.weight == 0] == 0).all()


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_a_second_run_writes_the_same_bytes_and_a_model_serves_as_its_folder(
    parent, tokenizer, rows, folders, method, tmp_path
):
    before = {name: tensor.clone() for name, tensor in parent.state_dict().items()}
    quantize.quantise(parent, tokenizer, rows, method=method, target=tmp_path, **SETTINGS)
    assert digest(tmp_path) == digest(folders[method])
    assert before.keys() == parent.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in parent.state_dict().items())


def test_other_calibration_text_makes_other_codes(base, tokenizer, rows, folders, tmp_path):
    quantize.quantise(base, tokenizer, rows, method="gptq", target=tmp_path, seed=2, **SETTINGS)
    assert digest(tmp_path) != digest(folders["gptq"])


FROM_SCRATCH = """
import sys
from pathlib import Path
from cogumi_utils import schema
from cogumi_utils.compress.quantization import quantize
from cogumi_utils.model import student

base, rows, target = sys.argv[1:]
settings = {"group": 32, "rows": 8, "length": 64}
quantize.quantise(base, student.load_tokenizer(base), schema.read_examples(rows), target=Path(target), **settings)
quantize.load(target)
"""


def test_a_fresh_process_prints_nothing_and_writes_only_the_target(base, rows, folders, tmp_path):
    """What is told once a process, at import or by the first run, no later run shows."""
    (tmp_path / "here").mkdir()
    schema.write_examples(tmp_path / "rows.parquet", rows)
    command = [sys.executable, "-c", FROM_SCRATCH, str(base), str(tmp_path / "rows.parquet"), str(tmp_path / "there")]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True, env={**os.environ, **PATHS})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "here").iterdir()) == []
    assert digest(tmp_path / "there") == digest(folders["awq"])


def test_no_session_is_left(folders):
    from llmcompressor.core import active_session

    assert active_session().state.model is None


def test_pinning_is_off_only_inside_and_only_without_an_accelerator(monkeypatch):
    from llmcompressor.pipelines.cache import IntermediatesCache

    original = IntermediatesCache.pin_memory
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(KeyError), _awq.unpinned():
        assert IntermediatesCache.pin_memory is not original
        IntermediatesCache.pin_memory(IntermediatesCache(), 0)  # would look for a batch that is not there
        raise KeyError
    assert IntermediatesCache.pin_memory is original
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with _awq.unpinned():
        assert IntermediatesCache.pin_memory is original


def test_each_matrix_may_have_its_own_bits(base, tokenizer, rows, tmp_path):
    names = list(matrices(student.load(base)[0]))
    bits = dict(zip(names, (3, 3, 3, 8, 2, 2, 4), strict=True))
    found = quantize.quantise(base, tokenizer, rows, method="gptq", bits=bits, target=tmp_path, **SETTINGS)
    assert found.bits == bits
    table = quantize.code_table(tmp_path)
    assert dict(zip(table.matrix, table.bits, strict=True)) == bits
    groups = json.loads((tmp_path / "config.json").read_text())["quantization_config"]["config_groups"]
    assert sorted(group["weights"]["num_bits"] for group in groups.values()) == [2, 3, 4, 8]
    model, checkpoint = quantize.load(tmp_path)[0], Checkpoint(tmp_path)
    assert all(torch.equal(checkpoint.weight(name), model.get_submodule(name).weight) for name in names)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "nf4"}, r"a method among awq, awq\+gptq, gptq, rtn, autoawq"),
        ({"bits": 1}, "2 to 8 bits"),
        ({"bits": 9}, "2 to 8 bits"),
        ({"bits": 4.0}, "2 to 8 bits"),
        ({"bits": {"model.layers.0.mlp.up_proj": 4}}, "bits for each matrix"),
        ({"group": 128}, "a group that divides the 64 columns"),
        ({"group": 0}, "a group that divides"),
        ({"method": "autoawq", "bits": 3}, "4 bits for autoawq"),
        ({"method": "autoawq"}, "no longer maintained"),
        ({"examples": []}, "calibrate on"),
    ],
    ids=range(10),
)
def test_bad_input_is_refused_before_any_work(base, tokenizer, rows, changes, expected, tmp_path):
    arguments = {"examples": rows, **SETTINGS, **changes}
    with pytest.raises(CogumiError, match=expected):
        quantize.quantise(base, tokenizer, target=tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()


def test_other_architectures_are_refused(tokenizer, rows, tmp_path):
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 1, "num_key_value_heads": 1}  # fmt: skip
    with pytest.raises(CogumiError, match="Llama"):
        quantize.quantise(MistralForCausalLM(MistralConfig(**shape)), tokenizer, rows, target=tmp_path)


def test_codes_are_not_quantised_again(tokenizer, rows, folders, tmp_path):
    with pytest.raises(CogumiError, match="quantised already"):
        quantize.quantise(folders["rtn"], tokenizer, rows, target=tmp_path, **SETTINGS)


def test_a_folder_without_codes_is_refused(base, tmp_path):
    for folder in (base, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CogumiError, match="pack-quantized"):
            quantize.load(folder)
    LlamaConfig(quantization_config={"quant_method": "awq", "format": "gemm"}).save_pretrained(tmp_path)
    with pytest.raises(CogumiError, match="awq, format gemm"):
        quantize.code_table(tmp_path)


def test_codes_by_eye():
    found = quantize.codes_by_eye()
    nearest = (found.weight * 10).round() / 10  # a tenth is the distance of the levels
    torch.testing.assert_close(found.after["nearest"], nearest)
    torch.testing.assert_close((found.after["GPTQ"] * 10).round() / 10, found.after["GPTQ"])
    errors = list(found.error.values())
    assert errors[0] > 2 * errors[1] and errors[0] > 2 * errors[2]


def test_codes_by_eye_gptq_by_formula():
    """Column by column: what rounding leaves of a column moves the columns behind it by the inverse Hessian's row."""
    found = quantize.codes_by_eye()
    weight, hessian = found.weight.double(), found.inputs.double().T @ found.inputs.double()
    hessian += 0.01 * hessian.diag().mean() * torch.eye(4)
    for j in range(4):
        inverse = torch.linalg.inv(hessian[j:, j:])
        rounded = (weight[:, j] * 10).round().clamp(-7, 8) / 10
        weight[:, j:] -= ((weight[:, j] - rounded) / inverse[0, 0])[:, None] * inverse[0]
        weight[:, j] = rounded
    torch.testing.assert_close(found.after["GPTQ"].double(), weight, atol=1e-5, rtol=0)


def test_codes_by_eye_awq_is_the_best_power_of_the_inputs():
    found = quantize.codes_by_eye()
    size, errors = found.inputs.abs().mean(0).double(), []
    for power in torch.arange(20) / 20:
        scaled = found.weight.double() * size**power
        low, high = scaled.amin(1, keepdim=True), scaled.amax(1, keepdim=True)
        step, zero = (high - low) / 15, (-low / ((high - low) / 15)).round()
        other = ((scaled / step).round().clamp(-zero, 15 - zero)) * step / size**power
        output = found.inputs.double() @ found.weight.double().T
        errors.append(float((found.inputs.double() @ other.T - output).norm() / output.norm()))
    assert found.error["AWQ"] == pytest.approx(min(errors), rel=1e-3)
