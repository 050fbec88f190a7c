"""The header of a packed adapter: what it says, and whether it may be believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cogumi_utils.compress import fourbit
from cogumi_utils.compress._streams import ARRANGEMENTS, CODINGS, Frame, inconsistent
from cogumi_utils.compress.lora.sparsity import LORA_NAME, check_sparsity

MAX_PARAMETERS = 1 << 30  # rank 128 on a 70B student is 0.8 of this; unpacked, 4 GiB
_EXPONENTS = range(-149, 128)  # of float32, subnormal numbers too


@dataclass(frozen=True, slots=True)
class Entry:
    """One matrix: its shape as PEFT has it, its kept weights, and how their codes are to be read (`fourbit`)."""

    rows: int
    columns: int
    kept: int
    floor: int
    exponent: int

    @property
    def count(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in the header but the digest of the payload. frames: (arrangement, coding, bytes) as stored:
    a mask of each bundle, all codes, all scales."""

    adapter_config: dict[str, Any]
    sparsity: float
    group_size: int
    tensors: dict[str, Entry]
    bundles: list[int]
    frames: list[tuple[str, str, int]]
    decoded_sha256: str

    @property
    def parameters(self) -> int:
        return sum(entry.count for entry in self.tensors.values())

    @property
    def kept(self) -> int:
        return sum(entry.kept for entry in self.tensors.values())

    def to_header(self) -> dict[str, Any]:
        lean = {name: list(asdict(entry).values()) for name, entry in self.tensors.items()}
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "tensors": lean}

    def bundled(self) -> Iterator[list[str]]:
        """Names of the tensors in each bundle, in the order of the streams."""
        order, start = stream_order(self.tensors), 0
        for size in self.bundles:
            yield order[start : start + size]
            start += size

    def split(self, payload: bytes) -> list[Frame]:
        frames, start = [], 0
        for arrangement, coding, size in self.frames:
            frames.append(Frame(arrangement, coding, payload[start : start + size]))
            start += size
        return frames


def stream_order(tensors: dict[str, Entry]) -> list[str]:
    """By share of kept weights, so that neighbours are alike; equal ones by name."""
    return sorted(tensors, key=lambda name: (tensors[name].kept / tensors[name].count, name))


def believed(header: dict[str, Any], payload_bytes: int) -> Manifest:
    """The manifest in a header read from a file. Raises CogumiError unless every size in it agrees with the others.

    Nothing is unpacked here, and what is unpacked later is bounded by the sizes checked here.
    """
    tensors = _entries(header.get("tensors"))
    sparsity, group, config = header.get("sparsity"), header.get("group_size"), header.get("adapter_config")
    _require(type(sparsity) in (int, float), "a sparsity that is no number")
    check_sparsity(sparsity)
    fourbit.check_group(group)
    _require(isinstance(config, dict) and config.get("peft_type") == "LORA", "an adapter configuration of no LoRA")
    bundles, frames = header.get("bundles"), header.get("frames")
    _require(_whole(bundles) and min(bundles) > 0, "no bundles")
    _require(sum(bundles) == len(tensors), f"bundles of {sum(bundles)} tensors where there are {len(tensors)}")
    kinds = ["mask"] * len(bundles) + ["codes", "scales"]
    _check_frames(frames, kinds, payload_bytes)
    digest = header.get("decoded_sha256")
    _require(isinstance(digest, str), "no digest of the unpacked tensors")
    return Manifest(config, sparsity, group, tensors, bundles, [tuple(frame) for frame in frames], digest)


def _entries(found: Any) -> dict[str, Entry]:
    _require(isinstance(found, dict) and bool(found), "no tensors")
    entries = {}
    for name, numbers in found.items():
        _require(LORA_NAME.fullmatch(name) is not None, f"a tensor named {name[:80]!r}")
        _require(_whole(numbers) and len(numbers) == 5, f"no five whole numbers for {name}")
        entries[name] = entry = Entry(*numbers)
        _require(entry.rows > 0 and entry.columns > 0, f"{name} of {entry.rows} × {entry.columns}")
        _require(0 <= entry.kept <= entry.count, f"{entry.kept} kept weights among the {entry.count} of {name}")
        _require(0 <= entry.floor < fourbit.FLOORS and entry.exponent in _EXPONENTS, f"levels of {name} out of range")
    total = sum(entry.count for entry in entries.values())
    _require(total <= MAX_PARAMETERS, f"{total} weights; at most {MAX_PARAMETERS} are unpacked")
    _check_ranks(entries)
    return entries


def _check_ranks(entries: dict[str, Entry]) -> None:
    modules: dict[str, dict[str, int]] = {}
    for name, entry in entries.items():
        module, factor = LORA_NAME.fullmatch(name).groups()
        modules.setdefault(module, {})[factor] = entry.rows if factor == "A" else entry.columns
    for module, ranks in modules.items():
        _require(len(ranks) == 2 and ranks["A"] == ranks["B"], f"matrices of {module} that do not multiply")


def _check_frames(frames: Any, kinds: list[str], payload_bytes: int) -> None:
    _require(isinstance(frames, list) and len(frames) == len(kinds), f"not the {len(kinds)} streams that belong there")
    for frame, kind in zip(frames, kinds, strict=True):
        _require(isinstance(frame, list) and len(frame) == 3 and _whole(frame[2:]), "a stream that is not described")
        _require(frame[0] in ARRANGEMENTS[kind] and frame[1] in CODINGS, f"{kind} stored as {frame[:2]}")
        _require(frame[2] >= 0, "a stream of negative size")
    _require(sum(frame[2] for frame in frames) == payload_bytes, f"streams that do not add up to {payload_bytes} bytes")


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and bool(numbers) and all(type(number) is int for number in numbers)


def _require(holds: bool, found: str) -> None:
    if not holds:
        raise inconsistent(found)
