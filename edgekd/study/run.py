"""Runs a study: cells in parallel processes, each in its own run folder, so that a killed study goes on."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import environment, settings
from edgekd.data import BUILTIN, Samples
from edgekd.errors import BadInputError, ExitCode
from edgekd.files import write_atomic
from edgekd.machine import share_cores
from edgekd.progress import Listener, Progress, silent
from edgekd.recipe import Recipe, dump
from edgekd.store import locked
from edgekd.study import charts, collect, markdown
from edgekd.study.metric import validation
from edgekd.study.place import Places, decide
from edgekd.study.plan import Cell, Plan, cell_recipe, plan
from edgekd.study.process import Failed, Trained, Worker
from edgekd.study.schedule import Schedule

USUAL = ("ce", "kd", "cist", "entropy", "dkd", "lskd")
"""The methods of a study where nothing else is said."""

POLL_SECONDS = 0.5
"""Between two looks at the running cells' progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a study answers with. study: the whole of study.json; exit_code: that of the worst failed cell, else 0."""

    folder: Path
    study: dict[str, Any]
    exit_code: ExitCode


def run(
    recipe: Recipe,
    *,
    folder: Path,
    methods: tuple[str, ...] | None,
    seeds: int,
    candidates: int,
    jobs: int | None = None,
    origin: str = "",
    overrides: tuple[str, ...] = (),
    listener: Listener = silent,
) -> Outcome:
    """Compare methods on the recipe's data, teacher and student; study.json, study.md and charts go to `folder`.

    methods: None for the usual ones, of multi-label data those that have a form for it. jobs: cells at a time; by
    default one a GPU, else one a core. Cells that are there already are not trained again.

    Raises:
        BadInputError: what the plan, the data or the models are refused for, or the folder is in use.
        EnvironmentFault: the folder cannot be written, or matplotlib is missing.
    """
    whole = plan(recipe, methods=USUAL if methods is None else methods, seeds=seeds, count=candidates)
    if jobs is not None and jobs < 1:
        raise BadInputError(f"--jobs {jobs}; expected at least 1")
    if "WORLD_SIZE" in os.environ:
        raise BadInputError("a study starts its own processes; run it without torchrun, with --jobs")
    charts.check_package()
    share_cores()
    settings.check_models(recipe)
    data = settings.load_data(recipe)
    settings.check_labels(recipe, data)
    if data.multi_label:
        usual = tuple(method for method in USUAL if method in of_label_sets())
        whole = plan(recipe, methods=usual if methods is None else methods, seeds=seeds, count=candidates)
        check_methods(whole)
        settings.check_task(cell_recipe(recipe, whole.arms[0].tuning[0]), data)
    if not (_judges(data.validation) and _judges(data.test)):
        raise BadInputError(
            f"{data.source}: the validation or test split has no labels, and a study compares accuracy; bring labelled "
            "samples to validate and test on"
        )
    machine = environment.describe()
    with locked(folder):
        places = decide(whole, folder=folder, jobs=jobs, cores=machine.cores_granted)
        write_atomic(folder / "recipe.lock.toml", dump(recipe))
        schedule, seconds = train(whole, folder=folder, places=places, listener=listener)
        study = collect.study(
            schedule,
            places=places,
            labels=data.test.labels,
            classes=len(data.classes),
            machine=machine.as_dict(),
            recipe={"path": origin, "overrides": list(overrides)},
            seconds=seconds,
        )
        write(study, folder)
    return Outcome(folder=folder, study=study, exit_code=_exit_code(schedule.results))


def _judges(samples: Samples) -> bool:
    """Whether accuracy, or mean average precision, can be measured on them."""
    return samples.known_labels is not None and (samples.labels.ndim == 1 or bool((samples.labels == 1).any()))


def of_label_sets() -> tuple[str, ...]:
    """The methods that multi-label data has a form of."""
    from edgekd.core.methods import BINARY

    return tuple(BINARY)


def check_methods(whole: Plan) -> None:
    """Raise BadInputError for a method that multi-label data has no form of."""
    known = of_label_sets()
    unknown = [arm.method for arm in whole.arms if arm.method not in known]
    if unknown:
        raise BadInputError(
            f"--methods {','.join(unknown)}: no form for multi-label data; expected some of: {', '.join(known)}"
        )


