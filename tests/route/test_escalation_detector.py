"""The detector end to end: a teacher of a few steps, a student distilled from it, ONNX files that say the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from cogumi_utils.errors import CogumiError
from cogumi_utils.model import encoders
from cogumi_utils.route import onnx_file
from cogumi_utils.route.escalation import _onnx, data, judge, student, study, teacher
from cogumi_utils.route.escalation.detector import CARD, MODEL, MODEL_INT8, SPECIAL, WORDS, Detector, Score, token_ids
from cogumi_utils.route.escalation.student import StudentSettings
from cogumi_utils.route.escalation.teacher import Teacher, TeacherSettings

ANGRY = ["Where is my parcel?", "It was sent on Monday.", "This is useless, I want to talk to a human."]


@pytest.fixture(scope="module")
def trained() -> study.Trained:
    rows, validation = (
        data.read(["dialogues"], "train", dialogues=240),
        data.read(["dialogues"], "validation", dialogues=240),
    )
    return study.train(
        rows, validation, base_rate=0.2, teacher=TeacherSettings(frozen_layers=5, epochs=2),
        student=StudentSettings(
            vocabulary=1500, width=32, hidden=24, epochs=20, batch=16, learning_rate=5e-3, label_weight=0.7
        ), seed=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def detector(trained) -> Detector:
    return trained.detector.using(threshold=0.3)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return data.read(["dialogues"], "test", dialogues=90)["text"].tolist()


# --- teacher


def test_a_teacher_is_saved_as_safetensors_and_comes_back(trained, texts, tmp_path):
    folder = trained.teacher.save(tmp_path / "teacher")
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors", ".json", ".txt"}
    assert (Teacher.load(folder).probabilities(texts) == trained.teacher.probabilities(texts)).all()


def test_frozen_layers_stay_and_the_others_learn(trained):
    fresh, _ = teacher._encoder(encoders.PACKAGED)
    pairs = list(zip(fresh.bert.encoder.layer, trained.teacher.model.bert.encoder.layer, strict=True))
    same = [all((a == b).all() for a, b in zip(old.parameters(), new.parameters(), strict=True)) for old, new in pairs]
    assert same == [True] * 5 + [False]


def test_a_texts_probability_does_not_depend_on_its_company(trained, texts):
    together = trained.teacher.probabilities(texts)
    assert trained.teacher.probabilities(texts[:1])[0] == pytest.approx(together[0], abs=0.02)  # bfloat16
    assert (trained.teacher.probabilities([texts[0], *texts])[[0, 1]] == together[0]).all()


def test_batches_hold_items_of_one_length_each_item_once():
    lengths = [3, 1, 3, 2, 3, 3, 1]
    found = list(teacher.equal_length(lengths, 3))
    assert found == [[1, 6], [3], [0, 2, 4], [5]]


@pytest.mark.parametrize("labels", [[1, 1], [0, 1, 1], [0, 2]])
def test_a_teacher_needs_both_labels_one_a_text(labels):
    with pytest.raises(CogumiError, match="a label for each text"):
        teacher.fit(["a", "b"], labels)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="an encoder of BERT's kind"):
        teacher.fit(["a", "b"], [0, 1], TeacherSettings(encoder=str(tmp_path)))


# --- student


def test_the_graph_is_the_network(trained):
    torch.manual_seed(0)
    model = student._network(
        np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32), StudentSettings(width=4, hidden=6)
    )
    ids = torch.randint(0, 50, (3, 9))
    session = __import__("onnxruntime").InferenceSession(_onnx.graph(student.folded(model)))
    for part in (ids, ids[:1, :1]):
        (found,) = session.run(None, {_onnx.INPUT: part.numpy()})
        assert found == pytest.approx(student.logits(model, part).detach().numpy(), abs=1e-5)


def test_a_seed_gives_the_same_student(trained):
    rows = data.read(["dialogues"], "train", dialogues=40)
    shape = StudentSettings(vocabulary=400, width=8, hidden=8, epochs=1)
    probabilities = np.linspace(0, 1, 40)
    first, again, other = (
        student.distil(trained.teacher, probabilities, rows["text"].tolist(), None, shape, seed) for seed in (0, 0, 1)
    )
    texts = rows["text"].tolist()
    assert (first.probabilities(texts) == again.probabilities(texts)).all()
    assert not np.allclose(first.probabilities(texts), other.probabilities(texts))


def test_it_learns_and_int8_says_the_same(trained):
    rows = data.read(["dialogues"], "train", dialogues=240)
    scores = trained.scores(rows["text"].tolist())
    areas = {name: judge.pr_auc(rows["label"], values).value for name, values in scores.items()}
    assert min(areas.values()) > 0.7 > 0.5 > rows["label"].mean(), areas
    assert np.abs(scores["student"] - scores["student int8"]).max() < 0.05


def test_the_words_are_the_teachers_cut_to_the_frequent_ones(trained):
    texts = ["zebra zebra crossing"] * 3
    cut, kept = student.cut_tokenizer(trained.teacher, texts, 200)
    assert cut.get_vocab_size() == len(kept) == 200
    assert cut.encode("Zebra crossing", add_special_tokens=False).tokens == ["zebra", "crossing"]
    assert "[UNK]" not in cut.encode("anything in latin letters").tokens
    whole = trained.teacher.tokenizer.get_vocab()
    assert kept[cut.token_to_id("zebra")] == whole["zebra"] and cut.token_to_id("[UNK]") == SPECIAL["[UNK]"]


def test_words_mean_what_they_meant_before_fine_tuning(trained):
    fresh = Teacher(*teacher._encoder(encoders.PACKAGED))
    numbers = list(range(2000, 2020))
    assert (trained.teacher.word_vectors(numbers) == fresh.word_vectors(numbers)).all()


def test_what_words_mean_stays_and_the_projection_learns(trained):
    rows = data.read(["dialogues"], "train", dialogues=40)
    shape = StudentSettings(vocabulary=400, width=8, hidden=8, epochs=1)
    tokenizer, kept = student.cut_tokenizer(trained.teacher, rows["text"].tolist(), shape.vocabulary)
    model = student._network(trained.teacher.word_vectors(kept), shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = [token_ids(tokenizer, text) for text in rows["text"]]
    batches = student._batches(ids, rows["label"].to_numpy(dtype=float), np.arange(len(ids)), shape.batch)
    student._train(model, batches, [], shape, 0)
    seen = {name: bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items()}
    assert seen.pop("table.weight") and not any(seen.values())


def test_an_epoch_reads_all_that_is_labelled_and_as_much_of_the_rest_drawn_anew():
    draws = torch.Generator().manual_seed(1)
    one, other = (student._epoch(10, 100, draws) for _ in range(2))
    for chosen in (one, other):
        assert len(chosen) == len(set(chosen)) == 20
        assert set(range(10)) < set(chosen) <= set(range(110))
    assert set(one) != set(other) and one[:10] != sorted(one)[:10]
    assert sorted(student._epoch(10, 3, draws)) == list(range(13))
    assert sorted(student._epoch(10, 0, draws)) == list(range(10))


def test_what_has_no_label_is_learned_from_the_teacher_alone(trained):
    """The teacher is told to contradict the labels: with labels the student is torn, without it follows."""
    rows = data.read(["dialogues"], "train", dialogues=60)
    said = np.where(rows["label"] == 1, 0.05, 0.95)
    shape = StudentSettings(vocabulary=1500, width=32, hidden=24, epochs=8, batch=16, label_weight=0.9)
    with_labels, without = (
        student.distil(trained.teacher, said, rows["text"].tolist(), labels, shape).probabilities(rows["text"])
        for labels in (rows["label"], None)
    )
    assert np.corrcoef(with_labels, rows["label"])[0, 1] > 0.5
    assert np.corrcoef(without, rows["label"])[0, 1] < -0.5


def test_principal_axes_keep_the_distances_that_they_can():
    table = np.random.default_rng(0).normal(size=(40, 3)) @ np.random.default_rng(1).normal(size=(3, 12))
    cut = table @ student.principal(table, 3)
    distances = [np.linalg.norm(one[:, None] - one[None], axis=-1) for one in (table, cut)]
    assert np.corrcoef(distances[0].ravel(), distances[1].ravel())[0, 1] > 0.999999


def test_columns_of_unequal_length_are_refused(trained):
    with pytest.raises(CogumiError, match="for each text"):
        student.distil(trained.teacher, [0.5], ["a", "b"])


def test_the_full_size_is_within_three_megabytes_and_its_parts_add_up(trained):
    shape = StudentSettings()
    table = np.random.default_rng(0).normal(size=(shape.vocabulary, shape.width))
    model = _onnx.graph(student.folded(student._network(table, shape)))
    sizes = Detector(model, trained.detector._tokenizer).sizes()
    assert sizes["int8"]["file"] < sizes["float32"]["file"] < 3e6
    for one in sizes.values():
        assert one["table"] + one["rest"] == one["file"]
    assert sizes["float32"]["table"] == pytest.approx(4 * table.size, rel=1e-3)
    assert sizes["int8"]["table"] == pytest.approx(table.size, rel=1e-3)


# --- decisions


def test_a_score_has_reasons_only_where_it_escalates(detector):
    found = detector.score(ANGRY)
    assert found.escalate and found.probability >= 0.3 and 0 < len(found.reasons) <= 3
    assert list(found.reasons) == sorted(found.reasons, key=lambda one: -one.raised)
    assert all(one.text in " ".join(ANGRY) for one in found.reasons)
    assert found == detector.score(ANGRY)
    assert detector.using(threshold=1.0).score(ANGRY) == Score(found.probability, False)


def test_a_reason_is_what_the_probability_falls_by_without_it(detector):
    parts = {one.text: one for one in detector.score(ANGRY).reasons}
    word = next(one for one in parts.values() if one.part == "word")
    whole = detector.score(ANGRY).probability
    without = [turn.replace(word.text, "\u2603") for turn in ANGRY]  # a sign that no piece knows
    assert detector.score(without).probability == pytest.approx(whole - word.raised, abs=1e-6)


def test_one_by_one_is_as_all_at_once(detector, texts):
    alone = [detector.score(text.split(" [SEP] ")).probability for text in texts]
    assert detector.probabilities(texts) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [""],
        ["   \n"],
        ["🙂🙂🙂"],
        ["מה שלומך היום? אני כועס"],
        ["أنا غاضب جدا"],
        ["\x00\x01\x02"],
        ["\ud800"],
        ["\ufffd" * 9],
    ],
)
def test_what_cannot_be_judged_is_not_escalated(detector, turns):
    assert detector.using(threshold=0.0).score(turns) == Score(0.0, False)


@pytest.mark.parametrize(
    "turn", ["x" * 10**6, "no " * 333_333, "\x00" * 10**6, "🙂" * 10**6, "a\u202eb" * 1000, "[SEP]" * 9]
)
def test_nothing_that_is_typed_breaks_it(detector, turn):
    found = detector.score([turn, turn])
    assert 0 <= found.probability <= 1


def test_bytes_are_refused_with_what_to_do(detector):
    with pytest.raises(CogumiError, match="decode bytes first"):
        detector.score([b"\xff\xfe"])


def test_a_threshold_is_a_probability(detector):
    with pytest.raises(CogumiError, match="between 0 and 1"):
        detector.using(threshold=1.1)


# --- files


@pytest.mark.parametrize("int8", [False, True])
def test_saved_and_loaded_it_decides_the_same(detector, texts, tmp_path, int8):
    loaded = Detector.load(detector.save(tmp_path / "made"), int8=int8)
    assert loaded.threshold == detector.threshold
    assert (loaded.probabilities(texts) == detector.using(int8=int8).probabilities(texts)).all()


@pytest.mark.parametrize("name", [CARD, MODEL, MODEL_INT8, WORDS, CARD])
@pytest.mark.parametrize("harm", ["changed", "gone", "empty"])
def test_a_file_altered_on_disk_is_refused(detector, tmp_path, name, harm):
    path = detector.save(tmp_path / "made") / name
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.unlink()
    if harm != "gone":
        path.write_bytes(bytes(body) if harm == "changed" else b"")
    with pytest.raises(CogumiError) as caught:
        Detector.load(tmp_path / "made")
    assert str(tmp_path / "made") in str(caught.value)


def test_files_that_agree_with_their_manifest_and_are_no_detector_are_refused(detector, tmp_path):
    folder = detector.save(tmp_path / "made")
    files = {
        name: b"no model" if name == MODEL else (folder / name).read_bytes() for name in (MODEL, MODEL_INT8, WORDS)
    }
    onnx_file.save(folder / CARD, {"threshold": 0.5}, files)
    with pytest.raises(CogumiError, match="still cannot be read"):
        Detector.load(folder)


def test_a_decision_needs_no_torch(detector, tmp_path):
    script = (
        "import sys; from pathlib import Path; from cogumi_utils.route.escalation.detector import Detector\n"
        f"found = Detector.load(Path({str(detector.save(tmp_path / 'made'))!r}), int8=True).score({ANGRY!r})\n"
        "heavy = {'torch', 'transformers', 'onnx', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\nprint(found.escalate, len(found.reasons) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True True\n", done.stderr


# --- a set left out


def test_what_is_left_out_must_leave_something():
    rows = data.read(["dialogues"], "train", dialogues=30)
    with pytest.raises(CogumiError, match="at least two sets"):
        study.leave_one_out(rows, rows, rows, base_rate=0.1)


def test_each_set_is_judged_by_models_that_never_saw_it(monkeypatch):
    tables = [data.read(["dialogues"], split, dialogues=60) for split in ("train", "validation", "test")]
    for table in tables:
        table.loc[::2, "set"] = "other"
    seen = []
    monkeypatch.setattr(study, "train", lambda rows, validation, **_: seen.append({*rows["set"], *validation["set"]}))
    monkeypatch.setattr(study, "judged", lambda trained, rows, **_: rows[["set"]].drop_duplicates())
    found = study.leave_one_out(*tables, base_rate=0.1)
    assert list(found["set"]) == ["dialogues", "other"] and seen == [{"other"}, {"dialogues"}]
