"""A stage takes its place whole or not at all, wherever the process is killed."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cogumi_utils import publish
from cogumi_utils.artifacts import ArtifactError, describe, verify
from cogumi_utils.publish import StageError, note_input, open_partial

KEY = {"parameters": "p", "code": "c"}

# Writes a stage of three files and publishes it, killing itself before the k-th call that changes the disk.
SCRIPT = """
import os, signal, sys
from cogumi_utils import artifacts, publish

text, fatal, calls = sys.argv[1], int(sys.argv[2]), 0
folder = publish.open_partial("tiny", "01_data", {"parameters": text})
for name in ("a.txt", "d/b.txt", "d/e/c.txt", "checkpoints/step-1/x"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text + name)

def lethal(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call

for name in ("open", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
    setattr(os, name, lethal(getattr(os, name)))
outputs = publish.collect(folder, ["a.txt", "d"])
publish.publish("tiny", "01_data", {"stage": "01_data", "outputs": outputs, "text": text})
print(calls)
"""


@pytest.fixture(autouse=True)
def _outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))


def run_script(text: str, fatal: int) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", SCRIPT, text, str(fatal)], capture_output=True, text=True, timeout=60)


def finished(tmp_path: Path) -> str:
    """Which text the stage in place was made from; "" where none is complete."""
    folder = tmp_path / "tiny/01_data"
    try:
        manifest = verify(folder)
    except ArtifactError:
        return ""
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    files.pop("manifest.json")
    assert files == {name: manifest["text"] + name for name in ("a.txt", "d/b.txt", "d/e/c.txt")}
    return manifest["text"]


def test_killed_before_each_step_of_publishing(tmp_path):
    """Old and new stages differ in every file, so a mixture could not verify; a rerun always succeeds."""
    first = run_script("old", 0)
    assert first.returncode == 0, first.stderr
    second = run_script("old", 0)
    steps = int(second.stdout)
    assert steps > 20
    states = []
    for fatal in range(1, steps + 1):
        if finished(tmp_path) != "old":
            assert run_script("old", 0).returncode == 0
        died = run_script("new", fatal)
        assert died.returncode == -signal.SIGKILL, (fatal, died.stderr)
        states.append(finished(tmp_path))
    order = [state for place, state in enumerate(states) if not place or states[place - 1] != state]
    assert order == ["old", "", "new"], states
    assert states.count("") == 1  # only between the two renames
    assert run_script("new", 0).returncode == 0 and finished(tmp_path) == "new"
    left = sorted(path.name for path in (tmp_path / "tiny").rglob("*") if path.name not in ("01_data", "manifest.json"))
    assert left == [".01_data.lock", ".partial", ".replaced", "a.txt", "b.txt", "c.txt", "d", "e"]


def test_a_stage_that_never_finished_has_no_manifest(tmp_path):
    assert run_script("new", 5).returncode == -signal.SIGKILL
    assert finished(tmp_path) == ""
    assert not list(tmp_path.rglob("manifest.json"))


def test_leftovers_go_and_checkpoints_stay_for_the_same_work():
    folder = open_partial("tiny", "01_data", KEY)
    (folder / "half.bin").write_text("x")
    (folder / "checkpoints/step-5").mkdir(parents=True)
    (folder / "checkpoints/step-5/w").write_text("weights")
    assert open_partial("tiny", "01_data", KEY) == folder
    assert not (folder / "half.bin").exists() and (folder / "checkpoints/step-5/w").read_text() == "weights"


@pytest.mark.parametrize("key", [{"parameters": "q", "code": "c"}, {"parameters": "p", "code": "d"}])
def test_checkpoints_of_other_parameters_or_code_are_dropped(key):
    folder = open_partial("tiny", "01_data", KEY)
    (folder / "checkpoints").mkdir()
    open_partial("tiny", "01_data", key)
    assert not (folder / "checkpoints").exists()


def test_checkpoints_without_a_readable_record_are_dropped():
    folder = open_partial("tiny", "01_data", KEY)
    (folder / "checkpoints").mkdir()
    for text in ("{", "[]", "{}"):
        (folder / publish.RESUME).write_text(text)
        (folder / "checkpoints").mkdir(exist_ok=True)
        open_partial("tiny", "01_data", KEY)
        assert not (folder / "checkpoints").exists()


def test_checkpoints_made_from_another_input_are_dropped_when_it_is_read():
    folder = open_partial("tiny", "02_train", KEY)
    note_input(folder, "01_data/rows", "aaa")
    (folder / "checkpoints").mkdir()
    open_partial("tiny", "02_train", KEY)
    note_input(folder, "01_data/rows", "aaa")
    assert (folder / "checkpoints").exists()
    note_input(folder, "01_data/rows", "bbb")
    assert not (folder / "checkpoints").exists()


def test_files_and_declarations_must_agree():
    folder = open_partial("tiny", "01_data", KEY)
    (folder / "d").mkdir()
    for name in ("a.txt", "stray.txt", "d/b"):
        (folder / name).write_text(name)
    with pytest.raises(StageError) as caught:
        publish.collect(folder, ["a.txt", "gone.txt", "empty"])
    assert caught.value.found.split("; ") == [
        "declared and not written: gone.txt",
        "declared and not written: empty",
        "written and not declared: d/b",
        "written and not declared: stray.txt",
    ]
    with pytest.raises(StageError, match="declared and not written: gone.txt"):
        publish.collect(folder, ["a.txt", "stray.txt", "d", "gone.txt"])
    with pytest.raises(StageError, match="written and not declared: stray.txt"):
        publish.collect(folder, ["a.txt", "d"])
    assert publish.collect(folder, ["a.txt", "stray.txt", "d"]) == describe(folder, ["a.txt", "d/b", "stray.txt"])


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "../other/x", "a/../../x", "manifest.json", "checkpoints/x", "resume.json"]
)
def test_outputs_stay_inside_their_stage(name):
    with pytest.raises(ArtifactError) as caught:
        publish.check_name(name)
    assert repr(name) in caught.value.found


def test_a_second_run_of_the_same_stage_is_refused_until_the_first_ends(tmp_path):
    """The first holds the stage in another process; killed with SIGKILL it lets go, as after a crash."""
    script = textwrap.dedent("""
        import sys
        from cogumi_utils.publish import open_partial
        open_partial("tiny", "01_data", {})
        print("held", flush=True)
        sys.stdin.read()
    """)
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StageError) as caught:
            open_partial("tiny", "01_data", KEY)
        assert "another process holds" in caught.value.found and "shut its kernel down" in caught.value.fix
        open_partial("tiny", "02_train", KEY)  # another stage is free
    finally:
        holder.kill()
        holder.communicate()
    open_partial("tiny", "01_data", KEY)
