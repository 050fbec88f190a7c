import errno
import hashlib
import json
import resource
import struct

import numpy as np
import pytest
import torch
import zstandard
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from cogumi_utils.compress import _streams, fourbit
from cogumi_utils.compress.lora import _container, pack, sparsity
from cogumi_utils.compress.lora._dictionary import header_dictionary
from cogumi_utils.errors import CogumiError

SIZES = {"vocab_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, **SIZES}
LARGE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, **SIZES}


def llama(shape: dict) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def saved_adapter(folder, shape: dict, rank: int):
    """A PEFT adapter on all linear layers whose factors differ in size from module to module, as trained ones do."""
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(llama(shape), settings)
    generator = np.random.default_rng(0)
    weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for name in sorted(weights):
        values = 0.05 * np.exp(0.7 * generator.standard_normal()) * generator.standard_normal(weights[name].shape)
        weights[name] = torch.tensor(values, dtype=torch.float32)
    set_peft_model_state_dict(adapted, weights)
    adapted.peft_config["default"].target_modules = sorted(adapted.peft_config["default"].target_modules)  # was a set
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return saved_adapter(tmp_path_factory.mktemp("small"), SMALL, rank=4)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return saved_adapter(tmp_path_factory.mktemp("large"), LARGE, rank=32)


@pytest.fixture
def packed(small, tmp_path):
    pack.pack_adapter(small, tmp_path / "adapter.cgm", sparsity=0.6, group_size=32)
    return tmp_path / "adapter.cgm"


def forged(packed, change):
    """`packed` again with another header or payload, all digests right."""
    contents = _container.read(packed)
    header, payload = change(contents.header, contents.payload)
    packed.write_bytes(_container.assemble(header, payload, 19))
    return packed


# what is inside


def test_unpacked_adapter_gives_the_logits_of_the_pruned_and_quantised_one(small, packed, tmp_path):
    weights = load_file(small / pack.WEIGHTS)
    masks = sparsity.prune_masks(weights, 0.6)
    for name, mask in masks.items():
        turned = (lambda tensor: tensor) if "lora_A" in name else (lambda tensor: tensor.T)
        values = turned(weights[name])[turned(mask)].numpy()
        weights[name] = torch.zeros_like(weights[name])
        turned(weights[name])[turned(mask)] = torch.from_numpy(fourbit.decode(fourbit.encode(values, 32), 32))
    direct = PeftModel.from_pretrained(llama(SMALL), small)
    ids = torch.arange(24).view(2, 12)
    before = direct(input_ids=ids).logits
    set_peft_model_state_dict(direct, weights)
    expected = direct(input_ids=ids).logits
    unpacked = PeftModel.from_pretrained(llama(SMALL), pack.unpack_adapter(packed, tmp_path / "unpacked"))
    assert torch.equal(unpacked(input_ids=ids).logits, expected)
    assert not torch.allclose(before, expected, atol=1e-3)


def test_configuration_comes_back_to_the_byte(small, packed, tmp_path):
    folder = pack.unpack_adapter(packed, tmp_path / "unpacked")
    assert (folder / pack.CONFIG).read_bytes() == (small / pack.CONFIG).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [pack.CONFIG, pack.WEIGHTS]


def test_unpacked_adapter_packs_to_the_same_weights(packed, tmp_path):
    once = load_file(pack.unpack_adapter(packed, tmp_path / "once") / pack.WEIGHTS)
    masks = {name: tensor != 0 for name, tensor in once.items()}
    pack.pack_adapter(tmp_path / "once", tmp_path / "again.cgm", sparsity=0.6, group_size=32, masks=masks)
    twice = load_file(pack.unpack_adapter(tmp_path / "again.cgm", tmp_path / "twice") / pack.WEIGHTS)
    assert all(torch.allclose(once[name], twice[name], rtol=1e-5, atol=1e-7) for name in once)


@pytest.mark.parametrize(
    ("share", "size", "gap"),
    [(0.78, 42_198, 0.0208), (0.8, 38_530, 0.0226), (0.85, 29_336, 0.0297)],
    ids=["78", "80", "85"],
)
def test_file_is_within_five_percent_of_the_bound(large, tmp_path, share, size, gap):
    report = pack.pack_adapter(large, tmp_path / "adapter.cgm", sparsity=share, group_size=64)
    assert report.bytes_file == (tmp_path / "adapter.cgm").stat().st_size
    assert (report.parameters, report.kept) == (262_144, 262_144 - round(share * 262_144))
    assert (report.bytes_file, round(report.gap, 4)) == (size, gap)
    assert report.gap < 0.05


