"""What a recipe may say: its sections, their keys, and which keys contradict each other.

Each field's description says its meaning, its unit and where its default comes from; docs/recipe.md and the JSON
schema for editors are generated from them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgekd.recipe.audio import Audio
from edgekd.recipe.distill import Distill
from edgekd.recipe.endpoint import Endpoint
from edgekd.recipe.section import Options, Section
from edgekd.recipe.series import Series
from edgekd.recipe.teacher import Member, Teacher
from edgekd.recipe.text import Text

Precision = Literal[
    "fp16",
    "int8-u8s8",
    "int8-s8s8",
    "int8-u8u8",
    "int8-u8s8-7bit",
    "int8-dynamic",
    "int8-weight-only",
    "int4-weight-only",
]
ALL_PRECISIONS: tuple[Precision, ...] = (
    "int8-u8s8",
    "int8-u8s8-7bit",
    "int8-u8u8",
    "int8-s8s8",
    "int8-dynamic",
    "int8-weight-only",
    "int4-weight-only",
    "fp16",
)


class Data(Section):
    """Where the samples come from and how they are split."""

    source: str = Field(
        description="Built-in name (`fashion-mnist`, `fashion-mnist-full`), a folder of class folders of PNG or JPEG "
        "images (with or without `train/` and `test/`), a table of such images (.csv, .tsv or .parquet with columns "
        "path, label and, where wanted, split, group, id), a Hugging Face data set saved on disk, or an .npz file. "
        "Paths are relative to the recipe."
    )
    resize: tuple[int, int] | None = Field(
        default=None,
        description="Height and width in pixels to which image files are brought, by `resize_filter` and "
        "`resize_mode`. Default: none; images of mixed sizes are then an error.",
    )
    resize_filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear",
        description="Pillow's resampling filter; all but nearest are antialiased. It ships in the bundle's reader. "
        "Default bilinear: what most image networks are trained with.",
    )
    resize_mode: Literal["stretch", "crop", "pad"] = Field(
        default="stretch",
        description="`stretch`: the whole image, whatever its shape. `crop`: resized until it covers `resize`, then "
        "its middle, as torchvision does. `pad`: resized until it fits into `resize`, black around it. Default "
        "stretch: nothing is lost.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 (grey) or 3 (RGB), for image files. Default: 1 when every image is grey, else 3."
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="Class names in the order of the labels, for .npz, tables, and images without labels. Default: "
        "what the source says (an array `classes`, the labels that occur, sorted), else numbers.",
    )
    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training samples held out to choose on. Default 0.1: common practice.",
    )
    calibration_samples: int = Field(
        default=500,
        ge=2,
        description="Training samples held out for calibrating int8 ranges. Default 500: ranges of small nets no "
        "longer move beyond it; ONNX Runtime's own examples use 100 to 1,000.",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the samples held out for the test where the source has no test part.",
    )
    train_samples: int | None = Field(
        default=None, ge=2, description="Use only so many training samples, balanced by class. Default: all."
    )
    task: Literal["auto", "classes", "multi-label"] = Field(
        default="auto",
        description="`classes`: one class a sample; `multi-label`: as many as hold, or none, each decided by its own "
        "sigmoid. Default auto: several where the source can only mean that (.npz with y (n, K) of 0 and 1, a saved "
        "data set with a Sequence of ClassLabel), else one; tables and texts say it with this key.",
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        description="What stands between the labels of a cell of a multi-label table, `cat;dog`. An empty cell says "
        "that no class holds, `?` that nobody said. Lists of JSON and Parquet need none. Default `;`.",
    )
    balance: Literal["none", "sample"] = Field(
        default="none",
        description="`sample`: every epoch shows as many training samples of each class, rare ones several times. "
        "Default none: as the data is.",
    )
    augment: Literal["auto", "none", "crop", "flip", "crop-flip"] = Field(
        default="auto",
        description="Training-time augmentation. Of images: random crop of the zero-padded image, horizontal mirror, "
        "both or none. Default auto: of images both, the standard of small-image training (He et al. 2016); of other "
        "data what its section says, such as [data.series].",
    )
    crop_padding: int = Field(
        default=4, ge=1, description="Pixels of zero padding for the crop. Default 4 (He et al. 2016)."
    )
    storage: Literal["auto", "memory", "disk"] = Field(
        default="auto",
        description="Where decoded samples stay: in `memory`, or on `disk`, in a file below the cache folder that "
        "later runs use again and `edgekd cache` lists. Training gives the same bytes. Default auto: on disk what "
        "would take more than a quarter of the available memory.",
    )
    series: Series | None = Field(
        default=None, description="Of sensor readings, in a CSV or an .npz, the section [data.series]."
    )
    audio: Audio | None = Field(default=None, description="Of a folder of WAV files, the section [data.audio].")
    text: Text | None = Field(default=None, description="Of a file of texts, the section [data.text].")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_separator is not None and self.task != "multi-label":
            raise ValueError(
                f"label_separator is set, and task = '{self.task}' has one label a cell; set task = 'multi-label' or "
                "remove it"
            )
        if self.label_separator is not None and not self.label_separator.strip():
            raise ValueError("label_separator is blank, and blanks around a label are cut; expected such as ';'")
        if self.task == "multi-label" and self.balance != "none":
            raise ValueError(
                f"balance = '{self.balance}' draws as many samples of every class, which samples of several classes "
                "do not allow; remove it, and set distill.class_weights = 'balanced'"
            )
        if "crop_padding" in self.model_fields_set and self.augment in ("none", "flip"):
            raise ValueError(f"crop_padding is set, but augment = '{self.augment}' does not crop; remove one of them")
        if self.resize is not None and min(self.resize) < 1:
            raise ValueError(f"resize is {list(self.resize)}; expected [height, width] in pixels, both positive")
        for key in ("resize_filter", "resize_mode"):
            if self.resize is None and key in self.model_fields_set:
                raise ValueError(f"{key} is set without resize; set resize = [height, width], or remove {key}")
        return self


class Student(Section):
    """The network to train and ship."""

    model: str = Field(description="A name from `edgekd models`, or your own network as `file.py:callable`.")
    options: Options = Field(
        default_factory=dict, description="Keyword arguments for the network, e.g. `{ width = 0.5 }`."
    )


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
    per_channel: bool | Literal["auto"] = Field(
        default="auto",
        description="One weight scale a channel (true), a tensor (false), or `auto`: a channel, unless a tensor is "
        "measured to be faster and accurate enough. Default auto.",
    )
    calibration_method: Literal["auto", "minmax", "percentile", "entropy", "mse"] = Field(
        default="auto",
        description="How activation ranges are taken from calibration data; `auto` tries all four and keeps the one "
        "whose outputs are closest to fp32's. Default auto.",
    )
    portable: bool = Field(
        default=True,
        description="Whether int8 files must compute the same on x86 CPUs without VNNI, whose 16-bit sums can "
        "saturate. Default true: a file that is right on one CPU only is not shipped unasked.",
    )
    saturation: Literal["safe", "7bit", "u8u8", "session-key", "refuse"] = Field(
        default="safe",
        description="What is done to a layer that can saturate, with `portable`: `safe` gives each channel the "
        "headroom it needs, `7bit` and `u8u8` change such layers' weights, `session-key` sets "
        "session.x64quantprecision (slower with VNNI) in the bundle, `refuse` builds no such file. Default safe.",
    )
    time_budget: float = Field(
        default=300.0,
        gt=0,
        description="Seconds that the search for the best variants may take; the best so far is kept. Default 300.",
    )
    max_memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Memory that calibration may take beside the network, bytes. Default: what 64 samples take, at "
        "most 128 MiB of activations.",
    )

    qat: bool = Field(
        default=False,
        description="Also fine-tune the student with fake quantization, its teacher still attached, and let the result "
        "compete as `int8-qat` (needs `edgekd[qat]`). Default false: it takes qat_epochs of training.",
    )
    qat_epochs: int = Field(default=3, ge=1, description="Epochs of that fine-tuning. Default 3.")
    qat_learning_rate: float = Field(
        default=1e-3, gt=0, description="Its learning rate at the start; it falls to 0 along a cosine. Default 1e-3."
    )
    qat_weight_bits: Literal[4, 8] = Field(
        default=8, description="Bits of its weights; 4 are stored in 8, for networks whose size is not the point."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        tuned = {"qat_epochs", "qat_learning_rate", "qat_weight_bits"} & self.model_fields_set
        if tuned and not self.qat:
            raise ValueError(f"{sorted(tuned)[0]} is set, and qat = false; set qat = true or remove it")
        if not self.portable and "saturation" in self.model_fields_set:
            raise ValueError(
                f"saturation = '{self.saturation}' is what makes a file portable, and portable = false; remove one"
            )
        return self


class Validate(Section):
    """On what, and how long, to measure."""

    target: str = Field(
        default="x86-1t", description="A name from `edgekd targets`, or a path to your own target TOML."
    )
    batch_size: int = Field(
        default=1, ge=1, description="Samples an inference while timing. Default 1: what a device does."
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


Share = Annotated[float, Field(ge=0, le=1)]


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
    min_class_top1: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Top-1 accuracy of every single class on the test split, a fraction; the worst class decides. Its "
        "interval is corrected for looking at all of them (Bonferroni).",
    )
    class_floors: dict[str, Share] | None = Field(
        default=None,
        description="Top-1 accuracy of single classes, a fraction each, where some matter more than others: "
        "`class_floors = { pedestrian = 0.95 }`. Beside `min_class_top1`, which holds for every class.",
    )
    max_top1_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Top-1 lost against the fp32 file on the same samples, a fraction (0.01 = 1 point).",
    )
    min_micro_f1: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Multi-label tasks: micro-averaged F1 on the test split at a probability of 1/2, a fraction; 2 TP "
        "/ (2 TP + FP + FN) over all samples and classes.",
    )
    min_macro_f1: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Multi-label tasks: the mean of the classes' F1, a fraction; a rare class weighs as much as a "
        "frequent one.",
    )
    min_map: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Multi-label tasks: mean average precision over the classes, a fraction; of no threshold.",
    )
    max_micro_f1_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Multi-label tasks: micro F1 lost against the fp32 file on the same samples, a fraction.",
    )
    min_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of test samples on which the file and the teacher agree (fp32 where there is no teacher): "
        "on the class, or on the whole set of labels.",
    )
    min_isa_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of samples with the same class on a CPU without VNNI; measured by `validate --isa avx2`.",
    )
    min_sqnr_db: float | None = Field(
        default=None,
        description="Signal to quantization noise of the worst output against the fp32 file's, decibels; for networks "
        "that tell no classes apart.",
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
        mixes = self.distill.mixup or self.distill.cutmix
        if self.teacher is not None and self.teacher.by_sample:
            self._check_fixed(self.teacher)
            return self
        if self.distill.teacher_cache != "off" and not self.distill.n_views and (mixes or self.data.augment != "none"):
            raise ValueError(
                f"distill.teacher_cache = '{self.distill.teacher_cache}' with n_views = 0: the views of an epoch "
                "never come again, so nothing kept would be used; set distill.n_views, for example 4"
            )
        return self

    def _check_fixed(self, teacher: Teacher) -> None:
        """A teacher that never sees the student's view: either there are none, or that is meant."""
        if self.distill.method == "ce":
            return
        if self.distill.mixup or self.distill.cutmix:
            raise ValueError(
                f"a teacher of kind '{teacher.kind}' has no answer to mixed samples; remove distill.mixup and cutmix"
            )
        if self.data.augment != "none" and not teacher.fixed:
            raise ValueError(
                f"a teacher of kind '{teacher.kind}' answers for each sample as it is, and data.augment = "
                f"'{self.data.augment}' changes it; set augment = 'none', or teacher.fixed = true to let the answer "
                "stand for every view"
            )


SECTIONS: dict[str, type[Section]] = {
    "": Recipe,
    "data": Data,
    "data.series": Series,
    "data.audio": Audio,
    "data.text": Text,
    "teacher": Teacher,
    "teacher.endpoint": Endpoint,
    "teacher.members": Member,
    "teacher.members.endpoint": Endpoint,
    "student": Student,
    "distill": Distill,
    "export": Export,
    "quantize": Quantize,
    "validate": Validate,
    "gate": Gate,
}
