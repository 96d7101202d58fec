"""Commands about the folders of runs, finished or not.

`comparison` collects the data of runs and formats them for `seqx compare`. `report` writes the page
`report.html`, at the end of each run and for `seqx report`. `errors_command` is `seqx errors`, and
`replay_command` is `seqx replay`. `notebook` shows runs, models and attention in notebooks.
"""

import importlib
import os
from pathlib import Path

import seqx


@seqx.hookimpl
def seqx_run_ended(folder: Path) -> None:
    """Write `report.html` into the folder of a run, unless the environment variable SEQX_REPORT is 0."""
    if os.environ.get("SEQX_REPORT") == "0":
        return
    report = importlib.import_module("seqx_runs.report")  # imported when a run ends: commands start faster
    report.write_after_run(folder)


@seqx.hookimpl
def seqx_html(value: object) -> str | None:
    """Return HTML for a run, a model or attention weights."""
    notebook = importlib.import_module("seqx_runs.notebook")
    return notebook.html_of(value)
