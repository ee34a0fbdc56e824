"""Plots drawn by hand as SVG, so that a page needs nothing else: points, histogram, bars, on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, WIDE = 480, 270, 940
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
LOWEST = 1e-17
POINTS = 1500


def tag(name: str, content: str = "", **attributes: object) -> str:
    """One element; underscores in attribute names become dashes, a trailing one is dropped."""
    inside = " ".join(f'{key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name} {inside}>{content}</{name}>"


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def figure(content: Iterable[str], title: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The SVG around a drawing."""
    inside = tag("title", escape(title)) + "".join(content)
    return tag("svg", inside, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="plot")


def label(x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> str:
    """Text at a place."""
    return tag("text", escape(text), x=x, y=y, class_=kind, text_anchor=anchor)


def power(exponent: int) -> str:
    """10 to a power, written with superscripts."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


class LogAxis:
    """Maps positive numbers to a range of the page, decade by decade.

    Args:
        values: what has to fit; numbers below 1e-17 count as 1e-17, and zeros lie a decade below the rest.
        start: page coordinate of the lowest decade.
        stop: page coordinate of the highest decade.
    """

    def __init__(self, values: Sequence[float], start: float, stop: float):
        finite = [v for v in values if math.isfinite(v)]
        logs = [math.log10(max(v, LOWEST)) for v in finite if v > 0] or [0.0]
        self.low, self.high = math.floor(min(logs)), math.ceil(max(logs))
        self.zeros = any(v <= 0 for v in finite)
        self.low -= self.zeros  # a decade below everything else is kept for zeros
        if self.high == self.low:
            self.high += 1
        self.start, self.stop = start, stop

    def __call__(self, value: float) -> float:
        """The page coordinate of a number."""
        at = math.log10(max(value, LOWEST)) if math.isfinite(value) else self.high
        at = min(max(at, self.low), self.high)
        return self.start + (at - self.low) / (self.high - self.low) * (self.stop - self.start)

    def name(self, exponent: int) -> str:
        """What a tick says: a power of ten, or zero at the end that is kept for zeros."""
        return "0" if self.zeros and exponent == self.low else power(exponent)

    def ticks(self, most: int = 8) -> range:
        """Exponents to label."""
        return range(self.low, self.high + 1, max(1, math.ceil((self.high - self.low) / most)))


def nice(limit: float, count: int = 6) -> list[float]:
    """Round numbers from zero up to a limit."""
    if not limit > 0:
        return [0.0]
    rough = limit / count
    base = 10 ** math.floor(math.log10(rough))
    step = min((m * base for m in (1, 2, 3, 5, 10) if m * base >= rough * 0.999), default=10 * base)
    if 30 <= limit <= 360:
        step = next((s for s in (5, 10, 15, 30, 45, 60, 90) if s >= rough), step)
    return [i * step for i in range(int(limit / step + 1e-9) + 1)]


def frame(axis: LogAxis, title: str) -> list[str]:
    """Horizontal grid lines with a logarithmic scale at the left."""
    turned = f"translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)"
    drawn = [tag("text", escape(title), class_="axis", text_anchor="middle", transform=turned)]
    for exponent in axis.ticks():
        y = axis(10.0**exponent)
        drawn += [
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
            label(LEFT - 8, y + 4, axis.name(exponent), anchor="end"),
        ]
    return drawn


def rule(axis: LogAxis, value: float, text: str, kind: str) -> list[str]:
    """A dashed horizontal line at a number, with its name."""
    if not value > 0 or not math.isfinite(value):
        return []
    y = axis(value)
    return [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_=kind), label(WIDTH - RIGHT - 4, y - 5, text, "tick", "end")]


def points(sizes: Sequence[float], errors: Sequence[float], unit: str, floor: float, bound: float) -> str:
    """Errors against the size of the element, with the running median."""
    stride = max(1, math.ceil(len(errors) / POINTS))
    pairs = list(zip(sizes, errors, strict=True))[::stride]
    axis = LogAxis([e for _, e in pairs] + [v for v in (floor, bound) if v > 0], HEIGHT - BOTTOM, TOP)
    limit = max([s for s, _ in pairs if math.isfinite(s)] or [1.0]) or 1.0

    def across(size: float) -> float:
        return LEFT + 6 + size / limit * (WIDTH - RIGHT - LEFT - 12)

    drawn = frame(axis, "relative error")
    for tick in nice(limit):
        drawn.append(label(across(tick), HEIGHT - BOTTOM + 18, f"{tick:g}"))
    drawn.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, unit, "axis"))
    drawn += [tag("circle", cx=across(s), cy=axis(e), r=2.2, class_="dot") for s, e in pairs]
    middle = [f"{across(s):.1f},{axis(e):.1f}" for s, e in medians(pairs, limit)]
    drawn.append(tag("polyline", points=" ".join(middle), class_="line"))
    return figure(
        drawn + rule(axis, floor, "floor", "floor") + rule(axis, bound, "bound", "bound"), "error against the size of the group element"
    )


def medians(pairs: Sequence[tuple[float, float]], limit: float, bins: int = 12) -> list[tuple[float, float]]:
    """Median size and error in equal bins of size; empty bins are left out."""
    found = []
    for i in range(bins):
        inside = sorted(e for s, e in pairs if i <= min(s / limit * bins, bins - 1e-9) < i + 1)
        place = sorted(s for s, _ in pairs if i <= min(s / limit * bins, bins - 1e-9) < i + 1)
        if inside:
            found.append((place[len(place) // 2], inside[len(inside) // 2]))
    return found


def histogram(errors: Sequence[float], floor: float, bound: float, bins: int = 32) -> str:
    """How the errors are distributed, on a logarithmic axis."""
    axis = LogAxis([*errors, *(v for v in (floor, bound) if v > 0)], LEFT, WIDTH - RIGHT)
    width = (WIDTH - RIGHT - LEFT) / bins
    counts = [0] * bins
    for e in errors:
        counts[min(int((axis(e) - LEFT) / width), bins - 1)] += 1
    base, tall = HEIGHT - BOTTOM, max(counts) or 1
    drawn = [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="grid")]
    drawn += [label(axis(10.0**k), base + 18, axis.name(k)) for k in axis.ticks(10)]
    for tick in nice(tall, 4):
        y = base - tick / tall * (base - TOP - 8)
        if tick == int(tick):
            drawn += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"), label(LEFT - 8, y + 4, f"{tick:g}", anchor="end")]
    for i, count in enumerate(counts):
        high = count / tall * (base - TOP - 8)
        if count:
            drawn.append(tag("rect", x=LEFT + i * width + 1, y=base - high, width=width - 2, height=high, rx=1.5, class_="bar"))
    for value, text, kind in ((floor, "floor", "floor"), (bound, "bound", "bound")):
        if value > 0:
            drawn += [
                tag("line", x1=axis(value), x2=axis(value), y1=TOP, y2=base, class_=kind),
                label(axis(value) + 5, TOP + 8, text, anchor="start"),
            ]
    drawn.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "relative error", "axis"))
    return figure(drawn, "histogram of the errors")


def bars(names: Sequence[str], values: Sequence[float], marks: Sequence[float | None]) -> str:
    """One horizontal bar per layer for the change, and a mark for the equivariance error where there is one."""
    step, left, right = 22.0, 230, WIDE - 90
    height = len(names) * step + 44
    axis = LogAxis([v for v in (*values, *(m for m in marks if m is not None)) if v > 0] or [1.0], left, right)
    axis.low -= 1
    drawn = []
    for k in axis.ticks():
        x = axis(10.0**k)
        drawn += [tag("line", x1=x, x2=x, y1=4, y2=height - 38, class_="grid"), label(x, height - 22, power(k))]
    for i, (name, value, mark) in enumerate(zip(names, values, marks, strict=True)):
        y = i * step + 6
        short = name if len(name) <= 32 else f"…{name[-31:]}"
        drawn += [label(left - 8, y + 12, short, anchor="end"), label(WIDE - 4, y + 12, f"{value:.2e}", anchor="end")]
        if value > 0:
            drawn.append(tag("rect", x=left, y=y + 2, width=max(axis(value) - left, 1.0), height=step - 7, rx=2, class_="bar"))
        if mark is not None and mark > 0:
            drawn.append(tag("circle", cx=axis(mark), cy=y + 8.5, r=4.5, class_="mark"))
    drawn.append(label((left + right) / 2, height - 4, "relative change (bar), equivariance error (dot)", "axis"))
    return figure(drawn, "change of every layer", WIDE, height)


def descents(steps: Sequence[float], traces: Mapping[str, Sequence[float]]) -> str:
    """Changes against shrinking steps, one line for each kind of path; the one that ends highest is marked by name."""
    axis = LogAxis([v for trace in traces.values() for v in trace if v > 0] or [1.0], HEIGHT - BOTTOM, TOP)
    across = LogAxis(list(steps), LEFT + 6, WIDTH - RIGHT - 6)
    drawn = frame(axis, "relative change of the output")
    drawn += [label(across(10.0**k), HEIGHT - BOTTOM + 18, across.name(k)) for k in across.ticks()]
    drawn.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "step, relative to the input", "axis"))
    top = max(traces, key=lambda kind: traces[kind][-1], default=None)
    for kind, trace in sorted(traces.items(), key=lambda pair: pair[0] == top):
        places = " ".join(f"{across(s):.1f},{axis(v):.1f}" for s, v in zip(steps, trace, strict=True))
        drawn.append(tag("polyline", tag("title", escape(kind)), points=places, class_="line" if kind == top else "thread"))
    if top is not None:
        drawn.append(label(WIDTH - RIGHT - 8, HEIGHT - BOTTOM - 10, f"highest: {top}", anchor="end"))
    return figure(drawn, "change of the output over shrinking steps")
