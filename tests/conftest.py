"""What several test files share: small synthetic pictures, and a fixed number of threads."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EDITABLE = any(
    json.loads(found.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable", False)
    for found in distributions(name="edgekd")
)
if not EDITABLE:  # else `python -m pytest` would test the checkout, which lacks cli, models and targets
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

from edgekd.data.dataset import Dataset, Pool, Samples, split  # noqa: E402  only now is it the installed one

Draw = Callable[..., Samples]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: the order of its sums, and so the bytes of the weights, is fixed."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def draw() -> Draw:
    """A function that draws noisy pictures of classes which differ in the place of a bright bar."""

    def draw(count: int, *, classes: int = 3, size: int = 8, channels: int = 1, seed: int = 0) -> Samples:
        generator = np.random.default_rng(seed)
        labels = np.arange(count, dtype=np.int64) % classes
        images = generator.integers(0, 100, (count, size, size, channels), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[label * size // classes : (label + 1) * size // classes] += 120
        return Samples(images=images, labels=labels)

    return draw


@pytest.fixture(scope="session")
def dataset(draw: Draw) -> Dataset:
    """Three classes of 8x8 grey pictures: 96 to train on, 24 in each other split."""
    pool = Pool(classes=("top", "middle", "bottom"), train=draw(144), test=draw(24, seed=1))
    return split(
        pool, source="bars", seed=0, validation_fraction=1 / 6, calibration_samples=24, test_fraction=0.2
    )


@pytest.fixture
def npz_file(tmp_path: Path, draw: Draw) -> Path:
    """An .npz file of 90 pictures under x and y."""
    samples = draw(90)
    path = tmp_path / "bars.npz"
    np.savez(path, x=samples.images, y=samples.labels)
    return path


@pytest.fixture
def image_folder(tmp_path: Path, draw: Draw) -> Path:
    """A folder of 36 grey PNG files in three class folders."""
    from PIL import Image

    folder = tmp_path / "pictures"
    samples = draw(36)
    for index, (image, label) in enumerate(zip(samples.images, samples.labels, strict=True)):
        place = folder / ("top", "middle", "bottom")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{index:02d}.png")
    return folder
