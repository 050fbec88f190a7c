"""Sets read from a data folder made here: formats, digests, splits, licences, and the wall before training data."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from cogumi_utils.data import sources
from cogumi_utils.data._assemble import mbpp_split
from cogumi_utils.data._local import split_of
from cogumi_utils.data._readers import ONE_TEXT, CorruptSource, read_rows
from cogumi_utils.data.sources import EvaluationOnly, SourceError
from cogumi_utils.errors import CogumiError


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COGUMI_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    write_manifest(tmp_path / "data", [])
    return tmp_path / "data"


def write_manifest(folder: Path, entries: list[dict]) -> None:
    (folder / "MANIFEST.json").write_text(json.dumps({"data_sets": entries}))


def add_set(folder: Path, name: str, files: list[tuple], rows: int | None = None) -> dict:
    """files: (path, bytes, the manifest's split words, rows[, counted]). The entry is written to the manifest too."""
    entry = {"name": name, "files": []}
    for path, body, split, count, *counted in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
        file = {"file": path, "split": split, "rows": count, "sha256": hashlib.sha256(body).hexdigest()}
        entry["files"].append(file | ({"counted_in_rows": False} if counted else {}))
    entry["rows"] = sum(f["rows"] for f in entry["files"] if "counted_in_rows" not in f) if rows is None else rows
    known = json.loads((folder / "MANIFEST.json").read_text())["data_sets"]
    write_manifest(folder, [*known, entry])
    return entry


def lines(*rows: dict) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def add_gsm8k(folder: Path, train: int = 3, test: int = 2) -> dict:
    def questions(split: str, n: int) -> bytes:
        return lines(
            *({"question": f"{split} {i}?", "answer": f"It is <<{i}={i}>>{i}.\n#### {i},000"} for i in range(n))
        )

    files = [
        ("gsm8k/train.jsonl.gz", gzip.compress(questions("train", train)), "train", train),
        ("gsm8k/test.jsonl", questions("test", test), "test", test),
    ]
    return add_set(folder, "gsm8k", files)


# --- formats


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.jsonl", '{"x": 1}\n\n{"x": 2}', [{"x": 1}, {"x": 2}]),
        ("a.json", '[{"x": 1}, {"x": 2}]', [{"x": 1}, {"x": 2}]),
        ("a.json", '{"x": 1}\n{"x": 2}\n', [{"x": 1}, {"x": 2}]),  # JSON lines under a .json name
        ("a.json", '{"canary": "c", "examples": [{"x": 1}]}', [{"x": 1}]),
        ("a.json", '{"k": [1], "l": 2}', [{"key": "k", "value": [1]}, {"key": "l", "value": 2}]),
        ("a.json", '["u", "v"]', [{"text": "u"}, {"text": "v"}]),
        ("a.csv", 'q,a\n"one, ""two""\nthree",4\n', [{"q": 'one, "two"\nthree', "a": "4"}]),
        ("a.tsv", 'He said "no\t27\tid1\nx\t1\tid2\n', [{"col0": 'He said "no', "col1": "27", "col2": "id1"},
                                                       {"col0": "x", "col1": "1", "col2": "id2"}]),
        ("a.txt", "u\n\nv\n", [{"text": "u"}, {"text": ""}, {"text": "v"}]),
        ("a.nl", "list\r\nfiles\r\n", [{"text": "list"}, {"text": "files"}]),
        ("a.jsonl", "\ufeff" + '{"x": 1}', [{"x": 1}]),  # a byte order mark is not data
        ("a.jsonl", '{"x": "a\u2028b\x85c"}\n', [{"x": "a\u2028b\x85c"}]),  # not a line's end in JSON lines
    ],
)  # fmt: skip
def test_each_format_gives_its_rows_gzipped_or_not(tmp_path, name, text, rows):
    (tmp_path / name).write_bytes(text.encode())
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read_rows(tmp_path / name) == rows
    assert read_rows(tmp_path / f"{name}.gz") == rows


