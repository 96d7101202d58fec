"""The interfaces of exporters and importers, which convert models to and from formats of other programs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import Score
from seqx.interfaces.task import Task


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained model with its task, as an exporter needs it."""

    recipe: Mapping[str, Any]  # that of the model folder, as plain values
    task: Task  # with its vocabulary
    model: Model  # in evaluation mode, on the CPU, in float32
    vocabulary: Path  # the folder with the files of the vocabulary, which `Task.load` reads
    search: Search | None = None  # of the recipe, if the task uses one
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)  # those known, by split and name
    license: str | None = None  # the licence of the model, such as "cc-by-4.0"; None: not stated


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """The recipe and the weights that an importer read.

    The recipe has a task, a model and, if the task uses one, a search.
    """

    recipe: Mapping[str, Any]
    weights: Mapping[str, Tensor]  # by the names of the model's state dict


class Exporter(ABC):
    """A format in which a trained model can be written for other programs: `seqx export --to NAME`."""

    def problems(self, model: TrainedModel) -> Iterable[str]:
        """Return the reasons why the format cannot express this model, one for each setting.

        For example: "model.decoder.positions: the format has no rotary positions; train with sinusoidal".
        """
        return ()

    @abstractmethod
    def write(self, model: TrainedModel, folder: Path) -> None:
        """Write the model into an empty folder, which the command renames when it is complete."""


class Engine(Exporter):
    """A format whose program can search for the answers of a model: `--engine NAME`.

    `write` converts a model once; the folder stays in the cache. The search that `search` returns should find
    the same hypotheses as the search of the recipe.
    """

    def identity(self) -> Mapping[str, object]:
        """Return plain values on which the files of `write` depend, such as the version of the program."""
        return {}

    @abstractmethod
    def search(self, model: TrainedModel, folder: Path) -> Search:
        """Return a search that runs the program instead of the model.

        Args:
            model: the model, with its search
            folder: the folder that `write` has written for this model, which must not be changed
        """


class Importer(ABC):
    """A format of another program, from which a model can be read: `seqx import --from NAME`."""

    @abstractmethod
    def read(self, source: Path, vocabulary: Path) -> ImportedModel:
        """Read a model.

        Args:
            source: the file or folder that the user names; its content is not trusted
            vocabulary: an empty folder, for the files that `Task.load` of the imported recipe reads

        Raises:
            UserError: the source is not in this format, or seqx cannot express the model
        """
