"""What a study trains: arms, the candidates of each, and cells, which are recipes that differ in method and seed."""

from dataclasses import dataclass
from typing import Any

from edgekd import recipe as recipes
from edgekd.errors import BadInputError
from edgekd.recipe import Recipe
from edgekd.recipe.distill import KNOBS
from edgekd.study.grids import Knobs, candidates

CACHE_KEYS = ("teacher_cache", "cache_top_k", "cache_limit_gb", "cache_folder")
ALL_KNOBS = tuple(dict.fromkeys(key for keys in KNOBS.values() for key in keys))
BASELINE = "kd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One student: a method with its knobs, and a training seed."""

    method: str
    knobs: Knobs
    seed: int

    @property
    def name(self) -> str:
        """Names its run folder, such as `kd-0.9-4-seed0`."""
        return "-".join([self.method, *(f"{value:g}" for value in self.knobs.values()), f"seed{self.seed}"])

    @property
    def needs_teacher(self) -> bool:
        return self.method != "ce"

    @property
    def setting(self) -> str:
        """The knobs in words, such as `kd_weight 0.9, temperature 4`."""
        return ", ".join(f"{key} {value:g}" for key, value in self.knobs.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A method, and the candidates that are trained with the first seed."""

    method: str
    tried: tuple[Knobs, ...]
    seeds: tuple[int, ...]

    @property
    def tuning(self) -> tuple[Cell, ...]:
        """A cell a candidate."""
        return tuple(Cell(method=self.method, knobs=knobs, seed=self.seeds[0]) for knobs in self.tried)

    def cells_of(self, knobs: Knobs) -> tuple[Cell, ...]:
        """The cells whose accuracies are compared: one a seed, the first of which was trained while tuning."""
        return tuple(Cell(method=self.method, knobs=knobs, seed=seed) for seed in self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole study. set_aside: keys of the recipe's [distill] that the arms' own knobs replace."""

    recipe: Recipe
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    candidates: int
    set_aside: tuple[str, ...]

    @property
    def baseline(self) -> str:
        """The method that the others are compared with."""
        methods = [arm.method for arm in self.arms]
        return BASELINE if BASELINE in methods else methods[0]

    @property
    def cells(self) -> int:
        """How many students are trained, if none fails."""
        return sum(len(arm.tried) + len(arm.seeds) - 1 for arm in self.arms)


def plan(recipe: Recipe, *, methods: tuple[str, ...], seeds: int, count: int) -> Plan:
    """The study of `methods` over so many seeds, each tuned over `count` candidates with the first.

    The data's split and its augmented views follow the recipe's seed in every cell, weights and order the cell's own.

    Raises:
        BadInputError: no or repeated or unknown methods, seeds < 1, count outside the grid, early stop, or a method
            that contradicts the recipe, for example for want of a teacher.
    """
    if not methods or seeds < 1:
        raise BadInputError(f"{len(methods)} methods and {seeds} seeds; expected at least one of each")
    repeated = sorted({method for method in methods if methods.count(method) > 1})
    if repeated:
        raise BadInputError(f"method {', '.join(repeated)} is named twice; expected each once")
    if recipe.distill.early_stop_epochs is not None:
        raise BadInputError(
            "distill.early_stop_epochs gives each student another budget, and a study gives all the same; remove it"
        )
    first = recipe.seed if recipe.distill.seed is None else recipe.distill.seed
    numbers = tuple(range(first, first + seeds))
    arms = tuple(Arm(method=method, tried=candidates(method, count), seeds=numbers) for method in methods)
    aside = tuple(key for key in ALL_KNOBS if key in recipe.distill.model_fields_set)
    whole = Plan(recipe=recipe, arms=arms, seeds=numbers, candidates=count, set_aside=aside)
    for arm in arms:  # refuses now what would fail in an hour
        cell_recipe(recipe, arm.tuning[0])
    return whole


def cell_recipe(base: Recipe, cell: Cell) -> Recipe:
    """The base recipe with the cell's method, knobs and seed; other knobs of [distill] are taken out.

    Raises:
        BadInputError: the method contradicts the recipe, for example for want of a teacher.
    """
    document: dict[str, Any] = base.model_dump(exclude_unset=True, by_alias=True)
    document.setdefault("seed", base.seed)
    distill = {key: value for key, value in document.get("distill", {}).items() if key not in ALL_KNOBS}
    if not cell.needs_teacher:
        # Without a teacher nothing of it is measured or kept; the student is the same.
        document.pop("teacher", None)
        distill = {key: value for key, value in distill.items() if key not in CACHE_KEYS}
    document["distill"] = distill | {"method": cell.method, "seed": cell.seed} | cell.knobs
    return recipes.parse(document, origin=f"of {cell.name}")
