"""What every table of the recipe is."""

from pydantic import BaseModel, ConfigDict

Options = dict[str, float | int | str]


class Section(BaseModel):
    """A table of the recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
