"""Pages print on A4: nothing is wider than the paper, no row is cut, details are open, and text is dark on white."""

import pytest
from chromium import needs_chromium
from kinds_of_pages import PAGES
from paper import GOOD, on_paper

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]


@pytest.mark.parametrize("make", PAGES)
def test_nothing_is_cut_or_pale_on_paper(make, tmp_path, finished):
    assert on_paper(make(tmp_path, finished[0])) == GOOD


def test_what_is_cut_or_pale_is_found(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        """<!doctype html><style>@page { size: A5 } body { background: #111; color: #eee }
        pre { width: 9rem; overflow: auto }</style><nav>Other pages</nav>
        <pre>a line that is longer than its box is wide, which scrolls</pre>
        <table style="width: 1000px"><tr><td>a row</table><details><summary>More</summary><p>hidden</p></details>""",
        encoding="utf-8",
    )
    seen = on_paper(page)
    assert {fault for fault in GOOD if seen[fault] == GOOD[fault]} == set()
