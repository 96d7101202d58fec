"""The LSTM recipe on some captions of Multi30k, from the recipe to answers."""

import gzip
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tests.stories.tiny import done, refused

RECIPE = Path(__file__).parents[2] / "recipes/multi30k_lstm.yaml"
SMALL = [
    *(
        "model.d_model=16",
        "task.tokenizer.size=400",
        "task.corpus.limit=80",
        "search.size=2",
        "search.extra=4",
    ),
    *("training.steps=4", "training.tokens=300", "training.save_every=2", "training.validate_every=4"),
    "training.average=2",
]


def test_lstm_recipe_trains_and_translates(data: Callable[[str], Path]) -> None:
    for side in ("en", "de"):
        with gzip.open(data("multi30k") / f"val.{side}.gz", "rt", encoding="utf-8") as file:
            Path(f"few.{side}").write_text("".join(islice(file, 20)), encoding="utf-8")
    few = [f"task.corpus.{split}=[few.en, few.de]" for split in ("dev", "test")]
    output = done("run", RECIPE, *SMALL, *few, "--folder", "lstm")
    assert "test tokenized_bleu " in output
    compiled = refused("run", RECIPE, *SMALL, *few, "training.compile=true", "--folder", "compiled")
    assert "the model has no layers (`seqx.Layers`) to compile; set compile: false\n" in compiled
    answers = done("translate", "lstm/model", text="A man sleeps.\n\nTwo dogs run in the snow.\n")
    assert answers.count("\n") == 3
