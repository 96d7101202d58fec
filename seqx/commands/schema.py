"""The command `seqx schema`."""

import json

import click

from seqx import recipe
from seqx.plugin.loading import load_plugins
from seqx.training import description


@click.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    Save the output as .schema.json in the folder of your recipes, and begin each recipe with the line
    `# yaml-language-server: $schema=.schema.json`. The editor then completes and explains settings.
    """
    click.echo(json.dumps(recipe.schema(load_plugins().registry, description.Experiment), indent=1))
