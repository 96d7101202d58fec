"""Weights & Biases: a callback that records the metrics of a run, its settings and its scores."""

import importlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import seqx
from annotated_types import Gt

_RUN_ID = "wandb_run_id.txt"


class WandB(seqx.Callback):
    """Curves, settings and scores of a run in Weights & Biases, with its package wandb.

    By default nothing leaves the machine: the files are in the run's folder `wandb/`, and `wandb sync`
    uploads them. A resumed run continues the same run of Weights & Biases, offline in further files.

    Args:
        project: the name of the project
        mode: online needs an account (`wandb login`)
        every: number of updates per point of a curve
    """

    def __init__(
        self,
        *,
        project: str = "seqx",
        mode: Literal["offline", "online"] = "offline",
        every: Annotated[int, Gt(0)] = 100,
    ) -> None:
        try:
            self._module = importlib.import_module("wandb")
        except ImportError as error:
            message = (
                f"wandb: cannot be imported ({error}); install the extra of this plugin in its folder: "
                "pip install '.[wandb]', or remove the callback"
            )
            raise seqx.UserError(message) from None
        self.project = project
        self.mode = mode
        self.every = every
        self._run: Any = None

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Create or continue the run of Weights & Biases."""
        if self._run is not None:  # training was rolled back
            return
        file = run.folder / _RUN_ID
        known = file.read_text(encoding="utf-8").strip() if file.exists() else None
        settings = seqx.differences({}, seqx.Record.read(run.folder).recipe)
        self._run = self._module.init(
            project=self.project,
            name=run.name,
            id=known,
            resume="allow" if self.mode == "online" else None,
            dir=run.folder,
            mode=self.mode,
            config={**{path: value for path, (_, value) in settings.items()}, "parameters": run.parameters},
            settings=self._module.Settings(silent=True),
        )
        file.write_text(self._run.id, encoding="utf-8")
        for prefix in ("train", "dev", "test", "model"):
            self._run.define_metric(f"{prefix}/*", step_metric="step")

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
        self._record(step, {f"{prefix}/{name}": score.value for name, score in evaluation.scores.items()})

    @seqx.hookimpl
    def finished(self) -> None:
        """End the run of Weights & Biases."""
        self._end(0)

    @seqx.hookimpl
    def failed(self) -> None:
        """End the run of Weights & Biases as failed."""
        self._end(1)

    def _record(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._run is not None:
            self._run.log({"step": step, **metrics})

    def _end(self, code: int) -> None:
        if self._run is not None:
            self._run.finish(exit_code=code)
            self._run = None


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the callback."""
    registry.add(seqx.Callback, wandb=WandB)
