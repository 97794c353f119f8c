"""The recipe's section [data.audio]: how WAV files become clips, and what the log-mel front end makes of them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekd.recipe.section import Section


class Audio(Section):
    """Sound: its length and rate, who speaks, and the log-mel front end, which is part of the exported graph."""

    seconds: float | None = Field(
        default=None,
        gt=0,
        description="Length of a clip, seconds. Longer files are cut, shorter ones get silence, both at the end. "
        "Default: as the longest file, if that is no longer than a minute.",
    )
    sample_rate: int | None = Field(
        default=None,
        gt=0,
        description="Samples a second that every file must have, hertz; nothing is resampled. Default: what they agree "
        "on.",
    )
    mono: Literal["refuse", "mix"] = Field(
        default="refuse",
        description="`mix` makes one channel of several, their mean; `refuse` takes files of one channel only. Default "
        "refuse: stereo where one microphone is expected is usually a mistake.",
    )
    group_pattern: str | None = Field(
        default=None,
        description="Regular expression with one group, which finds the speaker in a file's path below the source, "
        "such as `([0-9a-f]+)_nohash_` for Speech Commands. A speaker then stands in one split only.",
    )
    group_file: str | None = Field(
        default=None,
        description="CSV file with the columns `path` (below the source) and `group`, the speaker; instead of "
        "`group_pattern`. Relative to the recipe.",
    )
    window_ms: float = Field(
        default=30.0, gt=0, description="Length of an analysis window, milliseconds. Default 30 (MLPerf Tiny's)."
    )
    hop_ms: float = Field(
        default=20.0, gt=0, description="From one window to the next, milliseconds. Default 20 (MLPerf Tiny's)."
    )
    mels: int = Field(default=40, ge=2, description="Mel bands. Default 40 (Zhang et al. 2017, Hello Edge).")
    fmin: float = Field(
        default=20.0, ge=0, description="Lower end of the lowest band, hertz. Default 20 (Zhang et al. 2017)."
    )
    fmax: float | None = Field(
        default=None,
        gt=0,
        description="Upper end of the highest band, hertz. Default: 4,000 (Zhang et al. 2017), or half the sample rate "
        "where that is less.",
    )
    log_offset: float = Field(
        default=1e-6,
        gt=0,
        description="Added to a band's energy before the logarithm, full scale squared. Default 1e-6 (TensorFlow's "
        "log-mel example).",
    )
    mel_scale: Literal["htk", "slaney"] = Field(
        default="htk", description="Formula of the mel scale, as librosa's `htk` tells. Default htk."
    )
    shift_ms: float = Field(
        default=100.0,
        ge=0,
        description="Training-time augmentation: largest shift in time either way, milliseconds; silence fills the "
        "gap. Default 100 (Zhang et al. 2017).",
    )
    noise: float = Field(
        default=0.1,
        ge=0,
        description="Training-time augmentation: largest standard deviation of white noise, a share of the clip's root "
        "mean square. Default 0.1, 20 dB below it.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.group_pattern is not None and self.group_file is not None:
            raise ValueError("group_pattern and group_file both name the speakers; remove one")
        if self.fmax is not None and self.fmax <= self.fmin:
            raise ValueError(f"fmax is {self.fmax:g} and fmin {self.fmin:g}; expected fmin < fmax")
        return self
