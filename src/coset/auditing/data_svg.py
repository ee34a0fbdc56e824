"""Plots of an audit of data: intervals beside each other, the cost of partial symmetry, bars of shares, a coloured table."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure, label, nice, tag

STEP, SIDE = 30.0, 130


def intervals(names: Sequence[str], lines: Sequence[tuple[float, float, float, float]], unit: str) -> str:
    """One line per name: an interval with its middle, and a mark; entries are (low, middle, high, mark)."""
    low = min(0.0, *(line[0] for line in lines))
    high = max(max(line[2], line[3]) for line in lines) * 1.05 or 1.0
    base = TOP + STEP * len(names) + 4

    def across(value: float) -> float:
        return SIDE + (value - low) / (high - low) * (WIDTH - RIGHT - SIDE)

    drawn = []
    for tick in nice(high, 4):
        drawn += [
            tag("line", x1=across(tick), x2=across(tick), y1=TOP, y2=base, class_="grid"),
            label(across(tick), base + 16, f"{tick:.3g}"),
        ]
    drawn.append(tag("line", x1=across(0), x2=across(0), y1=TOP, y2=base, class_="floor"))
    for i, (name, (left, middle, right, mark)) in enumerate(zip(names, lines, strict=True)):
        y = TOP + STEP * (i + 0.5)
        short = name if len(name) <= 19 else f"{name[:18]}…"
        drawn += [
            label(SIDE - 8, y + 4, short, anchor="end"),
            tag("rect", x=across(left), y=y - 4, width=max(across(right) - across(left), 1.0), height=8, rx=3, class_="bar"),
            tag("circle", cx=across(middle), cy=y, r=4, class_="mark"),
            tag("line", x1=across(mark), x2=across(mark), y1=y - 10, y2=y + 10, class_="bound"),
        ]
    drawn.append(label((SIDE + WIDTH - RIGHT) / 2, base + 36, unit, "axis"))
    return figure(drawn, unit, WIDTH, base + 44)


def valley(square: tuple[float, float, float], noise: float) -> str:
    """The extra error s^2 V + (1 - s)^2 DE^2 against s, at the estimate and at the ends of its interval (low, value, high)."""
    steps = [i / 60 for i in range(61)]
    curves = [[s * s * noise + (1 - s) ** 2 * max(v, 0.0) for s in steps] for v in square]
    top = max(max(curve) for curve in curves) or 1.0

    def place(s: float, v: float) -> tuple[float, float]:
        return LEFT + s * (WIDTH - RIGHT - LEFT), HEIGHT - BOTTOM - v / top * (HEIGHT - BOTTOM - TOP - 6)

    drawn = []
    for tick in nice(top, 4):
        y = place(0, tick)[1]
        drawn += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"), label(LEFT - 8, y + 4, f"{tick:.2g}", anchor="end")]
    for curve, kind in zip(curves, ("thread", "line", "thread"), strict=True):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(s, v) for s, v in zip(steps, curve, strict=True)))
        drawn.append(tag("polyline", points=points, class_=kind))
    best = max(square[1], 0.0) / (max(square[1], 0.0) + noise)
    x, y = place(best, best * noise)
    drawn += [tag("circle", cx=x, cy=y, r=5, class_="mark"), label(x, y - 10, f"s* = {best:.2f}", anchor="start" if best < 0.8 else "end")]
    drawn += [label(place(s, 0)[0], HEIGHT - BOTTOM + 18, text, anchor=end) for s, text, end in _ENDS]
    drawn.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "share s of the forbidden part that is kept", "axis"))
    return figure(drawn, "extra error against shrinkage")


_ENDS = ((0.0, "0: hard", "start"), (0.5, "0.5", "middle"), (1.0, "1: none", "end"))


def columns(names: Sequence[str], values: Sequence[float], unit: str) -> str:
    """Vertical bars on a linear axis."""
    top = max(values) or 1.0
    base, wide = HEIGHT - BOTTOM, (WIDTH - RIGHT - LEFT) / len(values)
    drawn, fits = [], max(7, int(wide / 7))
    for tick in nice(top, 4):
        y = base - tick / top * (base - TOP - 6)
        drawn += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"), label(LEFT - 8, y + 4, f"{tick:.2g}", anchor="end")]
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        high = value / top * (base - TOP - 6)
        drawn.append(tag("rect", x=LEFT + i * wide + 2, y=base - high, width=max(wide - 4, 1.0), height=high, rx=1.5, class_="bar"))
        if wide > 18 or i % 5 == 0:
            drawn.append(label(LEFT + (i + 0.5) * wide, base + 18, name if len(name) <= fits else f"{name[: fits - 1]}…"))
    drawn.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, unit, "axis"))
    return figure(drawn, unit)
