"""The quickstart student alone, with KD and with CIST, over several seeds: `python -m benchmarks.quickstart_study`.

Same recipe, same budget for every arm. The KD weight of both KD and CIST is chosen on validation, from the same number
of candidates, with the first seed. Accuracy is the last epoch's, on the 1,000 test images of the subset and, where
Debian's package dataset-fashion-mnist is installed, on the full 10,000. Every cell is a run folder, so a second call
goes on where the first was stopped.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import compete, environment, pipeline, recipe, session, targets
from edgekd.data.fashion_mnist import DEBIAN_FOLDER, read_debian
from edgekd.files import write_atomic
from edgekd.machine import share_cores
from edgekd.progress import Progress
from edgekd.recipe import Recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.toml"
CANDIDATES = {"ce": (None,), "kd": (0.9, 3.0, 9.0), "cist": (2.0, 4.0, 8.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One finished run. Fractions; *_full are on the full test set, None where it is not installed."""

    method: str
    kd_weight: float | None
    seed: int
    validation: float
    fp32: float
    shipped: float
    fp32_full: float | None
    shipped_full: float | None
    shipped_name: str
    speed: float
    teacher: float
    seconds: float


def main() -> None:
    """Run the study, print its table and write results.json beside the cells."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--out", type=Path, default=Path("runs/quickstart-study"))
    chosen = arguments.parse_args()
    share_cores()
    weights = {method: tune(method, candidates, chosen.out) for method, candidates in CANDIDATES.items()}
    cells = [
        measure(method, weight, seed, chosen.out) for seed in range(chosen.seeds) for method, weight in weights.items()
    ]
    print(table(cells))
    facts = {"machine": environment.describe().as_dict(), "weights": weights}
    rows = [{name: getattr(cell, name) for name in cell.__slots__} for cell in cells]
    write_atomic(chosen.out / "results.json", json.dumps(facts | {"cells": rows}, indent=2, default=str))


def tune(method: str, candidates: tuple[float | None, ...], out: Path) -> float | None:
    """The candidate weight with the best validation accuracy, first seed."""
    scores = {}
    for weight in candidates if len(candidates) > 1 else ():
        outcome = pipeline.run(arm(method, weight, 0), folder=cell_folder(out, method, weight, 0), until="distill")
        scores[weight] = outcome.report["student"]["validation_top1"]
        say(f"tuning {method}: weight {weight} gives {scores[weight]:.1%} on validation")
    return max(scores, key=lambda weight: scores[weight]) if scores else candidates[0]


def arm(method: str, weight: float | None, seed: int) -> Recipe:
    """The quickstart recipe with another method, weight and seed; the teacher stays, to measure agreement."""
    settings = [f"seed={seed}", f"distill.method='{method}'"]
    if weight is not None:
        settings.append(f"distill.kd_weight={weight}")
    return recipe.load(RECIPE, overrides=tuple(settings))


def cell_folder(out: Path, method: str, weight: float | None, seed: int) -> Path:
    """Where one cell's run lives."""
    return out / f"{method}-{weight}-seed{seed}"


def measure(method: str, weight: float | None, seed: int, out: Path) -> Cell:
    """A whole run of one arm, and its two files on the full test set."""
    folder = cell_folder(out, method, weight, seed)
    report = pipeline.run(arm(method, weight, seed), folder=folder, listener=quiet).report
    by_name = {v["name"]: v for v in report["variants"]}
    shipped = by_name[report["gate"]["variant"]]
    full = on_full(folder, {"fp32": by_name["fp32"]["path"], "shipped": shipped["path"]})
    say(f"{method} seed {seed}: {shipped['accuracy']['top1']:.1%} with {shipped['name']}")
    return Cell(
        method=method,
        kd_weight=weight,
        seed=seed,
        validation=report["student"]["validation_top1"],
        fp32=by_name["fp32"]["accuracy"]["top1"],
        shipped=shipped["accuracy"]["top1"],
        fp32_full=full.get("fp32"),
        shipped_full=full.get("shipped"),
        shipped_name=shipped["name"],
        speed=by_name["fp32"]["latency"]["p50_ms"] / shipped["latency"]["p50_ms"],
        teacher=report["teacher"]["test_top1"],
        seconds=report["student"]["seconds"],
    )


def on_full(folder: Path, files: dict[str, str]) -> dict[str, float]:
    """Top-1 of the files on all 10,000 test images, where they are installed."""
    if not DEBIAN_FOLDER.is_dir():
        return {}
    pool = read_debian()
    assert pool.test is not None
    samples = compete.Samples(inputs=pool.test.inputs, labels=pool.test.labels, classes=pool.classes)
    options = session.options_for(targets.load("x86-1t"), cores=1)
    paths = {name: folder / path for name, path in files.items()}
    isa = environment.describe().isa
    scored = compete.score(paths, samples.inputs, samples, options, isa=isa)
    return {name: float(result.top1 or 0.0) for name, result in scored.items()}


def table(cells: list[Cell]) -> str:
    """The result as Markdown: mean ± standard deviation over the seeds, percent."""
    lines = [
        "| student | KD weight | fp32, 1,000 images | shipped, 1,000 | fp32, 10,000 | shipped, 10,000 | file | speed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(cell.method for cell in cells):
        mine = [cell for cell in cells if cell.method == method]
        names = ", ".join(sorted({cell.shipped_name for cell in mine}))
        speeds = f"{min(c.speed for c in mine):.2f}–{max(c.speed for c in mine):.2f}x"
        numbers = [spread([getattr(c, key) for c in mine]) for key in ("fp32", "shipped", "fp32_full", "shipped_full")]
        lines.append(f"| {method} | {mine[0].kd_weight or '–'} | {' | '.join(numbers)} | {names} | {speeds} |")
    return "\n".join(lines)


def spread(values: list[Any]) -> str:
    """Mean ± standard deviation in percent."""
    if any(value is None for value in values):
        return "–"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.fmean(values):.2f} ± {100 * deviation:.2f}"


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def quiet(progress: Progress) -> None:
    """Cells are announced when they are done."""


if __name__ == "__main__":
    main()
