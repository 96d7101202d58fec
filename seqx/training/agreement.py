"""What the processes that share an update must all see alike. Alone, each sees what it sees.

The one place where processes that train together settle what became of an update; everything that decides
about it decides by what these functions return.
"""

from torch import Tensor


def agree(flag: bool) -> bool:
    """Whether any of the processes says so; known on the host."""
    return flag


def worst(values: Tensor) -> Tensor:
    """The largest of what the processes have, number by number [N], without waiting for the device.

    All values are finite or infinite: what is not a number was made infinite before.
    """
    return values
