"""The arms of a study: the same results however many train at a time, each trained once, and none lost to a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cogumi_utils import artifacts
from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade
from cogumi_utils.model import distill, generate, merge, sft
from cogumi_utils.schema import read_examples, write_examples

RECIPE = sft.Recipe(
    steps=4, batch=2, max_length=64, rank=4, learning_rate=5e-3, seed=99, save_every=2, eval_every=4,
    modules=("q_proj", "v_proj"),
)  # fmt: skip


@pytest.fixture(scope="module")
def test_set(tmp_path_factory) -> Path:
    rows = skills.mixed(skills.trained_skills(), 1, split="test", seed=1)
    return write_examples(tmp_path_factory.mktemp("test") / "test.parquet", rows[:10])


@pytest.fixture(scope="module")
def arms(rows) -> list[distill.Arm]:
    return [
        distill.Arm("one way", 1, rows[:60]),
        distill.Arm("one way", 2, rows[:60]),
        distill.Arm("other", 1, rows[60:120]),
    ]


def study_in(folder: Path, base: Path, test_set: Path) -> distill.Study:
    return distill.Study(base, "00_student/model", test_set, RECIPE, folder, max_new_tokens=12)


@pytest.fixture(scope="module")
def alone(base, test_set, arms, tmp_path_factory) -> list[distill.Outcome]:
    """What the others are compared with: one after the other, in this process."""
    return distill.run(study_in(tmp_path_factory.mktemp("alone"), base, test_set), arms)


def results(outcomes: list[distill.Outcome]) -> list[tuple]:
    """All that may not depend on how an arm came to be: everything but its seconds and tokens, and its place."""
    adapters = [artifacts.sha256_tree(one.adapter) for one in outcomes]
    graded = [one.graded().to_dict("records") for one in outcomes]
    facts = [(one.arm, one.seed, one.examples, one.losses) for one in outcomes]
    return list(zip(facts, adapters, graded, strict=True))


def test_outcomes_come_in_the_order_of_the_arms_with_their_facts(alone, arms):
    assert [(one.arm, one.seed, one.examples) for one in alone] == [
        ("one way", 1, 60),
        ("one way", 2, 60),
        ("other", 1, 60),
    ]
    assert [one.folder.name for one in alone] == ["one_way-1", "one_way-2", "other-1"] == [arm.key for arm in arms]
    for one in alone:
        assert [step for step, _ in one.losses] == [1, 2, 3, 4] and one.seconds > 0 and 400 < one.tokens <= 512


def test_the_first_losses(alone):
    """Four steps from the same weights: another order, packing, seed or rate shows here first."""
    losses = [[loss for _, loss in one.losses] for one in alone]
    assert losses[0] == pytest.approx([5.37365, 4.89427, 4.49681, 5.31278], abs=1e-2)
    assert losses[1] == pytest.approx([4.42283, 5.25328, 4.87839, 5.19980], abs=1e-2)
    assert losses[2] == pytest.approx([4.27042, 5.14775, 4.85795, 4.42675], abs=1e-2)


def test_arms_differ_in_their_seed_and_in_their_examples(alone):
    hashes = {artifacts.sha256_tree(one.adapter) for one in alone}
    assert len(hashes) == 3


def test_an_arm_is_the_training_of_its_recipe_and_seed(alone, arms, base, test_set, tmp_path):
    """By hand: the same base, recipe and seed through `sft`, the merged model, and the grader."""
    from cogumi_utils.model import student

    model, tokenizer = student.load(base)
    by_hand = sft.train(
        model, tokenizer, arms[1].examples, dataclasses.replace(RECIPE, seed=2), folder=tmp_path / "run"
    )
    saved = sft.save_adapter(by_hand.model, tmp_path / "adapter", "00_student/model")
    assert artifacts.sha256_tree(saved) == artifacts.sha256_tree(alone[1].adapter)
    answer = generate.answerer(merge.merge(base, saved, None), tokenizer, max_new_tokens=12)
    graded = grade.evaluate(read_examples(test_set), answer)
    assert graded.equals(alone[1].graded()) and list(graded["id"]) == [row.id for row in read_examples(test_set)]
    settings = json.loads((alone[1].adapter / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["q_proj", "v_proj"] and settings["r"] == 4
    assert settings["base_model_name_or_path"] == "00_student/model"


def test_two_at_a_time_are_as_one_after_the_other(alone, arms, base, test_set, tmp_path):
    together = distill.run(study_in(tmp_path, base, test_set), arms, workers=2)
    assert results(together) == results(alone)


def test_a_finished_arm_is_not_trained_again_and_a_damaged_one_is(alone, arms, base, test_set, tmp_path):
    study = study_in(tmp_path, base, test_set)
    distill.run(study, arms[:2])
    stamps = [(tmp_path / arm.key / artifacts.MANIFEST).stat().st_mtime_ns for arm in arms[:2]]
    damaged = tmp_path / arms[1].key / "graded.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    again = distill.run(study, arms[:2])
    assert results(again) == results(alone[:2])
    now = [(tmp_path / arm.key / artifacts.MANIFEST).stat().st_mtime_ns for arm in arms[:2]]
    assert now[0] == stamps[0] and now[1] > stamps[1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("place", ["after the checkpoint of step 2", "before grading", "before the manifest"])
def test_an_arm_that_was_killed_half_way_goes_on(alone, arms, base, test_set, tmp_path, monkeypatch, place):
    study = study_in(tmp_path, base, test_set)
    with monkeypatch.context() as patch:
        if place == "after the checkpoint of step 2":
            patch.setattr(sft.CertifyCheckpoints, "on_step_begin", killed_in_step_4, raising=False)
        else:
            owner, name = (generate, "answerer") if place == "before grading" else (artifacts, "write_manifest")
            patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            distill.run(study, arms[2:])
    assert not (tmp_path / "other-1" / artifacts.MANIFEST).exists()
    (one,) = distill.run(study, arms[2:])
    assert results([one]) == results(alone[2:])
    expected = alone[2].tokens // 2 if place == "after the checkpoint of step 2" else 0
    assert abs(one.tokens - expected) <= 1, "only what was missing was trained"


def kill(*args, **kwargs):
    raise Killed


def killed_in_step_4(self, args, state, control, **kwargs):
    if state.global_step == 3:
        raise Killed


def test_arms_of_one_key_are_refused_before_any_is_trained(base, test_set, rows, tmp_path):
    twins = [distill.Arm("one way", 1, rows[:4]), distill.Arm("one_way", 1, rows[4:8]), distill.Arm("other", 1, rows)]
    with pytest.raises(CogumiError) as caught:
        distill.run(study_in(tmp_path, base, test_set), twins)
    assert caught.value.found == "one_way-1 more than once" and list(tmp_path.iterdir()) == []


def test_an_error_in_a_worker_is_told_in_its_four_parts(base, test_set, rows, tmp_path):
    empty = [distill.Arm("empty", seed, []) for seed in (1, 2)]
    with pytest.raises(CogumiError) as caught:
        distill.run(study_in(tmp_path, base, test_set), empty, workers=2)
    assert (caught.value.expected, caught.value.found) == ("chats to train on", "none")


def test_an_outcome_is_read_only_if_its_files_are_those_of_its_manifest(alone):
    assert distill.outcome(alone[0].folder) == alone[0]
    with pytest.raises(artifacts.ArtifactError):
        distill.outcome(alone[0].folder / "nowhere")


def test_threads_are_the_study_s(base, test_set, arms, tmp_path, monkeypatch):
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    distill.run(dataclasses.replace(study_in(tmp_path, base, test_set), threads=3), arms[:1])
    assert set_to == [3]


def test_curves_are_one_seed_s(alone):
    found = distill.curves(alone, 1)
    assert list(found) == ["one way", "other"]
    assert found["one way"] == ([1, 2, 3, 4], [loss for _, loss in alone[0].losses])
    assert distill.curves(alone, 7) == {}


def test_the_adapter_of_an_arm_has_been_trained(alone):
    weights = load_file(alone[0].adapter / "adapter_model.safetensors")
    assert all(tensor.any() for name, tensor in weights.items() if "lora_B" in name) and len(weights) == 4
