"""Recipe TOML -> a validated, frozen recipe: every check of what the user wrote, all errors at once."""

from edgekd.recipe.read import data_of, load, parse
from edgekd.recipe.schema import ALL_PRECISIONS, Gate, Recipe
from edgekd.recipe.write import dump

__all__ = ["ALL_PRECISIONS", "Gate", "Recipe", "data_of", "dump", "load", "parse"]
