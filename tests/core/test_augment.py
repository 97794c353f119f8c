"""Augmentation: only crops and mirrors of what came in, fixed by the generator."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.core.augment import augment, random_crop

IMAGES = torch.randint(0, 256, (16, 3, 5, 6), dtype=torch.uint8, generator=Generator().manual_seed(0))


def seeded(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def crops(image: Tensor, padding: int) -> list[Tensor]:
    """Every image of the same size in the zero-padded one."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (padding,) * 4)
    return [padded[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]


def test_every_output_is_a_crop_of_the_image_or_of_its_mirror_image() -> None:
    out = augment(IMAGES, crop_padding=2, flip=True, generator=seeded())
    assert (out.shape, out.dtype) == (IMAGES.shape, torch.uint8)
    for before, after in zip(IMAGES, out, strict=True):
        assert any(torch.equal(after, crop) for crop in crops(before, 2) + crops(before.flip(-1), 2))


def test_a_crop_alone_does_not_mirror_and_images_get_offsets_of_their_own() -> None:
    out = random_crop(IMAGES, padding=1, generator=seeded())
    found = [
        next(i for i, crop in enumerate(crops(before, 1)) if torch.equal(after, crop))
        for before, after in zip(IMAGES, out, strict=True)
    ]
    assert len(set(found)) > 4


def test_every_offset_of_the_padding_occurs() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5)
    out = random_crop(image.expand(2000, -1, -1, -1), padding=1, generator=seeded())
    assert {tuple(crop.flatten().tolist()) for crop in crops(image[0], 1)} == {
        tuple(crop.flatten().tolist()) for crop in out
    }


def test_a_flip_alone_gives_each_image_or_its_mirror_image_about_half_the_time() -> None:
    out = augment(IMAGES[:1].expand(1000, -1, -1, -1), crop_padding=0, flip=True, generator=seeded())
    mirrored = sum(bool(torch.equal(image, IMAGES[0].flip(-1))) for image in out)
    assert mirrored + sum(bool(torch.equal(image, IMAGES[0])) for image in out) == 1000
    assert 420 < mirrored < 580  # five standard deviations of a fair coin


def test_the_generator_alone_decides() -> None:
    first = augment(IMAGES, crop_padding=2, flip=True, generator=seeded())
    torch.manual_seed(99)
    assert torch.equal(augment(IMAGES, crop_padding=2, flip=True, generator=seeded()), first)
    assert not torch.equal(augment(IMAGES, crop_padding=2, flip=True, generator=seeded(2)), first)


def test_no_padding_and_no_flip_is_the_identity_and_draws_nothing() -> None:
    generator = seeded()
    before = generator.get_state()
    assert torch.equal(augment(IMAGES, crop_padding=0, flip=False, generator=generator), IMAGES)
    assert torch.equal(generator.get_state(), before)
