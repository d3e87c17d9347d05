"""How much `make test` tries of what can be tried without end; JOINDER_TEST_EVERYTHING=1 for all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

EVERYTHING = "JOINDER_TEST_EVERYTHING" in os.environ


def examples(all_of_them: int) -> int:
    """For hypothesis: a fifth, where minutes count."""
    return all_of_them if EVERYTHING else max(10, all_of_them // 5)


def late(value: object) -> object:
    """A value of `parametrize` that is tried among the proofs."""
    return pytest.param(value, marks=pytest.mark.proof)


def some(values: Iterable[object], every: int = 3) -> list[object]:
    """Of many values of `parametrize` that ask alike, each third by day; the others among the proofs."""
    return [value if index % every == 0 else late(value) for index, value in enumerate(values)]