def test_report_adds_up(large, tmp_path):
    report = pack.pack_adapter(large, tmp_path / "adapter.cgm", sparsity=0.8, group_size=64)
    parts = report.bytes_header + report.bytes_mask + report.bytes_codes + report.bytes_scales
    assert report.bytes_file == parts
    assert report.bytes_dense == sum(path.stat().st_size for path in large.iterdir() if path.name != "README.md")
    original = load_file(large / pack.WEIGHTS)
    masks = sparsity.prune_masks(original, 0.8)
    pruned = {name: original[name] * masks[name] for name in original}
    decoded = load_file(pack.unpack_adapter(tmp_path / "adapter.cgm", tmp_path / "unpacked") / pack.WEIGHTS)
    assert report.relative_error == sparsity.product_error(pruned, decoded)
    assert report.pruning_error == sparsity.product_error(original, pruned)
    assert report.max_error == max(float((decoded[name] - pruned[name]).abs().max()) for name in original)
    assert all(not decoded[name][~masks[name]].any() for name in original)
    assert report.table().set_index("quantity")["value"]["bytes_file"] == report.bytes_file
    assert report.file("one").gap == pytest.approx(report.gap) and report.file("one").weights == report.parameters


def test_equal_input_gives_equal_bytes(small, packed, tmp_path):
    pack.pack_adapter(small, tmp_path / "again.cgm", sparsity=0.6, group_size=32)
    assert (tmp_path / "again.cgm").read_bytes() == packed.read_bytes()


def test_inspect_names_the_base_and_the_sizes(packed):
    found = pack.inspect(packed)
    assert (found["version"], found["base"], found["sparsity"], found["group_size"]) == (1, None, 0.6, 32)
    assert (found["parameters"], found["kept"], found["bytes_file"]) == (1856, 742, packed.stat().st_size)
    assert found["adapter_config"]["r"] == 4
    assert len(found["tensors"]) == 14


@pytest.mark.parametrize("share", [0, 0.999])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_shares_and_half_precision(small, tmp_path, share, dtype):
    folder = tmp_path / "half"
    folder.mkdir()
    weights = {name: tensor.to(dtype) for name, tensor in load_file(small / pack.WEIGHTS).items()}
    save_file(weights, folder / pack.WEIGHTS)
    (folder / pack.CONFIG).write_bytes((small / pack.CONFIG).read_bytes())
    report = pack.pack_adapter(folder, tmp_path / "adapter.cgm", sparsity=share, group_size=64)
    decoded = load_file(pack.unpack_adapter(tmp_path / "adapter.cgm", tmp_path / "unpacked") / pack.WEIGHTS)
    assert sum(int((tensor != 0).sum()) for tensor in decoded.values()) == report.kept == round((1 - share) * 1856)


def test_an_adapter_of_zeros_comes_back(small, tmp_path):
    weights = {name: torch.zeros_like(tensor) for name, tensor in load_file(small / pack.WEIGHTS).items()}
    (tmp_path / pack.CONFIG).write_bytes((small / pack.CONFIG).read_bytes())
    save_file(weights, tmp_path / pack.WEIGHTS)
    pack.pack_adapter(tmp_path, tmp_path / "adapter.cgm", sparsity=0.5, group_size=64)
    decoded = load_file(pack.unpack_adapter(tmp_path / "adapter.cgm", tmp_path / "unpacked") / pack.WEIGHTS)
    assert all(not tensor.any() for tensor in decoded.values())


# masks from outside


def test_masks_of_the_training_are_kept(small, tmp_path):
    weights = load_file(small / pack.WEIGHTS)
    masks = sparsity.prune_masks(weights, 0.7, score="magnitude", scope="tensor")
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / pack.CONFIG).write_bytes((small / pack.CONFIG).read_bytes())
    save_file({name: weights[name] * masks[name] for name in weights}, trained / pack.WEIGHTS)
    report = pack.pack_adapter(trained, tmp_path / "adapter.cgm", sparsity=0.7, group_size=32, masks=masks)
    decoded = load_file(pack.unpack_adapter(tmp_path / "adapter.cgm", tmp_path / "unpacked") / pack.WEIGHTS)
    assert report.pruning_error == 0
    assert all(torch.equal(decoded[name] != 0, masks[name]) for name in weights)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda masks: {name: mask for name, mask in masks.items() if "q_proj" not in name},
        lambda masks: {name: mask.T for name, mask in masks.items()},
        lambda masks: {name: mask.float() for name, mask in masks.items()},
        lambda masks: {name: ~mask for name, mask in masks.items()},
    ],
    ids=["missing", "turned", "floats", "inverted"],
)
def test_other_masks_are_refused(small, tmp_path, spoil):
    masks = spoil(sparsity.prune_masks(load_file(small / pack.WEIGHTS), 0.7))
    with pytest.raises(CogumiError, match="boolean mask"):
        pack.pack_adapter(small, tmp_path / "adapter.cgm", sparsity=0.7, group_size=32, masks=masks)
    assert not (tmp_path / "adapter.cgm").exists()


