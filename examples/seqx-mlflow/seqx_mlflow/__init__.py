"""MLflow: a callback that records the metrics of a run, its settings and its scores."""

import importlib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import seqx
from annotated_types import Gt

_RUN_ID = "mlflow_run_id.txt"
_INVALID = re.compile(r"[^\w.\- ]")  # characters that a name in MLflow cannot have, and slashes
_MAX_VALUE = 500
"""The maximum number of characters of a setting in MLflow's file store."""


class MLflow(seqx.Callback):
    """Curves, settings and scores of a run in MLflow, with its package mlflow or mlflow-skinny.

    `mlflow ui --backend-store-uri URI` shows them. A resumed run continues the same run of MLflow.

    Args:
        uri: the tracking server, or a store such as sqlite:///mlflow.db; null: the folder `mlruns` beside the
            folder of the run
        experiment: the name of the experiment in MLflow
        every: number of updates per point of a curve
    """

    def __init__(
        self, *, uri: str | None = None, experiment: str = "seqx", every: Annotated[int, Gt(0)] = 100
    ) -> None:
        try:
            self._module = importlib.import_module("mlflow")
        except ImportError as error:
            message = (
                f"mlflow: cannot be imported ({error}); install the extra of this plugin in its folder: "
                "pip install '.[mlflow]', or remove the callback"
            )
            raise seqx.UserError(message) from None
        self.uri = uri
        self.experiment = experiment
        self.every = every
        self._client: Any = None
        self._id = ""

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Create or continue the run of MLflow."""
        if self._client is not None:  # training was rolled back
            return
        if self.uri is None:  # MLflow prefers databases, and asks for this consent to its file store
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        client = self._module.MlflowClient(self.uri or (run.folder.resolve().parent / "mlruns").as_uri())
        file = run.folder / _RUN_ID
        if file.exists():
            self._id = file.read_text(encoding="utf-8").strip()
            client.update_run(self._id, status="RUNNING")
        else:
            self._id = _new_run(client, self.experiment, run)
            file.write_text(self._id, encoding="utf-8")
        self._client = client

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Record the metrics of every `every`th update."""
        if update.step % self.every == 0 or update.step == run.training.steps:
            metrics = {"loss": update.loss, "learning_rate": update.learning_rate, "norm": float(update.norm)}
            self._record(update.step, {f"train/{name}": value for name, value in metrics.items()})

    @seqx.hookimpl
    def evaluated(  # pluggy passes arguments by name
        self,
        step: int,
        split: str,
        evaluation: seqx.Evaluation,
        is_final: bool,  # noqa: FBT001
    ) -> None:
        """Record the scores of a split."""
        prefix = f"model/{split}" if is_final else split
        scores = {_INVALID.sub("_", name): score.value for name, score in evaluation.scores.items()}
        self._record(step, {f"{prefix}/{name}": value for name, value in scores.items()})

    @seqx.hookimpl
    def finished(self) -> None:
        """Mark the run of MLflow as finished."""
        self._end("FINISHED")

    @seqx.hookimpl
    def failed(self, error: BaseException) -> None:
        """Mark the run of MLflow as failed, or as killed if it was interrupted."""
        self._end("FAILED" if isinstance(error, Exception) else "KILLED")

    def _record(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._client is not None:
            for name, value in metrics.items():
                self._client.log_metric(self._id, name, value, step=step)

    def _end(self, status: str) -> None:
        if self._client is not None:
            self._client.set_terminated(self._id, status)


def _new_run(client: Any, experiment: str, run: seqx.Run) -> str:  # noqa: ANN401  of an optional package
    """Create a run of MLflow with the settings of a run; return its id."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = client.create_experiment(experiment) if found is None else found.experiment_id
    created: str = client.create_run(experiment_id, run_name=run.name).info.run_id
    settings = seqx.differences({}, seqx.Record.read(run.folder).recipe)
    for path, (_, value) in settings.items():
        client.log_param(created, path, str(value)[:_MAX_VALUE])
    client.log_param(created, "parameters", run.parameters)
    return created


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the callback."""
    registry.add(seqx.Callback, mlflow=MLflow)
