"""What the documents name is there: commands, flags and their values, make's targets, links."""

import importlib
import pathlib
import re
import shlex

import pytest
from absl import flags

from tfhand import commands

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/experiments/*.md", "benchmarks/*.md", "serving/*.md")
    for path in ROOT.glob(pattern)
)
# Variables of make whose values are flags, and the command they are for.
FLAGS_IN_MAKE = {
    "RUN_FLAGS": "tfhand.train",
    "ROWS": "experiments",
    "FUZZ_FLAGS": "tests.fuzz.run",
}
# Defined by absl or `tfhand.commands` for every command.
EVERYWHERE = {"flagfile", "help", "verbosity"}
# Of programs that the documents name beside the project's own.
FOREIGN = set(
    """
    direct_num_workers direct_running_mode environment_config environment_type flink_master
    flink_job_server_jar flink_version max_num_workers parallelism prism_location project region
    runner sdk_container_image sdk_location setup_file spark_job_server_jar spark_master_url
    temp_location worker_pool

    batching_parameters_file enable_batching enable_model_warmup model_base_path model_name
    enable_per_model_batching_parameters model_config_file monitoring_config_file rest_api_port

    exclude index logdir requeue rm server signal xla_cpu_compilation_enabled
    """.split()
)

COMMAND = re.compile(r"(benchmarks|docs)/\w+\.py")
MODULE = re.compile(r"(tfhand|data_prep|experiments|tests\.fuzz)\b[\w.]*")
FLAG = re.compile(r"--(?P<name>[A-Za-z]\w*)(?:=(?P<value>.*))?")
VARIABLE = re.compile(r"([A-Z_][A-Z_0-9]*)=(.*)", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
# A word that ends a command.
ENDS = {"--", "|", ";", "&&", "||", "&"}


@pytest.fixture(autouse=True)
def scripts_can_be_imported(monkeypatch):
    for folder in ("benchmarks", "docs"):
        monkeypatch.syspath_prepend(ROOT / folder)


def code_of(text):
    """Returns the words of every line of code, in blocks and within sentences."""
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
    return [split(line) for line in [*lines, *(re.sub(r"\s+", " ", span) for span in spans)]]


def split(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        # No command line, or a part of one.
        return line.split()


def commands_in(text):
    """Yields (name of a command, its words) for every command in a text."""
    for words in code_of(text):
        for i, word in enumerate(words):
            if COMMAND.fullmatch(word):
                yield word, arguments_of(words[i + 1 :])
            elif i and words[i - 1] == "-m" and MODULE.fullmatch(word):
                yield word, arguments_of(words[i + 1 :])
            elif name := VARIABLE.fullmatch(word):
                if name[1] in FLAGS_IN_MAKE:
                    yield FLAGS_IN_MAKE[name[1]], split(name[2])


def arguments_of(words):
    end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
    return [word.strip("[]'\"") for word in words[:end]]


def make_in(text):
    """Yields the words after make for every use of it in a text."""
    for words in code_of(text):
        if words[:1] == ["make"]:
            yield arguments_of(words[1:])


def flags_of(command):
    """Returns the absl `FlagValues` of a command."""
    name = pathlib.Path(command).stem if command.endswith(".py") else command
    if file_of(command).name == "__main__.py":
        name += ".__main__"
    values = flags.FlagValues()
    importlib.import_module(name).define_flags(values)
    return values


def what_is_wrong(command, words):
    """Yields what a command would not take of its words."""
    if not file_of(command).is_file():
        yield command
    elif any(FLAG.match(word) for word in words):
        values = flags_of(command)
        for word in words:
            if (flag := FLAG.fullmatch(word)) and not takes(values, flag):
                yield f"{command} {word}"


def takes(values, flag):
    name, value = flag["name"], flag["value"]
    if name == "flagfile" and value.startswith("configs/"):
        return (ROOT / value).is_file()
    if name in EVERYWHERE:
        return True
    if name not in values:
        return name.startswith("no") and name[2:] in values and values[name[2:]].boolean
    choices = getattr(values[name].parser, "enum_values", None)
    return value is None or choices is None or value in choices


def file_of(command):
    """Returns the path of a command from the root of the checkout."""
    if command.endswith(".py"):
        return ROOT / command
    path = ROOT / command.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def all_flags():
    """Returns the names of the flags of all commands."""
    found = set(EVERYWHERE)
    for folder in ("tfhand", "data_prep", "experiments", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"DEFINE_\w+,?\(?\s*\"(\w+)\"", path.read_text()))
    return found | set(flags_of("tfhand.train"))


def anchors_of(text):
    """Returns the names by which GitHub links to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    }


def broken_links(page):
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (heading and heading not in anchors_of(path.read_text())):
            yield target


def test_commands_are_found_in_blocks_and_in_sentences():
    text = (
        "    python -m tfhand.train --seed=1 \\\n        --workdir=W  # the job\n\n"
        "See `python -m data_prep.beam.nyu\n--nyu_dir=D -- --runner=R` and `benchmarks/frame.py`.\n"
        "```\nmake run WORKDIR=w RUN_FLAGS='--seed=2 --init_from=none'\n```\n"
    )
    assert list(commands_in(text)) == [
        ("tfhand.train", ["--seed=1", "--workdir=W"]),
        ("tfhand.train", ["--seed=2", "--init_from=none"]),
        ("data_prep.beam.nyu", ["--nyu_dir=D"]),
        ("benchmarks/frame.py", []),
    ]
    assert list(make_in(text)) == [
        ["run", "WORKDIR=w", "RUN_FLAGS=--seed=2 --init_from=none"],
    ]


@pytest.mark.parametrize(
    "word",
    ["--sed=1", "--Seed=1", "--noseed", "--tune_method=fits", "--flagfile=configs/absent.flags"],
)
def test_wrong_flags_are_found(word):
    assert list(what_is_wrong("tfhand.train", ["--seed=1", word])) == [f"tfhand.train {word}"]


def test_commands_that_are_not_there_are_found():
    assert list(what_is_wrong("tfhand.trains", [])) == ["tfhand.trains"]
    right = ["--flagfile=configs/base.flags", "--tune_method=fit", "--notest_fit", "--workdir=W"]
    assert not list(what_is_wrong("tfhand.train", right))


def test_broken_links_are_found(tmp_path):
    other, page = tmp_path / "other.md", tmp_path / "page.md"
    other.write_text("# A `long` Heading, 2\n```\n# no heading\n```\n")
    right = '[a](other.md) [b](other.md#a-long-heading-2 "Title") [c](#here) [d](https://e.org)'
    wrong = "[a](others.md) [b](other.md#no-heading) [c](#there)"
    page.write_text(f"## Here\n{right} {wrong}\n")
    assert list(broken_links(page)) == ["others.md", "other.md#no-heading", "#there"]


def of_pages(test):
    assert PAGES
    names = [str(page.relative_to(ROOT)) for page in PAGES]
    return pytest.mark.parametrize("page", PAGES, ids=names)(test)


@of_pages
def test_commands_take_what_they_are_given(page):
    found = commands_in(page.read_text())
    assert not [wrong for command, words in found for wrong in what_is_wrong(command, words)]


@of_pages
def test_flags_outside_of_commands_are_there(page):
    known = all_flags() | FOREIGN
    named = {
        match["name"]
        for words in code_of(page.read_text())
        for word in words
        if (match := FLAG.match(word.strip("[]")))
    }
    unknown = {name for name in named if name not in known and name.removeprefix("no") not in known}
    # As in `--tune_*`.
    assert not {name for name in unknown if not any(one.startswith(name) for one in known)}


def test_every_flag_of_training_is_in_its_page():
    own = flags.FlagValues()
    importlib.import_module("tfhand.train").define_flags(own)
    text = (ROOT / "docs" / "training.md").read_text()
    assert {name for name in own if f"`--{name}`" not in text} == set()


def test_the_main_job_without_a_checkout_has_the_flags_of_its_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    train = importlib.import_module("tfhand.train")
    text = (ROOT / "docs" / "package.md").read_text()
    (words,) = [words for name, words in commands_in(text) if name == "tfhand.train" and words]
    own = [word for word in words if word.startswith(("--data_dir", "--workdir"))]
    of_page, of_file = (
        commands.parse(train.define_flags, ["train", *args]).flag_values_dict()
        for args in (words, ["--flagfile=configs/selfsup.flags", *own])
    )
    of_file.pop("flagfile", None)
    assert of_page == of_file


@of_pages
def test_targets_and_variables_of_make_are_there(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \??=", makefile, re.MULTILINE))
    for words in make_in(page.read_text()):
        for word in words:
            given = VARIABLE.fullmatch(word)
            assert given[1] in variables if given else word in targets


@of_pages
def test_links_lead_somewhere(page):
    assert not list(broken_links(page))
