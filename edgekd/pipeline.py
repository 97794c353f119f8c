"""A recipe's stages in order; the only module that takes a recipe apart.

data -> teacher -> distill -> export -> quantize -> validate -> gate -> report -> bundle. Each expensive stage is kept
in the run folder under the hash of all that it depends on, so that the same command goes on where it was stopped.
"""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd import __version__, bundle, compete, data, environment, gate, models, report, targets
from edgekd.data import Dataset
from edgekd.errors import BadInputError, ExitCode
from edgekd.files import sha256, write_atomic
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize import Built, build_variants
from edgekd.quantize.build import describe_file
from edgekd.recipe import Recipe, dump
from edgekd.session import SessionOptions, options_for
from edgekd.store import Stage, Store, key_of, locked

if TYPE_CHECKING:
    from edgekd.network import Network

STAGES = ("teacher", "distill", "export", "quantize", "validate")
"""The stages that are kept; gate, report and bundle follow in well under a second and are made every time."""


QUIET = ("teacher", "export")
"""The stages that say nothing of themselves while they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of the plan: whether the stage is already there, and under which key."""

    name: str
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run answers with. report: the whole of report.json; cached: stages that were not run again."""

    folder: Path
    report: dict[str, Any]
    exit_code: ExitCode
    cached: tuple[str, ...]


class _NotCached(Exception):  # noqa: N818  a signal of the dry run, not an error
    """A dry run came to a stage that would have to run."""


class _Run:
    """One recipe in one run folder. The stages call one another backwards: asking for the last one runs them all."""

    def __init__(self, recipe: Recipe, folder: Path, listener: Listener, *, dry: bool = False) -> None:
        self.recipe, self.folder, self.listener, self.dry = recipe, folder, listener, dry
        self.store = Store(folder)
        self.target = targets.load(recipe.validate_.target)
        self.environment = environment.describe()
        self.stages: dict[str, Stage] = {}
        self.cached: list[str] = []
        check_models(recipe)
        self.data = load_data(recipe)

    @property
    def options(self) -> SessionOptions:
        return options_for(self.target, cores=self.environment.cores_granted)

    def stage(self, name: str, key: str, work: Callable[[], tuple[Any, list[Path]]]) -> Any:
        """The result of a stage, from the store or made now."""
        if name not in self.stages:
            known = self.store.recall(name, key)
            if known is None and self.dry:
                raise _NotCached
            if known is not None:
                self.cached.append(name)
            with nullcontext() if known or name not in QUIET else _announced(self.listener, name):
                self.stages[name] = known or self.store.run(name, key, work)
        return self.stages[name].result

    def model_key(self) -> str:
        """The hash of all that decides the weights; also the recipe hash inside model.onnx."""
        import torch

        recipe = self.recipe
        own = [s.model.rpartition(":")[0] for s in (recipe.student, recipe.teacher) if s and models.is_own(s.model)]
        weights = None if recipe.teacher is None else sha256(teacher_weights(recipe))
        # Contents count, not where they lie: a moved folder is the same data.
        sections = (recipe.data, recipe.teacher, recipe.student, recipe.distill)
        return key_of(
            [__version__, torch.__version__, torch.get_num_threads()],
            [recipe.seed, *(section and section.model_dump(exclude={"source", "weights"}) for section in sections)],
            [self.data.content_hash, self.data.index_hash, weights, *(sha256(Path(path)) for path in own)],
        )

    def teacher(self) -> dict[str, Any] | None:
        if self.recipe.teacher is None:
            return None

        def work() -> tuple[Any, list[Path]]:
            from edgekd import distill

            assert self.recipe.teacher is not None
            weights = teacher_weights(self.recipe)
            facts = distill.measure_teacher(
                load_teacher(self.recipe, self.data),
                self.data,
                model=self.recipe.teacher.model,
                sha256=sha256(weights),
                rho=self._rho(),
                device=distill.choose_device(self.recipe.distill.device),
            )
            return asdict(facts), []

        result: dict[str, Any] = self.stage("teacher", key_of("teacher", self.model_key()), work)
        return result

    def distill(self) -> dict[str, Any]:
        self.teacher()
        key = key_of("distill", self.model_key())

        def work() -> tuple[Any, list[Path]]:
            from edgekd import distill

            settings = self.recipe.distill
            device = distill.choose_device(settings.device)
            result = distill.distill(
                self.data,
                student=self.recipe.student.model,
                options=self.recipe.student.options,
                method=self._method(),
                settings=training_settings(self.recipe, precision=distill.choose_precision(settings.precision, device)),
                folder=self.folder,
                key=key,
                teacher=load_teacher(self.recipe, self.data) if self.recipe.teacher else None,
                device=device,
                facts={"recipe_hash": self.model_key(), "seed": self.recipe.seed, "edgekd": __version__},
                listener=self.listener,
            )
            return asdict(result), [self.folder / result.weights]

        result: dict[str, Any] = self.stage("distill", key, work)
        return result

    def export(self) -> dict[str, Any]:
        student = self.distill()
        settings = self.recipe.export

        def work() -> tuple[Any, list[Path]]:
            import onnx
            import torch

            from edgekd.export import describe_preprocessing, export
            from edgekd.network import load_student

            network, card = load_student(self.folder / student["weights"])
            exported = export(
                network,
                self.folder / "model.onnx",
                images=self.data.test.images,
                opset=settings.opset,
                input_layout=settings.input_layout,
                tolerance=settings.max_difference,
                metadata={
                    "classes": card.classes,
                    "input_layout": settings.input_layout,
                    "preprocessing": describe_preprocessing(network),
                    "recipe_hash": self.model_key(),
                    "versions": {"edgekd": __version__, "torch": torch.__version__, "onnx": onnx.__version__},
                },
            )
            return asdict(exported), [self.folder / "model.onnx"]

        key = key_of("export", __version__, student["sha256"], settings.model_dump(), self.data.content_hash)
        result: dict[str, Any] = self.stage("export", key, work)
        return result

    def quantize(self) -> list[Built]:
        exported = self.export()
        settings = self.recipe.quantize
        names, _ = compete.allowed(settings.variants, self.target.precisions, self.target.name)

        def work() -> tuple[Any, list[Path]]:
            from edgekd.export import to_layout

            built = build_variants(
                self.folder / "model.onnx",
                to_layout(self.data.calibration.images, exported["input_layout"]),
                names=names,
                folder=self.folder / "variants",
                input_name=exported["input_name"],
                per_channel=settings.per_channel,
                calibration_method=settings.calibration_method,
                listener=self.listener,
            )
            return [asdict(b) for b in built], [self.folder / "variants" / b.path for b in built if b.path]

        packages = self.environment.packages
        versions = [__version__, packages.get("onnxruntime"), packages.get("onnx")]
        key = key_of("quantize", versions, exported["sha256"], settings.model_dump(), names, self.data.content_hash)
        built = [Built(**one) for one in self.stage("quantize", key, work)]
        # Paths relative to the run folder, as the report states them.
        moved = [Built(**{**asdict(b), "path": b.path and f"variants/{b.path}"}) for b in built]
        return [describe_file("fp32", self.folder / "model.onnx"), *moved]

    def validate(self) -> dict[str, Any]:
        built = self.quantize()
        teacher = self.teacher()
        settings = self.recipe.validate_
        timing = compete.Timing(
            rounds=settings.rounds,
            seconds=settings.seconds,
            min_samples=settings.min_samples,
            batch_size=settings.batch_size,
        )

        def work() -> tuple[Any, list[Path]]:
            from edgekd.export import to_layout

            samples = compete.Samples(
                inputs=to_layout(self.data.test.images, self.recipe.export.input_layout),
                labels=self.data.test.labels,
                classes=self.data.classes,
                teacher_predictions=np.array(teacher["test_predictions"]) if teacher else None,
            )
            measured = compete.measure(
                built,
                samples,
                self.options,
                folder=self.folder,
                timing=timing,
                isa=self.environment.isa,
                listener=self.listener,
            )
            return measured, []

        machine = environment.fingerprint(self.environment)
        parts = [[b.sha256 for b in built], asdict(timing), self.options.as_dict(), machine]
        result: dict[str, Any] = self.stage("validate", key_of("validate", __version__, parts, self.model_key()), work)
        return result

    def _rho(self) -> float:
        from edgekd.distill import resolve_rho

        settings = self.recipe.distill
        return resolve_rho(settings.rho, classes=len(self.data.classes), normalised_entropy=settings.rho_entropy)

    def _method(self) -> Any:
        from edgekd.distill import Method

        settings = self.recipe.distill
        if settings.method == "ce":
            return Method(name="ce")
        if settings.method == "kd":
            weight = 0.9 if settings.kd_weight is None else settings.kd_weight
            return Method(name="kd", temperature=settings.temperature, kd_weight=weight, ce_weight=settings.ce_weight)
        weight = 8.0 if settings.kd_weight is None else settings.kd_weight
        return Method(name="cist", rho=self._rho(), kd_weight=weight)


def run(
    recipe: Recipe,
    *,
    folder: Path,
    origin: str = "",
    overrides: tuple[str, ...] = (),
    until: str | None = None,
    listener: Listener = silent,
) -> Outcome:
    """Run the recipe into `folder`; what is already there under the same inputs is not run again.

    until: stop after the stage `distill`, `export` or `quantize`; the report then holds what there is, unwritten.

    Raises:
        EdgekdError: with the exit code; what was finished before stays and is used by the next run.
    """
    this = _Run(recipe, folder, listener)  # before the lock, so that bad input leaves no folder
    with locked(folder):
        write_atomic(folder / "recipe.lock.toml", dump(recipe))
        if until is not None:
            getattr(this, until)()
            return _outcome(this, _header(this, origin, overrides) | _made(this), ExitCode.PASS)
        measured = this.validate()
        limits, sources = gate.merge_limits(
            recipe.gate.model_dump(exclude_none=True), this.target.budgets.model_dump(exclude_none=True)
        )
        _, left_out = compete.allowed(recipe.quantize.variants, this.target.precisions, this.target.name)
        variants, verdict = compete.judge(this.quantize(), measured, limits=limits, sources=sources, left_out=left_out)
        full = _header(this, origin, overrides) | _made(this) | _verdict(variants, verdict)
        with _announced(listener, "report"):
            report.write(full, folder)
            _bundle(this, variants)
        return _outcome(this, full, gate.exit_code(verdict.verdict))


def plan(recipe: Recipe, *, folder: Path, until: str | None = None) -> tuple[Step, ...]:
    """The stages up to `until` and whether each is already there; reads, and writes nothing."""
    this = _Run(recipe, folder, silent, dry=True)
    wanted = STAGES[: STAGES.index(until or STAGES[-1]) + 1]
    names = [name for name in wanted if name != "teacher" or recipe.teacher is not None]
    for name in names:
        try:
            getattr(this, name)()
        except _NotCached:
            break
    steps = [Step(name=name, cached=name in this.stages) for name in names]
    rest = () if until else ("gate", "report", "bundle")
    return (*steps, *(Step(name=name, cached=False) for name in rest))


@contextmanager
def _announced(listener: Listener, stage: str) -> Iterator[None]:
    listener(Progress(stage=stage, done=0, total=1))
    yield
    listener(Progress(stage=stage, done=1, total=1))


def load_data(recipe: Recipe) -> Dataset:
    """The recipe's data in four splits."""
    settings = recipe.data
    return data.load(
        settings.source,
        seed=recipe.seed,
        resize=settings.resize,
        channels=settings.channels,
        classes=settings.classes,
        validation_fraction=settings.validation_fraction,
        calibration_samples=settings.calibration_samples,
        test_fraction=settings.test_fraction,
        train_samples=settings.train_samples,
    )


