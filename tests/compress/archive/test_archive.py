import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
import zstandard
from safetensors.torch import save_file

from cogumi_utils.compress import archive
from cogumi_utils.compress.archive import _index as _archive_index
from cogumi_utils.compress.archive import _layouts, _planes, _segments
from cogumi_utils.errors import CogumiError

CHUNK = _archive_index.MIN_CHUNK


def normal(rows: int, columns: int, seed: int) -> np.ndarray:
    """float32, each row at a scale of its own."""
    generator = np.random.default_rng(seed)
    scales = 0.02 * np.exp(0.3 * generator.standard_normal((rows, 1)))
    return (scales * generator.standard_normal((rows, columns))).astype(np.float32)


def write_gguf(path, rows: int):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", [f"token{index}" for index in range(500)])
    for number, kind in enumerate((gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q5_0)):
        stored = gguf.quants.quantize(normal(rows, 1024, number), kind)
        writer.add_tensor(f"blk.{number}.weight", stored, raw_dtype=kind)
        writer.add_tensor(f"blk.{number}.norm", np.linspace(0.5, 2, 129, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_floats(path, dtype: torch.dtype):
    tensors = {"weight": torch.from_numpy(normal(512, 1024, 0)).to(dtype), "norm": torch.ones(100, dtype=dtype)}
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    contents = {
        "noise": generator.bytes(3_000_001),
        "text": b"".join(b"line %d of some text\n" % number for number in generator.integers(0, 10**6, 20_000)),
        "zeros": bytes(1_000_000),
        "one": b"x",
        "empty": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    found = {name: write_floats(folder / name, dtype) for name, dtype in dtypes.items()}
    return {**found, "gguf": write_gguf(folder / "gguf", 1024), **{name: folder / name for name in contents}}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A small GGUF file with a tail, some 13 chunks, and its archive, with a dictionary in it."""
    folder = tmp_path_factory.mktemp("few")
    source = write_gguf(folder / "model.gguf", 256)
    generator = np.random.default_rng(0)
    phrases = [generator.bytes(60) for _ in range(200)]  # what a dictionary is good at: each chunk has them again
    with open(source, "ab") as stream:
        stream.write(b"".join(phrases[index] for index in generator.integers(0, 200, 20_000)))
    archive.pack_file(source, folder / "model.archive", level=3, dictionary=True, chunk_bytes=CHUNK)
    return source, folder / "model.archive"


def back(path, target):
    return archive.unpack_file(path, target).read_bytes()


def only(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


NAMES = ["gguf", "float16", "bfloat16", "float32", "noise", "text", "zeros", "one", "empty"]


# what comes out


@pytest.mark.parametrize("planes", archive.PLANES)
@pytest.mark.parametrize("name", NAMES)
def test_every_file_comes_back(files, tmp_path, name, planes):
    report = archive.pack_file(files[name], tmp_path / "x", level=3, planes=planes, chunk_bytes=1 << 18)
    plain = files[name].read_bytes()
    assert back(tmp_path / "x", tmp_path / "y") == plain
    assert only(tmp_path) == ["x", "y"]
    assert (report.sha256, report.bytes_plain) == (hashlib.sha256(plain).hexdigest(), len(plain))
    assert report.bytes_file == (tmp_path / "x").stat().st_size


@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("planes", archive.PLANES)
def test_noise_grows_by_less_than_a_thousandth(files, tmp_path, planes, dictionary):
    settings = {"planes": planes, "dictionary": dictionary, "chunk_bytes": CHUNK}
    report = archive.pack_file(files["noise"], tmp_path / "x", level=3, **settings)
    assert 0 < report.bytes_file - report.bytes_plain <= report.bytes_plain / 1000
    assert report.bytes_dictionary == 0  # one that helps nowhere is not written


@pytest.mark.parametrize(
    ("name", "level", "size"),
    [
        ("gguf", 3, 1_763_731),
        ("gguf", 19, 1_763_353),
        ("float16", 3, 892_281),
        ("bfloat16", 3, 706_985),
        ("float32", 3, 1_755_774),
    ],
)
def test_archives_are_within_two_percent_of_the_best_split(files, tmp_path, name, level, size):
    report = archive.pack_file(files[name], tmp_path / "x", level=level)
    best = archive.entropies(files[name], ()).set_index("planes")["entropy"]["best"]
    assert report.bytes_file < 1.02 * best
    assert report.bytes_file == size


@pytest.mark.parametrize("name", ["gguf", "float16", "text"])
def test_best_is_as_good_as_any_split(files, tmp_path, name):
    sizes = {
        planes: archive.pack_file(files[name], tmp_path / planes, level=3, planes=planes).bytes_file
        for planes in archive.PLANES
    }
    assert sizes["best"] <= min(sizes.values()) + 100  # the index names more layouts


def test_a_dictionary_helps_small_chunks_of_alike_text(few, tmp_path):
    source, packed = few
    without = archive.pack_file(source, tmp_path / "x", level=3, chunk_bytes=CHUNK)
    found = archive.inspect(packed)
    assert found["bytes_dictionary"] > 0
    assert found["bytes_file"] < without.bytes_file
    assert back(packed, tmp_path / "y") == source.read_bytes()


def test_a_dictionary_that_does_not_pay_is_left_out(files, tmp_path):
    sizes = [
        archive.pack_file(files["gguf"], tmp_path / "x", level=3, dictionary=known).bytes_file
        for known in (False, True)
    ]
    assert sizes[1] - sizes[0] < 10  # the index says "true" for "false"
    assert archive.inspect(tmp_path / "x")["bytes_dictionary"] == 0


def test_equal_input_gives_equal_bytes(few, tmp_path):
    source, packed = few
    archive.pack_file(source, tmp_path / "again", level=3, dictionary=True, chunk_bytes=CHUNK)
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()


def test_inspect_says_what_the_report_said(files, tmp_path):
    report = archive.pack_file(files["gguf"], tmp_path / "x", level=3)
    found, table = archive.inspect(tmp_path / "x"), report.table().set_index("quantity")["value"]
    for name in ("planes", "level", "bytes_plain", "bytes_file", "bytes_index", "bytes_dictionary", "sha256", "chunks"):
        assert found[name] == getattr(report, name) == table[name]
    assert table["saved"] == report.saved == 1 - report.bytes_file / report.bytes_plain


def test_memory_does_not_grow_with_the_file(tmp_path):
    script = (
        "import sys\nfrom cogumi_utils import hardware\nfrom cogumi_utils.compress import archive\n"
        "archive.pack_file(sys.argv[1], sys.argv[2], level=1, chunk_bytes=1 << 20)\n"
        "archive.unpack_file(sys.argv[2], sys.argv[3])\nprint(hardware.peak_memory_bytes())"
    )
    peaks = []
    for megabytes in (6, 24):
        source = tmp_path / f"{megabytes}"
        source.write_bytes(np.random.default_rng(0).bytes(megabytes << 20))
        command = [sys.executable, "-c", script, source, tmp_path / "x", tmp_path / "y"]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 4 << 20


# how files are cut


def test_tensors_are_found_in_a_gguf_file(files):
    found = _segments.segments(files["gguf"])
    kinds = [(segment.kind, segment.width) for segment in found]
    assert kinds == [("bytes", 1), ("Q8_0", 34), ("F32", 4), ("bytes", 1), ("Q5_0", 22), ("F32", 4), ("bytes", 1)]
    ends = [segment.start + segment.size for segment in found]
    assert [0, *ends[:-1]] == [segment.start for segment in found]
    assert ends[-1] == files["gguf"].stat().st_size
    assert [segment.size for segment in found if segment.kind == "Q8_0"] == [1024 * 1024 // 32 * 34]


def test_fields_of_blocks_are_found_from_the_bytes_alone(files):
    chosen = _layouts.plan(files["gguf"], "blocks", False, 4 << 20)
    layouts = {kind: chosen.layouts[found] for kind, (found,) in chosen.candidates.items()}
    assert layouts["Q8_0"] == [1, 1, 32]  # the scale's two bytes, 32 codes
    assert layouts["Q5_0"] == [1, 1, 4, 16]  # the scale's two bytes, high bits, pairs of low bits


def test_chunks_divide_no_block():
    whole = [_segments.Segment("bytes", 1, 0, 5), _segments.Segment("Q8_0", 34, 5, 34 * 10), *()]
    chunks = list(_segments.cut(whole, 100))
    assert [[part.size for part in chunk] for chunk in chunks] == [[5, 68], [68], [68], [68], [68]]


def overlapping(header: dict) -> None:
    header["norm"]["data_offsets"] = header["weight"]["data_offsets"]


def outside(header: dict) -> None:
    header["norm"]["data_offsets"] = [10**9, 10**9 + 200]


def no_numbers(header: dict) -> None:
    header["norm"]["data_offsets"] = ["0", None]


@pytest.mark.parametrize("spoil", [overlapping, outside, no_numbers])
def test_a_file_with_a_senseless_header_is_packed_as_bytes(files, tmp_path, spoil):
    data = files["float16"].read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    spoil(header)
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    assert [segment.kind for segment in _segments.segments(tmp_path / "x")] == ["bytes"]
    archive.pack_file(tmp_path / "x", tmp_path / "y", level=1)
    assert back(tmp_path / "y", tmp_path / "z") == (tmp_path / "x").read_bytes()


def test_a_cut_gguf_file_is_packed_as_bytes(files, tmp_path):
    (tmp_path / "x").write_bytes(files["gguf"].read_bytes()[:30_000])
    assert [segment.kind for segment in _segments.segments(tmp_path / "x")] == ["bytes"]


# entropies


def test_entropy_of_known_counts():
    counts = np.zeros((3, 256))
    counts[0] = 4  # all values alike: 8 bits each of 1,024
    counts[1, 7] = 1024  # one value: nothing
    counts[2, :2] = 512  # two: one bit
    assert _planes.entropy_bytes(counts).tolist() == [1024, 0, 128]
    assert _planes.entropy_bytes(np.zeros(256)) == 0


def test_entropies_of_splits_fall(files):
    table = archive.entropies(files["gguf"], ()).set_index("planes")["entropy"]
    assert table.round().to_dict() == {"none": 1_813_839, "bytes": 1_792_076, "blocks": 1_758_765, "best": 1_758_765}
    assert table["none"] > table["bytes"] > table["blocks"] == table["best"]


def test_the_table_has_a_row_a_variant(files):
    table = archive.entropies(files["bfloat16"], levels=(1, 3), planes=("none", "best"))
    assert len(table) == 8
    best = table[table["planes"] == "best"]
    assert (best["gap"] == best["bytes"] / best["entropy"] - 1).all()
    assert best["gap"].max() < 0.02 < table[table["planes"] == "none"]["gap"].min()


def test_a_study_of_files_and_its_table_for_readers(files):
    options = {"levels": (1, 3), "planes": ("none", "best")}
    found = archive.study([files["text"], files["bfloat16"]], **options)
    assert list(found["file"]) == ["text"] * 8 + ["bfloat16"] * 8
    alone = archive.entropies(files["text"], **options)
    assert found.drop(columns="file")[:8].equals(alone)
    shown = archive.in_words(found)
    assert list(shown["file"]) == ["text"] * 2 + ["bfloat16"] * 2
    assert list(shown["layout"]) == ["as it is", "whatever is smallest"] * 2
    assert list(shown["level 1, kB"] * 1e3) == pytest.approx(list(found["bytes"][::4]))
    assert list(shown["level 3, kB"] * 1e3) == pytest.approx(list(found["bytes"][2::4]))
    assert list(shown["entropy, kB"] * 1e3) == pytest.approx(list(found["entropy"][::4]))
    assert shown["with a dictionary, kB"][0] * 1e3 == pytest.approx(found["bytes"][[1, 3]].min())
    assert shown["saved, %"][0] == pytest.approx(100 * found["saved"][:4].max())
    assert shown["gap to the best entropy, %"][1] == pytest.approx(100 * found["gap"][4:8].min())


# damage


def refuse(path, target) -> CogumiError:
    with pytest.raises(CogumiError) as caught:
        archive.unpack_file(path, target)
    assert only(target.parent) == [path.name]
    assert all((caught.value.expected, caught.value.found, caught.value.why, caught.value.fix))
    return caught.value


def test_300_flipped_bits_are_refused(few, tmp_path):
    data, generator = few[1].read_bytes(), np.random.default_rng(0)
    path = tmp_path / "model.archive"
    places = [*range(0, 8 * _archive_index.HEAD_BYTES, 3), *generator.integers(0, 8 * len(data), 300)]
    for place in places:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        refuse(path, tmp_path / "unpacked")


def test_50_truncations_are_refused(few, tmp_path):
    data, generator = few[1].read_bytes(), np.random.default_rng(1)
    path = tmp_path / "model.archive"
    for length in [0, 7, 8, 57, 58, len(data) - 1, *generator.integers(0, len(data), 50)]:
        path.write_bytes(data[:length])
        refuse(path, tmp_path / "unpacked")


def test_a_longer_file_is_refused(few, tmp_path):
    path = tmp_path / "model.archive"
    path.write_bytes(few[1].read_bytes() + b"\0")
    assert "its head says" in refuse(path, tmp_path / "unpacked").found


def test_a_flipped_bit_of_a_chunk_is_named(few, tmp_path):
    data, path = bytearray(few[1].read_bytes()), tmp_path / "model.archive"
    data[_archive_index.HEAD_BYTES] ^= 1
    path.write_bytes(data)
    assert refuse(path, tmp_path / "unpacked").found == "chunk 0, which does not match its digest"


def test_an_unknown_version_and_another_kind_are_refused(few, tmp_path):
    data, path = few[1].read_bytes(), tmp_path / "model.archive"
    path.write_bytes(data[:8] + b"\2\0" + data[10:])
    assert "version 2" in refuse(path, tmp_path / "unpacked").found
    path.write_bytes(b"GGUF" + data[4:])
    assert "GGUF" in refuse(path, tmp_path / "unpacked").found
    with pytest.raises(CogumiError, match="No such file"):
        archive.inspect(tmp_path / "nothing")


# forged indices: every digest is right, and what they cover is wrong


def forged(data: bytes, change) -> bytes:
    """The archive with another index, and whatever stored bytes `change` returns in place of the chunks."""
    stored, plain = int.from_bytes(data[10:14], "little"), int.from_bytes(data[14:18], "little")
    index = json.loads(zstandard.ZstdDecompressor().decompress(data[-stored:], max_output_size=plain))
    body = change(index, data[_archive_index.HEAD_BYTES : -stored])
    text = json.dumps(index).encode()
    again = zstandard.ZstdCompressor(3, write_content_size=False).compress(text)
    total = _archive_index.HEAD_BYTES + len(body) + len(again)
    return _archive_index.head(again, len(text), total) + body + again


def put(*place_and_value):
    """Set index[a][b]… = value."""
    *place, last, value = place_and_value

    def change(index, body):
        for key in place:
            index = index[key]
        index[last] = value(index[last]) if callable(value) else value
        return body

    return change


UNTIL, PARTS, GROUPS = 1, 2, 3
LIES = {
    "no chunks": put("chunks", None),
    "a chunk that is no list": put("chunks", 0, "chunk"),
    "fewer chunks": put("chunks", lambda chunks: chunks[1:]),
    "other layout": put("chunks", 1, GROUPS, 0, 0, lambda layout: layout - 1),
    "no such layout": put("chunks", 1, GROUPS, 0, 0, 99),
    "a truth value": put("chunks", 1, GROUPS, 0, 0, True),
    "a negative layout": put("chunks", 1, GROUPS, 0, 0, -1),
    "a longer stream": put("chunks", 1, GROUPS, 0, 1, 0, lambda size: size + 1),
    "an empty stream": put("chunks", 1, GROUPS, 0, 1, 0, 0),
    "no such group": put("chunks", 1, PARTS, 0, 0, 7),
    "a huge part": put("chunks", 1, PARTS, 0, 1, 1 << 50),
    "a part of half a block": put("chunks", 1, PARTS, 0, 1, lambda size: size - 1),
    "a shorter part": put("chunks", 1, PARTS, 0, 1, lambda size: size - 34),
    "a fraction": put("chunks", 1, PARTS, 0, 1, 34.0),
    "a negative part": put("chunks", 1, PARTS, 0, 1, -34),
    "no parts": put("chunks", 1, PARTS, []),
    "another digest of a chunk": put("chunks", 1, 0, "0" * 64),
    "another digest so far": put("chunks", 1, UNTIL, "0" * 64),
    "another digest of all": put("sha256", "0" * 64),
    "a path for a digest": put("sha256", "../" + "0" * 61),
    "a number for a digest": put("chunks", 1, 0, 5),
    "an empty layout": put("layouts", 0, []),
    "a layout of nothing": put("layouts", 0, [0]),
    "a wide layout": put("layouts", 0, [1 << 20]),
    "no layouts": put("layouts", []),
    "no settings": put("settings", None),
    "a negative dictionary": put("dictionary", 0, -5),
    "a longer dictionary": put("dictionary", 0, lambda size: size + 1),
    "another dictionary's digest": put("dictionary", 1, "0" * 64),
    "no dictionary": put("dictionary", None),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_is_refused(few, tmp_path, lie):
    path = tmp_path / "model.archive"
    path.write_bytes(forged(few[1].read_bytes(), LIES[lie]))
    refuse(path, tmp_path / "unpacked")


def test_a_dictionary_that_is_none_is_refused(few, tmp_path):
    def change(index, body):
        size = index["dictionary"][0]
        index["dictionary"][1] = hashlib.sha256(b"?" * size).hexdigest()
        return body[:-size] + b"?" * size

    (tmp_path / "x").write_bytes(forged(few[1].read_bytes(), change))
    assert "a dictionary that is none" in refuse(tmp_path / "x", tmp_path / "unpacked").found


def test_an_index_that_is_not_changed_is_taken(few, tmp_path):
    path = tmp_path / "model.archive"
    path.write_bytes(forged(few[1].read_bytes(), lambda index, body: body))
    assert back(path, tmp_path / "unpacked") == few[0].read_bytes()


@pytest.mark.parametrize("text", [b"[1]", b"{", b"[" * 100_000, b"\xff"])
def test_an_index_that_is_no_object_is_refused(tmp_path, text):
    stored = zstandard.ZstdCompressor(3, write_content_size=False).compress(text)
    head = _archive_index.head(stored, len(text), _archive_index.HEAD_BYTES + len(stored))
    (tmp_path / "x").write_bytes(head + stored)
    refuse(tmp_path / "x", tmp_path / "unpacked")


def one_chunk(stored: bytes, plain: int, count: int = 1) -> bytes:
    """An archive of `count` chunks that all claim to be `plain` bytes."""

    def change(index, body):
        chunk = [hashlib.sha256(stored).hexdigest(), "0" * 64, [[0, plain]], [[0, [len(stored)]]]]
        index.update(layouts=[[1]], sha256="0" * 64, chunks=[chunk] * count, dictionary=None)
        return stored * count

    text = json.dumps({"settings": {}}).encode()
    empty = zstandard.ZstdCompressor(3, write_content_size=False).compress(text)
    start = _archive_index.head(empty, len(text), _archive_index.HEAD_BYTES + len(empty))
    return forged(start + empty, change)


@pytest.mark.parametrize("states_its_size", [False, True])
def test_a_decompression_bomb_is_refused_unopened(tmp_path, states_its_size):
    bomb = zstandard.ZstdCompressor(3, write_content_size=states_its_size).compress(bytes(1 << 28))
    (tmp_path / "x").write_bytes(one_chunk(bomb, 1 << 18))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = refuse(tmp_path / "x", tmp_path / "unpacked").found
    assert "states its own size" in found if states_its_size else "does not unpack into" in found
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # KiB: far from 256 MiB


def test_an_index_that_unpacks_to_gigabytes_is_refused(few, tmp_path):
    data, path = few[1].read_bytes(), tmp_path / "model.archive"
    stored = int.from_bytes(data[10:14], "little")
    path.write_bytes(_archive_index.head(data[-stored:], (1 << 32) - 1, len(data)) + data[58:])
    assert "an index of 4294967295 bytes" in refuse(path, tmp_path / "unpacked").found


# too little disk, killed, at once


def test_what_does_not_fit_on_the_disk_is_refused_at_the_start(tmp_path):
    count = shutil.disk_usage(tmp_path).free // _archive_index.MAX_CHUNK + 20
    (tmp_path / "x").write_bytes(one_chunk(b"\0" * 10, _archive_index.MAX_CHUNK, count))
    assert "free some space" in refuse(tmp_path / "x", tmp_path / "unpacked").fix


def test_what_is_larger_than_the_disk_is_not_packed(tmp_path):
    with open(tmp_path / "x", "wb") as stream:
        stream.truncate(shutil.disk_usage(tmp_path).free + (1 << 30))  # holes: it takes no room itself
    with pytest.raises(CogumiError, match="free some space"):
        archive.pack_file(tmp_path / "x", tmp_path / "y")
    assert only(tmp_path) == ["x"]


def test_a_full_disk_leaves_the_old_archive(files, tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CogumiError, match="no space left") as caught:
            archive.pack_file(files["noise"], tmp_path / "x", level=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.__cause__.errno in (errno.EFBIG, errno.ENOSPC)
    assert ((tmp_path / "x").read_bytes(), only(tmp_path)) == (b"old", ["x"])


def killed(path, target, most: int) -> None:
    """Unpack in a process that the system kills when it writes its `most`-th byte."""
    script = (
        "import resource, signal, sys\nfrom cogumi_utils.compress import archive\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "archive.unpack_file(sys.argv[1], sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", script, path, target], capture_output=True)
    assert done.returncode == -signal.SIGXFSZ


@pytest.fixture
def stopped(few, tmp_path):
    """(archive, target, what is there of it): two chunks and a part of the third."""
    path, target = tmp_path / "model.archive", tmp_path / "unpacked"
    path.write_bytes(few[1].read_bytes())
    killed(path, target, 2 * CHUNK + 1000)
    (part,) = (each for each in tmp_path.iterdir() if each != path)
    assert 2 * CHUNK - 2000 < part.stat().st_size <= 2 * CHUNK + 1000
    return path, target, part


def spoil_first_chunk(path) -> None:
    data = bytearray(path.read_bytes())
    data[_archive_index.HEAD_BYTES + 5] ^= 1
    path.write_bytes(data)


def test_a_killed_unpacking_goes_on_where_it_stopped(few, stopped):
    path, target, _ = stopped
    spoil_first_chunk(path)  # nobody needs it any more
    assert back(path, target) == few[0].read_bytes()
    assert only(path.parent) == [path.name, target.name]


def test_what_is_there_is_not_trusted(few, stopped):
    path, target, part = stopped
    data = bytearray(part.read_bytes())
    data[CHUNK + 500] ^= 1
    part.write_bytes(data)
    assert back(path, target) == few[0].read_bytes()


def test_a_part_that_is_too_long_is_cut(few, stopped):
    path, target, part = stopped
    part.write_bytes(few[0].read_bytes() + b"more")
    assert back(path, target) == few[0].read_bytes()


def test_a_full_disk_keeps_what_is_there(few, tmp_path):
    path, target = tmp_path / "model.archive", tmp_path / "unpacked"
    path.write_bytes(few[1].read_bytes())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK + 1000, limits[1]))
    try:
        with pytest.raises(CogumiError, match="goes on where it stopped"):
            archive.unpack_file(path, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    spoil_first_chunk(path)
    assert back(path, target) == few[0].read_bytes()


def test_two_at_once_are_refused(few, stopped):
    path, target, part = stopped
    with open(part, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(CogumiError, match="another process"):
            archive.unpack_file(path, target)
    assert part.exists()
    assert back(path, target) == few[0].read_bytes()


def test_a_link_in_the_place_of_the_part_is_not_followed(stopped, tmp_path):
    path, target, part = stopped
    part.unlink()
    (tmp_path / "precious").write_bytes(b"mine")
    os.symlink(tmp_path / "precious", part)
    with pytest.raises(CogumiError, match="symbolic link"):
        archive.unpack_file(path, target)
    assert (tmp_path / "precious").read_bytes() == b"mine"


# what cannot be packed


@pytest.mark.parametrize(
    "settings",
    [{"level": 0}, {"level": 23}, {"level": 3.0}, {"planes": "bits"}, {"chunk_bytes": 1000}, {"chunk_bytes": 1 << 27}],
)
def test_settings_out_of_range_are_refused(files, tmp_path, settings):
    with pytest.raises(CogumiError, match="leave them out"):
        archive.pack_file(files["text"], tmp_path / "x", **settings)
    assert only(tmp_path) == []


def test_places_that_will_not_do_are_refused(files, few, tmp_path):
    (tmp_path / "folder").mkdir()
    for source, target in (
        (tmp_path / "nothing", tmp_path / "x"),
        (tmp_path / "folder", tmp_path / "x"),
        (files["text"], files["text"]),
        (files["text"], tmp_path / "folder"),
        (files["text"], tmp_path / "no" / "x"),
    ):
        with pytest.raises(CogumiError, match="fix: "):
            archive.pack_file(source, target)
    for target in (tmp_path / "folder", tmp_path / "no" / "x"):
        with pytest.raises(CogumiError, match="fix: "):
            archive.unpack_file(few[1], target)
    assert only(tmp_path) == ["folder"]
    assert files["text"].read_bytes().startswith(b"line")


@pytest.mark.skipif(sys.platform != "linux", reason="a file of no stated size that has bytes: Linux's /proc")
def test_a_source_that_grows_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="while it was packed"):
        archive.pack_file("/proc/self/status", tmp_path / "x")
    assert only(tmp_path) == []
