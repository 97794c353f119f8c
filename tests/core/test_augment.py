"""Views: crops, mirrors and mixes of what came in, each sample's fixed by (seed, view, sample)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from edgekd.core.augment import Augmentation, View, draw

IMAGES = torch.randint(0, 256, (16, 3, 5, 6), dtype=torch.uint8, generator=Generator().manual_seed(0))
LABELS = torch.arange(16) % 4
ALL = torch.arange(16)
CPU = torch.device("cpu")


def view(augmentation: Augmentation, *, samples: int = 16, size: tuple[int, int] = (5, 6), **where: int) -> View:
    return draw(augmentation, samples=samples, size=size, device=CPU, **{"seed": 1, "view": 0, **where})


def pictures(drawn: View, index: Tensor = ALL, images: Tensor = IMAGES) -> Tensor:
    return drawn.inputs(images[drawn.needed(index)], index)


def crops(image: Tensor, padding: int) -> list[Tensor]:
    """Every image of the same size in the zero-padded one."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (padding,) * 4)
    return [padded[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]


def test_every_picture_is_a_crop_of_the_image_or_the_mirror_image_of_one() -> None:
    out = pictures(view(Augmentation(crop_padding=2, flip=True)))
    assert (out.shape, out.dtype) == (IMAGES.shape, torch.uint8)
    for before, after in zip(IMAGES, out, strict=True):
        assert any(torch.equal(after, crop) or torch.equal(after.flip(-1), crop) for crop in crops(before, 2))


def test_every_offset_of_the_padding_occurs_and_none_other() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5)
    many = image.expand(2000, -1, -1, -1)
    out = pictures(view(Augmentation(crop_padding=1), samples=2000, size=(5, 5)), torch.arange(2000), many)
    assert {tuple(crop.flatten().tolist()) for crop in crops(image[0], 1)} == {tuple(p.flatten().tolist()) for p in out}


def test_a_flip_alone_gives_each_image_or_its_mirror_image_about_half_the_time() -> None:
    out = pictures(view(Augmentation(flip=True), samples=1000), torch.arange(1000), IMAGES[:1].expand(1000, -1, -1, -1))
    mirrored = sum(bool(torch.equal(image, IMAGES[0].flip(-1))) for image in out)
    assert mirrored + sum(bool(torch.equal(image, IMAGES[0])) for image in out) == 1000
    assert 420 < mirrored < 580  # five standard deviations of a fair coin


@pytest.mark.parametrize("augmentation", [Augmentation(crop_padding=2, flip=True), Augmentation(mixup=0.4, cutmix=1.0)])
def test_a_picture_is_the_same_in_any_order_and_company_and_another_in_another_view(augmentation: Augmentation) -> None:
    drawn = view(augmentation)
    whole = pictures(drawn)
    torch.manual_seed(99)  # the global generator plays no part
    turned = torch.tensor([7, 3, 11])
    assert torch.equal(pictures(view(augmentation), turned), whole[turned])
    assert torch.equal(
        view(augmentation).targets(LABELS, turned, classes=4), drawn.targets(LABELS, ALL, classes=4)[turned]
    )
    assert not torch.equal(pictures(view(augmentation, view=1)), whole)
    assert not torch.equal(pictures(view(augmentation, seed=2)), whole)


def test_switching_mirroring_off_leaves_the_crops_as_they_were() -> None:
    both, crop = view(Augmentation(crop_padding=2, flip=True)), view(Augmentation(crop_padding=2))
    assert both.offsets is not None
    assert crop.offsets is not None
    assert torch.equal(both.offsets, crop.offsets)


def test_without_augmentation_pictures_and_labels_are_what_came_in() -> None:
    nothing = Augmentation()
    assert not nothing.random
    drawn = view(nothing)
    assert torch.equal(pictures(drawn), IMAGES)
    assert torch.equal(drawn.targets(LABELS, ALL, classes=4), LABELS)


def test_mixup_blends_two_pictures_and_their_labels_by_the_same_share() -> None:
    drawn = view(Augmentation(mixup=0.8))
    assert drawn.partner is not None
    assert drawn.share is not None
    share = drawn.share[:, None, None, None].double()
    blend = share * IMAGES + (1 - share) * IMAGES[drawn.partner]
    # Rounded to whole pixel values: off by half of one at most.
    assert (pictures(drawn).double() - blend).abs().max() <= 0.5 + 1e-4
    soft = drawn.targets(LABELS, ALL, classes=4)
    hard, other = F.one_hot(LABELS, 4), F.one_hot(LABELS[drawn.partner], 4)
    torch.testing.assert_close(soft, drawn.share[:, None] * hard + (1 - drawn.share[:, None]) * other)
    torch.testing.assert_close(soft.sum(-1), torch.ones(16))


def test_cutmix_takes_a_box_from_the_partner_and_its_area_is_the_partners_share_of_the_label() -> None:
    drawn = view(Augmentation(cutmix=1.0), samples=200, size=(8, 8))
    black, white = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    index = torch.arange(200)
    out = drawn.inputs(torch.cat([black.expand(200, -1, -1, -1), white.expand(200, -1, -1, -1)]), index)
    assert drawn.share is not None
    assert set(out.unique().tolist()) == {0, 255}  # pixels are taken whole
    white_share = (out == 255).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(white_share, 1 - drawn.share, atol=1e-6, rtol=0)
    assert 0.2 < float(white_share.mean()) < 0.6  # Beta(1, 1) is uniform; the border cuts boxes off
    assert len(white_share.unique()) > 20


def test_with_both_mixes_each_sample_takes_one() -> None:
    drawn = view(Augmentation(mixup=0.2, cutmix=1.0), samples=400)
    assert drawn.box is not None
    cut = (drawn.box[1] > drawn.box[0]).float().mean()
    assert 0.35 < float(cut) < 0.65
