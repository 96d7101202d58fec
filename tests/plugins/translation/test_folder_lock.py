"""The lock of a folder."""

import threading
from pathlib import Path

import pytest

import seqx
from seqx_translation.folder_lock import lock_folder


def test_lock_folder_waits_for_another_process(tmp_path: Path) -> None:
    message, order = threading.Event(), []

    def second() -> None:
        with lock_folder(tmp_path, lambda activity, fraction: message.set()):
            order.append("second")

    with lock_folder(tmp_path, lambda activity, fraction: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert message.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_lock_folder_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(seqx.UserError, match="/file/inside: cannot be written"),
        lock_folder(tmp_path / "file" / "inside", lambda activity, fraction: None),
    ):
        pass
