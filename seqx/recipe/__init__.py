"""Recipes: load and merge them, check them against constructors, show them, describe them to editors."""

from seqx.recipe.checker import check
from seqx.recipe.editor import schema
from seqx.recipe.files import Recipe, load, named
from seqx.recipe.made import Leaf, Made, Several, Value
from seqx.recipe.printer import show

__all__ = ["Leaf", "Made", "Recipe", "Several", "Value", "check", "load", "named", "schema", "show"]
