"""Configuration of the documentation: sphinx-build -W -b html doc doc/_build/html"""

import skdict

project = "skdict"
author = "the skdict developers"
copyright = "2026, the skdict developers"
version = release = skdict.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
exclude_patterns = ["_build", "benchmarks"]
html_theme = "alabaster"
html_theme_options = {"description": "Sparse dictionary learning for the scikit-learn world"}
html_copy_source = False

# The members come from autodoc, so numpydoc must not list them a second time.
autodoc_default_options = {"members": True, "inherited-members": True}
numpydoc_show_class_members = False


def skip_foreign_member(app, what, name, obj, skip, options):
    """Leave out what scikit-learn defines: it is documented there, with links into its pages."""
    obj = getattr(obj, "fget", None) or obj
    module = getattr(obj, "__module__", None) or ""
    return True if module.partition(".")[0] == "sklearn" else None


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign_member)
