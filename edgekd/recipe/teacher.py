"""The recipe's section [teacher]: whom the student learns from, and the keys that belong to each kind of teacher."""

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekd.recipe.endpoint import Endpoint
from edgekd.recipe.section import Options, Section

Kind = Literal["network", "onnx", "torchscript", "pt2", "scores", "endpoint", "timm", "transformers", "ensemble"]

KEYS: dict[str, tuple[str, ...]] = {
    "network": ("model", "weights", "options", "mean", "std"),
    "onnx": ("path", "outputs", "classes", "layout", "scale", "mean", "std", "resize", "provider"),
    "torchscript": ("path", "outputs", "classes", "layout", "dtype", "scale", "mean", "std", "resize", "trust"),
    "pt2": ("path", "outputs", "classes", "layout", "dtype", "scale", "mean", "std", "resize", "trust"),
    "scores": ("path", "outputs", "classes", "fixed"),
    "endpoint": ("endpoint", "outputs", "classes", "fixed"),
    "timm": ("model", "path", "revision", "allow_download", "outputs", "classes"),
    "transformers": ("model", "path", "revision", "allow_download", "outputs", "classes"),
    "ensemble": ("members", "combine", "fixed"),
}
"""Kind -> the keys of [teacher] that belong to it; any other is a contradiction."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "network": ("model", "weights"),
    "onnx": ("path",),
    "torchscript": ("path",),
    "pt2": ("path",),
    "scores": ("path",),
    "endpoint": ("endpoint",),
    "timm": (),
    "transformers": (),
    "ensemble": ("members",),
}
"""Kind -> the keys without which there is no such teacher."""

BY_SAMPLE = ("scores", "endpoint")
"""Kinds that answer for a sample as it is in the source, and not for an augmented view of it."""

SUFFIXES = {
    "onnx": (".onnx",),
    "torchscript": (".pt", ".pth", ".ts"),
    "pt2": (".pt2",),
    "scores": (".npy", ".npz", ".csv", ".parquet"),
}
"""Kind -> the endings of its files."""


def kind_of(path: str) -> str | None:
    """The kind of teacher that a file of this ending is; None for any other."""
    return next((kind for kind, ends in SUFFIXES.items() if path.endswith(ends)), None)


class TeacherKeys(Section):
    """What any teacher, also a member of an ensemble, may say."""

    kind: Kind = Field(
        default="network",
        description="`network`: `model` with its `weights`; a file at `path`: `onnx`, `torchscript` (.pt), `pt2` "
        "(torch.export) or `scores` (a table with a row a sample); `endpoint`: scores over HTTP; `timm` (images), "
        "`transformers` (images, sound, texts): a pretrained classifier by its name, `model`, or its folder, `path`; "
        "`ensemble` of `members`. Default network.",
    )
    model: str | None = Field(
        default=None,
        description="network: a name from `edgekd models`, or your own network as `file.py:callable`. timm, "
        "transformers: a name on the Hugging Face hub, `owner/name`.",
    )
    weights: str | None = Field(
        default=None,
        description="network: a .safetensors file relative to the recipe, or `builtin:NAME` for a teacher that ships "
        "with edgekd.",
    )
    options: Options = Field(
        default_factory=dict, description="network: keyword arguments for it, e.g. `{ width = 0.5 }`."
    )
    path: str | None = Field(
        default=None,
        description="The teacher's file, relative to the recipe: .onnx, .pt, .pt2, or a table of scores: .npy (a row a "
        "sample in the source's order), .npz (`ids`, `scores`), .csv or .parquet (column `id` and a column a class).",
    )
    outputs: Literal["auto", "logits", "probabilities"] = Field(
        default="auto",
        description="What the teacher emits; of probabilities the log is taken, clamped at 1e-7. What is declared is "
        "checked by range and row sums. Default `auto`: probabilities where every row is in 0..1 and sums to 1.",
    )
    classes: tuple[str, ...] | None = Field(
        default=None,
        description="What its outputs mean, in their order; mapped by name onto the data's. Default: what its file "
        "says, else the data's own order, and the report says that it was assumed.",
    )
    layout: Literal["nhwc", "nchw", "nlc", "ncl"] | None = Field(
        default=None,
        description="Layout of the images that it takes, or of windows of series: `nlc` (length, channels) or `ncl`, "
        "as torch's Conv1d. Default: for ONNX what the file says, for torch nchw and nlc.",
    )
    dtype: Literal["uint8", "int16", "int32", "int64", "float32", "float16", "bfloat16"] | None = Field(
        default=None, description="torchscript, pt2: type of its input. Default float32, of texts int64."
    )
    scale: float | None = Field(
        default=None,
        gt=0,
        description="value = (raw × scale - mean) / std, for teachers that take floats: 1.0 gives raw 0 to 255, "
        "0.00392156862745098 gives 0 to 1; of sound 0.000030517578125 gives -1 to 1. Default: where mean and std are "
        "set 1/255 for images and 1 for series; else it must be said, but for series.",
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        description="Mean of pixels / 255 a channel (of pixels × scale where that is set), as the teacher was trained; "
        "of series in the sensor's own unit. Default for a network: what its file says, else the training data's own.",
    )
    std: tuple[float, ...] | None = Field(
        default=None, description="Standard deviation of the same, a channel; as `mean`, and set with it."
    )
    resize: tuple[int, int] | None = Field(
        default=None,
        description="Height and width to which images are resized for the teacher alone (bilinear, antialiased).",
    )
    provider: Literal["auto", "cpu", "cuda"] | None = Field(
        default=None,
        description="onnx: what runs it. Default auto: CUDA where training is on CUDA and ONNX Runtime has it, else "
        "the CPU, and the report says so.",
    )
    trust: bool | None = Field(
        default=None,
        description="torchscript, pt2: load a file that could run code of its maker's, which torch.export.load does of "
        "any .pt2 (it unpickles) and a TorchScript graph does where it writes files. Default false.",
    )

    revision: str | None = Field(
        default=None, description="timm, transformers: branch, tag or commit on the hub. Default: its main branch."
    )
    allow_download: bool = Field(
        default=False,
        description="timm, transformers: fetch a model that is not on this machine, as `--allow-download` does. "
        "Default false.",
    )
    endpoint: Endpoint | None = Field(
        default=None, description="endpoint: the table `[teacher.endpoint]`, with its `url`."
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        foreign = sorted(self.model_fields_set - {"kind", "weight", *KEYS[self.kind]})
        if foreign:
            belongs = [kind for kind, keys in KEYS.items() if foreign[0] in keys]
            raise ValueError(
                f"{foreign[0]} belongs to kind {' or '.join(belongs)}, and kind = '{self.kind}'; remove it"
                + self._perhaps_of_its_suffix()
            )
        missing = [key for key in REQUIRED[self.kind] if getattr(self, key, None) is None]
        if missing:
            raise ValueError(
                f"{missing[0]} is missing; a teacher of kind '{self.kind}' needs {' and '.join(REQUIRED[self.kind])}"
            )
        if self.kind in ("timm", "transformers") and (self.model is None) == (self.path is None):
            raise ValueError(f"a teacher of kind '{self.kind}' needs either model, its name, or path, its folder")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together; set both or remove both")
        if self.std is not None and min(self.std, default=0.0) <= 0:
            raise ValueError(f"std is {list(self.std)}; expected positive numbers, one a channel")
        if self.resize is not None and min(self.resize) < 1:
            raise ValueError(f"resize is {list(self.resize)}; expected [height, width] in pixels, both positive")
        self._check_suffix()
        return self

    def _perhaps_of_its_suffix(self) -> str:
        kind = kind_of(self.path) if self.path else None
        return f", or set kind = '{kind}'" if kind not in (None, self.kind) else ""

    def _check_suffix(self) -> None:
        ends = SUFFIXES.get(self.kind)
        if ends and self.path is not None and not self.path.endswith(ends):
            raise ValueError(
                f"path '{self.path}' does not end in {' or '.join(ends)}, as a teacher of kind '{self.kind}' does"
                + self._perhaps_of_its_suffix()
            )


class Member(TeacherKeys):
    """One teacher of an ensemble."""

    weight: float = Field(default=1.0, gt=0, description="Its share of the mean, against the others'. Default 1.")

    @model_validator(mode="after")
    def _flat(self) -> Self:
        if self.kind == "ensemble":
            raise ValueError("a member is an ensemble itself; list its members with the others")
        return self


class Teacher(TeacherKeys):
    """Whom the student learns from."""

    members: tuple[Member, ...] | None = Field(
        default=None,
        min_length=2,
        description="ensemble: its teachers, each a table `[[teacher.members]]` with these same keys, and `weight`.",
    )
    combine: Literal["probabilities", "logits"] = Field(
        default="probabilities",
        description="ensemble: the weighted mean of the members' probabilities (a mixture, Lakshminarayanan et al. "
        "2017) or of their logits (a geometric mean). Default probabilities.",
    )
    fixed: bool = Field(
        default=False,
        description="scores, endpoint, or an ensemble with one: the answer to the original sample stands for every "
        "view of it, needed with data.augment (Beyer et al. 2022, arXiv 2106.05237, find this worse than a teacher "
        "that sees the same view). Default false.",
    )

    @property
    def by_sample(self) -> bool:
        """Whether it answers for a sample as it is in the source alone; an ensemble does where a member does."""
        return any(one.kind in BY_SAMPLE for one in (self, *(self.members or ())))

    @model_validator(mode="after")
    def _fixed_fits(self) -> Self:
        if self.fixed and not self.by_sample:
            raise ValueError("fixed = true, but this teacher sees each view itself; remove it")
        return self
