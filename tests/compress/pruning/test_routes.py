"""Variants side by side: what a 4-bit file would hold is what is graded, and each is made and judged once."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cogumi_utils import artifacts
from cogumi_utils.compress.pruning import _outcome, _rounding, prune, routes, shrink
from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade
from cogumi_utils.model import generate, score, student
from cogumi_utils.schema import write_examples

CALIBRATION = {"rows": 8, "length": 64}
IN_STEPS = {"method": "sparsegpt", "levels": [0.3, 0.6], "steps": [1, 2], "batch": 2, **CALIBRATION}


@pytest.fixture(scope="module")
def parent(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def masks(parent, tokenizer, rows):
    return prune.one_shot(copy.deepcopy(parent), tokenizer, rows, method="magnitude", sparsity=0.65)


@pytest.fixture(scope="module")
def ways() -> list[routes.Route]:
    once = routes.one_shot_routes(["magnitude", "sparsegpt"], [0.5], **CALIBRATION)
    steps = routes.Route("in steps", routes.cut_in_steps, IN_STEPS, "SparseGPT, in steps")
    narrow = {"layers": 1, "kv_heads": 1, "ffn": 64, "vocab": 700}
    small = routes.Route("narrow", routes.shrunk, {"shape": narrow, "steps": 2, "batch": 2, **CALIBRATION})
    return [*routes.references(), *once, steps, small]


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory) -> tuple[Path, Path]:
    """(training examples, tests)"""
    folder = tmp_path_factory.mktemp("files")
    tests = skills.mixed(skills.trained_skills(), 1, split="test", seed=1)[:12]
    return write_examples(folder / "train.parquet", rows), write_examples(folder / "test.parquet", tests)


def study_in(folder: Path, base: Path, files: tuple[Path, Path]) -> routes.Study:
    return routes.Study(base, [files[0]], files[1], folder, max_new_tokens=12)


@pytest.fixture(scope="module")
def alone(ways, base, files, tmp_path_factory) -> list[routes.Outcome]:
    """What the others are compared with: one after the other, in this process."""
    return routes.run(study_in(tmp_path_factory.mktemp("alone"), base, files), ways, keep=True)


def weights(folder: Path) -> dict[str, str]:
    """{parameter: its digest}. Other files of the folder may say what else the process has loaded."""
    tensors = load_file(folder / "model.safetensors")
    return {name: hashlib.sha256(values.numpy().tobytes()).hexdigest() for name, values in tensors.items()}


def results(found: list[routes.Outcome]) -> list[tuple]:
    """All but places and seconds."""
    return [
        (one.name, one.family, one.size, one.right, one.fidelity, weights(one.model),
         one.graded().to_dict("records"), one.facts.get("losses"))
        for one in found
    ]  # fmt: skip


# --- rounding ---


def test_each_group_is_rounded_to_the_nearest_of_its_levels(parent):
    """Dense: eight magnitudes up to the group's largest in the layers, 32 in embeddings."""
    model, _ = routes.rounded(parent)
    before, after = dict(parent.named_parameters()), dict(model.named_parameters())
    for name, parameter in after.items():
        weight = before[name].detach()
        if parameter.ndim < 2:
            assert torch.equal(parameter, weight.half().float())
            continue
        groups, rounded = weight.reshape(-1, 32), parameter.detach().reshape(-1, 32)
        scale = groups.abs().amax(1, keepdim=True)
        step, levels = (1 / 7, 8) if ".layers." in name else (1 / 31, 32)
        assert (groups - rounded).abs().le(scale * step * 0.55).all()
        assert max(len(row.abs().unique()) for row in rounded[:50]) <= levels
        assert (rounded.abs().amax(1, keepdim=True) - scale).abs().le(scale * 1e-3).all()