# damage


def refuse(path, folder) -> CogumiError:
    with pytest.raises(CogumiError) as caught:
        pack.unpack_adapter(path, folder)
    assert not folder.exists()
    assert all((caught.value.expected, caught.value.found, caught.value.why, caught.value.fix))
    return caught.value


def test_200_flipped_bits_are_refused(packed, tmp_path):
    data, generator = packed.read_bytes(), np.random.default_rng(0)
    places = [*range(0, 8 * _container.HEAD_BYTES, 3), *generator.integers(0, 8 * len(data), 200)]
    for place in places:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        packed.write_bytes(damaged)
        refuse(packed, tmp_path / "unpacked")


def test_200_truncations_are_refused(packed, tmp_path):
    data, generator = packed.read_bytes(), np.random.default_rng(1)
    for length in [0, 7, 8, 57, 58, len(data) - 1, *generator.integers(0, len(data), 194)]:
        packed.write_bytes(data[:length])
        refuse(packed, tmp_path / "unpacked")


def test_a_damaged_payload_is_found_before_it_is_unpacked(packed, tmp_path):
    data = bytearray(packed.read_bytes())
    data[-1] ^= 1
    packed.write_bytes(data)
    assert refuse(packed, tmp_path / "unpacked").found == "a payload that does not match its digest"


def test_a_longer_file_is_refused(packed, tmp_path):
    packed.write_bytes(packed.read_bytes() + b"\0")
    assert "its head says" in refuse(packed, tmp_path / "unpacked").found


def test_another_kind_of_file_is_refused(packed, tmp_path):
    packed.write_bytes(b"GGUF" + packed.read_bytes()[4:])
    assert "GGUF" in refuse(packed, tmp_path / "unpacked").found


def test_the_dictionary_is_that_of_version_1():
    text = header_dictionary()
    assert hashlib.sha256(text).hexdigest() == "6fda2861b6e8d4ad5ca010339d89a3e2097c9636aee1d3b6bb3672c1c2a3c2f5"
    assert json.loads(text)["adapter_config"]["peft_type"] == "LORA"


def test_an_unknown_version_is_refused(packed, tmp_path):
    data = packed.read_bytes()
    packed.write_bytes(data[:8] + struct.pack("<H", 2) + data[10:])
    assert "version 2" in refuse(packed, tmp_path / "unpacked").found


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refuse(tmp_path / "nothing.cgm", tmp_path / "unpacked").found


# forged headers: every digest is right, and what they cover is wrong


def first_tensor(index: int, value):
    """Change one number (rows, columns, kept, floor, exponent) of the first tensor; a callable gets the old one."""

    def change(header, payload):
        name = min(header["tensors"])
        old = header["tensors"][name][index]
        header["tensors"][name][index] = value(old) if callable(value) else value
        return header, payload

    return change


def entry(key: str, value):
    return lambda header, payload: ({**header, key: value(header[key]) if callable(value) else value}, payload)


