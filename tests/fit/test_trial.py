"""One trial: what it says of a limit that could not be measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.data.dataset import Pool, split
from edgekd.fit.sizes import scales_of, sizes
from edgekd.fit.trial import Conditions, Limits, attempt
from edgekd.session import SessionOptions

pytestmark = pytest.mark.slow


def test_a_percentile_that_too_few_samples_leave_open_makes_the_trial_unclear(
    draw: Callable[..., object], tmp_path: Path
) -> None:
    pool = Pool(classes=("top", "middle", "bottom"), train=draw(60))  # type: ignore[arg-type]
    data = split(pool, source="bars", seed=0, validation_fraction=0.2, calibration_samples=12, test_fraction=0.2)
    here = Conditions(
        dataset=data,
        model="resnet8",
        variant="fp32",
        options=SessionOptions(threads=1),
        memory_bytes=1 << 30,
        isa="avx2",
        opset=18,
        input_layout="nhwc",
        batch_size=1,
        portable=False,
        saturation="safe",
        seed=0,
    )
    limit = {"max_p99_ms": 1000.0}
    limits = Limits(asked=limit, fitted=limit, sources={"max_p99_ms": "recipe"})
    smallest = sizes(data, "resnet8", scales_of("resnet8", {}), {})[0]
    trial = attempt(smallest, here, limits, folder=tmp_path, seconds=0.01)
    assert (trial.fit, trial.decided_by, trial.use) == ("unclear", "max_p99_ms", 0.0)
    assert "samples are needed" in trial.checks[0].note
