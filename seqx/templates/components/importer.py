import json
import shutil
from pathlib import Path

import torch

import seqx


class Newcomer(seqx.Importer):
    """A folder with `recipe.json`, `weights.pt` and the folder `vocabulary`."""

    def read(self, source: Path, vocabulary: Path) -> seqx.ImportedModel:
        if not (source / "recipe.json").is_file():
            raise seqx.UserError(f"{source}: has no recipe.json; name the folder that has it")
        shutil.copytree(source / "vocabulary", vocabulary, dirs_exist_ok=True)
        return seqx.ImportedModel(
            recipe=json.loads((source / "recipe.json").read_text(encoding="utf-8")),
            weights=torch.load(source / "weights.pt", weights_only=True),
        )


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Importer, newcomer=Newcomer)