def check_models(recipe: Recipe) -> None:
    """Refuse an unknown network, or missing weights, before the data is read. Raises BadInputError."""
    for section in (recipe.student, recipe.teacher):
        if section is not None and not models.is_own(section.model):
            models.check_name(section.model, options=section.options)
    if recipe.teacher is not None:
        teacher_weights(recipe)


def teacher_weights(recipe: Recipe) -> Path:
    """The file behind teacher.weights.

    Raises:
        BadInputError: it is missing, or no teacher of that name ships with edgekd.
    """
    assert recipe.teacher is not None
    weights = recipe.teacher.weights
    if not weights.startswith("builtin:"):
        if not Path(weights).is_file():
            raise BadInputError(f"teacher.weights {weights}: no such file; expected a .safetensors file")
        return Path(weights)
    folder = Path(str(files("edgekd.models")))
    path = folder / f"{weights.removeprefix('builtin:')}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in folder.glob("*.safetensors"))) or "none"
        raise BadInputError(f"teacher.weights = '{weights}' does not ship with edgekd; known: {known}")
    return path


def load_teacher(recipe: Recipe, dataset: Dataset) -> "Network":
    """The recipe's teacher, checked against the data."""
    from edgekd.distill import load_teacher as load

    settings = recipe.teacher
    assert settings is not None
    return load(
        teacher_weights(recipe),
        dataset,
        model=settings.model,
        options=settings.options,
        mean=settings.mean,
        std=settings.std,
    )


