"""Big model files packed without loss: bytes against the order-0 entropy, and how fast they unpack on one core.

python benchmarks/archive.py [--megabytes 64] [--rounds 5]

Normal weights, each row at a scale of its own, quantised to Q8_0, Q5_0 (both by the `gguf` library) and Q5_K (scales
and minima per 32 weights in six bits, no search for better ones) in one GGUF file, and the same in float16 and
bfloat16 in two safetensors files. The table of levels, dictionaries and splits is made on files of 1/32 of the size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import gguf
import numpy as np
import pandas as pd
import report
import torch
import zstandard
from safetensors.torch import save_file

from cogumi_utils.compress import archive

WIDTH, LEVELS = 4096, (3, 10, 19)
ROWS = 1 << 10  # of one matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        small = {path.name: path for path in model_files(folder / "small", options.megabytes / 32)}
        large = {path.name: path for path in model_files(folder / "large", options.megabytes)}
        middle = gguf_file(folder / "quantised.gguf", options.megabytes * 1_000_000 // 4)
        sizes = pd.concat([encoders(name, path) for name, path in small.items()])
        tables = {
            "Large files": packing(large, folder),
            "Unpacking": unpacking(large, folder, options.rounds),
            "Memory": memory([middle, large["quantised.gguf"]], folder),
        }
    notes = [f"## {name}\n\n{table.to_markdown(index=False, floatfmt='.4g')}\n" for name, table in tables.items()]
    report.keep("archive", sizes, notes, {name: table.to_dict("records") for name, table in tables.items()})


# the files


def model_files(folder: Path, megabytes: float) -> list[Path]:
    folder.mkdir()
    values = int(megabytes * 1e6 / 2)
    return [
        gguf_file(folder / "quantised.gguf", int(megabytes * 1e6)),
        float_file(folder / "float16.safetensors", values, torch.float16),
        float_file(folder / "bfloat16.safetensors", values, torch.bfloat16),
    ]


def matrices(count: int, seed: int) -> Iterator[np.ndarray]:
    """float32 [ROWS or fewer, WIDTH] until there are `count` weights; rows log-normal in scale, about 0.02."""
    generator = np.random.default_rng(seed)
    for start in range(0, count // WIDTH, ROWS):
        rows = min(ROWS, count // WIDTH - start)
        scales = 0.02 * np.exp(0.3 * generator.standard_normal((rows, 1), np.float32))
        yield scales * generator.standard_normal((rows, WIDTH), np.float32)


def float_file(path: Path, count: int, dtype: torch.dtype) -> Path:
    tensors = {f"layers.{i}.weight": torch.from_numpy(each).to(dtype) for i, each in enumerate(matrices(count, 1))}
    save_file({**tensors, "norm.weight": torch.ones(WIDTH, dtype=dtype)}, path)
    return path


def gguf_file(path: Path, size: int) -> Path:
    """Half of the bytes Q5_K, a quarter each Q8_0 and Q5_0, and a float32 norm for each matrix."""
    writer = gguf.GGUFWriter(path, "llama")
    types = gguf.GGMLQuantizationType
    for kind, share in ((types.Q5_K, 0.5), (types.Q8_0, 0.25), (types.Q5_0, 0.25)):
        weights, width = gguf.GGML_QUANT_SIZES[kind]
        for number, matrix in enumerate(matrices(int(size * share * weights / width), int(kind))):
            stored = q5_k(matrix) if kind == types.Q5_K else gguf.quants.quantize(matrix, kind)
            writer.add_tensor(f"blk.{number}.{kind.name}.weight", stored, raw_dtype=kind)
            writer.add_tensor(f"blk.{number}.{kind.name}.norm", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def q5_k(matrix: np.ndarray) -> np.ndarray:
    """uint8 [rows, WIDTH / 256 · 176]: blocks as in ggml-common.h's block_q5_K."""
    groups = matrix.reshape(-1, 8, 32)
    least = np.minimum(groups.min(axis=2), 0)
    spread = (groups.max(axis=2) - least) / 31
    scale, shift = (np.float16(np.maximum(each.max(axis=1), 1e-8) / 63) for each in (spread, -least))
    scales, mins = (
        np.clip(np.rint(each / one[:, None].astype(np.float32)), 0, 63).astype(np.uint8)
        for each, one in ((spread, scale), (-least, shift))
    )
    step = np.maximum(scales * scale[:, None].astype(np.float32), 1e-12)[:, :, None]
    codes = np.rint((groups + (mins * shift[:, None].astype(np.float32))[:, :, None]) / step)
    codes = np.clip(codes, 0, 31).astype(np.uint8)
    low, high = codes & 15, codes >> 4
    packed = np.concatenate([
        scales[:, :4] | (scales[:, 4:] >> 4) << 6,
        mins[:, :4] | (mins[:, 4:] >> 4) << 6,
        scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4,
    ], axis=1)  # fmt: skip
    bits = (high << np.arange(8, dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8)
    nibbles = (low[:, ::2] | low[:, 1::2] << 4).reshape(len(low), 128)
    heads = [each[:, None].view(np.uint8) for each in (scale, shift)]
    return np.concatenate([*heads, packed, bits, nibbles], axis=1).reshape(len(matrix), -1)


# the measurements


def encoders(name: str, path: Path) -> pd.DataFrame:
    """Every split and level, dictionaries for none and the best, and zstd by itself on the whole file."""
    with_dictionaries = archive.entropies(path, LEVELS, (True,), ("none", "best"))
    table = pd.concat([archive.entropies(path, LEVELS, (False,)), with_dictionaries])
    total, best = path.stat().st_size, table["entropy"].min()
    alone = [(level, len(zstandard.ZstdCompressor(level).compress(path.read_bytes()))) for level in LEVELS]
    rows = [
        {"planes": "zstd alone", "level": level, "dictionary": False, "bytes": size, "saved": 1 - size / total,
         "gap": size / best - 1}
        for level, size in alone
    ]  # fmt: skip
    table = pd.concat([pd.DataFrame(rows), table]).assign(file=name)
    table["gap, %"], table["saved, %"] = 100 * table["gap"], 100 * table["saved"]
    return table[["file", "planes", "level", "dictionary", "entropy", "bytes", "saved, %", "gap, %"]]


def packing(files: dict[str, Path], folder: Path) -> pd.DataFrame:
    """The large files at level 3, which the next table unpacks."""
    rows = []
    for name, path in files.items():
        start = time.process_time()
        found = archive.pack_file(path, folder / f"{name}.archive", level=LEVELS[0])
        seconds = time.process_time() - start
        best = archive.entropies(path, ())["entropy"].min()
        rows.append(
            {"file": name, "MB": found.bytes_plain / 1e6, "saved, %": 100 * found.saved, "entropy": best,
             "bytes": found.bytes_file, "gap, %": 100 * (found.bytes_file / best - 1),
             "packing, MB/s": found.bytes_plain / 1e6 / seconds}
        )  # fmt: skip
    return pd.DataFrame(rows)


def unpacking(files: dict[str, Path], folder: Path, rounds: int) -> pd.DataFrame:
    """MB of the original a CPU second, the files in turn: to a file, with all digests; and zstd to memory, without."""
    jobs: dict[str, tuple[float, Callable]] = {}
    for name, path in files.items():
        size = path.stat().st_size
        squeezed = zstandard.ZstdCompressor(LEVELS[0]).compress(path.read_bytes())
        jobs[f"unpack_file, {name}"] = (
            size,
            lambda name=name: archive.unpack_file(folder / f"{name}.archive", folder / "unpacked"),
        )
        jobs[f"zstd alone, no digest, {name}"] = (
            size,
            lambda squeezed=squeezed, size=size: zstandard.ZstdDecompressor().decompress(
                squeezed, max_output_size=size
            ),
        )
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (size, job) in jobs.items():
            start = time.process_time()
            job()
            rates[name].append(size / 1e6 / (time.process_time() - start))
    rows = [(name, jobs[name][0] / 1e6, median(each), min(each), max(each)) for name, each in rates.items()]
    return pd.DataFrame(rows, columns=["job", "MB", "MB/s, median", "lowest", "highest"])


def memory(files: list[Path], folder: Path) -> pd.DataFrame:
    """Peak resident memory of a process that packs and one that unpacks, above that of one that imports only."""
    script = (
        "import sys; from cogumi_utils import hardware; from cogumi_utils.compress import archive\n"
        "import gguf\nbefore = hardware.peak_memory_bytes()\n{work}\n"
        "print((hardware.peak_memory_bytes() - before) / 1e6)"
    )
    pack = "archive.pack_file(sys.argv[1], sys.argv[2], level=3)"
    unpack = "archive.unpack_file(sys.argv[2], sys.argv[2] + '.out')"
    rows = []
    for path in files:
        row = {"file": path.name, "MB": path.stat().st_size / 1e6}
        for name, work in (("packing, MB", pack), ("unpacking, MB", unpack)):
            command = [sys.executable, "-c", script.format(work=work), str(path), str(folder / "measured")]
            row[name] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