def test_a_text_file_can_be_one_row(tmp_path):
    (tmp_path / "prompt.txt").write_text("one\ntwo\n")
    assert read_rows(tmp_path / "prompt.txt", ONE_TEXT) == [{"text": "one\ntwo\n"}]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.jsonl", b'{"x": 1}\n{"x": '),
        ("a.json", b"[1, 2"),
        ("a.jsonl.gz", gzip.compress(b'{"x": 1}' * 99, mtime=0)[:20]),
        ("a.jsonl.gz", b"not gzip"),
        ("a.csv", b"a,b\n\xff\xfe\n"),
    ],
)
def test_text_that_does_not_parse_is_refused_in_four_parts(tmp_path, name, body):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(CorruptSource) as caught:
        read_rows(tmp_path / name)
    assert name in caught.value.expected and caught.value.fix


# --- splits and the wall


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ("train", "train"), ("train (subset)", "train"), ("arc_easy train", "train"), ("seed", "train"),
        ("validation", "validation"), ("dev", "validation"), ("arc_challenge validation", "validation"),
        ("test", "test"), ("test (user oriented)", "test"), ("web_of_lies", "DEFAULT"), ("", "DEFAULT"),
        ("train, val, test in one file", "DEFAULT"), ("latest contestants", "DEFAULT"), ("retrained", "DEFAULT"),
    ],
)  # fmt: skip
def test_the_manifests_words_for_a_file_become_its_split(words, split):
    assert split_of(words, "DEFAULT") == split


def test_rows_are_split_by_purpose_and_carry_their_licence(folder):
    add_gsm8k(folder)
    train = sources.load("gsm8k", purpose="train")
    assert [row["question"] for row in train] == ["train 0?", "train 1?", "train 2?"]
    test = sources.load("openai/gsm8k", purpose="evaluation")
    assert [row["question"] for row in test] == ["test 0?", "test 1?"]
    assert {(row["_licence"], row["_source"]) for row in train + test} == {("MIT", "gsm8k")}
    assert {k: test[1][k] for k in ("_split", "_part", "_file", "_row")} == {
        "_split": "test", "_part": "test", "_file": "gsm8k/test.jsonl", "_row": 1,
    }  # fmt: skip


def test_what_is_marked_test_never_becomes_training_data(folder):
    solution = {
        "prompt": "def f():\n",
        "entry_point": "f",
        "canonical_solution": "    return 1",
        "test": "",
        "task_id": 0,
    }
    add_set(folder, "humaneval", [("h.jsonl", lines(solution), "test", 1)])
    add_gsm8k(folder)
    for ask in (sources.load, sources.load_examples):
        with pytest.raises(EvaluationOnly) as caught:
            ask("humaneval", purpose="train")
        assert caught.value.found == "only split test"
        with pytest.raises(EvaluationOnly):
            ask("gsm8k", split="test", purpose="train")
        with pytest.raises(SourceError, match="training rows measure memory"):
            ask("gsm8k", split="train", purpose="evaluation")


def test_a_file_whose_split_is_not_told_is_evaluation(folder):
    add_set(
        folder, "llmbar", [("n.json", b'[{"input": "i", "output_1": "a", "output_2": "b", "label": 2}]', "Natural", 1)]
    )
    with pytest.raises(EvaluationOnly):
        sources.load("llmbar", purpose="train")
    (example,) = sources.load_examples("llmbar", purpose="evaluation")
    assert (example.answer, example.split, example.skill) == ("b", "test", "natural")


def test_mbpp_is_split_by_its_numbers():
    edges = {
        1: "validation",
        10: "validation",
        11: "test",
        510: "test",
        511: "validation",
        600: "validation",
        601: "train",
    }
    assert {number: mbpp_split(number) for number in edges} == edges


@pytest.mark.parametrize("purpose", ["training", "", None, "test"])
def test_an_unknown_purpose_is_refused(folder, purpose):
    add_gsm8k(folder)
    with pytest.raises(SourceError, match="purpose 'train' or 'evaluation'"):
        sources.load("gsm8k", purpose=purpose)


