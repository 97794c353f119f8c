"""One file gives the same tensor in training, in validation and in the bundle's infer.py, for every kind of data."""

import json
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from edgekd import bundle, front, pixels, prepare, session
from edgekd.data import Dataset
from edgekd.export import describe, export
from edgekd.network import Network
from edgekd.session import SessionOptions

from .bundles import failed, rehash
from .file_bundles import SOURCES, make, tampered

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

TOLERANCE = 1e-4
"""Of a logit, between torch and ONNX Runtime: float32 sums of some hundred products of about 1, in another order."""

READ = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import infer
facts, manifest = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("session", "manifest"))
read = [infer.read_sample(name, facts["input"], manifest["preprocessing"]) for name in sys.argv[3:]]
opened = infer.open_session(f"{sys.argv[1]}/model.onnx", facts)
np.savez(sys.argv[2], inputs=np.stack(read), logits=np.stack([infer.infer(opened, facts, one)[0] for one in read]))
"""


def odd_pictures(root: Path) -> Dataset:
    """PNG and JPEG in every mode, of several sizes, one of them turned by its EXIF orientation."""
    draw = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 8
    ways: dict[str, Callable[[Image.Image, Path], None]] = {
        "plain.png": lambda picture, path: picture.save(path),
        "plain.jpg": lambda picture, path: picture.save(path),
        "turned.jpeg": lambda picture, path: picture.save(path, exif=exif),
        "grey.png": lambda picture, path: picture.convert("L").save(path),
        "alpha.png": lambda picture, path: picture.convert("RGBA").rotate(20).save(path),
        "palette.png": lambda picture, path: picture.quantize(16).save(path),
    }
    for part, count in (("train", 4), ("test", 1)):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                for file, save in ways.items():
                    pixels_ = draw.integers(0, 256, (17 + 3 * k, 23, 3), dtype=np.uint8)
                    save(Image.fromarray(pixels_), root / part / name / f"{k} {file}")
    from edgekd.data import load
    from edgekd.data.read_picture import Resize

    return load(str(root), resize=Resize(9, 8, "lanczos", "pad"), calibration_samples=4)


KINDS = {**SOURCES, "image": odd_pictures}


class Mean(nn.Module):
    """Over the tokens of a text, as many as there are."""

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        return embedded.mean(dim=1)


def body(data: Dataset, shape: torch.Size) -> nn.Module:
    """A linear classifier; of texts, one of the mean of their tokens' embeddings."""
    torch.manual_seed(0)
    if data.kind == "text":
        return nn.Sequential(nn.Embedding(int(data.front["vocabulary"]), 4), Mean(), nn.Linear(4, 2))
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), 2))


class Made:
    """A kind's data, network, exported file and bundle."""

    def __init__(self, kind: str, root: Path) -> None:
        self.data = KINDS[kind](root / "source")
        mean, std = pixels.channel_statistics(self.data)
        before = front.build(kind, self.data.front, mean=mean, std=std)
        self.raw = np.asarray(self.data.test.inputs)
        with torch.no_grad():
            shape = before(self.tensor()).shape
        self.network = Network(body(self.data, shape), before).eval()
        self.model = root / "model.onnx"
        said = describe(self.network, classes=self.data.classes, input_layout="nhwc")
        export(self.network, self.model, inputs=self.raw, opset=18, input_layout="nhwc", tolerance=1e-3, metadata=said)
        self.bundle = make(root, self.data, model=self.model)

    def tensor(self) -> torch.Tensor:
        """The test split as training places it."""
        return front.of(self.data.kind).to_tensor(self.raw, torch.device("cpu"))

    def files(self, folder: Path) -> list[str]:
        """The file of each test sample."""
        assert self.data.original is not None and self.data.test.ids is not None
        paths = []
        for row, name in enumerate(self.data.test.ids):
            file = self.data.original(str(name))
            paths.append(folder / f"{row}{file.suffix}")
            paths[-1].write_bytes(file.content)
        return list(map(str, paths))


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    if request.param == "text":
        pytest.importorskip("tokenizers")
    return Made(request.param, tmp_path_factory.mktemp(request.param))


def rows(inputs: npt.NDArray[Any]) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(inputs)}


