"""The JSON Schema recipes/schema.json is current, and the first line of each recipe refers to it."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

from seqx import recipe
from seqx.plugin.installed import PLUGIN_GROUP
from seqx.plugin.loading import load_plugins
from seqx.training.description import Experiment
from seqx_toolkit import DISTRIBUTION

RECIPES = Path(__file__).parents[3] / "recipes"
SCHEMA = RECIPES / "schema.json"


def test_shipped_schema_is_current() -> None:
    """Ignore plugins of other distributions that are installed here."""
    entries = [
        entry for entry in entry_points(group=PLUGIN_GROUP) if entry.dist and entry.dist.name == DISTRIBUTION
    ]
    schema = recipe.schema(load_plugins(found=entries).registry, Experiment)
    text = SCHEMA.read_text(encoding="utf-8")
    assert text == json.dumps(schema, indent=1) + "\n", "run `seqx schema > recipes/schema.json`"


def test_recipes_refer_to_the_shipped_schema() -> None:
    for file in sorted(RECIPES.rglob("*.yaml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert match, file
        assert (file.parent / match[1]).resolve() == SCHEMA, file
