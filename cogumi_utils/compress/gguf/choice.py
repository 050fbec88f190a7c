"""Which GGUF type: the one that changes the model least among those that fit, or bits tensor by tensor.

What fits is known beforehand, since a file's size follows from its tensors' types; what it costs is measured, as KL
divergence from the 16-bit file in llama.cpp itself, on answers that were not used for the importance matrix.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils import plots
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf import types as gguf_types
from cogumi_utils.compress.gguf.imatrix import shuffled
from cogumi_utils.compress.quantization import mixed
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes
from cogumi_utils.judge.fidelity import ENDS, Fidelity, compare
from cogumi_utils.model import llama_cpp_answers, llama_cpp_runtime, student
from cogumi_utils.model.score import answer_ids, answer_log_probs
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Score = Callable[[Path], Fidelity]
BLOCKS = ("Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
MIXTURE = "by tensor"
_MEASURES, _FACTS = ("kl", "agreement", "perplexity_ratio"), ("kind", "bytes", "bits/weight", "seconds", "file")
CARRIER = "Q8_0"  # the kind that a file is named by where each tensor's type is given


@dataclass(frozen=True, slots=True)
class Choice:
    """kind: a type, or "by tensor" with its tensor_types. bits_per_weight: of the whole file. tried: a row for each
    candidate that fits, the lowest KL divergence first.
    """

    file: Path
    kind: str
    tensor_types: dict[str, str]
    bits_per_weight: float
    fidelity: Fidelity
    tried: pd.DataFrame


def scorer(
    parent: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *,
    seed: int = 1, **options: int,
) -> Score:  # fmt: skip
    """`file -> Fidelity` to `parent` on the examples' reference answers: a GGUF file in llama.cpp, as the children are;
    a transformers model, or the folder of one, which is loaded for this alone. options: of `llama_cpp_runtime.load`.

    The parent's log-probabilities are computed once and kept: 4 bytes · answer tokens · vocabulary.
    """

    def log_probs(file: str | Path) -> Iterator[np.ndarray]:
        with llama_cpp_runtime.load(file, **options) as runtime:
            yield from llama_cpp_answers.answer_log_probs(runtime, tokenizer, examples)

    in_llama_cpp = isinstance(parent, (str, Path)) and not Path(parent).is_dir()
    before = list(log_probs(parent) if in_llama_cpp else _in_transformers(parent, tokenizer, examples))
    ids = list(answer_ids(tokenizer, examples))
    return lambda file: compare(before, log_probs(file), ids, seed)


def _in_transformers(
    parent: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> Iterator[np.ndarray]:
    model = student.load(parent)[0] if isinstance(parent, (str, Path)) else parent
    yield from answer_log_probs(model, tokenizer, examples)


def types_table(
    f16: str | Path, folder: str | Path, score: Score, *, importance: Mapping[str, np.ndarray] | None = None,
    kinds: Sequence[str] = gguf_types.KINDS, threads: int = 1, fallback: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Every kind, written to <folder>/<kind>.gguf: kind, file, bytes, bits/weight, seconds, and what it changes."""
    import pandas as pd

    rows = []
    for kind in kinds:
        started, file = time.perf_counter(), Path(folder) / f"{kind}.gguf"
        gguf_types.quantise(f16, file, kind, importance=importance, threads=threads, fallback=fallback)
        seconds = time.perf_counter() - started
        rows.append({"kind": kind, **_row(file, score(file)), "seconds": seconds, "file": str(file)})
    return pd.DataFrame(rows)


def importance_study(
    f16: str | Path, folder: str | Path, score: Score, measured: Mapping[str, np.ndarray], *, seed: int = 1,
    **options: Any,
) -> pd.DataFrame:  # fmt: skip
    """`types_table` (with `fallback`, and `options`) without an importance matrix, with the measured one's columns
    shuffled, and with it as it is, in the column "importance matrix". The last one's files stay in `folder`.
    """
    import pandas as pd

    ways = {"none": None, "shuffled": shuffled(measured, seed), "measured": measured}
    found = [
        types_table(f16, folder, score, importance=values, fallback=True, **options).assign(
            **{"importance matrix": way}
        )
        for way, values in ways.items()
    ]
    return pd.concat(found, ignore_index=True)


