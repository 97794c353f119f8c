"""A language recipe taken apart: what each stage depends on, and what it does.

text -> teacher -> students -> export -> files -> speed. Each is kept in the run folder under the hash of all that it
depends on, and each training has a checkpoint, so that the same command goes on where it was stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd import __version__, environment, targets
from edgekd.language import corpus, files, text
from edgekd.language.keys import all_keys, data_key, knobs_of
from edgekd.language.recipe import Recipe, Training
from edgekd.progress import Listener, Progress
from edgekd.session import options_for
from edgekd.store import Stage, Store, cache_home, key_of

if TYPE_CHECKING:
    from edgekd.core.optimizer import Settings
    from edgekd.language.learn import Made, Place, Plan
    from edgekd.language.targets import CachePlan


class Stages:
    """A recipe, its data, and the stages that are done."""

    def __init__(self, recipe: Recipe, folder: Path, listener: Listener) -> None:
        self.recipe, self.folder, self.listener = recipe, folder, listener
        self.target = targets.load(recipe.validate_.target)
        self.environment = environment.describe()
        self.options = options_for(self.target, cores=self.environment.cores_granted)
        self.store, self.cached = Store(folder), list[str]()
        self.made: dict[str, Stage] = {}
        data = recipe.data
        listener(Progress(stage="text", done=0, total=1))
        self.corpus = corpus.build(
            text.read(data.text, most_characters=data.most_characters),
            vocabulary=data.vocabulary,
            context=data.context,
            block_characters=data.block_characters,
            validation_fraction=data.validation_fraction,
            test_fraction=data.test_fraction,
            seed=recipe.seed,
        )
        listener(Progress(stage="text", done=1, total=1, note=f"{self.corpus.characters:,} characters"))
        self.keys = all_keys(
            recipe, self.corpus, options=self.options, machine=environment.fingerprint(self.environment)
        )

    def teacher(self) -> Stage | None:
        """The teacher, trained or brought, and what it is worth; None where there is none."""
        if not self.recipe.has_teacher:
            return None
        plan = self.recipe.teacher
        weights = None if plan.weights is None else Path(plan.weights)

        def work() -> "Made":
            from edgekd.language import learn
            from edgekd.language.objective import Method

            if weights is not None:
                return learn.brought(weights, place=self._place())
            settings = _settings(plan.train, seed=self.recipe.seed)
            planned = self._plan("teacher", plan.sizes(), Method(name="ce"), settings)
            return learn.alone(planned, place=self._place())

        return self._stage("teacher", work)

    def student(self, method: str) -> Stage:
        """The student trained by a method: the recipe's own knobs where it is the recipe's method, else defaults."""
        teacher = None if method == "ce" else self.teacher()

        def work() -> "Made":
            from edgekd.language import learn
            from edgekd.language.objective import Method

            distill = self.recipe.distill
            chosen = Method(name=method, knobs=knobs_of(self.recipe, method), ce_weight=distill.ce_weight)
            settings = _settings(distill, seed=self.recipe.own_seed)
            plan = self._plan(f"student-{method}", self.recipe.student.sizes(), chosen, settings, views=distill.n_views)
            if teacher is None:
                return learn.alone(plan, place=self._place())
            weights = self.folder / teacher.result["weights"]
            return learn.taught(plan, teacher=weights, cache=self._cache(teacher), place=self._place())

        return self._stage(f"student-{method}", work)

    def export(self) -> Stage:
        """The recipe's own student as model.onnx."""
        student = self.student(self.recipe.distill.method)

        def work() -> "Made":
            from edgekd.language import network
            from edgekd.language.export import export

            net, _ = network.load(self.folder / student.result["weights"])
            words, context, path = self.corpus.vocabulary, self.recipe.data.context, self.folder / "model.onnx"
            made = export(
                net,
                path,
                tokens=files.texts(self.corpus, context=context),
                opset=self.recipe.export.opset,
                tolerance=self.recipe.export.max_difference,
                metadata={
                    "kind": "language",
                    "context": context,
                    "vocabulary": {"kind": words.kind, "size": words.size, "sha256": words.sha256},
                    "edgekd": __version__,
                },
            )
            return asdict(made), [path]

        return self._stage("export", work)

    def files(self) -> Stage:
        """Every variant, and its scores on the test as ONNX Runtime computes them."""
        self.export()
        return self._stage(
            "files",
            lambda: files.build(
                self.folder / "model.onnx",
                self.folder / "variants",
                names=self.recipe.validate_.variants,
                corpus=self.corpus,
                context=self.recipe.data.context,
                options=self.options,
                listener=self.listener,
            ),
        )

    def speed(self) -> Stage:
        """The latency of every file."""
        found = self.files().result

        def work() -> "Made":
            from edgekd.language.speed import measure

            validate = self.recipe.validate_
            timed = measure(
                files.built(found, self.folder),
                files.texts(self.corpus, context=self.recipe.data.context),
                options=self.options,
                rounds=validate.rounds,
                seconds=validate.seconds,
                listener=self.listener,
            )
            return timed, []

        return self._stage("speed", work)

    def _stage(self, name: str, work: Callable[[], tuple[Any, list[Path]]]) -> Stage:
        """From this run, from the run folder, or made now."""
        if name not in self.made:
            key = self.keys[name]
            known = self.store.recall(name, key)
            if known is not None:
                self.cached.append(name)
            self.made[name] = known or self.store.run(name, key, work)
        return self.made[name]

    def _place(self) -> "Place":
        from edgekd.language.learn import Place
        from edgekd.pixels import choose_device

        return Place(
            corpus=self.corpus,
            context=self.recipe.data.context,
            folder=self.folder,
            device=choose_device(self.recipe.distill.device),
            listener=self.listener,
        )

    def _plan(
        self, name: str, sizes: Mapping[str, Any], method: Any, settings: "Settings", *, views: int = 1
    ) -> "Plan":
        from edgekd.language.learn import Plan

        return Plan(name=name, sizes=sizes, method=method, settings=settings, key=self.keys[name], views=views)

    def _cache(self, teacher: Stage) -> "CachePlan | None":
        from edgekd.language.targets import CachePlan

        distill = self.recipe.distill
        if distill.teacher_cache == "off":
            return None
        return CachePlan(
            folder=cache_home() / "language",
            key=key_of("logits", data_key(self.recipe, self.corpus), teacher.result["sha256"], distill.n_views),
            top_k=distill.cache_top_k,
            limit_bytes=int(distill.cache_limit_gb * 1e9),
        )


def _settings(training: Training, *, seed: int) -> "Settings":
    """The optimiser's settings; its epochs are steps here."""
    from edgekd.core.optimizer import Settings

    return Settings(
        epochs=training.steps,
        batch_size=training.batch_size,
        optimizer="adamw",
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup_epochs=min(training.warmup_steps, training.steps - 1),
        clip_norm=training.clip_norm,
        ema_decay=training.ema_decay,
        seed=seed,
    )
