"""From numpy to tensors: devices, layouts, statistics."""

import numpy as np
import pytest
import torch

from edgekd.core.source import Resident, Streamed
from edgekd.data import Samples
from edgekd.errors import EnvironmentFault
from edgekd.front import Pixels
from edgekd.pixels import choose_device, choose_precision, place, spread, to_tensor, top1


def test_channel_statistics_are_numpys_of_each_channel_and_a_constant_channel_is_left_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    images[..., 2] = 51
    mean, std = Pixels.statistics(images, {})
    scaled = images / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)).tolist())
    assert std == pytest.approx([*scaled.std(axis=(0, 1, 2))[:2].tolist(), 1.0])
    assert mean[2] == pytest.approx(0.2)


def test_pixels_keep_their_values_on_the_way_to_channels_first() -> None:
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    tensor = to_tensor(images, torch.device("cpu"))
    assert tensor.dtype == torch.uint8
    assert np.array_equal(tensor.numpy().transpose(0, 2, 3, 1), images)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_not_there_is_a_fault_of_the_environment() -> None:
    with pytest.raises(EnvironmentFault, match="torch sees no CUDA device; install a CUDA build of torch, or set"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_precision_auto_is_fp32_on_a_cpu_and_what_was_asked_for_stays() -> None:
    cpu = torch.device("cpu")
    assert [choose_precision(wanted, cpu) for wanted in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]


def test_samples_are_resident_on_a_cpu_and_streamed_where_workers_are_asked_for() -> None:
    samples = Samples(inputs=np.zeros((6, 4, 4, 1), dtype=np.uint8), labels=np.arange(6))
    cpu = torch.device("cpu")
    assert isinstance(place(samples, cpu), Resident)
    assert isinstance(place(samples, cpu, workers=0), Resident)
    assert isinstance(place(samples, cpu, workers=1), Streamed)


def test_samples_are_spread_over_the_whole_and_accuracy_is_the_share_of_the_right() -> None:
    samples = Samples(inputs=np.zeros((10, 1, 1, 1), dtype=np.uint8), labels=np.arange(10) % 2)
    assert len(spread(samples, 4)) == 4
    assert len(spread(samples, 40)) == 10
    logits = torch.tensor([[1.0, 0.0]]).expand(10, -1)
    assert top1(logits, samples) == 0.5
