"""The pinned copy of the public sets, where COGUMI_DATA names it: every row counted, every reference verified."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from cogumi_utils import params
from cogumi_utils.data import sources
from cogumi_utils.judge.grade import verdicts
from cogumi_utils.pipeline import require_sources
from cogumi_utils.schema import from_table, to_table

pytestmark = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA"), reason="COGUMI_DATA names no folder with a copy of the public sets"
)

# rows by split; Examples for training; Examples for evaluation, by verifier
COUNTS = {
    "humaneval": ({"test": 164}, {}, {"python_tests": 164}),
    "mbpp": ({"train": 494, "validation": 150, "test": 757}, {"python_tests": 494}, {"python_tests": 907}),
    "gsm8k": ({"train": 7473, "test": 1319}, {"number": 7473}, {"number": 1319}),
    "gsm8k_model_solutions": ({"test": 1319}, {}, {}),
    "bbh": ({"test": 6511}, {}, {"choice": 4071, "final": 1940, "number": 500}),
    "bfcl_v4": ({"test": 4696}, {}, {"tool_calls": 3621, "none": 16}),
    "mmlu": ({"validation": 285, "test": 14042}, {}, {"choice": 14327}),
    "convfinqa_dev": ({"validation": 421}, {}, {"number": 418, "final": 3}),
    "math500": ({"test": 500}, {}, {"number": 317, "final": 183}),
    "dolly_3k": ({"train": 2996}, {"none": 2996}, {}),
    "self_instruct": ({"train": 175, "test": 252}, {"none": 175}, {"none": 252}),
    "llms_from_scratch_instruct": ({"train": 2200}, {"none": 1100}, {}),
    "gpteacher": ({"train": 1923}, {"none": 1923}, {}),
    "flan_cot": ({"train": 25970}, {"choice": 3812, "final": 22158}, {}),
    "arc": ({"train": 3370, "validation": 869, "test": 3546}, {"choice": 3370}, {"choice": 4415}),
    "qasc_dev": ({"validation": 926}, {}, {"choice": 926}),
    "theoremqa": ({"test": 800}, {}, {"number": 560, "final": 171, "choice": 16}),
    "aqua_rat": ({"validation": 254, "test": 254}, {}, {"choice": 508}),
    "ifeval": ({"test": 541}, {}, {"none": 541}),
    "toolalpaca": ({"test": 21}, {}, {"tool_calls": 179, "none": 35}),
    "api_bank": ({"test": 2590}, {}, {"tool_calls": 508}),
    "nestful": ({"test": 300}, {}, {"tool_calls": 300}),
    "nl2bash": ({"train": 12607}, {"none": 12607}, {}),
    "mt_bench": ({"test": 160}, {}, {"none": 160}),
    "llmbar": ({"test": 419}, {}, {"none": 419}),
    "routellm": ({"test": 15361}, {}, {}),
    "banking77": ({"train": 10003, "test": 3080}, {}, {}),
    "clinc150": ({"train": 15100, "validation": 3100, "test": 5500}, {}, {}),
    "go_emotions": ({"train": 43410, "validation": 5426, "test": 5427}, {}, {}),
    "betold": ({"validation": 1352, "test": 1353}, {}, {}),
    "bitext_customer_support_20k": ({"train": 21534}, {}, {}),
    "longbench_write": ({"test": 120}, {}, {"none": 120}),
    "eqbench_creative_writing": ({"test": 19}, {}, {"none": 19}),
}
NO_ANSWER = {"ifeval": 541, "longbench_write": 120, "mt_bench": 120, "toolalpaca": 35, "bfcl_v4": 16}
MOST_PROGRAMS = 12  # of the code sets, spread evenly; each costs a start of the sandbox


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)


@pytest.fixture(scope="module")
def manifest() -> dict[str, dict]:
    entries = json.loads((Path(os.environ["COGUMI_DATA"]) / "MANIFEST.json").read_text())["data_sets"]
    return {entry["name"]: entry for entry in entries}


def examples_for(name: str, purpose: str) -> list:
    return sources.load_examples(name, purpose=purpose) if name in sources.names(purpose) else []


def test_the_list_of_sets_agrees_with_the_manifest(manifest):
    assert list(sources.sources()) == list(manifest) == list(COUNTS)
    for name, source in sources.sources().items():
        entry = manifest[name]
        assert (source.hub_id, source.licence, source.rows) == (entry["hub_id"], entry["license"], entry["rows"])


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_of_the_manifest_is_read_and_belongs_to_one_purpose(name):
    by_split, _, _ = COUNTS[name]
    source = sources.find(name)
    rows = {purpose: [] for purpose in sources.SPLITS_FOR}
    for purpose, splits in sources.SPLITS_FOR.items():
        if set(splits) & set(by_split):
            rows[purpose] = sources.load(name, purpose=purpose)
        else:
            with pytest.raises(sources.SourceError):
                sources.load(name, purpose=purpose)
    both = rows["train"] + rows["evaluation"]
    assert Counter(row["_split"] for row in both) == by_split
    assert len(both) == source.rows and set(source.splits) == set(by_split)
    assert {row["_licence"] for row in both} == {source.licence}
    assert len({(row["_file"], row["_row"]) for row in both}) == len(both)


@pytest.mark.parametrize("name", [name for name, counts in COUNTS.items() if counts[1] or counts[2]])
def test_rows_become_examples_whose_reference_answers_pass_their_own_verifier(name):
    kinds = {"train": COUNTS[name][1], "evaluation": COUNTS[name][2]}
    examples = {purpose: examples_for(name, purpose) for purpose in kinds}
    for purpose, expected in kinds.items():
        assert Counter(example.verifier["kind"] for example in examples[purpose]) == expected
        assert {example.split for example in examples[purpose]} <= set(sources.SPLITS_FOR[purpose])
    both = examples["train"] + examples["evaluation"]
    assert {(example.source, example.licence) for example in both} == {(name, sources.find(name).licence)}
    assert all(example.prompt and example.prompt[-1]["role"] in ("user", "tool") for example in both)
    assert sum(not example.answer for example in both) == NO_ANSWER.get(name, 0)
    checked = [example for example in both if example.verifier["kind"] != "none"]
    if name in ("humaneval", "mbpp"):
        checked = checked[:: len(checked) // MOST_PROGRAMS]
    wrong = [verdict for verdict in verdicts(checked, [example.answer for example in checked]) if not verdict.passed]
    assert not wrong, wrong[:3]


def test_the_sets_own_repetitions_between_training_and_evaluation_are_known():
    """ARC-Easy repeats two test questions in its training part; decontamination has to find them."""
    repeated = {}
    for name in sorted(set(sources.names("train")) & set(sources.names("evaluation"))):
        train = {json.dumps(example.prompt) for example in examples_for(name, "train")}
        evaluation = [json.dumps(example.prompt) for example in examples_for(name, "evaluation")]
        repeated[name] = sum(prompt in train for prompt in evaluation)
    assert repeated == {"arc": 2, "gsm8k": 0, "mbpp": 0, "self_instruct": 0}


def test_examples_survive_parquet():
    for name in ("bfcl_v4", "humaneval", "api_bank"):
        some = sources.load_examples(name, purpose="evaluation", limit=50)
        assert [(e.id, e.messages, e.verifier) for e in from_table(to_table(some))] == [
            (e.id, e.messages, e.verifier) for e in some
        ]


def test_all_sets_are_here_with_a_reference_each():
    assert set(sources.require_reachable(COUNTS).values()) == {"local"}
    assert set(sources.catalogue().here) == {"local"}
    reference = sources.raw_reference("openai/gsm8k")
    assert (reference["origin"], reference["rows"], reference["licence"]) == ("local", 8792, "MIT")


@pytest.mark.parametrize("profile", params.profiles())
def test_every_profile_finds_the_sets_that_its_parameters_name(profile):
    """Checked before the first kernel of a chain: a name that no source has would stop it there."""
    require_sources(params.load_profile(profile).values())
