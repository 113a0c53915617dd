"""Configuration of the documentation site; ``python -m docs.tools build`` builds it.

The source folder of Sphinx is the repository, not ``docs``: pages and notebooks link to each other by relative paths
that also work in a viewer of plain files.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from docs.tools import api_pages, cards, links
from featx.system.version import __version__

project = "featx"
author = "the featx developers"
project_copyright = "the featx developers, Apache-2.0"
version = release = __version__
language = "en"

root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/reference/api/*.rst", "notebooks/*.ipynb", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "dist", "cache", "featx", "tests", "docs/tools", "**/.ipynb_checkpoints"]

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
]

# Pages: anchors are those of GitHub, and a notebook shows the outputs that it was saved with.
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings: types are part of their text, and a name in single backticks is a parameter.
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
autodoc_inherit_docstrings = True
default_role = "literal"
smartquotes = False  # values such as "avg" are code
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
add_module_names = False

nitpicky = True
nitpick_ignore_regex = [
    # Names of other projects: their inventories are not read, so that a build needs no network.
    (r"py:.*", r"(numpy|np|pandas|pd|sklearn|scipy|keras|openvino|PIL|pathlib|joblib|tqdm|argparse|io)\b.*"),
]

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "featx"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_additional_pages = {"index": "start.html"}  # the address of the site itself leads to docs/index.html
# Pages without pages below them have no navigation of a section.
_ALONE = ("docs/index", "docs/whats_new", "docs/CONTRIBUTING", "CHANGELOG", "search")
html_sidebars: dict[str, list[str]] = {page: [] for page in _ALONE}
html_theme_options: dict[str, Any] = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def setup(app: Sphinx) -> None:
    """Write the page of each public name before pages are read, and link names of code in all pages."""
    app.connect("builder-inited", lambda app: api_pages.write_object_pages(app.srcdir))
    app.connect("source-read", _show_cards)
    app.add_post_transform(links.LinkNames)


def _show_cards(app: Sphinx, page: str, source: list[str]) -> None:
    """Show lists of cards as such."""
    if os.path.exists(os.path.join(app.srcdir, f"{page}.md")):
        source[0] = cards.lists_to_grids(source[0])
