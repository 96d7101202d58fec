"""Scores of thousands of labels, whose files and lines are long."""

from pathlib import Path

from seqx.interfaces.scores import Score
from seqx.storage.metrics_file import MetricsFile
from seqx.storage.model_folder import read_scores, write_scores


def test_scores_of_thousands_of_labels_are_read_again(tmp_path: Path) -> None:
    scores = {f"f1_of_label_{i}": Score(value=i / 100, signature="s" * 400) for i in range(5000)}
    write_scores(tmp_path, {"dev": scores, "test": scores})
    assert (tmp_path / "scores.json").stat().st_size > 1 << 21
    assert read_scores(tmp_path) == {"dev": scores, "test": scores}
    file, recorded = MetricsFile(tmp_path), {name: score.to_json() for name, score in scores.items()}
    file.append({"kind": "evaluation", "step": 1, "split": "dev", "scores": recorded, "perplexity": None})  # type: ignore[typeddict-item]
    file.append({"kind": "saved", "step": 1, "path": "checkpoints/1"})
    written = file.path.read_bytes()
    (evaluation,) = file.read().evaluations
    assert (dict(evaluation.scores), file.read().problem) == (scores, None)
    assert file.truncate(1)
    assert file.path.read_bytes() == written
