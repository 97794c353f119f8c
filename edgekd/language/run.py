"""A language recipe's stages in order: text -> teacher -> students -> export -> files -> speed -> verdict -> report.

Each expensive stage is kept in the run folder under the hash of all that it depends on, and each training has a
checkpoint, so that the same command goes on where it was stopped.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd import __version__, environment, gate, targets
from edgekd.errors import BadInputError, ExitCode
from edgekd.files import sha256, write_atomic
from edgekd.language import corpus, judge, report, text
from edgekd.language.recipe import Recipe, Training
from edgekd.language.score import Scores, perplexity_ratio, score
from edgekd.progress import Listener, Progress, silent
from edgekd.session import options_for
from edgekd.store import Stage, Store, cache_home, key_of, locked

if TYPE_CHECKING:
    import torch

    from edgekd.core.optimizer import Settings
    from edgekd.language.network import Card
    from edgekd.language.targets import CachePlan
    from edgekd.models.causal_transformer import CausalTransformer

COMPARED_TEXTS = 3
"""Texts of the validation part that export and speed are fed with."""

SAMPLE_WINDOWS = 16
"""Training windows of which the teacher's logits are looked at, for the target of exact entropy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run answers with. report: the whole of report.json."""

    folder: Path
    report: dict[str, Any]
    exit_code: ExitCode
    cached: tuple[str, ...]


def run(recipe: Recipe, *, folder: Path, overrides: tuple[str, ...] = (), listener: Listener = silent) -> Outcome:
    """Run the recipe into `folder`; what is already there under the same inputs is not run again.

    Raises:
        EdgekdError: with the exit code; what was finished before stays and is used by the next run.
    """
    with locked(folder):
        this = _Run(recipe, folder, listener)
        full, verdict = this.everything(overrides)
        report.write(full, folder)
        _write_bundle(full, folder, this.corpus)
        return Outcome(folder=folder, report=full, exit_code=gate.exit_code(verdict.verdict), cached=tuple(this.cached))


