"""The file of metrics of a run is truncated atomically when the run is resumed."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from seqx.errors import UserError
from seqx.storage import atomic
from seqx.storage.metrics_file import MetricsFile

pytestmark = pytest.mark.promise("checkpoints-are-atomic")

LINES = [json.dumps({"kind": "saved", "step": step, "path": f"checkpoints/{step}"}) + "\n" for step in (1, 2)]


def test_truncated_metrics_keep_their_link_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    target = tmp_path / "metrics"
    target.write_text("".join(LINES))
    target.chmod(0o600)
    (tmp_path / "run" / "metrics.jsonl").symlink_to(target)
    assert MetricsFile(tmp_path / "run").truncate(1)
    assert target.read_text() == LINES[0]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [*(tmp_path / "run").iterdir()] == [tmp_path / "run" / "metrics.jsonl"]


def test_metrics_that_cannot_be_flushed_are_not_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "metrics.jsonl").write_text("".join(LINES))
    monkeypatch.setattr(atomic, "fsync", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: No space left on device"):
        MetricsFile(tmp_path).truncate(1)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(LINES)
    assert [*tmp_path.iterdir()] == [tmp_path / "metrics.jsonl"]
