"""Rules of the house that a reviewer should not have to remember."""

import ast
import importlib
import re
import subprocess
import sys

import pytest
from house import PACKAGE, deferred_imports, file_lengths, functions, imported_names, modules, share, syntax

import understudy

ORDER = (
    "core, functional < data < generators < adaptation < sampling < curation < training < evaluation < "
    "settings, recipes < report < pipeline < commands < cli"
)
"""The one rule for arrows: a file imports from its own folder and from the left."""
HEAVY = {
    *(
        "accelerate",
        "diffusers",
        "faiss",
        "huggingface_hub",
        "importlib",
        "loky",
        "matplotlib",
        "onnxruntime",
        "opacus",
        "peft",
        "ray",
        "scipy",
        "sklearn",
        "starlette",
        "submitit",
        "timm",
        "torch",
        "torchvision",
        "uvicorn",
        "wandb",
    ),
    *("safetensors", "transformers"),
}
"""Libraries that take long to import: a function may import them when it is called, with a comment that says
why.
"""
LATE = ("cli.py", "commands/options.py", "generators/load.py")
"""Files that import other files of the package inside functions, so that `--help` and `list` answer at once.
"""
RANK = {name: rank for rank, group in enumerate(ORDER.split(" < ")) for name in group.split(", ")}


@pytest.fixture(scope="module", autouse=True)
def _trees_of_this_module():
    """A million nodes that nobody needs any more would slow down every later search for garbage."""
    yield
    syntax.cache_clear()
    functions.cache_clear()


def imported(path):
    """Dotted names of everything a file imports, also inside functions."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def place(path):
    """Folder of a module, or its own name at the root."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_come_from_the_own_folder_and_from_the_left(path):
    if path == PACKAGE / "__init__.py":
        return  # lists the public names
    own = place(path)
    assert own in RANK, f"{own} has no place in the order: {ORDER}"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "understudy":
            assert len(parts) > 1, f"{path}: import the module that holds a name"
            if path.name == "settings.py" and path.parent != PACKAGE:
                assert parts[1] in ("core", own), f"{path.relative_to(PACKAGE)} imports {name}"
            assert parts[1] == own or RANK[parts[1]] < RANK[own], (
                f"{path.relative_to(PACKAGE)} imports {name}"
            )


def test_formulas_import_only_arrays_and_the_standard_library():
    allowed = {"torch", "numpy", "scipy", "understudy", *sys.stdlib_module_names}
    for path in (PACKAGE / "functional").rglob("*.py"):
        assert {name.split(".")[0] for name in imported(path)} <= allowed, path


def test_no_global_seeding_outside_a_fork():
    """Seeding the process is allowed inside ``fork_rng``, and in the pretraining script, which owns its
    process.
    """
    for path in modules():
        text = path.read_text()
        assert "np.random.seed" not in text, path
        assert "random.seed(" not in text, path
        if path.name != "pretrain.py":
            assert len(re.findall(r"torch\.manual_seed\(", text)) <= text.count("fork_rng("), path


def test_only_these_files_name_a_kind_of_gpu():
    """Elsewhere ``torch.accelerator`` and the type of a tensor's device serve all kinds."""
    named = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if re.search(r"torch\.(cuda|mps|xpu)|is_cuda|\.cuda\(", path.read_text(encoding="utf-8"))
    }
    assert named == {
        "commands/chosen.py",  # --device auto
        "core/bfloat16.py",  # which devices are fast with it
        "core/executors/alike.py",  # whether a node has what it should
        "core/executors/worker_processes.py",  # a process for each
        "core/processes.py",  # accelerate launch
        "core/provenance.py",  # the name of the GPU
        "generators/mini/pretrain.py",
    }


@pytest.mark.slow
def test_the_libraries_match_each_other():
    """With a torchvision built for another torch, torchvision and all that import it fail; a fresh process
    shows it.
    """
    code = """
import torch, torchvision, timm
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("name", understudy.__all__)
def test_public_names_exist_and_are_documented(name):
    assert (getattr(understudy, name).__doc__ or "").strip()


def test_nothing_heavy_is_imported_before_it_is_needed():
    """A fresh process imports the package, prints help, and checks ``digits`` with bundled networks."""
    code = """
import sys
from contextlib import suppress

def call(*words):
    with suppress(SystemExit):
        cli.main(list(words))

def loaded(*names):
    return [name for name in names if name in sys.modules]

import understudy
assert not loaded("numpy", "pydantic", "rich", "torch", "typer")
from understudy import cli
call("--help")
assert not loaded("importlib.metadata", "numpy", "pydantic", "rich", "torch")
call("validate", "digits")
assert loaded("torch")
assert not loaded("accelerate", "diffusers", "matplotlib", "peft", "scipy.optimize", "scipy.stats")
assert not loaded("sklearn", "timm", "torchvision", "transformers")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "digits: ready to run" in done.stdout


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        understudy.nothing  # noqa: B018


def test_public_functions_and_classes_have_docstrings():
    missing = []
    for path in modules():
        for node in syntax(path).body:
            if (
                isinstance(node, (ast.FunctionDef, ast.ClassDef))
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                missing.append(f"{path.relative_to(PACKAGE)}:{node.name}")
    assert not [name for name in missing if not name.endswith(":main")]


def test_every_module_says_what_it_is():
    for path in modules():
        if path.read_text().strip():
            assert ast.get_docstring(syntax(path)), path


def test_every_module_imports():
    for path in modules():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        importlib.import_module(".".join(part for part in parts if part != "__init__"))


def test_no_large_file_but_the_bundled_weights():
    root = PACKAGE.parent
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    sizes = {name: (root / name).stat().st_size for name in listed if (root / name).exists()}
    most = {name: 150_000 if name.startswith("benchmarks/results/") else 100_000 for name in sizes}
    large = [name for name, size in sizes.items() if size > most[name]]
    assert [name for name in large if not name.endswith((".safetensors", "samples.png"))] == []


# Figures of the code, which `python tests/house.py` prints.


def said(path, counted):
    return f"{path.relative_to(PACKAGE)}: {counted}"


def test_no_file_is_longer_than_500_lines():
    assert [said(path, lines) for path, lines in file_lengths().items() if lines > 500] == []


def test_nine_functions_of_ten_fit_on_a_screen():
    assert share([function.lines for function in functions()], 30) >= 0.9


def test_no_function_is_longer_than_60_lines():
    assert [f"{function}: {function.lines}" for function in functions() if function.lines > 60] == []


def test_nineteen_functions_of_twenty_have_at_most_six_parameters():
    assert share([function.parameters for function in functions()], 6) >= 0.95


def test_no_file_imports_more_than_40_names():
    counts = {path: len(imported_names(path)) for path in modules() if path != PACKAGE / "__init__.py"}
    assert [said(path, count) for path, count in counts.items() if count > 40] == []


def test_only_heavy_libraries_are_imported_inside_functions():
    found = []
    for path in modules():
        allowed = HEAVY | ({"understudy"} if path.relative_to(PACKAGE).as_posix() in LATE else set())
        found += [
            said(path, f"{line} {name}") for line, name in deferred_imports(path) if name not in allowed
        ]
    assert found == []


def test_a_comment_says_why_a_library_is_imported_inside_a_function():
    silent = []
    for path in modules():
        text = path.read_text().splitlines()
        for line, name in deferred_imports(path):
            first = line - 1
            while text[first - 1].strip().startswith(("import ", "from ")):
                first -= 1
            if name in HEAVY and "#" not in "".join(text[first - 1 : line]):
                silent.append(said(path, f"{line} {name}"))
    assert silent == []
