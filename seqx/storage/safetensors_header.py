"""Read and check the header of a safetensors file before any tensor is loaded.

A file begins with the length of the header (8 bytes, little-endian). The header follows in JSON, with type,
shape and offsets of each tensor, and then the bytes of all tensors.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Lt, MaxLen
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn.modules import module as torch_module
from typing_extensions import TypedDict

from seqx.errors import UserError, shortened, unreadable
from seqx.storage.bounded_read import BoundError
from seqx.storage.json_format import first_error

MAX_HEADER_BYTES = 1 << 24
"""Maximum size of a header. The header of a thousand tensors has about a hundred thousand bytes."""

MAX_TENSORS = 100_000
"""Maximum number of tensors in a file; a model of a hundred layers has a few thousand."""

MODULES_PER_TENSOR = 64
"""Maximum number of modules of a model for each tensor in its file, see `limit_module_count`."""

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_METADATA = "__metadata__"


class TensorInfo(NamedTuple):
    """Type and shape of a tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]


_Count = Annotated[int, Ge(0), Lt(1 << 63)]


class _Entry(TypedDict):
    dtype: str
    shape: Annotated[list[_Count], MaxLen(8)]
    data_offsets: tuple[_Count, _Count]


_ENTRY = TypeAdapter(_Entry)


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Return type and shape of each tensor in a file, by name.

    Raises:
        DamagedError: the header cannot be read, is too long, or does not match the size of the file
    """
    try:
        entries, size = _entries(file)
        tensors, end = {}, 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape = _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
            if dtype is None:
                raise ValueError(  # noqa: TRY301
                    f"{shortened(name)} has the unknown type {shortened(entry['dtype'])!r}"
                )
            start, stop = entry["data_offsets"]
            if start != end or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"the offsets of {shortened(name)} do not match its shape and type")  # noqa: TRY301
            tensors[name], end = TensorInfo(dtype, shape), stop
        if end != size:
            raise ValueError(f"its tensors have {size:,} bytes, but {end:,} according to its header")  # noqa: TRY301
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(file, error) from None
    return tensors


def _entries(file: Path) -> tuple[dict[str, _Entry], int]:
    """Return the entries of the header, and the number of bytes that follow it."""
    if file.exists() and not file.is_file():
        raise BoundError(0, "it is not a regular file")
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {length:,} bytes; the maximum is {MAX_HEADER_BYTES:,}")
        if length + 8 > size:
            raise ValueError(f"its header has {length:,} bytes, but the file has only {size:,}")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")  # noqa: TRY004  the caller handles ValueError
    header.pop(_METADATA, None)
    if len(header) > MAX_TENSORS:
        raise ValueError(f"its header names {len(header):,} tensors; the maximum is {MAX_TENSORS:,}")
    return {name: _entry(name, value) for name, value in header.items()}, size - length - 8


def _entry(name: str, value: object) -> _Entry:
    try:
        return _ENTRY.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"its header: {first_error(error, value, name)}") from None


def check_fits(model: nn.Module, tensors: Mapping[str, TensorInfo], file: Path) -> None:
    """Check that the tensors in a file are those of a model, which may be on the meta device.

    A tensor that the model has under several names (tied embeddings) is in the file under one of them.
    Floating-point types are interchangeable, since weights are converted when they are loaded.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape or type
    """
    expected = model.state_dict(keep_vars=True)
    removed = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in model.named_modules()
        for name in getattr(module, "removed_weights", ())
    }
    present = {id(tensor) for name, tensor in expected.items() if name in tensors}
    problems = [
        f"{shortened(name)} is missing" for name, tensor in expected.items() if id(tensor) not in present
    ]
    problems += [
        f"{shortened(name)} is not a tensor of the model"
        for name in tensors
        if name not in expected and name not in removed
    ]
    for name, info in tensors.items():
        tensor = expected.get(name)
        if tensor is None:
            continue
        if tuple(tensor.shape) != info.shape:
            problems.append(f"{name} is {list(info.shape)} and should be {list(tensor.shape)}")
        elif tensor.dtype != info.dtype and not (
            tensor.dtype.is_floating_point and info.dtype.is_floating_point
        ):
            problems.append(f"{name} is of {info.dtype} and should be of {tensor.dtype}")
    if problems:
        raise other_model(file, problems)


def other_model(file: Path, problems: Sequence[str]) -> UserError:
    """Return the error about a file whose weights do not fit the model of the recipe."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UserError(
        f"{file}: holds the weights of another model: {problems[0]}{more}; restore the file that belongs to "
        "the recipe"
    )


@contextmanager
def limit_module_count(tensors: Mapping[str, TensorInfo], file: Path) -> Iterator[None]:
    """Stop building a model in the block if it has far more modules than the file has tensors.

    An untrusted recipe can ask for billions of layers. Building them takes days, even on the meta device.

    Raises:
        UserError: the model has too many modules
    """
    remaining = MODULES_PER_TENSOR * (len(tensors) + 16)

    def count(*_: object) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            raise other_model(
                file, [f"it has {len(tensors)} tensors, far fewer than the model that the recipe describes"]
            )

    hooks = [
        torch_module.register_module_module_registration_hook(count),
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
