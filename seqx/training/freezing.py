"""Parameters of an initial model that are not trained."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

from torch import nn

from seqx.errors import Problem, UserError
from seqx.recipe import Configured
from seqx.recipe.suggestions import hint
from seqx.storage.safetensors_header import read_header
from seqx.storage.weights import WEIGHTS
from seqx.training.config import InitialModel


def frozen_parameters(model: nn.Module, pattern: str) -> dict[str, nn.Parameter]:
    """Return the parameters whose name, or the name of a module around them, matches a pattern."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if any(fnmatchcase(prefix, pattern) for prefix in _prefixes(name))
    }


def _prefixes(name: str) -> Iterator[str]:
    """Yield the names of the modules around a parameter, and its own."""
    return accumulate(name.split("."), "{}.{}".format)


def _depth(name: str) -> tuple[int, str]:
    return name.count("."), name


def freeze_problems(recipe: Configured[Any], initial: InitialModel, model: nn.Module) -> Iterator[Problem]:
    """Yield a problem for each pattern that matches no parameter, and one if nothing is left to train."""
    frozen: set[str] = set()
    names = [name for name, _ in model.named_parameters()]
    for index, pattern in enumerate(initial.freeze):
        matched = frozen_parameters(model, pattern)
        if not matched:
            known = sorted({prefix for name in names for prefix in _prefixes(name)}, key=_depth)
            yield recipe.problem(
                f"training.init_from.freeze.{index}",
                f"no parameter of the model matches {pattern!r}{hint(pattern, known)}",
            )
        frozen |= matched.keys()
    if len(frozen) == len(names):
        yield recipe.problem(
            "training.init_from.freeze",
            "all parameters are frozen, so there is nothing to train; remove some",
        )


def freeze(initial: InitialModel, model: nn.Module, folder: Path | None) -> None:
    """Freeze the parameters that `training.init_from.freeze` names.

    Args:
        initial: the section `training.init_from`
        model: the model, with the weights of the initial model
        folder: the folder of the initial model; None: it is missing, and a checkpoint has the weights

    Raises:
        UserError: a frozen parameter has new rows, which would never be trained
    """
    header = {} if folder is None else read_header(folder / WEIGHTS)
    for pattern in initial.freeze:
        for name, parameter in frozen_parameters(model, pattern).items():
            if name in header and header[name].shape != tuple(parameter.shape):
                raise UserError(
                    f"training.init_from.freeze: {name} has new rows for the extended vocabulary, which "
                    "would not be trained; do not freeze it, or set vocabulary: keep"
                )
            parameter.requires_grad = False
