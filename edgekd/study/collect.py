"""What a study found, as JSON-ready values: every arm's numbers, its difference to the baseline, and what it means."""

import datetime
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import __version__, label_counts
from edgekd.study import conclude
from edgekd.study.grids import GRIDS, at_edge
from edgekd.study.metric import MAP, TOP1, Metric
from edgekd.study.paired import mean_interval, on_test, paired
from edgekd.study.place import Places
from edgekd.study.plan import Arm, Cell
from edgekd.study.process import Failed, Trained
from edgekd.study.schedule import Schedule

SCHEMA_VERSION = 1
Json = dict[str, Any]


def study(
    schedule: Schedule,
    *,
    places: Places,
    labels: npt.NDArray[np.integer],
    classes: int,
    machine: Mapping[str, Any],
    recipe: Mapping[str, Any],
    seconds: float,
) -> Json:
    """The whole of study.json. labels: (n,) of the test samples, or (n, K) of a multi-label task.

    seconds: of this run, cached cells cost none.
    """
    plan, metric = schedule.plan, MAP if labels.ndim == 2 else TOP1
    arms = [arm_facts(arm, schedule, metric) for arm in plan.arms]
    compare(arms, baseline=plan.baseline, labels=labels, metric=metric)
    students = [result.report for result in schedule.results.values() if isinstance(result, Trained)]
    teacher = next((report["teacher"] for report in students if report.get("teacher")), None)
    found: Json = {
        "schema_version": SCHEMA_VERSION,
        "name": plan.recipe.name,
        "metric": metric.key,
        "edgekd_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": dict(recipe) | {"values": plan.recipe.model_dump(mode="json", by_alias=True)},
        "set_aside": list(plan.set_aside),
        "environment": dict(machine),
        "places": asdict(places) | {"devices": sorted({report["student"]["device"] for report in students})},
        "seconds": seconds,
        "data": {"classes": classes, "test": len(labels)},
        "teacher": teacher and {key: value for key, value in teacher.items() if key != "test_predictions"},
        "student": plan.recipe.student.model,
        "seeds": list(plan.seeds),
        "candidates": plan.candidates,
        "baseline": plan.baseline,
        "fixed_entropy": _entropies([report["student"] for report in students], "fixed_entropy"),
        "arms": [{key: value for key, value in arm.items() if key != "predictions"} for arm in arms],
    }
    return found | {"conclusions": conclude.sentences(found)}


def arm_facts(arm: Arm, schedule: Schedule, metric: Metric) -> Json:
    """One method: its candidates, the one that was chosen, and what its students are worth over the seeds.

    `predictions`, seed -> test predictions, is for `compare` and is not kept.
    """
    chosen = schedule.chosen.get(arm.method)
    tuning = [_candidate(cell, schedule.results.get(cell.name), metric) for cell in arm.tuning]
    cells = () if chosen is None else arm.cells_of(chosen)
    found = [(cell, schedule.results.get(cell.name)) for cell in cells]
    trained = [(cell, result.report["student"]) for cell, result in found if isinstance(result, Trained)]
    students = [student for _, student in trained]
    return {
        "method": arm.method,
        "source": GRIDS[arm.method].source if arm.method in GRIDS else "labels alone",
        "chosen": chosen,
        "edges": list(at_edge(chosen, arm.tried)) if chosen else [],
        "candidates": tuning,
        "seeds": [_seed(cell, student, metric) for cell, student in trained],
        "failures": _failures(arm, schedule),
        metric.test: spread([student[metric.test] for student in students]),
        **{name: spread([student[name] for student in students]) for name in _beside(metric)},
        "logit_sd": spread([student["logit_sd"] for student in students]),
        "logit_max": spread([student["logit_max"] for student in students]),
        "seconds_per_epoch": _median([epoch["seconds"] for student in students for epoch in student["history"]]),
        "soft_entropy": _entropies(students, "soft_entropy"),
        "against_baseline": None,
        "predictions": {cell.seed: student["test_predictions"] for cell, student in trained},
    }


