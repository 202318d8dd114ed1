"""Fixtures of the tests of fits."""

import pytest

from tests import seen_hands


@pytest.fixture(scope="session")
def seen():
    return seen_hands.see(12, seed=4)


@pytest.fixture(scope="session")
def spec():
    return seen_hands.SPEC