LIES = {
    "more columns": first_tensor(1, lambda columns: 2 * columns),
    "fewer columns": first_tensor(1, lambda columns: columns // 2),
    "another rank": first_tensor(0, 5),
    "no rows": first_tensor(0, 0),
    "a huge matrix": first_tensor(1, 1 << 40),
    "a negative matrix": first_tensor(1, -32),
    "one more kept": first_tensor(2, lambda kept: kept + 1),
    "more kept than there are": first_tensor(2, 10**6),
    "floor": first_tensor(3, 64),
    "exponent": first_tensor(4, 1000),
    "a truth value": first_tensor(4, True),
    "a fraction": first_tensor(4, 0.5),
    "six numbers": entry("tensors", lambda tensors: {name: [*numbers, 0] for name, numbers in tensors.items()}),
    "no tensors": entry("tensors", {}),
    "a path": entry("tensors", lambda tensors: {f"../{name}": numbers for name, numbers in tensors.items()}),
    "half a module": entry("tensors", lambda tensors: dict(sorted(tensors.items())[1:])),
    "group": entry("group_size", 16),
    "no group": entry("group_size", 0),
    "sparsity": entry("sparsity", 2),
    "sparsity in words": entry("sparsity", "0.6"),
    "bundles": entry("bundles", lambda bundles: [*bundles, 1]),
    "an empty bundle": entry("bundles", lambda bundles: [0, *bundles]),
    "no bundle": entry("bundles", []),
    "fewer streams": entry("frames", lambda frames: frames[1:]),
    "a longer stream": entry("frames", lambda frames: [[*frames[0][:2], frames[0][2] + 1], *frames[1:]]),
    "a negative stream": entry(
        "frames", lambda frames: [[*frames[0][:2], -1], [*frames[1][:2], frames[0][2] + frames[1][2] + 1], *frames[2:]]
    ),
    "moved border": entry(
        "frames",
        lambda frames: [*frames[:-2], [*frames[-2][:2], frames[-2][2] - 3], [*frames[-1][:2], frames[-1][2] + 3]],
    ),
    "another arrangement": entry("frames", lambda frames: [*frames[:-2], ["one", *frames[-2][1:]], frames[-1]]),
    "an unknown arrangement": entry("frames", lambda frames: [["zip", *frames[0][1:]], *frames[1:]]),
    "an unknown coding": entry("frames", lambda frames: [[frames[0][0], "pickle", frames[0][2]], *frames[1:]]),
    "no frames": entry("frames", None),
    "no LoRA": entry("adapter_config", {"peft_type": "IA3"}),
    "no configuration": entry("adapter_config", None),
    "other tensors": entry("decoded_sha256", "0" * 64),
    "no digest": entry("decoded_sha256", None),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(packed, tmp_path, lie):
    refuse(forged(packed, LIES[lie]), tmp_path / "unpacked")


def test_matrices_that_do_not_multiply_are_refused_unopened(packed):
    with pytest.raises(CogumiError, match="do not multiply"):
        pack.inspect(forged(packed, LIES["another rank"]))


def test_masks_that_keep_other_numbers_a_tensor_are_refused(packed, tmp_path):
    def moved(header, payload):
        numbers = [header["tensors"][name] for name in sorted(header["tensors"])]
        numbers[0][2], numbers[1][2] = numbers[0][2] + 1, numbers[1][2] - 1
        return header, payload

    assert "does not keep" in refuse(forged(packed, moved), tmp_path / "unpacked").found


@pytest.mark.parametrize("key", ["adapter_config", "bundles", "decoded_sha256", "frames", "group_size", "tensors"])
def test_a_header_without_an_entry_is_refused(packed, tmp_path, key):
    def without(header, payload):
        return {name: value for name, value in header.items() if name != key}, payload

    refuse(forged(packed, without), tmp_path / "unpacked")


def with_masks(stream: bytes, coding: str = "zstd"):
    """The first mask replaced by `stream`."""

    def change(header, payload):
        (arrangement, _, size), *others = header["frames"]
        return {**header, "frames": [[arrangement, coding, len(stream)], *others]}, stream + payload[size:]

    return change


@pytest.mark.parametrize("states_its_size", [False, True])
def test_a_decompression_bomb_is_refused_unopened(packed, tmp_path, states_its_size):
    bomb = zstandard.ZstdCompressor(level=3, write_content_size=states_its_size).compress(bytes(1 << 28))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = refuse(forged(packed, with_masks(bomb)), tmp_path / "unpacked").found
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert "states its own size" in found if states_its_size else "does not unpack into" in found
    assert grown < 1 << 16  # KiB: far from the bomb's 256 MiB


def test_a_mask_of_other_weights_is_refused(packed, tmp_path):
    names = {"bits": b"\xff" * 10**4, "gaps": b"\0" * 10**4}
    arrangement = pack.inspect(packed)["frames"][0][0]
    assert "at most" in refuse(forged(packed, with_masks(names[arrangement], "raw")), tmp_path / "unpacked").found


def test_a_header_that_unpacks_to_gigabytes_is_refused(packed, tmp_path):
    _, _, stored, _, payload = struct.unpack_from("<8sHIIQ", packed.read_bytes())
    packed.write_bytes(repacked_head(packed.read_bytes(), plain=(1 << 32) - 1))
    assert "a header of 4294967295 bytes" in refuse(packed, tmp_path / "unpacked").found


@pytest.mark.parametrize("text", [b"[1]", b"{", b"[" * 100_000, b"\xff"])
def test_a_header_that_is_no_object_is_refused(packed, tmp_path, text):
    packed.write_bytes(repacked_head(packed.read_bytes(), plain=len(text), header=text))
    assert "no JSON object" in refuse(packed, tmp_path / "unpacked").found


def repacked_head(data: bytes, plain: int, header: bytes | None = None) -> bytes:
    """The file with another header, or another size of it, under a right digest."""
    _, _, stored, _, payload = struct.unpack_from("<8sHIIQ", data)
    rest, old = data[58 + stored :], data[58 : 58 + stored]
    header = old if header is None else header
    head = struct.pack("<8sHIIQ", _container.MAGIC, 1, len(header), plain, payload)
    return head + hashlib.sha256(head + header).digest() + header + rest


# what cannot be packed


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"sparsity": 1}, "0.8 for 80%"),
        ({"sparsity": -0.1}, "0.8 for 80%"),
        ({"group_size": 0}, "take 64 or 128"),
        ({"level": 23}, "leave it at 19"),
        ({"level": 0}, "leave it at 19"),
        ({"max_bytes": 100}, "no encoder can"),
        ({"max_bytes": 800}, "a better encoder might"),
    ],
    ids=lambda value: next(iter(value.items())) if isinstance(value, dict) else "",
)
def test_settings_out_of_range_are_refused(small, tmp_path, options, found):
    with pytest.raises(CogumiError, match=found):
        pack.pack_adapter(small, tmp_path / "adapter.cgm", **{"sparsity": 0.6, "group_size": 32, **options})
    assert not (tmp_path / "adapter.cgm").exists()


