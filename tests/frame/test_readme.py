"""README's commands are understood by what they call, its links lead somewhere, its table names every notebook."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cogumi_utils import arguments

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({line.removeprefix("$ ") for line in COMMANDS if line and not line.startswith("#")})
ELSEWHERE = {"git", "cd", "conda", "jupyter", "export", "pip", "snakemake", "apt-get", "brew", "xcode-select"}


def single_commands() -> list[list[str]]:
    """Each command as words, without `VARIABLE=value` before it; lines joined by && are taken apart."""
    found = []
    for line in COMMANDS:
        for part in re.split(r"&&|;", line):
            words = shlex.split(part)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            found += [words] if words else []
    return found


def test_the_first_command_a_newcomer_types_is_there():
    assert ["./run_all.sh"] in single_commands() and ["./run_all.sh", "test"] in single_commands()


@pytest.mark.parametrize("words", single_commands(), ids=" ".join)
def test_a_command_of_the_readme_is_understood(words, monkeypatch):
    program, *rest = words
    if program == "./run_all.sh" and rest[:1] != ["test"]:
        monkeypatch.chdir(ROOT)
        if "--help" not in rest:
            arguments.parse([*rest, "--dry-run"])
    elif program in ("python", "python3.11"):
        target = rest[1].replace(".", "/") + ".py" if rest[0] == "-m" else rest[0]
        assert (ROOT / target).is_file() or rest[:2] in (["-m", "pytest"], ["-m", "venv"])
    else:
        assert program in ELSEWHERE or program == "./run_all.sh"


@pytest.mark.parametrize("words", [words for words in single_commands() if words[0] == "./run_all.sh"], ids=" ".join)
def test_a_plan_can_be_made_for_every_profile_of_the_readme(words, monkeypatch, tmp_path):
    if words[1:2] == ["test"] or "--help" in words:
        return
    done = subprocess.run(
        ["python", "-m", "cogumi_utils.pipeline", *words[1:], "--dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_place_is_left_to_be_filled_in():
    assert "@@" not in README


def test_every_notebook_has_its_row():
    rows = [line for line in README.splitlines() if line.startswith("|")]
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        assert any(notebook.stem in row for row in rows), f"no row for {notebook.stem}"


def test_links_to_files_lead_somewhere():
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", README)
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (ROOT / link).exists()] == []
