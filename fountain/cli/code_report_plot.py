"""The plot of a code report: one SVG of two panels, written by hand, without anybody else's library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from fountain.doctor.code_report import CodeReport

__all__ = ["draw_code_report"]

WIDTH, HEIGHT = 1010, 420
PANEL_WIDTH, PANEL_HEIGHT = 300, 280
PANEL_TOP = 70
# Okabe and Ito's colours, which people with any colour vision can distinguish.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#444444"
GRID = "#dddddd"

Point = tuple[float, float]


@dataclass(frozen=True)
class _Axis:
    """Where values lie: from `low` to `high`, over `length` pixels."""

    low: float
    high: float
    length: float
    is_logarithmic: bool

    def place(self, value: float) -> float:
        """Pixels from the beginning of the axis; values outside are held at its ends."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.is_logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low) * self.length

    def marks(self) -> list[float]:
        """Values to write at the axis."""
        if not self.is_logarithmic:
            return [float(value) for value in range(math.ceil(self.low), math.floor(self.high) + 1)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1)]


@dataclass(frozen=True)
class _Series:
    """A line; `bars` are the ends of the error bar of each point."""

    name: str
    points: Sequence[Point]
    bars: Sequence[Point] = ()


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _axes_of_panel(left: float, x: _Axis, y: _Axis, title: str, x_title: str, y_title: str) -> list[str]:
    bottom = PANEL_TOP + PANEL_HEIGHT
    parts = [_text(left, PANEL_TOP - 14, title, 'font-weight="bold"')]
    for value in x.marks():
        at = left + x.place(value)
        parts += [_line(at, PANEL_TOP, at, bottom, GRID)]
        parts += [_text(at, bottom + 18, f"{value:,g}", 'text-anchor="middle"')]
    for value in y.marks():
        at = bottom - y.place(value)
        parts += [_line(left, at, left + PANEL_WIDTH, at, GRID)]
        parts += [_text(left - 8, at + 4, f"{value:g}", 'text-anchor="end"')]
    parts += [_line(left, bottom, left + PANEL_WIDTH, bottom, INK), _line(left, PANEL_TOP, left, bottom, INK)]
    middle = PANEL_TOP + PANEL_HEIGHT / 2
    parts += [_text(left + PANEL_WIDTH / 2, bottom + 42, x_title, 'text-anchor="middle"')]
    turned = f'text-anchor="middle" transform="rotate(-90 {left - 46:.1f} {middle:.1f})"'
    return [*parts, _text(left - 46, middle, y_title, turned)]


def _lines_of_panel(left: float, x: _Axis, y: _Axis, all_series: Sequence[_Series]) -> list[str]:
    bottom = PANEL_TOP + PANEL_HEIGHT
    parts = []
    for number, series in enumerate(all_series):
        color = COLORS[number % len(COLORS)]
        places = [(left + x.place(across), bottom - y.place(up)) for across, up in series.points]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{color}"/>' for across, up in places]
        for (across, _), (low, high) in zip(places, series.bars):
            parts.append(_line(across, bottom - y.place(low), across, bottom - y.place(high), color))
        key = PANEL_TOP + 12 + 18 * number
        right = left + PANEL_WIDTH + 12
        parts.append(f'<rect x="{right:.1f}" y="{key - 9:.1f}" width="12" height="10" fill="{color}"/>')
        parts.append(_text(right + 18, key, series.name))
    return parts


def _panel(left: float, axes: tuple[_Axis, _Axis], titles: tuple[str, str, str], lines: Sequence[_Series]) -> list[str]:
    return [*_axes_of_panel(left, *axes, *titles), *_lines_of_panel(left, *axes, lines)]


def _overhead_panel(report: CodeReport) -> list[str]:
    lines = []
    lowest = 1.0
    for overhead in report.overheads:
        extras = range(len(overhead.failure_counts))
        points = [(float(extra), overhead.probability(extra)) for extra in extras]
        bars = [overhead.interval(extra) for extra in extras]
        lines.append(_Series(f"K = {overhead.symbol_count:,}", points, bars))
        lowest = min(lowest, 1 / overhead.trial_count)
    floor = 10.0 ** math.floor(math.log10(min(lowest, 0.1)))
    last = max(len(overhead.failure_counts) for overhead in report.overheads) - 1
    axes = _Axis(0, last, PANEL_WIDTH, False), _Axis(floor, 1, PANEL_HEIGHT, True)
    titles = "Blocks that K + h symbols leave unsolved", "extra symbols h", "share of blocks, 95 % intervals"
    return _panel(80, axes, titles, lines)


def _speed_panel(report: CodeReport) -> list[str]:
    def line(name: str, rates: Sequence[float]) -> _Series:
        counts = [float(speed.symbol_count) for speed in report.speeds]
        return _Series(name, [(count, rate / 1e9) for count, rate in zip(counts, rates)])

    lines = [line("encode", [speed.encode_bps for speed in report.speeds])]
    for number, loss in enumerate(report.losses):
        lines.append(line(f"decode, {loss:.0%} lost", [speed.decode_bps[number] for speed in report.speeds]))
    rates = [rate for series in lines for _, rate in series.points]
    counts = [float(speed.symbol_count) for speed in report.speeds]
    axes = _Axis(*_decades(counts), PANEL_WIDTH, True), _Axis(*_decades(rates), PANEL_HEIGHT, True)
    titles = f"Speed on one core, symbols of {report.symbol_size:,} bytes", "symbols in a block, K", "Gbit/s of source"
    return _panel(550, axes, titles, lines)


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """The powers of ten around `values`, over at least one decade."""
    first, last = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return 10.0**first, 10.0 ** max(last, first + 1)


def draw_code_report(report: CodeReport) -> str:
    """The report as an SVG document."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(20, 28, f"The code {report.name} (profile {report.profile_id})", 'font-size="16"'),
        *_overhead_panel(report),
        *_speed_panel(report),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
