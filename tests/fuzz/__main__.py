"""Coverage-guided fuzzing of one harness with atheris: `python -m tests.fuzz NAME [--seconds N]`.

Install atheris with `pip install -e .[fuzz]`. Failing inputs are written to the folder `--found`, by default
the current one. Move them to `tests/fuzz/found/NAME/` under a descriptive name, so that tests repeat them.
`python -m benchmarks.fuzz` runs all harnesses in turn and keeps a record.
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

MAX_MEGABYTES = 3000


def main() -> None:
    """Fuzz one harness for some seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, default=Path())
    arguments = parser.parse_args()
    os.nice(19)
    corpus = Path(tempfile.mkdtemp(prefix=f"seqx-corpus-{arguments.name}-"))
    for number, seed in enumerate(SEEDS[arguments.name]):
        (corpus / f"seed{number}").write_bytes(seed)
    for file in sorted((Path(__file__).parent / "found" / arguments.name).glob("*")):
        shutil.copyfile(file, corpus / file.name)
    limits = ["-timeout=10", f"-rss_limit_mb={MAX_MEGABYTES}", "-max_len=4096", "-print_final_stats=1"]
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
