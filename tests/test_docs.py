"""The documentation names what the code has, its links lead somewhere, and its Python is Python."""

import ast
import importlib
import json
import re
import runpy
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer

from understudy.cli import app
from understudy.commands.names import CATALOGUE
from understudy.core.config import flatten
from understudy.core.registry import Registry
from understudy.curation import scores
from understudy.pipeline.run import STAGES
from understudy.settings import build

ROOT = Path(__file__).parent.parent
# Generated pages and decisions do not count: users read the others.
PAGES = [page for folder in (".", "methods", "how_to") for page in (ROOT / "docs" / folder).glob("*.md")]
USER_TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "settings.md")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "understudy" / "generators").rglob("*.md")]
)


def name_of(page):
    return str(page.relative_to(ROOT))


def python_blocks(page):
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


def anchors(page):
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("kind", list(CATALOGUE))
def test_every_registered_name_is_documented(kind):
    assert [name for name in CATALOGUE[kind] if f"`{name}`" not in USER_TEXT] == []


def test_pages_that_are_written_by_the_generator_are_fresh():
    for path, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: make docs"


def test_every_setting_is_documented_with_its_default():
    settings = build({"data": {"source": "digits"}}).model_dump(mode="json")
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [
        f"| `{section}.{key}` | `{json.dumps(value)}` |"
        for section, values in settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if (section, key) != ("data", "source")
    ]
    assert [row for row in rows if row not in text] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_relative_links_resolve(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not re.match(r"[a-z]+:", link) and not (
            target.exists() and (not anchor or anchor in anchors(target))
        ):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_python_blocks_compile(page):
    for block in python_blocks(page):
        compile(block, name_of(page), "exec")


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_python_blocks_import_names_that_exist(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "understudy":
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_worked_example_is_a_score(monkeypatch, train):
    """The example of CONTRIBUTING keeps what the contract suite asks of a score."""
    monkeypatch.setattr(scores, "SCORES", Registry("score"))
    (example,) = python_blocks(ROOT / "CONTRIBUTING.md")
    exec(compile(example, "CONTRIBUTING.md", "exec"), {})  # noqa: S102 - our own text

    class Judge:
        def predict(self, data):
            return np.tile([0.25, 0.75], (len(data), 1))

    given = scores.SCORES["self-confidence"](train, Judge())
    np.testing.assert_array_equal(given, np.where(train.labels == 1, 0.75, 0.25))


def test_the_results_pages_are_what_the_result_files_say():
    from benchmarks.render import pages

    stored = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "results").glob("*.md")
    }
    assert stored == pages(ROOT / "benchmarks" / "results")


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_tables_in_pages_are_what_the_result_files_say(page):
    from benchmarks.render import with_tables

    text = page.read_text(encoding="utf-8")
    assert text == with_tables(text, ROOT / "benchmarks" / "results")
    # Markdown takes a line that begins with a comment for HTML, which ends the sentence before it.
    assert not re.findall(r"^<!-- \w+ \|", text, re.MULTILINE)


def intervals_in(stored):
    """Mean, low and high of every interval in the content of a result file."""
    if isinstance(stored, dict):
        mean, low, high = stored.get("value", stored.get("mean")), stored.get("low"), stored.get("high")
        if all(isinstance(end, int | float) for end in (mean, low, high)):
            yield mean, low, high
    for inner in stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ():
        yield from intervals_in(inner)


