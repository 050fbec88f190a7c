import inspect
import math
import re

import pytest
import yaml

from cogumi_utils.artifacts import ArtifactError, write_manifest
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import claims
from cogumi_utils.judge import recompute as arithmetic
from cogumi_utils.paths import repo_root

CLAIMS = claims.load_claims()
CHECKED = repo_root().parent / "shared" / "CLAIMS.md"
beside = pytest.mark.skipif(not CHECKED.is_file(), reason=f"the checked table is not beside this checkout ({CHECKED})")


def checked_rows():
    """{claim: (recomputed, verdict, instead)} of the table that params/claims.yaml must carry."""
    if not CHECKED.is_file():
        return {}
    lines = [line for line in CHECKED.read_text().splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]
    return {claim: tuple(rest) for claim, *rest in cells}


ROWS = checked_rows()


@pytest.mark.parametrize("name", CLAIMS)
def test_every_recomputation_runs(name):
    numbers = claims.recompute(name)
    assert set(numbers) == set(CLAIMS[name].numbers)
    assert all(math.isfinite(value) for value in numbers.values())
    assert not any("{" in sentence for sentence in claims.sentences(CLAIMS[name]).values())


@beside
@pytest.mark.parametrize("claim", ROWS)
def test_every_checked_claim_is_carried_word_for_word_with_computed_numbers(claim):
    ours = {f"{row.claim} ({row.brief})": row for row in CLAIMS.values()}
    assert claim in ours
    row, said = ours[claim], claims.sentences(ours[claim])
    expected = list(ROWS[claim])
    for printed, template in row.corrects.items():  # where rounding differs; each correction must still be needed
        assert any(printed in cell for cell in expected)
        corrected = template.format_map(claims.recompute(row.id))
        assert float(corrected) == pytest.approx(float(printed), rel=0.07)
        expected = [cell.replace(printed, corrected) for cell in expected]
    assert [said["recomputed"], said["verdict"], said["instead"]] == expected


@beside
def test_the_checked_table_was_read():
    assert len(ROWS) == 22


PINNED = {
    ("weights_in_520_mb", "bits"): 0.518040,
    ("weights_in_520_mb", "mask"): 0.934068,
    ("weights_in_520_mb", "sparse_gb"): 2.342897,
    ("weights_in_520_mb", "embeddings_mb"): 525.336576,
    ("weights_in_520_mb", "q5_held"): 730,
    ("weights_in_520_mb", "q4_held"): 850,
    ("compression_chain", "dense"): 16.060522,
    ("compression_chain", "bitmask"): 6.624966,
    ("q5_after_awq", "q5_bits"): 5.703577,
    ("q5_after_awq", "awq_bits"): 4.25,
    ("absolute_gates", "low"): 64.633937,
    ("absolute_gates", "high"): 78.263688,
    ("domains_beaten", "whole"): 5,
    ("router_size", "parameters"): 10468,
    ("routing_accuracy", "right"): 4874,
    ("calibration_error", "at_300"): 0.060416,
    ("calibration_error", "at_5000"): 0.014689,
    ("modifier_sizes", "millions"): 335.54432,
    ("modifier_sizes", "bound"): 50.741,
    ("modifier_sizes", "narrow"): 27.262976,
    ("shared_backbone", "saved"): 0.438525,
    ("generation_speed", "bound"): 47.684,
    ("generation_speed", "read_bound"): 50.894,
    ("training_speed", "total"): 32.699333,
    ("training_speed", "published_hours"): 21.354567,
    ("training_price", "price"): 3.150525,
    ("brief_sums", "weeks"): 20,
    ("brief_sums", "usd"): 1449.5,
    ("brief_sums", "modifiers"): 331,
    ("hybrid_saving", "saved"): 0.789333,
    ("hybrid_saving", "break_even"): 128.4,
    ("human_evaluation", "effective"): 416.666667,
}


@pytest.mark.parametrize(("name", "number"), PINNED, ids=[".".join(key) for key in PINNED])
def test_pinned_numbers(name, number):
    assert claims.recompute(name)[number] == pytest.approx(PINNED[name, number], rel=2e-4)


def test_noise_of_calibration_falls_with_the_root_of_n():
    numbers = claims.recompute("calibration_error")
    assert numbers["at_300"] / numbers["at_3000"] == pytest.approx(math.sqrt(10), rel=0.03)


def test_every_number_is_told_or_used_and_every_function_is_called():
    for claim in CLAIMS.values():
        text = " ".join([claim.recomputed, claim.further, claim.verdict, claim.instead, *claim.corrects.values()])
        arguments = [str(value) for call in claim.numbers.values() for key, value in call.items() if key != "of"]
        for name in claim.numbers:
            assert f"{{{name}:" in text or any(re.search(rf"\b{name}\b", value) for value in arguments), (
                claim.id,
                name,
            )
    called = {call["of"] for claim in CLAIMS.values() for call in claim.numbers.values()}
    own = {name for name, value in vars(arithmetic).items() if getattr(value, "__module__", "") == arithmetic.__name__}
    assert own == called


