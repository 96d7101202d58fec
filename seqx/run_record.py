"""Read the content of a run folder, for programs that analyse runs."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt, MinLen
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from seqx import __version__
from seqx.data.cache import fingerprint
from seqx.errors import UserError
from seqx.inference import Predictor, load
from seqx.interfaces.scores import Score
from seqx.plugin.loading import load_plugins
from seqx.plugin.notebook import notebook_html
from seqx.recipe import read_stored, with_current_names
from seqx.run_folder import LINK_CHECKED, ORIGINS, RunFolder
from seqx.storage.atomic import check_links
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.json_format import read_as, read_json
from seqx.storage.metrics_file import MetricsFile, RecordedMetrics
from seqx.storage.weights import WEIGHTS
from seqx.training import description
from seqx.training.candidates import WeightsCandidate, read_compared


class _ModelInfo(TypedDict):
    """The fields of `model.json` that this module reads."""

    steps: Annotated[list[Annotated[int, Ge(0), Lt(1 << 63)]], MinLen(1)]
    parameters: Annotated[int, Ge(0), Lt(1 << 63)]


_MODEL_INFO = TypeAdapter(_ModelInfo)


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """The content of a run folder, whether the run is finished or not."""

    folder: Path
    recipe: Mapping[str, Any]  # the resolved recipe, as plain values, with the current names of settings
    environment: Mapping[str, Any]  # versions, hardware, threads and processes
    vocabulary: str  # a digest: equal vocabularies have equal digests
    progress: TrainingProgress  # at the newest checkpoint
    parameters: int | None  # None if the run is not finished
    scores: Mapping[str, Mapping[str, Score]] | None  # by split and metric; None if it is not finished
    compared: Sequence[WeightsCandidate] = ()  # candidates for the final weights, the best first

    @property
    def origins(self) -> str | None:
        """The resolved recipe with the origin of each value; None if an earlier version began the run."""
        file = self.folder / ORIGINS
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None

    @cached_property
    def metrics(self) -> RecordedMetrics:
        """The losses, scores and other metrics that the callback `metrics` recorded."""
        return MetricsFile(self.folder).read()

    def __repr__(self) -> str:
        """Return the folder and the state; the fields are too long."""
        return f"<seqx.Record of {self.folder}, {'not finished' if self.scores is None else 'finished'}>"

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    def predictor(self, **options: Any) -> Predictor:
        """Load the final model of a finished run, with the options of `seqx.load`.

        The local plugins of the run are executed only with `trust_local_plugins=True`.

        Raises:
            UserError: the run is not finished, or its model cannot be loaded
        """
        return load(self.folder, **options)

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """Read a run folder; the plugins of the run need not be installed.

        Settings that were renamed since the run began have their current names in `recipe`, except those of
        components whose plugin is not installed. Local plugins are not run.

        Raises:
            UserError: the folder has no run, or another version of seqx wrote it and this one cannot read it
        """
        folder = Path(folder)
        if (folder / WEIGHTS).is_file():
            raise UserError(f"{folder}: is the folder of a model; {_advice_on_model(folder)}")
        if not (folder / "recipe.yaml").is_file():
            raise UserError(f"{folder}: is not the folder of a run; name one, such as runs/NAME")
        check_links(folder, *LINK_CHECKED)
        run_folder = RunFolder(folder)
        stored, environment = read_stored(folder / "recipe.yaml"), read_json(folder / "environment.json")
        try:
            recipe = with_current_names(stored, load_plugins().registry, description.Experiment)
            scores = run_folder.scores(recipe["training"])
            info = read_as(_MODEL_INFO, run_folder.model / "model.json") if scores is not None else None
            return cls(
                folder=folder,
                recipe=recipe,
                environment=environment,
                vocabulary=fingerprint(run_folder.vocabulary),
                progress=run_folder.checkpoints.progress() or TrainingProgress(step=_last_step(info)),
                parameters=info["parameters"] if info else None,
                scores=scores,
                compared=() if scores is None else read_compared(run_folder.model),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"{folder}: cannot be read ({type(error).__name__}: {error}); read it with seqx "
                f"{environment.get('seqx')}, which wrote it (this is seqx {__version__})"
            ) from None


def _advice_on_model(folder: Path) -> str:
    """Return the end of the message about a model folder that was named instead of a run folder."""
    run = folder.absolute().parent
    if (run / "recipe.yaml").is_file():
        return f"name the folder of its run, {folder.parent if folder.name else run}"
    return (
        "it has no run, for example because it was imported, so there are no recorded outputs and curves; "
        f"score it with `seqx evaluate {shlex.quote(str(folder))}`, and other models in the same way"
    )


def _last_step(info: _ModelInfo | None) -> int:
    """Return the last step of a model whose checkpoints were removed; 0 without a model."""
    return max(info["steps"]) if info else 0
