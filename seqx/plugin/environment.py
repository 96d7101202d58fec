"""The versions of packages and plugins, and the machine."""

import functools
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from seqx import __version__
from seqx.plugin.loading import Plugins
from seqx.runtime.devices import uses_cuda


def environment(plugins: Plugins) -> dict[str, Any]:
    """Return the versions and the machine that a run uses, for `environment.json`."""
    packages = ("torch", "numpy", "sentencepiece", "sacrebleu", "safetensors", "pydantic", "pluggy")
    # Reading the name of the GPU would initialise CUDA, which a run on a CPU must not do.
    cuda = torch.cuda.get_device_name() if uses_cuda() else None
    return {
        "seqx": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "plugins": {
            plugin.key: {
                "version": plugin.version,
                "from": plugin.source if plugin.sha256 is None else "the recipe",
                "sha256": plugin.sha256,
            }
            for plugin in plugins.loaded
        },
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": cuda,
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
