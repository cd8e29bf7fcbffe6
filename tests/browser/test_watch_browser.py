"""The page of `understudy watch` in a real browser: it renews itself, keeps focus and position, and is usable."""

import shutil
import threading
from contextlib import contextmanager
from importlib.resources import files

import pytest
import uvicorn
from chromium import CHROMIUM, needs_chromium
from playwright.sync_api import sync_playwright
from watched import AFTER_ADAPT, FIXTURE, hold, note, running, whole

from understudy.commands.watch_server import make_app, open_socket

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]
LOOKS = [(width, colours) for width in (1280, 390) for colours in ("light", "dark")]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watching(folder):
    """The address of the pages of a folder."""
    listening = open_socket(0)
    server = uvicorn.Server(uvicorn.Config(make_app(folder), log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def opened(chromium, folder, *, width=1280, colours="light", scripts=True):
    """An open page of a folder; nothing may be logged on its console."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=colours, java_script_enabled=scripts
    )
    page, logged = context.new_page(), []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    with watching(folder) as address:
        page.goto(address)
        yield page
        context.close()
    assert logged == []


def study(folder):
    whole(folder / "runs" / "5-repeat0")
    (folder / "runs" / "5-repeat0" / "report.html").write_text("<html></html>")
    running(folder / "runs" / "10-repeat0")
    return folder


def waiting(folder):
    return folder


def finished(folder):
    whole(folder)
    (folder / "report.html").write_text("<html></html>")
    return folder


def damaged(folder):
    running(folder, message="draw: warning: " + "a" * 200)
    (folder / "stages" / "load.json").write_text("{")
    return folder


def test_it_shows_stages_images_and_curves(chromium, tmp_path):
    with opened(chromium, running(tmp_path / "run")) as page:
        assert page.locator(".stages li").count() == 2 + len(AFTER_ADAPT)
        assert page.locator(".stages .state.running").inner_text() == "running"
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert len(widths) == 4 and all(widths)
        assert page.locator("#losses svg").bounding_box()["height"] > 100
        loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []


def test_an_open_page_follows_the_folder_and_keeps_focus_and_position(chromium, tmp_path):
    folder = tmp_path / "run"
    with opened(chromium, folder) as page:
        assert "Waiting for a run" in page.locator("h1").inner_text()
        running(folder)
        page.locator(".stages .state.running").wait_for()
        page.locator("#arms").wait_for(state="detached")
        page.locator("#pause").focus()
        page.evaluate("scrollTo(0, 400)")
        before = page.locator("#images h2").bounding_box()["y"]
        note(folder, done=77, message="a new line")
        shutil.copytree(FIXTURE / "arms", folder / "arms")
        page.locator("#arms svg").wait_for()
        assert page.locator("[role=progressbar]").get_attribute("aria-valuenow") == "77"
        assert page.locator(".messages li").first.inner_text() == "a new line"
        assert page.evaluate("document.activeElement.id") == "pause"
        assert abs(page.locator("#images h2").bounding_box()["y"] - before) < 2
        page.locator("[role=region]").focus()
        note(folder, done=90)
        page.locator("[aria-valuenow='90']").wait_for()
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
            "Finished trainings"
        )
        for stage in AFTER_ADAPT:
            shutil.copy(FIXTURE / "stages" / f"{stage}.json", folder / "stages")
        shutil.copy(FIXTURE / "results.json", folder)
        (folder / "report.html").write_text('<link rel="icon" href="data:,"><p>the report')
        page.get_by_text("Open the report").click()
        assert page.locator("p").inner_text() == "the report"


def test_updates_can_be_paused(chromium, tmp_path):
    folder = running(tmp_path / "run")
    with opened(chromium, folder) as page:
        page.locator("#pause").press("Enter")
        assert page.locator("#pause").get_attribute("aria-pressed") == "true"
        note(folder, done=99)
        page.wait_for_timeout(3000)
        assert page.locator("[aria-valuenow='30']").count() == 1
        page.locator("#pause").press("Enter")
        page.locator("[aria-valuenow='99']").wait_for()


def test_without_scripts_the_page_is_complete_and_can_be_reloaded(chromium, tmp_path):
    folder = running(tmp_path / "run")
    with opened(chromium, folder, scripts=False) as page:
        assert page.locator(".stages li").count() == 2 + len(AFTER_ADAPT)
        assert not page.locator("#pause").is_visible()
        note(folder, done=42)
        page.locator(
            "noscript a"
        ).click()  # by its text it would not be found: Playwright takes noscript for a script
        page.locator("[aria-valuenow='42']").wait_for()


@pytest.mark.parametrize("make", [waiting, running, damaged, finished, study])
def test_no_rule_is_broken_and_everything_fits(make, chromium, tmp_path):
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    folder = make(tmp_path / "folder")
    for width, colours in LOOKS:
        with opened(chromium, folder, width=width, colours=colours) as page:
            page.evaluate(axe)
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), (width, colours)


@pytest.mark.parametrize(
    ("make", "stops"),
    [
        (running, ["Pause updates"]),
        (finished, ["Open the report", "Pause updates", "Finished trainings of every arm"]),
        (study, ["Pause updates", "State of every run", "10-repeat0", "5-repeat0", "report of 5-repeat0"]),
    ],
)
def test_tab_reaches_everything_in_order_with_a_visible_focus(make, stops, chromium, tmp_path):
    code = """(() => {
      const element = document.activeElement, style = getComputedStyle(element);
      const name = element.getAttribute("aria-label") ?? element.textContent;
      return [name, style.outlineStyle, parseFloat(style.outlineWidth), element.getBoundingClientRect().height];
    })()"""
    with opened(chromium, make(tmp_path / "folder")) as page:
        reached = []
        for _ in stops:
            page.keyboard.press("Tab")
            name, outline, width, height = page.evaluate(code)
            reached.append(name)
            assert outline != "none" and width >= 2 and height > 10, name
        assert reached == stops
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body")


def test_a_run_of_a_study_leads_back_to_the_list(chromium, tmp_path):
    with opened(chromium, study(tmp_path / "study")) as page:
        page.get_by_text("10-repeat0").click()
        page.locator(".stages .state.running").wait_for()
        hold(tmp_path / "study" / "runs" / "10-repeat0", process=999_999_999)
        page.locator(".stages .state.stopped").wait_for()
        page.get_by_text("All runs of this folder").click()
        assert page.locator("tbody tr").count() == 2