def test_one_file_gives_one_tensor_in_training_validation_and_infer(made: Made, tmp_path: Path) -> None:
    with torch.no_grad():
        trained = made.network(made.tensor()).numpy()
    opened = session.open_session(made.model, SessionOptions(threads=1))
    known = session.facts(opened, made.model)
    source = Path(made.data.source)
    validated = prepare.load_data(made.model, source, known).test
    assert validated.inputs.dtype == made.raw.dtype
    assert rows(made.raw) <= rows(validated.inputs), "a file without a test part is validated as a whole"
    answered = np.concatenate([opened.run(None, {known.input_name: one[None]})[0] for one in made.raw])
    files = made.files(tmp_path)
    command = [sys.executable, "-c", READ, str(made.bundle), str(tmp_path / "out.npz"), *files]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz")
    assert out["inputs"].dtype == made.raw.dtype and np.array_equal(out["inputs"], made.raw)
    assert np.array_equal(out["logits"], answered)
    assert np.abs(trained - answered).max() <= TOLERANCE * max(1.0, np.abs(trained).max())


def test_the_description_stands_in_the_model_and_in_the_manifest(made: Made) -> None:
    verified = bundle.verify(made.bundle)
    assert verified.passed is True, verified.checks
    manifest = json.loads((made.bundle / "manifest.json").read_text())
    metadata = {e.key: e.value for e in onnx.load(str(made.bundle / "model.onnx")).metadata_props}
    assert manifest["preprocessing"] == json.loads(metadata["edgekd"])["preprocessing"]
    wanted = {
        "image": {"size", "colour", "resize", "orientation", "alpha", "dtype"},
        "audio": {"sample_rate", "mono", "samples", "longer", "shorter"},
        "series": {"channels", "length", "other_lengths"},
        "text": {"vocabulary", "max_tokens", "tokenizer_sha256", "lowercase", "padding", "padded_at", "cut_at"},
    }
    assert set(manifest["preprocessing"][made.data.kind]) == wanted[made.data.kind]
    assert manifest["preprocessing"]["inside_graph"] is (made.data.kind != "text")


def test_numbers_of_the_front_end_that_change_in_the_graph_show_in_the_outputs(made: Made, tmp_path: Path) -> None:
    """Mean and deviation of pictures, windows and sound, and the filter bank of sound."""
    if made.data.kind == "text":
        pytest.skip("nothing is done to token numbers in the graph")
    folder = tampered(made.bundle, tmp_path / "b", "README.txt", "verify", "verify")
    names = ["mean", "std", *(["bank", "fourier"] if made.data.kind == "audio" else [])]
    for name in names:
        model = onnx.load(str(made.bundle / "model.onnx"))
        tensors = [t for t in model.graph.initializer if t.name.split(".")[-1] == name]
        assert tensors, [t.name for t in model.graph.initializer]
        for tensor in tensors:
            value = np.roll(numpy_helper.to_array(tensor), 1, axis=0) * np.float32(1.5) + np.float32(0.5)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        onnx.save(model, str(folder / "model.onnx"))
        rehash(folder, "model.onnx")
        assert "outputs" in failed(bundle.verify(folder)), name


def test_other_parameters_in_the_models_own_description_are_named(made: Made, tmp_path: Path) -> None:
    part, key, value = {
        "image": ("image", "colour", "BGR"),
        "audio": ("log_mel", "mels", 7),
        "series": ("series", "channels", ["ay", "ax"]),
        "text": ("text", "lowercase", True),
    }[made.data.kind]
    folder = tampered(made.bundle, tmp_path / "b", "README.txt", "verify", "verify")
    model = onnx.load(str(folder / "model.onnx"))
    entry = next(entry for entry in model.metadata_props if entry.key == "edgekd")
    document = json.loads(entry.value)
    document["preprocessing"][part][key] = value
    entry.value = json.dumps(document)
    onnx.save(model, str(folder / "model.onnx"))
    rehash(folder, "model.onnx")
    assert f"{part}.{key} is" in failed(bundle.verify(folder))["preprocessing"]


def test_a_clip_is_cut_and_padded_as_in_training(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    audio = Made("audio", tmp_path_factory.mktemp("clips"))
    length = audio.raw.shape[1]
    for count in (1, length - 1, length, length + 1, 3 * length):
        samples = np.arange(1, count + 1, dtype="<i2")
        with wave.open(str(tmp_path / f"{count}.wav"), "wb") as file:
            file.setparams((1, 2, 4_000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        command = [
            sys.executable,
            "-c",
            READ,
            str(audio.bundle),
            str(tmp_path / "o.npz"),
            str(tmp_path / f"{count}.wav"),
        ]
        assert subprocess.run(command, cwd="/", check=False).returncode == 0
        expected = np.zeros(length, dtype=np.int16)
        expected[: min(count, length)] = samples[:length]
        assert np.array_equal(np.load(tmp_path / "o.npz")["inputs"][0], expected)
