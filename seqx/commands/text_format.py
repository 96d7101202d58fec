"""Formats of durations and numbers in the texts of commands."""

import datetime as dt


def format_duration(seconds: float) -> str:
    """Format a number of seconds as hours, minutes and seconds: 1:02:03."""
    return str(dt.timedelta(seconds=max(0, round(seconds))))


def format_number(value: float) -> str:
    """Format a number with five significant digits, and with an exponent only if it is large."""
    return f"{value:.5g}" if value < 10_000 else f"{value:.0f}" if value < 1e7 else f"{value:.3e}"
