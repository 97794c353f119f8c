"""What a recipe may say: its sections, their keys, and which keys contradict each other.

Each field's description says its meaning, its unit and where its default comes from; docs/recipe.md and the JSON
schema for editors are generated from them.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp16", "int8-u8s8", "int8-s8s8", "int8-u8u8", "int8-u8s8-7bit", "int8-dynamic"]
ALL_PRECISIONS: tuple[Precision, ...] = (
    "int8-u8s8",
    "int8-u8s8-7bit",
    "int8-u8u8",
    "int8-s8s8",
    "int8-dynamic",
    "fp16",
)
Options = dict[str, float | int | str]


class Section(BaseModel):
    """A table of the recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """Where the samples come from and how they are split."""

    source: str = Field(
        description="Built-in name (`fashion-mnist`, `fashion-mnist-full`), a folder of class folders of PNG or JPEG "
        "images (with or without `train/` and `test/`), or an .npz file. Paths are relative to the recipe."
    )
    resize: tuple[int, int] | None = Field(
        default=None,
        description="Height and width in pixels to which a folder's images are resized (bilinear, antialiased). "
        "Default: none; images of mixed sizes are then an error.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 (grey) or 3 (RGB), for folders. Default: 1 when every image is grey, else 3."
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="Class names in the order of the labels, for .npz. Default: the file's `classes`, else numbers.",
    )
    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training images held out to choose on. Default 0.1: common practice.",
    )
    calibration_samples: int = Field(
        default=500,
        ge=2,
        description="Training images held out for calibrating int8 ranges. Default 500: ranges of small nets no longer "
        "move beyond it; ONNX Runtime's own examples use 100 to 1,000.",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the images held out for the test where the source has no test part.",
    )
    train_samples: int | None = Field(
        default=None, ge=2, description="Use only so many training images, balanced by class. Default: all."
    )
    augment: Literal["none", "crop", "flip", "crop-flip"] = Field(
        default="crop-flip",
        description="Training-time augmentation: random crop of the zero-padded image, horizontal mirror, both or "
        "none. Default: both, the standard of small-image training (He et al. 2016).",
    )
    crop_padding: int = Field(
        default=4, ge=1, description="Pixels of zero padding for the crop. Default 4 (He et al. 2016)."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "crop_padding" in self.model_fields_set and "crop" not in self.augment:
            raise ValueError(f"crop_padding is set, but augment = '{self.augment}' does not crop; remove one of them")
        if self.resize is not None and min(self.resize) < 1:
            raise ValueError(f"resize is {list(self.resize)}; expected [height, width] in pixels, both positive")
        return self


class Teacher(Section):
    """The network to learn from."""

    model: str = Field(description="A name from `edgekd models`, or your own network as `file.py:callable`.")
    weights: str = Field(
        description="A .safetensors file relative to the recipe, or `builtin:NAME` for a teacher that ships with "
        "edgekd."
    )
    options: Options = Field(
        default_factory=dict, description="Keyword arguments for the network, e.g. `{ width = 0.5 }`."
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        description="Mean of pixels / 255 a channel, as the teacher was trained. Default: what its file says, else the "
        "training data's own.",
    )
    std: tuple[float, ...] | None = Field(
        default=None, description="Standard deviation of pixels / 255 a channel; as `mean`, and set with it."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together; set both or remove both")
        if self.std is not None and min(self.std, default=0.0) <= 0:
            raise ValueError(f"std is {list(self.std)}; expected positive numbers, one a channel")
        return self


class Student(Section):
    """The network to train and ship."""

    model: str = Field(description="A name from `edgekd models`, or your own network as `file.py:callable`.")
    options: Options = Field(
        default_factory=dict, description="Keyword arguments for the network, e.g. `{ width = 0.5 }`."
    )


class Distill(Section):
    """How the student learns."""

    method: Literal["cist", "kd", "ce"] = Field(
        default="cist",
        description="`cist`: per-sample adaptive temperatures (arXiv 2605.20357); `kd`: one fixed temperature (Hinton "
        "et al. 2015); `ce`: labels alone, no teacher.",
    )
    rho: float | Literal["auto"] = Field(
        default="auto",
        description="CIST only: the largest scaled centred logit; `auto` solves it for the number of classes and "
        "`rho_entropy` (1.27 at 10 classes, 3.0 at 100).",
    )
    rho_entropy: float = Field(
        default=0.925,
        gt=0,
        lt=1,
        description="CIST with rho = `auto`: wanted soft-label entropy as a share of ln K. Default 0.925: the author's "
        "rho = 3 at 100 classes.",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="KD only: the fixed temperature. Default 4: common in the field."
    )
    kd_weight: float | None = Field(
        default=None,
        ge=0,
        description="Weight of the distillation term. Default: 8 for cist (the author's best at 100 classes), 0.9 for "
        "kd (Hinton's mix as used in the field).",
    )
    ce_weight: float = Field(
        default=0.1, ge=0, description="KD only: weight of the label term. Default 0.1; CIST's is 1 by definition."
    )
    epochs: int = Field(default=30, ge=1, description="Passes over the training images. Default 30: a modest budget.")
    batch_size: int = Field(default=128, ge=2, description="Images a step. Default 128 (He et al. 2016).")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="`sgd` is with Nesterov momentum.")
    learning_rate: float = Field(
        default=0.1, gt=0, description="Peak learning rate. Default 0.1 for SGD at batch 128 (He et al. 2016)."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD only. Default 0.9.")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="On matrices and kernels, not on norms and biases. Default 5e-4."
    )
    schedule: Literal["cosine", "step"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up."
    )
    warmup_epochs: float = Field(default=1.0, ge=0, description="Epochs of linear warm-up. Default 1.")
    milestones: tuple[int, ...] = Field(
        default=(), description="Step schedule only: epochs at which the rate is multiplied by step_factor."
    )
    step_factor: float = Field(default=0.1, gt=0, lt=1, description="Step schedule only. Default 0.1.")
    clip_norm: float | None = Field(
        default=None, gt=0, description="Clip the gradient's L2 norm to this. Default: no clipping."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto` takes a CUDA device where there is one, and says so."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`bf16` is autocast; `auto` takes bf16 on a CUDA device that has it, fp32 on a CPU."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        owners = {"rho": "cist", "rho_entropy": "cist", "temperature": "kd", "ce_weight": "kd"}
        problems = [
            f"{key} is set, but belongs to method = '{owner}' and method is '{self.method}'; remove {key}"
            for key, owner in owners.items()
            if key in self.model_fields_set and self.method != owner
        ]
        if self.kd_weight is not None and self.method == "ce":
            problems.append("kd_weight is set, but method = 'ce' has no distillation term; remove kd_weight")
        if "rho_entropy" in self.model_fields_set and self.rho != "auto":
            problems.append(f"rho_entropy is set, but rho = {self.rho}; set rho = 'auto' or remove rho_entropy")
        if not isinstance(self.rho, str) and self.rho <= 0:
            problems.append(f"rho is {self.rho}; expected a positive number or 'auto'")
        if "momentum" in self.model_fields_set and self.optimizer != "sgd":
            problems.append(f"momentum is set, but belongs to optimizer = 'sgd'; it is '{self.optimizer}'")
        stepped = {"milestones", "step_factor"} & self.model_fields_set
        if stepped and self.schedule != "step":
            problems.append(f"{sorted(stepped)[0]} is set, but belongs to schedule = 'step'; it is '{self.schedule}'")
        if self.schedule == "step" and not self.milestones:
            problems.append("schedule = 'step' needs milestones, for example milestones = [15, 25]")
        outside = [milestone for milestone in self.milestones if not 0 < milestone < self.epochs]
        if outside:
            problems.append(
                f"milestone {outside[0]} is outside 1..{self.epochs - 1}, the epochs after which training goes on"
            )
        if "warmup_epochs" in self.model_fields_set and self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs = {self.warmup_epochs} leaves nothing of epochs = {self.epochs}; lower it")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Export(Section):
    """How the student becomes model.onnx."""

    opset: int = Field(
        default=18,
        ge=18,
        le=25,
        description="ONNX opset. Default 18: what torch's exporter writes without conversion, and the oldest it can.",
    )
    input_layout: Literal["nhwc", "nchw"] = Field(
        default="nhwc",
        description="Layout of the raw uint8 pixels that the device feeds. Default nhwc: what cameras and decoders "
        "give.",
    )
    max_difference: float = Field(
        default=1e-3,
        gt=0,
        description="Largest allowed absolute difference of a logit between torch and ONNX Runtime. Default 1e-3: "
        "float32 sums in another order differ by about 1e-5 here.",
    )


class Quantize(Section):
    """Which variants to build beside fp32."""

    variants: tuple[Precision, ...] = Field(
        default=ALL_PRECISIONS,
        description="Variants to build, measure and let compete with fp32. Default: all; what the target does not run "
        "is left out and named.",
    )
    per_channel: bool = Field(
        default=True, description="One weight scale a channel. Default true: depthwise nets need it."
    )
    calibration_method: Literal["minmax", "percentile", "entropy"] = Field(
        default="minmax",
        description="How activation ranges are taken from calibration data. Default minmax: ONNX Runtime's.",
    )


class Validate(Section):
    """On what, and how long, to measure."""

    target: str = Field(
        default="x86-1t", description="A name from `edgekd targets`, or a path to your own target TOML."
    )
    batch_size: int = Field(
        default=1, ge=1, description="Images an inference while timing. Default 1: what a device does."
    )
    rounds: int = Field(
        default=3, ge=1, description="Fresh processes a variant, interleaved with the others'. Default 3."
    )
    seconds: float = Field(
        default=1.0, gt=0, description="Seconds of timed inferences a round, after the warm-up. Default 1."
    )
    min_samples: int = Field(
        default=350, ge=10, description="At least so many inferences a round: 3 x 350 allow a p99. Default 350."
    )


class Gate(Section):
    """The limits. One that is not set here is taken from the target's budgets, and the report says so."""

    max_p50_ms: float | None = Field(default=None, gt=0, description="Median latency of one inference, milliseconds.")
    max_p90_ms: float | None = Field(default=None, gt=0, description="90th percentile latency, milliseconds.")
    max_p99_ms: float | None = Field(
        default=None, gt=0, description="99th percentile latency, milliseconds; needs 1,000 samples."
    )
    max_size_bytes: int | None = Field(default=None, gt=0, description="Size of the ONNX file, bytes.")
    max_peak_rss_bytes: int | None = Field(
        default=None, gt=0, description="Peak resident memory of the process, bytes."
    )
    max_load_ms: float | None = Field(default=None, gt=0, description="Session creation, milliseconds.")
    min_top1: float | None = Field(
        default=None, ge=0, le=1, description="Top-1 accuracy on the test split, a fraction."
    )
    max_top1_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Top-1 lost against the fp32 file on the same images, a fraction (0.01 = 1 point).",
    )
    min_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of test images on which the file and the teacher agree (fp32 where there is no teacher).",
    )


class Recipe(Section):
    """The one input: everything that decides what is trained, shipped and allowed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder, `runs/NAME`.")
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Fixes splits, initial weights, order and augmentation. Default 0."
    )
    data: Data
    teacher: Teacher | None = None
    student: Student
    distill: Distill = Field(default_factory=Distill)
    export: Export = Field(default_factory=Export)
    quantize: Quantize = Field(default_factory=Quantize)
    validate_: Validate = Field(default_factory=Validate, alias="validate")
    gate: Gate = Field(default_factory=Gate)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.teacher is None and self.distill.method != "ce":
            raise ValueError(
                f"distill.method = '{self.distill.method}' needs a [teacher] section, or set method = 'ce'"
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    "": Recipe,
    "data": Data,
    "teacher": Teacher,
    "student": Student,
    "distill": Distill,
    "export": Export,
    "quantize": Quantize,
    "validate": Validate,
    "gate": Gate,
}
