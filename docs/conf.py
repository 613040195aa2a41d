"""Sphinx: Markdown pages, the reference from the docstrings (reStructuredText, Google sections)."""

import re
from importlib.metadata import version as installed_version

from sphinx.application import Sphinx

project = "pyro_vae"
author = "The pyro_vae authors"
copyright = "The pyro_vae authors"
version = release = installed_version("pyro_vae")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

# In a docstring `x` is code, not emphasis.
default_role = "literal"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # not torch's own text for every `forward`
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
add_module_names = False

html_theme = "furo"
html_title = "pyro_vae"
html_show_sphinx = False


def _shapes_are_text(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """In a docstring the star of [batch, *event] begins a shape's axis, not an emphasis."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]*`+)", line)  # every second one is code
            parts[::2] = [re.sub(r"(?<=[\[ ])\*(?=\w+[\],])", r"\\*", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _shapes_are_text)
