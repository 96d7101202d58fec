"""Coverage-guided fuzzing of one harness with atheris: `python -m tests.fuzz NAME [--seconds N]`.

It needs `pip install -e .[fuzz]`. Inputs that fail are written to `--found`, by default the current folder.
Move them to `tests/fuzz/found/NAME/` under a descriptive name; the tests then repeat them. `python -m
benchmarks.fuzz` runs all harnesses in turn and keeps a record.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

_READERS = ["seqx", "seqx_parsing", "seqx_text", "seqx_text_tasks", "seqx_translation", "yaml", "tarfile"]

with atheris.instrument_imports(include=_READERS):
    from tests.fuzz.harnesses import HARNESSES, SCRATCH, run_harness
    from tests.fuzz.seeds import SEEDS

MEGABYTES = 3000


def main() -> None:
    """Fuzz one harness."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, default=Path())
    arguments = parser.parse_args()
    os.nice(19)
    corpus = Path(tempfile.mkdtemp(prefix=f"seqx-corpus-{arguments.name}-"))
    for number, seed in enumerate(SEEDS[arguments.name]):
        (corpus / f"seed{number}").write_bytes(seed)
    for found in sorted((Path(__file__).parent / "found" / arguments.name).glob("*")):
        shutil.copyfile(found, corpus / found.name)
    limits = ["-timeout=10", f"-rss_limit_mb={MEGABYTES}", "-max_len=4096", "-print_final_stats=1"]
    limits.append(f"-artifact_prefix={arguments.found}/{arguments.name}-")
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={arguments.seconds}", *limits, str(corpus)],
        lambda data: run_harness(arguments.name, data),
    )
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


main()
