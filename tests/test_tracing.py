"""Graphs are traced without AutoGraph, which rewrites all that a function reaches for seconds."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def traced_with_autograph(source):
    """Returns the lines of a source where `tf.function` is named without `autograph=False`."""
    tree = ast.parse(source)
    without = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and "autograph" in {k.arg for k in node.keywords}
        for child in (node.func, *node.args)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) == "tf.function"
        and id(node) not in without
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("@tf.function\ndef f(): pass", [1]),
        ("\ntf.function(f, jit_compile=True)", [2]),
        ("@tf.function(autograph=False)\ndef f(): pass", []),
        ("functools.partial(tf.function, autograph=False)", []),
    ],
)
def test_what_is_found(source, lines):
    assert traced_with_autograph(source) == lines


@pytest.mark.parametrize("package", ["tfhand", "data_prep", "experiments", "benchmarks", "tests"])
def test_no_function_of_the_project(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    assert not [(p.name, n) for p in paths for n in traced_with_autograph(p.read_text())]
