"""Numbers as people type and read them: rates, sizes, durations, shares.

Rates are bits per second with decimal suffixes (100M is 100,000,000), sizes are octets with decimal units. Reading
is exact (no float between the text and the integer); whatever cannot be read raises UsageError.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from fountain.errors import UsageError

__all__ = [
    "format_duration",
    "format_loss",
    "format_percent",
    "format_rate",
    "format_size",
    "parse_fraction",
    "parse_integer",
    "parse_lifetime",
    "parse_rate",
    "parse_seconds",
    "parse_size",
]

# Fifteen digits hold every value that makes sense and keep hostile input from costing anything.
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15})"
_RATE = re.compile(_NUMBER + "([kKMG]?)")
_SECONDS = re.compile(_NUMBER + "([smh]?)")
_SIZE = re.compile(_NUMBER + "([kKMGT]?)B?")
_LIFETIME = re.compile("([0-9]{1,5})([hd])")
_FRACTION = re.compile(_NUMBER)
_INTEGER = re.compile("[0-9]{1,15}")

_RATE_FACTORS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_SIZE_FACTORS = {**_RATE_FACTORS, "T": 10**12}
_SECONDS_FACTORS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_rate(text: str) -> int:
    """Bits per second: `100M`, `2.5G`, `800k`, `1000000`.

    Raises:
        UsageError: `text` is no rate.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a rate.", "Rates are bits per second: 100M, 2.5G, 800k.")
    return int(Fraction(match[1]) * _RATE_FACTORS[match[2]])


def parse_size(text: str) -> int:
    """Octets: `100M`, `2.5G`, `64k`, `1000000`, `4GB`.

    Raises:
        UsageError: `text` is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size.", "Sizes are bytes, or have a unit: 500000, 64k, 100M, 2.5G.")
    return int(Fraction(match[1]) * _SIZE_FACTORS[match[2]])


def parse_seconds(text: str) -> float:
    """A time in seconds, typed as such or with a unit: `10`, `1.5`, `30s`, `2m`, `1h`.

    Raises:
        UsageError: `text` is no time.
    """
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a time.", "Times are seconds, or have a unit: 10, 1.5, 2m, 1h.")
    return float(Fraction(match[1]) * _SECONDS_FACTORS[match[2]])


def parse_lifetime(text: str) -> int:
    """How long something is valid, in seconds, typed in days or hours: `90d`, `12h`.

    Raises:
        UsageError: `text` is no such time.
    """
    match = _LIFETIME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a number of days or hours.", "Give it with its unit: 90d, 12h.")
    return int(match[1]) * (86_400 if match[2] == "d" else 3600)


def parse_fraction(text: str) -> float:
    """A plain decimal number such as `0.1`.

    Raises:
        UsageError: `text` is no number.
    """
    if _FRACTION.fullmatch(text) is None:
        raise UsageError(f"{text!r} is not a fraction.", "Give a number such as 0.1 for one packet in ten.")
    return float(text)


def parse_integer(text: str) -> int:
    """A whole number of decimal digits.

    Raises:
        UsageError: `text` is no whole number.
    """
    if _INTEGER.fullmatch(text) is None:
        raise UsageError(f"{text!r} is not a whole number.", "Give digits only.")
    return int(text)


def _format_scaled(value: float, units: tuple[str, ...]) -> str:
    """`value` with three significant digits, no trailing zeros, in the largest of `units` (steps of 1000)."""
    step = 0
    while step + 1 < len(units) and value >= 999.5:
        value /= 1000
        step += 1
    digits = 0 if step == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    number = f"{value:.{digits}f}"
    if digits:
        number = number.rstrip("0").rstrip(".")
    return number + units[step]


def format_rate(bits_per_second: float) -> str:
    """A rate as it is typed: `100M`, `2.5G`."""
    return _format_scaled(max(bits_per_second, 0.0), ("", "k", "M", "G"))


def format_size(size: int) -> str:
    """Octets with decimal units: `200 MB`, `4.29 GB`, `12 B`."""
    return _format_scaled(float(size), (" B", " kB", " MB", " GB", " TB"))


def format_duration(seconds: float) -> str:
    """The two largest units: `<0.1s`, `2.4s`, `45s`, `1m 20s`, `2h 5m`, `3d 4h`."""
    if 0 < seconds < 0.05:
        return "<0.1s"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    for unit_seconds, unit, part_seconds, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_seconds:
            return f"{whole // unit_seconds}{unit} {whole % unit_seconds // part_seconds}{part}"
    return f"{whole}s"


def format_percent(fraction: float) -> str:
    """Progress, rounded down so that 100% means all of it: `37.5%`."""
    permille = math.floor(min(max(fraction, 0.0), 1.0) * 1000 + 1e-9)
    return "100%" if permille == 1000 and fraction >= 1.0 else f"{min(permille, 999) / 10:.1f}%"


def format_loss(fraction: float) -> str:
    """A share of lost packets: `0%`, `<0.1%`, `10.3%`."""
    if fraction <= 0.0:
        return "0%"
    if fraction < 0.001:
        return "<0.1%"
    return f"{min(fraction, 1.0) * 100:.1f}%"
