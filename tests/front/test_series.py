"""The front of sensor readings: z-scores of each channel, inside the exported graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd import front
from edgekd.errors import BadInputError
from edgekd.export import describe, export
from edgekd.front import Series
from edgekd.network import Card, Network, build, load_student, save
from edgekd.session import SessionOptions, facts, open_session

READINGS = (np.random.default_rng(0).normal([0.0, 100.0, -3.0], [1.0, 5.0, 0.1], (40, 24, 3))).astype(np.float32)


def test_the_statistics_are_numpys_of_each_channel_over_all_readings() -> None:
    mean, std = Series.statistics(READINGS, {})
    assert mean == pytest.approx(READINGS.astype(np.float64).mean(axis=(0, 1)).tolist())
    assert std == pytest.approx(READINGS.astype(np.float64).std(axis=(0, 1)).tolist())


def test_an_offset_a_million_times_the_spread_keeps_its_spread_and_a_constant_channel_gets_one() -> None:
    alternating = np.full((2, 4, 2), 1e6, dtype=np.float32)
    alternating[:, ::2, 0] += 1  # 1,000,001 and 1,000,000: deviation 0.5 by hand; float32 sums would lose it
    mean, std = Series.statistics(alternating, {})
    assert mean == (1_000_000.5, 1_000_000.0)
    assert std == (0.5, 1.0)


def test_channels_come_before_time_and_are_standardised() -> None:
    made = front.build("series", {"channels": ["a", "b"]}, mean=(1.0, 10.0), std=(2.0, 5.0))
    out = made(torch.tensor([[[1.0, 10.0], [3.0, 0.0], [5.0, 20.0]]]))
    assert out.tolist() == [[[0.0, 1.0, 2.0], [0.0, -2.0, 2.0]]]


def test_a_saved_student_brings_its_kind_channels_and_numbers_along(tmp_path: Path) -> None:
    card = Card(
        model="ds_cnn_1d", classes=("a", "b"), channels=3, options={"width": 0.25}, facts={}, kind="series",
        front={"channels": ["x", "y", "z"]},
    )  # fmt: skip
    made = build(card, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)).eval()
    save(made, tmp_path / "a.safetensors", card)
    loaded, read = load_student(tmp_path / "a.safetensors")
    assert read == card
    assert loaded.front.describe()["series"] == {"channels": ["x", "y", "z"]}
    raw = torch.from_numpy(READINGS)
    assert torch.equal(loaded(raw), made(raw))


def test_the_exported_file_takes_raw_readings_in_any_batch_and_says_what_they_are(tmp_path: Path) -> None:
    mean, std = Series.statistics(READINGS, {})
    made = Network(nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), Series(mean=mean, std=std, channels=("x", "y", "z")))
    metadata = describe(made, classes=("a", "b"), input_layout="nhwc")
    exported = export(
        made, tmp_path / "m.onnx", inputs=READINGS, opset=18, input_layout="nhwc", tolerance=1e-4, metadata=metadata
    )
    assert (exported.input_name, exported.input_layout) == ("series", "nlc")
    session = open_session(tmp_path / "m.onnx", SessionOptions(threads=1))
    known = facts(session, tmp_path / "m.onnx")
    assert (known.dtype, tuple(known.shape)) == ("float32", (None, 24, 3))
    assert known.metadata["preprocessing"]["series"] == {"channels": ["x", "y", "z"]}
    with torch.no_grad():
        ours = made(torch.from_numpy(READINGS)).numpy()
    assert np.allclose(session.run(None, {"series": READINGS})[0], ours, atol=1e-4)


def test_a_kind_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInputError, match=r"data of kind 'smell'; expected one of: image, "):
        front.build("smell", {}, mean=(), std=())