def test_purpose_cannot_be_left_out():
    with pytest.raises(TypeError):
        sources.load("gsm8k")


# --- what is wrong with a folder


def test_a_changed_file_is_refused_before_use(folder):
    add_gsm8k(folder)
    path = folder / "gsm8k" / "test.jsonl"
    path.write_bytes(path.read_bytes().replace(b"test 0?", b"test 9?"))
    for use in (
        lambda: sources.load("gsm8k", purpose="train"),
        lambda: sources.raw_reference("gsm8k"),
        lambda: sources.require_reachable(["gsm8k"]),
    ):
        with pytest.raises(CorruptSource, match="sha256"):
            use()


def test_a_missing_file_is_refused(folder):
    add_gsm8k(folder)
    (folder / "gsm8k" / "test.jsonl").unlink()
    with pytest.raises(CorruptSource, match="no such file"):
        sources.load("gsm8k", purpose="train")


def test_a_wrong_number_of_rows_is_refused(folder):
    add_set(folder, "dolly_3k", [("d.json", b"[]", "train", 0)], rows=1)
    with pytest.raises(CorruptSource, match="1 rows of dolly_3k"):
        sources.load("dolly_3k", purpose="train")


def test_a_manifest_may_not_reach_outside_its_folder(folder):
    (folder.parent / "secret.jsonl").write_bytes(b'{"x": 1}')
    add_set(folder, "dolly_3k", [("../secret.jsonl", b'{"x": 1}', "train", 1)])
    with pytest.raises(CorruptSource, match="files inside"):
        sources.load("dolly_3k", purpose="train")


def test_a_manifest_that_is_not_json_is_refused(folder):
    (folder / "MANIFEST.json").write_text("{")
    with pytest.raises(CorruptSource, match="to be JSON"):
        sources.load("gsm8k", purpose="train")


def test_a_set_in_neither_place_is_an_error_that_names_both(folder, monkeypatch):
    add_gsm8k(folder)
    with pytest.raises(SourceError) as caught:
        sources.load("mmlu", purpose="evaluation")
    assert caught.value.expected == "cais/mmlu on the Hugging Face hub or in the folder that COGUMI_DATA names"
    assert "HF_HUB_OFFLINE is set" in caught.value.found and f"no set mmlu in {folder}" in caught.value.found
    monkeypatch.delenv("COGUMI_DATA")
    with pytest.raises(SourceError, match="COGUMI_DATA is not set"):
        sources.load("mmlu", purpose="evaluation")


def test_preflight_names_every_set_that_is_missing_at_once(folder):
    add_gsm8k(folder)
    assert sources.require_reachable(["gsm8k"]) == {"gsm8k": "local"}
    with pytest.raises(SourceError) as caught:
        sources.require_reachable(["gsm8k", "mmlu", "arc"])
    assert "mmlu: " in caught.value.found and "arc: " in caught.value.found and "gsm8k: " not in caught.value.found


def test_an_unknown_name_gets_the_nearest_known_ones():
    with pytest.raises(SourceError) as caught:
        sources.load("gsm8", purpose="train")
    assert "'gsm8k'" in caught.value.fix


# --- Examples


def test_gsm8k_becomes_chats_with_a_number_to_verify(folder):
    add_gsm8k(folder)
    example = sources.load_examples("gsm8k", purpose="train")[2]
    assert example.messages == [
        {"role": "user", "content": "train 2?"},
        {"role": "assistant", "content": "It is 2.\nAnswer: 2000"},
    ]
    assert example.verifier == {"kind": "number", "payload": {"answer": "2000"}}
    assert (example.domain, example.skill, example.source, example.licence) == ("math", "gsm8k", "gsm8k", "MIT")
    assert (example.split, example.parents) == ("train", ("gsm8k/train.jsonl.gz#2",))


