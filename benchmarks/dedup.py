"""Deduplication from text to keep-list, against `datasketch` and bare `rensa` on the same text, in one run.

    python benchmarks/dedup.py             the whole study, some minutes on one core
    python benchmarks/dedup.py --quick     fewer documents, no 640K run, nothing written

Each race alternates the contenders and takes medians. Times are CPU seconds of the process (all its threads), so
documents/s are per core. Writes benchmarks/results/dedup.json and dedup.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from cogumi_utils import hardware
from cogumi_utils.data.dedup import deduplicate
from cogumi_utils.data.minhash import band_keys, plan_bands
from cogumi_utils.data.neighbours import ShingleSets
from cogumi_utils.data.shingles import batches, ngrams, tokenise
from cogumi_utils.paths import data_dir

RESULTS = Path(__file__).parent / "results"
THRESHOLD, N_GRAM, NUM_PERM, SEED = 0.8, 3, 128, 42
PLAN = plan_bands(THRESHOLD, NUM_PERM)
TOKEN = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer documents, no 640K run, nothing written")
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)  # the child process of the memory run
    options = parser.parse_args()
    if options.scale:
        print(json.dumps(scale_run(options.scale)))
        return
    report = study(documents=1_000 if options.quick else 20_000, rounds=3 if options.quick else 7)
    report["s_curve"] = s_curve(pairs=5_000 if options.quick else 60_000)
    report["precision"] = precision(1_000 if options.quick else 10_000)
    if not options.quick:
        report["scale"] = in_child(640_000)
    print(text := markdown(report))
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "dedup.json").write_text(json.dumps(report, indent=2) + "\n")
        (RESULTS / "dedup.md").write_text(text)


# the documents


def synthetic(count: int, seed: int = 0) -> list[str]:
    """Chats of 20 to 110 words, Zipf-distributed over 30,000; 8% exact copies, 12% with one word in 30 changed."""
    generator = np.random.default_rng(seed)
    words = np.array([f"{first}{second}" for first in syllables(150) for second in syllables(200)], dtype=object)
    chance = 1 / np.arange(1, len(words) + 1)
    cumulative = np.cumsum(chance / chance.sum())
    fresh = int(count * 0.8)
    texts = [
        " ".join(words[np.searchsorted(cumulative, generator.random(size))])
        for size in generator.integers(20, 111, fresh)
    ]
    exact = [texts[row] for row in generator.integers(0, fresh, int(count * 0.08))]
    near = [reworded(texts[row], words, generator) for row in generator.integers(0, fresh, count - fresh - len(exact))]
    texts += exact + near
    return [texts[row] for row in generator.permutation(count)]


def syllables(count: int) -> list[str]:
    parts = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
    return parts[:count]


def reworded(text: str, words: np.ndarray, generator: np.random.Generator) -> str:
    changed = text.split()
    for place in generator.integers(0, len(changed), max(1, len(changed) // 30)):
        changed[place] = words[generator.integers(len(words))]
    return " ".join(changed)


def real(count: int) -> list[str] | None:
    """Questions with answers from the local copies of GSM8K and FLAN chain of thought, spread evenly; None without."""
    import gzip

    folder = data_dir()
    if folder is None or not (folder / "gsm8k").is_dir() or not (folder / "flan_cot").is_dir():
        return None
    with gzip.open(folder / "gsm8k" / "train.jsonl.gz", "rt") as lines:
        texts = [f"{row['question']}\n{row['answer']}" for row in map(json.loads, lines)]
    for path in sorted((folder / "flan_cot").glob("*.tsv.gz")):
        with gzip.open(path, "rt") as lines:
            texts += [line.rstrip("\n").replace("\t", "\n") for line in lines]
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:count]]


# the contenders: text → rows to keep


def ours(texts: Sequence[str]) -> list[int]:
    return deduplicate(texts, threshold=THRESHOLD, n_gram=N_GRAM, num_perm=NUM_PERM, seed=SEED).keep


def word_ngrams(text: str) -> set[str]:
    """The same n-grams in plain Python, as users of both libraries make them."""
    tokens = TOKEN.findall(text.lower())
    return {" ".join(tokens[i : i + N_GRAM]) for i in range(max(1, len(tokens) - N_GRAM + 1))} if tokens else set()


def datasketch_job(texts: Sequence[str], **hashing) -> list[int]:
    """MinHash LSH with the same bands, every candidate verified on the n-gram sets, connected components."""
    from datasketch import MinHash, MinHashLSH

    sets = [word_ngrams(text) for text in texts]
    index = MinHashLSH(num_perm=NUM_PERM, params=(PLAN.count, PLAN.rows))
    parent = list(range(len(texts)))
    encoded = ([gram.encode() for gram in grams] for grams in sets)
    for row, sketch in enumerate(MinHash.generator(encoded, num_perm=NUM_PERM, seed=SEED, **hashing)):
        for other in index.query(sketch):
            if jaccard(sets[row], sets[other]) >= THRESHOLD:
                parent[root(parent, row)] = root(parent, other)
        index.insert(row, sketch)
    return [row for row in range(len(texts)) if root(parent, row) == row]


def datasketch_xxhash(texts: Sequence[str]) -> list[int]:
    """The same with a fast hash in place of SHA-1."""
    import xxhash

    return datasketch_job(texts, hashfunc=xxhash.xxh32_intdigest)


def jaccard(left: set, right: set) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared) if left or right else 1.0


def root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = row = parent[parent[row]]
    return row


def rensa_deduplicator(texts: Sequence[str]) -> list[int]:
    """Bare rensa as its README shows it: keeps a text whose estimated similarity to all kept ones is low."""
    from rensa import RMinHashDeduplicator

    index = RMinHashDeduplicator(THRESHOLD, NUM_PERM, use_lsh=True, seed=SEED)
    kept = index.add_pairs((str(row), list(word_ngrams(text))) for row, text in enumerate(texts))
    return [row for row, new in enumerate(kept) if new]


def rensa_flags(texts: Sequence[str]) -> list[int]:
    """Bare rensa's batch path: flags of texts that share a band; nothing verified, no groups, originals flagged too."""
    from rensa import RMinHash, RMinHashLSH

    grams = [list(word_ngrams(text)) for text in texts]
    matrix = RMinHash.digest_matrix_from_token_sets(grams, PLAN.count * PLAN.rows, SEED)
    index = RMinHashLSH(THRESHOLD, PLAN.count * PLAN.rows, PLAN.count)
    return [row for row, shared in enumerate(index.query_duplicate_flags_matrix_one_shot(matrix)) if not shared]


