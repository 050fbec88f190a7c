"""How each tensor type's blocks are to be cut into streams, decided on a sample before the first chunk is coded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cogumi_utils.compress.archive._frames import Decoder, Encoder, train_dictionary
from cogumi_utils.compress.archive._planes import arrange, bundled, histograms
from cogumi_utils.compress.archive._segments import NUMBERS, Segment, cut, plain_segments, segments

PLANES = ("none", "bytes", "blocks", "best")
_SAMPLE_BYTES, _PIECE_BYTES = 4 << 20, 1 << 16  # of each kind
_DICTIONARY_SAMPLE, _DICTIONARY_SHARE = 1 << 20, 64  # a dictionary takes at most 1/64 of the file
_TRIAL_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """candidates: {kind: layouts to try, by index}. trial: what tries them, at a fast level."""

    segments: list[Segment]
    layouts: list[list[int]]
    candidates: dict[str, list[int]]
    dictionary: bytes | None
    decoder: Decoder
    trial: Encoder

    def smallest_layout(self, kind: str, blocks: np.ndarray) -> int:
        """The candidate whose streams come out smallest. blocks: uint8 [n, width]."""
        candidates = self.candidates[kind]
        return candidates[0] if len(candidates) == 1 else min(candidates, key=lambda each: self._tried(each, blocks))

    def _tried(self, layout: int, blocks: np.ndarray) -> int:
        return sum(len(self.trial.smallest(stream)) for stream in arrange(blocks, self.layouts[layout]))


def plan(source: Path, planes: str, dictionary: bool, chunk_bytes: int) -> Plan:
    """The plan for one file, as `pack_file` is told."""
    found = plain_segments(source.stat().st_size) if planes == "none" else segments(source)
    kinds = {segment.kind: segment.width for segment in found}
    samples = {kind: _sample(source, found, kind) for kind in kinds}
    layouts: list[list[int]] = []
    candidates: dict[str, list[int]] = {}
    for kind in kinds:
        blocks = _blocks_of_a_group(found, kind, chunk_bytes)
        for layout in _wanted(kind, planes, samples[kind], blocks):
            if layout not in layouts:
                layouts.append(layout)
            if layouts.index(layout) not in candidates.setdefault(kind, []):
                candidates[kind].append(layouts.index(layout))
    known = _dictionary(samples, {kind: layouts[candidates[kind][-1]] for kind in kinds}, found) if dictionary else None
    return Plan(found, layouts, candidates, known, Decoder(known), Encoder(_TRIAL_LEVEL, chunk_bytes))


def _wanted(kind: str, planes: str, sample: np.ndarray, blocks: float) -> list[list[int]]:
    """Layouts that `planes` allows, the simplest first."""
    width = sample.shape[1]
    whole, single = [width], [1] * width if kind in NUMBERS else [width]
    if planes in ("none", "bytes") or width == 1:
        return [whole] if planes == "none" else [single]
    likely = bundled(histograms(sample), blocks)
    return [likely] if planes == "blocks" else [whole, single, likely]


def _blocks_of_a_group(found: list[Segment], kind: str, chunk_bytes: int) -> float:
    """Blocks of the kind in a chunk that has some, on average."""
    groups = [sum(part.size for part in chunk if part.kind == kind) for chunk in cut(found, chunk_bytes)]
    width = next(segment.width for segment in found if segment.kind == kind)
    return sum(groups) / sum(size > 0 for size in groups) / width


def pieces(source: Path, found: list[Segment], kind: str, every: int = 1) -> Iterator[np.ndarray]:
    """Each `every`-th piece of the kind, uint8 [blocks, width]."""
    own = [part for segment in found if segment.kind == kind for (part,) in cut([segment], _PIECE_BYTES)]
    with open(source, "rb") as stream:
        for part in own[::every]:
            stream.seek(part.start)
            data = np.frombuffer(stream.read(part.size), np.uint8)
            yield data[: data.size // part.width * part.width].reshape(-1, part.width)


def _sample(source: Path, found: list[Segment], kind: str) -> np.ndarray:
    """At most some MiB of the kind, spread evenly over the file."""
    total = sum(segment.size for segment in found if segment.kind == kind)
    return np.concatenate(list(pieces(source, found, kind, every=-(-total // _SAMPLE_BYTES))))


def _dictionary(samples: dict[str, np.ndarray], layouts: dict[str, list[int]], found: list[Segment]) -> bytes | None:
    """Trained on the streams of the sample, each kind by its share."""
    total, held = sum(segment.size for segment in found), sum(sample.size for sample in samples.values())
    if not total:
        return None
    streams = []
    for kind, sample in samples.items():
        rows = sample[:: max(1, held // _DICTIONARY_SAMPLE)]
        streams += arrange(rows, layouts[kind])
    return train_dictionary(streams, total // _DICTIONARY_SHARE)
