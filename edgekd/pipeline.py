"""A recipe's stages in order: the recipe is taken apart by `settings`, what they made put together by `assemble`.

data -> teacher -> distill -> export -> quantize -> validate -> gate -> report -> bundle. Each expensive stage is kept
in the run folder under the hash of all that it depends on, so that the same command goes on where it was stopped.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgekd import __version__, assemble, compete, environment, gate, keys, report, settings, targets
from edgekd.data import Samples
from edgekd.errors import ExitCode
from edgekd.files import write_atomic
from edgekd.progress import Listener, announced, silent
from edgekd.quantize import Built, describe_file, saturating, search
from edgekd.recheck import SCHEMA_VERSION
from edgekd.recipe import Recipe, dump
from edgekd.rows import Inputs
from edgekd.session import options_for
from edgekd.store import Stage, Store, key_of, locked

if TYPE_CHECKING:
    from edgekd.core.parallel import Ranks
    from edgekd.distill import Distilled

Result = TypeVar("Result")

STAGES = ("teacher", "distill", "export", "qat", "quantize", "validate")
"""The stages that are kept; gate, report and bundle follow in well under a second and are made every time."""

QUIET = ("teacher", "export")
"""The stages that say nothing of themselves while they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of the plan: a stage, and whether it is already there."""

    name: str
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run answers with. report: the whole of report.json; cached: stages that were not run again."""

    folder: Path
    report: dict[str, Any]
    exit_code: ExitCode
    cached: tuple[str, ...]


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
    if until is None:
        report.check_packages()
    if "WORLD_SIZE" in os.environ:
        return _one_of_several(recipe, folder, origin, overrides, until, listener)
    return _lead(_Run(recipe, folder, listener), origin, overrides, until)


def _one_of_several(
    recipe: Recipe, folder: Path, origin: str, overrides: tuple[str, ...], until: str | None, listener: Listener
) -> Outcome:
    """A process that torchrun started: rank 0 runs the recipe, the others only train with it."""
    from edgekd.core import parallel
    from edgekd.pixels import choose_device

    ranks = parallel.from_environment()
    with parallel.joined(ranks, choose_device(recipe.distill.device, local=ranks.local)):
        this = _Run(recipe, folder, listener if ranks.first else silent, ranks=ranks)
        if ranks.first:
            return _lead(this, origin, overrides, until)
        if not ranks.agreed(True):
            this.train(key_of("distill", this.weights_key))
        return Outcome(folder=folder, report={}, exit_code=ExitCode.PASS, cached=())


def _lead(this: "_Run", origin: str, overrides: tuple[str, ...], until: str | None) -> Outcome:
    folder, recipe = this.folder, this.recipe
    with locked(folder):
        write_atomic(folder / "recipe.lock.toml", dump(recipe))
        if "tokenizer" in this.data.front:
            write_atomic(folder / "tokenizer.json", this.data.front["tokenizer"])
        getattr(this, until or STAGES[-1])()
        full = this.header(origin, overrides) | assemble.made(this.stages)
        code = ExitCode.PASS
        if until is None:
            variants, verdict = this.judge()
            full |= assemble.judged([asdict(v) for v in variants], verdict, target=this.target)
            code = gate.exit_code(verdict.verdict)
            with announced(this.listener, "report"):
                report.write(full, folder)
                inputs, isa = this.inputs(this.data.test), this.environment.isa
                assemble.write_bundle(
                    full, folder, inputs, target=this.target, options=this.options, isa=isa, tested=this.data
                )
    return Outcome(folder=folder, report=full, exit_code=code, cached=tuple(this.cached))


def plan(recipe: Recipe, *, folder: Path, until: str | None = None) -> tuple[Step, ...]:
    """The stages up to `until` and whether each is already there; reads, and writes nothing."""
    this = _Run(recipe, folder, silent, dry=True)
    wanted = STAGES[: STAGES.index(until or STAGES[-1]) + 1]
    absent = {"teacher": recipe.teacher is None, "qat": not recipe.quantize.qat}
    names = [name for name in wanted if not absent.get(name, False)]
    for name in names:
        try:
            getattr(this, name)()
        except _NotCached:
            break
    steps = [Step(name=name, cached=name in this.stages) for name in names]
    rest = () if until else ("gate", "report", "bundle")
    return (*steps, *(Step(name=name, cached=False) for name in rest))


class _NotCached(Exception):  # noqa: N818  a signal of the dry run, not an error
    """A dry run came to a stage that would have to run."""


