"""The interfaces of exporters and importers, which convert models to and from formats of other programs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained model with its task, as an exporter needs it."""

    recipe: Mapping[str, Any]  # the resolved recipe, as plain values, with the current names of settings
    task: Task  # with its vocabulary
    model: Model  # in evaluation mode, on the CPU, in float32
    vocabulary: Path  # the folder with the files of the vocabulary, which `Task.load` reads


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
