"""Select columns of the rows of a corpus, and report columns that the corpus does not have."""

from collections.abc import Mapping

from seqx.errors import UserError


def select_columns(row: tuple[str, ...], columns: Mapping[str, int]) -> tuple[str, ...]:
    """Return the values of some columns of a row.

    Args:
        row: a row of a corpus
        columns: the index of each column, counted from 0, by the setting that contains it (for the message)

    Raises:
        UserError: the row does not have one of the columns
    """
    for setting, index in columns.items():
        if index >= len(row):
            raise UserError(missing_column(setting, index, len(row)))
    return tuple(row[index] for index in columns.values())


def missing_column(setting: str, index: int, width: int) -> str:
    """Return the message that a setting names a column which a corpus of `width` columns does not have."""
    plural = "" if width == 1 else "s"
    return (
        f"{setting} is {index}, but the corpus has {width} column{plural}, counted from 0; "
        f"set it to at most {width - 1}"
    )
