"""Callbacks get the events of a run; callbacks without valid events are refused."""

import pytest

from seqx.errors import PluginError
from seqx.plugin.hooks import check_events, events, hookimpl


class Listener:
    def __init__(self, heard: list[str], name: str) -> None:
        self.heard, self.name = heard, name

    @hookimpl
    def started(self) -> None:
        self.heard.append(f"{self.name} started")

    @hookimpl
    def updated(self, update: int) -> None:
        self.heard.append(f"{self.name} {update}")


def test_callbacks_get_events_in_their_order() -> None:
    heard: list[str] = []
    relay = events([Listener(heard, "a"), Listener(heard, "b")])
    relay.started(run=None)
    relay.updated(run=None, update=3)
    relay.finished(run=None, scores={}, predictor=None)
    assert heard == ["a started", "b started", "a 3", "b 3"]


class Unmarked:
    def started(self) -> None:
        """An event that is not marked."""


class Override(Listener):
    def updated(self, update: int) -> None:
        """An event that only the base class marks."""


class HalfState(Listener):
    def state_dict(self) -> dict[str, int]:
        return {}


class Silent:
    """A callback without events."""


class Misspelt:
    @hookimpl
    def start(self) -> None:
        """A method that is not an event."""


class UnknownArgument:
    @hookimpl
    def started(self, model: object) -> None:
        """An event with an argument that it does not have."""


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Silent, "test_hooks.py:[0-9]+: callback Silent implements no event; mark a method"),
        (Unmarked, "test_hooks.py:[0-9]+: started is an event, but the method is not marked"),
        (
            HalfState,
            "callback HalfState has no load_state_dict; a state needs state_dict and load",
        ),
        (Override, "test_hooks.py:[0-9]+: updated is an event, but the method is not marked"),
        (Misspelt, "no hook is called 'start'; did you mean 'started'?"),
        (UnknownArgument, "started takes model, but this hook has only the arguments run"),
    ],
)
def test_a_callback_without_valid_events_is_refused(callback: type, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        events([callback([], "") if issubclass(callback, Listener) else callback()])
    with pytest.raises(PluginError, match=message):
        check_events(callback)
