"""Limits on requests, waiting times and connections."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server. The fields `seconds` and `idle_seconds` are the times that it waits."""

    body: int = 1 << 20  # bytes of a request
    lines: int = 500  # of a request
    characters: int = 50_000  # of a request
    queue: int = 5_000  # lines that wait
    batch: int = 64  # lines that are decoded together
    seconds: float = 60  # until a request is answered
    idle_seconds: float = 10  # until a request has been read, and between two requests of a connection
    connections: int = 500
