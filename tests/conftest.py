"""What several test files share: small synthetic pictures, and a fixed number of threads."""

import gc
import json
import platform
import shutil
import subprocess
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


def pytest_collection_finish() -> None:
    """Garbage is looked for seldom, and not in what imports and collection made: a quarter of an export's time else."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


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
        return Samples(inputs=images, labels=labels)

    return draw


@pytest.fixture(scope="session")
def dataset(draw: Draw) -> Dataset:
    """Three classes of 8x8 grey pictures: 96 to train on, 24 in each other split."""
    pool = Pool(classes=("top", "middle", "bottom"), train=draw(144), test=draw(24, seed=1))
    return split(pool, source="bars", seed=0, validation_fraction=1 / 6, calibration_samples=24, test_fraction=0.2)


@pytest.fixture(scope="session")
def teacher_file(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resnet8 trained on labels alone until it tells the bars apart."""
    import torch

    from edgekd import pixels
    from edgekd.core.augment import Augmentation
    from edgekd.core.optimizer import Settings
    from edgekd.distill import Method, distill

    folder = tmp_path_factory.mktemp("teacher")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = distill(
        dataset,
        pixels.place(dataset.train, torch.device("cpu")),
        student="resnet8",
        options={},
        method=Method(name="ce"),
        settings=Settings(
            epochs=6, batch_size=8, learning_rate=0.02, augmentation=Augmentation(crop_padding=1), seed=1
        ),
        folder=folder,
        key="t",
    )
    torch.set_num_threads(before)
    return folder / made.weights


@pytest.fixture
def npz_file(tmp_path: Path, draw: Draw) -> Path:
    """An .npz file of 90 pictures under x and y."""
    samples = draw(90)
    path = tmp_path / "bars.npz"
    np.savez(path, x=samples.inputs, y=samples.labels)
    return path


@pytest.fixture
def image_folder(tmp_path: Path, draw: Draw) -> Path:
    """A folder of 36 grey PNG files in three class folders."""
    from PIL import Image

    folder = tmp_path / "pictures"
    samples = draw(36)
    for index, (image, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        place = folder / ("top", "middle", "bottom")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{index:02d}.png")
    return folder


VALGRIND_SECONDS = 60.0
"""In which valgrind has to import onnxruntime; on two idle cores it takes five."""


@pytest.fixture(scope="session")
def valgrind() -> None:
    """Skips what runs under valgrind where there is none, or one so slow that the tests would take hours."""
    if platform.machine().lower() not in ("x86_64", "amd64") or shutil.which("valgrind") is None:
        pytest.skip("needs valgrind on x86-64")
    line = ["valgrind", "--tool=none", "--quiet", sys.executable, "-c", "import onnxruntime"]
    try:
        subprocess.run(line, capture_output=True, timeout=VALGRIND_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        pytest.skip(f"valgrind takes over {VALGRIND_SECONDS:.0f} s to import onnxruntime here")


MakeNet = Callable[..., Path]
NET_CARD = {"classes": ["top", "middle", "bottom"], "input_layout": "nhwc"}


@pytest.fixture(scope="session")
def make_net() -> MakeNet:
    """A function that writes a small ONNX classifier of `draw`'s bars: one template a class, then a dense layer."""
    from onnx import TensorProto, helper, numpy_helper

    def make(
        path: Path,
        *,
        dtype: str = "uint8",
        batch: int | str = "batch",
        opset: int = 18,
        gain: float = 1.0,
        card: str | None = json.dumps(NET_CARD),
    ) -> Path:
        """uint8: (batch, 8, 8, 1) raw pixels; float32: (batch, 1, 8, 8), pixels / 255. gain: a factor of the logits."""
        templates = np.full((3, 1, 8, 8), -1 / 64, dtype=np.float32)
        for k in range(3):
            templates[k, :, k * 8 // 3 : (k + 1) * 8 // 3] += 1 / 20
        templates += np.random.default_rng(0).normal(0, 1e-3, templates.shape).astype(np.float32)
        dense = gain * (np.eye(3, dtype=np.float32) * 20 - 5)
        weights = {"templates": templates, "dense": dense, "scale": np.array(1 / 255, dtype=np.float32)}
        pixels = ("Cast", ["x"], "floats"), ("Mul", ["floats", "scale"], "scaled"), ("Transpose", ["scaled"], "image")
        layers = (
            *(pixels if dtype == "uint8" else (("Identity", ["x"], "image"),)),
            ("Conv", ["image", "templates"], "map"),
            ("Relu", ["map"], "positive"),
            ("Flatten", ["positive"], "features"),
            ("Gemm", ["features", "dense"], "logits"),
        )
        options = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 3, 1, 2]}}
        shape = [batch, 8, 8, 1] if dtype == "uint8" else [batch, 1, 8, 8]
        kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
        graph = helper.make_graph(
            [helper.make_node(op, inputs, [output], **options.get(op, {})) for op, inputs, output in layers],
            "bars",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        if card is not None:
            helper.set_model_props(model, {"edgekd": card})
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture(scope="session")
def pixel_net(make_net: MakeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier on raw uint8 pixels, with edgekd's metadata."""
    return make_net(tmp_path_factory.mktemp("nets") / "pixels.onnx")


@pytest.fixture(scope="session")
def float_net(make_net: MakeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier on float32 images, without metadata."""
    return make_net(tmp_path_factory.mktemp("nets") / "floats.onnx", dtype="float32", card=None)
