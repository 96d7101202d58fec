"""`seqx schema`."""

import json

import click

from seqx import experiment, plugins, recipe


@click.command()
def schema() -> None:
    """JSON Schema of recipes, for editors.

    Keep it as .schema.json beside a recipe that begins with `# yaml-language-server: $schema=.schema.json`.
    """
    click.echo(json.dumps(recipe.schema(plugins.load().registry, experiment.Experiment), indent=1))
