"""Files for schedulers that run the trials of a sweep: a SLURM array, and SkyPilot jobs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Literal

import seqx
from seqx_runs.sweep_trials import Trial

Scheduler = Literal["slurm", "skypilot"]

_TRIALS = "trials.txt"

_SLURM = Template(
    """\
#!/bin/bash
# Run the trials in $trials, one per task of the array: sbatch $folder/job.sbatch
#SBATCH --job-name=$name
#SBATCH --array=1-$count%$jobs
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue

set -euo pipefail
export OMP_NUM_THREADS=8
trial=$$(sed -n "$${SLURM_ARRAY_TASK_ID}p" $trials)
exec srun bash -c "exec $$trial"
"""
)

_SKYPILOT = Template(
    """\
# Run the trial in the line TRIAL of $trials; $folder/launch.sh starts one job for each trial.
name: $name
resources:
  accelerators: H100:1
  infra: k8s
workdir: .
volumes:
  /shared: seqx-shared
setup: pip install -c constraints.txt .
envs:
  TRIAL: "1"
run: |
  export OMP_NUM_THREADS=8 SEQX_CACHE=/tmp/cache
  trial=$$(sed -n "$${TRIAL}p" $trials)
  exec bash -c "exec $$trial"
"""
)

_LAUNCH = Template(
    """\
#!/bin/bash
# Start one managed job for each trial.
set -euo pipefail
for trial in $$(seq $count); do
    sky jobs launch --yes --detach-run --name "$name-$$trial" --env TRIAL="$$trial" $folder/sky.yaml
done
"""
)


def write_jobs(
    scheduler: Scheduler, folder: Path, name: str, trials: Sequence[Trial], jobs: int
) -> list[Path]:
    """Write the files of a scheduler, and return them.

    Args:
        scheduler: the scheduler
        folder: the folder for the files; it is created, but not its parent
        name: the name of the sweep
        trials: the trials to run
        jobs: number of trials at the same time, for SLURM

    Raises:
        UserError: the folder cannot be written
    """
    values = {
        "name": re.sub(r"[^a-z0-9-]+", "-", name.lower()),
        "count": len(trials),
        "jobs": jobs,
        "folder": shlex.quote(str(folder)),
        "trials": shlex.quote(str(folder / _TRIALS)),
    }
    texts = {_TRIALS: "".join(f"{_command(trial)}\n" for trial in trials)}
    texts |= {file: template.substitute(values) for file, template in _FILES[scheduler].items()}
    try:
        folder.mkdir(exist_ok=True)
        for file, text in texts.items():
            seqx.write_atomically(folder / file, text)
    except OSError as error:
        raise seqx.unwritable(folder, error) from None
    return [folder / file for file in texts]


def _command(trial: Trial) -> str:
    return shlex.join(["seqx", "run", *trial.arguments, "--folder", str(trial.folder)])


_FILES: Mapping[Scheduler, Mapping[str, Template]] = {
    "slurm": {"job.sbatch": _SLURM},
    "skypilot": {"sky.yaml": _SKYPILOT, "launch.sh": _LAUNCH},
}
