"""`seqx schema`."""

import json

import click

from seqx import experiment, recipe
from seqx.plugin.loading import load_plugins


@click.command()
def schema() -> None:
    """JSON Schema of recipes, for editors.

    Keep it as .schema.json beside a recipe that begins with `# yaml-language-server: $schema=.schema.json`.
    """
    click.echo(json.dumps(recipe.schema(load_plugins().registry, experiment.Experiment), indent=1))
