"""The recipe's section [data.series]: how a table of readings becomes windows, and how they are varied in training."""

from typing import Self

from pydantic import Field, model_validator

from edgekd.recipe.section import Section


class Series(Section):
    """Sensor readings: how windows are cut out of a CSV (an .npz holds windows already), and their augmentation."""

    columns: tuple[str, ...] | None = Field(
        default=None,
        description="Columns with the channels' readings, in the order in which the device feeds them. Default: all "
        "that are not `id`, `label`, `group` or called `split` (train, validation or test).",
    )
    label: str | None = Field(
        default=None, description="Column with the class of each row. Default: `label` where there is such a column."
    )
    group: str | None = Field(
        default=None,
        description="Column with whom or what a row comes from (subject, machine); a group stands in one split only. "
        "Default: `group` where there is such a column.",
    )
    id: str | None = Field(
        default=None, description="Column that names the window of each row, instead of `window`; all of one length."
    )
    window: int | None = Field(
        default=None,
        ge=1,
        description="Rows a window. Windows are cut out of rows that follow one another under one label and group.",
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        description="Rows from one window to the next. Default: `window`, so that no two share a row. With less and "
        "without a group, the windows of one run of rows stay in one split.",
    )
    jitter: float = Field(
        default=0.05,
        ge=0,
        description="Training-time augmentation: standard deviation of noise on each reading, in deviations of its "
        "channel. Default 0.05 (Um et al. 2017).",
    )
    scaling: float = Field(
        default=0.1,
        ge=0,
        description="Training-time augmentation: standard deviation of a factor around 1 for each channel, around its "
        "mean. Default 0.1 (Um et al. 2017).",
    )
    shift: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Training-time augmentation: largest shift in time either way, a share of the window; its first or "
        "last reading fills the gap. Default 0.1.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.id is not None and self.window is not None:
            raise ValueError("id and window both say where windows begin; remove one")
        if self.stride is not None and self.window is None:
            raise ValueError("stride is set without window; set both")
        for name in ("columns", "label", "group", "id"):
            if getattr(self, name) in ("", ()):
                raise ValueError(f"{name} is empty; name a column, or remove it")
        return self

    @property
    def cuts(self) -> bool:
        """Whether it says how to cut a table."""
        return bool({"columns", "label", "group", "id", "window", "stride"} & self.model_fields_set)
