"""The options of commands that load trained models."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from seqx.commands.arguments import batch_tokens_option, device_option, precision_option, trust_option
from seqx.commands.component_option import component_from_option
from seqx.errors import UserError
from seqx.inference import Predictor, load
from seqx.interfaces.exchange import Engine
from seqx.runtime.precision import InferencePrecision

_OPTIONS = (
    device_option,
    precision_option,
    batch_tokens_option,
    click.option(
        "--engine",
        metavar="NAME",
        help="Program that computes the search, such as ctranslate2; left out: seqx. "
        "`seqx components engine` lists them.",
    ),
    click.option(
        "--compute", metavar="FORMAT", help="Number format in which the engine computes, such as int8."
    ),
    trust_option,
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The options that say how models are loaded and where they compute."""

    device: str  # name of the device
    precision: InferencePrecision  # number format of matrix products
    batch_tokens: int | None  # maximum padded tokens of a batch; None: the default of the device
    engine: str | None  # program that computes the search; None: seqx
    compute: str | None  # number format of the engine; None: its default
    trust_local_plugins: bool  # run the local plugins of the models

    def load(
        self, models: Sequence[str], overrides: Sequence[str] = (), *, lenient: bool = False
    ) -> Predictor:
        """Load a model, or several models as an ensemble.

        Args:
            models: model folders
            overrides: settings as KEY=VALUE
            lenient: see `Predictor`

        Raises:
            UserError: the options are inconsistent, or the models cannot be used
        """
        return load(
            models,
            device=self.device,
            precision=self.precision,
            overrides=overrides,
            batch_tokens=self.batch_tokens,
            trust_local_plugins=self.trust_local_plugins,
            lenient=lenient,
            engine=self._engine(),
        )

    def _engine(self) -> Engine | None:
        """Return the engine that the options name; None: the search of seqx."""
        if self.engine is None:
            if self.compute is not None:
                raise UserError(
                    f"--compute {self.compute} is for an engine; add --engine, or use --precision"
                )
            return None
        settings = () if self.compute is None else (f"compute={self.compute}",)
        return component_from_option(Engine, "--engine", self.engine, settings)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `ModelOptions`, which it gets as the keyword argument `options`."""

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        device: str,
        precision: InferencePrecision,
        batch_tokens: int | None,
        engine: str | None,
        compute: str | None,
        trust_local_plugins: bool,
        **others: Any,
    ) -> None:
        options = ModelOptions(
            device=device,
            precision=precision,
            batch_tokens=batch_tokens,
            engine=engine,
            compute=compute,
            trust_local_plugins=trust_local_plugins,
        )
        command(*arguments, options=options, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
