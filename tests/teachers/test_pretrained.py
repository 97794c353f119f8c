"""Teachers of timm and of transformers: small ones, made here, with their own preprocessing; nothing is downloaded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekd import pipeline, recipe
from edgekd.data import Samples
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers.interface import Opened
from edgekd.teachers.preparation import of_processor
from edgekd.teachers.pretrained import open_timm, open_transformers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # transformers takes ten seconds to import

CPU = torch.device("cpu")
NAMES = ("bottom", "middle", "top")
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "resample": 2, "rescale_factor": 1 / 255,
    "size": {"height": 16, "width": 16},
}  # fmt: skip
RECIPE = """name = "pretrained"
[data]
source = "bars.npz"
calibration_samples = 24
crop_padding = 1
[teacher]
kind = "KIND"
path = "model"
[student]
model = "resnet8"
[distill]
batch_size = 16
epochs = 4
learning_rate = 0.05
n_views = 1
[quantize]
variants = ["int8-u8s8"]
time_budget = 1.0
[validate]
rounds = 1
seconds = 0.01
min_samples = 20
[gate]
max_size_bytes = 1_000_000
max_p50_ms = 1000.0
max_p90_ms = 1000.0
max_load_ms = 100000.0
max_peak_rss_bytes = 10_000_000_000
"""


def opened(folder: Path, *, kind: str = "image", shape: tuple[int, ...] = (8, 8, 1)) -> Opened:
    return open_transformers(folder, name="tiny", data_kind=kind, sample_shape=shape, device=CPU)


def learn(
    model: torch.nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], steps: Any, samples: Samples
) -> None:
    """Train the model on the samples' labels, columns in the order of NAMES, until it tells the bars apart."""
    images = steps(torch.from_numpy(samples.inputs).permute(0, 3, 1, 2))
    labels = torch.from_numpy(2 - samples.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(images), labels).backward()
        optimizer.step()
    model.eval()


@pytest.fixture(scope="module")
def hugging(draw: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small ResNet of transformers' that learned the bars, in three channels of 16 x 16."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hugging")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=dict(enumerate(NAMES)),
        label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    model = transformers.ResNetForImageClassification(config)
    learn(model, lambda x: model(x).logits, of_processor(PROCESSOR, channels=3), draw(150))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_the_inputs_are_those_of_transformers_own_processor(hugging: Path) -> None:
    transformers = pytest.importorskip("transformers")
    photo = np.random.default_rng(0).integers(0, 256, (22, 30, 3), dtype=np.uint8)
    for change in ({}, {"size": {"height": 40, "width": 25}}, {"resample": 3, "size": {"height": 40, "width": 25}}):
        config = PROCESSOR | change
        own = transformers.ViTImageProcessorPil(**{k: v for k, v in config.items() if k != "image_processor_type"})
        wanted = own(photo, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        made = of_processor(config, channels=3)(torch.from_numpy(photo).permute(2, 0, 1)[None])
        # Two levels of 255, where both passes round apart, divided by the smallest deviation.
        assert (made - wanted).abs().max() <= 2.01 / 255 / 0.2


def test_a_folder_of_transformers_answers_in_its_own_order_and_says_what_it_does(
    hugging: Path, draw: Callable[..., Samples]
) -> None:
    teacher, samples = opened(hugging), draw(60, seed=1)
    assert teacher.classes == NAMES and teacher.parameters and not teacher.by_sample
    assert (teacher.ask(samples.inputs, None).argmax(axis=1) == 2 - samples.labels).mean() > 0.95
    assert teacher.preprocessing == (
        "resize to 16x16 (bilinear); grey repeated in 3 channels; raw x 0.00392157, mean [0.4, 0.5, 0.6], "
        "std [0.2, 0.25, 0.3]"
    )


def test_a_recipe_learns_from_it_and_reports_the_preprocessing(
    hugging: Path, draw: Callable[..., Samples], tmp_path: Path
) -> None:
    train, test = draw(150), draw(60, seed=1)
    arrays = {"x_train": train.inputs, "y_train": train.labels, "x_test": test.inputs, "y_test": test.labels}
    np.savez(tmp_path / "bars.npz", classes=np.array(["top", "middle", "bottom"]), **arrays)
    copied(hugging, tmp_path / "model")
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("KIND", "transformers"))
    report = pipeline.run(recipe.load(tmp_path / "recipe.toml"), folder=tmp_path / "run").report
    teacher = report["teacher"]
    assert teacher["kind"] == "transformers" and teacher["class_order"] == "by name"
    assert teacher["test_top1"] > 0.95 and "resize to 16x16" in teacher["preprocessing"]
    assert report["gate"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "no-such-model"}'), "transformers cannot load it"),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), "cannot load it as an image classifier"),
        (lambda f: (f / "model.safetensors").write_bytes(b"half"), "transformers cannot load it"),
    ],
    ids=["no preprocessing", "unknown model", "a language model", "half the weights"],
)
def test_a_folder_that_is_no_classifier_is_refused(
    damage: Callable[[Path], object], message: str, hugging: Path, tmp_path: Path
) -> None:
    folder = copied(hugging, tmp_path / "model")
    damage(folder)
    with pytest.raises(BadInputError, match=f"teacher tiny: .*{message}|teacher tiny: {message}"):
        opened(folder)


