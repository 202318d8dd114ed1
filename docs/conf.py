"""The site: README, the pages beside this file, and a reference from the docstrings.

`make docs` builds it with Sphinx into build/site; a broken link is an error. Sources are read, not
imported. Pages are Markdown as GitHub shows it; a new one needs a place in `CONTENTS`.
"""

from tfhand import __version__

CONTENTS = {
    "Use it": "tutorial package viewer cameras serving runtimes model_card",
    "Train it": "data beam training distributed reference_log",
    "Experiments": "experiments experiments/rows experiments/seeds experiments/fits "
    "experiments/noise experiments/precision experiments/prior experiments/wrist",
    "Inside": "architecture deviations api/tfhand/index api/data_prep/index",
    "The project": "../CONTRIBUTING ../CHANGELOG ../benchmarks/RESULTS ../benchmarks/remarks "
    "../serving/README",
}
# The rest is no library: commands, and how a training is organized.
PUBLIC = """
    tfhand.estimator tfhand.hands tfhand.inference tfhand.presence tfhand.hand_side tfhand.smoothing
    tfhand.cameras tfhand.geometry tfhand.hand tfhand.synthesis tfhand.rendering tfhand.models
    tfhand.losses tfhand.fitting tfhand.evaluation.metrics data_prep.records
""".split()

project = "tfhand"
html_title = f"tfhand {__version__}"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]
# The checkout is the source folder, so that links between pages are the same as on GitHub.
root_doc = "README"
include_patterns = ["*.md", "docs/**", "benchmarks/*.md", "serving/*.md"]
exclude_patterns = [".*", "build", "runs", "data"]
myst_heading_anchors = 4
# Single backticks in docstrings are code.
default_role = "code"
napoleon_use_ivar = True
autoapi_dirs = ["tfhand", "data_prep"]
autoapi_root = "docs/api"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "special-members", "imported-members"]
autoapi_options += ["show-module-summary"]
autoapi_python_class_content = "both"


def add_contents(app, name, source):
    """Adds the table of contents to README, which has none on GitHub."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            lines = "\n".join(f"docs/{page}".replace("docs/../", "") for page in pages.split())
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def is_hidden(app, kind, name, item, skip, options):
    """Hides modules that are not public, and members of classes that have no docstring."""
    if kind not in ("module", "package"):
        return skip or (kind in ("attribute", "method") and not item.docstring)
    is_public = any(f"{a}.".startswith(f"{b}.") for p in PUBLIC for a, b in ((name, p), (p, name)))
    # The package has the names of its modules.
    return not is_public or name.startswith("data_prep.records.")


def mark_code(app, kind, name, item, options, lines):
    """Marks indented blocks of a docstring as code, which they are in Markdown."""
    # Of built-in exceptions.
    lines[:] = [line for line in lines if not line.startswith("Initialize self. ")]
    for i in range(len(lines) - 1, 1, -1):
        before, blank, line = lines[i - 2 : i + 1]
        if line.strip() and not blank.strip() and _indent(line) > _indent(before):
            lines[i:i] = [" " * _indent(before) + "::", ""]


def _indent(line):
    return len(line) - len(line.lstrip())


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("autoapi-skip-member", is_hidden)
    # Before Napoleon, which takes sections apart.
    app.connect("autodoc-process-docstring", mark_code, priority=100)
