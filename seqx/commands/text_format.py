"""Formats of durations and numbers in the texts of commands."""

import datetime as dt


def format_duration(seconds: float) -> str:
    """Format a number of seconds as hours, minutes and seconds: 1:02:03."""
    return str(dt.timedelta(seconds=max(0, round(seconds))))


def format_number(value: float) -> str:
    """Format a number with five significant digits; very small and large numbers have an exponent."""
    return f"{value:.5g}" if value < 10_000 else f"{value:.0f}" if value < 1e7 else f"{value:.3e}"


def format_long_duration(seconds: float) -> str:
    """Format an estimated number of seconds in its largest unit: 40 s, 5 min, 3 h, 12 days."""
    units = ((86_400, "days"), (3_600, "h"), (60, "min"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= 1.5 * size), (1, "s"))
    return f"{seconds / size:,.0f} {unit}"


def format_count(number: int) -> str:
    """Format a large number with two or three significant digits: 1.2 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"
    return str(number)
