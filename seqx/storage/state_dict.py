"""States on disk: nested dicts, lists, numbers, strings and tensors, as JSON beside safetensors, bit by bit.

Where a tensor stands, the JSON has its name in the other file. Plain values stand for themselves; what JSON
has no word for is an object with one key that says what it is: "dict" (pairs, so that keys may be numbers),
"tuple", "float" (one that is not finite, as its eight bytes), "tensor".
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqx.errors import DamagedError, UserError, shortened, unreadable
from seqx.storage.bounded_read import json_content

TREE, TENSORS = "states.json", "states.safetensors"
_LARGEST = 2**26  # bytes of JSON: a model of 10,000 parameters has states of about 3 MB
_DEEPEST = 64


def write(folder: Path, states: Mapping[str, Any]) -> None:
    """Write states into a folder, as two files.

    Raises:
        UserError: a state holds what is neither a number, a string, a tensor, nor a dict or list of such
    """
    tensors: dict[str, Tensor] = {}
    tree = _flat(states, (), tensors)
    save_file(tensors, folder / TENSORS)
    (folder / TREE).write_text(json.dumps(tree, allow_nan=False) + "\n", encoding="utf-8")


def read(folder: Path, device: torch.device) -> dict[str, Any]:
    """The states that were written into a folder, with tensors on a device.

    Raises:
        DamagedError: they cannot be read
    """
    file = folder / TENSORS
    try:
        tensors = load_file(file, device=str(device))
        file = folder / TREE
        states = _tree(file, tensors)
    except OSError as error:
        raise unreadable(file, error) from None
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        said = shortened(str(error), 200)
        raise DamagedError(f"{file}: cannot be read ({type(error).__name__}: {said})") from None
    return states


def _flat(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if len(path) > _DEEPEST:
        raise UserError(f"{path[0]}: its state_dict is nested more than {_DEEPEST} deep")
    match value:
        case Tensor():
            name = ".".join(path)
            while name in tensors:  # {"a.b": ...} beside {"a": {"b": ...}}
                name += "'"
            # A copy where memory is shared: each name has its own tensor in the file.
            tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
            return {"tensor": name}
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        case Mapping():
            return {
                "dict": [
                    [_key(key, path), _flat(item, (*path, str(key)), tensors)] for key, item in value.items()
                ]
            }
        case tuple() | list():
            items = [_flat(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        case _:
            raise UserError(
                f"{path[0]}: its state_dict holds a {type(value).__name__} ({'.'.join(path)}); what is saved "
                "is tensors, numbers, strings, and dicts, lists and tuples of them"
            )


def _key(key: object, path: tuple[str, ...]) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise UserError(
        f"{path[0]}: its state_dict has a key that is neither a string nor an integer: {key!r} "
        f"({'.'.join(path)})"
    )


def _tree(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    states = _nested(json_content(file, _LARGEST), tensors, 0)
    if not isinstance(states, dict):
        raise TypeError("not a dict")
    return states


def _nested(node: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    match node:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"float": str(text)}:
            return struct.unpack(">d", bytes.fromhex(text))[0]
        case {"tuple": list(items)}:
            return tuple(_nested(item, tensors, depth + 1) for item in items)
        case {"dict": list(pairs)}:
            return {key: _nested(item, tensors, depth + 1) for key, item in pairs}
        case list(items):
            return [_nested(item, tensors, depth + 1) for item in items]
        case dict():
            raise ValueError(f"an object of {sorted(node)[:5]}")
        case _:
            return node