def test_pruned_weights_stay_pruned_and_take_no_place_in_a_group(parent, masks):
    pruned = copy.deepcopy(parent)
    for name, mask in masks.items():
        dict(pruned.named_parameters())[name].data.mul_(mask)
    model, _ = routes.rounded(pruned, masks)
    name = "model.layers.0.mlp.up_proj.weight"
    weight, mask = dict(model.named_parameters())[name].detach(), masks[name]
    assert not weight[~mask].any()
    kept, own = weight[mask], dict(parent.named_parameters())[name].detach()[mask]
    whole = kept.numel() // 32 * 32
    largest = [values[:whole].abs().reshape(-1, 32).amax(1) for values in (kept, own)]
    assert torch.allclose(*largest, rtol=1e-3)


def test_rounding_makes_a_copy_and_keeps_what_is_tied(parent):
    before = {name: value.detach().clone() for name, value in parent.named_parameters()}
    model, _ = routes.rounded(parent)
    assert all(torch.equal(value, before[name]) for name, value in parent.named_parameters())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_bytes_of_a_dense_model(parent):
    _, size = routes.rounded(parent)
    weights = student.parameter_count(parent)
    norms = 3 * 64
    assert (size.weights, size.kept) == (weights, weights)
    embeddings = parent.get_input_embeddings().weight.numel()
    assert size.counted_bytes == (weights - norms - embeddings) * 4.5 / 8 + embeddings * 6.5 / 8 + norms * 2
    assert 0.75 * size.counted_bytes < size.file_bytes < size.counted_bytes
    assert _rounding.sixteen_bits(parent).file_bytes == 2 * weights


def test_bytes_of_a_pruned_model(parent, masks):
    """H(0.65) = 0.934 bits a weight for the mask, 4.5 for each kept one; embeddings are dense, 6.5."""
    _, size = routes.rounded(parent, masks)
    inside = sum(mask.numel() for mask in masks.values())
    kept = sum(int(mask.sum()) for mask in masks.values())
    norms = 3 * 64
    outside = size.weights - inside - norms
    assert size.kept == size.weights - inside + kept
    expected = (inside * 0.93407 + kept * 4.5 + outside * 6.5) / 8 + norms * 2
    assert size.counted_bytes == pytest.approx(expected, rel=1e-4)
    assert 0.8 * expected < size.file_bytes < expected * 1.02
    assert size.dense_bytes == routes.rounded(parent)[1].counted_bytes


