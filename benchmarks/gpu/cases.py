"""Cases of a part, which run one after another in one process."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqx.storage.atomic import write_atomically

Measurements = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One measurement."""

    name: str
    needs: float  # seconds; the case is skipped if less time is left
    run: Callable[[float], Measurements]  # takes the time limit in seconds


def run(cases: Iterable[Case], out: Path, limit: float) -> None:
    """Run the cases within `limit` seconds; write all records to `out` after each case.

    The record of a case that failed has the error, that of a skipped case the reason.
    """
    end = time.monotonic() + limit
    records: list[dict[str, Any]] = []
    for case in cases:
        start_time = time.monotonic()
        left = end - start_time
        record: dict[str, Any] = {"name": case.name}
        if left < case.needs:
            record |= {"status": "skipped", "reason": f"needs {case.needs:.0f} s, {max(0, left):.0f} s left"}
        else:
            record |= _run_case(case, left)
            record["seconds"] = round(time.monotonic() - start_time, 2)
        records.append(record)
        write_atomically(out, json.dumps(records))


class SkippedCase(Exception):  # noqa: N818  # a reason, not an error
    """The reason why a case cannot be measured on this machine."""


def _run_case(case: Case, left: float) -> dict[str, Any]:
    """Run a case; return its status with its measurements, the reason or the error."""
    try:
        return {"status": "done", "figures": dict(case.run(left))}
    except SkippedCase as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:  # noqa: BLE001  # the other cases still run
        trace = "".join(traceback.format_exception(error)[-4:])
        return {
            "status": "failed",
            "error": f"{type(error).__name__}: {error}"[:2000],
            "trace": trace[-4000:],
        }
