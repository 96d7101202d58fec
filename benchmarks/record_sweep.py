"""Write the record of a sweep: its runs, with commit, machine and versions.

    seqx sweep benchmarks/sweeps/mixtures.yaml --jobs 2
    python -m benchmarks.record_sweep benchmarks/sweeps/mixtures.yaml --out mixtures.json

The command also prints the comparison of the runs. Options and overrides are those of the sweep.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.paths import input_file, output_file
from benchmarks.provenance import provenance, write_record
from seqx_runs.comparison import compare_runs, format_comparison
from seqx_runs.sweep_file import read_sweep
from seqx_runs.sweep_state import TrialState
from seqx_runs.sweep_trials import Trial


def run_name(trial: Trial) -> str:
    """Return the name of a trial in the record: its recipe or its profile, whichever differs."""
    chosen = trial.configuration
    if "recipe" in chosen.varied:
        return Path(chosen.recipe).stem
    return (chosen.profile or "base") if "profile" in chosen.varied else str(trial)


def main() -> int:
    """Print the comparison and write the record; return 1 if a trial is not finished, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("sweep", type=input_file, help="file of the sweep")
    parser.add_argument("--folder", type=Path, help="folder of the sweep, as in seqx sweep")
    parser.add_argument("--out", type=output_file, help="file for the JSON record")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    sweep = read_sweep(arguments.sweep, arguments.folder, arguments.overrides)
    states = {trial: TrialState.read(trial) for trial in sweep.trials}
    finished = [trial for trial, state in states.items() if state.finished]
    failed = {
        run_name(trial): state.failure or "not finished"
        for trial, state in states.items()
        if not state.finished
    }
    rows = compare_runs([trial.folder for trial in finished]) if finished else []
    runs = [
        {**{key: value for key, value in row.items() if key != "folder"}, "run": run_name(trial)}
        for trial, row in zip(finished, rows, strict=True)
    ]
    if runs:
        print("\n".join(format_comparison(runs)))
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    about = {"overrides": arguments.overrides, "failed": failed, "runs": runs}
    write_record({**provenance(), **about}, arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