class _Run:
    """A recipe, its data, and the stages that are done."""

    def __init__(self, recipe: Recipe, folder: Path, listener: Listener) -> None:
        self.recipe, self.folder, self.listener = recipe, folder, listener
        self.target = targets.load(recipe.validate_.target)
        self.environment = environment.describe()
        self.options = options_for(self.target, cores=self.environment.cores_granted)
        self.store, self.cached = Store(folder), list[str]()
        data = recipe.data
        listener(Progress(stage="text", done=0, total=1))
        read = text.read(data.text, most_characters=data.most_characters)
        self.corpus = corpus.build(
            read,
            vocabulary=data.vocabulary,
            context=data.context,
            block_characters=data.block_characters,
            validation_fraction=data.validation_fraction,
            test_fraction=data.test_fraction,
            seed=recipe.seed,
        )
        listener(Progress(stage="text", done=1, total=1, note=f"{self.corpus.characters:,} characters"))
        self.data_key = key_of(
            __version__, self.corpus.sha256, self.corpus.vocabulary.sha256, data.context, data.block_characters,
            data.validation_fraction, data.test_fraction, recipe.seed,
        )  # fmt: skip

    def everything(self, overrides: tuple[str, ...]) -> tuple[dict[str, Any], gate.Gate]:
        """The whole report, and the verdict on the file that ships."""
        recipe = self.recipe
        teacher = None if self._alone() else self.teacher()
        main = self.student(recipe.distill.method, teacher)
        others = [self.student(name, teacher) for name in recipe.distill.compare if name != recipe.distill.method]
        exported = self.export(main)
        files = self.files(main, exported)
        speed = self.speed(files)
        own = _scores(main.result["scores"])
        stages = [*([teacher] if teacher else []), main, *others]
        arms = [
            dict(stage.result) | {"ratio": perplexity_ratio(_scores(stage.result["scores"]), own)} for stage in stages
        ]
        variants, verdict, selected = self._judged(main, teacher, files.result, speed.result)
        return {
            "schema_version": report.SCHEMA_VERSION,
            "kind": "language",
            "name": recipe.name,
            "edgekd_version": __version__,
            "recipe": recipe.model_dump(by_alias=True, mode="json"),
            "overrides": list(overrides),
            "data": {**self.corpus.facts(), "sources": list(recipe.data.text), "context": recipe.data.context},
            "arms": arms,
            "export": exported.result,
            "variants": variants,
            "gate": {**asdict(verdict), "variant": selected},
            "target": {name: getattr(self.target, name) for name in ("name", "title", "proxy")},
            "session": self.options.as_dict(),
            "environment": self.environment.as_dict(),
        }, verdict

    def _alone(self) -> bool:
        """Whether nothing learns from a teacher."""
        return {self.recipe.distill.method, *self.recipe.distill.compare} == {"ce"}

    def teacher(self) -> Stage:
        """The teacher, trained or brought, and what it is worth."""
        recipe = self.recipe
        if recipe.teacher.weights is not None:
            path = Path(recipe.teacher.weights)
            known = sha256(path) if path.is_file() else "missing"
            return self._stage("teacher", key_of("brought", self.data_key, known), lambda: self._bring(path))
        key = key_of("teacher", self.data_key, recipe.teacher.model_dump())
        return self._stage("teacher", key, lambda: self._train_teacher(key))

    def student(self, method: str, teacher: Stage | None) -> Stage:
        """The student trained by a method: the recipe's own knobs where it is the recipe's method, else defaults."""
        distill = self.recipe.distill
        knobs = distill.knobs() if method == distill.method else {}
        told = teacher.key if teacher is not None and method != "ce" else None
        training = {name: getattr(distill, name) for name in (*Training.model_fields, "ce_weight", "n_views", "device")}
        cache = (distill.teacher_cache, distill.cache_top_k) if told else None
        key = key_of(
            "student",
            self.data_key,
            self.recipe.student.model_dump(),
            method,
            knobs,
            training,
            told,
            self._seed(),
            cache,
        )
        return self._stage(
            f"student-{method}", key, lambda: self._train_student(method, knobs, teacher if told else None, key)
        )

    def export(self, student: Stage) -> Stage:
        """model.onnx."""
        key = key_of("export", student.key, self.recipe.export.model_dump())
        return self._stage("export", key, lambda: self._export(student))

    def files(self, student: Stage, exported: Stage) -> Stage:
        """Every variant, and its scores on the test as ONNX Runtime computes them."""
        key = key_of("files", exported.key, self.recipe.validate_.variants, self.options.as_dict(), self._machine())
        return self._stage("files", key, self._files)

    def speed(self, files: Stage) -> Stage:
        """The latency of every file."""
        validate = self.recipe.validate_
        key = key_of("speed", files.key, validate.rounds, validate.seconds)
        return self._stage("speed", key, lambda: self._speed(files.result))

    def _stage(self, name: str, key: str, work: Callable[[], tuple[Any, list[Path]]]) -> Stage:
        known = self.store.recall(name, key)
        if known is not None:
            self.cached.append(name)
            return known
        return self.store.run(name, key, work)

    def _seed(self) -> int:
        return self.recipe.seed if self.recipe.training_seed is None else self.recipe.training_seed

    def _machine(self) -> str:
        return environment.fingerprint(self.environment)

    def _device(self) -> "torch.device":
        from edgekd.pixels import choose_device

        return choose_device(self.recipe.distill.device)

    def _bring(self, path: Path) -> tuple[dict[str, Any], list[Path]]:
        from edgekd.language import network

        net, card = network.load_teacher(path, vocabulary=self.corpus.vocabulary, context=self.recipe.data.context)
        kept = self.folder / "teacher.safetensors"
        if path.resolve() != kept.resolve():
            shutil.copyfile(path, kept)
        return self._described("teacher", net, kept, card, seconds=None, steps=None), [kept]

    def _train_teacher(self, key: str) -> tuple[dict[str, Any], list[Path]]:
        from edgekd.language.corpus import Windows
        from edgekd.language.objective import Method

        plan = self.recipe.teacher
        windows = Windows(self.corpus.train, context=self.recipe.data.context)
        return self._trained(
            "teacher",
            plan.sizes(),
            windows,
            method=Method(name="ce"),
            settings=_settings(plan.train, seed=self.recipe.seed),
            key=key,
        )

    def _train_student(
        self, method: str, knobs: Mapping[str, float], teacher: Stage | None, key: str
    ) -> tuple[dict[str, Any], list[Path]]:
        import torch

        from edgekd.language import network, targets
        from edgekd.language.corpus import Windows
        from edgekd.language.objective import Method

        distill, classes = self.recipe.distill, self.corpus.vocabulary.size
        windows = Windows(self.corpus.train, context=self.recipe.data.context, views=distill.n_views)
        settings = _settings(distill, seed=self._seed())
        chosen = Method(name=method, knobs=knobs, ce_weight=distill.ce_weight)
        sizes, name = self.recipe.student.sizes(), f"student-{method}"
        if teacher is None:
            chosen = chosen.resolved(classes=classes, teacher_logits=None)
            return self._trained(name, sizes, windows, method=chosen, settings=settings, key=key)
        device = self._device()
        with targets.answering(
            lambda: network.load(self.folder / teacher.result["weights"])[0],
            windows,
            classes=classes,
            batch_size=settings.batch_size,
            device=device,
            cache=self._cache(teacher),
            listener=self.listener,
        ) as answers:
            index = np.linspace(0, len(windows) - 1, min(SAMPLE_WINDOWS, len(windows)), dtype=np.int64)
            tokens, _, mask = (torch.from_numpy(a).to(device) for a in windows.batch(index))
            chosen = chosen.resolved(classes=classes, teacher_logits=answers(0, index, tokens)[mask])
            return self._trained(name, sizes, windows, method=chosen, settings=settings, key=key, answers=answers)

    def _cache(self, teacher: Stage) -> "CachePlan | None":
        from edgekd.language.targets import CachePlan

        distill = self.recipe.distill
        if distill.teacher_cache == "off":
            return None
        return CachePlan(
            folder=cache_home() / "language",
            key=key_of("logits", self.data_key, teacher.result["sha256"], distill.n_views),
            top_k=distill.cache_top_k,
            limit_bytes=int(distill.cache_limit_gb * 1e9),
        )

    def _trained(
        self,
        name: str,
        sizes: Mapping[str, float | int | str],
        windows: "corpus.Windows",
        *,
        method: Any,
        settings: "Settings",
        key: str,
        answers: Any = None,
    ) -> tuple[dict[str, Any], list[Path]]:
        import torch

        from edgekd.language import network
        from edgekd.language.network import Card
        from edgekd.language.train import train

        card = Card(vocabulary=self.corpus.vocabulary, context=windows.context, sizes=dict(sizes))
        torch.manual_seed(settings.seed)
        made = train(
            network.build(card).to(self._device()),
            windows,
            objective=method.objective(),
            settings=settings,
            path=self.folder / "checkpoints" / f"{name}.pt",
            key=key,
            stage=name,
            targets=answers,
            listener=self.listener,
        )
        path = self.folder / f"{name}.safetensors"
        network.save(made.network, path, card)
        facts = self._described(name, made.network, path, card, seconds=made.seconds, steps=settings.epochs)
        facts |= {
            "method": method.name,
            "knobs": dict(method.knobs),
            "ce_weight": None if method.name == "ce" else method.ce_weight,
            "history": [asdict(point) for point in made.history],
            "tokens_per_second": made.tokens_per_second,
            "skipped": made.skipped,
        }
        return facts, [path]

    def _described(
        self,
        name: str,
        net: "CausalTransformer",
        path: Path,
        card: "Card",
        *,
        seconds: float | None,
        steps: int | None,
    ) -> dict[str, Any]:
        """What a network is worth on validation and test, in torch."""
        import torch

        from edgekd.language.network import predict
        from edgekd.models.count import count_parameters

        device = next(net.parameters()).device

        def ask(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            logits: npt.NDArray[np.float32] = predict(net, torch.from_numpy(tokens).to(device)).cpu().numpy()
            return logits

        scores = {
            part: score(ask, getattr(self.corpus, part), context=self.recipe.data.context)
            for part in ("validation", "test")
        }
        return {
            "name": name,
            "weights": path.name,
            "sha256": sha256(path),
            "sizes": dict(card.sizes),
            "parameters": count_parameters(net),
            "method": None,
            "knobs": {},
            "steps": steps,
            "seconds": seconds,
            "validation": scores["validation"].summary(),
            "test": scores["test"].summary(),
            "scores": asdict(scores["test"]),
        }

    def _export(self, student: Stage) -> tuple[dict[str, Any], list[Path]]:
        from edgekd.language import network
        from edgekd.language.export import export

        path = self.folder / "model.onnx"
        net, _ = network.load(self.folder / student.result["weights"])
        words = self.corpus.vocabulary
        made = export(
            net,
            path,
            tokens=self._texts(),
            opset=self.recipe.export.opset,
            tolerance=self.recipe.export.max_difference,
            metadata={
                "kind": "language",
                "context": self.recipe.data.context,
                "vocabulary": {"kind": words.kind, "size": words.size, "sha256": words.sha256},
                "edgekd": __version__,
            },
        )
        return asdict(made), [path]

    def _files(self) -> tuple[dict[str, Any], list[Path]]:
        from edgekd.language.runtime import Runner
        from edgekd.quantize.convert import CONVERTED

        source, folder = self.folder / "model.onnx", self.folder / "variants"
        folder.mkdir(exist_ok=True)
        names = dict.fromkeys(("fp32", *self.recipe.validate_.variants))
        found: dict[str, Any] = {}
        paths = []
        for done, name in enumerate(names):
            self.listener(Progress(stage="files", done=done, total=len(names), note=name))
            path = folder / f"{name}.onnx"
            try:
                if name == "fp32":
                    shutil.copyfile(source, path)
                else:
                    CONVERTED[name][0](source, path, {}, ())
                scores = score(Runner(path, self.options), self.corpus.test, context=self.recipe.data.context)
            except BadInputError as err:
                path.unlink(missing_ok=True)
                found[name] = {"reason": f"left out: {err}"}
                continue
            paths.append(path)
            found[name] = {
                "path": str(path.relative_to(self.folder)),
                "sha256": sha256(path),
                "size_bytes": path.stat().st_size,
                "scores": asdict(scores),
            }
        self.listener(Progress(stage="files", done=len(names), total=len(names)))
        if not paths:
            raise BadInputError("; ".join(entry["reason"] for entry in found.values()))
        return found, paths

    def _speed(self, files: Mapping[str, Any]) -> tuple[dict[str, Any], list[Path]]:
        from edgekd.language.speed import measure

        validate = self.recipe.validate_
        found = measure(
            {name: self.folder / entry["path"] for name, entry in files.items() if "path" in entry},
            self._texts(),
            options=self.options,
            rounds=validate.rounds,
            seconds=validate.seconds,
            listener=self.listener,
        )
        return found, []

    def _texts(self) -> npt.NDArray[np.int64]:
        """Some windows of the validation part: (3, context)."""
        windows = corpus.Windows(self.corpus.validation, context=self.recipe.data.context)
        index = np.arange(COMPARED_TEXTS) % max(1, len(windows))
        return windows.batch(index)[0]

    def _judged(
        self, main: Stage, teacher: Stage | None, files: Mapping[str, Any], speed: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], gate.Gate, str]:
        """Every file with its verdict, the verdict of the one that ships, and its name."""
        base = _scores((teacher or main).result["scores"])
        limits, gates, ratios = self.recipe.gate.limits(), dict[str, gate.Gate](), dict[str, dict[str, Any]]()
        for name, timed in speed.items():
            ratios[name] = perplexity_ratio(_scores(files[name]["scores"]), base)
            size = files[name]["size_bytes"]
            gates[name] = judge.judge(ratio=ratios[name], token=timed["token"], size_bytes=size, limits=limits)
        chosen = judge.choose(
            gates,
            token_ms={name: timed["token"]["p50_ms"] for name, timed in speed.items()},
            size_bytes={name: files[name]["size_bytes"] for name in speed},
        )
        variants = []
        for name, entry in files.items():
            if name not in gates:
                variants.append({"name": name, "selected": False, "sha256": None, "reason": entry["reason"]})
                continue
            variants.append(
                {
                    "name": name,
                    "selected": name == chosen.name,
                    "reason": chosen.reasons[name],
                    "verdict": gates[name].verdict,
                    **entry,
                    "test": _scores(entry["scores"]).summary(),
                    "ratio": ratios[name],
                    **speed[name],
                }
            )
        return variants, gates[chosen.name], chosen.name


def _scores(found: Mapping[str, Any]) -> Scores:
    return Scores(**{name: tuple(values) for name, values in found.items()})


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


def _write_bundle(full: Mapping[str, Any], folder: Path, data: corpus.Corpus) -> None:
    """bundle/: the file that ships, its vocabulary, how to open it, and a program that writes text with it."""
    place = folder / "bundle"
    place.mkdir(exist_ok=True)
    variant = next(variant for variant in full["variants"] if variant["selected"])
    shutil.copyfile(folder / variant["path"], place / "model.onnx")
    shutil.copyfile(Path(__file__).with_name("generate.py"), place / "generate.py")
    write_atomic(place / "vocabulary.json", json.dumps(data.vocabulary.as_dict(), ensure_ascii=False))
    files = ("model.onnx", "vocabulary.json", "generate.py")
    manifest = {
        "kind": "language",
        "name": full["name"],
        "variant": variant["name"],
        "verdict": full["gate"]["verdict"],
        "context": full["data"]["context"],
        "session": full["session"],
        "files": {name: sha256(place / name) for name in files},
    }
    write_atomic(place / "manifest.json", json.dumps(manifest, indent=1) + "\n")
