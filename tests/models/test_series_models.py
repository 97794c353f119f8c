"""Networks for sensor readings, and which networks fit which data."""

import pytest
import torch
import torch.nn.functional as F

from edgekd import models
from edgekd.errors import BadInputError
from edgekd.models.count import count_macs
from edgekd.models.series import along_time


@pytest.mark.parametrize(("name", "classes"), [("resnet_1d", 2), ("ds_cnn_1d", 12)])
def test_the_parameters_are_those_counted_by_hand(name: str, classes: int) -> None:
    found = models.describe(name, num_classes=classes, input_shape=(1, 100)).parameters
    assert found == models.MODELS[name].published_parameters


def test_a_depthwise_network_costs_what_its_layers_do_by_hand() -> None:
    # 3 channels, 100 readings: 50 steps of 64 x 3 x 10; four of 50 x 64 x (3 + 64); 64 x 5.
    network = models.build("ds_cnn_1d", num_classes=5, in_channels=3)
    assert count_macs(network, input_shape=(3, 100)) == 50 * 64 * 30 + 4 * 50 * 64 * 67 + 64 * 5


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(8, 1, 1), (5, 1, 1), (10, 2, 1), (3, 1, 4)])
@pytest.mark.parametrize("length", [16, 17])
def test_a_convolution_over_a_map_of_height_one_is_the_one_along_time(
    kernel: int, stride: int, groups: int, length: int
) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(*along_time(4, 8, kernel, stride=stride, groups=groups)[:-1])
    x = torch.randn(2, 4, length)
    weight = layers[-1].weight[:, :, 0]
    padded = F.pad(x, ((kernel - 1) // 2, kernel // 2))
    expected = F.conv1d(padded, weight, stride=stride, groups=groups)
    assert expected.shape[-1] == -(-length // stride)
    torch.testing.assert_close(layers(x[:, :, None])[:, :, 0], expected)


@pytest.mark.parametrize("name", ["resnet_1d", "ds_cnn_1d"])
@pytest.mark.parametrize("width", [0.1, 0.5, 1.0])
def test_any_length_and_width_gives_logits(name: str, width: float) -> None:
    network = models.build(name, num_classes=3, in_channels=2, options={"width": width}).eval()
    for length in (models.MODELS[name].shortest, 50):
        assert network(torch.randn(2, 2, length)).shape == (2, 3)


def test_a_network_of_another_kind_is_refused_with_those_that_fit() -> None:
    with pytest.raises(BadInputError, match=r"'resnet8' takes data of kind image.*kind series.*resnet_1d, ds_cnn_1d"):
        models.check_kind("resnet8", kind="series", length=100)
    with pytest.raises(BadInputError, match=r"'ds_cnn_1d' takes data of kind series, .* kind image"):
        models.check_kind("ds_cnn_1d", kind="image")
    models.check_kind("resnet_1d", kind="series", length=20)
    models.check_kind("mine.py:net", kind="series", length=1)


def test_windows_that_are_too_short_are_refused_with_the_least_length() -> None:
    with pytest.raises(
        BadInputError, match=r"windows of 15 readings are shorter than model 'resnet_1d' needs, at least 20; cut longer"
    ):
        models.check_kind("resnet_1d", kind="series", length=15)
    with pytest.raises(BadInputError, match=r"or take one of: ds_cnn_1d$"):
        models.check_kind("resnet_1d", kind="series", length=15)
