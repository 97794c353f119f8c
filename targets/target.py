"""The schema of a target: a device profile that says how to run a model, which variants may compete and what counts."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Precision = Literal[
    "fp32",
    "fp16",
    "int8-u8s8",
    "int8-s8s8",
    "int8-u8u8",
    "int8-u8s8-7bit",
    "int8-dynamic",
    "int8-weight-only",
    "int4-weight-only",
]


class Table(BaseModel):
    """A table of a target file: frozen, unknown keys are errors, nothing is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Budgets(Table):
    """The limits a recipe inherits where its `[gate]` sets none; None means no limit.

    Times are in milliseconds, sizes in bytes.
    """

    max_p50_ms: PositiveFloat | None = None
    max_p90_ms: PositiveFloat | None = None
    max_p99_ms: PositiveFloat | None = None
    max_size_bytes: PositiveInt | None = None
    max_peak_rss_bytes: PositiveInt | None = None
    max_load_ms: PositiveFloat | None = None


class Target(Table):
    """A device profile.

    Attributes:
        provider: ONNX Runtime execution provider that has to run the model; another one is an error, not a fallback.
        threads: intra-op threads; `inter_op_threads` is for graphs that run branches side by side.
        spinning: whether idle threads wait busily: faster, at the price of CPU time and power.
        isa: instruction set of the device, None when it is whatever the measuring machine has.
        session_config: ONNX Runtime session configuration entries, e.g. {"session.x64quantprecision": "1"}.
        precisions: the variants that may compete on this target.
        preferred: the expected winner; what ships is measured, not this.
        sources: where each fact about kernels and type pairs comes from, a sentence with its link each.
        memory_bytes: memory of the device.
        proxy: True when the measuring machine only stands in for the device.
        shows: what a run on the measuring machine shows about the device.
        does_not_show: what it does not show.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    title: str
    description: str = ""
    provider: str = Field(pattern=r"^[A-Za-z0-9]+ExecutionProvider$")
    threads: PositiveInt
    inter_op_threads: PositiveInt = 1
    spinning: bool
    graph_optimization: Literal["all", "extended", "basic", "disable"] = "all"
    isa: str | None = None
    precisions: tuple[Precision, ...] = Field(min_length=1)
    preferred: Precision
    sources: tuple[str, ...] = ()
    memory_bytes: PositiveInt
    proxy: bool
    shows: str = ""
    does_not_show: str = ""
    session_config: dict[str, str] = Field(default_factory=dict)
    provider_options: dict[str, str] = Field(default_factory=dict)
    budgets: Budgets = Field(default_factory=Budgets)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.precisions)) < len(self.precisions):
            raise ValueError("precisions names a variant twice; remove the second")
        if self.preferred not in self.precisions:
            raise ValueError(
                f"preferred is '{self.preferred}'; expected one of precisions: {', '.join(self.precisions)}"
            )
        if self.proxy and not (self.shows and self.does_not_show):
            raise ValueError("proxy is true; expected shows and does_not_show to say what a proxy run is worth")
        return self