def figure(table: pd.DataFrame) -> Figure:
    """KL divergence against bits a weight: a line an importance matrix of `importance_study`, or a kind of matrix of
    `sensitivity`, the costliest first.
    """
    return plots.curves(lines(table), "bits a weight", "KL, nats a token", log_y=True)


def lines(table: pd.DataFrame) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """{name: (bits a weight, KL divergences)} of the lines of `figure`."""
    by, bits = ("matrix", "stored") if "stored" in table else ("importance matrix", "bits/weight")
    groups = sorted(table.groupby(by), key=lambda group: -group[1]["kl"].max())
    sized = {str(name).removesuffix(".weight"): rows.sort_values(bits) for name, rows in groups}
    return {name: (rows[bits].tolist(), rows["kl"].tolist()) for name, rows in sized.items()}


def _row(file: Path, found: Fidelity) -> dict[str, float]:
    ends = {
        f"{name} {end}".removesuffix(" value"): getattr(getattr(found, name), end)
        for name in _MEASURES for end in ENDS
    }  # fmt: skip
    return {"bytes": file.stat().st_size, "bits/weight": gguf_read.bits_per_weight(file), **ends}


def in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """A table of `types_table`, or what a `Choice` tried, as a reader takes it: intervals as words, kilobytes. Other
    columns, such as "importance matrix", stay as they are and come first.
    """

    def words(name: str, unit: str) -> list[str]:
        ends = zip(*(rows[f"{name} {end}".removesuffix(" value")] for end in ENDS), strict=True)
        return [str(Interval(*three, unit=unit)) for three in ends]

    given = [name for name in rows if name.partition(" ")[0] not in (*_MEASURES, *_FACTS)]
    return rows[given].assign(**{
        "type": rows["kind"], "kB": rows["bytes"] / 1e3, "bits a weight": rows["bits/weight"],
        "KL, nats a token": words("kl", ""), "same top token": words("agreement", "%"),
        "perplexity, over that at 16 bits": words("perplexity_ratio", ""),
    })  # fmt: skip


def sensitivity(
    f16: str | Path, score: Score, *, blocks: Sequence[str] = BLOCKS, unit: Callable[[str], str] = str,
    importance: Mapping[str, np.ndarray] | None = None, threads: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """What each unit of matrices costs alone at each of `blocks`: matrix (the unit), unit, weights, bits (the place in
    `blocks`), block, stored (bits a weight), kl. The face of `mixed.sensitivity`, so that `mixed.choose` reads it.

    unit: name → unit; each matrix for itself, or `same_kind` where there are too many: one quantised file and one
    score a unit and block.
    """
    import pandas as pd

    f16, reader = Path(f16), gguf_read.read(f16)
    rest, rows = _matrices(reader), []
    for name, members in _units(reader, unit).items():
        for place, block in enumerate(blocks):
            given = {**rest, **dict.fromkeys(members, block)}
            types = gguf_types.planned_types(reader, CARRIER, given)
            with _trial(f16.with_name(f".{f16.name}.{os.getpid()}.trial")) as trial:
                _write(f16, trial, MIXTURE, given, importance, threads)
                kl = score(trial).kl.value
            rows.append((name, name, *_weight(reader, members, types), place, block, kl))
    return pd.DataFrame(rows, columns=["matrix", "unit", "weights", "stored", "bits", "block", "kl"])


def _weight(reader: gguf.GGUFReader, members: Sequence[str], types: Mapping[str, str]) -> tuple[int, float]:
    """Weights of some matrices, and bits a weight at these types."""
    counts = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors if tensor.name in members}
    total = sum(count * sizes.bits_per_weight(*sizes.GGML_BLOCKS[types[name]][::-1]) for name, count in counts.items())
    return sum(counts.values()), total / sum(counts.values())