def test_a_limit_takes_rows_at_even_distances(folder):
    add_gsm8k(folder, train=10)
    picked = sources.load_examples("gsm8k", purpose="train", limit=4)
    assert [example.parents[0].rpartition("#")[2] for example in picked] == ["0", "2", "5", "7"]
    assert len(sources.load_examples("gsm8k", purpose="train", limit=99)) == 10


def test_humaneval_keeps_imports_and_helpers_for_answers_that_leave_them_out(folder):
    prompt = 'from typing import List\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Twice."""\n'
    row = {"task_id": 0, "prompt": prompt, "entry_point": "f", "canonical_solution": "    return 2 * x\n"}
    row["test"] = "def check(candidate):\n    assert candidate(1) == 2\n"
    add_set(folder, "humaneval", [("h.jsonl", lines(row), "test", 1)])
    (example,) = sources.load_examples("humaneval", purpose="evaluation")
    payload = example.verifier["payload"]
    assert payload["setup"] == "from typing import List\n\ndef helper(x):\n    return x"
    assert payload["tests"] == "def check(candidate):\n    assert candidate(1) == 2\n\ncheck(f)"
    assert payload["entry_point"] == "f"
    assert example.answer == f"```python\n{prompt}    return 2 * x\n```"


def test_mbpp_names_the_function_that_its_tests_call(folder):
    code = "import math\r\ndef helper(n):\r\n    return n\r\ndef area(r):\r\n    return helper(r)"
    row = {
        "text": "Area.",
        "code": code,
        "task_id": 700,
        "test_setup_code": "r = 1\r\nq = 2",
        "challenge_test_list": [],
    }
    row["test_list"] = ["assert math.isclose(area(1), 1)", "assert area(r) == 1"]
    add_set(folder, "mbpp", [("m.jsonl", lines(row), "all", 1)])
    (example,) = sources.load_examples("mbpp", purpose="train")
    assert example.verifier["payload"] == {
        "entry_point": "area",
        "tests": "r = 1\nq = 2\nassert math.isclose(area(1), 1)\nassert area(r) == 1",
        "setup": "",
    }
    assert "\r" not in example.answer


