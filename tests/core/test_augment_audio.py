"""Views of sound: shifted whole, noise of the size asked for, and the same whoever asks."""

import pytest
import torch
from torch import Tensor

from edgekd.core.augment_audio import AudioAugmentation

CPU = torch.device("cpu")


def seen(augmentation: AudioAugmentation, clips: Tensor, index: Tensor, *, view: int = 0, seed: int = 0) -> Tensor:
    drawn = augmentation.draw(seed=seed, view=view, samples=len(clips), size=tuple(clips.shape[1:]), device=CPU)
    assert drawn.needed(index) is index
    return drawn.inputs(clips[index], index)


@pytest.fixture
def clips() -> Tensor:
    """40 clips of 200 samples, 1, 2, 3, … so that a shift can be read off."""
    return torch.arange(1, 201, dtype=torch.int16).repeat(40, 1)


def test_a_shift_moves_the_whole_clip_and_fills_with_silence(clips: Tensor) -> None:
    shifted = seen(AudioAugmentation(shift=30), clips, torch.arange(40))
    assert shifted.dtype == torch.int16
    steps = set()
    for clip in shifted:
        step = next(k for k in range(-30, 31) if torch.equal(clip, moved(clips[0], k)))
        steps.add(step)
    assert min(steps) < -10 and max(steps) > 10


def moved(clip: Tensor, step: int) -> Tensor:
    silent = torch.zeros(abs(step), dtype=clip.dtype)
    return torch.cat([silent, clip[:-step]]) if step > 0 else torch.cat([clip[-step:], silent]) if step else clip


def test_noise_is_a_share_of_the_clips_own_loudness() -> None:
    tone = (10_000 * torch.sin(torch.arange(8_000) / 5)).to(torch.int16).repeat(400, 1)
    quiet = (tone.float() / 100).to(torch.int16)
    for clips in (tone, quiet):
        noise = (seen(AudioAugmentation(noise=0.1), clips, torch.arange(400)) - clips).float()
        loudness = clips[0].float().square().mean().sqrt()
        share = noise.std(dim=1) / loudness
        # Each clip's share is even in [0, 0.1): its mean 0.05 with a standard error of 0.1 / sqrt(12 * 400) = 0.0014.
        assert abs(float(share.mean()) - 0.05) < 0.006
        assert float(share.max()) < 0.11


def test_a_loud_clip_is_cut_off_and_does_not_wrap_around() -> None:
    loud = torch.full((1, 1_000), 32_767, dtype=torch.int16)
    noisy = seen(AudioAugmentation(noise=1.0), loud, torch.arange(1))
    assert noisy.max() == 32_767 and noisy.float().mean() > 20_000


def test_silence_stays_silence() -> None:
    silence = torch.zeros(2, 100, dtype=torch.int16)
    assert not seen(AudioAugmentation(shift=10, noise=1.0), silence, torch.arange(2)).any()


def test_a_clip_is_the_same_in_any_batch_and_another_in_another_view_or_seed(clips: Tensor) -> None:
    augmentation = AudioAugmentation(shift=30, noise=0.5)
    whole = seen(augmentation, clips, torch.arange(40))
    backwards = seen(augmentation, clips, torch.arange(39, -1, -1))
    assert torch.equal(whole, backwards.flip(0))
    assert not torch.equal(whole, seen(augmentation, clips, torch.arange(40), view=1))
    assert not torch.equal(whole, seen(augmentation, clips, torch.arange(40), seed=1))


def test_without_augmentation_views_are_the_clips(clips: Tensor) -> None:
    plain = AudioAugmentation()
    assert not plain.random and not plain.mixes
    assert seen(plain, clips, torch.arange(3)) is not None
    assert torch.equal(seen(plain, clips, torch.arange(3)), clips[:3])
    labels = torch.tensor([4, 5, 6])
    drawn = plain.draw(seed=0, view=0, samples=3, size=(200,), device=CPU)
    assert drawn.targets(labels, torch.tensor([2, 0]), classes=7).tolist() == [6, 4]
