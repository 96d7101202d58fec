"""Recipes: load and merge them, check them against constructors, show them, describe them to editors."""

from seqx.recipe.checker import check
from seqx.recipe.differences import NOT_SET, differences, inside, left_out
from seqx.recipe.editor import schema
from seqx.recipe.files import Recipe, load, named, read_plain
from seqx.recipe.made import Leaf, Made, Several, Value
from seqx.recipe.printer import show

__all__ = [
    "NOT_SET",
    "Leaf",
    "Made",
    "Recipe",
    "Several",
    "Value",
    "check",
    "differences",
    "inside",
    "left_out",
    "load",
    "named",
    "read_plain",
    "schema",
    "show",
]
