"""The recipe of a language distillation: TOML -> a validated, frozen recipe with absolute paths, all errors at once."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from edgekd.language.text import BUILTIN
from edgekd.recipe.read import document_of, validated
from edgekd.recipe.section import Section

Variant = Literal["fp32", "int8-weight-only", "int4-weight-only", "int8-dynamic", "fp16"]


class Data(Section):
    """The text, and how it is cut."""

    text: tuple[str, ...] = Field(
        min_length=1,
        description="UTF-8 files, folders of .txt, .rst and .md, or what the installed Python brings: "
        f"{', '.join(BUILTIN)}. Paths are relative to the recipe.",
    )
    most_characters: int | None = Field(default=None, ge=1, description="Use only so many, from the start.")
    vocabulary: str = Field(
        default="bytes", description="`bytes` (256 tokens), `characters` (those of the training text), or the path of "
        "a Hugging Face tokenizers JSON."
    )  # fmt: skip
    context: int = Field(default=128, ge=2, description="Tokens that a network reads at a time.")
    block_characters: int = Field(
        default=8192,
        ge=16,
        description="The text is cut into blocks of so many characters, which fall to train, validation and test; "
        "intervals are over the test's blocks.",
    )
    validation_fraction: float = Field(default=0.05, gt=0, lt=1, description="Share of the blocks.")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="Share of the blocks.")


class Network(Section):
    """The sizes of a causal transformer."""

    width: int = Field(default=128, ge=1, description="Numbers a token.")
    depth: int = Field(default=4, ge=1, description="Blocks.")
    heads: int = Field(default=4, ge=1, description="Attention heads a block.")
    expansion: int = Field(default=4, ge=1, description="Hidden units of a block, as a multiple of width.")
    positions: Literal["learned", "rotary"] = Field(default="learned", description="How places are told apart.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="In training.")

    def sizes(self) -> dict[str, float | int | str]:
        """As `CausalTransformer` takes them."""
        return {name: getattr(self, name) for name in Network.model_fields}


class Training(Section):
    """How long and how fast: AdamW, a linear warm-up, then a cosine to 0."""

    steps: int = Field(default=1000, ge=1, description="Updates.")
    batch_size: int = Field(default=16, ge=1, description="Windows of `context` tokens a step.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak.")
    warmup_steps: int = Field(default=50, ge=0, description="Steps until the peak.")
    weight_decay: float = Field(default=0.01, ge=0, description="On matrices.")
    clip_norm: float = Field(default=1.0, gt=0, description="Largest L2 norm of the gradient.")
    ema_decay: float | None = Field(default=None, gt=0, lt=1, description="Average the weights with this decay.")


class Teacher(Network):
    """The network to learn from: trained here as the recipe says, or brought as weights."""

    weights: str | None = Field(
        default=None,
        description="A teacher.safetensors of an earlier run, relative to the recipe; its sizes are inside.",
    )
    train: Training = Field(default_factory=Training, description="How it is trained, without weights.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = self.model_fields_set - {"weights"}
        if self.weights is not None and given:
            raise ValueError(f"{sorted(given)[0]} is set, and weights bring it already; remove one of them")
        return self


class Distill(Training):
    """How the student learns from the teacher."""

    method: Literal["cist", "entropy", "forward-kl", "reverse-kl", "ce"] = Field(
        default="cist", description="`ce` learns from the text alone."
    )
    ce_weight: float = Field(default=1.0, ge=0, description="Weight of the text's own tokens as hard labels.")
    kd_weight: float | None = Field(default=None, ge=0, description="Weight of the divergence. Default 1.")
    temperature: float | None = Field(default=None, gt=0, description="forward-kl, reverse-kl. Default 1.")
    rho: float | None = Field(
        default=None, gt=0, description="cist: the largest scaled centred logit. Default: solved for the vocabulary."
    )
    target_nats: float | None = Field(
        default=None,
        gt=0,
        description="entropy: of every soft label. Default: what T = 2 gives this teacher on average.",
    )
    student_floor: float | None = Field(default=None, ge=0, description="entropy: smallest temperature. Default 1.")
    compare: tuple[Literal["cist", "entropy", "forward-kl", "reverse-kl", "ce"], ...] = Field(
        default=("ce",), description="Methods that train the same student as long, with their defaults, for the report."
    )
    teacher_cache: Literal["off", "fp16", "top-k"] = Field(
        default="off", description="Keep the teacher's logits on disk, all or the largest `cache_top_k` of a token."
    )
    cache_top_k: int | None = Field(default=None, ge=1, description="With teacher_cache = `top-k`.")
    cache_limit_gb: float = Field(default=8.0, gt=0, description="A larger cache is refused before it is written.")
    n_views: int = Field(
        default=1, ge=1, description="After each pass windows begin context / n_views tokens later, so often."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto` takes CUDA where there is one.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        own = {"forward-kl": ("temperature",), "reverse-kl": ("temperature",), "cist": ("rho",), "ce": (),
               "entropy": ("target_nats", "student_floor")}[self.method]  # fmt: skip
        for key in ("temperature", "rho", "target_nats", "student_floor"):
            if getattr(self, key) is not None and key not in own:
                raise ValueError(f"{key} is set, but method = '{self.method}' does not take it; remove it")
        if (self.teacher_cache == "top-k") != (self.cache_top_k is not None):
            raise ValueError("teacher_cache = 'top-k' and cache_top_k belong together; set both or neither")
        return self

    def knobs(self) -> dict[str, float]:
        """The method's numbers that were set."""
        names = ("kd_weight", "temperature", "rho", "target_nats", "student_floor")
        return {name: value for name in names if self.method != "ce" and (value := getattr(self, name)) is not None}


