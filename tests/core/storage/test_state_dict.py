"""Saved states are read back exactly, and other types are refused."""

import json
import math
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqx.errors import DamagedError, UserError
from seqx.storage import state_dict

pytestmark = pytest.mark.promise("state-round-trip")

CPU = torch.device("cpu")
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64),
)


def round_trip(folder: Path, value: Any) -> Any:
    folder.mkdir(exist_ok=True)
    state_dict.write(folder, {"x": value})
    return state_dict.read(folder, CPU)["x"]


def same(one: object, other: object) -> bool:
    """Check that two values are equal in every bit, type and order."""
    match one:
        case Tensor():
            assert isinstance(other, Tensor)
            same_type = one.dtype == other.dtype and one.shape == other.shape
            return same_type and bits(one) == bits(other)
        case float():
            return isinstance(other, float) and struct.pack("d", one) == struct.pack("d", other)
        case dict():
            assert isinstance(other, dict)
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        case list() | tuple():
            assert type(one) is type(other)
            return len(one) == len(other) and all(map(same, one, other))
        case _:
            return type(one) is type(other) and one == other


def bits(tensor: Tensor) -> list[int]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_dict_keeps_tensors_of_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.randint(0, 256, (3, 4, 16), dtype=torch.uint8)
    tensor = (raw > 99) if dtype == torch.bool else raw.view(dtype)
    for value in (tensor, tensor[0, 0, 0], tensor[:0], tensor.transpose(0, 1), tensor[:, ::2]):
        assert same(value, round_trip(tmp_path / "s", value))


def test_state_dict_keeps_optimizer_states(tmp_path: Path) -> None:
    weights = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(weights.parameters(), lr=0.1, betas=(0.9, 0.98), amsgrad=True)
    weights(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    states = optimizer.state_dict()
    restored = round_trip(tmp_path, states)
    assert same(states, restored)
    assert list(restored["state"]) == [0, 1]
    assert restored["param_groups"][0]["betas"] == (0.9, 0.98)


def test_state_dict_keeps_tensors_that_share_memory_or_a_name(tmp_path: Path) -> None:
    tensor = torch.arange(6.0)
    value = {"a.b": tensor, "a": {"b": tensor[2:], 0: tensor, "0": -tensor}, "c": tensor.view(2, 3).T}
    assert same(value, round_trip(tmp_path, value))


def test_state_dict_keeps_numbers_that_json_lacks(tmp_path: Path) -> None:
    value = [math.inf, -math.inf, math.nan, -0.0, 5e-324, 0.1, 2**80, -1, True, None, "ä\u2028\0"]
    assert same(value, round_trip(tmp_path, value))


def test_state_dict_reads_an_ordered_dict_as_a_dict(tmp_path: Path) -> None:
    assert round_trip(tmp_path, OrderedDict(b=1, a=2)) == {"b": 1, "a": 2}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(TEXTS | st.integers(), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(value=VALUES)
def test_state_dict_keeps_any_nested_value(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    assert same(value, round_trip(tmp_path_factory.getbasetemp() / "states", value))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j, {(1, 2): 3}, {None: 1}, {True: 1}])
def test_state_dict_names_values_that_cannot_be_saved(tmp_path: Path, value: object) -> None:
    with pytest.raises(
        UserError, match=r"^callbacks\.Mine: its state_dict (contains a|has the key) .*callbacks\.Mine\.seen"
    ):
        state_dict.write(tmp_path, {"callbacks.Mine": {"seen": value}})


def test_state_dict_refuses_deep_nesting(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(UserError, match=r"^callbacks\.Mine: its state_dict is nested more than 64 levels"):
        state_dict.write(tmp_path, {"callbacks.Mine": value})


@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "[1]", "3", "[" * 100_000, '{"tuple": ' * 90 + "[]" + "}" * 90),
        *(
            '{"tensor": "x"}',
            '{"dict": [[1]]}',
            '{"dict": [[[], 1]]}',
            '{"a": 1}',
            '{"float": "one"}',
            '{"float": "00"}',
        ),
        '{"dict": [["x", {"tensor": 1}]]}',
    ],
)
def test_invalid_state_json_is_damage(tmp_path: Path, text: str) -> None:
    state_dict.write(tmp_path, {})
    (tmp_path / state_dict.TREE).write_text(text)
    with pytest.raises(DamagedError, match=r"states\.json: cannot be read"):
        state_dict.read(tmp_path, CPU)


def test_state_json_has_a_maximum_size(tmp_path: Path) -> None:
    state_dict.write(tmp_path, {})
    with (tmp_path / state_dict.TREE).open("r+b") as file:
        file.truncate(2**40)  # a sparse file
    with pytest.raises(DamagedError, match=r"states\.json: cannot be read .* the maximum is 67,108,864"):
        state_dict.read(tmp_path, CPU)


@pytest.mark.promise("checkpoints-execute-nothing")
def test_state_dict_writes_only_json_and_safetensors(tmp_path: Path) -> None:
    state_dict.write(tmp_path, {"x": torch.ones(2)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["states.json", "states.safetensors"]
    assert json.loads((tmp_path / state_dict.TREE).read_text()) == {"dict": [["x", {"tensor": "x"}]]}
