"""Profiles: every fault of every file is found before a kernel starts, with file, line and the nearest right name."""

import pytest

from cogumi_utils import params
from cogumi_utils.errors import CogumiError
from cogumi_utils.params import ParameterError, check_all, load_profile, profile_facts


def faults(check=check_all) -> list[str]:
    """What check_all finds, line by line; the three other parts of the error are looked at on the way."""
    with pytest.raises(ParameterError) as caught:
        check()
    assert caught.value.expected and caught.value.why and caught.value.fix
    return [line.strip() for line in caught.value.found.splitlines()]


def test_the_profiles_of_a_sound_repository(repo):
    check_all()
    assert params.profiles() == ["public", "smoke", "tiny"]
    assert params.notebooks() == ["01_data", "02_train"]
    smoke, tiny, public = (load_profile(name) for name in ("smoke", "tiny", "public"))
    assert smoke["01_data"] == {"profile": "smoke", "seed": 7, "rows": 20}
    assert tiny["01_data"] == {"profile": "tiny", "seed": 7, "rows": 50}
    assert tiny["02_train"] == {
        "profile": "tiny", "seed": 7, "steps": 100, "rate": 3.0e-3, "student": "scratch", "hub_id": "",
        "packed": True, "levels": [0.1, 0.5],
    }  # fmt: skip
    assert public == {stage: values | {"profile": "public"} for stage, values in tiny.items()}


def test_a_file_of_its_own_replaces_the_extended_one_whole(repo):
    (repo / "params/public/02_train.yaml").write_text("student: hub\n")
    found = load_profile("public")["02_train"]
    assert (found["student"], found["steps"], found["rate"]) == ("hub", 10, 5e-5)


def test_an_empty_file_means_the_cell(repo):
    (repo / "params/tiny/02_train.yaml").write_text("# as in the notebook\n")
    check_all()
    assert load_profile("tiny")["02_train"]["steps"] == 10


