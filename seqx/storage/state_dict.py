"""Save nested states as JSON and safetensors, without loss.

States are dicts, lists, tuples, numbers, strings and tensors. Tensors are in the safetensors file. Values
that JSON lacks are objects with one key: "tensor" (the name of the tensor), "tuple", "dict" (a list of pairs,
so that keys may be numbers), and "float" (the eight bytes of a number that is not finite).
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
from seqx.storage.bounded_read import read_bounded_json

TREE, TENSORS = "states.json", "states.safetensors"
_MAX_BYTES = 2**26  # of JSON; the states of a model of 10,000 parameter tensors have about 3 MB
_MAX_DEPTH = 64


def write(folder: Path, states: Mapping[str, Any]) -> None:
    """Write states into a folder, as two files.

    Raises:
        UserError: a state contains an object of another type, or is nested too deeply
    """
    tensors: dict[str, Tensor] = {}
    tree = _encoded(states, (), tensors)
    save_file(tensors, folder / TENSORS)
    (folder / TREE).write_text(json.dumps(tree, allow_nan=False) + "\n", encoding="utf-8")


def read(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read the states in a folder, with tensors on a device.

    Raises:
        DamagedError: they cannot be read
    """
    file = folder / TENSORS
    try:
        tensors = load_file(file, device=str(device))
        file = folder / TREE
        states = _decoded(read_bounded_json(file, _MAX_BYTES), tensors, 0)
        if not isinstance(states, dict):
            raise TypeError("not a dict")  # noqa: TRY301
    except OSError as error:
        raise unreadable(file, error) from None
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        reason = shortened(str(error), 200)
        raise DamagedError(f"{file}: cannot be read ({type(error).__name__}: {reason})") from None
    return states


def _encoded(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if len(path) > _MAX_DEPTH:
        raise UserError(f"{path[0]}: its state_dict is nested more than {_MAX_DEPTH} levels deep; flatten it")
    match value:
        case Tensor():
            name = ".".join(path)
            while name in tensors:  # {"a.b": ...} beside {"a": {"b": ...}}
                name += "'"
            # safetensors refuses tensors that share memory, so copy each; to the memory of the CPU, because
            # that of a GPU may have no space for a second state of the optimizer.
            tensors[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            return {"tensor": name}
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        case Mapping():
            return {
                "dict": [
                    [_key(key, path), _encoded(item, (*path, str(key)), tensors)]
                    for key, item in value.items()
                ]
            }
        case tuple() | list():
            items = [_encoded(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        case _:
            raise UserError(
                f"{path[0]}: its state_dict contains a {type(value).__name__} ({'.'.join(path)}); use only "
                "tensors, numbers, strings, dicts, lists and tuples"
            )


def _key(key: object, path: tuple[str, ...]) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise UserError(
        f"{path[0]}: its state_dict has the key {key!r} ({'.'.join(path)}); use only strings and integers as "
        "keys"
    )


def _decoded(node: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
    match node:
        case {"tensor": str(name)}:
            return tensors[name]
        case {"float": str(text)}:
            return struct.unpack(">d", bytes.fromhex(text))[0]
        case {"tuple": list(items)}:
            return tuple(_decoded(item, tensors, depth + 1) for item in items)
        case {"dict": list(pairs)}:
            return {key: _decoded(item, tensors, depth + 1) for key, item in pairs}
        case list(items):
            return [_decoded(item, tensors, depth + 1) for item in items]
        case dict():
            raise ValueError(f"it has an object with the keys {sorted(node)[:5]}")
        case _:
            return node
