"""The list of mutations fits the sources; ``make mutate`` tries them."""

import ast

import pytest

from mutations import MUTATIONS, Mutation
from paths import ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=range(len(MUTATIONS)))
def test_mutation_can_be_made(mutation):
    """Its text is there once, what comes of it is Python, and its test exists."""
    ast.parse(mutation.apply())
    file, test = mutation.test.split("[")[0].split("::")
    functions = ast.parse((ROOT / "tests" / file).read_text()).body
    assert test in {function.name for function in functions if isinstance(function, ast.FunctionDef)}


def test_text_that_is_not_there():
    with pytest.raises(ValueError, match="control/bus.py has 0 times 'no such text'"):
        Mutation("control/bus.py", "no such text", "", "").apply()
