"""Write the generated pages of the documentation: ``python docs/generate.py``, or ``make docs``."""

from __future__ import annotations

import ast
import inspect
import json
import re
from importlib import import_module
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

import understudy
from understudy.commands.names import CATALOGUE
from understudy.core.config import Section, facts_of, given_names, section_in
from understudy.pipeline.run import STAGES
from understudy.recipes import RECIPES
from understudy.settings import Settings, build, check_registered, differing_keys
from understudy.training.settings import Phase

DOCS = Path(__file__).parent
_MARK = re.compile("<!-- (differences|settings) of ")

_SETTINGS_INTRO = """# Settings

<!-- Written by docs/generate.py from understudy/*/settings.py. Do not edit this page: run `make docs`. -->

Every setting of a run, by section. Set one with `--set draw.times=5` or in [a settings
file](concepts.md#a-settings-file), which `understudy init` writes, or start from a preset or recipe, which
set several: see `understudy list presets` and `understudy list recipes`. Defaults are written as in JSON;
`null` means not set.

What a setting **decides** says what follows from it:

- **pixels**: what a drawn image looks like
- **result**: anything else that results follow from
- **card**: only what the cards of exports say
- **nothing**: memory, speed and the like; results stay the same up to rounding

A run that was stopped goes on with the same settings, with two exceptions: settings that decide *nothing* or
the *card* may change, and so may all settings of {addable}:
their stages can be added to a finished run.

A setting that another one makes idle is refused, not ignored; the last column says when each has an effect.
"""


def settings_page() -> str:
    """The page with one table per section."""
    example = build({"data": {"source": "digits"}})
    check_registered(example)  # imports every registry
    sections = {
        name: section for name, field in Settings.model_fields.items() if (section := section_in(field))
    }
    seed = {"seed": Settings.model_fields["seed"]}
    addable = [f"`{name}`" for name, section in sections.items() if section.addable]
    intro = _SETTINGS_INTRO.format(addable=f"{', '.join(addable[:-1])} and {addable[-1]}")
    parts = [intro, "## seed\n\n" + _table(Settings, seed, prefix="")]
    for name, section in sections.items():
        parts.append(
            f"## {name}\n\n{_summary(section)}\n\n{_table(section, section.model_fields, prefix=f'{name}.')}"
        )
    phases = (
        "Phases of the arms in `compare.own_arms`. What a phase leaves out of `optimiser`, `schedule`,\n"
        "`learning_rate`, `weight_decay`, `label_smoothing` and `augmentation` is taken from `compare`."
    )
    parts.append(f"## Phases of arms\n\n{phases}\n\n{_table(Phase, Phase.model_fields, prefix='')}")
    return "\n".join(parts)


def _summary(section: type[Section]) -> str:
    return inspect.cleandoc(section.__doc__ or "")


def _table(section: type[Section], fields: dict[str, FieldInfo], *, prefix: str) -> str:
    meanings = _meanings(section)
    rows = [
        "| setting | default | values | meaning | decides | has an effect if |",
        "|---|---|---|---|---|---|",
    ]
    for name, field in fields.items():
        facts = facts_of(field)
        default = "required" if field.is_required() else f"`{_as_json(field)}`"
        needs = "; ".join(dict.fromkeys(need.words for need in facts.needs)) or "always"
        cells = [f"`{prefix}{name}`", default, _values(field), meanings[name], facts.decides, needs]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _as_json(field: FieldInfo) -> str:
    return json.dumps(field.get_default(call_default_factory=True), ensure_ascii=True)


def _meanings(section: type[Section]) -> dict[str, str]:
    """The string below each field. pydantic could read these too, but at every import of the package."""
    body = next(iter(ast.parse(inspect.getsource(section)).body)).body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _values(field: FieldInfo) -> str:
    """Allowed values: choices, a registry, or a kind and its range."""
    facts = facts_of(field)
    if facts.expects:
        return facts.expects
    if facts.registry:
        registries = {id(registry): name for name, registry in CATALOGUE.items()}
        module, _, attribute = facts.registry.partition(":")
        registry = getattr(import_module(f"understudy.{module}"), attribute)
        return f"names in `understudy list {registries[id(registry)]}`"
    return _kind(field.annotation, _bounds(field.metadata))


def _kind(annotation: Any, bounds: str) -> str:
    """A type in words, with its range."""
    args = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in args)
    if get_origin(annotation) is tuple:
        return f"list; each {_kind(args[0], '')}"
    if get_origin(annotation) is dict:
        if args[1] is Path or _holds_sections(args[1]):
            return f"mapping of names to {'paths' if args[1] is Path else 'phases'}"
        return f"mapping of names; each value {_kind(args[1], '')}"
    if hasattr(annotation, "__metadata__"):
        inner = [item for part in annotation.__metadata__ for item in getattr(part, "metadata", [part])]
        return _kind(args[0], _bounds(inner))
    if type(None) in get_args(annotation):
        return _kind(args[0], bounds)
    word = {int: "integer", float: "number", bool: "`true`, `false`", str: "text", Path: "path"}[annotation]
    return f"{word} {bounds}".strip()


def _holds_sections(annotation: Any) -> bool:
    """Whether a type holds sections."""
    return section_in(FieldInfo(annotation=annotation)) is not None


