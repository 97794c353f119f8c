"""A pretrained model's preprocessing on tensors: the same as PIL's within a level, and refused where it cannot be."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.errors import BadInputError
from edgekd.teachers.preparation import Preparation, of_processor, of_timm

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2], "resample": 2, "rescale_factor": 1 / 255, "size": {"height": 16, "width": 16},
}  # fmt: skip
TIMM = {"input_size": [3, 8, 8], "interpolation": "bicubic", "crop_pct": 0.8, "mean": [0.5] * 3, "std": [0.5] * 3}


def tensor(image: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "number"), [("nearest", 0), ("bilinear", 2), ("bicubic", 3)])
@pytest.mark.parametrize("size", [(5, 7), (24, 40), (12, 9)], ids=["smaller", "larger", "mixed"])
def test_resizing_is_within_one_level_of_pil(name: str, number: int, size: tuple[int, int]) -> None:
    made = Preparation(resize=size, interpolation=name, scale=1.0)(tensor(PHOTO))
    wanted = np.asarray(Image.fromarray(PHOTO).resize((size[1], size[0]), Image.Resampling(number)), dtype=np.float32)
    assert np.abs(made[0].permute(1, 2, 0).numpy() - wanted).max() <= 1


def test_the_steps_of_a_processor_worked_by_hand() -> None:
    steps = of_processor(VIT | {"do_resize": False}, channels=3)
    grey = torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)  # 51 / 255 = 0.2
    expected = [(0.2 - 0.5) / 0.5, (0.2 - 0.4) / 0.25, (0.2 - 0.3) / 0.2]
    torch.testing.assert_close(steps(grey)[0, :, 0, 0], torch.tensor(expected))
    assert steps.words(channels=1) == (
        "grey repeated in 3 channels; raw x 0.00392157, mean [0.5, 0.4, 0.3], std [0.5, 0.25, 0.2]"
    )


def test_the_shorter_side_is_resized_and_the_centre_cut_out() -> None:
    config = VIT | {"size": {"shortest_edge": 6}, "do_center_crop": True, "crop_size": {"height": 4, "width": 4}}
    steps = of_processor(config, channels=3)
    assert (steps.shortest_edge, steps.crop, steps.resize) == (6, (4, 4), None)
    resized = Image.fromarray(PHOTO).resize((10, 6), Image.Resampling.BILINEAR)
    wanted = np.asarray(resized.crop((3, 1, 7, 5)), dtype=np.float32) / 255
    made = steps(tensor(PHOTO))[0].permute(1, 2, 0).numpy() * VIT["image_std"] + VIT["image_mean"]
    assert np.abs(made - wanted).max() <= 1.01 / 255
    assert "resize the shorter side to 6 (bilinear); centre crop 4x4" in steps.words(channels=3)


def test_an_image_smaller_than_the_crop_is_padded_with_zeros() -> None:
    made = Preparation(crop=(4, 3), scale=1.0, channels=1)(torch.full((1, 1, 2, 3), 9, dtype=torch.uint8))
    assert made[0, 0].tolist() == [[0, 0, 0], [9, 9, 9], [9, 9, 9], [0, 0, 0]]


def test_reversed_channels_are_reversed() -> None:
    config = {"do_rescale": False, "do_flip_channel_order": True}
    made = of_processor(config, channels=3)(torch.tensor([[[[1]], [[2]], [[3]]]], dtype=torch.uint8))
    assert made.flatten().tolist() == [3, 2, 1]


@pytest.mark.parametrize(("edge", "expected"), [(224, (256, (224, 224), None)), (384, (None, None, (384, 384)))])
def test_a_share_to_crop_is_read_as_transformers_reads_it(edge: int, expected: tuple[Any, ...]) -> None:
    steps = of_processor(VIT | {"size": {"shortest_edge": edge}, "crop_pct": 0.875}, channels=3)
    assert (steps.shortest_edge, steps.crop, steps.resize) == expected


def test_the_steps_of_timm_are_those_of_its_evaluation() -> None:
    steps = of_timm(TIMM)
    assert (steps.shortest_edge, steps.crop, steps.interpolation) == (10, (8, 8), "bicubic")
    squashed = of_timm(TIMM | {"crop_mode": "squash", "crop_pct": 1.0})
    assert (squashed.resize, squashed.shortest_edge) == ((8, 8), None)
    assert steps(tensor(PHOTO)).shape == (1, 3, 8, 8)


def test_an_odd_margin_is_cut_as_the_library_in_question_cuts_it() -> None:
    rows = torch.arange(7, dtype=torch.uint8).view(1, 1, 7, 1)
    cut = {
        kind: Preparation(crop=(4, 1), rounded=kind, scale=1.0, channels=1)(rows).flatten() for kind in (True, False)
    }
    assert cut[True].tolist() == [2, 3, 4, 5]  # torchvision: round(3 / 2) = 2
    assert cut[False].tolist() == [1, 2, 3, 4]  # transformers: 3 // 2 = 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (VIT | {"do_pad": True}, "switches do_pad on"),
        (VIT | {"resample": 1}, "PIL's filter 1"),
        (VIT | {"size": {"longest_edge": 5}}, "size = "),
        (VIT | {"image_mean": "half"}, "image_mean = 'half'"),
        (VIT | {"do_center_crop": True, "crop_size": [4]}, r"crop_size = \[4\]"),
    ],
)
def test_a_step_that_cannot_be_repeated_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        of_processor(config, channels=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "lanczos"}, "resizes by 'lanczos'"),
        ({"crop_mode": "border"}, "crops by mode 'border'"),
        ({"input_size": [3, 8, 9]}, "crops by mode 'center' to 8x9"),
    ],
)
def test_what_timm_does_otherwise_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        of_timm(TIMM | change)


def test_images_of_other_channels_are_refused() -> None:
    of_timm(TIMM).check(channels=1)
    with pytest.raises(BadInputError, match=r"takes 1 channel\(s\), the data has 3"):
        Preparation(channels=1).check(channels=3)
    with pytest.raises(BadInputError, match="declares 2 means and 1 deviations for 3"):
        Preparation(mean=(0.1, 0.2)).check(channels=3)
