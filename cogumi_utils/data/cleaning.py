"""The filters one after another, as notebook 01 shows them: what each dropped, why, and how right it was."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cogumi_utils.data import skills, sources
from cogumi_utils.data._convert_choice import ASK
from cogumi_utils.data._convert_code import PASS_TESTS
from cogumi_utils.data._convert_reasoning import END_WITH
from cogumi_utils.data.decontaminate import decontaminate
from cogumi_utils.data.dedup import Duplicates, chat_text, deduplicate_examples
from cogumi_utils.data.planting import Agreement, Planted, precision_recall, score_duplicates
from cogumi_utils.data.quality import QualityReport
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval, wilson

if TYPE_CHECKING:
    import pandas as pd

    from cogumi_utils.run import Run

NEAR = 0.85  # similarity from which a planted near copy must be found (the S-curve is flat there)


def digest(tasks: Sequence[Example]) -> str:
    """SHA-256 over the ids of tasks that a program made: what the lineage records of them, in whatever order."""
    return hashlib.sha256("".join(sorted(task.id for task in tasks)).encode()).hexdigest()


def record_raw(run: Run, tasks: Sequence[Example], names: Sequence[str]) -> None:
    """Where the lineage ends: the task generator, by the digest of its rows, and every public set."""
    run.raw(skills.SOURCE, sha256=digest(tasks), rows=len(tasks), licence=skills.LICENCE)
    record_public(run, names)


def record_public(run: Run, names: Sequence[str]) -> None:
    for name in dict.fromkeys(names):
        run.raw(**sources.raw_reference(name))


def distinct(examples: Sequence[Example], threshold: float) -> list[Example]:
    """Without the near copies that are there by nature, so that planted ones can be counted."""
    return [examples[row] for row in deduplicate_examples(examples, threshold=threshold).keep]


def least_alike(rows: Sequence[Example], copies: Duplicates, n: int) -> pd.DataFrame:
    """The `n` dropped rows that resemble their representative least: where a filter goes wrong first."""
    import pandas as pd

    groups = copies.groups.sort_values("jaccard", kind="stable").head(n)
    lines = [
        (chat_text(rows[dropped]), chat_text(rows[kept]), jaccard)
        for dropped, kept, jaccard in groups[["row", "representative_row", "jaccard"]].itertuples(index=False)
    ]
    return pd.DataFrame(lines, columns=["dropped", "kept", "Jaccard"])


def across_sources(rows: Sequence[Example], copies: Duplicates) -> pd.DataFrame:
    """dropped source, kept source, rows: the clusters that reach across sets are the lines with two names."""
    import pandas as pd

    pairs = zip(copies.groups["row"], copies.groups["representative_row"], strict=True)
    counts = Counter((rows[dropped].source, rows[kept].source) for dropped, kept in pairs)
    return pd.DataFrame([(*pair, n) for pair, n in sorted(counts.items())], columns=["dropped", "kept", "rows"])


def without_overlap(
    rows: Sequence[Example], evaluation: Mapping[str, Sequence[Example]], n: int
) -> tuple[list[Example], pd.DataFrame]:
    """The rows that share no n-gram with an evaluation text, and the table of those that do.

    Raises CogumiError where nothing remains.
    """
    texts = {name: list(map(content, examples)) for name, examples in evaluation.items()}
    found = decontaminate(list(map(content, rows)), texts, n=n, short_n=min(8, n))
    if not found.clean:
        raise CogumiError(
            expected="training rows that do not overlap the evaluation sets",
            found=f"all {len(rows)} rows share a {n}-gram with {', '.join(evaluation)}",
            why="an empty data set trains nothing",
            fix="name other training sets, or a larger contamination_n, in the parameter file of 01_dataset",
        )
    return [rows[row] for row in found.clean], found.removed


def content(example: Example) -> str:
    """A chat without the sentences that our own converters add to every question of a set.

    Left in, they make an n-gram with the last words of each question, and all 2,000 rows of ARC overlap MMLU.
    """
    text = chat_text(example)
    for sentence in (ASK, END_WITH, PASS_TESTS):
        text = text.replace(sentence, "")
    return text


def overlap_table(rows: Sequence[Example], overlap: pd.DataFrame) -> pd.DataFrame:
    """source, evaluation set, kind of match, rows, and one matched text."""
    named = overlap.assign(source=[rows[row].source for row in overlap["row"]])
    return named.groupby(["source", "set", "kind"]).agg(rows=("row", "nunique"), match=("match", "first")).reset_index()


def agreement(
    planted: Planted, copies: Duplicates, unique_rows: Sequence[int], report: QualityReport, threshold: float
) -> dict[str, Agreement]:
    """{filter: precision and recall} on the programmed rows, whose truth is known; each filter on what reached it."""
    programmed = {place for place, row in enumerate(unique_rows) if row < len(planted.examples)}
    dropped = report.dropped[report.dropped["row"].isin(programmed)]
    foreign = {row for row, reasons in zip(dropped["row"], dropped["reasons"], strict=True) if "language" in reasons}
    bad = set(dropped["row"]) - foreign
    planted_rows = {kind: planted.rows(kind) for kind in ("low_quality", "foreign")}
    truth = {kind: {place for place in programmed if unique_rows[place] in rows} for kind, rows in planted_rows.items()}
    return {
        "duplicates": score_duplicates(copies, planted.truth, threshold),
        "quality_filter": precision_recall(bad, truth["low_quality"]),
        "language_filter": precision_recall(foreign, truth["foreign"]),
    }


def agreement_table(found: Mapping[str, Agreement]) -> pd.DataFrame:
    import pandas as pd

    rows = [(name, str(pair.precision), str(pair.recall)) for name, pair in found.items()]
    return pd.DataFrame(rows, columns=["filter", "precision", "recall"])


def intervals(found: Mapping[str, Agreement]) -> dict[str, Interval]:
    """{"filter, precision": Interval, ...} of those that could be measured."""
    sides = {f"{name}, {side}": getattr(pair, side) for name, pair in found.items() for side in ("precision", "recall")}
    return {name: share for name, share in sides.items() if share}


def exact_recall(planted: Planted, copies: Duplicates) -> float:
    """Share of the planted exact copies that are in one group with their original. Raises CogumiError without any."""
    together = _together(planted, copies, "exact", 1.0)
    if not together:
        raise CogumiError(
            expected="planted exact copies to look for",
            found="none",
            why="the gate exact_duplicates_found would judge nothing",
            fix="set planted_share above 0, or train_per_skill higher, in the parameter file of 01_dataset",
        )
    return sum(together) / len(together)


def near_recall(planted: Planted, copies: Duplicates) -> Interval | None:
    """Share of the planted near copies of similarity `NEAR` and more that were found."""
    together = _together(planted, copies, "near", NEAR)
    return wilson(sum(together), len(together)) if together else None


def _together(planted: Planted, copies: Duplicates, kind: str, similarity: float) -> list[bool]:
    truth = planted.truth[(planted.truth["kind"] == kind) & (planted.truth["jaccard"] >= similarity)]
    return list(copies.same_group(truth[["row", "origin_row"]].to_numpy()))


def verified_share(copies: Duplicates, threshold: float) -> float:
    """Share of the dropped rows whose exact similarity to a member of their group reaches the threshold."""
    return float((copies.groups["linked_jaccard"] >= threshold).mean()) if len(copies.groups) else 1.0


def counted(share: Interval | None) -> dict[str, Any]:
    """What `run.gate` takes for a proportion; none planted or none found is a gate that was not run."""
    if share is None:
        return {"not_run": "no planted row reached this filter"}
    return {"k": round(share.value * share.n), "n": share.n}


def by_source(rows: Sequence[Example], clean: Sequence[Example]) -> pd.DataFrame:
    """source, licence, rows before and after all filters."""
    import pandas as pd

    before, after = (Counter((row.source, row.licence) for row in some) for some in (rows, clean))
    lines = [(*key, n, after[key]) for key, n in sorted(before.items())]
    return pd.DataFrame(lines, columns=["source", "licence", "before", "after"])


def dropped_table(
    rows: Sequence[Example], copies: Duplicates, unique: Sequence[Example], report: QualityReport, overlap: pd.DataFrame
) -> pd.DataFrame:
    """id, source, filter, reason, question: one line for each dropped row and filter."""
    import pandas as pd

    lines = [
        (rows[row], "duplicate", f"{kind} copy of {kept}")
        for row, kind, kept in copies.groups[["row", "kind", "representative_id"]].itertuples(index=False)
    ]
    lines += [
        (unique[row], "quality", ", ".join(reasons))
        for row, reasons in report.dropped[["row", "reasons"]].itertuples(index=False)
    ]
    lines += [
        (report.kept[row], "overlap", f"{kind} of {name}: {match}")
        for row, name, kind, match in overlap[["row", "set", "kind", "match"]].itertuples(index=False)
    ]
    table = [
        (row.id, row.source, name, why, row.prompt[-1]["content"] if row.prompt else "") for row, name, why in lines
    ]
    return pd.DataFrame(table, columns=["id", "source", "filter", "reason", "question"])
