"""The nets that every tool quantizes, each a folder: model.onnx, quantize.npz to quantize with, held_out.npz to judge.

No sample is in both files. `x` is in the network's own layout and type; `y`, where there is one, holds labels.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import pictures, text
from benchmarks.turns import say
from edgekd import data
from edgekd.data.fashion_mnist import DEBIAN_FOLDER, read_debian
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import write_atomic

Array = npt.NDArray[Any]
CIFAR = ("resnet8", "resnet20", "mobilenet_v2")
CIFAR_TO_QUANTIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the nets come from.

    cifar: an .npz with x_test, y_test. trained: a folder with resnet8.onnx, … for it. quickstart: the run folder of
    `edgekd run recipes/quickstart.toml`. packages: where the wheels that carry nets and pictures are unpacked.
    """

    cifar: Path
    trained: Path
    quickstart: Path
    packages: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """One net. score: how an output is compared with fp32's (a key of `score.SCORES`)."""

    name: str
    folder: Path
    score: str = "class"

    @property
    def model(self) -> Path:
        """The fp32 file."""
        return self.folder / "model.onnx"

    def read(self, name: str) -> tuple[Array, Array | None]:
        """(x, y) of `quantize` or `held_out`; y is None where there are no labels."""
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
            return arrays["x"], arrays["y"] if "y" in arrays.files else None


def make(name: str, folder: Path, sources: Sources) -> Net:
    """The net, made where `folder` does not have it.

    Raises:
        BadInputError: one of its sources is missing.
        EnvironmentFault: a package that carries it cannot be installed.
    """
    net = Net(name=name, folder=folder / name, score=SCORES.get(name, "class"))
    if not (net.folder / "held_out.npz").is_file():
        say(f"making {name}")
        net.folder.mkdir(parents=True, exist_ok=True)
        MAKERS[name](net, sources)
    return net


def keep(net: Net, model: Path | bytes, *, quantize: Mapping[str, Array], held_out: Mapping[str, Array]) -> None:
    """Write the net's three files; held_out.npz comes last and says that the net is whole."""
    write_atomic(net.model, model if isinstance(model, bytes) else model.read_bytes())
    for name, arrays in (("quantize", quantize), ("held_out", held_out)):
        scratch = net.folder / f".{name}.npz"
        np.savez(scratch, **arrays)  # type: ignore[arg-type]  # numpy takes a bool among the arrays
        scratch.replace(net.folder / f"{name}.npz")


def packages(sources: Sources, *wanted: str) -> Path:
    """The folder with these PyPI packages unpacked, without what they depend on.

    Raises:
        EnvironmentFault: pip cannot get one.
    """
    missing = [name for name in wanted if not (sources.packages / name.partition("==")[0].replace("-", "_")).is_dir()]
    for name in missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(sources.packages)]
        if subprocess.run([*command, name], stdout=sys.stderr, check=False).returncode:
            raise EnvironmentFault(
                f"{name} cannot be installed in {sources.packages}; expected a package index with it"
            )
    return sources.packages


def _cifar(net: Net, sources: Sources) -> None:
    for path in (sources.cifar, sources.trained / f"{net.name}.onnx"):
        if not path.is_file():
            raise BadInputError(f"{path}: no such file; see `--cifar` and `--trained`, or leave {net.name} out")
    with np.load(sources.cifar, allow_pickle=False) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    first, rest = slice(CIFAR_TO_QUANTIZE), slice(CIFAR_TO_QUANTIZE, None)
    parts = [{"x": x[part], "y": y[part]} for part in (first, rest)]
    keep(net, sources.trained / f"{net.name}.onnx", quantize=parts[0], held_out=parts[1])


def _quickstart(net: Net, sources: Sources) -> None:
    if not (sources.quickstart / "model.onnx").is_file():
        raise BadInputError(
            f"{sources.quickstart}/model.onnx: no such file; make it: edgekd run recipes/quickstart.toml "
            f"--out {sources.quickstart}"
        )
    loaded = data.load("fashion-mnist")  # the splits of the recipe: neither part was trained on
    unseen = (loaded.calibration, loaded.validation)
    quantize = {
        "x": np.concatenate([part.inputs for part in unseen]),
        "y": np.concatenate([part.labels for part in unseen]),
    }
    test = read_debian().test if DEBIAN_FOLDER.is_dir() else loaded.test  # all 10,000 where they are installed
    assert test is not None
    keep(net, sources.quickstart / "model.onnx", quantize=quantize, held_out={"x": test.inputs, "y": test.labels})


def _efficientnet(net: Net, sources: Sources) -> None:
    folder = packages(sources, *pictures.PACKAGES)
    photographs = pictures.photographs(folder)
    quantize, held_out = ({"x": pictures.crops(photographs[part::2], seed=part)} for part in (0, 1))
    keep(net, pictures.efficientnet_lite0(folder), quantize=quantize, held_out=held_out)


def _ocr(net: Net, sources: Sources, *, draw: Callable[..., Array], count: int, file: str) -> None:
    folder = packages(sources, text.PACKAGE, "foolbox==3.3.4")
    photographs = pictures.photographs(folder)
    quantize, held_out = ({"x": draw(count, seed=part, backgrounds=photographs[part::2])} for part in (0, 1))
    keep(net, folder / "rapidocr_onnxruntime" / "models" / file, quantize=quantize, held_out=held_out)


SCORES = {"ocr_text": "text", "ocr_detect": "mask"}
MAKERS: Mapping[str, Callable[[Net, Sources], None]] = {
    "quickstart": _quickstart,
    **dict.fromkeys(CIFAR, _cifar),
    "efficientnet_lite0": _efficientnet,
    "ocr_direction": partial(_ocr, draw=text.directions, count=300, file="ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "ocr_text": partial(_ocr, draw=text.lines, count=200, file="ch_PP-OCRv4_rec_infer.onnx"),
    "ocr_detect": partial(_ocr, draw=text.scenes, count=64, file="ch_PP-OCRv4_det_infer.onnx"),
}
"""Every net, in the order of the tables."""