def _bounds(metadata: list[Any]) -> str:
    words = {
        "ge": "at least {}",
        "gt": "above {}",
        "le": "at most {}",
        "lt": "below {}",
        "multiple_of": "a multiple of {}",
    }
    found = [
        text.format(f"{limit:,}".removesuffix(".0"))
        for item in metadata
        for name, text in words.items()
        if (limit := getattr(item, name, None)) is not None
    ]
    return ", ".join(found)


def with_stages(text: str) -> str:
    """A page with the table of stages in its place."""
    rows = ["| stage | what happens | when | page |", "|---|---|---|---|"]
    for stage in STAGES:
        title = stage.page.partition("#")[0].removeprefix("methods/").removesuffix(".md")
        link = f"[{title.replace('_json', '.json').replace('_', ' ')}]({stage.page})"
        rows.append(f"| `{stage.name}` | {stage.summary} | {stage.when} | {link} |")
    return _filled(text, "stages", rows)


def with_work(text: str) -> str:
    """A page with the table of the work that ``understudy preview`` counts in its place."""
    rows = ["| row | what is counted |", "|---|---|"]
    for stage in STAGES:
        if stage.work is not None:
            counted = " ".join(inspect.cleandoc(stage.work.__doc__ or "").split()).removesuffix(".")
            rows.append(f"| `{stage.name}` | {counted[0].lower()}{counted[1:]} |")
    rows.append(
        "| `disk` | all synthetic images but those of shadow pipelines, and the compared classifiers |"
    )
    return _filled(text, "work", rows)


def with_differences(text: str) -> str:
    """A page with a table of the settings in which two recipes differ, after every comment that names two."""
    for one, other in re.findall(r"<!-- differences of (\S+) and (\S+) -->", text):
        first, second = (build(RECIPES[name], {"data": {"source": "digits"}}) for name in (one, other))
        rows = [f"| setting | `{one}` | `{other}` |", "|---|---|---|"]
        for name, values in differing_keys(first, second).items():
            cells = [f"`{json.dumps(value).replace('|', chr(92) + '|')}`" for value in values]
            rows.append(f"| `{name}` | {' | '.join(cells)} |")
        text = _filled(text, f"differences of {one} and {other}", rows)
    return text


def with_recipes(text: str) -> str:
    """A page with a table of a recipe's settings beside another's, after every comment that names both."""
    for one, other in re.findall(r"<!-- settings of (\S+) beside (\S+) -->", text):
        first, second = (build(RECIPES[name], {"data": {"source": "digits"}}) for name in (one, other))
        names = dict.fromkeys([*given_names(RECIPES[one]), *differing_keys(first, second)])
        rows = [f"| setting | `{one}` | `{other}` |", "|---|---|---|"]
        for name in names:
            cells = [f"`{json.dumps(attrgetter(name)(settings))}`" for settings in (first, second)]
            rows.append(f"| `{name}` | {cells[0]} | {cells[1] if cells[1] != cells[0] else 'the same'} |")
        text = _filled(text, f"settings of {one} beside {other}", rows)
    return text


def with_names(text: str) -> str:
    """A page with a row in its place for every public name: the first line of the docstring."""
    rows = ["| name | what it is |", "|---|---|"]
    for name in understudy.__all__:
        summary = inspect.cleandoc(getattr(understudy, name).__doc__ or "").splitlines()[0]
        plain = re.sub(r":\w+:`", "`", summary).replace("``", "`").removesuffix(".")
        rows.append(f"| `{name}` | {plain} |")
    return _filled(text, "names", rows)


def notebook_page(path: Path) -> str:
    """A notebook as a page: its text with links to pages in place of notebooks, and its code in blocks."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        is_code = cell["cell_type"] == "code"
        parts.append(f"```python\n{source}\n```" if is_code else source.replace(".ipynb)", ".md)"))
    title, _, rest = "\n\n".join(parts).partition("\n\n")
    file = f"examples/notebooks/{path.name}"
    written = f"<!-- Written by docs/generate.py from {file}. Do not edit this page: run `make docs`. -->"
    note = f"*This page is a notebook: [{path.name}](../../{file}).*"
    return f"{title}\n\n{written}\n\n{note}\n\n{rest}\n"


def _filled(text: str, name: str, rows: list[str]) -> str:
    """The text with these rows between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    block = "\n".join([begin, "", *rows, "", end])
    return re.sub(f"{begin}.*?{end}", lambda _: block, text, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Content of every page that is written here, or of which a part is."""
    concepts, python = DOCS / "concepts.md", DOCS / "reference" / "python.md"
    notebooks = (DOCS.parent / "examples" / "notebooks").glob("*.ipynb")
    methods = ((path, path.read_text(encoding="utf-8")) for path in (DOCS / "methods").glob("*.md"))
    return {
        **{DOCS / "tutorials" / f"{path.stem}.md": notebook_page(path) for path in notebooks},
        **{path: with_recipes(with_differences(text)) for path, text in methods if _MARK.search(text)},
        DOCS / "settings.md": re.sub(r"\n{3,}", "\n\n", settings_page()),
        concepts: with_work(with_stages(concepts.read_text(encoding="utf-8"))),
        python: with_names(python.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
