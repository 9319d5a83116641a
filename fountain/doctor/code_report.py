"""How good a code is: what it needs beyond K symbols, and how fast it is. Every block that comes back is compared.

Only what `fountain.codes.api` has is used, so any code can be measured beside any other, on the same terms:

- overhead: blocks of K symbols are decoded from K, K + 1, .. K + 5 different symbols with random ESIs, none of them
  source symbols where the ESIs allow it: as a receiver sees the stream that comes late.
- encoding: K symbols that are not source symbols, in one call.
- decoding, at a loss: the symbols of a fresh stream (source symbols first, if there are any), each lost or not; from an
  empty decoder, in batches, to the whole block. A loss of 1 leaves a systematic code no source symbol at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import BlockDecoder, Code
from fountain.engine.runtime.clock import now_ns
from fountain.errors import IntegrityError, UsageError
from fountain.limits import ESI_LIMIT, NS

__all__ = ["EXTRA_COUNT", "CodeReport", "Overhead", "Speed", "default_symbol_counts", "measure_code"]

EXTRA_COUNT = 6  # K + 0 .. K + 5
SYMBOL_COUNTS_DEFAULT = (10, 100, 1000)
LOSSES = (0.05, 0.2, 0.5, 1.0)
SYMBOL_SIZE = 1280
_TRIAL_SYMBOL_SIZE = 16  # Wide enough that wrong octets show.
_BATCH_COUNT = 40  # Symbols that a train brings.
_REPEAT_COUNT = 9  # The fastest counts: what else the machine does only ever slows it down.
_GIVE_UP_FACTOR = 4  # A block that so many times K symbols (and some) do not give back never comes.
_CONFIDENCE_95 = 1.959964

Rows = NDArray[np.uint8]
EsiArray = NDArray[np.uint32]


@dataclass(frozen=True)
class Overhead:
    """How often K + 0, K + 1, ... symbols did not suffice, in `trial_count` blocks of K symbols."""

    symbol_count: int
    trial_count: int
    failure_counts: tuple[int, ...]

    def probability(self, extra: int) -> float:
        """The share of blocks that K + extra symbols left unsolved."""
        return self.failure_counts[extra] / self.trial_count

    def interval(self, extra: int) -> tuple[float, float]:
        """Between which values the probability lies with 95 % confidence (Wilson's score interval)."""
        n, p, z = self.trial_count, self.probability(extra), _CONFIDENCE_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half))  # never apart by rounding


@dataclass(frozen=True)
class Speed:
    """Bits of source data per second on one core; `decode_bps` and `received` for each loss.

    `received` is how many symbols the block took, divided by K.
    """

    symbol_count: int
    encode_bps: float
    decode_bps: tuple[float, ...]
    received: tuple[float, ...]


@dataclass(frozen=True)
class CodeReport:
    """All that was measured of one code."""

    name: str
    profile_id: str
    systematic: bool
    symbol_size: int
    losses: tuple[float, ...]
    overheads: tuple[Overhead, ...]
    speeds: tuple[Speed, ...]


def default_symbol_counts(code: Code) -> list[int]:
    """What to measure when nobody says: the usual sizes of block, as far as the code takes them."""
    counts = [count for count in SYMBOL_COUNTS_DEFAULT if count <= code.symbol_count_max]
    return counts if code.symbol_count_max in counts or len(counts) == 3 else [*counts, code.symbol_count_max]


def measure_code(
    code: Code, symbol_counts: Sequence[int], trial_count: int, notify: Callable[[str], None], *, seed: int = 1
) -> CodeReport:
    """Measure `code` for blocks of these sizes; `notify` hears what is being measured.

    Raises:
        UsageError: there is no trial, or the code does not take blocks of such a size.
        IntegrityError: a block came back wrong, or never.
    """
    if trial_count < 1:
        raise UsageError(
            "`trial_count` needs at least one.", "Hundreds show shares of some per cent.", field="trial_count"
        )
    for count in symbol_counts:
        if not 1 <= count <= code.symbol_count_max:
            raise UsageError(
                f"The code {code.name!r} takes blocks of 1 to {code.symbol_count_max} symbols, not {count}.",
                "Give other sizes with `symbol_counts`.",
                field="symbol_counts",
            )
    random = np.random.default_rng(seed)
    overheads, speeds = [], []
    for count in symbol_counts:
        notify(f"{trial_count} blocks of {count} symbols: how many need more")
        overheads.append(_overhead(code, count, trial_count, random))
        notify(f"blocks of {count} symbols: how fast")
        speeds.append(_speed(code, count, random))
    return CodeReport(
        code.name, code.profile_id.hex(), code.systematic, SYMBOL_SIZE, LOSSES, tuple(overheads), tuple(speeds)
    )


def _block(count: int, size: int, random: np.random.Generator) -> Rows:
    return random.integers(0, 256, (count, size), dtype=np.uint8)


