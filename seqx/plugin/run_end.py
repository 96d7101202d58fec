"""Call the hook `seqx_run_ended`."""

from pathlib import Path

import click

from seqx.plugin.blame import message_naming_plugin
from seqx.plugin.loading import Plugins


def notify_of_end(plugins: Plugins, folder: Path) -> None:
    """Call `seqx_run_ended` of the plugins; their errors do not affect the run.

    Args:
        plugins: the plugins of the run
        folder: the run folder
    """
    try:
        plugins.run_hooks.hook.seqx_run_ended(folder=folder)
    except Exception as error:  # noqa: BLE001  the run has ended, whatever a plugin does
        reason = message_naming_plugin(error) or f"{type(error).__name__}: {error}"
        click.echo(f"seqx_run_ended: {reason}; the run is not affected", err=True)
