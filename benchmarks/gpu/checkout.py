"""Registration of a checkout without installation: its name, version and entry points in a folder.

    python benchmarks/gpu/checkout.py FOLDER       # FOLDER is on PYTHONPATH, as are the checkout and plugins/

seqx finds plugins by the entry points of installed distributions. This script reads them from pyproject.toml,
so that no build tool is needed. If seqx is installed, it does nothing.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def register(folder: Path, project: Path) -> None:
    """Write `seqx_toolkit-VERSION.dist-info` into `folder`."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = {"console_scripts": about["scripts"], **about["entry-points"]}
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    try:
        distribution("seqx-toolkit")
    except PackageNotFoundError:
        register(Path(sys.argv[1]), Path(__file__).parents[2] / "pyproject.toml")