def is_multi_label(recipe: Recipe) -> bool:
    """As `data.task` says; of `auto` as the data does, which is loaded."""
    if recipe.data.task != "auto":
        return recipe.data.task == "multi-label"
    return recipe.data.source not in BUILTIN and settings.load_data(recipe).multi_label


def usual_methods(recipe: Recipe) -> tuple[str, ...]:
    """What a study compares where nothing is said; of multi-label data, those that have a form for it."""
    return tuple(method for method in USUAL if method in of_label_sets()) if is_multi_label(recipe) else USUAL


def write(study: Mapping[str, Any], folder: Path) -> None:
    """study.json, study.md and the charts, each replaced whole."""
    write_atomic(folder / "study.json", collect.as_json(study))
    for name, drawing in charts.draw(study).items():
        write_atomic(folder / name, drawing)
    write_atomic(folder / "study.md", markdown.render(study))


def train(whole: Plan, *, folder: Path, places: Places, listener: Listener) -> tuple[Schedule, float]:
    """Every cell trained or failed, and the seconds that took this time."""
    schedule = Schedule(whole)
    workers = [Worker(place) for place in places.environments()]
    told = _Told(schedule, listener)
    running: dict[Future[Trained | Failed], tuple[Cell, Worker]] = {}
    idle = list(workers)
    with ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.close)
        threads = stack.enter_context(ThreadPoolExecutor(len(workers)))
        for worker in workers:
            stack.callback(worker.kill)  # before the executor waits for its threads, which wait for the workers
        while True:
            while idle and (cell := schedule.take()) is not None:
                worker = idle.pop(0)
                running[threads.submit(_train, worker, whole.recipe, cell, folder)] = (cell, worker)
            if not running:
                return schedule, told.seconds
            finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in finished:
                cell, worker = running.pop(future)
                idle.append(worker)
                schedule.finish(cell, future.result())
                told.finished(cell)
            told.progress([worker for _, worker in running.values()])


def cell_folder(folder: Path, cell: Cell) -> Path:
    """Where a cell's run lives; its recipe.toml trains it alone, too."""
    return folder / "cells" / cell.name


def trained_before(whole: Plan, folder: Path) -> frozenset[str]:
    """Names of the candidates' cells whose student is in the folder already; reads, and trusts the recipes' text.

    A run looks closer: also at the contents of data, teacher and student.
    """
    there = set()
    for cell in (cell for arm in whole.arms for cell in arm.tuning):
        place = cell_folder(folder, cell)
        text = place / "recipe.toml"
        same = text.is_file() and text.read_text(encoding="utf-8") == dump(cell_recipe(whole.recipe, cell))
        if same and (place / "stages" / "distill.json").is_file():
            there.add(cell.name)
    return frozenset(there)


def _train(worker: Worker, base: Recipe, cell: Cell, folder: Path) -> Trained | Failed:
    place = cell_folder(folder, cell)
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / "recipe.toml", dump(cell_recipe(base, cell)))
    return worker.train(place / "recipe.toml", place)


class _Told:
    """What a listener hears: cells done, the one that ended last, and how long the rest will take."""

    def __init__(self, schedule: Schedule, listener: Listener) -> None:
        self.schedule, self.listener = schedule, listener
        self.started = time.monotonic()
        self.cached = 0
        self.last = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def finished(self, cell: Cell) -> None:
        result = self.schedule.results[cell.name]
        if isinstance(result, Failed):
            self.last = f"{cell.name} failed: {result.message.splitlines()[0]}"
            return
        self.cached += result.cached
        self.last = f"{cell.name} {validation(result.report['student']):.1%} on validation"

    def progress(self, running: list[Worker]) -> None:
        done = self.schedule.done + sum(worker.fraction for worker in running if worker.stage == "distill")
        total = self.schedule.total
        trained = done - self.cached
        parts = [f"{self.schedule.done} of {total} cells"]
        parts += [f"{worker.stage} {worker.fraction:.0%}" for worker in running if worker.stage == "teacher-logits"]
        if trained >= 1 and done < total:
            parts.append(f"ETA {_duration(self.seconds * (total - done) / trained)}")
        self.listener(
            Progress(stage="study", done=done, total=total, note=" · ".join(filter(None, [*parts, self.last])))
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _exit_code(results: Mapping[str, Trained | Failed]) -> ExitCode:
    """A bug outweighs the machine, and the machine the input."""
    return ExitCode(max((result.exit_code for result in results.values() if isinstance(result, Failed)), default=0))
