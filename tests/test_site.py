"""The site: built without a warning, every link leads somewhere, and nothing comes from a network."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import LOOKS, browse, needs_chromium, violations
from paper import GOOD, on_paper

import understudy

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
KINDS = [
    "index",
    "settings",
    "reference/python",
    "tutorials/first_steps",
    "how_to/track_a_run",
    "methods/content_gap",
    "results/proof",
    "decisions/0001-dependencies",
    "gallery",
    "demo",
]
"""Pages of different content: prose, code, wide tables, formulas, figures, pictures in HTML."""


def build(docs, to, **environment):
    """What ``make docs`` does after the pages are written."""
    options = ("--fresh-env", "--fail-on-warning", "--keep-going", "--quiet", "-d", to.parent / "doctrees")
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, docs, to],
        cwd=ROOT,
        env=os.environ | {"DOCS_REPOSITORY": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


class Page(HTMLParser):
    """Links, anchors, headings and what a browser loads by itself."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.headings, self.loaded = [], set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values["id"]} if values.get("id") else set()
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("img", "script", "iframe", "source") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("href"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "html"
    done = build(ROOT / "docs", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """All but what is no page of ours, and the reports of the gallery, which have tests of their own."""
    others = {"_static", "gallery"}
    return {path: Page(path) for path in site.rglob("*.html") if not others & set(path.parts)}


def test_every_page_of_the_documentation_is_there(site, pages):
    written = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {path.relative_to(site) for path in pages} == {*written, Path("search.html")}


def leads_somewhere(link, path, pages):
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target in pages and parts.fragment:
        return unquote(parts.fragment) in pages[target].anchors
    return bool(parts.scheme) or target.is_file()


def test_every_link_leads_somewhere(pages):
    broken = [
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in page.links + page.loaded
        if not leads_somewhere(link, path, pages)
    ]
    assert broken == []


def test_files_outside_of_the_documentation_travel_with_the_site(site, pages):
    copied = [
        (path.parent / link).resolve()
        for path, page in pages.items()
        for link in page.links
        if "_downloads" in link
    ]
    assert {"photographs.py", "first_steps.ipynb", "CHANGELOG.md"} <= {path.name for path in copied}
    assert [path for path in copied if not path.is_file()] == []


def test_nothing_is_loaded_from_a_network(site, pages):
    assert [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )


def test_headings_are_in_order(pages):
    wrong = {
        path.name: page.headings
        for path, page in pages.items()
        if page.headings[0] != 1
        or page.headings.count(1) != 1
        or any(below > above + 1 for above, below in pairwise(page.headings))
    }
    assert wrong == {}


def test_heads_of_columns_and_buttons_of_the_navigation_have_names(pages):
    """axe sees a few pages, this sees all."""
    nameless = re.compile(r"<th\b[^>]*>\s*(<p>\s*</p>)?\s*</th>|<summary><span")
    assert [path.name for path in pages if nameless.search(path.read_text(encoding="utf-8"))] == []


def test_the_reference_has_every_public_name(pages, site):
    anchors = pages[site / "reference" / "python.html"].anchors
    assert {f"understudy.{name}" for name in understudy.__all__} <= anchors


def test_every_entry_of_the_reference_says_something(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    entries = dict(re.findall(r'<dt class="sig\b[^>]* id="([\w.]+)">.*?</dt>\s*<dd>(<p>.)?', text, re.DOTALL))
    assert {f"understudy.{name}" for name in understudy.__all__} < entries.keys()
    assert [name for name, begins in entries.items() if not begins] == []


@pytest.mark.browser
@needs_chromium
def test_search_works_in_a_file_without_a_server(site):
    dom, _ = browse(site / "search.html", "--virtual-time-budget=5000", query="?q=shadow+models")
    assert re.search(r'<a href="methods/membership\.html[^"]*"', dom)


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", [*KINDS, "search"])
def test_no_rule_of_accessibility_is_broken(site, name, look):
    page = site / f"{name}.html"
    copy = page.with_name("copy.html")  # with the place where scripts for a page are put
    policy = '<head><meta http-equiv="Content-Security-Policy" content="">'
    copy.write_text(page.read_text(encoding="utf-8").replace("<head>", policy, 1), encoding="utf-8")
    assert violations(copy, *LOOKS[look]) == []


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_cut_or_pale_on_paper(site, name):
    assert on_paper(site / f"{name}.html") == GOOD


FAULTS = {
    "[missing](missing.md)": "'missing.md'",
    "[no such heading](other.md#nothing)": "'nothing'",
    "[missing file](../missing.py)": "'../missing.py'",
    "### Too deep": "H1 to H3",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What a small documentation with every fault prints, and its site, with an address of the repository."""
    root = tmp_path_factory.mktemp("broken")
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", root / "docs")
    (root / "code.py").touch()
    (root / "NOTES.md").touch()
    links = "[code](../code.py), [notes](../NOTES.md) and [page](other.md#a-heading)"
    text = "\n\n".join(["# Index", links, *FAULTS])
    (root / "docs" / "index.md").write_text(text, encoding="utf-8")
    (root / "docs" / "other.md").write_text("# Other\n\n## A heading\n", encoding="utf-8")
    done = build(root / "docs", root / "html", DOCS_REPOSITORY="https://example.org/blob/main/")
    assert done.returncode == 1
    return done.stderr, root / "html"


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_fail(broken, fault):
    assert FAULTS[fault] in broken[0]


def test_pages_outside_of_the_navigation_and_entries_without_a_page_fail(broken):
    assert "other.md: WARNING: document isn't included in any toctree" in broken[0]
    assert "nonexisting document 'start'" in broken[0]


def test_links_to_files_outside_of_the_documentation_lead_to_the_repository(broken):
    links = Page(broken[1] / "index.html").links
    assert "https://example.org/blob/main/code.py" in links
    assert "https://example.org/blob/main/NOTES.md" in links
    assert "other.html#a-heading" in links
    assert not any("_downloads" in link for link in links)
