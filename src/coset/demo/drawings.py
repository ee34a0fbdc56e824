"""Pictures as inline SVG: molecules with vectors, curves against the angle, digits with class probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Any

COLOURS = {"bare": "var(--bad)", "full average": "var(--two)", "quadrature": "var(--three)", "PCA": "var(--one)", "minimal": "var(--good)"}
ELEMENTS = {1: ("H", "#e8eaee", 9), 6: ("C", "#6d7683", 13), 7: ("N", "#6f8fe8", 13), 8: ("O", "#e2685c", 13), 9: ("F", "#7cc47f", 12),
            16: ("S", "#e0bf4a", 15), 17: ("Cl", "#63b566", 15), 14: ("Si", "#cfae8b", 15), 15: ("P", "#e09a4a", 15)}  # fmt: skip


def tag(name: str, content: str = "", **attributes: Any) -> str:
    """One element; underscores in attribute names become dashes, a trailing one is dropped."""
    inside = " ".join(f'{key.rstrip("_").replace("_", "-")}="{_text(value)}"' for key, value in attributes.items())
    return f"<{name} {inside}>{content}</{name}>"


def _text(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(str(value))


def svg(content: str, width: float, height: float, title: str) -> str:
    """The picture around a drawing."""
    return tag("svg", tag("title", escape(title)) + content, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="plot")


def label(x: float, y: float, text: str, anchor: str = "middle", kind: str = "tick") -> str:
    """Text at a place."""
    return tag("text", escape(text), x=x, y=y, text_anchor=anchor, class_=kind)


def arrow(x: float, y: float, dx: float, dy: float, kind: str) -> str:
    """An arrow from (x, y); nothing when it is too short to see."""
    length = math.hypot(dx, dy)
    if length < 1.5:
        return ""
    ux, uy = dx / length, dy / length
    head = min(9.0, 0.6 * length)
    ex, ey = x + dx, y + dy
    bx, by = ex - ux * head, ey - uy * head
    sx, sy = -uy * head * 0.45, ux * head * 0.45
    tip = f"{ex:.1f},{ey:.1f} {bx + sx:.1f},{by + sy:.1f} {bx - sx:.1f},{by - sy:.1f}"
    return tag("line", x1=x, y1=y, x2=bx, y2=by, class_=kind) + tag("polygon", points=tip, class_=kind + " tip")


def molecule(shot: dict[str, Any], species: Sequence[int], title: str, size: float = 220.0) -> str:
    """Atoms seen from above, the model's vectors, and dashed, behind them, those that equivariance asks for."""
    places = shot["pos"]
    reach = max(math.hypot(p[0], p[1]) for p in places) or 1.0
    longest = max(math.hypot(v[0], v[1]) for key in ("vectors", "expected") for v in shot.get(key, [[0.0, 0.0]])) or 1.0
    unit, stretch = 0.3 * size / reach, 0.18 * size / longest
    spots = [(size / 2 + p[0] * unit, size / 2 - p[1] * unit, p[2]) for p in places]
    drawn = bonds(places, species, spots)
    order = sorted(range(len(spots)), key=lambda i: spots[i][2])
    for i in order:
        name, colour, radius = ELEMENTS.get(species[i], ("", "#b3a4d8", 14))
        drawn += tag("circle", cx=spots[i][0], cy=spots[i][1], r=radius * 0.85, fill=colour, class_="atom")
        drawn += tag("text", name, x=spots[i][0], y=spots[i][1] + 4, text_anchor="middle", class_="symbol")
    for key, kind in (("expected", "wanted"), ("vectors", "vector")):
        for (x, y, _), v in zip(spots, shot.get(key, []), strict=False):
            drawn += arrow(x, y, v[0] * stretch, -v[1] * stretch, kind)
    return svg(drawn, size, size, title)


