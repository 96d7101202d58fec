"""A mistake that a law finds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """A component with a typical mistake.

    Args:
        description: the mistake, as the documentation calls it
        interface: interface of the component
        component: class of the component
        law: name of the law that finds it
        message: pattern of the message, which names the method to look at and the cause
    """

    description: str
    interface: type
    component: Callable[..., Any]
    law: str
    message: str
