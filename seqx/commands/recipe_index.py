"""Facts about included recipes, and the speed of this machine; the command `seqx recipes` prints them."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from seqx.errors import UserError
from seqx.plugin.loading import Plugins, load_plugins
from seqx.recipe import check, included_recipes, load, yaml_tree
from seqx.runtime.devices import device_of
from seqx.runtime.matrix_products import fast_products
from seqx.runtime.precision import precision_of
from seqx.storage.cache_folder import default_cache
from seqx.training.description import Experiment
from seqx.training.preflight import count_parameters

_SIZE = 1024  # rows and columns of the matrices by which the speed is measured
_REPETITIONS = 5
_FLOP_PER_PARAMETER = 6  # and per token: two forward, four backward (Kaplan et al. 2020)
_SAMPLE = "sample"


def index() -> tuple[dict[str, Any], bool]:
    """Return the facts about all included recipes and the speed, and true if all plugins loaded.

    Only then may the facts be stored.
    """
    plugins = load_plugins()
    return {"flops_per_second": matmul_speed(), "recipes": [*_recipes(plugins)]}, not plugins.faults


def matmul_speed() -> float:
    """Measure the floating-point operations per second of large matrix products on this machine."""
    device = device_of("auto")
    precision = precision_of("auto", device)
    matrix = torch.ones(_SIZE, _SIZE, dtype=torch.bfloat16 if precision == "bf16" else None, device=device)
    with fast_products(device, precision):
        (matrix @ matrix).sum().item()  # the first product prepares the library
        seconds = []
        for _ in range(_REPETITIONS):
            start = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for the device
            seconds.append(time.perf_counter() - start)
    return 2 * _SIZE**3 / min(seconds)


def _recipes(plugins: Plugins) -> Iterator[dict[str, Any]]:
    """Yield the facts about each recipe, and about its profile `sample` if its file has one."""
    for name, path in included_recipes().items():
        own_profiles = yaml_tree.read(path).plain().get("profiles") or {}
        for profile in (None, *(each for each in (_SAMPLE,) if own_profiles.get(each))):
            try:
                yield {"name": name, "profile": profile, **_facts(name, profile, plugins)}
            except UserError as error:
                yield {"name": name, "profile": profile, "error": str(error).partition("\n")[0]}


def _facts(name: str, profile: str | None, plugins: Plugins) -> dict[str, Any]:
    configured = check(load(name, profile).tree, plugins.registry, Experiment)
    experiment = configured()
    task, training = experiment.task, experiment.training
    parameters = count_parameters(experiment)
    tokens = training.steps * training.tokens * max(1.0, task.source_tokens)
    required = task.required_data(default_cache() / "corpora")
    return {
        "task": configured.name_of("task"),
        "parameters": parameters,
        "flops": _FLOP_PER_PARAMETER * parameters * tokens,
        "data": None
        if required is None
        else {"files": [*required.files], "download_bytes": required.download_bytes},
    }
