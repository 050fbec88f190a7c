"""One notebook through the runner: what papermill lets pass fails here; what is kept carries no machine in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN_03 = 'from cogumi_utils.run import start\nrun = start("03_words", globals())'
END = "run.finish(headline='done')"
CHANGE = (
    "from cogumi_utils.paths import outputs_dir\nnext(outputs_dir('tiny').glob('*_escape/rows.txt')).write_text('2')"
)
ESCAPES = {
    "a failing command": (["!exit 3", END], "exit status 3"),
    "a failing command whose output is taken": (["text = !echo lost; exit 4", END], "exit status 4"),
    "an exception in a thread": (
        ["import threading, time\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()", END],
        "ZeroDivisionError",
    ),
    "an exception in a thread after the manifest was written": (
        [END, "import threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()"],
        "ZeroDivisionError",
    ),
    "sys.exit(0) half-way": (["import sys\nsys.exit(0)", END], "before its end, without an error"),
    "exit() half-way": (["exit()", END], "before its end, without an error"),
    "sys.exit(0) after the manifest was written": ([END, "import sys\nsys.exit(0)", "1"], "before its end"),
    "os._exit(0)": (["import os\nos._exit(0)", END], "the kernel ended in cell 4"),
    "os._exit(0) after the manifest was written": ([END + "\nimport os\nos._exit(0)"], "the kernel ended in cell 4"),
    "no run.finish": (["1 + 1"], "no manifest.json there"),
    "a declared output that was never written": (["run.output('rows.txt')", END], "declared and not written: rows.txt"),
    "an output that was changed after it was hashed": (
        ["run.output('rows.txt').write_text('1')", END, CHANGE],
        "sha256",
    ),
    "an ordinary exception": (["{}['x']", END], "KeyError: 'x'"),
    "a misspelled name in the cell": (["run.finish(headline=heading)"], "NameError"),
}


def run(checkout, stage: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The stage through `python -m cogumi_utils.runner`, from a working directory elsewhere."""
    settings = checkout.process({"PYTHONPATH": str(checkout.root), **environment}) | {"cwd": checkout.root.parent}
    command = [sys.executable, "-m", "cogumi_utils.runner", stage, "--profile", "tiny"]
    return subprocess.run(command, **settings, capture_output=True, text=True)


