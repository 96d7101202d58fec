"""A plugin that is one file, named by a recipe."""

import json
import shutil
from pathlib import Path

from tests.stories.tiny import TINY, done, refused, tiny

MINE = '''\
"""An attention of one's own."""

import seqx
import seqx_transformer


class Mine(seqx_transformer.MultiHead):
    """As the one it is made from."""


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Offer it."""
    registry.add(seqx.Attention, mine=Mine)
'''


def test_it_travels_with_the_model_and_runs_only_when_trusted(tmp_path: Path) -> None:
    folder = Path("lab")
    folder.mkdir()
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    text = "plugins: [./mine.py]\n" + TINY.replace("multihead", "mine")
    recipe = tiny(text, "lab/tiny.yaml")
    done("run", recipe, "training.steps=2")
    run = Path("runs/tiny")
    assert (run / "plugins" / "mine.py").read_text(encoding="utf-8") == MINE
    used = json.loads((run / "environment.json").read_text())["plugins"]["plugins/mine.py"]
    assert len(used["sha256"]) == 64
    assert "finished" in done("run", recipe, "training.steps=2")

    (folder / "mine.py").write_text(MINE.replace("one it", "one that it"), encoding="utf-8")
    assert "  plugins/mine.py: its text is not what it was" in refused("run", recipe, "training.steps=4")
    (folder / "mine.py").unlink()

    done("average", run, "--last", "1", "--out", "mean")
    moved = Path(shutil.copytree(run / "model", tmp_path / "elsewhere" / "model"))
    shutil.rmtree(run)
    for model in (moved, Path("mean")):
        assert done("translate", model, "--trust-local-plugins", text="A dog sleeps.\n").count("\n") == 1
        for command in ("translate", "evaluate"):
            said = refused(command, model)
            assert said.startswith(
                f"{model}/recipe.yaml:2:3: this recipe brings code of its own; read it, then "
            )
            assert len(said.splitlines()) == 3


def test_two_of_one_name_are_refused() -> None:
    for folder in ("lab", "office"):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(MINE, encoding="utf-8")
    recipe = tiny("plugins: [lab/mine.py, office/mine.py]\n" + TINY)
    assert refused("run", recipe) == "tiny.yaml:1:11: two local plugins are called mine; rename one\n"