class _Run:
    """One recipe in one run folder. Each stage asks for those before it: asking for the last one runs them all."""

    def __init__(
        self, recipe: Recipe, folder: Path, listener: Listener, *, dry: bool = False, ranks: "Ranks | None" = None
    ) -> None:
        self.recipe, self.folder, self.listener, self.dry, self.ranks = recipe, folder, listener, dry, ranks
        self.store = Store(folder)
        self.target = targets.load(recipe.validate_.target)
        self.environment = environment.describe()
        quantize = recipe.quantize
        options = options_for(self.target, cores=self.environment.cores_granted)
        self.options = compete.with_session_key(options, portable=quantize.portable, saturation=quantize.saturation)
        self.limits, self.limit_sources = gate.merge_limits(
            recipe.gate.model_dump(exclude_none=True), self.target.budgets.model_dump(exclude_none=True)
        )
        self.stages: dict[str, Stage] = {}
        self.cached: list[str] = []
        settings.check_models(recipe)
        self.data = settings.load_data(recipe, listener=listener)
        settings.check_kind(recipe, self.data)
        settings.check_task(recipe, self.data)
        settings.check_labels(recipe, self.data)
        gate.check_task(self.limits, self.limit_sources, multi_label=self.data.multi_label)
        gate.check_classes(self.limits, self.data.classes)
        self.weights_key = keys.weights_key(recipe, self.data)

    @property
    def task(self) -> dict[str, str]:
        """What model.onnx says of its task; nothing where it tells exclusive classes apart, as all files did once."""
        return {"task": self.data.task} if self.data.multi_label else {}

    def versions(self, *packages: str) -> list[str | None]:
        """The versions that a stage's files depend on, edgekd's own first."""
        return [__version__, *map(self.environment.packages.get, packages)]

    def inputs(self, samples: Samples) -> Inputs:
        """Samples as the exported network takes them."""
        from edgekd.export import to_layout

        return to_layout(samples.inputs, self.recipe.export.input_layout)

    def stage(
        self,
        name: str,
        key: str,
        work: Callable[[], tuple[Result, list[Path]]],
        *,
        store: Store | None = None,
    ) -> Result:
        """The result of a stage, from the store or made now: as JSON gives it back. store: another than the run's."""
        store = store or self.store
        if name not in self.stages:
            known = store.recall(name, key)
            if known is not None:
                self.cached.append(name)
            elif self.dry:
                raise _NotCached
            with nullcontext() if known or name not in QUIET else announced(self.listener, name):
                self.stages[name] = known or store.run(name, key, work)
        result: Result = self.stages[name].result
        return result

    def teacher(self) -> dict[str, Any] | None:
        if self.recipe.teacher is None:
            return None

        def work() -> tuple[dict[str, Any], list[Path]]:
            return asdict(settings.teacher_facts(self.recipe, self.data, listener=self.listener)), []

        key = keys.teacher_key(self.recipe, self.data)
        if self.recipe.distill.teacher_cache == "off":
            return self.stage("teacher", key, work)
        # Beside the cache of its logits: so another student of this teacher, in another run folder, never runs it.
        shared = Store(settings.cache_folder(self.recipe) / "teachers" / key[:16])
        return self.stage("teacher", key, work, store=shared)

    def distill(self) -> dict[str, Any]:
        self.teacher()
        key = key_of("distill", self.weights_key)

        def work() -> tuple[dict[str, Any], list[Path]]:
            result = self.train(key)
            return asdict(result), [self.folder / result.weights]

        if self.ranks is not None and "distill" not in self.stages:
            # The other processes wait to hear whether they are needed.
            self.ranks.agreed(self.store.recall("distill", key) is not None)
        return self.stage("distill", key, work)

    def train(self, key: str) -> "Distilled":
        """The student trained, or joined in training where there are several processes."""
        from edgekd.core.parallel import ALONE
        from edgekd.training import student

        ranks = self.ranks or ALONE
        return student(self.recipe, self.data, folder=self.folder, key=key, ranks=ranks, listener=self.listener)

    def export(self) -> dict[str, Any]:
        student = self.distill()
        chosen = self.recipe.export

        def work() -> tuple[dict[str, Any], list[Path]]:
            from edgekd.export import describe, export
            from edgekd.network import load_student

            network, card = load_student(self.folder / student["weights"])
            exported = export(
                network,
                self.folder / "model.onnx",
                inputs=self.data.test.inputs,
                opset=chosen.opset,
                input_layout=chosen.input_layout,
                tolerance=chosen.max_difference,
                metadata=describe(
                    network,
                    classes=card.classes,
                    input_layout=chosen.input_layout,
                    recipe_hash=self.weights_key,
                    **self.task,
                ),
                multi_label=self.data.multi_label,
            )
            return asdict(exported), [self.folder / "model.onnx"]

        parts = [student["sha256"], chosen.model_dump(), self.data.content_hash, self.weights_key]
        key = key_of("export", self.versions("torch", "onnx", "onnxscript", "onnxruntime"), parts)
        return self.stage("export", key, work)

    def quantize(self) -> list[Built]:
        exported = self.export()
        names, _ = self.variants()
        wanted = settings.wanted(self.recipe, variants=names, limits=self.limits)

        def work() -> tuple[dict[str, Any], list[Path]]:
            samples = self.data.calibration
            found = search(
                self.folder / "model.onnx",
                np.asarray(self.inputs(samples)),
                self.options,
                wanted=wanted,
                folder=self.folder / "variants",
                labels=samples.known_labels,
                multi_label=self.data.multi_label,
                listener=self.listener,
            )
            return asdict(found), [self.folder / "variants" / b.path for b in found.built if b.path]

        parts = [exported["sha256"], asdict(wanted), self.data.content_hash, self.data.index_hash]
        key = key_of(
            "quantize", self.versions("numpy", "onnx", "onnxruntime", "onnxruntime-gpu"), self.conditions(), parts
        )
        built = [Built(**one) for one in self.stage("quantize", key, work)["built"]]
        # Paths relative to the run folder, as the report states them.
        moved = [replace(b, path=b.path and f"variants/{b.path}") for b in built]
        tuned = self.qat()
        if tuned is not None:
            words = (
                f"{tuned['weight_bits']}-bit weights trained with the rounding, {tuned['settings']['epochs']} epochs"
            )
            file = self.folder / "variants" / "int8-qat.onnx"
            made = describe_file("int8-qat", file, description=words, saturates=saturating(file))
            moved.append(replace(made, path=f"variants/{made.path}"))
        return [describe_file("fp32", self.folder / "model.onnx"), *moved]

    def qat(self) -> dict[str, Any] | None:
        """The student fine-tuned with fake quantization, where the recipe asks for it and the target runs it."""
        chosen = self.recipe.quantize
        built, _ = self.variants()
        if not chosen.qat or not {"int8-u8s8", "int8-u8s8-7bit"} & {*built}:
            return None
        student = self.distill()
        path = self.folder / "variants" / "int8-qat.onnx"
        asked = [chosen.qat_epochs, chosen.qat_learning_rate, chosen.qat_weight_bits, chosen.portable]
        parts = [student["sha256"], asked, self.recipe.export.model_dump()]
        key = key_of(
            "qat", self.versions("torch", "torchao", "onnx", "onnxscript", "onnxruntime"), parts, self.weights_key
        )

        def work() -> tuple[dict[str, Any], list[Path]]:
            from edgekd.distill import Method
            from edgekd.training import quantized

            made = quantized(
                self.recipe,
                self.data,
                weights=self.folder / student["weights"],
                method=Method(**student["method"]),
                folder=self.folder,
                path=path,
                key=key,
                listener=self.listener,
            )
            return made, [path]

        return self.stage("qat", key, work)

    def variants(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Those to build, and those left out with the reason."""
        target, chosen = self.target, self.recipe.quantize
        return compete.allowed(
            chosen.variants, target.precisions, target.name, isa=target.isa, portable=chosen.portable
        )

    def conditions(self) -> list[Any]:
        """Where and how files are timed: another machine or session finds another best."""
        return [self.options.as_dict(), environment.fingerprint(self.environment)]

    def validate(self) -> dict[str, Any]:
        built = self.quantize()
        teacher = self.teacher()
        timing = settings.timing(self.recipe)

        def work() -> tuple[dict[str, Any], list[Path]]:
            samples = compete.Samples(
                inputs=self.inputs(self.data.test),
                labels=self.data.test.known_labels,
                classes=self.data.classes,
                teacher_predictions=settings.predicted(teacher["test_predictions"], self.data) if teacher else None,
                multi_label=self.data.multi_label,
            )
            isa, listener = self.environment.isa, self.listener
            return compete.measure(
                built, samples, self.options, folder=self.folder, timing=timing, isa=isa, listener=listener
            ), []

        parts = [[b.sha256 for b in built], asdict(timing), self.conditions()]
        key = key_of("validate", __version__, SCHEMA_VERSION, parts, self.weights_key)
        return self.stage("validate", key, work)

    def judge(self) -> tuple[tuple[compete.Variant, ...], gate.Gate]:
        _, left_out = self.variants()
        return compete.judge(
            self.quantize(), self.validate(), limits=self.limits, sources=self.limit_sources, left_out=left_out
        )

    def header(self, origin: str, overrides: tuple[str, ...]) -> dict[str, Any]:
        facts = assemble.data_facts(self.data)
        header = assemble.header(self.recipe.name, machine=self.environment, target=self.target, data=facts)
        return header | {"recipe": assemble.recipe_facts(self.recipe, origin=origin, overrides=overrides)}
