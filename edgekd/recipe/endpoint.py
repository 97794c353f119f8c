"""The recipe's section [teacher.endpoint]: where scores are asked for over HTTP, and how politely."""

from typing import Annotated, Literal

from pydantic import Field

from edgekd.recipe.section import Section

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Endpoint(Section):
    """An HTTP endpoint that answers with scores; docs/teachers.md has the request and the answer."""

    url: str = Field(
        description="http:// or https:// address that is asked by POST. Whoever reads the run folder reads it: secrets "
        "belong into `headers`."
    )
    headers: dict[str, Variable] = Field(
        default_factory=dict,
        description="Header -> environment variable that holds its value: `{ Authorization = 'SCORES_TOKEN' }`. The "
        "value is sent and written nowhere.",
    )
    encoding: Literal["base64", "list"] = Field(
        default="base64",
        description="How inputs are written: `base64` of their bytes (little-endian, C order), or a nested `list`. "
        "Default base64: a quarter of the size and the time.",
    )
    inputs_key: str = Field(default="inputs", min_length=1, description="The key of the inputs in a request.")
    scores_key: str | None = Field(
        default=None, description="The key of the scores in an answer. Default: `scores`, else `outputs`."
    )
    batch_size: int = Field(default=64, ge=1, le=4096, description="Samples a request. Default 64.")
    concurrency: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Requests under way at once, at most 8. Default 2: one travels, one computes.",
    )
    requests_per_second: float | None = Field(
        default=None, gt=0, description="At most so many requests a second, further tries included. Default: no limit."
    )
    timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds for one try, from connecting to the last byte. Default 60."
    )
    retries: int = Field(
        default=5,
        ge=0,
        le=20,
        description="Further tries after no answer, 429 or 5xx; never after another 4xx. Default 5.",
    )
    backoff_s: float = Field(
        default=1.0,
        gt=0,
        description="Before try n + 1 a random time of up to this × 2^n seconds passes (full jitter, AWS Architecture "
        "Blog 2015), and what Retry-After asks for. Default 1.",
    )
    max_wait_s: float = Field(
        default=60.0,
        gt=0,
        description="The longest wait between two tries, seconds; one who asks for more ends the run, which the same "
        "command goes on with. Default 60.",
    )
    version: str = Field(
        default="", description="Change it when another model answers behind the same url: then all is asked anew."
    )
    cache_folder: str | None = Field(
        default=None,
        description="Where answers are kept for good, relative to the recipe. Default: $EDGEKD_CACHE, else "
        "~/.cache/edgekd, below `endpoint-answers`.",
    )
