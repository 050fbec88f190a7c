"""Both runtimes are timed on the same work, and nothing stays open."""

from __future__ import annotations

import pytest
from gguf_models import save, small_tokenizer

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf import speed as gguf_speed
from cogumi_utils.errors import CogumiError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("m") / "m", small_tokenizer())


@pytest.fixture(scope="module")
def files(folder):
    return {kind: gguf_export.export(folder, folder.parent / f"{kind}.gguf", dtype=kind) for kind in ("F16", "F32")}


def test_a_row_a_runner(folder, files):
    found = gguf_speed.table(folder, files, rounds=1, prompt_tokens=8, new_tokens=4)
    assert list(found.model) == ["transformers, float32", "llama.cpp, F16", "llama.cpp, F32"]
    assert (found["generated tokens/s"] > 0).all() and "peak memory, MB" not in found
    half, whole = found["MB a token"][1:]
    weights = gguf_read.bytes_per_token(files["F32"]) - gguf_read.bytes_per_token(files["F16"])
    assert 1e6 * (whole - half) == pytest.approx(weights)


def test_no_gpu_is_asked_for_where_llama_cpp_has_none(folder, files, monkeypatch):
    class CpuOnly:
        def llama_supports_gpu_offload(self):
            return False

    monkeypatch.setattr(gguf_speed, "library", CpuOnly)
    asked = {}

    def openers(*args, **options):
        asked.update(options)
        return {}

    monkeypatch.setattr(gguf_speed, "openers", openers)
    monkeypatch.setattr(gguf_speed, "timed", lambda found, **options: ([], options))
    gguf_speed.table(folder, files, rounds=1, gpu_layers=99, device="cuda")
    assert asked["device"] == "cpu" and asked["gpu_layers"] == 0 and asked["dtype"] == "float32"


def test_files_are_closed_even_where_timing_fails(folder, files):
    opened = []

    def remembered(opener):
        def call():
            opened.append(opener())
            return opened[-1]

        return call

    found = {name: remembered(opener) for name, opener in gguf_speed.openers(folder, files).items()}
    with pytest.raises(ZeroDivisionError):
        gguf_speed.timed(found, bandwidth=lambda size: 1 / 0, rounds=1, prompt_tokens=4, new_tokens=2)
    for runner in opened[1:]:
        with pytest.raises(CogumiError, match="closed"):
            runner.prompt(4)
