"""An optional callback may fail at any call; the run continues, and the error is shown once."""

from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx.commands.loading import load_checked
from seqx.plugin.hooks import Events, events
from seqx.training.checkpointer import stateful_callbacks
from tests.stories.tiny import TINY
from tests.stories.tiny import seqx as command

EVENTS: dict[str, dict[str, Any]] = {
    "preparing": {"activity": "reading", "fraction": None},
    "started": {"run": None},
    "updated": {"run": None, "update": None},
    "noticed": {"run": None, "step": 1, "message": "a problem"},
    "evaluated": {
        "run": None,
        "step": 1,
        "split": "dev",
        "evaluation": None,
        "predictor": None,
        "is_final": True,
    },
    "saved": {"run": None, "step": 1, "path": Path()},
    "finished": {"run": None, "scores": {}, "predictor": None},
    "failed": {"run": None, "error": ValueError()},
}


class Tracker(seqx.Callback):
    """A callback that counts its calls, and fails at one of them."""

    def __init__(self, fails: str) -> None:
        if fails == "constructor":
            raise ModuleNotFoundError("No module named 'tracker'")
        self.fails = fails
        self.calls: list[str] = []

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise OSError(28, "No space left on device")

    def state_dict(self) -> dict[str, Any]:
        self.call("state_dict")
        return {"calls": len(self.calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.call("load_state_dict")


def event(name: str) -> Any:
    """Return the implementation of an event."""
    arguments = ", ".join(EVENTS[name])
    source = f"def {name}(self, {arguments}): self.call({name!r})"
    scope: dict[str, Any] = {}
    exec(source, scope)  # pluggy reads the names of the arguments
    return seqx.hookimpl(scope[name])


for _name in EVENTS:
    setattr(Tracker, _name, event(_name))


def test_all_events_are_tried() -> None:
    assert EVENTS.keys() == {name for name in vars(Events) if not name.startswith("_")}


@pytest.mark.parametrize("fails", [*EVENTS, "state_dict", "load_state_dict", "constructor"])
@pytest.mark.promise("optional-callback-does-not-end-a-run")
def test_optional_callback_that_fails_is_reported_once_and_not_called_again(fails: str) -> None:
    tracker: list[Tracker] = []

    def build() -> Tracker:
        tracker.append(Tracker(fails))
        return tracker[0]

    optional = seqx.OptionalCallback(callback=build)
    warnings: list[str] = []
    optional.warn_with(warnings.append)
    hooks = events([optional])
    optional.load_state_dict({})
    for _ in range(2):
        for name, arguments in EVENTS.items():
            getattr(hooks, name)(**arguments)
        assert optional.state_dict() is None
    optional.load_state_dict({})
    (warning,) = warnings
    if tracker:
        assert "OSError: [Errno 28] No space left on device (test_optional_callback.py:" in warning
        assert tracker[0].calls.count(fails) == 1
        assert tracker[0].calls[-1] == fails
    else:
        assert "ModuleNotFoundError: No module named 'tracker'" in warning
    assert warning.endswith("; the run continues without this callback")


def test_optional_callback_passes_all_events_and_its_state_to_the_callback() -> None:
    tracker = Tracker("")
    optional = seqx.OptionalCallback(callback=lambda: tracker)
    for name, arguments in EVENTS.items():
        getattr(events([optional]), name)(**arguments)
    assert tracker.calls == [*EVENTS]
    assert optional.state_dict() == {"calls": len(EVENTS) + 1}
    assert stateful_callbacks([optional]).keys() == stateful_callbacks([tracker]).keys()


def test_invalid_setting_of_an_optional_callback_is_an_error(tmp_path: Path) -> None:
    """It is a mistake in the recipe, not a failure of the callback."""
    (tmp_path / "recipe.yaml").write_text(TINY)
    file = str(tmp_path / "recipe.yaml")
    optional = "callbacks+={type: optional, callback: {type: tensorboard, every: 0}}"
    with pytest.raises(seqx.RecipeError, match=r"callbacks\.2\.callback\.every"):
        load_checked(file, None, [optional])


PLUGIN = """\
import seqx


class Failing(seqx.Callback):
    def state_dict(self):
        return {"steps": 1}

    def load_state_dict(self, state):
        assert state == {"steps": 1}

    @seqx.hookimpl
    def updated(self, update):
        if update.step == 3:
            raise ConnectionError("the tracker is offline")


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Callback, failing=Failing)
"""


@pytest.mark.promise("optional-callback-does-not-end-a-run")
def test_run_with_an_optional_callback_that_fails_is_finished(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(PLUGIN)
    (tmp_path / "recipe.yaml").write_text(f"plugins: [./failing.py]\n{TINY}")
    optional = "callbacks+={type: optional, callback: failing}"
    done = command("run", tmp_path / "recipe.yaml", "--folder", tmp_path / "run", optional)
    assert done.exit_code == 0, done.output
    message = (
        "callbacks.2.callback: ConnectionError: the tracker is offline (failing.py:14); "
        "the run continues without this callback"
    )
    assert done.stderr.count(message) == 1
    for file in ("log.txt", "metrics.jsonl"):
        assert (tmp_path / "run" / file).read_text().count(message) == 1
    trees = sorted((tmp_path / "run" / "checkpoints").glob("*/*.json"))
    assert trees
    assert not any("callbacks.Failing" in tree.read_text() for tree in trees if "00000006" in str(tree))
