"""A small canvas for charts: scales, ticks, axes and labels as inline SVG.

ElementTree escapes text and keeps the markup well-formed. Colours and fonts come from the page's style sheet
through class names, so one chart serves light and dark screens and paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from markupsafe import Markup

Point = tuple[float, float]


def nice_step(span: float, target: int) -> float:
    """The step of 1, 2, 2.5 or 5 times a power of ten that cuts ``span`` into about ``target`` parts."""
    raw = span / max(target, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= raw * (1 - 1e-9))


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round values that enclose ``[low, high]``; if both are equal, with room on both sides.

    Raises:
        ValueError: the ends are not finite or run backwards.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"cannot draw an axis from {low} to {high}")
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) / 2 or 1.0
        low, high = (0.0, high + pad) if low >= 0 else (low - pad, high + pad)
    step = nice_step(high - low, target)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass
class Canvas:
    """A plot area with linear scales, inside margins that hold the axes.

    All lengths are SVG user units; ``x`` and ``y`` are (lowest, highest) in data units. ``left``, ``right``,
    ``top`` and ``bottom`` are the edges of the plot area.
    """

    name: str
    title: str
    description: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 400
    height: float = 280
    margins: tuple[float, float, float, float] = (26, 12, 44, 46)  # top, right, bottom, left
    css: str = "chart"
    root: ET.Element = field(init=False)

    def __post_init__(self) -> None:
        """Open the drawing with its accessible name and description."""
        top, right, bottom, left = self.margins
        self.left, self.right = left, self.width - right
        self.top, self.bottom = top, self.height - bottom
        title_id, description_id = f"{self.name}-title", f"{self.name}-desc"
        self.root = ET.Element(
            "svg",
            {
                "class": self.css,
                "viewBox": f"0 0 {_n(self.width)} {_n(self.height)}",
                "role": "img",
                "aria-labelledby": f"{title_id} {description_id}",
            },
        )
        ET.SubElement(self.root, "title", {"id": title_id}).text = self.title
        ET.SubElement(self.root, "desc", {"id": description_id}).text = self.description

    def px(self, value: float) -> float:
        """Horizontal position of a data value."""
        low, high = self.x
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def py(self, value: float) -> float:
        """Vertical position of a data value."""
        low, high = self.y
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)

    def add(self, tag: str, css: str, tip: str = "", **attributes: float | str) -> ET.Element:
        """Append an element; numbers are rounded, underscores become hyphens, ``tip`` shows on hover."""
        shown = {
            k.replace("_", "-"): v if isinstance(v, str) else _n(v) for k, v in attributes.items() if v != ""
        }
        element = ET.SubElement(self.root, tag, {"class": css, **shown})
        if tip:
            ET.SubElement(element, "title").text = tip
        return element

    def text(self, x: float, y: float, text: str, css: str = "note", anchor: str = "start") -> None:
        """Write text at a position in user units; ``anchor`` is start, middle or end."""
        self.add("text", css, x=x, y=y, text_anchor="" if anchor == "start" else anchor).text = text

    def line(self, a: Point, b: Point, css: str) -> None:
        """Draw a straight line between two points in data units."""
        self.add("line", css, x1=self.px(a[0]), y1=self.py(a[1]), x2=self.px(b[0]), y2=self.py(b[1]))

    def path(self, points: Sequence[Point], css: str, closed: bool = False) -> None:
        """Join points in data units; a single point draws nothing."""
        if len(points) < 2:
            return
        steps = " L".join(f"{_n(self.px(x))} {_n(self.py(y))}" for x, y in points)
        self.add("path", css, d=f"M{steps}{'Z' if closed else ''}")

    def dot(self, point: Point, css: str = "dot", radius: float = 3.5, tip: str = "") -> None:
        """Draw a point; ``tip`` shows on hover."""
        self.add("circle", css, tip, cx=self.px(point[0]), cy=self.py(point[1]), r=radius)

    def column(self, low: float, high: float, value: float, css: str = "column", tip: str = "") -> None:
        """Draw a column from the baseline, with a hairline to its neighbours."""
        left, right, top = self.px(low) + 0.75, self.px(high) - 0.75, self.py(value)
        width, height = max(right - left, 0.5), max(self.bottom - top, 0)
        self.add("rect", css, tip, x=left, y=top, width=width, height=height)

    def x_axis(self, ticks: Iterable[tuple[float, str]], title: str) -> None:
        """Draw the base line, tick labels below it and the axis title under those."""
        self.add("line", "axis", x1=self.left, y1=self.bottom, x2=self.right, y2=self.bottom)
        for value, label in ticks:
            at = self.px(value)
            self.add("line", "axis", x1=at, y1=self.bottom, x2=at, y2=self.bottom + 4)
            self.text(at, self.bottom + 17, label, "tick", "middle")
        self.text((self.left + self.right) / 2, self.height - 6, title, "axis-title", "middle")

    def y_axis(self, ticks: Iterable[tuple[float, str]], title: str) -> None:
        """Draw a grid line and a label for each tick, and the title horizontally above them."""
        for value, label in ticks:
            at = self.py(value)
            self.add("line", "grid", x1=self.left, y1=at, x2=self.right, y2=at)
            self.text(self.left - 7, at + 4, label, "tick", "end")
        self.text(2, 12, title, "axis-title")

    def markup(self) -> Markup:
        """The drawing as HTML."""
        return Markup(ET.tostring(self.root, encoding="unicode"))  # ElementTree has escaped it


def _n(value: float) -> str:
    """A coordinate with at most two decimals; ``+ 0.0`` takes the sign off a rounded zero."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
