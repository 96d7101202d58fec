"""Runs with scripted scores on the development and the test set."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.stories.tiny import TINY, tiny

PLUGIN = '''\
from collections.abc import Mapping, Sequence
from pathlib import Path

import seqx


class Scripted(seqx.Metric):
    """Scores that the file `scores` lists, one for each call; the last one is repeated.

    Args:
        lower_is_better: true if lower values are better
    """

    def __init__(self, *, lower_is_better: bool = False) -> None:
        self.lower_is_better = lower_is_better

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        value = 0.0
        if len(outputs) > 1:  # with one output, seqx only asks for the names of the scores
            first, *rest = Path("scores").read_text("utf-8").split()
            value = float(first)
            Path("scores").write_text(" ".join(rest or [first]), "utf-8")
            with Path("used_scores").open("a", encoding="utf-8") as file:
                file.write(f"{first}\\\\n")
        score = seqx.Score(value=value, signature="scripted", lower_is_better=self.lower_is_better)
        return {"scripted": score}


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Metric, scripted=Scripted)
'''.replace("\\\\", "\\")


def scripted(*values: float, lower_is_better: bool = False, **training: Any) -> Path:
    """Write a recipe of six updates with validations at 3 and 6; its metric returns these values in order."""
    Path("scripted.py").write_text(PLUGIN, encoding="utf-8")
    Path("scores").write_text(" ".join(map(str, values)), encoding="utf-8")
    Path("used_scores").write_text("", encoding="utf-8")
    text = TINY.replace(
        "[bleu, chrf]", f"[{{type: scripted, lower_is_better: {str(lower_is_better).lower()}}}, chrf]"
    )
    for name, value in ({"save_every": 3, "average": 2, "keep_checkpoints": 2} | training).items():
        text = re.sub(rf"\n  {name}: .*", "", text)
        text = text.replace("\ncallbacks:", f"\n  {name}: {json.dumps(value)}\ncallbacks:")
    return tiny(f"plugins: [./scripted.py]\n{text}")


def used_scores() -> list[float]:
    """Return the scores that the metric has returned so far."""
    return [float(line) for line in Path("used_scores").read_text("utf-8").split()]


def read_strict_json(file: Path) -> Any:
    """Read a JSON file, and check that it has no NaN and no infinite number, which are not JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{file}: {constant} is not JSON")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


def read_candidates(run: Path) -> list[tuple[str, list[int], Any]]:
    """Return kind, steps and score of the candidates for a run's model, the selected one first."""
    found: Sequence[Mapping[str, Any]] = read_strict_json(run / "model" / "compared.json")["candidates"]
    return [(each["kind"], each["steps"], each["figure"]["value"]) for each in found]
