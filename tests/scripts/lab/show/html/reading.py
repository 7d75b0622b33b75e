"""What a page shows, read back from its HTML without the code that wrote it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Element:
    def __init__(self, tag, attributes, parent=None):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children = []

    def __getitem__(self, name):
        return self.attributes[name]

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, *tags, **attributes):
        wanted = {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()}
        return [
            element
            for element in self.walk()
            if element.tag in tags
            and all(element.attributes.get(name) == text for name, text in wanted.items())
        ]

    @property
    def text(self):
        """The text in it, but not that of pictures."""
        if self.tag in ("svg", "style"):
            return ""
        parts = (c.text if isinstance(c, Element) else c for c in self.children)
        return re.sub(r"\s+", " ", "".join(parts))


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {})

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes), self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag, attributes):
        self.at.children.append(Element(tag, dict(attributes), self.at))

    def handle_endtag(self, tag):
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(data)


def read(html):
    """The page as a tree; every element must be closed."""
    reader = _Reader()
    reader.feed(html)
    assert reader.at is reader.root
    return reader.root


def tables(element):
    """The tables in ``element``: caption and lines of cells, a spanning one repeated."""
    return [
        (next(iter(c.text.strip() for c in table.all("caption")), ""), grid(table))
        for table in element.all("table")
    ]


def table(element, caption):
    """The lines of the one table whose caption starts like this."""
    (found,) = (lines for text, lines in tables(element) if text.startswith(caption))
    return found


def grid(element):
    taken = {}
    for y, line in enumerate(element.all("tr")):
        x = 0
        for cell in line.all("th", "td"):
            while (y, x) in taken:
                x += 1
            across, down = (int(cell.attributes.get(s, 1)) for s in ("colspan", "rowspan"))
            # what stands below a figure, in small letters, is set off by a bar
            small = [s.text.strip() for s in cell.all("small")]
            text = cell.text.strip()
            for part in small:
                text = text.removesuffix(part).strip() + "|" + part
            taken.update({(y + j, x + i): text for i in range(across) for j in range(down)})
            x += across
    width = 1 + max(x for _, x in taken)
    height = 1 + max(y for y, _ in taken)
    return [[taken[y, x] for x in range(width)] for y in range(height)]


def pictures(html):
    """Every chart's SVG, by its caption, in order."""
    found = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>\s*(<svg.*?</svg>)", html, re.S)
    return [(caption, ElementTree.fromstring(svg)) for caption, svg in found]


def axis(svg, which):
    """From a place on the canvas to the value there, told by the labels of the ticks of an axis."""
    ticks = [
        (float(text.get(which)), float(text.text.replace(",", "")))
        for text in svg.iter("text")
        if text.get("class") == which
    ]
    (a, low), (b, high) = ticks[0], ticks[-1]
    return lambda place: low + (place - a) / (b - a) * (high - low)


def positions(svg):
    """The centres of the points, in order."""
    found = []
    for path in svg.iter("path"):
        if path.get("class") == "point":
            x, y = re.match(r"translate\((\S+) (\S+)\)", path.get("transform")).groups()
            found.append((float(x), float(y)))
    return found


def error_bars(svg):
    """The ends (low, high) of the bars, in order."""
    bars = (path.get("d") for path in svg.iter("path") if path.get("class") == "bar")
    return [tuple(map(float, re.match(r"M\S+ (\S+?)V(\S+?)M", bar).groups())) for bar in bars]
