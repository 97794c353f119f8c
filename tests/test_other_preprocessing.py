"""Every way to read a file otherwise than in training is found by `edgekd verify`, though all hashes agree."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd import bundle

from .bundles import failed
from .file_bundles import SOURCES, make, tampered

pytestmark = pytest.mark.slow

DIFFERS = "decoded tensor differs"

CASES = {
    "image: blue first": (
        "read_picture.py",
        "return np.asarray(picture, dtype=np.uint8)",
        "return np.asarray(picture, dtype=np.uint8)[..., ::-1]",
        "its channels stand in another order, [2, 1, 0]",
    ),
    "image: another filter": (
        "read_picture.py",
        "Image.Resampling[to.filter.upper()]",
        "Image.Resampling.BILINEAR",
        "resized by 'bilinear', 'crop' and not by 'bicubic', 'crop'",
    ),
    "image: stretched": (
        "read_picture.py",
        'if to.mode == "stretch"',
        'if to.mode == "crop"',
        "resized by 'bicubic', 'stretch' and not by 'bicubic', 'crop'",
    ),
    "image: a crop of the corner": ("read_picture.py", "left, top = ", "left, top = 0 * ", DIFFERS),
    "image: fed by another hand": (
        "infer.py",
        "np.repeat(sample[None], size, axis=0)",
        "np.repeat(sample[None][..., ::-1], size, axis=0)",
        "network outputs differ",
    ),
    "audio: silence in front": (
        "read_wav.py",
        "(0, max(0, length - len(samples)))",
        "(max(0, length - len(samples)), 0)",
        DIFFERS,
    ),
    "audio: cut at its beginning": ("read_wav.py", "samples[:length]", "samples[-length:]", DIFFERS),
    "series: columns by place": (
        "read_window.py",
        'facts["channels"] or header',
        "sorted(header, reverse=True)",
        "its channels stand in another order, [1, 0]",
    ),
    "series: newest first": ("read_window.py", "return window", "return window[::-1]", DIFFERS),
    "text: lower case": ("read_text.py", "[text], max_tokens", "[text.lower()], max_tokens", DIFFERS),
    "text: cut at its beginning": ("read_text.py", 'direction="right"', 'direction="left"', DIFFERS),
    "text: padded in front": (
        "read_text.py",
        "tokens[row, : len(found.ids)]",
        "tokens[row, max_tokens - len(found.ids) :]",
        DIFFERS,
    ),
}
"""What is done -> the file, what it said, what it says, and a part of the message."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each kind."""
    root = tmp_path_factory.mktemp("kinds")
    return {kind: make(root / kind, source(root / kind / "source")) for kind, source in SOURCES.items()}


@pytest.mark.parametrize("case", CASES)
def test_other_preprocessing_is_named_even_when_all_hashes_agree(
    case: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    name, old, new, message = CASES[case]
    whole = bundles[case.partition(":")[0]]
    assert bundle.verify(whole).passed is True
    wrong = failed(bundle.verify(tampered(whole, tmp_path / "b", name, old, new)))
    assert any(message in detail for detail in wrong.values()), wrong
    assert wrong.keys() <= {"sample files", "infer.py"}


def test_the_command_answers_1_and_says_what_differs(bundles: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekd.cli", "verify", "--json"]
    name, old, new, message = CASES["image: another filter"]
    folder = tampered(bundles["image"], tmp_path / "b", name, old, new)
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and message in done.stdout
    done = subprocess.run([*command, str(folder), "--no-infer"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
