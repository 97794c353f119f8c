"""The table of docs/language.md: a student alone, and by each method of distillation, tuned alike, three seeds each.

    python -m benchmarks.language_methods --out runs/language-methods

Python's language reference, characters as tokens. The teacher (828,160 parameters) is trained first, on the text alone;
then every candidate of every method on seed 0. Of each method the candidate with the fewest bits a character on the
validation blocks is trained with the other seeds, exported, quantized and judged by `edgekd language`. The learning
rate is tuned for the student alone, and the others get that one, so it is in nobody's favour but `ce`'s. What is
finished under --out is not run again; table.md is written anew after each step, and says what is still missing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.files import write_atomic
from edgekd.language import learn, network, run, train  # noqa: F401  all loaded now: a long run outlives an edit
from edgekd.language.recipe import Recipe, parse
from edgekd.progress import Progress
from edgekd.recipe import dump

TEACHER = {"width": 128, "depth": 4, "heads": 4}
STUDENT = {"width": 64, "depth": 2, "heads": 4}
TEACHER_TRAINING = {"steps": 1500, "batch_size": 32, "learning_rate": 3e-3}
DATA = {"text": ("python-reference",), "vocabulary": "characters", "context": 64, "block_characters": 2048}
GATE = {"max_perplexity_ratio": 2.0, "max_token_ms": 5.0, "max_size_bytes": 1_000_000}
FILES = ("int8-weight-only", "int8-dynamic", "int4-weight-only")
RATES = (2e-3, 4e-3, 8e-3, 16e-3)
SEEDS = (0, 1, 2)

GRIDS: Mapping[str, tuple[dict[str, float], ...]] = {
    "ce": tuple({"learning_rate": rate} for rate in RATES),
    "forward-kl": ({"temperature": 1.0}, {"temperature": 2.0}, {"temperature": 4.0},
                   {"temperature": 1.0, "kd_weight": 4.0}),
    "reverse-kl": ({"temperature": 1.0}, {"temperature": 2.0}, {"temperature": 4.0},
                   {"temperature": 1.0, "kd_weight": 4.0}),
    "cist": ({}, {"rho": 6.0}, {"rho": 12.0}, {"kd_weight": 4.0}),
    "entropy": ({}, {"target_nats": 1.0}, {"target_nats": 3.0}, {"kd_weight": 4.0}),
}  # fmt: skip
"""Method -> its candidates, as many for each: three sharpnesses, and the first again with four times the weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A student. change: what differs from the defaults of the method."""

    method: str
    change: Mapping[str, float]
    seed: int
    rate: float
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = [f"{key}={value:g}" for key, value in sorted(self.change.items())]
        return "-".join([self.method, *parts, f"seed={self.seed}"])

    @property
    def bits(self) -> float:
        """A character, on validation, once it is trained."""
        return float(self.result["validation"]["bits_per_character"])


def main() -> None:
    """Teacher, candidates, seeds, table; each only where it is not there yet."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("runs/language-methods"))
    arguments.add_argument("--teacher", type=Path, help="a teacher.safetensors of this text; default: train one")
    arguments.add_argument("--steps", type=int, default=600, help="of each student, 32 windows of 64 tokens each")
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("EDGEKD_CACHE", str((chosen.out / "cache").absolute()))
    teacher = chosen.teacher or _teacher(chosen.out / "teacher")
    table = Table(out=chosen.out, teacher=teacher.absolute(), steps=chosen.steps)
    best = {"ce": table.tuned("ce", rate=RATES[1])}
    rate = best["ce"].change["learning_rate"]
    for method in GRIDS:
        best[method] = best.get(method) or table.tuned(method, rate=rate)
    for seed in SEEDS:
        for one in best.values():
            table.judged(Trial(method=one.method, change=one.change, seed=seed, rate=rate))


def _teacher(folder: Path) -> Path:
    """A network is a teacher once it is trained, whatever its run called it."""
    distill = {"method": "ce", "compare": (), **TEACHER_TRAINING}
    document = {"name": "teacher", "data": DATA, "student": TEACHER, "distill": distill}
    made = run.student(parse(document, origin="teacher", folder=Path()), folder=folder, listener=_say)
    return folder / str(made["weights"])