@pytest.mark.parametrize("size", [0, 1, 7, 100, 5_000, 300_000])
def test_no_stream_grows_by_being_stored(size):
    noise = np.random.default_rng(0).bytes(size)
    frame = _streams.smallest({"bits": noise}, 19)
    assert len(frame.data) <= size
    assert _streams.expand(frame, size) == noise


def test_the_smallest_adapter_is_smaller_packed(tmp_path):
    folder = saved_adapter(tmp_path / "smallest", {**SMALL, "hidden_size": 4, "intermediate_size": 1}, rank=1)
    report = pack.pack_adapter(folder, tmp_path / "adapter.cgm", sparsity=0, group_size=1)
    assert (report.parameters, report.bytes_file) == (43, 424)
    assert report.bytes_file < report.bytes_dense


@pytest.mark.parametrize("name", [pack.CONFIG, pack.WEIGHTS])
@pytest.mark.parametrize("content", [None, b"", b"not what it says"])
def test_a_folder_without_an_adapter_is_refused(small, tmp_path, name, content):
    for file in (pack.CONFIG, pack.WEIGHTS):
        (tmp_path / file).write_bytes((small / file).read_bytes())
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(CogumiError, match="as PEFT saves it"):
        pack.pack_adapter(tmp_path, tmp_path / "adapter.cgm", sparsity=0.5, group_size=64)


def test_an_adapter_that_is_no_lora_is_refused(small, tmp_path):
    (tmp_path / pack.WEIGHTS).write_bytes((small / pack.WEIGHTS).read_bytes())
    settings = json.loads((small / pack.CONFIG).read_text())
    for config in ({**settings, "peft_type": "IA3"}, [settings]):
        (tmp_path / pack.CONFIG).write_text(json.dumps(config))
        with pytest.raises(CogumiError, match="give the folder of a LoRA adapter"):
            pack.pack_adapter(tmp_path, tmp_path / "adapter.cgm", sparsity=0.5, group_size=64)


def test_a_full_disk_leaves_the_old_file(small, packed):
    old, limits = packed.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CogumiError, match="free some space") as caught:
            pack.pack_adapter(small, packed, sparsity=0.3, group_size=32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.__cause__.errno in (errno.EFBIG, errno.ENOSPC)
    assert packed.read_bytes() == old
    assert [path.name for path in packed.parent.iterdir()] == [packed.name]


def test_a_target_without_a_folder_is_refused(small, tmp_path):
    with pytest.raises(CogumiError, match="existing, writable folder"):
        pack.pack_adapter(small, tmp_path / "no" / "adapter.cgm", sparsity=0.5, group_size=64)


def test_a_folder_that_is_a_file_is_refused(packed):
    with pytest.raises(CogumiError, match="a folder that can be made"):
        pack.unpack_adapter(packed, packed)
