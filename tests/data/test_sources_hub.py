"""The hub comes first: real HTTP against a small hub on loopback, read through `datasets` in a process of its own.

(Hub address, cache and offline mode are read by `huggingface_hub` when it is imported, so each case is a process.)
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys

from fake_hub import card, hub, json_lines

GSM8K = {
    "README.md": card({"main": {"train": "main/train.jsonl", "test": "main/test.jsonl"}}),
    "main/train.jsonl": json_lines({"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}),
    "main/test.jsonl": json_lines({"question": "900 + 100?", "answer": "It is.\n#### 1,000"}),
}
ARC_ROW = {"id": "a", "question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "2"}
ARC_SPLITS = {split: f"{split}.jsonl" for split in ("train", "validation", "test")}
ARC = {
    "README.md": card({"ARC-Challenge": ARC_SPLITS, "ARC-Easy": ARC_SPLITS}),
    **{path: json_lines({**ARC_ROW, "id": path}) for path in ARC_SPLITS.values()},
}


def run(script: str, tmp_path, **environment: str):
    """What `script` prints as JSON, in a fresh process whose hub, cache and data folder are those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "COGUMI_", "TRANSFORMERS_"))}
    settings = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    lead = "import json\nfrom cogumi_utils.data import sources\nfrom cogumi_utils.errors import CogumiError\n"
    done = subprocess.run(
        [sys.executable, "-c", lead + script], env=clean | settings, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOOK = "print(json.dumps([sources.load('gsm8k', purpose='train'), sources.raw_reference('openai/gsm8k')]))"


def test_the_hub_is_read_first_and_its_cache_when_offline(tmp_path):
    with hub({"openai/gsm8k": GSM8K}) as address:
        rows, reference = run(LOOK, tmp_path, HF_ENDPOINT=address)
    assert [(row["question"], row["_split"], row["_licence"]) for row in rows] == [("1 + 1?", "train", "MIT")]
    assert reference["origin"] == "hub" and reference["rows"] == 2 and len(reference["sha256"]) == 64
    assert reference["licence"] == "MIT" and reference["name"] == "openai/gsm8k"
    again = run(LOOK, tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="1")  # the hub is gone; its cache is not
    assert again == [rows, reference]


def test_the_pinned_copy_is_read_where_the_hub_does_not_answer_and_only_there(tmp_path):
    body = json_lines({"question": "pinned?", "answer": "#### 3"})
    (tmp_path / "train.jsonl").write_bytes(body)
    file = {"file": "train.jsonl", "split": "train", "rows": 1, "sha256": hashlib.sha256(body).hexdigest()}
    manifest = {"data_sets": [{"name": "gsm8k", "rows": 1, "files": [file]}]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    with hub({"openai/gsm8k": GSM8K}) as address:
        rows, reference = run(LOOK, tmp_path, HF_ENDPOINT=address, COGUMI_DATA=str(tmp_path))
    assert (rows[0]["question"], reference["origin"]) == ("1 + 1?", "hub")
    rows, reference = run(LOOK, tmp_path / "elsewhere", HF_ENDPOINT=address, COGUMI_DATA=str(tmp_path))
    assert (rows[0]["question"], reference["origin"]) == ("pinned?", "local")


def test_rows_of_the_hub_become_the_same_examples_as_those_of_the_pinned_copy(tmp_path):
    script = """
import dataclasses
arc = sources.load_examples('allenai/ai2_arc', purpose='evaluation')
gsm = sources.load_examples('gsm8k', purpose='evaluation')
print(json.dumps([dataclasses.asdict(e) for e in (*arc, *gsm)]))
"""
    with hub({"openai/gsm8k": GSM8K, "allenai/ai2_arc": ARC}) as address:
        *arc, gsm = run(script, tmp_path, HF_ENDPOINT=address)
    assert [(e["skill"], e["split"]) for e in arc] == [
        ("arc_challenge", "validation"), ("arc_challenge", "test"), ("arc_easy", "validation"), ("arc_easy", "test"),
    ]  # fmt: skip
    assert arc[0]["verifier"] == {"kind": "choice", "payload": {"answer": "B"}}
    assert arc[0]["messages"][0]["content"].startswith("Hot?\nA. ice\nB. fire\n")
    assert gsm["verifier"] == {"kind": "number", "payload": {"answer": "1000"}}
    assert gsm["parents"] == ["hub:openai/gsm8k/main/test#0"]


def test_what_the_hub_cannot_give_is_an_error_that_names_both_places(tmp_path):
    script = """
found = {}
for name in ('humaneval', 'gsm8k', 'nl2bash', 'routellm'):
    try:
        sources.load(name, purpose='evaluation')
    except CogumiError as error:
        found[name] = [error.expected, error.found, error.fix]
print(json.dumps(found))
"""
    renamed = GSM8K | {"main/train.jsonl": json_lines({"q": "1 + 1?"}), "main/test.jsonl": json_lines({"q": "2"})}
    with hub({"openai/gsm8k": renamed}) as address:
        errors = run(script, tmp_path, HF_ENDPOINT=address)
    reasons = {
        "humaneval": "the hub does not give openai/openai_humaneval (RepositoryNotFoundError)",
        "gsm8k": "openai/gsm8k on the hub has no column question, answer (it has ['q'])",
        "nl2bash": "the hub's copy (jiacheng-ye/nl2bash) is laid out otherwise and is not read",
        "routellm": "it has no Hugging Face hub id",
    }
    for name, reason in reasons.items():
        expected, found, fix = errors[name]
        assert "Hugging Face hub" in expected and "COGUMI_DATA" in expected
        assert found == f"{name}: {reason}; COGUMI_DATA is not set"
        assert "COGUMI_DATA" in fix


def test_without_hub_and_cache_offline_mode_says_so(tmp_path):
    script = """
try:
    sources.require_reachable(['gsm8k', 'mmlu'])
except CogumiError as error:
    print(json.dumps(str(error)))
"""
    text = run(script, tmp_path, HF_HUB_OFFLINE="1", COGUMI_DATA=str(tmp_path))
    assert "HF_HUB_OFFLINE is set and openai/gsm8k is not in the hub's cache" in text
    assert "HF_HUB_OFFLINE is set and cais/mmlu is not in the hub's cache" in text
    assert f"no MANIFEST.json in {tmp_path}" in text


def test_a_hub_that_never_answers_is_given_up_once_for_all_sets(tmp_path):
    script = """
from cogumi_utils.data import _hub
_hub.TIMEOUT_SECONDS = 0.3
print(json.dumps(sources.catalogue().here.tolist()))
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        here = run(script, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        connections = 0
        silent.settimeout(0)
        while True:
            try:
                silent.accept()
            except BlockingIOError:
                break
            connections += 1
    assert here == [""] * len(here) and len(here) == 33
    assert connections == 1
