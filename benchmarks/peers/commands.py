"""The part of the comparison that runs the training commands of the toolkits themselves."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers import command_lines
from benchmarks.peers.parts import Setting
from benchmarks.peers.rounds import Case, alternate
from benchmarks.peers.sizes import SIZES


def training_commands(setting: Setting, size: str, deadline: float) -> Mapping[str, Any]:
    """Train with the commands of the toolkits, which make batches themselves: target tokens per second."""
    shape = SIZES[size]
    programs = [command_lines.seqx(setting, shape)]
    with tempfile.TemporaryDirectory() as folder:
        files = command_lines.write_files(setting.workload, Path(folder))
        programs += [
            command_lines.MAKERS[name](setting, shape, files)
            for name in setting.toolkits
            if name in command_lines.MAKERS
        ]
        cases: list[Case] = [(size, lambda _: {}, command_lines.UPDATES * shape.batch_tokens)]
        record = alternate(programs, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    return {**record, "unit": "target tokens", "updates": command_lines.UPDATES}
