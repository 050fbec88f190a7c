"""The router: trained on a few sentences, exported, quantised, saved, damaged, and asked without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import features, router, training
from cogumi_utils.route.settings import Settings

ROUTES = ("base", "code", "automation")
SUBJECTS = ("list", "tree", "file", "graph", "string", "queue", "table", "matrix", "word", "number")
ASKED = {
    "base": ("Tell me a story about a {}", "What do you think of a {}", "Describe a {} to a child"),
    "code": ("Write a Python function for a {}", "Fix the bug in this {} class", "def {}(x): return"),
    "automation": ("Book a {} for tomorrow", "Turn on the {} in the kitchen", "Send the {} to Anna"),
}
TEXTS = [form.format(word) for route in ROUTES for form in ASKED[route] for word in SUBJECTS]
TARGETS = np.repeat(np.eye(3), 30, axis=0)
SETTINGS = Settings(steps=80, batch=16)


@pytest.fixture(scope="module")
def trained():
    return router.train(TEXTS, TARGETS, ROUTES, settings=SETTINGS, seed=0)


@pytest.fixture
def folder(trained, tmp_path):
    return trained.save(tmp_path / "router")


def fails(part, call, *args, **more):
    with pytest.raises(CogumiError) as caught:
        call(*args, **more)
    assert part in str(caught.value)


def test_it_learns_and_decides(trained):
    assert [trained.decide(text).route for text in TEXTS] == [route for route in ROUTES for _ in range(30)]
    decision = trained.decide("Write a Python function for a heap")
    assert decision.route == "code" and decision.why == ""
    assert decision.confidence == decision.probabilities["code"] == max(decision.probabilities.values())
    assert sum(decision.probabilities.values()) == pytest.approx(1)


def test_onnx_gives_what_torch_gives():
    import torch

    bag = training.fit(TEXTS, TARGETS, SETTINGS, 1)
    asked = [*TEXTS, "", "a" * 100_000, "something else 関数"]
    rows, weights = map(torch.from_numpy, features.padded(asked))
    with torch.no_grad():
        wanted = bag(rows, weights).softmax(-1).numpy()
    found = router.Router(ROUTES, training.to_onnx(bag), SETTINGS).probabilities(asked)
    assert np.abs(found - wanted).max() < 1e-5


def test_a_table_that_stays_is_pooled_in_few_directions_to_the_same_end():
    import torch

    stays, moves_by_nothing = (
        training.fit(TEXTS, TARGETS, replace(SETTINGS, table_lr=rate), 1) for rate in (0.0, 1e-30)
    )
    assert torch.equal(stays.table.weight, moves_by_nothing.table.weight)
    assert stays.table.weight.shape == (features.ROWS, 128)
    for ours, wide in zip(stays.head.parameters(), moves_by_nothing.head.parameters(), strict=True):
        assert torch.allclose(ours, wide, atol=1e-4)


def test_training_is_a_function_of_the_seed(trained):
    again, other = (router.train(TEXTS, TARGETS, ROUTES, settings=SETTINGS, seed=seed) for seed in (0, 1))
    assert again.model == trained.model != other.model


def test_a_query_is_decided_alone(trained):
    small = trained.quantised()
    for each in (trained, small):
        together = each.probabilities(TEXTS[:40])
        assert np.array_equal(together[7], each.probabilities(TEXTS[7:8])[0])
    assert trained.probabilities([]).shape == (0, 3)


def test_int8_decides_alike_in_a_quarter_of_the_bytes(trained):
    small = trained.quantised()
    assert (small.probabilities(TEXTS).argmax(1) == trained.probabilities(TEXTS).argmax(1)).mean() >= 0.97
    assert small.probabilities(TEXTS) == pytest.approx(trained.probabilities(TEXTS), abs=0.1)
    assert len(small.model) < 0.26 * len(trained.model)
    assert small.quantised() is small


def test_sizes_tell_table_from_head(trained):
    table = trained.sizes().set_index("part")
    head = (128 * 64 + 64) + (64 * 32 + 32) + (32 * 3 + 3)
    assert table.loc["table", ["parameters", "bytes"]].tolist() == [3_200_000, 12_800_000]
    assert head <= table.loc["head", "parameters"] <= head + 2  # and the shape of an axis
    assert table.loc["file", "bytes"] == len(trained.model)
    assert trained.quantised().sizes().set_index("part").loc["table", "bytes"] == pytest.approx(3_200_000, abs=8)


@pytest.mark.parametrize("text", ["", "   ", "?!", "\x00\x01\x02\x03", "\ufffd" * 50])
def test_nothing_to_read_goes_to_the_default(trained, text):
    decision = trained.decide(text)
    assert (decision.route, decision.why) == ("base", "nothing to read")
    assert decision.confidence == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "اكتب دالة", "関数を書いて Python", "\ud800 book", "e" + "\u0301" * 9999]
)
def test_odd_queries_get_a_route(trained, text):
    assert trained.decide(text).route in ROUTES


def test_bytes_are_read_as_utf8_and_nothing_else_is_a_query(trained):
    assert trained.decide(TEXTS[30].encode()).route == "code"
    assert trained.decide(b"\xff\xfe\x00\x80" * 20).why == "nothing to read"
    fails("NoneType", trained.decide, None)


def test_below_the_threshold_the_default_answers(trained):
    sure = trained.decide(TEXTS[30])
    careful = trained.with_threshold(1.0)
    unsure = careful.decide(TEXTS[30])
    assert sure.route == "code" and (unsure.route, unsure.why) == ("base", "not sure enough")
    assert unsure.probabilities == sure.probabilities
    assert careful.decide(TEXTS[0]).route == "base"


def test_a_row_without_a_right_route_teaches_nothing(trained):
    texts, targets = [*TEXTS, "no route answers this"], np.vstack([TARGETS, np.zeros(3)])
    assert router.train(texts, targets, ROUTES, settings=SETTINGS, seed=0).model == trained.model


def test_weights_move_the_decision():
    texts, targets = ["the same words"] * 20, np.vstack([np.eye(3)[[0] * 10], np.eye(3)[[1] * 10]])
    for heavy in (0, 1):
        weights = [9.0 if (place < 10) == (heavy == 0) else 1.0 for place in range(20)]
        found = router.train(texts, targets, ROUTES, settings=SETTINGS, seed=0, weights=weights)
        assert found.decide(texts[0]).route == ROUTES[heavy]


def test_both_files_come_back(trained, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["router.int8.onnx", "router.json", "router.onnx"]
    full, small = router.load(folder), router.load(folder, int8=True)
    assert np.array_equal(full.probabilities(TEXTS), trained.probabilities(TEXTS))
    assert np.array_equal(small.probabilities(TEXTS), trained.quantised().probabilities(TEXTS))
    assert (full.routes, full.settings, small.int8) == (ROUTES, SETTINGS, True)
    fails("float32 weights", small.save, folder)


@pytest.mark.parametrize("int8", [False, True])
def test_an_altered_model_is_not_read(folder, int8):
    path = folder / (router.INT8 if int8 else router.FLOAT)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    fails("sha256", router.load, folder, int8=int8)
    router.load(folder, int8=not int8)
    path.unlink()
    fails("no such file", router.load, folder, int8=int8)


def test_an_altered_card_is_not_read(folder):
    path = folder / router.CARD
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "routes": ["code", "base", "automation"]}))
    fails("digest", router.load, folder)
    path.write_text("{")
    fails("JSONDecodeError", router.load, folder)
    path.unlink()
    fails("FileNotFoundError", router.load, folder)


def test_a_router_of_other_features_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    fails("features of version", router.load, folder)


def test_a_route_that_does_not_exist_is_found_at_load(folder):
    assert router.load(folder, routes=[*ROUTES, "math"]).routes == ROUTES
    fails("sends queries to automation", router.load, folder, routes=["base", "code"])


@pytest.mark.parametrize(
    "part, texts, targets, routes",
    [
        ("shape (90, 2)", TEXTS, TARGETS[:, :2], ROUTES),
        ("shape (89, 3)", TEXTS, TARGETS[:89], ROUTES),
        ("no route 'base'", TEXTS, TARGETS, ("a", "b", "c")),
        ("['base', 'base', 'code']", TEXTS, TARGETS, ("base", "base", "code")),
        ("below 0", TEXTS, -TARGETS, ROUTES),
        ("not finite", TEXTS, TARGETS * np.nan, ROUTES),
        ("no text with a target", TEXTS, TARGETS * 0, ROUTES),
    ],
)
def test_what_cannot_be_trained_on(part, texts, targets, routes):
    fails(part, router.train, texts, targets, routes, settings=SETTINGS, seed=0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"dropout": 1.0}, {"row_dropout": -0.1}, {"threshold": 1.5}])
def test_settings_that_make_no_sense(wrong):
    fails(next(iter(wrong)), Settings, **wrong)


def test_deciding_needs_no_torch_and_no_python_hash(trained, folder):
    """A new process with another hash seed decides the same, and torch was never imported."""
    code = (
        "import json, sys; from pathlib import Path; from cogumi_utils.route import router;"
        f"found = router.load(Path({str(folder)!r}), int8=True).decide({TEXTS[30]!r});"
        "print(json.dumps([found.route, found.confidence, 'torch' in sys.modules, 'transformers' in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    route, confidence, *heavy = json.loads(ran.stdout)
    here = trained.quantised().decide(TEXTS[30])
    assert heavy == [False, False] and (route, confidence) == (here.route, here.confidence)