def test_bfcl_keeps_every_value_that_it_allows(folder):
    question = {
        "id": "s0",
        "question": [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Area?"}]],
    }
    question["function"] = [{"name": "geo.area", "parameters": {}}]
    allowed = {"base": [10, 10.0], "unit": ["m", ""], "cc": [""], "box": [{"x": [1, 2], "y": ["", 3]}], "starts": []}
    truth = {"id": "s0", "ground_truth": [{"geo.area": allowed}]}
    files = [
        ("bfcl_v4/BFCL_v4_simple_python.jsonl", lines(question), "simple_python", 1),
        ("bfcl_v4/BFCL_v4_irrelevance.jsonl", lines(question | {"id": "i0"}), "irrelevance", 1),
        ("bfcl_v4/BFCL_v4_memory.jsonl", lines({"id": "m0", "question": [[]]}), "memory", 1),
        ("bfcl_v4/possible_answer/BFCL_v4_simple_python.jsonl", lines(truth), "possible_answer", 1, False),
    ]
    add_set(folder, "bfcl_v4", files)
    simple, none = sources.load_examples("bfcl_v4", purpose="evaluation")
    assert [message["role"] for message in simple.messages] == ["system", "user", "assistant"]
    assert simple.messages[0]["content"].startswith('Be brief.\n\nFunctions:\n[{"name": "geo.area"')
    assert simple.answer == 'geo.area(base=10, box={"x": 1, "y": 3})'
    payload = simple.verifier["payload"]
    assert payload["calls"] == [{"name": "geo.area", "arguments": {"base": 10, "box": {"x": 1, "y": 3}}}]
    assert payload["ordered"] is False
    (accept,) = payload["accept"]
    assert accept["optional"] == ["cc", "starts", "unit"]
    assert accept["arguments"]["unit"] == ["m"] and accept["arguments"]["starts"] == [[]]
    assert accept["arguments"]["box"] == [{"x": 1, "y": 3}, {"x": 1}, {"x": 2, "y": 3}, {"x": 2}]
    assert none.answer == "none()"
    assert none.verifier["payload"]["calls"] == [{"name": "none", "arguments": {}}]


def test_api_bank_gives_one_example_a_call_with_what_was_said_before(folder):
    turns = [
        {"role": "User", "text": "Add a meeting."},
        {"role": "AI", "text": "Let me see."},
        {"role": "API", "api_name": "Token", "param_dict": {"user": "foo"}, "result": {"output": {"token": "t"}}},
        {"role": "API", "api_name": "Add", "param_dict": {"token": "t"}, "result": {"output": "ok"}},
        {"role": "AI", "text": "Done."},
    ]
    apis = "类名,api_info\nToken,gives a token\nAdd,adds\nOther,not used\n".encode()
    files = [
        ("api_bank/lv1/Add-level-1-1.jsonl", lines(*turns), "level-1", 5),
        ("api_bank/all_apis.csv", apis, "api descriptions", 3, False),
    ]
    add_set(folder, "api_bank", files)
    token, add = sources.load_examples("api_bank", purpose="evaluation")
    assert token.answer == 'Token(user="foo")' and add.answer == 'Add(token="t")'
    assert [m["role"] for m in token.prompt] == ["system", "user"]
    assert [m["role"] for m in add.prompt] == ["system", "user", "assistant", "assistant", "tool"]
    assert add.prompt[-1]["content"] == '{"token": "t"}'
    assert '{"Add": "adds", "Token": "gives a token"}' in add.prompt[0]["content"]


def test_parallel_files_are_joined_line_by_line(folder):
    files = [("n/all.nl", b"list files\nshow\n", "all", 2), ("n/all.cm", b"ls\ncat x\n", "all (commands)", 2, False)]
    add_set(folder, "nl2bash", files)
    examples = sources.load_examples("nl2bash", purpose="train")
    assert [example.answer for example in examples] == ["ls", "cat x"]
    assert {example.verifier["kind"] for example in examples} == {"none"}


def test_a_row_of_another_layout_is_an_error_and_not_a_wrong_question(folder):
    add_set(folder, "aqua_rat", [("t.json", b'{"question": "q", "options": ["A)1"]}', "test", 2)])
    with pytest.raises(CogumiError, match="rows of aqua_rat laid out as in the pinned copy"):
        sources.load_examples("aqua_rat", purpose="evaluation")


def test_sets_without_a_chat_form_load_as_rows_and_say_why_not_as_examples(folder):
    lists = gzip.compress(b'{"oos_val": [["what", "oos"]], "train": [["hi", "greet"]]}')
    add_set(folder, "clinc150", [("c.json.gz", lists, "train, val, test", 2)])
    (row,) = sources.load("clinc150", purpose="train")
    assert (row["text"], row["intent"], row["part"]) == ("hi", "greet", "train")
    with pytest.raises(SourceError, match="intent labels"):
        sources.load_examples("clinc150", purpose="train")


def test_the_reference_of_a_set_changes_with_any_of_its_files(folder):
    add_gsm8k(folder)
    before = sources.raw_reference("gsm8k")
    assert before == {
        "name": "openai/gsm8k", "licence": "MIT", "rows": 5, "origin": "local", "sha256": before["sha256"]
    }  # fmt: skip
    write_manifest(folder, [])
    add_gsm8k(folder, test=3)
    assert sources.raw_reference("gsm8k")["sha256"] != before["sha256"]


def test_the_catalogue_names_every_set_with_licence_and_place(folder):
    add_gsm8k(folder)
    table = sources.catalogue().set_index("name")
    assert len(table) == 33 and table.here.gsm8k == "local" and table.here.mmlu == ""
    assert table.licence.notna().all()
    assert set(table.why_rows_only[table.domain.isna()].str.len() > 0) == {True}