def test_a_head_that_was_never_trained_is_refused(hugging: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(hugging, tmp_path / "model")
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("classifier")}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInputError, match=r"has no weights for 'classifier\.1\.bias', so that would be random"):
        opened(folder)


def test_code_that_a_repository_brings_is_never_run(hugging: Path, tmp_path: Path) -> None:
    folder = copied(hugging, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForImageClassification": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(BadInputError, match="cannot load it"):
        opened(folder)
    assert not (tmp_path / "ran").exists()


def test_data_of_another_kind_or_shape_is_refused(hugging: Path) -> None:
    with pytest.raises(
        BadInputError, match="image or audio or text, the data is of kind series; export the teacher to"
    ):
        opened(hugging, kind="series", shape=(16, 2))
    with pytest.raises(BadInputError, match="cannot load it as an audio classifier"):
        opened(hugging, kind="audio", shape=(16000,))
    with pytest.raises(BadInputError, match=r"takes 3 channel\(s\), the data has 4"):
        opened(hugging, shape=(8, 8, 4))


def test_timm_that_cannot_be_imported_is_a_fault_of_the_machine(hugging: Path) -> None:
    pytest.importorskip("torch")
    try:
        import timm  # noqa: F401
    except ModuleNotFoundError:
        expected = r"timm, which is not installed; pip install 'edgekd\[timm\]'"
    except (ImportError, RuntimeError):
        expected = "timm is installed and cannot be imported"
    else:
        pytest.skip("timm can be imported here")
    with pytest.raises(EnvironmentFault, match=expected):
        open_timm(hugging, name="tiny", data_kind="image", sample_shape=(8, 8, 1), device=CPU)


@pytest.fixture(scope="module")
def timmed(draw: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm's repositories on the hub have it, of a small ResNet that learned the bars."""
    try:
        import timm
    except (ImportError, RuntimeError) as err:
        pytest.skip(f"timm cannot be imported here: {str(err).splitlines()[0]}")
    from safetensors.torch import save_file

    from edgekd.teachers.preparation import of_timm

    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    arguments = {"channels": [8, 8, 16, 16]}
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3, **arguments)
    declared = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
                "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "label_names": list(NAMES)}  # fmt: skip
    learn(model, model, of_timm(declared), draw(150))
    save_file(model.state_dict(), folder / "model.safetensors")
    body = {"architecture": "resnet10t", "num_classes": 3, "model_args": arguments, "pretrained_cfg": declared}
    (folder / "config.json").write_text(json.dumps(body))
    return folder


def test_a_folder_of_timm_answers_and_its_inputs_are_those_of_timms_own_transform(
    timmed: Path, draw: Callable[..., Samples]
) -> None:
    from PIL import Image
    from timm.data import create_transform  # type: ignore[import-not-found,unused-ignore]

    from edgekd.teachers.preparation import of_timm

    teacher = open_timm(timmed, name="tiny", data_kind="image", sample_shape=(8, 8, 1), device=CPU)
    samples = draw(60, seed=1)
    assert teacher.classes == NAMES
    assert (teacher.ask(samples.inputs, None).argmax(axis=1) == 2 - samples.labels).mean() > 0.95
    declared = json.loads((timmed / "config.json").read_text())["pretrained_cfg"]
    own = create_transform(**{k: v for k, v in declared.items() if k != "label_names"}, is_training=False)
    photo = np.random.default_rng(0).integers(0, 256, (22, 30, 3), dtype=np.uint8)
    made = of_timm(declared)(torch.from_numpy(photo).permute(2, 0, 1)[None])[0]
    assert (made - own(Image.fromarray(photo))).abs().max() <= 2.01 / 255 / 0.2