def bonds(places: Sequence[Sequence[float]], species: Sequence[int], spots: Sequence[tuple[float, float, float]]) -> str:
    """Lines between atoms that are close."""
    drawn = ""
    for i, p in enumerate(places):
        for j in range(i):
            limit = 1.25 if 1 in (species[i], species[j]) else 1.9
            if math.dist(p, places[j]) < limit:
                drawn += tag("line", x1=spots[i][0], y1=spots[i][1], x2=spots[j][0], y2=spots[j][1], class_="bond")
    return drawn


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900.0, 310.0, 66.0, 130.0, 14.0, 44.0


def curves(found: dict[str, list[list[float]]], *, logarithmic: bool, title: str, across: str, every: float) -> str:
    """Lines against an angle, named at the right; shares from 0 to 1, or numbers on a logarithmic axis."""
    limit = max(x for line in found.values() for x, _ in line)
    low, high = (-8.0, 1.0) if logarithmic else (0.0, 1.0)

    def right(x: float) -> float:
        return LEFT + x / limit * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        value = math.log10(max(y, 10**low)) if logarithmic else y
        return HEIGHT - BOTTOM - (min(max(value, low), high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    ticks = [10.0**k for k in range(int(low), int(high) + 1)] if logarithmic else [i / 5 for i in range(6)]
    drawn = "".join(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(t), y2=up(t), class_="grid") for t in ticks)
    drawn += "".join(label(LEFT - 8, up(t) + 4, _power(t) if logarithmic else f"{100 * t:.0f} %", "end") for t in ticks)
    drawn += "".join(label(right(k * every), HEIGHT - BOTTOM + 18, f"{k * every:g}°") for k in range(int(limit / every) + 1))
    drawn += label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, kind="axis")
    heights = _apart({name: up(median(y for _, y in line)) for name, line in found.items()})
    for name, line in found.items():
        colour = COLOURS.get(name, "var(--three)")
        path = " ".join(f"{right(x):.1f},{up(y):.1f}" for x, y in line)
        drawn += tag("polyline", points=path, class_="curve", stroke=colour)
        drawn += "".join(tag("circle", cx=right(x), cy=up(y), r=2.4, fill=colour) for x, y in line)
        drawn += tag("text", escape(name), x=WIDTH - RIGHT + 10, y=heights[name] + 4, class_="name", style=f"fill: {colour}")
    return svg(drawn, WIDTH, HEIGHT, title)


def _power(value: float) -> str:
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _apart(heights: dict[str, float], room: float = 16.0) -> dict[str, float]:
    """Move names apart that would lie on each other."""
    names = sorted(heights, key=lambda name: heights[name])
    for a, b in itertools.pairwise(names):
        heights[b] = max(heights[b], heights[a] + room)
    over = max(0.0, heights[names[-1]] - (HEIGHT - BOTTOM)) if names else 0.0
    return {name: y - over for name, y in heights.items()}


def digit(image: Sequence[Sequence[float]], size: float = 88.0) -> str:
    """Pixels as squares, ink dark on white."""
    side = size / len(image)
    drawn = tag("rect", x=0, y=0, width=size, height=size, class_="paper")
    for row, line in enumerate(image):
        for column, ink in enumerate(line):
            if ink > 0:
                at = f"{side + 0.3:.2f}"
                drawn += tag("rect", class_="ink", fill_opacity=float(ink), x=column * side, y=row * side, width=at, height=at)
    return svg(drawn, size, size, "a digit")


def probabilities(shares: Sequence[float], truth: int, width: float = 150.0, height: float = 66.0) -> str:
    """One bar per class; the true class is filled green, a wrong winner red."""
    step, base = width / len(shares), height - 15
    winner = max(range(len(shares)), key=lambda i: shares[i])
    drawn = tag("line", x1=0, x2=width, y1=base, y2=base, class_="grid")
    for i, share in enumerate(shares):
        kind = "right" if i == truth else "wrong" if i == winner else "other"
        drawn += tag("rect", x=i * step + 2, y=base - share * (base - 4), width=step - 4, height=max(share * (base - 4), 0.5), class_=kind)
        drawn += label(i * step + step / 2, height - 2, str(i), kind="tick" + (" winner" if i == winner else ""))
    return svg(drawn, width, height, "class probabilities")