def same_kind(name: str) -> str:
    """The unit of all layers' matrices of a kind: blk.7.ffn_down.weight → ffn_down.weight."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


def choose(
    f16: str | Path, target: str | Path, score: Score, *, bits_per_weight: float,
    importance: Mapping[str, np.ndarray] | None = None, kinds: Sequence[str] = gguf_types.KINDS,
    table: pd.DataFrame | None = None, unit: Callable[[str], str] = str, threads: int = 1,
) -> Choice:  # fmt: skip
    """Write to `target` the file of the lowest KL divergence that has at most `bits_per_weight`, everything counted.

    table: of `sensitivity`, with its `unit`: then bits chosen tensor by tensor are a candidate too. Raises CogumiError
    naming the smallest that can be reached for a target below it.
    """
    import pandas as pd

    f16, target, reader = Path(f16), Path(target), gguf_read.read(f16)
    budget = bits_per_weight * gguf_read.parameters(reader) / 8 * (1 + 1e-12)  # what is met exactly is met
    plans = {kind: gguf_types.planned_types(reader, kind) for kind in kinds}
    given = _mixture(reader, table, unit, budget) if table is not None else {}
    if given:
        plans[MIXTURE] = gguf_types.planned_types(reader, CARRIER, given)
    _check_target(reader, plans, budget)
    tried, found = {}, {}
    with ExitStack() as stack:
        for kind in (kind for kind, types in plans.items() if gguf_types.planned_bytes(reader, types) <= budget):
            draft = target.with_name(f".{target.name}.{os.getpid()}.{kind.replace(' ', '-')}")
            file = stack.enter_context(_trial(draft))
            found[kind] = score(_write(f16, file, kind, given, importance, threads))
            tried[kind] = {"kind": kind, **_row(file, found[kind]), "file": file}
        best = min(tried, key=lambda kind: tried[kind]["kl"])
        os.replace(tried[best]["file"], target)
    table = pd.DataFrame(sorted(tried.values(), key=lambda row: row["kl"]))
    table.pop("file")
    return Choice(target, best, given if best == MIXTURE else {}, tried[best]["bits/weight"], found[best], table)


def _write(
    f16: Path, file: Path, kind: str, given: Mapping[str, str], importance: Mapping[str, np.ndarray] | None,
    threads: int,
) -> Path:  # fmt: skip
    own = {"tensor_types": given} if kind == MIXTURE else {}
    return gguf_types.quantise(
        f16, file, CARRIER if kind == MIXTURE else kind, importance=importance, threads=threads, fallback=True, **own
    )


def _matrices(reader: gguf.GGUFReader) -> dict[str, str]:
    """{matrix: its type in the file}."""
    shapes, types = gguf_read.shapes(reader), gguf_read.block_types(reader)
    return {name: block for name, block in types.items() if len(shapes[name]) == 2}


def _units(reader: gguf.GGUFReader, unit: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in _matrices(reader):
        found.setdefault(unit(name), []).append(name)
    return found


def _mixture(reader: gguf.GGUFReader, table: pd.DataFrame, unit: Callable[[str], str], budget: float) -> dict[str, str]:
    """{matrix: block type} with the least sum of costs within `budget` bytes; the smallest where nothing fits."""
    units, blocks = _units(reader, unit), dict(zip(table.bits, table.block, strict=True))
    smallest = table.loc[table.groupby("matrix").stored.idxmin()]
    least = {member: row.block for row in smallest.itertuples() for member in units[row.matrix]}
    size = gguf_types.planned_bytes(reader, gguf_types.planned_types(reader, CARRIER, least))
    left = budget - size - gguf.GGUF_DEFAULT_ALIGNMENT * len(least)  # padding may grow with the types
    if left < 0:
        return least
    weights = smallest.weights.sum()
    target = (smallest.weights * smallest.stored).sum() / weights + 8 * left / weights
    return {member: blocks[place] for name, place in mixed.choose(table, target).items() for member in units[name]}


def _check_target(reader: gguf.GGUFReader, plans: Mapping[str, Mapping[str, str]], budget: float) -> None:
    planned = {kind: gguf_types.planned_bytes(reader, types) for kind, types in plans.items()}
    smallest, count = min(planned, key=planned.__getitem__), gguf_read.parameters(reader)
    if not budget >= planned[smallest]:
        raise CogumiError(
            expected=f"a target of at least {sizes.bits_per_weight(planned[smallest], count):.3f} bits a weight",
            found=f"{sizes.bits_per_weight(budget, count):.3f}",
            why=f"the smallest file ({smallest}) takes {planned[smallest]:,} bytes, tokenizer and norms among them",
            fix="raise the target, prune the model first, or measure smaller blocks too",
        )


@contextmanager
def _trial(file: Path) -> Iterator[Path]:
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
