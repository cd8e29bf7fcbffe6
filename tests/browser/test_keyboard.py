"""Every page can be walked by keyboard: Tab reaches all there is to use, in order, visibly, and leads out again."""

import pytest
from chromium import needs_chromium, opened
from kinds_of_pages import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]

USABLE = "a[href], button, select, input, summary, [tabindex='0']"
NUMBER = f"""() => {{
  const usable = [...document.querySelectorAll("{USABLE}")].filter(one =>
    one.getAttribute("tabindex") !== "-1" && one.tabIndex >= 0 && !one.disabled && one.checkVisibility());
  usable.forEach((one, number) => one.setAttribute("data-stop", number));
  return usable.length;
}}"""
FOCUSED = """() => {
  const one = document.activeElement, look = getComputedStyle(one), box = one.getBoundingClientRect();
  return {
    stop: Number(one.dataset.stop ?? -1),
    name: one.outerHTML.slice(0, 120),
    outline: look.outlineStyle === "none" ? 0 : parseFloat(look.outlineWidth),
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    out: one === document.body,
  };
}"""


def walk(tab, most):
    """What has the focus after each Tab, until the focus leaves the page or comes back to its beginning."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        found = tab.evaluate(FOCUSED)
        if found["out"]:
            return
        yield found


@pytest.mark.parametrize("make", PAGES)
def test_tab_reaches_everything_in_order(make, tmp_path, finished):
    with opened(
        make(tmp_path, finished[0]), viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    ) as tab:
        if tab.locator("#browser").count():  # which fills when it comes into view
            tab.locator("#browser").scroll_into_view_if_needed()
            tab.locator("#tiles button").first.wait_for()
            tab.evaluate("scrollTo(0, 0)")
        number = tab.evaluate(NUMBER)
        met = list(walk(tab, number + 20))
        stops = [one["stop"] for one in met if one["stop"] >= 0]
        assert number > 0
        assert stops[:number] == list(range(number))
        assert [one["name"] for one in met if not one["outline"]] == []
        assert [one["name"] for one in met if not one["seen"]] == []


def test_the_skip_link_leads_to_the_figures(tmp_path, finished):
    with opened(finished[0] / "report.html") as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Enter")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.closest('main') !== null")


def test_an_image_opens_and_closes_by_keys(tmp_path, finished):
    with opened(finished[0] / "report.html") as tab:
        tile = tab.locator("#tiles button").first
        tab.locator("#browser").scroll_into_view_if_needed()
        tile.focus()
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.getElementById('detail').open")
        tab.keyboard.press("Escape")
        assert not tab.evaluate("document.getElementById('detail').open")
        assert tile.evaluate("tile => tile === document.activeElement")


def test_a_trap_and_an_invisible_focus_are_found(tmp_path):
    page = tmp_path / "bad.html"
    keep = "<script>addEventListener('keydown', event => event.preventDefault())</script>"
    page.write_text(f"<button style='outline: none'>a</button><button>b</button>{keep}", encoding="utf-8")
    with opened(page) as tab:
        tab.locator("button").first.focus()
        tab.evaluate(NUMBER)
        met = list(walk(tab, 3))
        assert [one["stop"] for one in met] == [0, 0, 0]
        assert met[0]["outline"] == 0