@dataclass(kw_only=True)
class Table:
    """What is known so far. candidates: trials of seed 0 with validation bits; finals: report.json of each."""

    out: Path
    teacher: Path
    steps: int
    candidates: list[Trial] = field(default_factory=list)
    finals: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def tuned(self, method: str, *, rate: float) -> Trial:
        """The candidate with the fewest bits a character on validation, seed 0."""
        tried = []
        for change in GRIDS[method]:
            trial = Trial(method=method, change=change, seed=0, rate=rate)
            made = run.student(self._recipe(trial), folder=self.out / trial.name)
            print(trial.name, made["validation"]["bits_per_character"], made["seconds"], file=sys.stderr, flush=True)
            tried.append(Trial(method=method, change=change, seed=0, rate=rate, result=made))
            self.candidates.append(tried[-1])
            self.write()
        return min(tried, key=lambda trial: trial.bits)

    def judged(self, trial: Trial) -> None:
        """Trained, exported, quantized, timed and judged by `edgekd language`."""
        recipe, folder = self.out / f"{trial.name}.toml", self.out / trial.name
        recipe.write_text(dump(self._recipe(trial)), encoding="utf-8")
        line = [sys.executable, "-P", "-m", "edgekd.cli", "language", str(recipe), "--out", str(folder)]
        print("$", *line, file=sys.stderr, flush=True)
        code = subprocess.run(line, check=False, stdout=subprocess.DEVNULL).returncode
        if code not in (0, 1, 3):
            sys.exit(code)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        self.finals.setdefault(trial.method, []).append(report)
        self.write()

    def write(self) -> None:
        """table.md of what is known."""
        write_atomic(self.out / "table.md", render(self.candidates, self.finals))

    def _recipe(self, trial: Trial) -> Recipe:
        distill = {"method": trial.method, "compare": (), "steps": self.steps, "batch_size": 32, "learning_rate":
                   trial.rate, "teacher_cache": "fp16", **trial.change}  # fmt: skip
        document = {
            "name": "language-methods", "training_seed": trial.seed, "data": DATA,
            "teacher": {"weights": str(self.teacher)}, "student": STUDENT, "distill": distill,
            "validate": {"variants": FILES, "rounds": 2, "seconds": 0.1}, "gate": GATE,
        }  # fmt: skip
        return parse(document, origin=trial.name, folder=Path.cwd())


def render(candidates: Sequence[Trial], finals: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Two tables: what tuning found, and what the chosen ones are worth."""
    return "\n".join([*_candidates(candidates), "", *_finals(finals), ""])


def _candidates(trials: Sequence[Trial]) -> Iterator[str]:
    yield "| Method | Candidate | Bits a character, validation | Seconds |\n| :-- | :-- | --: | --: |"
    for trial in trials:
        words = ", ".join(f"{key} {value:g}" for key, value in trial.change.items()) or "defaults"
        best = trial.bits == min(other.bits for other in trials if other.method == trial.method)
        bits = f"**{trial.bits:.4f}**" if best else f"{trial.bits:.4f}"
        yield f"| {trial.method} | {words} | {bits} | {trial.result['seconds']:.0f} |"


def _finals(finals: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    columns = ("Method", "Chosen", "Seeds", "Bits, test", "Less than `ce`", "Perplexity to the teacher's, int8 file")
    yield "| " + " | ".join((*columns, "its verdicts", "Size", "Next token, ms", "Ships")) + " |"
    yield "| :-- | :-- | --: | :-- | :-- | :-- | :-- | --: | --: | :-- |"
    alone = [_bits(report) for report in finals.get("ce", ())]
    for method, reports in finals.items():
        bits = [_bits(report) for report in reports]
        arm = reports[0]["arms"][-1]
        knobs = ", ".join(f"{key} {value:.3g}" for key, value in arm["knobs"].items()) or "–"
        files = [next(file for file in report["variants"] if file["name"] == FILES[0]) for report in reports]
        gain = [a - b for a, b in zip(alone, bits, strict=False)] if method != "ce" else []
        cells = [
            method, knobs, str(len(reports)), _with_spread(bits), _with_interval(gain),
            _with_spread([file["ratio"]["perplexity_ratio"] for file in files]),
            ", ".join(file["gate"]["verdict"] for file in files),
            f"{files[0]['size_bytes'] / 1024:.0f} KiB",
            f"{statistics.median(file['token']['p50_ms'] for file in files):.3f}",
            ", ".join(report["gate"]["variant"] for report in reports),
        ]  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


def _bits(report: Mapping[str, Any]) -> float:
    return float(report["arms"][-1]["test"]["bits_per_character"])


def _with_spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _with_interval(gains: Sequence[float]) -> str:
    """Mean over the seeds, paired, and its 95 % interval by Student's t."""
    if len(gains) < 2:
        return "–"
    from scipy.special import stdtrit

    mean = statistics.mean(gains)
    half = float(stdtrit(len(gains) - 1, 0.975)) * statistics.stdev(gains) / len(gains) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _say(progress: Progress) -> None:
    if progress.done % 100 == 0:
        print(progress.stage, f"{progress.done:g}/{progress.total:g}", progress.note, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