@pytest.mark.parametrize("name", ["README.md", "docs/findings.md", "docs/demo.md"])
def test_figures_with_an_interval_are_in_a_result_file(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(
        r"<!-- first table of .*?<!-- end of", "", text, flags=re.DOTALL
    )  # written by benchmarks.render
    number = r"([-+]?\d+(?:\.\d+)?)"
    figures = set(re.findall(rf"{number}(?:%| points)?(?: of it)?\s+\[{number}, {number}\]", text))
    assert len(figures) == len(re.findall(rf"\[{number}, {number}\]", text)) > 0
    files = (ROOT / "benchmarks" / "results").rglob("*.json")
    known = [found for path in files for found in intervals_in(json.loads(path.read_text(encoding="utf-8")))]
    signed = [*known, *((-mean, -high, -low) for mean, low, high in known)]  # better or worse, in words
    shown = {
        tuple(f"{scale * end:.{digits}f}" for end in found)
        for digits in (0, 1)
        for scale in (1, 100)
        for found in signed
    }
    assert figures <= shown


def commands_in(page):
    """Command lines in blocks of code and in sentences; a letter that stands for a number becomes one."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(understudy [^`\n]+)`", text)
    found = {line.partition(" #")[0].strip() for line in lines if line.startswith("understudy ")}
    return sorted(re.sub(r" [NK]\b", " 3", line.replace(" --form FORM", "")) for line in found)


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if page.stem != "CHANGELOG"], ids=name_of)
def test_commands_can_be_typed(page):
    """Names of commands and options exist; a sentence may leave out arguments and values."""
    known = typer.main.get_command(app).commands
    wrong = []
    for line in commands_in(page):
        _, name, *words = shlex.split(line)
        try:
            known[name].make_context(name, words)
        except Exception as error:  # noqa: BLE001 - those of typer's parser have no public names
            is_mention = type(error).__name__ in ("MissingParameter", "BadOptionUsage")
            if not (is_mention and f"`{line}`" in page.read_text(encoding="utf-8")):
                wrong.append((line, error))
    assert wrong == []


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if page.stem != "CHANGELOG"], ids=name_of)
def test_settings_in_commands_exist(page):
    known = flatten(build({"data": {"source": "digits"}}).model_dump(mode="json"))
    words = [pair for line in commands_in(page) for pair in pairwise(shlex.split(line))]
    named = [word.partition("=")[0] for before, word in words if before == "--set"]
    assert [key for key in named if key not in known] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how_to").glob("*.md")), ids=name_of)
def test_how_to_pages_are_short(page):
    assert len(page.read_text(encoding="utf-8").splitlines()) < 60


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


AUDITED = [ROOT / "docs" / "faithfulness.md", ROOT / "docs" / "limits.md"]


def code_spans(page):
    return re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", AUDITED, ids=name_of)
def test_every_setting_named_in_an_audit_exists(page):
    sections = build({"data": {"source": "digits"}}).model_dump(mode="json")
    named = [
        span for span in code_spans(page) if span.split(".")[0] in sections and re.match(r"\w+\.\w", span)
    ]
    keys = [re.split(r"[ =]", span)[0].split(".") for span in named if not span.endswith(".py")]
    assert [key for section, key in keys if key not in sections[section]] == []


@pytest.mark.parametrize("page", AUDITED, ids=name_of)
def test_every_file_and_name_in_an_audit_exists(page):
    text = page.read_text(encoding="utf-8")
    files = {span for span in code_spans(page) if re.fullmatch(r"[\w/]+\.py", span)}
    found = {
        name: next((base / name for base in (ROOT, ROOT / "understudy") if (base / name).is_file()), None)
        for name in files
    }
    assert [name for name, path in found.items() if path is None] == []
    pairs = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    missing = [
        f"{name} in {file}"
        for name, file in pairs
        if not re.search(
            rf"^\s*(def|class) {name}\b|^{name}\b.*=", found[file].read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert missing == []
    assert {file for _, file in pairs} == files


def test_no_placeholder_is_left_in_the_readme():
    assert not re.findall(r"^[A-Z]+_[A-Z]+$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_commands_of_make_exist_and_say_what_they_do():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = re.findall(r"^([a-z]+):.*  ## ", makefile, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony.split() == described
    named = [
        name for page in DOCUMENTS for name in re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8"))
    ]
    assert [name for name in named if name not in described] == []


def test_contributing_names_every_registry():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "understudy").rglob("*.py"))
    registries = [
        name for source in sources for name in re.findall(r"^([A-Z]+): .*= Registry\(", source, re.MULTILINE)
    ]
    assert [name for name in registries if f"`{name}`" not in text] == []


def test_concepts_have_a_row_for_every_stage():
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| .* \| .* \| \[", text, re.MULTILINE)[: len(STAGES)] == [
        stage.name for stage in STAGES
    ]


def test_the_readme_says_what_style_inversion_costs_here():
    """Where Dataset Style Inversion is named, with the figure of the result file."""
    result = json.loads(
        (ROOT / "benchmarks" / "results" / "style_inversion.json").read_text(encoding="utf-8")
    )
    (claim,) = (
        claim for claim in result["claims"] if claim["claim"] == "synthetic, S* minus neutral-token, accuracy"
    )
    points = [100 * claim[end] for end in ("value", "low", "high")]
    (paragraph,) = (
        part
        for part in (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
        if "Style Inversion" in part
    )
    sentence = "with synthetic images alone changes by {:.1f} points [{:.1f}, {:.1f}]".format(*points)
    assert sentence in " ".join(paragraph.split())
