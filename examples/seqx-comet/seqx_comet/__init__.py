"""COMET: a metric with a trained model that reads source, output and reference (Rei et al. 2020)."""

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import seqx
from annotated_types import Ge

_PACKAGE = "unbabel-comet"


class Comet(seqx.Metric):
    """COMET as the package unbabel-comet computes it: the mean of the scores of the sentences, times 100.

    Args:
        model: name of a COMET model, or path of its checkpoint; a name is downloaded on its first use
        batch_size: number of sentences per batch
        gpus: number of GPUs; 0: the CPU
    """

    def __init__(
        self,
        *,
        model: str = "Unbabel/wmt22-comet-da",
        batch_size: Annotated[int, Ge(1)] = 8,
        gpus: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.gpus = gpus
        self._sources: list[str] | None = None

    def for_sources(self, sources: Sequence[str]) -> "Comet":
        """Return this metric for the outputs of these sources."""
        bound = Comet(model=self.model, batch_size=self.batch_size, gpus=self.gpus)
        bound._sources = list(sources)
        return bound

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        """Return the mean score of the outputs, as `comet`."""
        scores = self._scores(outputs, references)
        return {"comet": self._score(sum(scores) / max(1, len(scores)))}

    def sentence_scores(
        self, outputs: Sequence[str], *references: Sequence[str]
    ) -> list[Mapping[str, seqx.Score]]:
        """Return the score of each output."""
        if len(references) != 1:
            return super().sentence_scores(outputs, *references)
        return [{"comet": self._score(score)} for score in self._scores(outputs, references[0])]

    def score_names(self) -> Sequence[str]:
        """Return the name of the score, without loading a model."""
        return ["comet"]

    def _score(self, value: float) -> seqx.Score:
        try:
            installed = version(_PACKAGE)
        except PackageNotFoundError:
            installed = "unknown"
        return seqx.Score(value=100 * value, signature=f"model:{Path(self.model).name}|version:{installed}")

    def _scores(self, outputs: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return COMET's score of each output.

        Raises:
            UserError: the sources are unknown, or the package or the model is missing
        """
        if self._sources is None:
            message = "comet: reads the sources of the outputs; name their file, as in --source test.en"
            raise seqx.UserError(message)
        columns = zip(self._sources, outputs, references, strict=True)
        rows = [{"src": source, "mt": output, "ref": reference} for source, output, reference in columns]
        predicted = self._load().predict(rows, batch_size=self.batch_size, gpus=self.gpus, progress_bar=False)
        return [float(score) for score in predicted.scores]

    def _load(self) -> Any:  # noqa: ANN401  a class of an optional package
        try:
            comet = importlib.import_module("comet")
        except ImportError as error:
            message = (
                f"comet: {_PACKAGE} cannot be imported ({error}); install the extra of this plugin in its "
                "folder: pip install '.[comet]'"
            )
            raise seqx.UserError(message) from None
        try:
            path = self.model if Path(self.model).is_file() else comet.download_model(self.model)
            return comet.load_from_checkpoint(path)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            message = (
                f"comet: the model {self.model} cannot be loaded ({error}); check its name and the "
                "connection to the hub, or set model to the path of a checkpoint"
            )
            raise seqx.UserError(message) from None


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the metric."""
    registry.add(seqx.Metric, comet=Comet)
