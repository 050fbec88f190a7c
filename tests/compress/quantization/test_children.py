import pytest

from cogumi_utils.compress.quantization import children, quantize
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade, summary
from cogumi_utils.model import generate, student

SETTINGS = {"method": "rtn", "group": 32, "rows": 4, "length": 64}
NAMES = ("one width, 8 bits", "one width, 2 bits", "other")


@pytest.fixture(scope="module")
def parent(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def folders(parent, tokenizer, rows, tmp_path_factory):
    wanted = {NAMES[0]: {"bits": 8}, NAMES[1]: {"bits": 2}, NAMES[2]: {"method": "gptq"}}
    return children.write(parent, tokenizer, rows, wanted, tmp_path_factory.mktemp("x"), **SETTINGS)


@pytest.fixture(scope="module")
def graded(parent, rows, folders):
    return children.answers(folders, rows[:20], like=parent, max_new_tokens=12)


@pytest.fixture(scope="module")
def before(parent, tokenizer, rows):
    return grade.evaluate(rows[:30], generate.answerer(parent, tokenizer, max_new_tokens=12))


def test_each_has_what_is_its_own_and_what_all_have(folders):
    assert [quantize.stated_bits(folder) for folder in folders.values()] == [8, 2, 4]
    assert [folder.name for folder in folders.values()] == list(NAMES)
    assert quantize.code_table(folders["other"]).stored.iloc[0] == 4 + 16 / 32 + 4 / 32 + 128 / 4096


def test_answers_are_those_of_each_checkpoint(folders, graded, rows, tokenizer):
    assert tuple(graded) == NAMES
    for name, frame in graded.items():
        assert list(frame["id"]) == [example.id for example in rows[:20]]
        model, _ = quantize.load(folders[name])
        alone = generate.answerer(model, tokenizer, max_new_tokens=12)([example.prompt for example in rows[:20]])
        assert list(frame["answer"]) == alone
    assert list(graded[NAMES[0]]["answer"]) != list(graded[NAMES[1]]["answer"])


def test_packed_codes_give_the_same_answers_and_say_nothing(folders, graded, rows, parent, capfd):
    some = {NAMES[0]: folders[NAMES[0]]}
    found = children.answers(some, rows[:20], like=parent, max_new_tokens=12, packed=True)[NAMES[0]]
    assert list(found["answer"]) == list(graded[NAMES[0]]["answer"])
    assert capfd.readouterr() == ("", "")


def test_the_change_is_over_the_tasks_that_the_child_was_asked(before):
    child = before.head(10).assign(passed=False)
    parent = before.assign(passed=[place % 2 == 0 for place in range(len(before))])
    found = children.change(parent, child)
    assert (found.n, found.gained, found.lost, found.value) == (10, 0, 5, -0.5)
    with pytest.raises(CogumiError, match="same examples"):
        children.change(parent.tail(25), child)


def test_scores_say_in_words_what_was_measured(parent, tokenizer, rows, folders, graded, before):
    near = quantize.fidelities(parent, tokenizer, rows[:20], folders, seed=1)
    table = children.scores(folders, near, graded, before, seed=1).set_index("checkpoint")
    assert tuple(table.index) == NAMES
    row, (kl, agreement) = table.loc["other"], (near["other"].kl, near["other"].agreement)
    assert row["KL, nats a token"] == f"{kl.value:.2g} [{kl.low:.2g}, {kl.high:.2g}]"
    assert row["same top token"] == f"{agreement.value:.1%}"
    assert row["right"] == f"{graded['other'].passed.mean():.1%}"
    points = children.change(before, graded["other"], 1)
    assert row["points to parent"] == f"{100 * points.value:+.1f} [{100 * points.low:+.1f}, {100 * points.high:+.1f}]"
    assert row["n"] == 20 and row["bits a weight"] == children.bits_a_weight(folders)["other"]


def test_points_are_kept_by_kind(folders, graded):
    found, bits = children.by_size(folders, graded), children.bits_a_weight(folders)
    assert list(found) == ["one width", "other"]
    assert found["one width"] == [(bits[name], summary.share(graded[name])) for name in NAMES[:2]]
    assert found["other"] == [(bits["other"], summary.share(graded["other"]))]
    assert bits[NAMES[0]] > 8 > bits["other"] > 4 > bits[NAMES[1]] > 2
