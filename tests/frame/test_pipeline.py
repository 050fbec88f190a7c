"""run_all.sh on a miniature repository: order, skipping, reasons, selection, exit codes; with real kernels."""

from __future__ import annotations

import json

import pytest

STAGES = ["01_numbers", "02_sum", "03_words"]


def plan(checkout, *words: str) -> dict[str, tuple[str, str]]:
    """{stage: (state, why)} of `--dry-run`; the plan itself starts no kernel."""
    done = checkout.run_all("--dry-run", *words)
    assert done.returncode == 0, done.stderr
    rows = [
        line.split(maxsplit=4) for line in done.stdout.splitlines() if line.startswith(("run ", "keep ", "blocked "))
    ]
    assert checkout.ran() == []
    return {stage: (state, why) for state, stage, _, _, why in rows}


def kept(checkout, *words: str) -> list[str]:
    return [stage for stage, (state, _) in plan(checkout, *words).items() if state == "keep"]


@pytest.fixture
def edited(finished):
    """Change text files of the finished checkout; they are put back when the test ends."""
    before: dict[str, bytes] = {}

    def edit(path: str, old: str, new: str) -> None:
        file = finished.root / path
        before.setdefault(path, file.read_bytes())
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    yield edit
    for path, content in before.items():
        (finished.root / path).write_bytes(content)


def test_the_first_run_runs_all_stages_in_order(finished):
    assert [finished.manifest(stage)["headline"] for stage in STAGES] == [
        "rows 0 1 2 3 4", "factor 50", "words " + "cogumi " * 5,
    ]  # fmt: skip
    assert list(plan(finished)) == STAGES
    assert not finished.out(".partial/01_numbers.ipynb").exists()


def test_nothing_changed_means_no_kernel_and_no_snakemake(finished):
    log = finished.out(".snakemake/last.log")
    log.write_text("untouched")
    done = finished.run_all()
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert log.read_text() == "untouched" and finished.ran() == []
    assert kept(finished) == STAGES


def test_the_table_shows_every_stage_with_its_gate_and_notebook(finished):
    rows = {line.split()[0]: line for line in finished.run_all().stdout.splitlines() if line[:2].isdigit()}
    assert list(rows) == STAGES
    assert (
        "1 PASS" in rows["02_sum"] and "outputs/tiny/02_sum.ipynb" in rows["02_sum"] and "factor 50" in rows["02_sum"]
    )


def test_a_changed_parameter_makes_stale_exactly_its_stage_and_what_reads_it(finished, edited):
    edited("params/tiny/01_numbers.yaml", "rows: 5", "rows: 6")
    assert plan(finished) == {
        "01_numbers": ("run", "parameters changed: rows 5 -> 6"),
        "02_sum": ("run", "01_numbers will run"),
        "03_words": ("keep", "fresh"),
    }


def test_a_changed_parameter_of_a_leaf_makes_stale_that_one_alone(finished, edited):
    edited("params/tiny/02_sum.yaml", "factor: 5", "factor: 6")
    assert kept(finished) == ["01_numbers", "03_words"]


def test_a_default_that_the_profile_overrides_does_not_count(finished, edited):
    edited("notebooks/03_words.ipynb", "words = 3 ", "words = 4 ")
    assert kept(finished) == STAGES


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("notebooks/03_words.ipynb", "# 03_words", "# Words, and a better title"),
        ("notebooks/03_words.ipynb", 'mark(\\"03_words\\")', 'mark( \\"03_words\\" )  # a comment'),
        ("notebooks/03_words.ipynb", '"outputs": []', '"outputs": [{"output_type": "stream", "text": "x"}]'),
        ("cogumi_utils/toy.py", "Counts the notebooks", "Counts, as a better docstring says, the notebooks"),
        ("cogumi_utils/toy.py", "def mark", "# a comment\ndef mark"),
        ("cogumi_utils/pipeline.py", "LOCK_SECONDS = 3", "LOCK_SECONDS = 4"),
        ("params/gates.yaml", "enough:", "# a comment\nenough:"),
    ],
)  # fmt: skip
def test_text_comments_outputs_and_foreign_code_make_nothing_stale(finished, edited, path, old, new):
    edited(path, old, new)
    assert kept(finished) == STAGES