def _different_esis(first: int, count: int, random: np.random.Generator) -> EsiArray:
    """Different ESIs from `first` on, in random order."""
    drawn = np.unique(random.integers(first, ESI_LIMIT, 2 * count + 16))
    esis: EsiArray = random.permutation(drawn)[:count].astype(np.uint32)
    return esis


def _encoded(code: Code, source: Rows, esis: EsiArray) -> Rows:
    rows = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    code.encoder(source).encode(esis, rows)
    return rows


def _give(decoder: BlockDecoder, esis: EsiArray, rows: Rows) -> None:
    slots = decoder.reserve(esis)
    wanted = slots >= 0
    if wanted.all():
        decoder.slab[slots] = rows
    else:
        decoder.slab[slots[wanted]] = rows[wanted]
    decoder.commit(esis, slots)


def _check(code: Code, decoder: BlockDecoder, source: Rows) -> None:
    if not np.array_equal(decoder.slab[: len(source)], source):
        raise IntegrityError(
            f"The code {code.name!r} gave back other bytes than it was given, in a block of {len(source)} symbols.",
            "Its encoder and its decoder do not agree; do not use it.",
        )


def _overhead(code: Code, count: int, trial_count: int, random: np.random.Generator) -> Overhead:
    failures = [0] * EXTRA_COUNT
    first = count if code.systematic else 0
    for _ in range(trial_count):
        source = _block(count, _TRIAL_SYMBOL_SIZE, random)
        esis = _different_esis(first, count + EXTRA_COUNT - 1, random)
        rows = _encoded(code, source, esis)
        decoder = code.decoder(count, _TRIAL_SYMBOL_SIZE)
        given = 0
        for extra in range(EXTRA_COUNT):
            _give(decoder, esis[given : count + extra], rows[given : count + extra])
            given = count + extra
            if decoder.decode().need == 0:
                _check(code, decoder, source)
                break
            failures[extra] += 1
    return Overhead(count, trial_count, tuple(failures))


def _speed(code: Code, count: int, random: np.random.Generator) -> Speed:
    source = _block(count, SYMBOL_SIZE, random)
    code.prepare(count)
    decoded = [_decode_speed(code, source, loss, random) for loss in LOSSES]
    return Speed(
        count,
        _encode_speed(code, source, random),
        tuple(speed for speed, _ in decoded),
        tuple(received for _, received in decoded),
    )


def _encode_speed(code: Code, source: Rows, random: np.random.Generator) -> float:
    count = len(source)
    first = int(random.integers(count, ESI_LIMIT - count))
    esis = np.arange(first, first + count, dtype=np.uint32)
    rows = np.empty_like(source)
    code.encoder(source).encode(esis, rows)
    return _bits_per_second(source, lambda: code.encoder(source).encode(esis, rows))


def _decode_speed(code: Code, source: Rows, loss: float, random: np.random.Generator) -> tuple[float, float]:
    """Bits per second, and how many symbols for each of K; the same symbols every time."""
    count, size = source.shape
    esis = _stream(code, count, loss, random)
    rows = _encoded(code, source, esis)
    slab = np.zeros_like(code.decoder(count, size).slab)

    def run() -> tuple[BlockDecoder, int]:
        decoder = code.decoder(count, size, slab)
        return decoder, _collect(code, decoder, esis, rows)

    decoder, used = run()
    _check(code, decoder, source)
    speed = _bits_per_second(source, run)
    _check(code, decoder, source)
    return speed, used / count


def _stream(code: Code, count: int, loss: float, random: np.random.Generator) -> EsiArray:
    """The symbols that arrive of a stream, more than enough of them."""
    more = _GIVE_UP_FACTOR * count + 64
    first = int(random.integers(count, ESI_LIMIT - 2 * more))
    arriving: EsiArray = np.arange(first, first + more, dtype=np.uint32)
    if not code.systematic:
        return arriving  # Any symbols are as good as any others.
    source = np.arange(count, dtype=np.uint32)
    return np.concatenate((source[random.random(count) >= loss], arriving))


def _collect(code: Code, decoder: BlockDecoder, esis: EsiArray, rows: Rows) -> int:
    """Give symbols as they are needed, until the block is there; how many that were."""
    used = 0
    while need := decoder.progress.need:
        end = used + min(need, _BATCH_COUNT)
        if end > len(esis):
            raise IntegrityError(
                f"The code {code.name!r} does not give a block back from {used} of its symbols.",
                "Its decoder needs ever more symbols; do not use it.",
            )
        _give(decoder, esis[used:end], rows[used:end])
        used = end
        if decoder.progress.need == 0:
            decoder.decode()
    return used


def _bits_per_second(source: Rows, work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEAT_COUNT):
        start = now_ns()
        work()
        times.append(max(1, now_ns() - start))
    return source.nbytes * 8 * NS / min(times)
