"""Instances of one notebook by domain: which of them a run includes, and who waits for which; with real kernels."""

from __future__ import annotations

import pytest

CELL = """
profile = "smoke"  # profile, not empty
seed = 7           # seed of every generator, 0..4294967295
domain = "code"    # domain, not empty
"""
BEGIN = """
from cogumi_utils.run import start
from cogumi_utils.toy import mark
run = start("10_modifiers", globals())
mark(run.stage)
"""
TOGETHER = """
import os, time
end = time.monotonic() + 60
while len(open(os.environ["TOY_RUNS"]).read().split()) < int(os.environ.get("TOY_TOGETHER", "1")):
    assert time.monotonic() < end, "the other instance never began"
    time.sleep(0.05)
"""
REVIEW = """
from cogumi_utils.review import reviewed_stages
run.finish(headline="saw " + " ".join(stage for stage in reviewed_stages("tiny") if stage.startswith("10")))
"""
EVERY = ["01_numbers", "10_modifiers/code", "10_modifiers/math", "10_modifiers/science", "14_review"]


@pytest.fixture(scope="module")
def domains(new_checkout, tmp_path_factory):
    """A miniature repository with three domains, of which a run of tiny includes one unasked. Nothing has run."""
    checkout = new_checkout(tmp_path_factory.mktemp("domains"))
    for stage in ("02_sum", "03_words"):
        (checkout.root / f"notebooks/{stage}.ipynb").unlink()
        (checkout.root / f"params/tiny/{stage}.yaml").unlink()
    (checkout.root / "params/gates.yaml").write_text("")
    work = ('run.input("01_numbers/rows.txt")', TOGETHER, "run.finish(headline=run.params.domain)")
    checkout.cells("10_modifiers", BEGIN, *work, parameters=CELL)
    (checkout.root / "params/tiny/10_modifiers").mkdir()
    for domain in ("code", "math", "science"):
        checkout.set(f"10_modifiers/{domain}")
    checkout.add("14_review", REVIEW)
    (checkout.root / "params/tiny/profile.yaml").write_text("domains: [code]\n")
    return checkout


def plan(checkout, *words: str) -> dict[str, str]:
    """{stage: run or keep} of `--dry-run`."""
    done = checkout.run_all("--dry-run", *words)
    assert done.returncode == 0, done.stderr
    return dict(line.split()[1::-1] for line in done.stdout.splitlines() if line.startswith(("run ", "keep ")))


def to_run(checkout, *words: str) -> list[str]:
    return [stage for stage, state in plan(checkout, "--fresh", *words).items() if state == "run"]


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        ([], ["01_numbers", "10_modifiers/code", "14_review"]),
        (["--domains", "all"], EVERY),
        (["--domains", "math,all"], EVERY),
        (["--domains", "science,math"], ["01_numbers", "10_modifiers/math", "10_modifiers/science", "14_review"]),
        (
            ["--domains", "math", "--domains", "science"],
            ["01_numbers", "10_modifiers/math", "10_modifiers/science", "14_review"],
        ),
    ],
)
def test_a_plan_has_the_domains_that_were_asked_for_and_no_others(domains, words, listed):
    assert list(plan(domains, *words)) == to_run(domains, *words) == listed


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["--only", "10"], ["10_modifiers/code"]),
        (["--only", "10", "--domains", "all"], EVERY[1:4]),
        (["--only", "10", "--domains", "math,science"], ["10_modifiers/math", "10_modifiers/science"]),
        (["--only", "10_modifiers/math"], ["10_modifiers/math"]),
        (["--only", "10_modifiers/math", "--domains", "science"], ["10_modifiers/math"]),
        (["--only", "10", "--only", "10_modifiers/math"], ["10_modifiers/code", "10_modifiers/math"]),
        (["--from", "10_modifiers/math"], ["10_modifiers/math", "14_review"]),
        (["--to", "10_modifiers/math"], ["01_numbers", "10_modifiers/code", "10_modifiers/math"]),
    ],
)
def test_a_stage_that_is_named_is_included_whatever_its_domain(domains, words, chosen):
    assert to_run(domains, *words) == chosen


@pytest.mark.parametrize(
    ("words", "found", "nearest"),
    [
        (["--domains", "maht"], "'maht'", "'math'"),
        (["--domains", "math,scince"], "'scince'", "'science'"),
        (["--domains", "al"], "'al'", "'all'"),
        (["--domains", "math,"], "''", "use one of them"),
        (["smoke", "--domains", "math"], "'math'", "use one of them"),  # smoke has the cell's domain alone
        (["--domain", "math"], "'--domain'", "--domains"),
        (["--domains"], "argument --domains: expected one argument", "--help"),
        (["--only", "10_modifiers/scince"], "'10_modifiers/scince'", "10_modifiers/science"),
    ],
)
def test_an_unknown_domain_is_refused_with_the_nearest_right_one(domains, words, found, nearest):
    done = domains.run_all(*words)
    lines = done.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["expected", "found", "why", "fix"]
    assert done.returncode == 2 and found in lines[1] and nearest in lines[3]
    assert done.stdout == "" and domains.ran() == []


def test_what_is_missing_can_be_made_by_the_command_that_the_error_names(domains):
    done = domains.run_all("--only", "14", "--domains", "math,science")
    assert done.returncode == 2 and "expected: 01_numbers, which 14_review reads, to be finished" in done.stderr
    assert "fix: ./run_all.sh tiny --to 14_review --domains math,science" in done.stderr


def test_domains_are_run_when_asked_for_two_at_a_time_and_reviewed_only_then(domains):
    done = domains.run_all()
    assert done.returncode == 0 and domains.ran() == ["01_numbers", "10_modifiers/code", "14_review"], done.stderr
    assert domains.manifest("14_review")["headline"] == "saw 10_modifiers/code"
    words = ("--only", "10", "--domains", "math,science", "--fresh", "--jobs", "2")
    done = domains.run_all(*words, TOY_TOGETHER="2")  # each waits until the other one has begun
    assert done.returncode == 0 and sorted(domains.ran()) == ["10_modifiers/math", "10_modifiers/science"], done.stderr
    assert plan(domains) == {"01_numbers": "keep", "10_modifiers/code": "keep", "14_review": "keep"}
    assert [stage for stage, state in plan(domains, "--domains", "all").items() if state == "run"] == ["14_review"]
    domains.set("10_modifiers/math", seed=8)
    done = domains.run_all("--only", "10_modifiers/math")
    assert done.returncode == 0 and domains.ran() == ["10_modifiers/math"], done.stderr
    done = domains.run_all("--domains", "all")
    assert done.returncode == 0 and domains.ran() == ["14_review"], done.stderr
    assert domains.manifest("14_review")["headline"] == f"saw {' '.join(EVERY[1:4])}"
    assert domains.run_all("--domains", "all").stdout.count("nothing to do") == 1 and domains.ran() == []