RUN_THEM = """
import contextlib, io, json, sys
from cogumi_utils import runner
found = {}
for stage in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as shown, contextlib.redirect_stdout(io.StringIO()):
        found[stage] = (runner.main([stage, "--profile", "tiny"]), shown.getvalue())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def escaped(new_checkout, tmp_path_factory):
    """(checkout, {stage: [exit code, what was shown]}) of all escapes, each in a kernel of its own."""
    checkout = new_checkout(tmp_path_factory.mktemp("escapes"))
    for name, (cells, _) in ESCAPES.items():
        checkout.add(stage_of(name), *cells)
    command = [sys.executable, "-c", RUN_THEM, *map(stage_of, ESCAPES)]
    settings = checkout.process({"PYTHONPATH": str(checkout.root)})
    return checkout, json.loads(subprocess.run(command, **settings, capture_output=True, check=True).stdout)


def stage_of(name: str) -> str:
    return f"{50 + list(ESCAPES).index(name)}_escape"


@pytest.mark.parametrize("name", ESCAPES)
def test_what_papermill_lets_pass_is_a_failure(escaped, name):
    (checkout, found), stage = escaped, stage_of(name)
    code, shown = found[stage]
    assert code in (1, 2) and ESCAPES[name][1] in shown, shown
    assert f"notebook: {checkout.out(f'.partial/{stage}.ipynb')}" in shown
    assert not checkout.out(f"{stage}/manifest.json").exists(), "a failed stage counts as finished"
    assert not checkout.out(f"{stage}.ipynb").exists(), "a failed stage's notebook counts as rendered"
    assert len(shown.splitlines()) <= 20


def test_an_exception_in_a_thread_stops_the_stage_there(escaped):
    checkout, _ = escaped
    assert not checkout.out(stage_of("an exception in a thread")).exists()  # its last cell would have made the folder
    assert checkout.out(stage_of("an exception in a thread after the manifest was written")).exists()


def test_a_misspelled_parameter_never_reaches_a_kernel(checkout):
    checkout.set("03_words", wrods=3)
    done = run(checkout, "03_words")
    assert done.returncode == 2 and "'wrods'" in done.stderr and "did you mean 'words'" in done.stderr
    assert checkout.ran() == []


def test_the_kernel_is_this_interpreter_whatever_kernelspecs_are_installed(checkout, tmp_path):
    spec = tmp_path / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    stranger = ["/bin/sh", "-c", f"touch {tmp_path}/captured; exit 1", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": stranger, "display_name": "Other", "language": "python"}))
    checkout.cells(
        "03_words", BEGIN_03, "import sys\nprint(sys.executable, sys.path)", "run.finish(headline=sys.executable)"
    )
    done = run(checkout, "03_words", JUPYTER_PATH=str(tmp_path / "jupyter"), JUPYTER_DATA_DIR=str(tmp_path / "jupyter"))
    assert done.returncode == 0, done.stderr
    assert checkout.manifest("03_words")["headline"] == sys.executable
    assert not (tmp_path / "captured").exists()


def test_a_rendered_notebook_carries_no_machine_and_no_clock(checkout):
    noise = "import sys, pathlib, tempfile\nprint(run.dir, sys.prefix, pathlib.Path.home(), tempfile.gettempdir())"
    bar = "for step in range(50): print(f'step {step}', end='\\r', file=sys.stderr)\nprint('the end', file=sys.stderr)"
    bar += "\nfrom tqdm.auto import tqdm\nfor step in tqdm(range(3)): pass"
    checkout.cells("03_words", BEGIN_03, noise, bar, "run.finish(headline='done')")
    assert run(checkout, "03_words").returncode == 0
    text = checkout.out("03_words.ipynb").read_text()
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert {key for cell in notebook["cells"] for key in cell["metadata"]} == {"tags"}
    printed = notebook["cells"][4]["outputs"][0]["text"]
    assert printed == ["./outputs/tiny/.partial/03_words <environment> ~ <tmp>\n"]
    assert "".join(notebook["cells"][5]["outputs"][0]["text"]).strip() == "the end"
    assert str(checkout.root) not in text and sys.prefix not in text and str(Path.home()) + "/" not in text
    first = checkout.out("03_words.ipynb").read_text()
    assert run(checkout, "03_words").returncode == 0
    again = checkout.out("03_words.ipynb").read_text()
    different = [lines for lines in zip(first.splitlines(), again.splitlines(), strict=True) if lines[0] != lines[1]]
    assert all("03_words: " in line for lines in different for line in lines), different  # seconds, said by run.finish


def test_parameters_equal_to_the_cell_are_not_injected(checkout):
    checkout.set("03_words", words=3)
    assert run(checkout, "03_words").returncode == 0
    cells = json.loads(checkout.out("03_words.ipynb").read_text())["cells"]
    (injected,) = [cell for cell in cells if "injected-parameters" in cell["metadata"].get("tags", [])]
    assert "".join(injected["source"]).split("\n")[1:-1] == ['profile = "tiny"']


def test_threads_are_passed_on_to_numeric_libraries(checkout):
    checkout.cells("03_words", BEGIN_03, "import os", "run.finish(headline=os.environ['OMP_NUM_THREADS'])")
    settings = checkout.process({"PYTHONPATH": str(checkout.root)})
    command = [sys.executable, "-m", "cogumi_utils.runner", "03", "--profile", "tiny", "--threads", "3"]
    subprocess.run(command, **settings, check=True)
    assert checkout.manifest("03_words")["headline"] == "3"


@pytest.mark.parametrize(("given", "found"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_threads_that_wait_sleep_unless_somebody_says_otherwise(checkout, given, found):
    checkout.cells("03_words", BEGIN_03, "import os", "run.finish(headline=os.environ['OMP_WAIT_POLICY'])")
    assert run(checkout, "03_words", **given).returncode == 0
    assert checkout.manifest("03_words")["headline"] == found
