"""The slow twin of the LT code: its definition in plain Python, with no kernel and no array."""

from __future__ import annotations

from decimal import Decimal, localcontext

MASK = (1 << 64) - 1


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draws(count: int, esi: int) -> list[int]:
    """The draws of one row, as many as it may need."""
    key = mix((count << 24) + esi)
    return [mix((key + (i + 1) * 0x9E3779B97F4A7C15) & MASK) >> 32 for i in range(count + 1)]


def weights(count: int) -> list[Decimal]:
    """The robust soliton distribution, not normalised: weight of degree 1 .. K."""
    ripple = Decimal("0.05") * (count / Decimal("0.001")).ln() * Decimal(count).sqrt()
    spike = max(1, min(round(count / ripple), (count + 1) // 2))
    found = []
    for degree in range(1, count + 1):
        weight = 1 / Decimal(count) if degree == 1 else 1 / Decimal(degree * (degree - 1))
        if degree < spike:
            weight += ripple / (degree * count)
        if degree == spike:
            weight += max(Decimal(0), ripple * (ripple / Decimal("0.001")).ln() / count)
        found.append(weight)
    return found


def degree(count: int, draw: int) -> int:
    with localcontext() as context:
        context.prec = 60
        all_weights = weights(count)
        total = sum(all_weights)
        reached = Decimal(0)
        for index, weight in enumerate(all_weights):
            reached += weight
            if draw < int(reached * (1 << 32) / total):
                return index + 1
    return count


def row(count: int, esi: int) -> set[int]:
    """Which source symbols the symbol `esi` of a block of `count` sums."""
    drawn = draws(count, esi)
    size = degree(count, drawn[0])
    chosen: set[int] = set()
    for number in range(1, size + 1):
        bound = count - size + number
        place = (drawn[number] * bound) >> 32
        chosen.add(bound - 1 if place in chosen else place)
    return chosen


def encode(source: list[int], esi: int) -> int:
    """The encoding symbol; symbols are integers of any size."""
    total = 0
    for place in row(len(source), esi):
        total ^= source[place]
    return total


def rank(rows: list[set[int]]) -> int:
    """Of rows over GF(2)."""
    basis: dict[int, int] = {}
    for columns in rows:
        value = sum(1 << column for column in columns)
        while value and (leader := value.bit_length()) in basis:
            value ^= basis[leader]
        if value:
            basis[value.bit_length()] = value
    return len(basis)
