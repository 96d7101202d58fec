"""What is measured: parts, each of some cases that run one after another in a process of its own."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqx.storage.atomic import write_atomically

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One measurement: told how many seconds it may take, and not begun with fewer than `needs`."""

    name: str
    needs: float
    run: Callable[[float], Figures]


def run(cases: Iterable[Case], out: Path, limit: float) -> None:
    """Run the cases within `limit` seconds; after each of them what is known is in `out`.

    A case that fails is recorded with its error, and one that does not fit with the reason.
    """
    end = time.monotonic() + limit
    records: list[dict[str, Any]] = []
    for case in cases:
        began = time.monotonic()
        left = end - began
        record: dict[str, Any] = {"name": case.name}
        if left < case.needs:
            record |= {"status": "skipped", "reason": f"needs {case.needs:.0f} s, {max(0, left):.0f} s left"}
        else:
            record |= _tried(case, left)
            record["seconds"] = round(time.monotonic() - began, 2)
        records.append(record)
        write_atomically(out, json.dumps(records))


class Unfit(Exception):  # noqa: N818  # no error: what is wanted is not at hand
    """Why a case cannot be measured here."""


def _tried(case: Case, left: float) -> dict[str, Any]:
    try:
        return {"status": "done", "figures": dict(case.run(left))}
    except Unfit as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:  # noqa: BLE001  # whatever it is, the other cases are still to be measured
        trace = "".join(traceback.format_exception(error)[-4:])
        return {
            "status": "failed",
            "error": f"{type(error).__name__}: {error}"[:2000],
            "trace": trace[-4000:],
        }
