"""Pages print on A4: nothing is wider than the paper, no row is cut, details are open, and text is dark on white."""

import re

import pytest
from chromium import needs_chromium, opened
from kinds_of_pages import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]

ACROSS = 687
"""CSS pixels between the margins: 210 mm less twice 14 mm, at 96 to an inch."""
SEEN = """() => {
  const name = one => `${one.tagName} ${one.id || one.className?.baseVal || one.className || ""} ${one.textContent.trim().slice(0, 40)}`;
  const shown = selector => [...document.querySelectorAll(selector)].filter(one => one.checkVisibility());
  const level = part => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const contrast = colour => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map(Number);
    return 1.05 / (0.2126 * level(red) + 0.7152 * level(green) + 0.0722 * level(blue) + 0.05);
  };
  const own = one => [...one.childNodes].some(part => part.nodeType === Node.TEXT_NODE && part.textContent.trim());
  return {
    page: document.documentElement.scrollWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    wide: shown("table, img, svg, pre, figure, code").filter(one => {
      const { left, right } = one.getBoundingClientRect();
      return left < -1 || right > innerWidth + 1;
    }).map(name),
    cut: shown("tr, figure, .closest li, .steps li").filter(one => getComputedStyle(one).breakInside !== "avoid").map(name),
    closed: shown("details").filter(one => one.lastElementChild.getBoundingClientRect().height === 0).map(name),
    light: shown("body *").filter(one => own(one) && contrast(getComputedStyle(one)[one instanceof SVGElement ? "fill" : "color"]) < 4.5).map(name),
    left: shown("nav, #browser, .skip, dialog").map(name),
  };
}"""


@pytest.mark.parametrize("make", PAGES)
def test_nothing_is_cut_or_pale_on_paper(make, tmp_path, finished):
    page = make(tmp_path, finished[0])
    with opened(page, viewport={"width": ACROSS, "height": 1016}, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        seen = tab.evaluate(SEEN)
        paper = tab.pdf(prefer_css_page_size=True)
    assert seen == {
        "page": ACROSS,
        "paper": "rgb(255, 255, 255)",
        **{fault: [] for fault in ("wide", "cut", "closed", "light", "left")},
    }
    sides = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox ?\[([^\]]*)\]", paper)}
    assert {(round(width), round(height)) for _, _, width, height in sides} == {(595, 842)}
