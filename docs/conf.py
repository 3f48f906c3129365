import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import ccpsolve

project = "ccpsolve and flows"
author = "The ccpsolve developers"
project_copyright = f"2026, {author}"
release = ccpsolve.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "*_table.md"]  # tables are included by the pages on them

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types together with shapes
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "ccpsolve and flows"
