"""Signals stop a process at once, or later if they are deferred; ignored signals stay ignored."""

import os
import signal
import threading

import pytest

from seqx.runtime.signals import SIGNALS, Stopped, StopRequest


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.promise("signals-save-and-stop")
@pytest.mark.parametrize("number", SIGNALS)
def test_signal_raises_stopped_at_once_or_deferred(number: signal.Signals) -> None:
    stop = StopRequest()
    with stop.handling_signals(), pytest.raises(Stopped, match=f"^{number.name}$"):
        send(number)
    stop = StopRequest()
    with stop.handling_signals(), stop.deferred():
        stop.raise_if_requested()
        send(number)
        send(signal.SIGTERM)  # the first signal counts
        with pytest.raises(Stopped, match=f"^{number.name}$"):
            stop.raise_if_requested()


@pytest.mark.promise("second-interrupt-is-immediate")
def test_second_sigint_interrupts_at_once() -> None:
    stop = StopRequest()
    with stop.handling_signals(), stop.deferred():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as raised:
            send(signal.SIGINT)
        assert not isinstance(raised.value, Stopped)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # a third one ends the process
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_ignored_signals_stay_ignored_and_handlers_are_restored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as `nohup` and `&` do with others
    try:
        stop = StopRequest()
        with stop.handling_signals(), stop.deferred():
            send(signal.SIGUSR1)
            stop.raise_if_requested()
            assert signal.getsignal(signal.SIGTERM) == stop._handle
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_set_no_signal_handlers() -> None:
    handlers = list[object]()

    def work() -> None:
        with StopRequest().handling_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]
