"""Pages in headless Chromium."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "report"))  # the samples that pages are made of
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--v=0",
]
LOOKS = {
    "wide, light": ("--window-size=1280,900",),
    "narrow, dark": ("--window-size=390,844", "--blink-settings=preferredColorScheme=0"),
}
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is missing: install the package chromium, or set CHROMIUM to its path"
)


def browse(page: Path, *options: str, query: str = "") -> tuple[str, list[str]]:
    """The page's DOM after loading, and what was logged on its console."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        *QUIET,
        f"--user-data-dir={page.parent / 'profile'}",
        *options,
        "--dump-dom",
        f"{page.as_uri()}{query}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def run_in(page: Path, code: str, *options: str, library: str = "") -> Any:
    """What an expression comes to once the page is loaded; it stands in a copy, since the page itself forbids
    foreign scripts.

    Args:
        page: an HTML file with a content security policy.
        code: JavaScript that gives something for JSON; it may wait.
        options: for Chromium.
        library: a script that the expression needs.
    """
    copy = page.with_name("probed.html")
    script = f"""<script>{library}</script><script>
    addEventListener("load", async () => {{
      const output = document.createElement("pre");
      output.id = "probe";
      output.textContent = JSON.stringify(await (async () => ({code}))());
      document.body.append(output);
    }});
    </script>"""
    text, count = re.subn(
        r'<meta http-equiv="Content-Security-Policy".*?>', lambda _: script, page.read_text(encoding="utf-8")
    )
    assert count == 1
    copy.write_text(text, encoding="utf-8")
    dom, _ = browse(copy, *options)
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert found is not None, dom[-2000:]
    return json.loads(html.unescape(found[1]))


def violations(page: Path, *options: str) -> list[tuple[str, str, list[str]]]:
    """Rule, what it asks for, and the places that break it, a second after loading: scripts may mend a page.

    Args:
        page: an HTML file with a content security policy.
        options: for Chromium.
    """
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    wait = "await new Promise(done => setTimeout(done, 1000))"
    code = f"({wait}, await axe.run(document, {{resultTypes: ['violations']}})).violations"
    found = run_in(page, code, "--virtual-time-budget=60000", *options, library=axe)
    return [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"]]) for each in found]


@contextmanager
def opened(page: Path, **look: Any) -> Iterator[Page]:
    """The page in a browser that takes keys and prints.

    Args:
        page: an HTML file.
        look: for the tab, such as ``viewport`` and ``color_scheme``.
    """
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET[1:5])
        try:
            tab = browser.new_page(**look)
            tab.goto(page.as_uri())
            yield tab
        finally:
            browser.close()