class Export(Section):
    """How the student becomes model.onnx."""

    opset: int = Field(default=18, ge=18, le=25, description="ONNX opset.")
    max_difference: float = Field(default=1e-3, gt=0, description="Of a logit between torch and ONNX Runtime.")


class Validate(Section):
    """On what, and how long, to measure."""

    target: str = Field(default="x86-1t", description="A name from `edgekd targets`, or a path to a target TOML.")
    variants: tuple[Variant, ...] = Field(
        default=("int8-weight-only", "int4-weight-only", "int8-dynamic"), description="Built beside fp32."
    )
    rounds: int = Field(default=3, ge=1, description="Fresh processes.")
    seconds: float = Field(default=0.5, gt=0, description="Of timed inferences a round, file and kind.")


class Gate(Section):
    """The limits."""

    max_perplexity_ratio: float | None = Field(
        default=None, gt=0, description="Perplexity of the file over the teacher's on the same test blocks."
    )
    max_token_ms: float | None = Field(
        default=None, gt=0, description="Median time of the next token at full context, milliseconds."
    )
    max_size_bytes: int | None = Field(default=None, gt=0, description="Size of the ONNX file, bytes.")

    def limits(self) -> dict[str, float]:
        """Those that are set."""
        return self.model_dump(exclude_none=True)


class Recipe(Section):
    """Everything that decides what is trained, shipped and allowed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder, `runs/NAME`.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Fixes the parts, initial weights and order.")
    training_seed: int | None = Field(
        default=None, ge=0, lt=2**32, description="Of the student's weights and order alone. Default: seed."
    )
    data: Data
    teacher: Teacher = Field(default_factory=Teacher)
    student: Network
    distill: Distill = Field(default_factory=Distill)
    export: Export = Field(default_factory=Export)
    validate_: Validate = Field(default_factory=Validate, alias="validate")
    gate: Gate = Field(default_factory=Gate)

    @property
    def methods(self) -> tuple[str, ...]:
        """The students' methods: the recipe's own first, then what it is compared with."""
        return tuple(dict.fromkeys((self.distill.method, *self.distill.compare)))

    @property
    def has_teacher(self) -> bool:
        """Whether a student learns from one, or one is brought, which files are compared with in any case."""
        return self.teacher.weights is not None or set(self.methods) != {"ce"}

    @property
    def own_seed(self) -> int:
        """Of the student's weights and order."""
        return self.seed if self.training_seed is None else self.training_seed


SECTIONS: dict[str, type[BaseModel]] = {
    "": Recipe, "data": Data, "teacher": Teacher, "teacher.train": Training, "student": Network, "distill": Distill,
    "export": Export, "validate": Validate, "gate": Gate,
}  # fmt: skip


def load(path: Path, *, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe in a TOML file, with `section.key=value` overrides applied; relative paths made absolute.

    Raises:
        BadInputError: missing file, TOML syntax, unknown key, wrong type, contradiction; all errors in one message.
    """
    document = document_of(path, overrides=overrides, cure="expected a TOML file, such as recipes/language-quick.toml")
    return parse(document, origin=str(path), folder=path.resolve().parent)


def parse(document: dict[str, Any], *, origin: str, folder: Path) -> Recipe:
    """The recipe in a parsed document. origin names it in messages; folder: where relative paths start."""
    return _absolute(validated(Recipe, document, origin=origin, sections=SECTIONS), folder)


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    data, teacher = recipe.data, recipe.teacher
    text = tuple(source if source in BUILTIN else str(folder / source) for source in data.text)
    words = data.vocabulary if data.vocabulary in ("bytes", "characters") else str(folder / data.vocabulary)
    updates: dict[str, Any] = {"data": data.model_copy(update={"text": text, "vocabulary": words})}
    if teacher.weights is not None:
        updates["teacher"] = teacher.model_copy(update={"weights": str(folder / teacher.weights)})
    if recipe.validate_.target.endswith(".toml"):
        updates["validate_"] = recipe.validate_.model_copy(update={"target": str(folder / recipe.validate_.target)})
    return recipe.model_copy(update=updates)
