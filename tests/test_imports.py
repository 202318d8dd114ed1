"""Imports point one way, and importing a module does nothing but define names."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for package in ("tfhand", "data_prep") for path in (REPOSITORY / package).rglob("*.py")
)

# What each part may import besides itself; the order is that of docs/architecture.md.
FOUNDATION = {"tfhand.files", "tfhand.geometry", "tfhand.hand"}
MIDDLE = FOUNDATION | {"tfhand.synthesis", "tfhand.rendering", "tfhand.models"}
UPPER = MIDDLE | {"tfhand.losses", "tfhand.fitting", "tfhand.inference", "data_prep"}
COMMANDS = UPPER | {
    "tfhand.cameras", "tfhand.data", "tfhand.runs",
    "tfhand.training", "tfhand.evaluation", "tfhand.viewer", "tfhand.commands", "tfhand.estimator",
    "tfhand.hands", "tfhand.smoothing", "tfhand.presence", "tfhand.hand_side", "tfhand",
}  # fmt: skip
ALLOWED = {
    "tfhand": {"tfhand.estimator"},
    "tfhand.smoothing": set(),
    "tfhand.presence": FOUNDATION | {"tfhand.models"},
    "tfhand.hand_side": set(),
    "tfhand.files": set(),
    "tfhand.commands": set(),
    "tfhand.cameras": FOUNDATION,
    "tfhand.inference": FOUNDATION | {"tfhand.models"},
    "tfhand.geometry": FOUNDATION,
    "tfhand.hand": FOUNDATION | {"tfhand.commands"},
    "tfhand.synthesis": FOUNDATION | {"tfhand.rendering"},
    "tfhand.rendering": FOUNDATION,
    "tfhand.models": FOUNDATION,
    "tfhand.losses": FOUNDATION | {"tfhand.rendering"},
    "tfhand.data": FOUNDATION | {"tfhand.synthesis"},
    "tfhand.fitting": MIDDLE | {"tfhand.losses", "tfhand.data"},
    "tfhand.runs": UPPER | {"tfhand.evaluation"},
    "tfhand.training": UPPER | {"tfhand.evaluation", "tfhand.data", "tfhand.runs"},
    "tfhand.evaluation": UPPER,
    "tfhand.viewer": UPPER | {"tfhand.evaluation"},
    "data_prep": FOUNDATION
    | {
        "tfhand.synthesis",
        "tfhand.models",
        "tfhand.inference",
        "tfhand.commands",
        "tfhand.cameras",
    },
}
# Known by flags or by the network, never by what renders or compares depth.
FORBIDDEN = {
    "tfhand.rendering": {"absl.flags", "keras"},
    "tfhand.losses": {"absl.flags", "keras"},
}
# Top-level modules that only `pip install '.[assets]'` brings.
ASSETS_EXTRA = {"skimage"}
# What needs the extra `beam`; nothing else imports it, nor Beam.
BEAM_PACKAGE = "data_prep.beam"


def module_name(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(name):
    """`tfhand.losses.terms` belongs to `tfhand.losses`; any `data_prep.x` to `data_prep`."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "tfhand" else 1])


def imported_names(tree, in_functions):
    """Every `a.b.c` that a file imports; only at its top level unless `in_functions`."""
    for node in ast.walk(tree) if in_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_command(name):
    return part_of(name) not in ALLOWED


def violations(name, tree):
    allowed = COMMANDS if is_command(name) else ALLOWED[part_of(name)] | {part_of(name)}
    for imported in imported_names(tree, in_functions=True):
        if imported.split(".")[0] in ("tfhand", "data_prep") and part_of(imported) not in allowed:
            # `from tfhand import commands` and `from tfhand import __version__`.
            if imported == "tfhand.__version__":
                continue
            yield f"{name} imports {imported}"
        if any(
            imported == f or imported.startswith(f"{f}.") for f in FORBIDDEN.get(part_of(name), ())
        ):
            yield f"{name} imports {imported}"


def imports_of_beam(name, tree):
    if not name.startswith(BEAM_PACKAGE):
        for imported in imported_names(tree, in_functions=True):
            if imported.startswith(("apache_beam", BEAM_PACKAGE)):
                yield f"{name} imports {imported}"


def test_every_package_has_a_place_in_the_order():
    packages = {part_of(module_name(path)) for path in SOURCES if path.name == "__init__.py"}
    assert packages <= set(ALLOWED)


def test_imports_point_one_way():
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [*violations(module_name(path), tree), *imports_of_beam(module_name(path), tree)]
    assert not found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("tfhand.geometry.rigid", "from tfhand.losses import terms"),
        ("tfhand.losses.terms", "from absl import flags"),
        ("tfhand.rendering.spheres", "import keras"),
        ("tfhand.models.hourglass", "def f():\n    from tfhand import train"),
        ("data_prep.nyu", "import tfhand.training.pretraining"),
        ("tfhand.viewer.scene", "from tfhand import commands"),
        ("tfhand.training.pretraining", "from tfhand.viewer import scene"),
    ],
)
def test_wrong_imports_are_found(name, source):
    assert list(violations(name, ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["def f():\n    import apache_beam.io", "from data_prep.beam import nyu"]
)
def test_wrong_imports_of_beam_are_found(source):
    tree = ast.parse(source)
    assert list(imports_of_beam("data_prep.records", tree))
    assert not list(imports_of_beam("data_prep.beam.nyu", tree))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_public_names_exist_and_are_listed_by_hand(path, needs):
    if needs_beam(path):
        needs("apache_beam")
    try:
        module = importlib.import_module(module_name(path))
    except ModuleNotFoundError as error:
        if error.name not in ASSETS_EXTRA:
            raise
        pytest.skip(f"needs {error.name} of the extra 'assets'")
    if path.name == "__init__.py" and not hasattr(module, "__all__"):
        return
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}"


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, tfhand; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stderr


def needs_beam(path):
    names = imported_names(ast.parse(path.read_text(encoding="utf-8")), in_functions=False)
    return any(name.startswith(("apache_beam", "data_prep.beam.shards")) for name in names)


def test_importing_commands_loads_no_extra_and_defines_no_global_flags():
    names = [module_name(path) for path in SOURCES]
    commands = [name for name in names if is_command(name)]
    commands += [
        name
        for name in names
        if name.startswith("data_prep") and name.endswith((".nyu", ".synthetic", ".records"))
    ]
    assert {"tfhand.view", "data_prep.nyu", "data_prep.beam.nyu"} <= set(commands)
    code = (
        "import importlib, sys\n"
        "from absl import flags, app, logging\n"
        f"for name in {commands}: importlib.import_module(name)\n"
        "mine = [m for m in flags.FLAGS.flags_by_module_dict() "
        "if m.startswith(('tfhand', 'data_prep'))]\n"
        "print(mine, {'apache_beam', 'viser'} & set(sys.modules))"
    )
    result = run_python(code)
    assert result.stdout.strip() == "[] set()", result.stderr
