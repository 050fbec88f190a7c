"""Each rule on chats that break it and on chats that only look as if they did."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from cogumi_utils.data import defects, skills
from cogumi_utils.data.foreign import CHATS
from cogumi_utils.data.heuristic import PENALTIES, features, heuristic_score
from cogumi_utils.data.language import natural_words, probabilities
from cogumi_utils.data.quality import REASONS, Limits, faults, is_foreign, judge_rows
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

PROSE = "The tram runs every ten minutes from the station to the old harbour, and the ride takes about a quarter hour."


def chat(answer, question="How do I get to the harbour from the station?", **fields):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example("chat", "plain", messages, **fields)


def reasons(answer, question="How do I get to the harbour from the station?"):
    return faults(chat(answer, question), ("en",), Limits())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "missing_answer"),
        (" ...\n", "missing_answer"),
        ("word " * 10_000, "too_long"),
        ("Take the tr\ufffd\ufffdm to the h\x07rbour.", "garbled"),
        ("Câ€™est lÃ  quâ€™il faut prendre le tram.", "garbled"),
        ("asdfg qwrtz xcvbn hjklm dfghj", "garbled"),
        ("Take the tram to the harbour. " * 9, "repetition"),
        ("Noooooooooooooooooooo", "repetition"),
        ("Take the tram, then walk to the", "truncated"),
        ("First take the tram,", "truncated"),
        ("```python\nprint(1)", "truncated"),
        ('{"line": 4, "stops": ["harbour"', "truncated"),
        ('set_light(room="attic", level=', "truncated"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I have no location.", "refusal"),
        ("I cannot provide directions.", "refusal"),
    ],
)
def test_a_broken_answer_has_its_reason(answer, reason):
    assert reason in reasons(answer)


@pytest.mark.parametrize(
    "answer",
    [
        PROSE, "6", "A", "none()", "Answer: none", "Paris.", "[2, 5)", "- eggs\n- cards\n- coins\n- pens",
        'set_light(room="attic (old", level=96)', "def f(x):\n    return x + 42", "4+2=6. Answer: 6",
        "I can't help but love the harbour.", "It is what you look for.\nAnswer: wait for",
        "```sql\nSELECT * FROM t;\n```", "Zur Übung: naïve café — “fine”.", "gcd lcm mod 12 xyz",
        "HTTP, SMTP, XHTML, DHCP", "Psst, shhh!", "It is glass.\nAnswer: made of",
        "x = [[0]*9]*9  # =========================", "Tsk! Hmm. " + PROSE,
    ],
)  # fmt: skip
def test_an_unusual_answer_has_none(answer):
    assert reasons(answer) == []


def test_faults_of_the_question_count_too():
    assert reasons(PROSE, "?!") == ["missing_question"]
    assert reasons(PROSE, "How do I " * 12) == ["repetition"]
    assert reasons(PROSE, "\x1b[A\x1b[B harbour") == ["garbled"]
    assert reasons("", "¿Dónde se encuentra el desierto más seco del mundo?") == ["missing_answer", "language"]


@pytest.mark.parametrize("code", CHATS)
def test_every_foreign_question_is_found(code):
    questions = [question for question, _ in CHATS[code]]
    assert [question for question in questions if not is_foreign(question, ("en",), 0.05)] == []
    assert [question for question in questions if is_foreign(question, ("en", code), 0.05)] == []


@pytest.mark.parametrize(
    "text",
    [
        "", "42 + 17 = ?", "Hola amigo", "café", "x_1 = foo(bar)", '{"ciudad": "Madrid", "hora": 12}',
        "`wie geht es dir heute` is a command", "https://de.wikipedia.org/wiki/Berlin", "$\\frac{a}{b}$ \\sin \\cos",
        "Play jazz in the attic at volume 7.", "Hello, I am Ada from Oslo.", "Was Dracula a real person?",
        "Write Mia a mail: I am late.", "Repeat after me: black lamp cup", "北京",
        "Hi! HELLO THERE, DEFINE DO(V) TO RETURN EACH ITEM OF V PLUS 31.",
    ],
)  # fmt: skip
def test_text_that_tells_too_little_or_is_english_is_not_foreign(text):
    assert not is_foreign(text, ("en",), 0.05)


def test_text_without_spaces_is_judged_too():
    assert is_foreign("北京的房价是多少", ("en",), 0.05) and not is_foreign("北京的房价是多少", ("en", "zh"), 0.05)


def test_only_natural_words_count_for_language():
    text = 'Set `lampe` to 40% with set_light("küche", x1) — see https://a.example/b, please.\n```\nwie geht es\n```'
    assert natural_words(text) == ["Set", "to", "with", "see", "please"]
    assert probabilities("Set it to 4.") is None


def test_an_unknown_language_is_refused():
    with pytest.raises(CogumiError, match="english"):
        judge_rows([chat(PROSE, quality=9.0)], languages=("english",))


def test_no_skill_task_is_dropped():
    rows = [row for skill in skills.all_skills() for row in skills.examples(skill, 20, split="train", seed=3)]
    unscored = [replace(row, quality=math.nan) for row in rows]
    report = judge_rows(unscored)
    assert len(report.kept) == len(rows) and report.scored_by == {"heuristic": len(rows)}


def test_reasons_are_listed_and_counted():
    rows = [
        chat(PROSE, quality=9.0), chat("", quality=9.0), chat("I cannot help with that,", quality=3.0),
        chat(PROSE, "¿Dónde se encuentra el desierto más seco del mundo?", quality=9.0), chat(PROSE, quality=7.0),
    ]  # fmt: skip
    report = judge_rows(rows)
    assert report.kept == [rows[0]]
    assert report.dropped.to_dict("list") == {
        "row": [1, 2, 3, 4],
        "id": [row.id for row in rows[1:]],
        "reason": ["missing_answer", "truncated", "language", "low_score"],
        "reasons": [("missing_answer",), ("truncated", "refusal", "low_score"), ("language",), ("low_score",)],
        "score": [9.0, 3.0, 9.0, 7.0],
    }
    assert report.counts == dict.fromkeys(REASONS, 0) | dict(Counter(report.dropped["reason"]))
    assert report.all_counts["refusal"] == 1 and report.all_counts["low_score"] == 2


def test_scores_come_from_the_row_the_heuristic_or_the_judge():
    rows = [chat(PROSE, quality=8.5), chat(PROSE)]
    report = judge_rows(rows)
    assert report.scored_by == {"row": 1, "heuristic": 1} and [row.quality for row in report.kept] == [8.5, 10.0]
    assert [row.id for row in report.kept] == [row.id for row in rows]
    judged = judge_rows(rows, score=lambda row: 7.5 if math.isnan(row.quality) else 2.0)
    assert judged.scored_by == {"judge": 2} and [row.quality for row in judged.kept] == [7.5]
    assert len(judge_rows(rows, min_quality=1.0, score=lambda row: 2.0).kept) == 2


def test_a_judge_that_gives_no_number_keeps_nothing():
    with pytest.raises(CogumiError, match="low_score: 1"):
        judge_rows([chat(PROSE)], score=lambda row: math.nan)


@pytest.mark.parametrize("rows", [[], [chat("")]])
def test_an_empty_data_set_is_an_error(rows):
    with pytest.raises(CogumiError, match="empty data set"):
        judge_rows(rows)


def test_limits_are_settings():
    row = chat("Take the tram to the harbour. " * 2 + PROSE, quality=9.0)
    assert judge_rows([row]).kept
    with pytest.raises(CogumiError, match="repetition: 1"):
        judge_rows([row], limits=Limits(max_repetition=0.05))


def test_wrong_answers_are_found_by_their_own_verifier():
    right = skills.examples(skills.REGISTRIES["reasoning"].skills["gain"], 3, split="train", seed=1)
    wrong = right[0].with_answer("1+1=2. Answer: 999")
    report = judge_rows([*right, wrong, chat(PROSE, quality=9.0)], verify=True)
    assert report.dropped["row"].tolist() == [3] and report.counts["wrong_answer"] == 1
    assert len(judge_rows([*right, wrong]).kept) == 4


@pytest.mark.parametrize(
    ("answer", "penalty"),
    [
        ("Take the tram to the harbour. " * 9, "repetition"),
        ("asdfg qwrtz xcvbn hjklm dfghj", "garbled"),
        ("Take the tram, then walk to the", "truncated"),
        ("I am unable to assist with that.", "refusal"),
        ("idk lol, google it", "evasive"),
        ("TAKE THE TRAM TO THE HARBOUR RIGHT NOW!!", "shouting"),
        ("Click here and subscribe: special discount!", "spam"),
        ("How do I get to the harbour from the station", "parroting"),
    ],
)
def test_the_heuristic_takes_points_off_for_one_defect(answer, penalty):
    row = chat(answer)
    assert [name for name, value in features(row.messages[0]["content"], answer).items() if value] == [penalty]
    assert heuristic_score(row) == pytest.approx(
        max(0, 10 - PENALTIES[penalty] * features(row.messages[0]["content"], answer)[penalty])
    )
    assert heuristic_score(row) <= 7


def test_the_heuristic_sees_an_answer_to_something_else():
    question = (
        "Explain shortly which vegetables grow quickly during winter inside small unheated glass houses outdoors."
    )
    other = "Several famous composers wrote string quartets after moving towards Vienna, where wealthy patrons lived."
    assert heuristic_score(chat(other, question)) == 6.5
    assert heuristic_score(chat(other.replace("wealthy", "vegetable"), question)) == 10
    assert heuristic_score(chat("Vienna.", question)) == 10  # too little to tell


def test_capitals_among_other_letters_are_not_shouted():
    assert heuristic_score(chat(f"{PROSE} NASA, NATO, UNESCO, HTTP and SMTP are acronyms.")) == 10


def test_the_heuristic_without_an_answer():
    assert heuristic_score(chat("...")) == 0
    assert heuristic_score(Example("chat", "plain", [{"role": "user", "content": "Hello?"}])) == 0


def test_repetition_is_the_share_of_repeated_sequences():
    assert defects.repetition("a b c d " * 4) == 1 - 4 / 13
    assert defects.repetition("a b c d " * 2) == 0  # too short to tell
