"""Learn the vocabulary of a recipe from a small training text, before a run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from seqx.data.prepare import no_progress
from seqx.errors import UserError
from seqx.runtime.background import interruptible_call
from seqx.storage.cache_folder import default_cache
from seqx.storage.text_lines import expand_path
from seqx.training.description import Experiment

_MAX_BYTES = 1 << 19  # of all files of the corpus
_MAX_ROWS = 5_000


def check_vocabulary(recipe: str, experiment: Experiment) -> None:
    """Learn the vocabulary of a small text, to find a `size` that is larger than its number of subwords.

    Larger texts are not read, because that takes time; `seqx run` refuses a wrong size before it trains.

    Args:
        recipe: the name of the recipe, for messages
        experiment: the experiment, without a vocabulary

    Raises:
        UserError: the text cannot be read, or has no such vocabulary
    """
    if experiment.training.initial_model is not None:  # the vocabulary is that of this model
        return
    task, cache = experiment.task, default_cache() / "corpora"
    files = _small_files(experiment, cache)
    if files is None:
        return
    if not files and (task.num_rows("train") or _MAX_ROWS + 1) > _MAX_ROWS:  # generated text
        return
    try:
        task.fetch(cache, no_progress, ("train",))
        if (task.num_rows("train") or 0) > _MAX_ROWS:
            return
        with TemporaryDirectory() as folder:
            interruptible_call(lambda: task.learn(Path(folder), no_progress))
    except UserError as error:
        raise UserError(f"{recipe}: {error}") from error


def _small_files(experiment: Experiment, cache: Path) -> list[Path] | None:
    """Return the files of the corpus; None if they are large, missing or unknown."""
    required = experiment.task.required_data(cache)
    if required is None or required.download_bytes:
        return None
    try:
        files = [expand_path(name) for name in required.files]
        is_small = all(map(Path.is_file, files)) and sum(file.stat().st_size for file in files) <= _MAX_BYTES
    except (OSError, UserError):
        return None
    return files if is_small else None