def test_the_file_holds_what_is_graded(parent, masks, monkeypatch):
    """Its streams, taken apart again, give the signs of every kept weight, and a scale for each 32 of a matrix."""
    kept = {}
    monkeypatch.setattr(_rounding, "_written", lambda streams: kept.update(streams) or 0)
    model, _ = routes.rounded(parent, masks)
    inside = [parameter.detach() for name, parameter in model.named_parameters() if name in masks]
    assert len(inside) == len(kept["codes"]) == len(kept["mask"]) == 7
    for weight, codes, mask in zip(inside, kept["codes"], kept["mask"], strict=True):
        values = weight.flatten()[torch.from_numpy(mask)].numpy()
        assert values.size == codes.size and codes.max() < 16
        assert np.array_equal(np.signbit(values), codes >= 8)
    assert [scales.size for scales in kept["scales"]] == [1600, *(-(-codes.size // 32) for codes in kept["codes"])]


# --- routes ---


def test_outcomes_come_in_the_order_of_the_routes(alone):
    assert [one.name for one in alone] == [
        "parent, 16 bits", "parent, 4 bits", "magnitude 50%", "SparseGPT 50%", "SparseGPT 30%, in steps",
        "SparseGPT 60%, in steps", "narrow",
    ]  # fmt: skip
    assert [one.family for one in alone[1:4]] == ["parent", "magnitude", "SparseGPT"]
    assert [round(one.sparsity, 3) for one in alone] == [0, 0, 0.222, 0.222, 0.133, 0.266, 0]
    assert all(one.make_seconds >= 0 and one.judge_seconds > 0 for one in alone)
    assert [len(one.facts["losses"]) for one in alone[4:]] == [1, 2, 2]


def test_the_parent_as_it_is_is_the_parent(alone, base, files):
    whole, four = alone[0].fidelity, alone[1].fidelity
    assert (whole.kl.value, whole.agreement.value, whole.perplexity_ratio.value) == (0, 1, 1)
    assert 0 < four.kl.value < 0.05 and alone[0].right.n == 12


def test_what_is_judged_is_the_rounded_variant_of_the_pruned_model(alone, base, files, rows, tmp_path):
    """By hand."""
    from cogumi_utils.judge import fidelity
    from cogumi_utils.schema import read_examples

    model, tokenizer = student.load(base)
    tests, parent = read_examples(files[1]), copy.deepcopy(model)
    masks = prune.one_shot(model, tokenizer, rows, method="sparsegpt", sparsity=0.5, **CALIBRATION)
    four, size = routes.rounded(model, masks)
    graded = grade.evaluate(tests, generate.answerer(four, tokenizer, max_new_tokens=12))
    close = fidelity.compare(
        *(score.answer_log_probs(one, tokenizer, tests) for one in (parent, four)),
        score.answer_ids(tokenizer, tests),
        1,
    )
    assert graded.equals(alone[3].graded()) and size == alone[3].size
    assert close.kl.value == pytest.approx(alone[3].fidelity.kl.value, rel=1e-4)  # in another order
    assert close.agreement.value == alone[3].fidelity.agreement.value
    saved, _ = student.load(alone[3].model)
    assert all(torch.equal(one, two) for one, two in zip(saved.parameters(), model.parameters(), strict=True))


def test_a_smaller_vocabulary_is_compared_over_what_is_left_of_it(alone):
    narrow = alone[-1]
    model, tokenizer = student.load(narrow.model)
    assert len(tokenizer) == 700 and model.config.intermediate_size == 64
    assert narrow.size.weights == student.parameter_count(model) == narrow.size.kept
    assert 0 < narrow.fidelity.kl.value < 5 and narrow.fidelity.kl.n == 12


def test_two_at_a_time_are_as_one_after_the_other(alone, ways, base, files, tmp_path):
    assert results(routes.run(study_in(tmp_path, base, files), ways, workers=2, keep=True)) == results(alone)


def test_a_finished_route_is_not_run_again_and_a_damaged_one_is(alone, ways, base, files, tmp_path):
    study = study_in(tmp_path, base, files)
    first = routes.run(study, ways[:3], keep=True)
    stamps = [(one.folder.parent / artifacts.MANIFEST).stat().st_mtime_ns for one in first]
    (first[2].folder / "graded.parquet").write_bytes(b"?")
    again = routes.run(study, ways[:3], keep=True)
    assert results(again) == results(alone[:3])
    now = [(one.folder.parent / artifacts.MANIFEST).stat().st_mtime_ns for one in again]
    assert now[:2] == stamps[:2] and now[2] > stamps[2]


def test_a_route_with_other_options_is_another(ways):
    other = dataclasses.replace(ways[2], options={**ways[2].options, "rows": 9})
    assert other.key != ways[2].key and other.key.startswith("magnitude_50_")


def test_a_route_that_was_killed_between_two_levels_starts_again(alone, ways, base, files, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    study, real = study_in(tmp_path, base, files), routes.judge

    def die_at_the_second(variant, folder, **options):
        if folder.name == "1":
            raise Killed
        return real(variant, folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(routes, "judge", die_at_the_second)
        with pytest.raises(Killed):
            routes.run(study, ways[4:5])
    assert (tmp_path / ways[4].key / "0").exists()
    assert results(routes.run(study, ways[4:5], keep=True)) == results(alone[4:6])


def test_two_routes_of_one_name_and_options_are_refused(ways, base, files, tmp_path):
    with pytest.raises(CogumiError, match="more than once"):
        routes.run(study_in(tmp_path, base, files), [ways[0], ways[0]])


def test_models_are_kept_only_if_asked_for(ways, base, files, tmp_path):
    (one,) = routes.run(study_in(tmp_path, base, files), ways[:1])
    assert not one.model.exists() and len(one.graded()) == 12


def test_a_kept_model_is_judged_again_as_it_was(alone, base, files, tmp_path):
    """A pruned one with its mask, a dense one without."""
    pruned, narrow = alone[3], alone[-1]
    found = routes.run(study_in(tmp_path, base, files), [routes.again(pruned, "once more"), routes.again(narrow, "n")])
    assert [(one.size, one.right, one.fidelity) for one in found] == [
        (one.size, one.right, one.fidelity) for one in (pruned, narrow)
    ]
    assert [(one.name, one.family) for one in found] == [("once more", pruned.family), ("n", narrow.family)]


def test_shapes_under_each_target(parent, base):
    config = parent.config.to_dict()
    whole = shrink.shape_of(config).bytes(config)
    found = routes.shapes(base, [0.95 * whole / 1e6, 0.9 * whole / 1e6], steps=3)
    assert [one.family for one in found] == sorted((one.family for one in found), reverse=True)
    assert {one.family for one in found} == {f"under {0.95 * whole / 1e6:g} MB", f"under {0.9 * whole / 1e6:g} MB"}
    for one in found:
        assert shrink.Shape(**one.options["shape"]).bytes(config) <= float(one.family.split()[1]) * 1e6
        assert one.options["steps"] == 3 and one.make is routes.shrunk


def test_the_nearest_shape_of_each_family_trains_on(alone):
    tried = [routes.Route(str(n), routes.shrunk, {"steps": 1, "batch": 2}, family) for n, family in enumerate("aabb")]
    found = [alone[n] for n in (3, 0, 1, 2)]  # alone[0] is the parent: KL 0
    kl = [one.fidelity.kl.value for one in found]
    assert kl[1] < kl[0] and kl[2] < kl[3]
    chosen = routes.longer(tried, found, [7, 9])
    assert [(one.name, one.options) for one in chosen] == [
        ("1, trained", {"steps": 7, "batch": 2}), ("2, trained", {"steps": 9, "batch": 2}),
    ]  # fmt: skip


def test_the_ledger_entry_of_a_variant(alone):
    """The bound: entropies of mask and codes, matrix by matrix; Zstandard is near it, below where scales repeat."""
    for one in alone[1:]:
        entry = one.file()
        assert (entry.name, entry.weights, entry.file_bytes) == (one.name, one.size.weights, one.size.file_bytes)
        assert -0.05 < entry.gap < 0.04, one.name


def test_the_table_and_the_lines_of_a_figure(alone):
    table = routes.table(alone, alone[0])
    assert list(table["route"]) == [one.name for one in alone]
    assert list(table["right"]) == [str(one.right) for one in alone]
    passed = [one.graded()["passed"] for one in alone]
    for after, one, row in zip(passed, alone, table.to_dict("records"), strict=True):
        change = routes.change(alone[0], one)
        assert change.value == pytest.approx(after.mean() - passed[0].mean())
        assert row["points"] == f"{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    assert alone[0].fidelity.kl.value == 0 and table["KL"].nunique() > 3
    lines = routes.lines(alone)
    assert set(lines) == {"parent", "magnitude", "SparseGPT", "SparseGPT, in steps", "narrow"}
    sizes = [size for size, _ in lines["SparseGPT, in steps"]]
    assert sizes == sorted(sizes) and sizes[0] == alone[5].size.counted_bytes / 1e6


def test_routes_by_rows_and_by_level():
    found = routes.calibration_routes([8, 32], method="wanda", sparsity=0.5, length=64)
    assert [(one.name, one.options["rows"], one.family) for one in found] == [
        ("8 rows", 8, "calibration rows"), ("32 rows", 32, "calibration rows"),
    ]  # fmt: skip


def test_a_parent_with_fewer_entries_is_the_parent_over_them(parent, tokenizer, rows):
    """Its distributions are those of the whole parent over the entries that are left, rescaled to one."""
    kept = torch.arange(len(tokenizer) - 100)
    narrow = _outcome._with_entries(parent, kept)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        whole, less = (model(input_ids=ids).logits.log_softmax(-1) for model in (parent, narrow))
    wanted = whole[..., kept].log_softmax(-1)
    assert torch.allclose(less, wanted, atol=1e-5) and len(parent.get_input_embeddings().weight) == len(tokenizer)