def compare(arms: Sequence[Json], *, baseline: str, labels: npt.NDArray[np.integer], metric: Metric = TOP1) -> None:
    """Fill in `against_baseline` of every other arm: over the seeds that both have."""
    base = next(arm for arm in arms if arm["method"] == baseline)
    tops = {row["seed"]: row[metric.test] for row in base["seeds"]}
    for arm in arms:
        shared = [row for row in arm["seeds"] if row["seed"] in tops]
        if arm is base or not shared:
            continue
        result = paired([row[metric.test] for row in shared], [tops[row["seed"]] for row in shared])
        pairs = [(arm["predictions"][row["seed"]], base["predictions"][row["seed"]]) for row in shared]
        intervals = [
            asdict(on_test(*both, labels)) if labels.ndim == 1 else compared_sets(*both, labels) for both in pairs
        ]
        arm["against_baseline"] = {
            "difference": result.difference,
            "low": result.interval.low if result.interval else None,
            "high": result.interval.high if result.interval else None,
            "verdict": result.verdict,
            "seeds": [
                {"seed": row["seed"], "difference": row[metric.test] - tops[row["seed"]], **interval}
                for row, interval in zip(shared, intervals, strict=True)
            ],
        }


def _beside(metric: Metric) -> tuple[str, ...]:
    """What of a student's test stands beside the metric."""
    return ("test_ece",) if metric is TOP1 else ("test_micro_f1",)


def compared_sets(one: Sequence[Any], base: Sequence[Any], labels: npt.NDArray[np.integer]) -> Json:
    """Micro F1 of one less that of base, paired over the test samples, with its 95 % ends; of the mAP there are none.

    one, base: for each sample the classes that are named. The interval is `edgekd.label_counts`'s.
    """

    def sets(named: Sequence[Any]) -> npt.NDArray[np.bool_]:
        made = np.zeros(labels.shape, dtype=np.bool_)
        for row, numbers in enumerate(named):
            made[row, list(numbers)] = True
        return made

    outcomes = label_counts.count_outcomes(labels, sets(one), sets(base))
    found = label_counts.scores(outcomes, classes=labels.shape[1])
    lost = [found[f"micro_f1_drop{end}"] for end in ("", "_high", "_low")]
    names = ("micro_f1_difference", "micro_f1_low", "micro_f1_high")
    return {name: None if value is None else -value for name, value in zip(names, lost, strict=True)}


def spread(values: Sequence[float]) -> Json | None:
    """Mean, sample standard deviation and 95 % t interval of the mean over seeds; None for no values."""
    if not values:
        return None
    interval = mean_interval(values)
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": len(values),
    }


def _candidate(cell: Cell, result: Trained | Failed | None, metric: Metric) -> Json:
    """Validation only: nobody may choose on the test."""
    row: Json = {"knobs": cell.knobs, "seed": cell.seed, "folder": f"cells/{cell.name}"}
    if isinstance(result, Trained):
        return row | {metric.validation: result.report["student"][metric.validation], "failure": None}
    return row | {metric.validation: None, "failure": result.message if result else "not trained"}


def _seed(cell: Cell, student: Mapping[str, Any], metric: Metric) -> Json:
    kept = (metric.test, metric.validation, *_beside(metric), "logit_sd", "logit_max", "seconds", "images_per_second")
    numbers = {key: student[key] for key in (*kept, "threads", "device", "precision")}
    return {"seed": cell.seed, "folder": f"cells/{cell.name}"} | numbers


def _failures(arm: Arm, schedule: Schedule) -> list[Json]:
    mine = f"{arm.method}-"
    return [
        {"cell": name, "message": result.message, "exit_code": int(result.exit_code)}
        for name, result in schedule.results.items()
        if isinstance(result, Failed) and name.startswith(mine)
    ]


def _entropies(students: Sequence[Mapping[str, Any]], key: str) -> Json | None:
    """Of the teacher's soft labels, nats; a temperature that depends on the student is the first seed's."""
    values = next((student[key] for student in students if student[key]), None)
    if values is None:
        return None
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.pstdev(values),
        "low": min(values),
        "high": max(values),
        "n": len(values),
        "values": [float(f"{value:.7g}") for value in values],
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def as_json(found: Mapping[str, Any]) -> str:
    """Indented, with every flat list of numbers on one line; a string holds no raw newline after a bracket."""
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda hit: re.sub(r"\s+", "", hit[0]).replace(",", ", "), text) + "\n"
