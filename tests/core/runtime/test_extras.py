"""The command that installs an extra of seqx."""

from types import SimpleNamespace

import pytest

from seqx.runtime import extras


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (
            '{"dir_info": {"editable": true}}',
            "pip install -c constraints.txt -e '.[serve]'",
        ),
        ('{"dir_info": {}}', "pip install -c constraints.txt '.[serve]'"),
        (None, "pip install -c constraints.txt '.[serve]'"),
        ("damaged", "pip install -c constraints.txt '.[serve]'"),
    ],
    ids=["editable", "copied", "unknown", "damaged"],
)
def test_extra_is_installed_as_seqx_is(
    origin: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "distribution", lambda _: SimpleNamespace(read_text=lambda _: origin))
    assert extras.install_command("serve") == command
    assert extras.install_command() == command.replace("'.[serve]'", ".")
