"""Measurement of the speed of a run, and a line with the likely reason when the run has become slow."""

from statistics import median

from seqx_watch.machine_load import Load, reason

INTERVAL = 10.0
"""Seconds of training over which a speed is measured."""

_FIRST = 5  # intervals before speeds are compared with the median
_SLOW = 1 / 3  # of the median


class SpeedWatch:
    """The speeds of a run since its start. A slow phase is reported once, in its second interval.

    The first slow interval may be a pause, so it is not reported. The load is read at the end of this
    interval, and again at the end of the second one.

    Args:
        device: the device of the run
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._speeds: list[float] = []
        self._before: Load | None = None  # at the end of the first slow interval
        self._is_reported = False

    def add(self, step: int, tokens: int, seconds: float) -> str | None:
        """Add the speed of an interval that ends with update `step`; return a line if the run became slow."""
        speed, usual = tokens / seconds, median(self._speeds or [0.0])
        self._speeds.append(speed)
        if len(self._speeds) <= _FIRST or speed >= _SLOW * usual:
            self._before, self._is_reported = None, False
            return None
        if self._is_reported:
            return None
        if self._before is None:
            self._before = Load.read()
            return None
        self._is_reported = True
        return (
            f"step {step}: slow, {speed:,.0f} target tokens/s instead of {usual:,.0f}: "
            f"{reason(self._before, Load.read(), self._device)}"
        )
