"""axe-core finds nothing to complain about on any page, wide or narrow, dark or light."""

import pytest
from chromium import LOOKS, needs_chromium, run_in, violations
from kinds_of_pages import PAGES, of_a_study

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]


def test_the_looks_differ(tmp_path):
    page = of_a_study(tmp_path, tmp_path)
    asked = "[innerWidth < 600, matchMedia('(prefers-color-scheme: dark)').matches]"
    assert [run_in(page, asked, *options) for options in LOOKS.values()] == [[False, False], [True, True]]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("make", PAGES)
def test_no_rule_is_broken(make, look, tmp_path, finished):
    assert violations(make(tmp_path, finished[0]), *LOOKS[look]) == []


def test_a_broken_rule_is_found(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><meta http-equiv="Content-Security-Policy" content=""><img src="data:,">',
        encoding="utf-8",
    )
    assert {"image-alt", "document-title", "html-has-lang"} <= {rule for rule, *_ in violations(page)}
