"""The callback `tensorboard`."""

from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt

import seqx
from seqx_watch.metrics import Window

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(seqx.Callback):
    """Curves of a run for TensorBoard, in the run's folder `tensorboard/`.

    `tensorboard --logdir FOLDER` shows them. The callback needs the extra `tensorboard`. Each point is the
    mean over the updates since the previous point. The scores of the final model are under "model/". When a
    run resumes from a checkpoint, the points of later steps are hidden.

    Args:
        every: number of updates per point

    Raises:
        UserError: TensorBoard is not installed
    """

    def __init__(self, *, every: Annotated[int, Gt(0)] = 100) -> None:
        seqx.import_extra("tensorboard", "tensorboard")
        self.every = every
        self._writer: SummaryWriter | None = None
        self._window = Window()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over the updates since the last point."""
        return self._window.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums that `state_dict` returned."""
        self._window.load_state_dict(state)

    @seqx.hookimpl
    def started(self, run: seqx.Run) -> None:
        """Open the folder, and hide the points of steps after the checkpoint."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        purge = run.done + 1 if run.done else None
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)

    @seqx.hookimpl
    def updated(self, run: seqx.Run, update: seqx.Update) -> None:
        """Record the means over the last updates, every `every` updates."""
        self._window.add(update)
        if update.step % self.every == 0 or update.step == run.training.steps:
            means = self._window.read()
            points = {
                "loss": means.loss,
                "perplexity": means.perplexity,
                "learning_rate": means.learning_rate,
                "norm": means.norm,
                "tokens_per_second": means.tokens_per_second,
                "padding": means.padding,
                "skipped": means.skipped,
                **{f"others/{name}": mean for name, mean in means.others.items()},
            }
            if means.nll is not None:
                points["nll"] = means.nll
            self._add_points("train", points, means.step)

    @seqx.hookimpl
    def evaluated(self, step: int, split: str, evaluation: seqx.Evaluation, is_final: bool) -> None:
        """Record the scores."""
        points = {name: score.value for name, score in evaluation.scores.items()}
        if evaluation.perplexity is not None:
            points["perplexity"] = evaluation.perplexity
        self._add_points(f"model/{split}" if is_final else split, points, step)

    @seqx.hookimpl
    def saved(self) -> None:
        """Flush the points."""
        if self._writer:
            self._writer.flush()

    @seqx.hookimpl
    def finished(self) -> None:
        """Close the file."""
        self._close()

    @seqx.hookimpl
    def failed(self) -> None:
        """Close the file."""
        self._close()

    def _add_points(self, prefix: str, points: dict[str, float], step: int) -> None:
        if self._writer:
            for name, value in points.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None
