"""A page as it is printed on A4."""

import re
from pathlib import Path
from typing import Any

from chromium import opened

ACROSS = 687
"""CSS pixels between the margins: 210 mm less twice 14 mm, at 96 to an inch."""
GOOD: dict[str, Any] = {
    "page": ACROSS,
    "paper": "rgb(255, 255, 255)",
    **{fault: [] for fault in ("wide", "scrolled", "cut", "closed", "light", "left")},
    "sides": {(595, 842)},
}
"""What :func:`on_paper` sees on a page without fault."""
SEEN = """() => {
  const name = one => `${one.tagName} ${one.id || one.className?.baseVal || one.className || ""} ${one.textContent.trim().slice(0, 40)}`;
  const shown = selector => [...document.querySelectorAll(selector)].filter(one => one.checkVisibility());
  const level = part => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map(Number);
    return 0.2126 * level(red) + 0.7152 * level(green) + 0.0722 * level(blue);
  };
  const behind = one => {
    const colour = one ? getComputedStyle(one).backgroundColor : "rgb(255, 255, 255)";
    return /^rgba\\(.*, 0\\)$/.test(colour) ? behind(one.parentElement) : light(colour);
  };
  const contrast = one => (behind(one) + 0.05) / (light(getComputedStyle(one)[one instanceof SVGElement ? "fill" : "color"]) + 0.05);
  const own = one => [...one.childNodes].some(part => part.nodeType === Node.TEXT_NODE && part.textContent.trim());
  return {
    page: document.documentElement.scrollWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    wide: shown("table, img, svg, pre, figure, code").filter(one => {
      const { left, right } = one.getBoundingClientRect();
      return left < -1 || right > innerWidth + 1;
    }).map(name),
    scrolled: shown("body *").filter(one =>
      one.clientWidth && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible").map(name),
    cut: shown("tr, figure, .closest li, .steps li").filter(one => getComputedStyle(one).breakInside !== "avoid").map(name),
    closed: shown("details").filter(one => !one.lastElementChild.checkVisibility()).map(name),
    light: shown("body *").filter(one => own(one) && contrast(one) < 4.5).map(name),
    left: shown("nav, #browser, .skip, dialog").map(name),
  };
}"""


def on_paper(page: Path) -> dict[str, Any]:
    """What can be wrong with a page on paper, for a reader whose screen is dark, and the sides of its sheets."""
    with opened(page, viewport={"width": ACROSS, "height": 1016}, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        seen = tab.evaluate(SEEN)
        paper = tab.pdf(prefer_css_page_size=True)
    sides = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox ?\[([^\]]*)\]", paper)}
    return {**seen, "sides": {(round(width), round(height)) for _, _, width, height in sides}}
