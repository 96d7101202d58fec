"""`seqx schema`."""

import json

import click

from seqx import plugins, recipe
from seqx.experiment import Experiment


@click.command()
def schema() -> None:
    """JSON Schema of recipes, for editors.

    Keep it as .schema.json beside a recipe that begins with `# yaml-language-server: $schema=.schema.json`.
    """
    click.echo(json.dumps(recipe.schema(plugins.load().registry, Experiment), indent=1))
