"""llama.cpp's quantiser through our face: the types that were planned, the weights nearer with importance."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize
from gguf_models import KINDS, LLAMA_3_1, save, small_tokenizer

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf import types as gguf_types
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes

WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
SHAPES = {
    "tied": WIDE,
    "untied": {**WIDE, "tie_word_embeddings": False},
    "17 layers": {**WIDE, "num_hidden_layers": 17},
    "80 layers, grouped": {**WIDE, "num_hidden_layers": 80, "intermediate_size": 256},
    "80 layers, not grouped": {**WIDE, "num_hidden_layers": 80, "intermediate_size": 256, "num_key_value_heads": 4},
    "rows of 64": {},
    "rows of 64, untied": KINDS["untied"],
    "rows of 40": {"hidden_size": 40, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 96},
    "rotary divisors and biases": {**WIDE, **KINDS["biases"], "rope_parameters": LLAMA_3_1},
}


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def make(tokenizer, tmp_path_factory):
    """Shape → its 16-bit file, made once."""
    made = {}

    def file(shape: str = "tied", dtype: str = "F16"):
        if (shape, dtype) not in made:
            folder = save(tmp_path_factory.mktemp("models") / "m", tokenizer, **SHAPES[shape])
            made[shape, dtype] = gguf_export.export(folder, folder.parent / "m.gguf", dtype=dtype)
        return made[shape, dtype]

    return file


@pytest.fixture(scope="module")
def f16(make):
    return make()


def matrix(file, name: str) -> np.ndarray:
    (found,) = (tensor for tensor in gguf_read.read(file).tensors if tensor.name == name)
    return dequantize(found.data, found.tensor_type)


@pytest.mark.parametrize("kind", gguf_types.KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_types_and_bytes_are_foretold(shape, kind, make, tmp_path):
    reader = gguf_read.read(make(shape))
    file = gguf_types.quantise(make(shape), tmp_path / "q.gguf", kind, fallback=True)
    types = gguf_types.planned_types(reader, kind)
    assert gguf_read.block_types(gguf_read.read(file)) == types
    assert file.stat().st_size == gguf_types.planned_bytes(reader, types)
    config = {**gguf_read.configuration(reader), "attention_bias": "biases" in shape, "mlp_bias": "biases" in shape}
    extra = sum(t.n_bytes for t in reader.tensors if t.name == gguf_export.ROPE_FREQUENCIES)
    assert sizes.gguf_bytes(config, kind) + extra == sum(t.n_bytes for t in gguf_read.read(file).tensors)


def test_types_of_the_tied_student_by_hand(f16, tmp_path):
    types = gguf_read.block_types(gguf_read.read(gguf_types.quantise(f16, tmp_path / "q.gguf", "Q3_K_M")))
    assert types["token_embd.weight"] == "Q6_K"  # the output matrix too
    assert [types[f"blk.1.{name}.weight"] for name in ("attn_q", "attn_v", "attn_output", "ffn_up", "ffn_down")] == [
        "Q3_K", "Q5_K", "Q4_K", "Q3_K", "Q4_K",
    ]  # fmt: skip
    assert types["output_norm.weight"] == "F32"


@pytest.mark.parametrize("kind", ["Q3_K_M", "Q4_K_M", "Q5_K_M"])
def test_importance_brings_the_important_columns_nearer(kind, f16, tmp_path):
    name, columns = "blk.0.attn_q.weight", np.arange(256) % 8 == 0
    weighed = gguf_types.quantise(
        f16, tmp_path / "i.gguf", kind, importance={name: np.where(columns, 100, 0.01).astype(np.float32)}
    )
    plain = gguf_types.quantise(f16, tmp_path / "p.gguf", kind)
    errors = [np.square(matrix(file, name) - matrix(f16, name))[:, columns].mean() for file in (weighed, plain)]
    assert errors[0] < 0.9 * errors[1]
    other = "blk.0.attn_k.weight"
    assert (matrix(weighed, other) == matrix(plain, other)).all()  # a matrix without importance stays as it was


@pytest.mark.parametrize("kind", gguf_types.KINDS)
def test_columns_without_any_input_leave_the_weights_finite(kind, f16, tmp_path):
    dead = np.ones(256, np.float32)
    dead[:200] = 0  # whole blocks, as a pruned column gives them
    names = ["blk.0.attn_q.weight", "blk.0.attn_output.weight", "blk.0.ffn_gate.weight"]
    zeros = {"blk.1.attn_q.weight": np.zeros(256, np.float32)}
    file = gguf_types.quantise(f16, tmp_path / "q.gguf", kind, importance={**dict.fromkeys(names, dead), **zeros})
    for name in [*names, *zeros]:
        assert np.isfinite(matrix(file, name)).all()
    seen = np.abs(matrix(file, names[0]) - matrix(f16, names[0]))[:, 200:].max()
    assert seen < 0.5 * np.abs(matrix(f16, names[0])).max()


def test_given_types_leave_the_others_alone(make, tmp_path):
    f16, given = make("17 layers"), {"blk.0.attn_v.weight": "Q8_0", "blk.1.ffn_down.weight": "F16"}
    plain = gguf_types.quantise(f16, tmp_path / "p.gguf", "Q3_K_M")
    file = gguf_types.quantise(f16, tmp_path / "q.gguf", "Q3_K_M", tensor_types=given)
    assert gguf_read.block_types(gguf_read.read(file)) == {**gguf_read.block_types(gguf_read.read(plain)), **given}


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_other_unquantised_files_do_as_well(dtype, make, tmp_path):
    f16, other = (gguf_types.quantise(make("tied", d), tmp_path / f"{d}.gguf", "Q8_0") for d in ("F16", dtype))
    assert gguf_read.block_types(gguf_read.read(f16)) == gguf_read.block_types(gguf_read.read(other))


def test_threads_change_nothing(make, tmp_path):
    one, two = (gguf_types.quantise(make(), tmp_path / f"{n}.gguf", "Q4_K_M", threads=n).read_bytes() for n in (1, 2))
    assert one == two


def test_the_file_says_what_it_is(f16, tmp_path):
    reader = gguf_read.read(gguf_types.quantise(f16, tmp_path / "q.gguf", "Q5_K_M"))
    assert reader.get_field("general.file_type").contents() == gguf.LlamaFileType.MOSTLY_Q5_K_M


def test_nothing_is_printed(f16, tmp_path, capfd):
    gguf_types.quantise(f16, tmp_path / "q.gguf", "Q4_K_M")
    assert capfd.readouterr() == ("", "")


def test_rows_that_no_k_quant_divides_are_refused(make, tmp_path):
    with pytest.raises(CogumiError, match="multiple of 256(.|\n)*64(.|\n)*Q8_0"):
        gguf_types.quantise(make("rows of 64"), tmp_path / "q.gguf", "Q5_K_M")
    gguf_types.quantise(make("rows of 64"), tmp_path / "q.gguf", "Q8_0")
    with pytest.raises(CogumiError, match="take F16"):
        gguf_types.quantise(make("rows of 40"), tmp_path / "r.gguf", "Q5_K_M")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "Q5"}, "Q5_K_M"),
        ({"importance": {"blk.9.attn_q.weight": np.ones(256)}}, "no such matrix"),
        ({"importance": {"blk.0.attn_q.weight": np.ones(255)}}, "255"),
        ({"importance": {"blk.0.attn_q.weight": np.full(256, np.nan)}}, "finite"),
        ({"importance": {"blk.0.attn_q.weight": np.full(256, -1.0)}}, "at least 0"),
        ({"tensor_types": {"blk.9.attn_q.weight": "Q6_K"}}, "blk.9"),
        ({"tensor_types": {"output_norm.weight": "Q6_K"}}, "output_norm"),
        ({"tensor_types": {"blk.0.attn_q.weight": "Q7_K"}}, "Q7_K"),
    ],
)
def test_what_llama_cpp_would_leave_out_is_refused(arguments, message, f16, tmp_path):
    with pytest.raises(CogumiError, match=message):
        gguf_types.quantise(f16, tmp_path / "q.gguf", **{"kind": "Q4_K_M", **arguments})
    assert not list(tmp_path.iterdir())


def test_quantising_twice_is_refused(f16, tmp_path):
    file = gguf_types.quantise(f16, tmp_path / "q.gguf", "Q8_0")
    with pytest.raises(CogumiError, match="loses twice"):
        gguf_types.quantise(file, tmp_path / "r.gguf", "Q4_K_M")


def test_a_broken_file_leaves_the_old_target(f16, tmp_path):
    target = tmp_path / "q.gguf"
    target.write_bytes(b"old")
    garbled = bytearray(f16.read_bytes())
    garbled[-4096:] = b"\xff" * 4096  # NaN
    (tmp_path / "bad.gguf").write_bytes(garbled)
    with pytest.raises(CogumiError, match="invalid data"):
        gguf_types.quantise(tmp_path / "bad.gguf", target, "Q8_0")
    assert target.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
