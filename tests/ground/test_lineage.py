"""From a gate back to raw rows."""

from pathlib import Path

import pytest

from cogumi_utils import artifacts
from cogumi_utils.artifacts import ArtifactError, lineage, write_manifest
from cogumi_utils.lineage import finished_stages, open_ref


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """00_base and 01_data stand behind 10_mods/code, which judges a gate; 01_data reads two raw sets."""
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))
    make(tmp_path, "00_base", {"raw:cogumi/skills": {"sha256": "5" * 64, "rows": 3000, "licence": "apache-2.0"}})
    raw = {
        "raw:openai/gsm8k": {"sha256": "a" * 64, "rows": 7473, "licence": "mit"},
        "raw:cogumi/skills": {"sha256": "5" * 64, "rows": 3000, "licence": "apache-2.0"},
    }
    make(tmp_path, "01_data", raw)
    refs = {ref: open_ref(ref, "tiny")[1] for ref in ("00_base/out", "01_data/out/x.txt")}
    make(tmp_path, "10_mods/code", refs, {"code_better": {"verdict": "PASS"}})
    return tmp_path / "tiny"


def make(root: Path, stage: str, inputs: dict, gates: dict | None = None, text: str = "x") -> None:
    folder = root / "tiny" / stage
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "out/x.txt").write_text(stage + text)
    (folder / "out/y.txt").write_text("y")
    outputs = artifacts.describe(folder, ["out/x.txt", "out/y.txt"])
    commit = "0123456789abcdef0123456789abcdef01234567+dirty"
    write_manifest(folder, {"inputs": inputs, "outputs": outputs, "gates": gates or {}, "git_commit": commit})


def test_a_gate_back_to_its_raw_rows(chain):
    tree = lineage("code_better", "tiny")
    assert (tree.kind, tree.note, tree.intact()) == ("gate", "PASS in 10_mods/code", True)
    assert [node.ref for node in tree.inputs] == ["00_base/out", "01_data/out/x.txt"]
    assert sorted(tree.raw()) == ["raw:cogumi/skills", "raw:openai/gsm8k"]
    assert tree.raw()["raw:openai/gsm8k"].note == "7473 rows, mit"
    base, data = artifacts.sha256_tree(chain / "00_base/out"), artifacts.sha256_file(chain / "01_data/out/x.txt")
    assert tree.render().splitlines() == [
        "gate  code_better  PASS in 10_mods/code",
        f"    file  00_base/out  {base[:12]}  made by 00_base at 0123456789ab+dirty",
        "        raw  raw:cogumi/skills  555555555555  3000 rows, apache-2.0",
        f"    file  01_data/out/x.txt  {data[:12]}  made by 01_data at 0123456789ab+dirty",
        "        raw  raw:cogumi/skills  555555555555  3000 rows, apache-2.0",
        "        raw  raw:openai/gsm8k  aaaaaaaaaaaa  7473 rows, mit",
    ]


def test_a_file_of_an_instance_has_the_same_lineage(chain):
    tree = lineage("10_mods/code/out", "tiny")
    assert (tree.kind, tree.sha256) == ("file", artifacts.sha256_tree(chain / "10_mods/code/out"))
    assert sorted(tree.raw()) == sorted(lineage("code_better", "tiny").raw())


def test_an_upstream_that_was_made_again_differently_is_marked(chain):
    make(chain.parent, "00_base", {"raw:cogumi/skills": {"sha256": "6" * 64, "rows": 1, "licence": "mit"}}, text="new")
    tree = lineage("code_better", "tiny")
    assert not tree.intact() and [node.changed for node in tree.inputs] == [True, False]
    assert tree.render().splitlines()[1].endswith("CHANGED SINCE")


def test_a_stage_without_raw_sources_breaks_the_chain(chain):
    make(chain.parent, "00_base", {})
    assert not lineage("code_better", "tiny").intact()
    assert not lineage("00_base/out", "tiny").intact()


def test_a_damaged_manifest_on_the_way_is_not_believed(chain):
    path = chain / "01_data/manifest.json"
    path.write_bytes(path.read_bytes().replace(b"7473", b"7474"))
    with pytest.raises(ArtifactError, match="its own digest"):
        lineage("code_better", "tiny")


def test_unknown_gates_and_files_name_the_nearest(chain):
    with pytest.raises(ArtifactError) as caught:
        lineage("code_beter", "tiny")
    assert caught.value.fix == "did you mean 'code_better'?"
    with pytest.raises(ArtifactError) as caught:
        lineage("01_data/out/z.txt", "tiny")
    assert "did you mean 'out/x.txt'?" in caught.value.found or "did you mean 'out/y.txt'?" in caught.value.found
    with pytest.raises(ArtifactError) as caught:
        lineage("anything", "smoke")
    assert caught.value.fix == "run its stage first: ./run_all.sh smoke"


def test_unfinished_stages_do_not_count(chain):
    make(chain.parent, ".partial/02_train", {})
    make(chain.parent, ".replaced", {})
    assert list(finished_stages("tiny")) == ["00_base", "01_data", "10_mods/code"]


def test_a_stage_shown_twice_is_spelled_out_once(chain):
    refs = {ref: open_ref(ref, "tiny")[1] for ref in ("01_data/out/x.txt", "10_mods/code/out")}
    make(chain.parent, "14_end", refs, {"end": {"verdict": "FAIL"}})
    lines = lineage("end", "tiny").render().splitlines()
    assert [line.strip().split("  ")[1] for line in lines].count("01_data/out/x.txt") == 2
    assert sum(line.endswith("(as above)") for line in lines) == 1
