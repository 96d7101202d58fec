"""Recipes: read and merge files, check them against constructors, print them, describe them to editors."""

from seqx.recipe.checker import check
from seqx.recipe.configured import Collection, Configured, PlainValue, Value, building
from seqx.recipe.differences import NOT_SET, differences, inside, left_out
from seqx.recipe.files import Recipe, load, named, read_plain
from seqx.recipe.json_schema import schema
from seqx.recipe.printer import show
from seqx.recipe.renamed import with_new_names
from seqx.recipe.vocabulary import Fixed, names_interface

__all__ = [
    "NOT_SET",
    "Collection",
    "Configured",
    "Fixed",
    "PlainValue",
    "Recipe",
    "Value",
    "building",
    "check",
    "differences",
    "inside",
    "left_out",
    "load",
    "named",
    "names_interface",
    "read_plain",
    "schema",
    "show",
    "with_new_names",
]
