"""The study: finished arms stay, results do not hang on workers, and tables say what the scores say."""

from __future__ import annotations

import pandas as pd
import pytest

from cogumi_utils.data.skills import families
from cogumi_utils.model import meta_answers, meta_study, meta_tables
from cogumi_utils.model.meta_study import MetaArm, MetaOutcome, MetaStudy
from cogumi_utils.model.meta_train import MetaRecipe

RECIPE = MetaRecipe(
    "", tokens=600, tasks=2, shots=2, inner_steps=2, inner_rate=0.3, outer_rate=0.01, rate_rate=0.05, seed=1,
    families=14, longest=1.0,
)  # fmt: skip
ARMS = [
    MetaArm("nothing", 1),
    MetaArm("FOMAML", 1, "fomaml", tuned=True),
    MetaArm("shown", 1, "in_prompt", shown=True),
    MetaArm("plain", 1, tuned=True, rate=0.3),
]


def study_in(folder, base) -> MetaStudy:
    return MetaStudy(base, "00_student/model", folder, RECIPE, 4, (), 7, 2, (0, 1, 2), 2, split="validation")


@pytest.fixture(scope="module")
def done(base, tmp_path_factory) -> tuple[MetaStudy, list[MetaOutcome]]:
    study = study_in(tmp_path_factory.mktemp("study"), base)
    return study, meta_study.run(study, ARMS)


def test_every_arm_is_judged_on_the_same_families(done):
    table = meta_tables.scores(done[1])
    assert len(table) == len(ARMS) * 7 * 3
    names = {f.name for f in families.families("validation", 7)}
    assert all(set(group["family"]) == names for _, group in table.groupby(["arm", "shots"]))


def test_what_is_finished_is_not_done_again(done):
    study, outcomes = done
    before = [(one.folder / "manifest.json").stat().st_mtime_ns for one in outcomes]
    assert meta_study.run(study, ARMS) == outcomes
    assert [(one.folder / "manifest.json").stat().st_mtime_ns for one in outcomes] == before


def test_the_saved_adapter_and_rates_give_the_same_answers(done):
    """Read back from files, adapted one family at a time, generated and graded: what the study counted in a stack."""
    study, outcomes = done
    answers = meta_answers.answered(study, ARMS[1], outcomes[1], families_a_kind=1, max_new_tokens=40)
    scores = outcomes[1].scores()
    most = scores[scores["shots"] == 2].set_index("family")["right"]
    assert len(answers) == 14
    assert answers.groupby("skill")["exact"].mean().to_dict() == most.to_dict()
    assert (answers["passed"] >= answers["exact"]).all()


def test_an_arm_that_looks_at_no_example_is_the_same_at_every_shot(done):
    table = done[1][0].scores()
    assert table.pivot_table(index="family", columns="shots", values="right").nunique(axis=1).eq(1).all()


def test_tables_average_seeds_before_families():
    rows = [("f", 5, "one", 1, 1.0), ("f", 5, "one", 2, 0.0), ("g", 5, "one", 1, 1.0), ("g", 5, "one", 2, 1.0)]
    rows += [(family, 5, "two", seed, 0.25) for family in "fg" for seed in (1, 2)]
    table = pd.DataFrame(rows, columns=["family", "shots", "arm", "seed", "right"]).assign(kind="k")
    assert meta_tables.of_families(table, 5)["one"].to_dict() == {"f": 0.5, "g": 1.0}
    assert meta_tables.intervals(table, 5, 0)["one"].value == 0.75
    change = meta_tables.difference(table, "one", "two", 5, 0)
    assert (change.value, change.n, change.gained) == (0.5, 2, 2)
    assert list(meta_tables.differences(table, "one", 5, 0)) == ["minus two"]
    assert meta_tables.kinds(table, 5)["families"].tolist() == [2]