@pytest.mark.parametrize(
    "text, fault",
    [
        ("step: 5", "params/tiny/02_train.yaml:1: unknown parameter 'step' (did you mean 'steps'?)"),
        ("\nzzz: 5", "params/tiny/02_train.yaml:2: unknown parameter 'zzz'"),
        ("rate: 5e-5", "params/tiny/02_train.yaml:1: rate: '5e-5' is of type str "
         "(YAML reads 5e-5 as text: write 5.0e-05); legal: float, 1e-06..1.0"),
        ("steps: 3.0", "params/tiny/02_train.yaml:1: steps: 3.0 is of type float (write 3); legal: int, 1..100000"),
        ("steps: 0", "params/tiny/02_train.yaml:1: steps: 0 is out of range; legal: int, 1..100000"),
        ("student: hubb", "params/tiny/02_train.yaml:1: student: 'hubb' is not allowed; legal: one of: scratch, hub"),
        ("packed: 'yes'", "params/tiny/02_train.yaml:1: packed: 'yes' is of type str; legal: true or false"),
        ("levels: [0.5, 1.5]", "params/tiny/02_train.yaml:1: levels: 1.5 is out of range; legal: each float, 0.0..1.0"),
        ("profile: tiny", "params/tiny/02_train.yaml:1: profile is set by the folder's name"),
        ("steps: 3\nsteps: 4", "params/tiny/02_train.yaml:2: the key 'steps' is given twice"),
        ("steps: [3", "params/tiny/02_train.yaml:2: expected ',' or ']', but got '<stream end>'"),
        ("? [a]\n: 3", "params/tiny/02_train.yaml: unhashable type: 'list'"),
        ("- steps", "params/tiny/02_train.yaml: a list"),
        ("3: 4", "params/tiny/02_train.yaml: the name 3, which is no text"),
        ("steps: !!python/object/apply:os.getcwd []", "params/tiny/02_train.yaml:1: could not determine a constructor"
         " for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
    ],
)  # fmt: skip
def test_faults_of_a_file(repo, text, fault):
    (repo / "params/tiny/02_train.yaml").write_text(text + "\n")
    assert [line.replace(f"{repo}/", "") for line in faults()] == [fault]
    with pytest.raises(CogumiError):
        load_profile("tiny")


@pytest.mark.parametrize(
    "path, text, fault",
    [
        ("tiny/02_trian.yaml", "", "params/tiny/02_trian.yaml: no notebook '02_trian' (did you mean '02_train'?)"),
        ("tiny/notes.txt", "", "params/tiny/notes.txt: no notebook 'notes'"),
        ("tiny/02_train.yml", "", "params/tiny/02_train.yml: no notebook '02_train' (did you mean '02_train'?)"),
        ("h100/profile.yaml", "extends: tinny", "'tinny'"),
        ("h100/profile.yaml", "extend: tiny",
         "params/h100/profile.yaml:1: unknown fact 'extend' (did you mean 'extends'?)"),
        ("h100/profile.yaml", "extends: tiny\nusd_per_hour: -1",
         "params/h100/profile.yaml:2: usd_per_hour: -1 is not what it takes"),
        ("h100/profile.yaml", "extends: tiny\nminutes: {02_trian: 3}",
         "params/h100/profile.yaml: no stage '02_trian' (did you mean '02_train'?)"),
        ("tiny/profile.yaml", "extends: public",
         "params/public/profile.yaml extends tiny, which extends public"),
    ],
)  # fmt: skip
def test_faults_of_a_folder(repo, path, text, fault):
    (repo / "params/h100").mkdir(exist_ok=path.startswith("h100"))
    if not path.startswith("h100"):
        (repo / "params/h100").rmdir()
    (repo / "params" / path).write_text(text)
    assert fault in faults()


def test_a_notebook_without_a_file_in_a_profile_is_a_fault(repo):
    (repo / "params/tiny/01_data.yaml").unlink()
    assert faults() == ["params/public/01_data.yaml: missing", "params/tiny/01_data.yaml: missing"]
    (repo / "params/tiny/profile.yaml").write_text("stages: [02_train]\n")
    (repo / "params/public/profile.yaml").write_text("extends: tiny\n")
    check_all()
    assert list(load_profile("public")) == ["02_train"]


def test_all_faults_of_all_profiles_are_listed_in_one_error(repo):
    (repo / "params/tiny/01_data.yaml").write_text("row: 3\nseed: x\n")
    (repo / "params/public/02_train.yaml").write_text("steps: 0\n")
    gates = repo / "params/gates.yaml"
    gates.write_text(gates.read_text().replace("stage: 01_data", "stage: 01_dat").replace("[tiny]", "[tinny]"))
    assert faults() == [
        "params/public/02_train.yaml:1: steps: 0 is out of range; legal: int, 1..100000",
        "params/tiny/01_data.yaml:1: unknown parameter 'row' (did you mean 'rows'?)",
        "params/tiny/01_data.yaml:2: seed: 'x' is of type str; legal: int, 0..4294967295",
        "params/gates.yaml:2: enough_rows: no notebook '01_dat' (did you mean '01_data'?)",
        "params/gates.yaml:2: enough_rows: no profile 'tinny' (did you mean 'tiny'?)",
        "params/gates.yaml:9: better: no profile 'tinny' (did you mean 'tiny'?)",
    ]


def test_a_bad_cell_and_bad_gates_are_listed_together(repo, write_notebook):
    write_notebook(repo / "notebooks/02_train.ipynb", "steps = 3")
    gates = repo / "params/gates.yaml"
    gates.write_text(gates.read_text().replace("kind: paired", "kind: pared"))
    found = faults()
    assert found[0].startswith("02_train.ipynb: line 1: steps has no comment")
    assert found[1].endswith("kind 'pared' is none of proportion, paired, non_inferiority, value, exact")


def test_unknown_profile_names_the_nearest(repo):
    with pytest.raises(ParameterError) as caught:
        load_profile("tinny")
    assert "did you mean 'tiny'?" in caught.value.fix


def test_facts_come_from_the_extended_profile(repo):
    (repo / "params/tiny/profile.yaml").write_text("usd_per_hour: 3.6\nminutes: {02_train: 2}\ndisk_gb: 1\n")
    (repo / "params/public/profile.yaml").write_text("extends: tiny\ndisk_gb: 5\n")
    facts = profile_facts("public")
    assert (facts.usd_per_hour, facts.minutes, facts.disk_gb, facts.extends) == (3.6, {"02_train": 2}, 5, "tiny")
    assert facts.raise_on_failed_gate and not profile_facts("smoke").raise_on_failed_gate


def test_a_folder_of_domains_makes_one_instance_a_file(repo, write_notebook):
    cell = '{}\ndomain = "code"  # domain, not empty\nrank = 8  # LoRA rank, 1..256'
    write_notebook(
        repo / "notebooks/10_modifiers.ipynb",
        cell.format('profile = "smoke"  # profile, not empty\nseed = 1  # seed, 0..99'),
    )
    folder = repo / "params/tiny/10_modifiers"
    folder.mkdir()
    (folder / "code.yaml").write_text("")
    (folder / "maths.yaml").write_text("rank: 16\n")
    check_all()
    assert list(load_profile("tiny")) == ["01_data", "02_train", "10_modifiers/code", "10_modifiers/maths"]
    assert load_profile("public")["10_modifiers/maths"] == {
        "profile": "public", "seed": 1, "domain": "maths", "rank": 16,
    }  # fmt: skip
    assert list(load_profile("smoke")) == ["01_data", "02_train", "10_modifiers/code"]
    (folder / "maths.yaml").write_text("domain: code\n")
    assert faults() == ["params/tiny/10_modifiers/maths.yaml:1: domain is set by the file's name"]


def test_instances_share_the_file_beside_their_folder_and_each_gives_its_own(repo, write_notebook):
    cell = ('profile = "smoke"  # profile, not empty\nseed = 1  # seed, 0..99\ndomain = "code"  # domain, not empty\n'
            "rank = 8  # LoRA rank, each domain's own, 1..256\nsteps = 5  # steps, 1..99")  # fmt: skip
    write_notebook(repo / "notebooks/10_modifiers.ipynb", cell)
    folder, shared = repo / "params/tiny/10_modifiers", repo / "params/tiny/10_modifiers.yaml"
    folder.mkdir()
    (folder / "code.yaml").write_text("rank: 32\n")
    (folder / "math.yaml").write_text("rank: 16\nsteps: 7\n")
    shared.write_text("steps: 50\n")
    check_all()
    found = load_profile("public")
    code, math = (found[f"10_modifiers/{name}"] for name in ("code", "math"))
    assert (code["rank"], code["steps"], math["rank"], math["steps"]) == (32, 50, 16, 7)
    assert "10_modifiers" not in found
    (folder / "math.yaml").write_text("steps: 7\n")
    assert faults() == ["params/tiny/10_modifiers/math.yaml: no rank; LoRA rank, each domain's own"]
    (folder / "math.yaml").write_text("rank: 16\n")
    shared.write_text("domain: code\nstep: 3\n")
    assert faults() == [
        "params/tiny/10_modifiers.yaml:1: domain is set by the file's name",
        "params/tiny/10_modifiers.yaml:2: unknown parameter 'step' (did you mean 'steps'?)",
    ]


@pytest.fixture
def domains(repo, write_notebook):
    """A notebook with the instances code and math."""
    cell = 'profile = "smoke"  # profile, not empty\nseed = 1  # seed, 0..99\ndomain = "code"  # domain, not empty'
    write_notebook(repo / "notebooks/10_modifiers.ipynb", cell)
    (repo / "params/tiny/10_modifiers").mkdir()
    for domain in ("code", "math"):
        (repo / f"params/tiny/10_modifiers/{domain}.yaml").write_text("")
    return repo


def test_default_domains_are_inherited_and_leave_every_instance_loadable(domains):
    (domains / "params/tiny/profile.yaml").write_text("domains: [math]\n")
    check_all()
    assert [profile_facts(name).domains for name in ("smoke", "tiny", "public")] == [[], ["math"], ["math"]]
    assert list(load_profile("public")) == ["01_data", "02_train", "10_modifiers/code", "10_modifiers/math"]
    (domains / "params/public/profile.yaml").write_text("extends: tiny\ndomains: [code]\n")
    assert profile_facts("public").domains == ["code"]


@pytest.mark.parametrize(
    "fact, fault",
    [
        ("domains: [code, maht]", "profile.yaml: no domain 'maht' (did you mean 'math'?)"),
        ("domains: [10_modifiers]", "profile.yaml: no domain '10_modifiers'"),
        ("domains: code", "profile.yaml:1: domains: 'code' is not what it takes"),
        ("domains: [1]", "profile.yaml:1: domains: [1] is not what it takes"),
        ("stages: [1]", "profile.yaml:1: stages: [1] is not what it takes"),
    ],
)
def test_faults_of_a_list_of_names(domains, fact, fault):
    (domains / "params/tiny/profile.yaml").write_text(fact + "\n")
    assert f"params/tiny/{fault}" in faults()


def test_the_domains_of_instances():
    assert params.domains(["01_data", "12_x/math", "10_modifiers/math", "10_modifiers/code"]) == ["code", "math"]


def test_the_hash_of_parameters_sees_values_and_not_their_order():
    one = params.parameters_hash({"a": 1, "b": [0.5]})
    assert one == params.parameters_hash({"b": [0.5], "a": 1})
    assert len({one, params.parameters_hash({"a": 1, "b": [0.25]}), params.parameters_hash({"a": 1})}) == 3
