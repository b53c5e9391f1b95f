"""Settings of the documentation site: `make docs`. The pages are plain Markdown; index.md is the navigation."""

import importlib.metadata
import re

from sphinx import addnodes

project = "Spiccato"
author = "the Spiccato authors"
release = version = importlib.metadata.version("spiccato")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["figures.py", "screenshot.py"]
highlight_language = "none"
nitpicky = True
# What is not public is named in docstrings all the same; types are prose.
nitpick_ignore_regex = [("py:(class|data|mod)", ".*")]
default_role = "code"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes, units, ranges
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
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


def drop_links_of_prose(app, doctree):
    """Types in docstrings are prose ("float64 (steps, outputs)"): only what has the name of a class becomes a link."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("reftype") == "class" and not node["reftarget"].rpartition(".")[2][:1].isupper():
            node.replace_self(node.children)


def setup(app):
    """What Sphinx calls first."""
    app.connect("doctree-read", drop_links_of_prose)
    app.connect("source-read", add_navigation)
