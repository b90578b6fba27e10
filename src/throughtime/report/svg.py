"""A matplotlib figure as SVG to be placed inside a page: its type, its colours, its width.

Letters stay letters, in the fonts of the page, so that every script and symbol shows and can be
searched. The same figure gives the same bytes: no date, no random names.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

_XLINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font-family:[^;]*;?|font:\s*(?:\S+\s+)*?([\d.]+px)[^;]*(;?)")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def to_svg(
    figure: Figure, variables: Mapping[str, str], prefix: str = "tt", label: str = ""
) -> str:
    """The figure as one ``<svg>`` element, as wide as its surroundings allow.

    ``variables`` names a CSS variable for each colour (``#rrggbb``) that a page may change;
    ``prefix`` begins every id, and makes them unique in the page; ``label`` tells a reader who
    cannot see the picture what it shows.
    """
    root = ElementTree.fromstring(_drawn(figure))
    for child in list(root):
        if _local(child.tag) in {"metadata", "defs"} and not child.findall(".//*[@id]"):
            root.remove(child)
    names = _references(root, prefix)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element, names, variables)
        element.tail = None
        element.text = element.text if element.tag in {"text", "tspan"} else None
    width, height = (
        float(root.attrib.pop(side).removesuffix("pt")) for side in ("width", "height")
    )
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        **({"aria-label": label} if label else {}),
        "style": f"width:100%;max-width:{1.45 * width:.0f}px;height:auto;stroke-linejoin:round",
    }
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _drawn(figure: Figure) -> str:
    out = io.StringIO()
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser brings the font
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _references(root: ElementTree.Element, prefix: str) -> dict[str, str]:
    """A new name for each id that something in the picture refers to, in order of appearance."""
    used: dict[str, str] = {}
    for element in root.iter():
        for key, text in element.attrib.items():
            found = _REFERENCE.findall(text)
            if key == _XLINK and text.startswith("#"):
                found = [text[1:]]
            for name in found:
                used.setdefault(name, f"{prefix}-{len(used)}")
    return used


def _attributes(
    element: ElementTree.Element, names: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    kept = {}
    for key, text in element.attrib.items():
        if key == "id":
            if text in names:
                kept[key] = names[text]
        elif key == _XLINK:
            kept["href"] = f"#{names[text[1:]]}" if text.startswith("#") else "".join(text.split())
        elif key == "style":
            kept[key] = _styled(text, variables)
        elif key in {"d", "transform", "points"}:
            kept[key] = _LONG_NUMBER.sub(lambda m: f"{float(m[0]):.2f}", " ".join(text.split()))
        else:
            kept[_local(key)] = _REFERENCE.sub(lambda m: f"url(#{names[m[1]]})", text)
    return kept


def _styled(text: str, variables: Mapping[str, str]) -> str:
    """The style with the page's fonts and, where it named a known colour, the page's colours."""
    text = _FONT.sub(lambda m: f"font-size: {m[1]}{m[2]}" if m[1] else "", text)
    return re.sub(
        r"#[0-9a-f]{6}\b",
        lambda m: f"var({variables[m[0]]}, {m[0]})" if m[0] in variables else m[0],
        text,
    )


def _local(name: str) -> str:
    return name.rpartition("}")[2]