CONTENDERS: dict[str, Callable[[Sequence[str]], list[int]]] = {
    "cogumi": ours,
    "datasketch (SHA-1, its default), verified": datasketch_job,
    "datasketch (xxhash), verified": datasketch_xxhash,
    "rensa deduplicator, estimates only": rensa_deduplicator,
    "rensa batch flags, nothing verified": rensa_flags,
}


# the measurements


def study(documents: int, rounds: int) -> dict:
    sets = {"synthetic": synthetic(documents), "real": real(documents)}
    sets = {name: texts for name, texts in sets.items() if texts}
    return {
        "machine": {"cpu": hardware.cpu_model(), "cores": hardware.cpu_cores(), **library_versions()},
        "settings": {
            "threshold": THRESHOLD,
            "n_gram": N_GRAM,
            "num_perm": NUM_PERM,
            "bands": PLAN.count,
            "rows": PLAN.rows,
        },
        "races": {name: race(texts, rounds) for name, texts in sets.items()},
        "limits": {name: limits(texts, rounds) for name, texts in sets.items()},
    }


def library_versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "scipy", "rensa", "datasketch", "xxhash")}


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def race(texts: Sequence[str], rounds: int) -> dict:
    """Median documents/s and ratio to each contender over alternating rounds, after one warm-up each."""
    kept = {name: len(job(texts)) for name, job in CONTENDERS.items()}
    seconds = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, job in CONTENDERS.items():
            seconds[name].append(cpu_seconds(lambda job=job: job(texts)))
    rows = {}
    for name, taken in seconds.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(taken, seconds["cogumi"], strict=True))
        rows[name] = {"documents_per_s": len(texts) / median(taken), "kept": kept[name]}
        rows[name] |= {"ratio": median(ratios), "ratio_low": ratios[0], "ratio_high": ratios[-1]}
    size = sum(len(text.encode()) for text in texts)
    return {"documents": len(texts), "bytes": size, "rounds": rounds, "contenders": rows}


def limits(texts: Sequence[str], rounds: int) -> dict:
    """The job beside what it can't do without: reading every byte once, and MinHash over ready n-gram hashes."""
    import xxhash
    from rensa import RMinHash

    encoded = [text.encode() for text in texts]
    hashed = [ngrams(tokenise(texts[first:stop]), N_GRAM) for first, stop in batches(texts)]
    hashed = [(hashes, offsets.astype(np.uint64)) for hashes, offsets in hashed]
    jobs = {
        "cogumi, text to keep-list": lambda: ours(texts),
        "xxh3 of the bytes": lambda: [xxhash.xxh3_64_intdigest(text) for text in encoded],
        "MinHash of ready n-gram hashes": lambda: [
            RMinHash.digest_matrix_from_flat_token_hashes(*part, PLAN.count * PLAN.rows, SEED) for part in hashed
        ],
        "tokens and n-grams, hashed": lambda: [
            ngrams(tokenise(texts[first:stop]), N_GRAM) for first, stop in batches(texts)
        ],
        "signatures and bands": lambda: band_keys(texts, PLAN, n_gram=N_GRAM, seed=SEED),
    }
    for job in jobs.values():
        job()
    seconds = {name: median(cpu_seconds(job) for _ in range(rounds)) for name, job in jobs.items()}
    size, grams = sum(map(len, encoded)), sum(len(hashes) for hashes, _ in hashed)
    rates = {
        name: {"documents_per_s": len(texts) / taken, "megabytes_per_s": size / taken / 1e6}
        for name, taken in seconds.items()
    }
    return {"documents": len(texts), "bytes": size, "ngrams": grams, "rounds": rounds, "stages": rates}