@pytest.mark.parametrize(
    ("path", "old", "new", "stale"),
    [
        ("notebooks/03_words.ipynb", "cogumi ", "Cogumi ", ["03_words"]),
        ("cogumi_utils/toy.py", '+ "\\n"', '+ "\\n\\n"', STAGES),
        ("params/gates.yaml", "threshold: 1", "threshold: 2", ["02_sum"]),
    ],
)
def test_changed_code_tables_and_gates_make_stale_what_uses_them(finished, edited, path, old, new, stale):
    edited(path, old, new)
    assert [stage for stage in STAGES if stage not in kept(finished)] == stale
    reasons = {why for _, why in plan(finished).values()}
    assert "its code changed" in reasons


def test_only_what_is_stale_runs_despite_locks_and_marks_of_a_killed_snakemake(finished, edited):
    for folder in ("locks", "incomplete"):
        finished.out(f".snakemake/{folder}").mkdir(exist_ok=True)
    finished.out(".snakemake/locks/0.output.lock").write_text("02_sum/manifest.json\n")
    finished.out(".snakemake/incomplete/MDFfbnVtYmVycy9tYW5pZmVzdC5qc29u").write_text("")  # 01_numbers/manifest.json
    before = {stage: finished.manifest(stage) for stage in STAGES}
    edited("params/tiny/02_sum.yaml", "factor: 5", "factor: 7")
    done = finished.run_all()
    assert done.returncode == 0, done.stderr
    assert finished.ran() == ["02_sum"] and finished.manifest("02_sum")["headline"] == "factor 70"
    assert [finished.manifest(stage) == before[stage] for stage in STAGES] == [True, False, True]
    edited("params/tiny/02_sum.yaml", "factor: 7", "factor: 5")
    assert finished.run_all().returncode == 0 and finished.ran() == ["02_sum"]


def flip_bit(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_changed_artifact_and_a_changed_manifest_are_caught_and_made_again(finished):
    flip_bit(finished.out("01_numbers/rows.txt"))
    flip_bit(finished.out("03_words/manifest.json"))
    reasons = plan(finished)
    assert reasons["01_numbers"][1].startswith("damaged:") and "rows.txt" in reasons["01_numbers"][1]
    assert reasons["02_sum"] == ("run", "01_numbers will run")
    assert reasons["03_words"][1].startswith("damaged:")
    done = finished.run_all()
    assert done.returncode == 0 and "damaged" in done.stdout
    assert finished.ran() == STAGES and finished.out("01_numbers/rows.txt").read_text() == "0 1 2 3 4"


def test_a_missing_artifact_is_damage_too(finished):
    file = finished.out("03_words/words.txt")
    content = file.read_bytes()
    file.unlink()
    assert "missing" in plan(finished)["03_words"][1]
    file.write_bytes(content)
    assert kept(finished) == STAGES


def test_an_upstream_that_was_run_again_makes_its_reader_stale(finished):
    assert finished.run_all("--only", "01", "--fresh").returncode == 0
    assert finished.ran() == ["01_numbers"]
    assert plan(finished)["02_sum"] == ("run", "01_numbers was run again")
    assert finished.run_all().returncode == 0 and finished.ran() == ["02_sum"]


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["--only", "02_sum"], ["02_sum"]),
        (["--only", "01", "--only", "03"], ["01_numbers", "03_words"]),
        (["--from", "02"], ["02_sum", "03_words"]),
        (["--to", "02_sum"], ["01_numbers", "02_sum"]),
        (["--from", "02", "--to", "02"], ["02_sum"]),
        ([], STAGES),
    ],
)
def test_selection_with_fresh(finished, words, stages):
    assert [stage for stage, (state, _) in plan(finished, "--fresh", *words).items() if state == "run"] == stages


