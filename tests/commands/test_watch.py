"""The page of a run while it grows: what it shows in every state of a folder, and what it refuses."""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from tiny_job import times, tree
from watched import AFTER_ADAPT, half, hold, note, running, whole

from understudy.commands import watch_server
from understudy.commands.watch import watch
from understudy.commands.watch_server import make_app, open_socket
from understudy.commands.watched_folder import WatchedFolder
from understudy.core.errors import InputError


def page(folder):
    return WatchedFolder(folder).page()


def said(text):
    """The text of a page without its tags."""
    body = text[text.index("<body") : text.index("<script>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def states(text):
    """The state of every stage."""
    found = re.findall(r'<b>(\w+)</b><span class="state [\w-]+">([\w ]+)</span>', text)
    return dict(found)


# States of a folder


@pytest.mark.parametrize("made", [False, True])
def test_a_missing_or_empty_folder_is_waited_for(made, tmp_path):
    folder = tmp_path / "later"
    if made:
        folder.mkdir()
    assert "Waiting for a run to begin in this folder" in said(page(folder))
    assert folder.exists() is made


def test_a_folder_that_appears_is_shown(tmp_path):
    watched = WatchedFolder(tmp_path / "run")
    assert "Waiting" in watched.page()
    running(tmp_path / "run")
    assert states(watched.page())["draw"] == "running"


def test_another_folder_is_no_run(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert "This folder holds no run yet" in said(page(tmp_path))


def test_a_running_run_shows_stages_bar_images_and_curves(tmp_path):
    text = page(running(tmp_path / "run", message="draw: warning: mind the gap"))
    assert states(text) == {"load": "done", "adapt": "done", "draw": "running"} | dict.fromkeys(
        AFTER_ADAPT[1:], "to come"
    )
    words = said(text)
    assert "Now: draw" in words
    assert re.search(r"draw round-00 30 of 100 images 1\.0 images/s, about (69|70) s left", words)
    assert 'aria-valuenow="30"' in text
    assert text.count("<img") == 4  # real and synthetic ones of two classes
    assert 'alt="4 synthetic images of dog"' in text
    assert 'id="losses"' in text
    assert '<li class="warning">draw: warning: mind the gap</li>' in text
    assert "Open the report" not in words


def test_a_full_bar_says_that_its_stage_goes_on(tmp_path):
    folder = running(tmp_path / "run")
    note(folder, done=100)
    assert "100 of 100 images done; the stage is still at work" in said(page(folder))


def test_losses_are_shown_while_the_generator_adapts(tmp_path):
    folder = half(tmp_path / "run")
    (folder / "stages" / "adapt.json").unlink()
    (folder / "adapter" / "report.json").unlink()
    hold(folder)
    note(folder, text="adapt", unit="steps", measured={"val_loss": [[10, 0.5], [20, 0.25]]})
    assert 'id="losses"' in page(folder)
    note(folder, text="adapt", unit="steps", measured={"val_loss": [[10, 0.5]]})
    assert 'id="losses"' not in page(folder)  # one point is no curve


def test_a_killed_run_says_where_it_stopped_and_how_to_go_on(tmp_path):
    folder = half(tmp_path / "run")
    hold(folder, process=999_999_999)
    note(folder)
    text = page(folder)
    assert states(text)["draw"] == "stopped"
    assert "the run stopped in draw" in said(text) and "30 of 100 images when it stopped" in said(text)
    assert f"understudy run {folder}" in said(text)
    hold(folder)
    note(folder, done=60)
    assert "Now: draw" in said(page(folder)) and "60 of 100" in said(page(folder))


def test_a_run_without_locks_works_as_long_as_its_progress_is_fresh(tmp_path):
    folder = half(tmp_path / "run")
    note(folder)
    assert "Now: draw" in said(page(folder))
    old = json.loads((folder / "progress.json").read_text())
    (folder / "progress.json").write_text(json.dumps(old | {"written": old["written"] - 3600}))
    assert "the run stopped in draw" in said(page(folder))


def test_a_run_on_another_machine_is_believed_with_a_note(tmp_path):
    folder = half(tmp_path / "run")
    (folder / ".lock").write_text("process 3 on <elsewhere>")
    assert "Process 3 on &lt;elsewhere&gt; holds the folder" in page(folder)


def test_a_run_that_ended_early_waits(tmp_path):
    assert "2 of 11 stages are done; no process works here" in said(page(half(tmp_path / "run")))


def test_a_finished_run_of_an_older_version_shows_its_verdict_and_report(tmp_path):
    folder = whole(tmp_path / "run")
    assert "Open the report" not in page(folder)
    (folder / "report.html").write_text("<html>the report</html>")
    text = page(folder)
    assert set(states(text).values()) == {"done"}
    assert json.loads((folder / "results.json").read_text())["verdict"]["sentence"].split(":")[0] in said(
        text
    )
    assert 'href="/report.html"' in text
    assert "9 of 9" in said(text) and text.count('class="absent">it learns') == 0


def test_nothing_about_test_images_is_shown_before_the_run_is_finished(tmp_path):
    folder = whole(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["verdict"]["sentence"] = "a secret of the test images"
    (folder / "results.json").write_text(json.dumps(results))
    assert "a secret of the test images" in page(folder)
    (folder / "stages" / "compare.json").unlink()
    hold(folder)
    text = page(folder)
    assert "a secret" not in text and "Now: compare" in said(text)
    note(folder, message="gap: the gap of the test images")
    assert "the gap of the test images" not in page(folder)
    note(folder, message="shift: warning: copies")
    assert "shift: warning: copies" in page(folder)
    assert "9 of 9" in said(text)


def test_drawn_images_that_were_deleted_give_way_to_the_curated_ones(tmp_path):
    folder = whole(tmp_path / "run")
    shutil.rmtree(folder / "synthetic" / "images")
    assert page(folder).count("<img") == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00"])
@pytest.mark.parametrize(
    "name",
    [
        "stages/load.json",
        "stages/draw.json",
        "progress.json",
        "adapter/report.json",
        "results.json",
        "study.json",
    ],
)
def test_damaged_json_is_named_and_the_rest_is_shown(name, content, tmp_path):
    folder = whole(tmp_path / "run")
    (folder / name).write_text(content)
    text = page(folder)
    assert states(text)["compare"] == "done"
    if name.startswith("stages"):
        assert states(text)[name[7:-5]] == "damaged"
        assert "Files that cannot be read" in text


@pytest.mark.parametrize("content", ["", "nonsense: [", "data: {source: digits}\n", "\x00"])
def test_settings_that_cannot_be_read_are_named(content, tmp_path):
    folder = whole(tmp_path / "run")
    (folder / "settings.yaml").write_text(content)
    assert WatchedFolder(folder).page()


@pytest.mark.parametrize("name", ["synthetic/images/round-00/part-00000.parquet", "arms/real-seed0.npz"])
def test_a_file_that_is_replaced_while_it_is_read_is_read_at_the_next_look(name, tmp_path):
    folder = whole(tmp_path / "run")
    watched, file = WatchedFolder(folder), folder / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "Files that cannot be read" in watched.page()
    file.write_bytes(content)
    assert "Files that cannot be read" not in watched.page()
    file.unlink()
    assert "Files that cannot be read" not in watched.page()


def test_text_of_a_folder_is_text_on_the_page(tmp_path):
    folder = running(tmp_path / "<b>run", text="<script>alert(1)</script>", message='"><img src=x>')
    text = page(folder)
    assert "<script>alert" not in text and "<img src=x>" not in text and "<b>run" not in text


# Several runs


def test_a_study_is_a_list_of_its_runs(tmp_path):
    whole(tmp_path / "runs" / "5-repeat0")
    (tmp_path / "runs" / "5-repeat0" / "report.html").write_text("<html></html>")
    running(tmp_path / "runs" / "10 %-repeat0")
    (tmp_path / "study.yaml").write_text("kind: shots\n")
    watched = WatchedFolder(tmp_path)
    text = watched.page()
    assert "2 runs: 1 finished, 1 running" in said(text)
    assert 'href="/runs/5-repeat0/"' in text and 'href="/runs/5-repeat0/report.html"' in text
    assert 'href="/runs/10%20%25-repeat0/"' in text
    assert "Now: draw, draw round-00 30 of 100 images" in said(text)
    one = watched.page_of("10 %-repeat0")
    assert states(one)["draw"] == "running" and 'href="/"' in one


def test_a_study_tells_what_was_found_when_all_its_runs_are_finished(tmp_path):
    """Before, nobody should decide by the test images of some of them whether to go on."""
    for name in ("5-repeat0", "5-repeat1"):
        whole(tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "report.html").write_text("<html></html>")
    results = json.loads((tmp_path / "runs" / "5-repeat0" / "results.json").read_text())
    verdict = results["verdict"]["sentence"]
    (tmp_path / "study.yaml").write_text("kind: shots\n")
    (tmp_path / "study.html").write_text("<html></html>")
    (tmp_path / "study.json").write_text('{"sentence": "more shots help"}')
    watched = WatchedFolder(tmp_path)
    hold(tmp_path)  # it trains another run
    open_study = said(watched.page())
    assert "running" in open_study and "2 runs: 2 finished" in open_study
    assert not [told for told in ("more shots help", verdict, "Open the report") if told in open_study]
    hold(tmp_path, process=2**22 + 1)  # it was killed
    assert "stopped" in said(watched.page()) and "more shots help" not in said(watched.page())
    (tmp_path / ".lock").unlink()
    assert all(told in said(watched.page()) for told in ("more shots help", verdict, "Open the report"))


def test_a_run_of_a_study_that_was_stopped_names_no_command_of_its_own(tmp_path):
    half(tmp_path / "runs" / "a")
    hold(tmp_path / "runs" / "a", process=2**22 + 1)
    (tmp_path / "study.yaml").write_text("kind: shots\n")
    text = said(WatchedFolder(tmp_path).page_of("a"))
    assert "Go on with the command that began the study" in text and "understudy run" not in text


def test_a_folder_of_studies_says_to_give_one(tmp_path):
    whole(tmp_path / "x-repeats" / "runs" / "run-repeat0")
    assert "are watched one by one: give the folder of one of them" in said(page(tmp_path))


def test_names_that_are_no_utf8(tmp_path):
    try:
        whole(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9l")))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    app = make_app(tmp_path)
    assert ask(app)[0] == 200 and "1 runs: 1 finished" in said(ask(app)[2])


def test_a_folder_that_goes_while_it_is_read(tmp_path, monkeypatch):
    def gone(self):
        raise PermissionError(13, "Permission denied", "secret")

    monkeypatch.setattr(WatchedFolder, "_found", gone)
    text = said(page(tmp_path))
    assert "This folder cannot be read" in text and "Permission denied" in text


def test_a_study_without_runs_waits(tmp_path):
    (tmp_path / "study.yaml").write_text("kind: shots\n")
    assert "0 runs" in said(page(tmp_path))


def test_a_folder_of_runs_is_a_list_too(tmp_path):
    whole(tmp_path / "a"), half(tmp_path / "b")
    assert "2 runs: 1 finished, 1 waiting" in said(page(tmp_path))


# The folder is only read


@pytest.mark.parametrize("make", [whole, half, running])
def test_nothing_is_written_and_no_lock_is_taken(make, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a lock was asked for")

    folder = make(tmp_path / "run")
    before = tree(folder), times(folder)
    monkeypatch.setattr("understudy.core.lock._lock", refuse)
    page(folder)
    assert (tree(folder), times(folder)) == before


# The server


def ask(app, path="/", *, host="127.0.0.1:8642", method="GET", **headers):
    """Status, headers and content of an answer."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    names = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in names.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8642),
    }
    asyncio.run(app(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.fixture
def app(tmp_path):
    folder = whole(tmp_path / "run")
    (folder / "report.html").write_text("<html>the report</html>")
    (tmp_path / "secret.html").write_text("secret")
    return make_app(folder)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8642", "localhost:1", "LOCALHOST"])
def test_it_answers_to_its_own_name(host, app):
    status, headers, text = ask(app, host=host)
    assert status == 200 and "<h1" in text
    assert headers["content-type"].startswith("text/html")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "", "[::1]"])
def test_it_refuses_other_names(host, app):
    status, _, text = ask(app, host=host)
    assert status == 400 and "<h1" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/secret.html",
        "/../secret.html",
        "/..%2fsecret.html",
        "//etc/passwd",
        "/settings.yaml",
        "/data/test.parquet",
        "/stages/load.json",
        "/study.html",
        "/runs/../",
        "/runs/..%2f..%2f/report.html",
        "/runs/../report.html",
        "/runs/x/report.html",
        "/runs/x/",
        "/report.html/../settings.yaml",
        "/\x00",
    ],
)
def test_it_serves_nothing_but_its_pages(path, app):
    assert ask(app, path)[0] == 404


def test_it_only_reads(app):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(app, method=method)[0] == 405


def test_it_serves_the_report(app):
    assert ask(app, "/report.html")[2] == "<html>the report</html>"


def test_a_page_that_has_not_changed_is_not_sent_again(app):
    tag = ask(app)[1]["etag"]
    assert ask(app, if_none_match=tag)[::2] == (304, "")


def test_the_pages_of_a_study_have_addresses(tmp_path):
    whole(tmp_path / "runs" / "a b")
    (tmp_path / "runs" / "a b" / "report.html").write_text("of a run")
    (tmp_path / "study.html").write_text("of the study")
    app = make_app(tmp_path)
    assert "1 runs" in ask(app)[2]
    assert "<h1" in ask(app, "/runs/a b/")[2]
    assert ask(app, "/runs/a b/report.html")[2] == "of a run"
    assert ask(app, "/study.html")[2] == "of the study"


def test_a_taken_port_is_refused_or_another_one_is_used(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"port {port} of this machine cannot be used .*leave --port out"
        ):
            open_socket(port)
        monkeypatch.setattr(watch_server, "_USUAL_PORT", port)
        with open_socket(None) as other:
            assert other.getsockname()[0] == "127.0.0.1"
            assert other.getsockname()[1] != port


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(InputError, match=f"--port must be a number from 0 to 65535, got {port}"):
        open_socket(port)


def test_a_file_is_refused(understudy, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = understudy("watch", tmp_path / "file")
    assert code == 2 and "is a file: give the folder of a run" in err


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'starlette and uvicorn: pip install "understudy\[watch\]"'):
        watch(tmp_path)


@pytest.mark.parametrize("options", [(), ("--open",)])
def test_a_browser_shows_the_page_where_that_is_asked_for(options, understudy, tmp_path, monkeypatch):
    shown = []

    def show(address):
        with socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=5):  # it may be loaded
            shown.append(address)

    monkeypatch.setattr(webbrowser, "open", show)
    monkeypatch.setattr("understudy.commands.watch.serve", lambda *_, started: started())
    code, out, err = understudy("watch", tmp_path, *options)
    assert (code, err) == (0, "")
    assert shown == re.findall(r"http://127\.0\.0\.1:\d+/", out) * len(options)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_its_address_and_ends_quietly(number, tmp_path):
    command = [sys.executable, "-m", "understudy.cli", "watch", str(tmp_path / "later"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        with urlopen(address) as answer:  # noqa: S310
            assert b"Waiting for a run" in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
