"""The part of the comparison that runs the training commands of the toolkits themselves."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers import command_lines
from benchmarks.peers.parts import Setting, bare_loops, updates_of_round
from benchmarks.peers.rounds import Measured, alternate
from benchmarks.peers.sizes import SIZES


def training_commands(setting: Setting, size: str, deadline: float) -> Mapping[str, Any]:
    """Train with the commands of the toolkits, which make batches themselves: target tokens per second.

    The bare loop of seqx is measured in the same rounds, so that seqx's command can be compared with it.
    """
    shape = SIZES[size]
    loop = replace(bare_loops(setting, size, [])[0], name="seqx, bare loop")
    request, _ = updates_of_round(loop, setting.seconds)
    programs: list[Measured] = [command_lines.seqx(setting, shape), loop]
    with tempfile.TemporaryDirectory() as folder:
        files = command_lines.write_files(setting.workload, Path(folder))
        programs += [
            command_lines.MAKERS[name](setting, shape, files)
            for name in setting.toolkits
            if name in command_lines.MAKERS
        ]
        cases = [(size, request, command_lines.UPDATES * shape.batch_tokens)]  # commands ignore the request
        record = alternate(programs, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    return {**record, "unit": "target tokens", "updates": command_lines.UPDATES}
