"""The gallery of the documentation: its page and its reports say the same, and every report opens."""

import html
import re
import runpy
import shutil
from pathlib import Path

import pytest
from chromium import LOOKS, browse, needs_chromium, violations

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")
COMMANDS = runpy.run_path(str(DOCS / "gallery.py"))["commands"]()
REPORTS = sorted((DOCS / "gallery").glob("*.html"))


def verdict(text):
    """The sentences at the top of a report."""
    found = re.search(r"<h1>(.*?)</h1>(?:\s*<p class=\"rest\">(.*?)</p>)?", text, flags=re.DOTALL)
    return html.unescape(" ".join(filter(None, found.groups())))


def test_page_and_files_agree():
    names = [path.stem for path in REPORTS]
    assert sorted(COMMANDS) == names
    assert sorted(set(re.findall(r'<a href="gallery/(\w+)\.html">', PAGE))) == names


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_has_the_command_and_the_verdict_of_the_page(path):
    text = path.read_text(encoding="utf-8")
    assert COMMANDS[path.stem][-1] in [
        html.unescape(code) for code in re.findall(r"<pre[^>]*><code>(.*?)</code>", text)
    ]
    part = PAGE.partition(COMMANDS[path.stem][-1])[2]
    quoted = " ".join(
        line[2:] for line in re.search(r"(?:^> .*\n)+", part, flags=re.MULTILINE)[0].splitlines()
    )
    assert quoted == verdict(text)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_names_no_place_of_its_machine(path):
    words = re.sub(r"data:image/[^\"]*", "", path.read_text(encoding="utf-8"))
    assert re.findall(r"(?<![\w/<.:])/(?:home|root|tmp|work|Users|mnt|var|opt)\b\S*|[A-Z]:\\\S*", words) == []


@pytest.mark.slow
@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_opens_without_a_fault(path, look, tmp_path):
    copy = Path(shutil.copy(path, tmp_path))
    assert browse(copy)[1] == []
    assert violations(copy, *LOOKS[look]) == []
