"""Rows of any values are identified by texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqx.errors import UserError
from seqx.interfaces.rows import row_texts, value_text

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values) | st.lists(values).map(tuple),
    max_leaves=8,
)


def with_lists(value: object) -> object:
    """Return the value with lists instead of tuples, which have the same text."""
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return [with_lists(item) for item in value] if isinstance(value, list | tuple) else value


@settings(max_examples=100, deadline=None)
@given(first=plain, second=plain)
def test_different_values_have_different_texts(first: object, second: object) -> None:
    if value_text(first) == value_text(second):
        assert with_lists(first) == with_lists(second)


@pytest.mark.parametrize(
    "changed",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.array([[0, 1, 2], [3, 4, 6]], np.float32),
    ],
)
def test_text_of_an_array_depends_on_type_shape_and_values(changed: NDArray[Any]) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert value_text(array) == value_text(array.copy(order="F")) == value_text(torch.from_numpy(array))
    assert value_text(array) != value_text(changed)
    assert value_text([array]) == value_text([torch.from_numpy(array)]) != value_text([changed])
    assert value_text(array).startswith("<float32 [2, 3] ")


def test_texts_of_a_row_of_strings_are_the_row() -> None:
    assert row_texts(("a b", "")) == ("a b", "")
    assert value_text(np.zeros((0, 3))) == ""
    assert row_texts(("a", 7, np.float32(1)))[0] == "a"


@pytest.mark.parametrize("value", [object(), [{1}], Path("a"), np.array([object()])])
def test_values_without_identity_are_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"a row of the corpus has a value of type .*; use text, numbers,"):
        value_text(value)
