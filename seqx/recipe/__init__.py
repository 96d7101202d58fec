"""Recipes: read and merge files, check them against constructors, print them, describe them to editors."""

from seqx.recipe.checker import check, with_current_names
from seqx.recipe.configured import Collection, Configured, PlainValue, Value, all_built_objects
from seqx.recipe.differences import NOT_SET, differences, is_at_or_below, unset_paths
from seqx.recipe.files import Recipe, included_recipes, load, read_plain, read_stored
from seqx.recipe.json_schema import schema
from seqx.recipe.printer import show
from seqx.recipe.renamed import with_new_names
from seqx.recipe.vocabulary_settings import VocabularySettings, names_interface

__all__ = [
    "NOT_SET",
    "Collection",
    "Configured",
    "PlainValue",
    "Recipe",
    "Value",
    "VocabularySettings",
    "all_built_objects",
    "check",
    "differences",
    "included_recipes",
    "is_at_or_below",
    "load",
    "names_interface",
    "read_plain",
    "read_stored",
    "schema",
    "show",
    "unset_paths",
    "with_current_names",
    "with_new_names",
]
