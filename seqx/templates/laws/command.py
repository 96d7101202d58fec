"""Call the command."""

from pathlib import Path

from click.testing import CliRunner

from seqx_newcomer import newcomer


def test_command_refuses_a_folder_without_a_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(newcomer, [str(tmp_path)])
    assert "is not the folder of a run" in str(result.exception)
