"""The graph and the hashes, derived from files alone; no kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogumi_utils import stages
from cogumi_utils.artifacts import combine
from cogumi_utils.errors import CogumiError
from cogumi_utils.fingerprint import PACKAGE, cell_nodes, code_hash, imported_modules, notebook_hash
from cogumi_utils.pipeline import require_sources
from cogumi_utils.plan import Step, changed_inputs

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = 'profile = "smoke"  # profile, not empty\nseed = 7  # seed, 0..9\n'


@pytest.fixture
def here(checkout, monkeypatch):
    """The miniature repository as the working directory, with notebooks written by `reads`."""
    monkeypatch.chdir(checkout.root)
    return checkout


def reads(checkout, stage: str, *cells: str) -> None:
    checkout.cells(stage, *cells, parameters=PARAMETERS)


def test_upstreams_come_from_the_cells(here):
    graph = stages.graph("tiny")
    assert {name: stage.upstreams for name, stage in graph.items()} == {
        "01_numbers": (), "02_sum": ("01_numbers",), "03_words": (),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "upstreams"),
    [
        ('path = run.input("01_numbers/rows.txt")', ("01_numbers",)),
        ('for name in ("a", "b"):\n    run.input(f"01_numbers/{name}.txt")', ("01_numbers",)),
        ('for stage in found:\n    run.input(f"{stage}/rows.txt")', ("01_numbers", "02_sum", "03_words")),
        ("from cogumi_utils.review import stage_table", ("01_numbers", "02_sum", "03_words")),
        ("from cogumi_utils.artifacts import lineage", ("01_numbers", "02_sum", "03_words")),
        ("run.input(ref)", ("01_numbers", "02_sum", "03_words")),
        ('!ls\n%time run.input("03_words/x")\nrun.input("02_sum/factor.txt")', ("02_sum",)),
        ('# run.input("01_numbers/rows.txt")\nother.input("02_sum/x"); input("03_words/x")', ()),
    ],
)
def test_what_counts_as_reading(here, cell, upstreams):
    reads(here, "09_last", cell)
    assert stages.graph("smoke")["09_last"].upstreams == upstreams


def test_each_parameter_file_of_a_folder_is_an_instance(here):
    reads(here, "10_modifiers", 'run.input("01_numbers/rows.txt")')
    reads(here, "11_router", 'run.input(f"10_modifiers/{domain}/adapter")')
    reads(here, "12_one", 'run.input("10_modifiers/code/adapter")')
    folder = here.root / "params/tiny/10_modifiers"
    folder.mkdir()
    for domain in ("code", "math"):
        (folder / f"{domain}.yaml").write_text("seed: 1\n")
    for name in ("11_router", "12_one"):
        here.set(name, seed=1)
    graph = stages.graph("tiny")
    assert [name for name in graph if name.startswith("10")] == ["10_modifiers/code", "10_modifiers/math"]
    assert graph["11_router"].upstreams == ("10_modifiers/code", "10_modifiers/math")
    assert graph["12_one"].upstreams == ("10_modifiers/code",)
    assert graph["10_modifiers/code"].rendered.name == "10_modifiers_code.ipynb"
    assert stages.find("10", graph) == ["10_modifiers/code", "10_modifiers/math"]
    assert code_hash("10_modifiers/code") == code_hash("10_modifiers/math")


@pytest.fixture
def domains(here):
    """Three instances by domain, of which the profile names one; a router, a reader of one of them, and a review."""
    reads(here, "10_modifiers", 'run.input("01_numbers/rows.txt")')
    reads(here, "11_router", 'run.input(f"10_modifiers/{domain}/adapter")')
    reads(here, "12_one", 'run.input("10_modifiers/math/adapter")')
    reads(here, "14_review", "from cogumi_utils.review import stage_table")
    (here.root / "params/tiny/10_modifiers").mkdir()
    names = ("10_modifiers/code", "10_modifiers/math", "10_modifiers/science", "11_router", "12_one", "14_review")
    for name in names:
        here.set(name, seed=1)
    (here.root / "params/tiny/profile.yaml").write_text("domains: [code]\n")
    return here


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        (None, ["code"]),
        (stages.ALL_DOMAINS, ["code", "math", "science"]),
        (["science", "math"], ["math", "science"]),
        (["code", "all"], ["code", "math", "science"]),
        ([], []),
    ],
)
def test_only_the_domains_of_a_run_are_in_its_graph_and_waited_for(domains, asked, run):
    graph, instances = stages.graph("tiny", asked), tuple(f"10_modifiers/{domain}" for domain in run)
    every_run = ["01_numbers", "02_sum", "03_words", "11_router", "12_one", "14_review"]
    assert list(graph) == sorted([*every_run, *instances]) == sorted(stages.included("tiny", asked))
    assert graph["11_router"].upstreams == instances
    assert graph["12_one"].upstreams == ("10_modifiers/math",) * ("math" in run)
    assert graph["14_review"].upstreams == ("01_numbers", "02_sum", "03_words", *instances, "11_router", "12_one")


def test_a_profile_that_names_no_domain_runs_them_all(domains):
    (domains.root / "params/tiny/profile.yaml").write_text("")
    assert stages.graph("tiny") == stages.graph("tiny", stages.ALL_DOMAINS)


def test_an_unknown_domain_is_refused_with_the_nearest_right_one(domains):
    with pytest.raises(CogumiError) as caught:
        stages.graph("tiny", ["code", "maht"])
    assert caught.value.expected == "a domain: all, code, math, science"
    assert caught.value.found == "'maht'" and "'math'" in caught.value.fix


def test_order_is_by_number_and_never_before_what_is_read(here):
    reads(here, "04_early", 'run.input("05_late/x")')
    reads(here, "05_late")
    assert list(stages.graph("smoke")) == ["01_numbers", "02_sum", "03_words", "05_late", "04_early"]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"04_a": 'run.input("05_b/x")', "05_b": 'run.input("04_a/x")'}, "is read by"),
        ({"04_a": 'run.input("01_numbres/rows.txt")'}, "'01_numbres/rows.txt' in 04_a.ipynb"),
    ],
)
def test_a_circle_and_an_unknown_stage_are_refused(here, cells, found):
    for stage, cell in cells.items():
        reads(here, stage, cell)
    with pytest.raises(CogumiError, match=found.replace("(", r"\(")):
        stages.graph("smoke")


def test_a_broken_notebook_is_refused(here):
    (here.root / "notebooks/03_words.ipynb").write_text('{"cells": [')
    with pytest.raises(CogumiError, match="03_words.ipynb"):
        code_hash("03_words")


def test_imports_are_followed_through_functions_packages_and_relative_names(tmp_path, monkeypatch):
    for path, text in {
        "__init__.py": "", "a.py": "def f():\n    from . import b\n", "b.py": "from cogumi_utils.deep import inner\n",
        "deep/__init__.py": "import cogumi_utils.c", "deep/inner.py": "from ..d import thing", "c.py": "", "d.py": "",
        "unused.py": "import cogumi_utils.a", "stages.py": "import cogumi_utils.unused",
    }.items():  # fmt: skip
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr("cogumi_utils.fingerprint.PACKAGE", tmp_path)
    found = imported_modules(cell_nodes("from cogumi_utils.a import f\nimport cogumi_utils.stages, os"))
    names = ["", ".a", ".b", ".c", ".d", ".deep", ".deep.inner"]  # stages decides whether to run, not what is made
    assert list(found) == [f"cogumi_utils{name}" for name in names]


def test_the_real_package_is_followed_too():
    found = imported_modules(cell_nodes("from cogumi_utils.run import start"))
    assert {"cogumi_utils.run", "cogumi_utils.artifacts", "cogumi_utils.errors"} <= set(found)
    assert all(path.is_relative_to(PACKAGE) for path in found.values())
    assert not {"cogumi_utils.pipeline", "cogumi_utils.runner", "cogumi_utils.stages"} & set(found)


def test_the_notebook_hash_counts_text_and_not_outputs(here):
    path = here.root / "notebooks/03_words.ipynb"
    notebook, before = json.loads(path.read_text()), notebook_hash("03_words")
    notebook["cells"][1] |= {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "x"}],
        "execution_count": 1,
    }
    notebook["metadata"]["widgets"] = {}
    path.write_text(json.dumps(notebook))
    assert notebook_hash("03_words") == before
    notebook["cells"][0]["source"] = "# Another title"
    path.write_text(json.dumps(notebook))
    assert notebook_hash("03_words") != before


def test_the_key_of_a_stage_has_its_parameters_and_its_code(here):
    keys = {stages.stage_key("03_words", "tiny"), stages.stage_key("03_words", "smoke")}
    here.set("03_words", words=6)
    keys.add(stages.stage_key("03_words", "tiny"))
    here.add("03_words", "1 + 1")
    keys.add(stages.stage_key("03_words", "tiny"))
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"sets": ["gsm8k", "arc"], "rows": 3}, ["arc", "gsm8k"]),
        ({"domains": ["code", "chat"], "levels": [0.1], "none": []}, []),
        ({"sets": ["gsm8k", "acr"]}, ["acr", "gsm8k"]),  # a misspelled name is asked for too, and refused
    ],
)
def test_lists_of_public_sets_are_asked_for_before_the_first_kernel(given, asked, monkeypatch):
    found = []
    monkeypatch.setattr("cogumi_utils.data.sources.require_reachable", found.extend)
    require_sources([given])
    assert found == asked


def test_without_hub_and_data_the_first_kernel_never_starts(checkout):
    (checkout.root / "params/sources.yaml").write_bytes((ROOT / "params/sources.yaml").read_bytes())
    cell = PARAMETERS + 'sets = ["gsm8k"]  # public sets, each not empty\n'
    checkout.cells("03_words", "1", parameters=cell)
    checkout.set("03_words", seed=1)
    done = checkout.run_all("smoke", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "gsm8k" in done.stderr and "COGUMI_DATA" in done.stderr
    assert checkout.ran() == [] and not checkout.out("01_numbers", "smoke").exists()


def test_a_review_without_inputs_goes_by_the_clock(tmp_path):
    def step(created: str) -> Step:
        return Step(stages.Stage("01_numbers", "tiny", ()), last={"created": created})

    manifest = {"inputs": {}, "created": "2026-05-01T12:00:00+00:00"}
    assert changed_inputs(manifest, [step("2026-05-01T11:59:59+00:00")]) == ""
    assert changed_inputs(manifest, [step("2026-05-01T12:00:01+00:00")]) == "01_numbers was run again"


def test_a_pinned_set_that_changed_makes_its_readers_stale(tmp_path, monkeypatch):
    def data(sha256: str) -> None:
        sets = [{"name": "gsm8k", "files": [{"file": "gsm8k/test.jsonl", "sha256": sha256}]}]
        (tmp_path / "MANIFEST.json").write_text(json.dumps({"data_sets": sets}))

    monkeypatch.setenv("COGUMI_DATA", str(tmp_path))
    data("1" * 64)
    entry = {"origin": "local", "sha256": combine({"gsm8k/test.jsonl": "1" * 64})}
    manifest = {"inputs": {"raw:openai/gsm8k": entry}, "created": ""}
    assert changed_inputs(manifest, []) == ""
    data("2" * 64)
    assert changed_inputs(manifest, []) == "the data set openai/gsm8k changed in COGUMI_DATA"
    assert changed_inputs({"inputs": {"raw:openai/gsm8k": {**entry, "origin": "hub"}}, "created": ""}, []) == ""
    monkeypatch.delenv("COGUMI_DATA")
    assert changed_inputs(manifest, []) == ""
