"""The site of the documentation: Sphinx reads this file. ``make docs`` builds it, without a network.

The pages are plain Markdown and read well on a code host too, so what only a site needs is added here while
it is built: the navigation, the entries of the Python reference, and links to files outside of ``docs``.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import understudy

ROOT = Path(__file__).resolve().parent.parent
# Where the files of the repository are shown, such as https://github.com/OWNER/understudy/blob/main. Links to
# files outside of docs lead there; without an address, the site carries a copy of each such file.
REPOSITORY = os.environ.get("DOCS_REPOSITORY", "").rstrip("/")

# Pages of each section in the order of the navigation. A page that is missing here fails the build.
NAVIGATION = {
    "index": [
        "start",
        "tutorials/index",
        "how_to/index",
        "methods/index",
        "Results <findings>",
        "reference/index",
        "decisions/index",
        "limits",
    ],
    "findings": ["results/index", "other_tools"],
    "results/index": ["*"],
    "tutorials/index": ["/demo", "/gallery", "first_steps", "reading_a_report", "/examples"],
    "how_to/index": [
        "how_many_images",
        "clean_test_set",
        "copies_of_patients",
        "which_generator",
        "no_difference",
        "write_about_it",
        "watch_a_run",
        "track_a_run",
        "/photographs",
        "/studies",
        "/exports",
        "/large_sets",
        "/several_machines",
        "/speed",
    ],
    "methods/index": [
        "drawing",
        "captions",
        "adaptation",
        "class_conditional",
        "curation",
        "comparison",
        "worth",
        "fidelity",
        "memorisation",
        "membership",
        "shift",
        "content_gap",
        "real_fake",
        "bridged_transfer",
        "style_inversion",
        "/faithfulness",
    ],
    "reference/index": [
        "/concepts",
        "/inputs",
        "/report",
        "/settings",
        "/run_folder",
        "/results_json",
        "python",
    ],
    "decisions/index": ["*"],
}

# Beside the public names, the nouns that they take and return.
NOUNS = [
    "understudy.data.load.Splits",
    "understudy.pipeline.folder.RunFolder",
    "understudy.generators.generator.Generator",
    "understudy.generators.generator.Adaptable",
    "understudy.generators.generator.Conditioning",
    "understudy.generators.generator.PlanRow",
]

project = "understudy"
version = release = understudy.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]  # pages give some pictures a width, in HTML
toc_object_entries = False
autodoc_member_order = "bysource"
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}

smartquotes_action = "D"  # dashes alone: quotes stay as messages have them
html_theme = "pydata_sphinx_theme"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = "understudy"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_use_index = False
html_theme_options = {
    "header_links_before_dropdown": len(NAVIGATION["index"]),
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": [],
    "footer_end": [],
}
html_sidebars = {page: [] for page in ("index", "start", "limits")}  # sections of one page


def add_to_page(app: Sphinx, name: str, source: list[str]) -> None:
    """The navigation of a section below its page, and the entries of the Python reference."""
    if name == "reference/python":
        source[0] += "".join(_entry(path) for path in [*_public_names(), *NOUNS])
    if name in NAVIGATION:
        pages = "\n".join(NAVIGATION[name])
        hidden = "" if name == "decisions/index" else ":hidden:\n"
        source[0] += f"\n\n```{{toctree}}\n:maxdepth: 1\n:glob:\n{hidden}\n{pages}\n```\n"


def _public_names() -> list[str]:
    return [f"understudy.{name}" for name in understudy.__all__]


def _entry(path: str) -> str:
    """The heading of a name, and the directive that shows its docstring."""
    module, _, name = path.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    kind = "class" if isinstance(thing, type) else "function"
    return f"\n\n## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: {path}\n```\n"


class LinksToRepository(SphinxTransform):
    """Links to files outside of ``docs`` lead to the address of the repository, or to a copy in the site."""

    default_priority = 5  # before Sphinx collects the files that it copies

    def apply(self, **kwargs: object) -> None:
        """Replace the links of one page."""
        for link in list(self.document.findall(_may_leave)):
            path = self._file(link)
            if path.is_relative_to(self.env.srcdir):
                continue
            name = path.relative_to(ROOT).as_posix()
            found = nodes.reference(refuri=f"{REPOSITORY}/{name}")
            copied = addnodes.download_reference(reftarget=f"/../{name}", refdoc=self.env.docname)
            new = found if REPOSITORY else copied
            new += link.children
            link.replace_self(new)

    def _file(self, link: nodes.Element) -> Path:
        """The file that MyST found at the end of a link: it names pages without their suffix."""
        if isinstance(link, addnodes.pending_xref):
            return Path(self.env.srcdir, f"{link['reftarget']}.md")
        return Path(self.env.relfn2path(link["reftarget"], self.env.docname)[1])


def _may_leave(node: nodes.Node) -> bool:
    """Whether a node is a link to a page or a file."""
    is_page = isinstance(node, addnodes.pending_xref) and node.get("refdomain") == "doc"
    return is_page or isinstance(node, addnodes.download_reference)


def copy_gallery(app: Sphinx, problem: Exception | None) -> None:
    """The reports of the gallery are whole pages of their own."""
    reports = Path(app.srcdir) / "gallery"
    if problem is None and reports.is_dir():
        shutil.copytree(reports, Path(app.outdir) / "gallery", dirs_exist_ok=True)


def name_toggles(app: Sphinx, problem: Exception | None) -> None:
    """Buttons that unfold a section of the navigation get a name, which the theme leaves out."""
    unnamed = re.compile(r"(<a [^>]*>([^<]*)</a><details[^>]*><summary)>")
    for page in Path(app.outdir).rglob("*.html") if problem is None else ():
        text = page.read_text(encoding="utf-8")
        named = unnamed.sub(r'\1 aria-label="Pages of \2">', text)
        if named != text:
            page.write_text(named, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", add_to_page)
    app.add_transform(LinksToRepository)
    app.connect("build-finished", name_toggles)
    app.connect("build-finished", copy_gallery)
    return {"parallel_read_safe": True}
