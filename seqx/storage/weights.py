"""Read, average and verify the weights of models.

Folders with weights are written atomically, the manifest last. Readers check the sizes of all files in the
manifest, and the hash of each file that they read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from torch import Tensor, nn

from seqx.errors import DamagedError, UserError, unreadable, unwritable
from seqx.runtime.devices import is_out_of_memory
from seqx.storage.atomic import atomic_folder
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import MANIFEST, Manifest
from seqx.storage.safetensors_header import check_fits, other_model, read_header

WEIGHTS = "model.safetensors"


def read_weights(model: nn.Module, file: Path) -> None:
    """Load the weights in a file into a model.

    Raises:
        DamagedError: the file is missing, damaged or changed
        UserError: the weights are those of another model
    """
    tensors = read_header(file)
    checked_manifest(file.parent, file.name)
    check_fits(model, tensors, file)
    try:
        load_model(model, str(file), strict=False)  # `check_fits` was strict, except for removed weights
    except (SafetensorError, OSError) as error:
        raise unreadable(file, error) from None
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:] or [str(error)]]
        raise other_model(file, problems) from None


def check_weights(file: Path) -> None:
    """Check the header and the hash of a file of weights, without loading its tensors.

    Raises:
        DamagedError: the file is missing, damaged or changed
    """
    read_header(file)
    checked_manifest(file.parent, file.name)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of weights.

    Raises:
        DamagedError: the file is missing, damaged or changed
    """
    check_weights(file)
    try:
        return load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise unreadable(file, error) from None


def average(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of the weights in several files, computed in double precision.

    Raises:
        DamagedError: a file is missing, damaged or changed
        UserError: the files hold different tensors
    """
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for file in files:
        weights = read_tensors(file)
        if total and _shapes(weights) != _shapes(total):
            raise UserError(f"{file}: holds other tensors than {files[0]}; average checkpoints of one run")
        for name, tensor in weights.items():
            dtypes[name] = tensor.dtype
            total[name] = total.get(name, 0) + tensor.double()
    return {name: (tensor / len(files)).to(dtypes[name]) for name, tensor in total.items()}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def checked_manifest(folder: Path, *names: str) -> Manifest | None:
    """Read the manifest of a folder; check the sizes of all files, and the hashes of the files `names`.

    Returns:
        the manifest; None if the folder has none

    Raises:
        DamagedError: the manifest or a file is damaged
        UserError: a newer version of seqx wrote the folder
    """
    manifest = Manifest.read(folder, FORMAT)
    if manifest is not None:
        manifest.check_sizes()
        if names:
            manifest.check_hashes(*names)
    return manifest


def missing_manifest(folder: Path) -> DamagedError:
    """Return the error about a folder that should have a manifest."""
    return DamagedError(f"{folder / MANIFEST}: cannot be read (it is missing)")


@contextmanager
def sealed_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; after the block, add a manifest, check the hashes, and replace `folder`.

    Raises:
        UserError: the folder cannot be written, or its hashes are wrong when it is read again
    """
    with atomic_folder(folder, check=partial(_verify, path=folder)) as new:
        try:
            yield new
            Manifest.seal(new, FORMAT)
        except (SafetensorError, RuntimeError) as error:  # torch and safetensors raise these on a full disk
            if is_out_of_memory(error):
                raise
            raise unwritable(folder, error, "check the disk") from None


def _verify(new: Path, *, path: Path) -> None:
    """Check the hashes of a new folder, as read from the disk, before it is moved to `path`."""
    try:
        manifest = Manifest.read(new, FORMAT)
        assert manifest is not None, "it was written last"
        manifest.drop_page_cache()
        manifest.check_sizes()
        manifest.check_hashes()
    except (DamagedError, OSError) as error:
        message = str(error).replace(str(new), str(path))
        raise UserError(
            f"{message}, though it was just written; check the disk, and run the same command again (older "
            "checkpoints are kept)"
        ) from None