@pytest.mark.parametrize(
    ("words", "found", "nearest"),
    [
        (["tyni"], "'tyni'", "tiny"),
        (["tests"], "'tests'", "test"),
        (["--ony", "02_sum"], "'--ony'", "--only"),
        (["--only", "02_som"], "'02_som'", "02_sum"),
        (["--to", "words"], "'words'", "03_words"),
        (["--jobs", "two"], "invalid int value: 'two'", "--help"),
        (["--jobs", "0"], "--jobs 0: at least 1", "--help"),
        (["--from", "03", "--to", "01"], "--from 03_words --to 01_numbers", "--from 01_numbers --to 03_words"),
        (["--only", "01", "--to", "02"], "--only together with --from or --to", "--help"),
        (["--only"], "argument --only: expected one argument", "--help"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest_right_one(finished, words, found, nearest):
    done = finished.run_all(*words)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and [line.split(":")[0].strip() for line in lines] == [
        "expected",
        "found",
        "why",
        "fix",
    ]
    assert found in lines[1] and nearest in lines[3]
    assert done.stdout == "" and finished.ran() == []


def test_a_misspelled_parameter_in_any_profile_stops_before_the_first_kernel(finished, edited):
    (finished.root / "params/other").mkdir()
    bad = finished.root / "params/other/03_words.yaml"
    bad.write_text("wrods: 3\n")
    done = finished.run_all("--fresh")
    bad.unlink()
    bad.parent.rmdir()
    assert done.returncode == 2 and "wrods" in done.stderr and "'words'" in done.stderr
    assert finished.ran() == []


def test_smoke_runs_the_cells_as_they_are_with_all_cores_shared_by_two_jobs(checkout):
    wait = (
        "import os, time\nend = time.monotonic() + 60\n"
        "while len(open(os.environ['TOY_RUNS']).read().split()) < 2:\n"
        "    assert time.monotonic() < end, 'the other stage never began'\n    time.sleep(0.05)"
    )
    for stage in ("01_numbers", "03_words"):  # each waits until the other one has begun
        path = checkout.root / f"notebooks/{stage}.ipynb"
        notebook = json.loads(path.read_text())
        notebook["cells"][2]["source"].append("\n" + wait)
        path.write_text(json.dumps(notebook))
    done = checkout.run_all("smoke", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(checkout.ran()[:2]) == ["01_numbers", "03_words"]
    assert checkout.manifest("02_sum", "smoke")["headline"] == "factor 9"  # 3 * (0 + 1 + 2)


def test_a_stage_without_its_upstream_is_refused(checkout):
    done = checkout.run_all("--only", "02_sum")
    assert done.returncode == 2 and "expected: 01_numbers, which 02_sum reads, to be finished" in done.stderr
    assert "./run_all.sh tiny --to 02_sum" in done.stderr and checkout.ran() == []


def test_a_failed_stage_stops_what_reads_it_and_nothing_else(checkout):
    checkout.add("02_sum", "run.input('01_numbers/rows.txt')\n1 / 0")
    checkout.add("04_after", "run.input('02_sum/factor.txt')")
    done = checkout.run_all()
    assert done.returncode == 1 and checkout.ran() == ["01_numbers", "02_sum", "03_words"]
    assert "02_sum failed" in done.stderr and "ZeroDivisionError" in done.stderr
    assert len(done.stderr.split("02_sum failed")[1].splitlines()) < 20
    half = checkout.out(".partial/02_sum.ipynb")
    assert f"notebook: {half}" in done.stderr and "ZeroDivisionError" in half.read_text()
    states = {line.split()[0]: line for line in done.stdout.splitlines() if line[:2].isdigit()}
    assert "FAILED" in states["02_sum"] and "not run" in states["04_after"] and "words" in states["03_words"]


def test_an_error_in_four_parts_reaches_the_user_as_four_lines(checkout):
    raised = 'from cogumi_utils.errors import CogumiError\nraise CogumiError(expected="a", found="b", why="c", fix="d")'
    checkout.add("03_words", raised)
    done = checkout.run_all("--only", "03")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert lines[:5] == ["03_words failed", "expected: a", "   found: b", "     why: c", "     fix: d"]


def test_a_failed_required_gate_keeps_its_stage_and_blocks_what_reads_it(checkout):
    checkout.add("04_after", "run.input('02_sum/factor.txt')", "run.finish(headline='after')")
    gates = checkout.root / "params/gates.yaml"
    gates.write_text(gates.read_text().replace("threshold: 1", "threshold: 51"))
    done = checkout.run_all()
    assert done.returncode == 1 and checkout.ran() == STAGES and "required gates failed: enough (02_sum)" in done.stderr
    assert checkout.manifest("02_sum")["gates"]["enough"]["verdict"] == "FAIL"
    assert checkout.out("02_sum.ipynb").exists()
    again = checkout.run_all()
    assert again.returncode == 1 and checkout.ran() == [] and "02_sum failed the gate enough" in again.stdout
    assert plan(checkout)["04_after"] == ("blocked", "02_sum failed the gate enough")
    named = checkout.run_all("--only", "04")
    assert named.returncode == 0 and checkout.ran() == ["04_after"], named.stderr


def test_what_cannot_be_written_is_an_error_in_four_parts(finished):
    done = finished.run_all(COGUMI_OUTPUTS="/proc/nowhere")
    assert done.returncode == 2 and "/proc/nowhere/tiny" in done.stderr and "Traceback" not in done.stderr
