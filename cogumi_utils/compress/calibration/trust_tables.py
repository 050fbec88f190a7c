"""What a reader sees of a study of confidences: tables in words, lines of figures, sentences with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.compress.calibration import calibrate, coverage
from cogumi_utils.compress.calibration.trust import Study
from cogumi_utils.judge import ece, summary
from cogumi_utils.judge.grade import prompt_text
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval, fdr

if TYPE_CHECKING:
    import pandas as pd

FEATURES = {
    "sequence": "the whole answer", "mean": "its tokens, on average", "least": "its least likely token",
    "first": "certainty of its first token", "end": "the token that ends it",
}  # fmt: skip
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95)  # of answers, for the table of thresholds


def separation(frame: pd.DataFrame, further: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """{feature in words: AUROC}, best first, of `model.confidence.answers`' features and of further confidences."""
    own = {words: frame[name] for name, words in FEATURES.items()}
    return calibrate.separation({**own, **further}, list(frame["passed"]))


def choice(studies: Sequence[Study]) -> pd.DataFrame:
    """A row a candidate: the NLL that it was chosen by, in cross-validation on the answers fitted on."""
    import pandas as pd

    rows = [
        (one.name, name, one.fitted[name].n, nll if not one.why_not else None, "chosen" if name == one.chosen else "")
        for one in studies for name, nll in one.nll.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["answers of", "calibration", "fitted on", "NLL left out", ""])


def results(studies: Sequence[Study]) -> pd.DataFrame:
    """A row a confidence on the fresh answers: errors with 95% intervals beside the noise floor."""
    import pandas as pd

    rows = [
        {
            "answers of": one.name, "confidence": _marked(row["method"], one), "n": row["n"],
            "ECE, debiased": _words(row, "ece_debiased"), "ECE, plain": _words(row, "ece"),
            "a perfect one measures": f"{row['floor']:.3f}", "Brier": _words(row, "brier"), "NLL": _words(row, "nll"),
            "AUROC": _words(row, "auroc"),
        }
        for one in studies for row in one.results.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _marked(method: str, one: Study) -> str:
    return f"{method} (chosen)" if method == one.chosen else method


def _words(row: Mapping[str, float], name: str) -> str:
    """Such as "0.012 [0.000, 0.027]", "" for what is not defined."""
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return "" if value != value else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def reliability(studies: Sequence[Study], bins: int = ece.BINS) -> dict[str, list[tuple[float, Interval]]]:
    """{"student, raw": points, "student, calibrated": points, ...} for `plots.estimates`."""
    return {
        f"{one.name}, {which}": ece.reliability(one.judged[which], one.judged["passed"], bins)
        for one in studies for which in ("raw", "calibrated")
    }  # fmt: skip


def near(found: Study, level: float = 0.8, width: float = 0.05) -> str:
    """The question itself: of the answers that say `level`, within `width`, how many are right."""
    shares = {which: _share_near(found, which, level, width) for which in ("calibrated", "raw")}
    low, high = 100 * (level - width), 100 * (level + width)
    said = f"a calibrated confidence of {low:.0f} to {high:.0f}%"
    raw = f"With the raw confidence in their place: {shares['raw'] or 'no answer'}."
    if shares["calibrated"] is None:
        return f"No fresh answer of {found.name} has {said}. {raw}"
    return f"Of the fresh answers of {found.name} with {said}, {shares['calibrated']} are right. {raw}"


def _share_near(found: Study, which: str, level: float, width: float) -> Interval | None:
    close = found.judged[(found.judged[which] - level).abs() <= width]
    return summary.share(close) if len(close) else None


def gaps(found: Study, by: str = "skill") -> pd.DataFrame:
    """A row a group of fresh answers, furthest off first: what it says on average, what is right, and q.

    q: false discovery rate over the groups, for "the calibrated confidences are the true probabilities".
    """
    import pandas as pd

    rows = [
        (str(name), len(group), group["calibrated"].mean(), str(summary.share(group)), _p_value(group))
        for name, group in found.judged.groupby(by)
    ]
    table = pd.DataFrame(rows, columns=[by, "n", "says", "right", "p"])
    return table.assign(q=fdr(table["p"])).sort_values("p", kind="stable", ignore_index=True).drop(columns="p")


def _p_value(group: pd.DataFrame) -> float:
    """Two-sided and exact: the number right is a sum of independent answers, each right as often as it says."""
    from scipy.stats import poisson_binom

    law, right = poisson_binom(group["calibrated"].to_numpy()), int(group["passed"].sum())
    return float(min(1.0, 2 * min(law.cdf(right), law.sf(right - 1))))


def risk(found: Study) -> tuple[dict[str, tuple[Sequence[float], Sequence[float]]], dict[str, float]]:
    """(lines, references) for `plots.curves`: share answered → share wrong among them, raw, calibrated, best possible;
    the reference is what answering by lot gets wrong.
    """
    judged = found.judged
    confidences = {"raw": judged["raw"], "calibrated": judged["calibrated"], "best possible": judged["passed"]}
    curves = {name: coverage.risk_coverage(values, judged["passed"]) for name, values in confidences.items()}
    lines = {f"{name}, area {one.area:.3f}": (one.coverage, one.risk) for name, one in curves.items()}
    return lines, {"by lot": curves["raw"].area_random}


def thresholds(found: Study, share: float) -> pd.DataFrame:
    """A row a share of answers: the threshold set on the answers fitted on, and what it does on fresh ones."""
    import pandas as pd

    rows, judged = [], found.judged
    for wanted in sorted({share, *SHARES}):
        level = found.threshold(wanted)
        done = coverage.at_threshold(level, judged["calibrated"], judged["passed"])
        rest = judged[judged["calibrated"] < level]
        others = str(summary.share(rest)) if len(rest) else ""
        rows.append((f"{wanted:.0%}", level, str(done.share), str(done.accuracy), others))
    return pd.DataFrame(rows, columns=["wanted", "threshold", "answered", "right among them", "right among the rest"])


def elsewhere(found: Study, frame: pd.DataFrame, threshold: float, by: str = "kind") -> pd.DataFrame:
    """Answers of kinds that were not fitted on, a row a kind, all of them last: what the confidence says there, what is
    right, and how many would be answered all the same.
    """
    import pandas as pd

    rows, whole = [], found.with_confidence(frame)
    for name, group in [*whole.groupby(by), ("all of them", whole)]:
        kept = group["calibrated"] >= threshold
        says = (group["raw"].mean(), group["calibrated"].mean())
        rows.append((str(name), len(group), *says, str(summary.share(group)), f"{kept.mean():.1%}"))
    columns = [by, "n", "says, raw", "says, calibrated", "right", "above the threshold"]
    return pd.DataFrame(rows, columns=columns)


def surprises(found: Study, examples: Sequence[Example], n: int = 4) -> pd.DataFrame:
    """The `n` surest wrong answers, one a skill, and the `n` least sure right ones, one a skill."""
    import pandas as pd

    prompts = {example.id: prompt_text(example) for example in examples}
    judged = found.judged.sort_values(["calibrated", "id"], kind="stable")
    passed = judged["passed"].astype(bool)
    kinds = {"sure and wrong": judged[~passed][::-1], "unsure and right": judged[passed]}
    picked = [frame.drop_duplicates("skill").head(n).assign(what=what) for what, frame in kinds.items()]
    table = pd.concat(picked, ignore_index=True)
    table["prompt"] = [prompts[name] for name in table["id"]]
    return table[["what", "skill", "prompt", "answer", "raw", "calibrated"]]