def s_curve(pairs: int) -> list[dict]:
    """Share of pairs that become candidates, per bucket of exact Jaccard similarity, beside 1 - (1 - s^r)^b."""
    generator = np.random.default_rng(1)
    left, right = zip(*edited_pairs(pairs, generator), strict=True)
    sets = ShingleSets(left + right, N_GRAM)
    similarity = sets.jaccard(np.arange(pairs), np.arange(pairs, 2 * pairs))
    keys = band_keys(left + right, PLAN, n_gram=N_GRAM, seed=SEED)
    found = (keys[:pairs] == keys[pairs:]).any(axis=1)
    rows = []
    for low in np.arange(0.1, 1, 0.1).round(1):
        inside = (similarity >= low) & (similarity < low + 0.1)
        expected = float(PLAN.recall(similarity[inside]).mean())
        row = {"jaccard_from": float(low), "pairs": int(inside.sum()), "recall": float(found[inside].mean())}
        rows.append({**row, "theory": expected, "difference": row["recall"] - expected})
    return rows


def edited_pairs(count: int, generator: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Texts of 30 to 150 words and copies with up to a third of the words replaced."""
    for size in generator.integers(30, 151, count):
        words = generator.integers(0, 30_000, size)
        copy = np.where(generator.random(size) < generator.random() / 3, generator.integers(0, 30_000, size), words)
        yield " ".join(map(str, words)), " ".join(map(str, copy))


def precision(count: int) -> dict:
    """Every removed row checked in plain Python: does it reach the threshold with a member of its group?"""
    texts = synthetic(count, seed=3)
    found = deduplicate(texts, threshold=THRESHOLD, n_gram=N_GRAM, num_perm=NUM_PERM, seed=SEED)
    right = 0
    for row, group in zip(found.groups["row"], found.groups["group"], strict=True):
        mine = word_ngrams(texts[row])
        others = (other for other in np.flatnonzero(found.group == group) if other != row)
        right += any(jaccard(mine, word_ngrams(texts[other])) >= THRESHOLD for other in others)
    return {"documents": count, "removed": len(found.groups), "right": right, "precision": right / len(found.groups)}


def scale_run(count: int) -> dict:
    """One run in this process: seconds and peak memory, the texts included."""
    texts = synthetic(count)
    before, wall, cpu = hardware.peak_memory_bytes(), time.perf_counter(), time.process_time()
    found = deduplicate(texts, threshold=THRESHOLD, n_gram=N_GRAM, num_perm=NUM_PERM, seed=SEED)
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    memory = {"peak_bytes": hardware.peak_memory_bytes(), "peak_bytes_of_the_texts": before}
    size = sum(len(text) for text in texts)
    return {"documents": count, "bytes": size, **times, **memory, "kept": len(found.keep), **found.counts}


def in_child(count: int) -> dict:
    command = [sys.executable, __file__, "--scale", str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


# the report


def markdown(report: dict) -> str:
    lines = ["# Deduplication: from text to keep-list", "", f"{report['machine']}", "", f"{report['settings']}", ""]
    for name, outcome in report["races"].items():
        mean = outcome["bytes"] / outcome["documents"]
        lines += [
            f"## Race, {name} text: {outcome['documents']} documents of {mean:.0f} bytes, {outcome['rounds']} rounds",
            "",
        ]
        table = pd.DataFrame(outcome["contenders"]).T.rename(columns={"ratio": "cogumi is faster by"})
        lines += [as_table(table, "{:,.1f}"), ""]
    for name, outcome in report["limits"].items():
        lines += [f"## Limits, {name} text: {outcome['documents']} documents, {outcome['ngrams']} n-grams", ""]
        lines += [as_table(pd.DataFrame(outcome["stages"]).T, "{:,.0f}"), ""]
    lines += ["## Recall of the candidates against 1 - (1 - s^r)^b", ""]
    lines += [as_table(pd.DataFrame(report["s_curve"]).set_index("jaccard_from"), "{:.4g}"), ""]
    lines += [f"Precision: {report['precision']}", ""]
    if "scale" in report:
        lines += [f"640K documents: {report['scale']}", ""]
    return "\n".join(lines)


def as_table(table: pd.DataFrame, number: str) -> str:
    rows = [["", *table.columns], ["---"] + ["---:"] * len(table.columns)]
    rows += [
        [str(name), *(number.format(value) for value in row)]
        for name, row in zip(table.index, table.values, strict=True)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
