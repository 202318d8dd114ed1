"""What the documents name is there: commands and their flags, make's targets, files, headings."""

import importlib
import pathlib
import re

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "serving/*.md")
    for path in ROOT.glob(pattern)
)
# Defined by absl or `tfhand.commands` for every command.
EVERYWHERE = {"flagfile", "help", "verbosity"}
# Variables of make whose values are flags, and the command they are for.
FLAGS_IN_MAKE = {"RUN_FLAGS": "tfhand.train", "ROWS": "benchmarks/experiments.py"}

COMMAND = re.compile(
    r"(?:-m (?P<module>(?:tfhand|data_prep)[\w.]*)|(?P<script>benchmarks/\w+\.py))"
)
FLAG = re.compile(r"(?<![\w-])--([a-z]\w*)")
MAKE = re.compile(r"(?:^|[ ;])make ((?:[a-z]+|[A-Z_]+=(?:\"[^\"]*\"|\S*)|\s)+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(autouse=True)
def scripts_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def code_of(text):
    """Returns the lines of code blocks, and the code within sentences, one command a string."""
    prose, found = [], []
    for block in re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE):
        if block.startswith("```"):
            found.append(block)
            continue
        lines = block.split("\n")
        found.append("\n".join(line for line in lines if line.startswith("    ")))
        prose.append("\n".join(line for line in lines if not line.startswith("    ")))
    lines = re.sub(r"\\\n\s*", " ", "\n".join(found)).split("\n")
    spans = re.findall(r"`([^`]+)`", "\n".join(prose))
    return [*lines, *(re.sub(r"\s+", " ", span) for span in spans)]


def commands_in(text):
    """Yields (name of a command, flags) for every command in a text."""
    for line in code_of(text):
        starts = [*COMMAND.finditer(line)]
        ends = [match.start() for match in starts[1:]] + [len(line)]
        for match, end in zip(starts, ends):
            # Flags of a runner of Beam follow "--" alone.
            arguments = re.split(r" -- |[|;]", line[match.end() : end])[0]
            yield match["module"] or match["script"], FLAG.findall(arguments)


def make_in(text):
    """Yields (targets, {variable: value}) for every use of make in a text."""
    for line in code_of(text):
        for match in MAKE.finditer(line):
            words = re.findall(r"[A-Z_]+=(?:\"[^\"]*\"|\S*)|[a-z]+", match[1])
            given = dict(word.split("=", 1) for word in words if "=" in word)
            yield [word for word in words if "=" not in word], given


def file_of(command):
    """Returns the path of a command from the root of the checkout."""
    if command.endswith(".py"):
        return ROOT / command
    path = ROOT / command.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def flags_of(command):
    """Returns the names that a command takes."""
    name = pathlib.Path(command).stem if command.endswith(".py") else command
    values = flags.FlagValues()
    importlib.import_module(name).define_flags(values)
    switches = {f"no{name}" for name in values if values[name].boolean}
    return {*values, *switches} | EVERYWHERE


def anchor(heading):
    """Returns the name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def test_commands_are_found_in_blocks_and_in_sentences():
    text = (
        "    python -m tfhand.train --seed=1 \\\n        --workdir=W  # the job\n\n"
        "See `python -m data_prep.beam.nyu\n--nyu_dir=D -- --runner=R` and `benchmarks/fits.py`.\n"
        '```\nmake run WORKDIR=w RUN_FLAGS="--seed=2 --init_from=none"\n```\n'
    )
    assert list(commands_in(text)) == [
        ("tfhand.train", ["seed", "workdir"]),
        ("data_prep.beam.nyu", ["nyu_dir"]),
        ("benchmarks/fits.py", []),
    ]
    assert list(make_in(text)) == [
        (["run"], {"WORKDIR": "w", "RUN_FLAGS": '"--seed=2 --init_from=none"'})
    ]
    assert "seed" in flags_of("tfhand.train") and "sed" not in flags_of("tfhand.train")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_flags_are_there(page):
    wrong = []
    for command, given in commands_in(page.read_text()):
        assert file_of(command).is_file(), command
        if given:
            wrong += [f"{command} --{name}" for name in sorted({*given} - flags_of(command))]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_and_variables_of_make_are_there(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \??=", makefile, re.MULTILINE))
    for used, given in make_in(page.read_text()):
        assert set(used) <= targets
        assert set(given) <= variables
        for name, command in FLAGS_IN_MAKE.items():
            assert set(FLAG.findall(given.get(name, ""))) <= flags_of(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            wrong.append(target)
        elif heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            wrong += [target] * (heading not in map(anchor, headings))
    assert not wrong