def test_verdicts_say_whether_a_claim_can_hold():
    table = claims.claims_table().set_index("id")
    assert not table.loc[
        ["weights_in_520_mb", "brief_sums", "shared_backbone", "constant_confidence"], "possible"
    ].any()
    assert table.loc[["meta_learning", "modifier_sizes", "training_speed"], "possible"].all()
    assert claims.summary(claims.claims_table()) == (
        "37 claims of the brief: 17 cannot hold, by arithmetic, published facts or their own figures; "
        "20 are open or depend on what is left unsaid. 0 stand beside a measurement of ours."
    )


@pytest.fixture
def finished_stage(tmp_path, monkeypatch):
    """Write the manifest of a finished `tiny` 02_qlora with these metrics; gives its folder."""
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))

    def finish(**metrics):
        folder = tmp_path / "tiny" / "02_qlora"
        folder.mkdir(parents=True)
        write_manifest(folder, {"stage": "02_qlora", "profile": "tiny", "outputs": {}, "metrics": metrics})
        return folder

    return finish


def metric(value, low=None, high=None, n=None, unit=""):
    return {"value": value, "low": low, "high": high, "n": n, "unit": unit}


def test_our_measurement_comes_from_the_manifest(finished_stage):
    finished_stage(tokens_per_second=metric(14_500, 14_000, 15_000, 5, "tokens/s"), mfu=metric(0.396, unit="%"))
    told = claims.measurement(CLAIMS["training_speed"], "tiny")
    assert told == "tokens_per_second 1.45e+04 tokens/s [1.4e+04, 1.5e+04] n=5; mfu 39.6% (tiny)"
    assert claims.summary(claims.claims_table("tiny")).endswith("1 stand beside a measurement of ours.")


def test_what_is_not_measured_says_so(finished_stage):
    assert claims.measurement(CLAIMS["training_speed"], None) == "not measured yet (stage 02_qlora)"
    assert claims.measurement(CLAIMS["training_speed"], "tiny") == "not measured yet (stage 02_qlora)"
    finished_stage(loss=metric(1.0))
    assert claims.measurement(CLAIMS["training_speed"], "tiny") == "not measured by stage 02_qlora (tiny)"
    assert claims.measurement(CLAIMS["model_name"], "tiny") == "not a measurement"


def test_a_changed_manifest_is_not_quoted(finished_stage):
    manifest = finished_stage(tokens_per_second=metric(14_500)) / "manifest.json"
    manifest.write_text(manifest.read_text().replace("14500", "99500"))
    with pytest.raises(ArtifactError):
        claims.claims_table("tiny")


def row_with(**change):
    row = {"claim": "c", "brief": "4", "recomputed": "r {x:.0f}", "published": "p", "verdict": "open", "instead": "i"}
    return {"some_claim": {**row, "numbers": {"x": {"of": "ratio", "part": 1, "whole": 2}}, **change}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"numbers": {"x": {"of": "ration", "part": 1, "whole": 2}}}, "ration"),
        ({"numbers": {"x": {"of": "ratio", "part": 1, "hole": 2}}}, "hole"),
        ({"numbers": {"x": {"part": 1, "whole": 2}}}, "number x"),
        ({"numbers": {"x": {"of": "costs"}}}, "costs"),
        ({"verdikt": "open"}, "verdikt"),
    ],
    ids=["function unknown", "argument unknown", "no function", "not a function", "field unknown"],
)
def test_a_malformed_claim_is_refused_with_its_line(tmp_path, change, told):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(row_with(**change)))
    with pytest.raises(CogumiError) as caught:
        claims.load_claims(path)
    assert f"{path}:1" in str(caught.value) and told in str(caught.value)


def test_a_claim_without_a_verdict_is_refused(tmp_path):
    rows = row_with()
    del rows["some_claim"]["verdict"]
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(rows))
    with pytest.raises(CogumiError, match="verdict"):
        claims.load_claims(path)


def test_an_unknown_claim_names_the_known_ones():
    with pytest.raises(CogumiError, match="weights_in_520_mb"):
        claims.recompute("weights_in_521_mb")


def test_reading_claims_loads_neither_torch_nor_pandas():
    import subprocess
    import sys

    read = "from cogumi_utils.judge import claims; claims.load_claims()"
    code = f"import sys; {read}; print({{'torch', 'pandas'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repo_root())
    assert done.stdout.strip() == "set()"


def test_every_function_has_annotated_arguments():
    for name, function in inspect.getmembers(arithmetic, inspect.isfunction):
        if function.__module__ == arithmetic.__name__:
            assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values()), name
