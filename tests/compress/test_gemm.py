"""AutoAWQ is not installed here; its format is written by hand, as its source packs it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cogumi_utils.compress.pruning.prune import matrices
from cogumi_utils.compress.quantization import _gemm, children, quantize
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import student

NIBBLES = (0, 2, 4, 6, 1, 3, 5, 7)  # AutoAWQ's order_map: the column whose code is in each nibble, the lowest first
GROUP = 32


def packed(codes: torch.Tensor) -> torch.Tensor:
    """[rows, columns] of 0 to 15 -> int32 [rows, columns / 8]."""
    found = torch.zeros(codes.shape[0], codes.shape[1] // 8, dtype=torch.int64)
    for column in range(found.shape[1]):
        for nibble, place in enumerate(NIBBLES):
            found[:, column] |= codes[:, 8 * column + place].long() << 4 * nibble
    return found.where(found < 1 << 31, found - (1 << 32)).int()


def coded(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """AutoAWQ's three tensors of a matrix [out, in], and the weights that they stand for."""
    parts = weight.unflatten(1, (-1, GROUP))
    scales = ((parts.amax(-1) - parts.amin(-1)) / 15).half()
    zeros = (-parts.amin(-1) / scales).round().clamp(0, 15)
    codes = ((parts / scales[..., None]).round() + zeros[..., None]).clamp(0, 15)
    stands_for = ((codes - zeros[..., None]) * scales[..., None]).flatten(1)
    tensors = {"qweight": packed(codes.flatten(1).T), "qzeros": packed(zeros.T), "scales": scales.T.contiguous()}
    return tensors, stands_for.half()


@pytest.fixture(scope="module")
def written(base, tokenizer, tmp_path_factory):
    """(folder, {matrix: float16 weight}): the base as AutoAWQ would write it, in two files."""
    folder, model = tmp_path_factory.mktemp("gemm"), student.load(base)[0]
    student.save(model.half(), tokenizer, folder)
    tensors, expected = load_file(folder / "model.safetensors"), {}
    for name, module in matrices(model).items():
        del tensors[f"{name}.weight"]
        parts, expected[name] = coded(module.weight.detach().float())
        tensors |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)  # a matrix's parts fall into both files
    for number, some in enumerate((names[::2], names[1::2]), 1):
        save_file({name: tensors[name] for name in some}, folder / f"model-{number:05}-of-00002.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, expected


def test_every_matrix_is_what_its_codes_stand_for(written):
    folder, expected = written
    before = sorted(path.name for path in folder.iterdir())
    model, _ = quantize.load(folder)
    assert model.dtype == torch.float32 and getattr(model.config, "quantization_config", None) is None
    for name, module in matrices(model).items():
        assert torch.equal(module.weight, expected[name].float()), name
    assert before == sorted(path.name for path in folder.iterdir())


def test_it_is_near_its_parent_and_has_no_size_in_bits(written, base, tokenizer, rows):
    folder, _ = written
    near = quantize.fidelities(student.load(base)[0], tokenizer, rows[:24], {"autoawq": folder}, seed=1)["autoawq"]
    assert 0 < near.kl.value < 0.05
    assert children.bits_a_weight({"autoawq": folder}) == {}


def test_only_autoawqs_folders_are_taken_for_one(written, base, tmp_path):
    assert quantize.is_gemm(written[0])
    (tmp_path / "config.json").write_text("{")
    assert not any(quantize.is_gemm(folder) for folder in (base, tmp_path, tmp_path / "nowhere"))


def test_codes_are_not_quantised_again(written, tokenizer, rows, tmp_path):
    with pytest.raises(CogumiError, match="quantised already"):
        quantize.quantise(written[0], tokenizer, rows, method="rtn", group=32, rows=4, length=64, target=tmp_path)


def test_signs_do_not_leak_into_neighbours():
    codes = torch.arange(16).repeat(2, 1)
    assert torch.equal(_gemm._spread(packed(codes)), codes.int())
    assert torch.equal(_gemm._spread(packed(codes.flip(1))), codes.flip(1).int())
