"""What a file of tensors says of itself: read, checked and compared before any tensor is.

The format is that of safetensors: 8 bytes with the length of the header (little-endian), the header in JSON
(for each tensor its type, shape, and place), and the tensors one after another.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Lt, MaxLen
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn.modules import module as registering
from typing_extensions import TypedDict

from seqx.errors import UserError, shortened, unreadable
from seqx.storage.bounded_read import BoundError
from seqx.storage.json_format import first_fault

HEADER = 1 << 24
"""Most bytes of a header; that of a model of a thousand tensors has a hundred thousand."""

TENSORS = 100_000
"""Most tensors of a file; a model of a hundred layers has a few thousand."""

MODULES = 64
"""Most modules of a model for each tensor that its file holds, see `bounded`."""

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


class Said(NamedTuple):
    """Type and shape of a tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]


_Count = Annotated[int, Ge(0), Lt(1 << 63)]


class _Entry(TypedDict):
    dtype: str
    shape: Annotated[list[_Count], MaxLen(8)]
    data_offsets: tuple[_Count, _Count]


_ENTRY = TypeAdapter(_Entry)


def header(file: Path) -> dict[str, Said]:
    """What the tensors of a file are by its header, which belongs to a file of its size.

    Raises:
        DamagedError: it cannot be read, is too long, or does not describe the bytes that follow it
    """
    try:
        entries, size = _entries(file)
        said, end = {}, 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape = _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
            if dtype is None:
                raise ValueError(  # noqa: TRY301
                    f"{shortened(name)} is of the type {shortened(entry['dtype'])!r}, which no model has"
                )
            start, stop = entry["data_offsets"]
            if start != end or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{shortened(name)} is not where its shape and type put it")  # noqa: TRY301
            said[name], end = Said(dtype, shape), stop
        if end != size:
            raise ValueError(f"the tensors have {end:,} bytes by its header, and {size:,} in the file")  # noqa: TRY301
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(file, error) from None
    return said


def _entries(file: Path) -> tuple[dict[str, _Entry], int]:
    """The header as it is written, and the bytes that follow it."""
    if file.exists() and not file.is_file():
        raise BoundError(0, "it is no plain file")
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if length > HEADER:
            raise ValueError(f"its header would have {length:,} bytes, and none has more than {HEADER:,}")
        if length + 8 > size:
            raise ValueError(f"its header would have {length:,} bytes, and the file has {size:,}")
        written = json.loads(stream.read(length))
    if not isinstance(written, dict):
        raise ValueError("its header is no JSON object")  # noqa: TRY004  what the caller tells
    written.pop(_METADATA, None)
    if len(written) > TENSORS:
        raise ValueError(f"its header names {len(written):,} tensors, and none names more than {TENSORS:,}")
    return {name: _entry(name, about) for name, about in written.items()}, size - length - 8


def _entry(name: str, about: object) -> _Entry:
    try:
        return _ENTRY.validate_python(about)
    except ValidationError as error:
        raise ValueError(f"its header: {first_fault(error, name)}") from None


def check_fits(model: nn.Module, said: Mapping[str, Said], file: Path) -> None:
    """Compare what a file holds with what a model wants, which may have been built without memory.

    Tensors that the model has under several names are in the file under one of them. Floating-point types
    stand for each other, since weights are converted when they are loaded.

    Raises:
        UserError: a tensor is missing, too many, or of another shape or type
    """
    wanted = model.state_dict(keep_vars=True)
    held = {id(tensor) for name, tensor in wanted.items() if name in said}
    faults = [f"{shortened(name)} is missing" for name, tensor in wanted.items() if id(tensor) not in held]
    faults += [f"{shortened(name)} is none of its tensors" for name in said if name not in wanted]
    for name, found in said.items():
        tensor = wanted.get(name)
        if tensor is None:
            continue
        if tuple(tensor.shape) != found.shape:
            faults.append(f"{name} is {list(found.shape)} and should be {list(tensor.shape)}")
        elif tensor.dtype != found.dtype and not (
            tensor.dtype.is_floating_point and found.dtype.is_floating_point
        ):
            faults.append(f"{name} is of {found.dtype} and should be of {tensor.dtype}")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"{file}: holds the weights of another model: {faults[0]}{more}")


@contextmanager
def bounded(said: Mapping[str, Said], file: Path) -> Iterator[None]:
    """A stretch in which no model is built that has many more parts than a file has tensors.

    A recipe can ask for a thousand million layers; even without memory for weights building them has no end.

    Raises:
        UserError: it would have more
    """
    left = MODULES * (len(said) + 16)

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise UserError(
                f"{file}: holds the weights of another model: its {len(said)} tensors are far "
                "fewer than those of the model that the recipe describes"
            )

    hooks = [
        registering.register_module_module_registration_hook(count),
        registering.register_module_parameter_registration_hook(count),
        registering.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
