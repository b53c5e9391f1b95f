"""Sphinx's settings for the documentation site: `make docs`. The pages are plain Markdown; index.md is the navigation."""

import importlib.metadata
import re

project = "Spiccato"
author = "the Spiccato authors"
release = version = importlib.metadata.version("spiccato")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["figures.py", "screenshot.py"]
highlight_language = "none"
nitpicky = True
# Types in docstrings are prose ("float64 (steps, outputs)"), of which Sphinx takes each word for a class.
nitpick_ignore_regex = [("py:class", ".*")]
default_role = "code"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes, units, ranges
autodoc_class_signature = "mixed"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"Spiccato {release}"
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"


def add_navigation(app, docname, source):
    """Make a part of the navigation of each section of index.md: of the links of its list, in their order."""
    if docname != root_doc:
        return
    for title, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", source[0], re.MULTILINE):
        pages = re.findall(r"^- \[.+?\]\((.+?)\)", text, re.MULTILINE)
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def setup(app):
    app.connect("source-read", add_navigation)