def training_settings(recipe: Recipe, *, precision: str) -> Any:
    """The recipe's training section as the trainer takes it."""
    from edgekd.core.trainer import Settings

    chosen = recipe.distill
    return Settings(
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        optimizer=chosen.optimizer,
        learning_rate=chosen.learning_rate,
        momentum=chosen.momentum,
        weight_decay=chosen.weight_decay,
        schedule=chosen.schedule,
        warmup_epochs=chosen.warmup_epochs,
        milestones=chosen.milestones,
        step_factor=chosen.step_factor,
        clip_norm=chosen.clip_norm,
        precision=precision,
        crop_padding=recipe.data.crop_padding if "crop" in recipe.data.augment else 0,
        flip="flip" in recipe.data.augment,
        seed=recipe.seed,
    )


def _header(this: _Run, origin: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    dataset = this.data
    return {
        "schema_version": report.SCHEMA_VERSION,
        "name": this.recipe.name,
        "edgekd_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": {
            "path": origin,
            "sha256": key_of(this.recipe.model_dump(by_alias=True)),
            "overrides": list(overrides),
            "values": this.recipe.model_dump(mode="json", by_alias=True),
        },
        "environment": this.environment.as_dict(),
        "target": this.target.model_dump(mode="json"),
        "data": {
            "source": dataset.source,
            "classes": list(dataset.classes),
            "counts": dataset.counts(),
            "input_shape": list(dataset.input_shape),
            "index_hash": dataset.index_hash,
            "content_hash": dataset.content_hash,
            "repeated": dataset.repeated,
        },
    }


def _made(this: _Run) -> dict[str, Any]:
    results = {name: stage.result for name, stage in this.stages.items()}
    return {
        "teacher": results.get("teacher"),
        "student": results.get("distill"),
        "export": results.get("export"),
        "variants": [],
        "gate": None,
        "timings": {name: stage.seconds for name, stage in this.stages.items()},
    }


def _verdict(variants: tuple[compete.Variant, ...], verdict: gate.Gate) -> dict[str, Any]:
    selected = next(v.name for v in variants if v.selected)
    return {
        "variants": [asdict(v) for v in variants],
        "gate": asdict(verdict) | {"variant": selected, "exit_code": int(gate.exit_code(verdict.verdict))},
    }


def _outcome(this: _Run, full: dict[str, Any], code: ExitCode) -> Outcome:
    return Outcome(folder=this.folder, report=full, exit_code=code, cached=tuple(this.cached))


def _bundle(this: _Run, variants: tuple[compete.Variant, ...]) -> None:
    from edgekd.export import to_layout

    selected = next(v for v in variants if v.selected)
    assert selected.path is not None
    spread = np.linspace(0, len(this.data.test) - 1, min(16, len(this.data.test)), dtype=np.int64)
    bundle.write(
        this.folder / "bundle",
        model=this.folder / selected.path,
        variant=selected.name,
        options=this.options,
        classes=this.data.classes,
        target_toml=targets.dump(this.target),
        reports=[this.folder / file for file in report.FILES],
        inputs=to_layout(this.data.test.images[spread], this.recipe.export.input_layout),
        isa=this.environment.isa,
    )
