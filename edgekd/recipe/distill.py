"""The recipe's section [distill]: how the student learns."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from edgekd.recipe.section import Section

MethodName = Literal[
    "cist", "kd", "ce", "entropy", "dkd", "dkd+cist", "lskd", "normkd", "dtkd", "ctkd", "ats", "ttm", "wttm", "dist",
    "mse", "spherical",
]  # fmt: skip

KNOBS: dict[str, tuple[str, ...]] = {
    "ce": (),
    "kd": ("temperature", "kd_weight", "ce_weight"),
    "cist": ("rho", "rho_entropy", "kd_weight"),
    "entropy": ("entropy", "entropy_nats", "match_fixed", "kd_weight", "student_floor"),
    "dkd": ("temperature", "tckd_weight", "nckd_weight", "kd_weight", "ce_weight", "kd_warmup_epochs"),
    "dkd+cist": ("rho", "rho_entropy", "tckd_weight", "nckd_weight", "kd_weight"),
    "lskd": ("temperature", "kd_weight", "ce_weight"),
    "normkd": ("temperature", "kd_weight", "ce_weight"),
    "dtkd": ("temperature", "kd_weight", "fixed_weight", "ce_weight"),
    "ctkd": ("kd_weight", "ce_weight"),
    "ats": ("temperature", "other_temperature", "kd_weight", "ce_weight"),
    "ttm": ("temperature", "kd_weight"),
    "wttm": ("temperature", "kd_weight"),
    "dist": ("temperature", "kd_weight", "ce_weight"),
    "mse": ("kd_weight", "ce_weight"),
    "spherical": ("temperature", "kd_weight", "ce_weight"),
}
"""Method -> the keys of [distill] that belong to it; a test holds it beside `edgekd.core.methods`."""

ONE_CLASS = ("dkd", "dkd+cist", "ats")
"""Methods that treat the true class apart, and so cannot take mixed labels."""

ENTROPY_TARGETS = ("entropy", "entropy_nats", "match_fixed")


def _weight(meaning: str) -> float | None:
    default: float | None = Field(default=None, ge=0, description=meaning)
    return default


class Distill(Section):
    """How the student learns."""

    method: MethodName = Field(
        default="cist",
        description="`cist`: per-sample adaptive temperatures (arXiv 2605.20357); `entropy`: temperatures solved so "
        "that every soft label has the same entropy; `kd`: one fixed temperature (Hinton et al. 2015); `ce`: labels "
        "alone, no teacher; and their relatives, each with its source in edgekd/core/losses.",
    )
    rho: float | Literal["auto"] = Field(
        default="auto",
        description="cist, dkd+cist: the largest scaled centred logit; `auto` solves it for the number of classes and "
        "`rho_entropy` (1.27 at 10 classes, 3.0 at 100).",
    )
    rho_entropy: float = Field(
        default=0.925,
        gt=0,
        lt=1,
        description="With rho = `auto`: wanted soft-label entropy as a share of ln K. Default 0.925: the author's "
        "rho = 3 at 100 classes.",
    )
    entropy: float = Field(
        default=0.925,
        gt=0,
        lt=1,
        description="entropy only: that of every soft label, as a share of ln K. Default 0.925, as `rho_entropy`.",
    )
    entropy_nats: float | None = Field(default=None, gt=0, description="The same in nats, instead of `entropy`.")
    match_fixed: float | None = Field(
        default=None,
        gt=0,
        description="Instead of `entropy`: the mean entropy that this fixed temperature gives on the teacher's "
        "logits of up to 2,000 training pictures. Same smoothing as that temperature, no spread.",
    )
    student_floor: float | None = Field(
        default=None,
        ge=0,
        description="entropy only: smallest temperature of the student. Default 1, as CIST's; with 0 the loss leaves "
        "the student's scale free, and training can collapse.",
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="The method's temperature. Default: its authors', 4 for kd, dkd, dtkd, ats (true class), dist and "
        "spherical, 2 for lskd and normkd, 10 for ttm and wttm.",
    )
    other_temperature: float | None = Field(
        default=None, gt=0, description="ats only: temperature of the classes that are not the true one. Default 2."
    )
    kd_weight: float | None = _weight(
        "Weight of the distillation term. Default: the method's, 8 for cist and entropy, 0.9 for kd, 9 for lskd, …"
    )
    ce_weight: float | None = _weight(
        "Weight of the label term, where the method has one to set. Default: 0.1 for kd, lskd, normkd, ctkd and "
        "spherical, 0.5 for ats, 0 for mse, 1 for dkd, dtkd and dist."
    )
    tckd_weight: float | None = _weight("dkd, dkd+cist: weight of the true class against the rest. Default 1.")
    nckd_weight: float | None = _weight("dkd, dkd+cist: weight of the rest among themselves. Default 8 and 2.")
    fixed_weight: float | None = _weight("dtkd only: weight of the KD term with a fixed temperature. Default 1.")
    kd_warmup_epochs: float | None = _weight(
        "dkd only: epochs over which its weight grows from 0. Default 0; its authors took 20 of 240."
    )
    epochs: int = Field(default=30, ge=1, description="Passes over the training samples. Default 30: a modest budget.")
    batch_size: int = Field(
        default=128, ge=2, description="Images a step, over all processes. Default 128 (He et al. 2016)."
    )
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
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the label spread over all classes. Default 0."
    )
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = Field(
        default="none",
        description="Weight of each class in the label term: `balanced` is n / (K n_k), n_k the class's training "
        "samples; or one number a class, in their order. Of a multi-label task the weight is of the samples that have "
        "the class, and `balanced` is those without over those with it. The distillation term is never weighted. "
        "Default none.",
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        description="Alpha of mixup (arXiv 1710.09412); the teacher sees the mixed image. Default 0: off.",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        description="Alpha of CutMix (arXiv 1905.04899); with mixup, each sample takes one. Default 0.",
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The student is an exponential moving average of the weights with this decay, such as 0.999. "
        "Default: the last weights.",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="Compute each batch in so many parts, for memory. Batch norm, and dist's correlation over the "
        "batch, see one part at a time. Default 1.",
    )
    early_stop_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Stop when validation accuracy has not risen for so many epochs; the last epoch is kept. Default: "
        "train to the end.",
    )
    max_skipped_steps: int = Field(
        default=10,
        ge=0,
        description="Steps, of all, that may be dropped because their gradient is not finite. Default 10.",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        description="Fixes initial weights and order. Default: the recipe's seed, which fixes splits and views always.",
    )
    n_views: int = Field(
        default=0,
        ge=0,
        description="Augmented editions of the data: after so many epochs the same pictures come again, so that the "
        "teacher's answers can be kept. Default 0: fresh ones every epoch.",
    )
    teacher_cache: Literal["off", "fp16", "top-k"] = Field(
        default="off",
        description="Keep the teacher's logits of every view on disk, all or the largest `cache_top_k`; a second "
        "student of the same teacher, data and views never runs it. With `fp16` targets are the same bits as without a "
        "cache. Default off.",
    )
    cache_top_k: int | None = Field(default=None, ge=1, description="With teacher_cache = `top-k`: logits a picture.")
    cache_limit_gb: float = Field(
        default=8.0, gt=0, description="A cache that would be larger is refused before it is written. Default 8 GB."
    )
    cache_folder: str | None = Field(
        default=None,
        description="Where caches lie, relative to the recipe. Default: $EDGEKD_CACHE, else ~/.cache/edgekd.",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that stream samples to the device. Default: none where all of them fit on the device.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto` takes a CUDA device where there is one, and says so."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`bf16` is autocast; `auto` takes bf16 on a CUDA device that has it, fp32 on a CPU."
    )
    channels_last: bool = Field(
        default=True, description="Lay kernels and pictures out as convolutions run fastest. Default true."
    )
    compile: bool = Field(
        default=False,
        description="torch.compile both networks: faster steps after a minute or so of compiling. Default false.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._knobs(), *self._optimisation(), *self._teachers_logits()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _knobs(self) -> Iterator[str]:
        own = KNOBS[self.method]
        for key in dict.fromkeys(key for keys in KNOBS.values() for key in keys):
            if key in self.model_fields_set and key not in own:
                taken = ", ".join(own) or "none"
                yield f"{key} is set, but method = '{self.method}' does not take it; remove it (it takes: {taken})"
        if "rho_entropy" in self.model_fields_set and self.rho != "auto":
            yield f"rho_entropy is set, but rho = {self.rho}; set rho = 'auto' or remove rho_entropy"
        if not isinstance(self.rho, str) and self.rho <= 0:
            yield f"rho is {self.rho}; expected a positive number or 'auto'"
        targets = [key for key in ENTROPY_TARGETS if key in self.model_fields_set]
        if len(targets) > 1:
            yield f"{' and '.join(targets)} are set, and each says how much entropy a soft label has; keep one"
        if not isinstance(self.class_weights, str) and min(self.class_weights, default=0.0) <= 0:
            yield f"class_weights is {list(self.class_weights)}; expected positive numbers, one a class"
        if (self.mixup or self.cutmix) and self.method in ONE_CLASS:
            yield (
                f"mixup and cutmix mix labels, and method = '{self.method}' needs one true class; set both to 0 "
                "or take another method"
            )

    def _optimisation(self) -> Iterator[str]:
        if "momentum" in self.model_fields_set and self.optimizer != "sgd":
            yield f"momentum is set, but belongs to optimizer = 'sgd'; it is '{self.optimizer}'"
        stepped = {"milestones", "step_factor"} & self.model_fields_set
        if stepped and self.schedule != "step":
            yield f"{sorted(stepped)[0]} is set, but belongs to schedule = 'step'; it is '{self.schedule}'"
        if self.schedule == "step" and not self.milestones:
            yield "schedule = 'step' needs milestones, for example milestones = [15, 25]"
        outside = [milestone for milestone in self.milestones if not 0 < milestone < self.epochs]
        if outside:
            yield f"milestone {outside[0]} is outside 1..{self.epochs - 1}, the epochs after which training goes on"
        if "warmup_epochs" in self.model_fields_set and self.warmup_epochs >= self.epochs:
            yield f"warmup_epochs = {self.warmup_epochs} leaves nothing of epochs = {self.epochs}; lower it"
        if self.batch_size % self.accumulate:
            yield f"accumulate = {self.accumulate} does not divide batch_size = {self.batch_size}; change one of them"

    def _teachers_logits(self) -> Iterator[str]:
        if self.method == "ce" and self.teacher_cache != "off":
            yield "teacher_cache is set, but method = 'ce' has no teacher; remove teacher_cache"
        if (self.teacher_cache == "top-k") != (self.cache_top_k is not None):
            yield "teacher_cache = 'top-k' and cache_top_k belong together; set both or neither"
        for key in ("cache_limit_gb", "cache_folder"):
            if key in self.model_fields_set and self.teacher_cache == "off":
                yield f"{key} is set, but teacher_cache = 'off'; set teacher_cache = 'fp16' or remove {key}"
