"""Classifiers of transformers and timm, made and trained here, as teachers of each kind of data that they take."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekd import pipeline
from edgekd.errors import BadInputError
from edgekd.recipe import parse
from edgekd.teachers.pretrained import open_transformers

from . import worlds
from .matrix import cells
from .worlds import RATE, World

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]  # transformers takes ten seconds to import

Loss = Callable[[torch.Tensor], torch.Tensor]
STEPS = 60
SOUND = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": RATE,
    "do_normalize": True, "padding_value": 0.0, "return_attention_mask": False,
}  # fmt: skip
IMAGES = {
    "image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": False,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "rescale_factor": 1 / 255,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """A function that gives the world of a kind of data, made once."""
    known: dict[str, World] = {}

    def of(kind: str) -> World:
        if kind not in known:
            known[kind] = worlds.make(kind, tmp_path_factory.mktemp(kind))
        return known[kind]

    return of


def learn(model: torch.nn.Module, forward: Loss, world: World) -> None:
    """Train on the labels of all samples, in the order of classes reversed, which the teacher's own file then names."""
    parts = (world.dataset.train, world.dataset.validation)
    inputs = world.tensor(np.concatenate([np.asarray(part.inputs) for part in parts]))
    labels = 2 - torch.from_numpy(np.concatenate([part.labels for part in parts]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(inputs), labels).backward()
        optimizer.step()
    model.eval()


def of_transformers(world: World, folder: Path) -> dict[str, Any]:
    """A small classifier as save_pretrained writes it; returns what [data] has to say for it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    names = dict(enumerate(reversed(world.dataset.classes)))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    if world.kind == "image":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **labels
        )
        model = transformers.ResNetForImageClassification(config)
        mean, std = (torch.tensor(IMAGES[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
        learn(model, lambda x: model((x.float().expand(-1, 3, -1, -1) / 255 - mean) / std).logits, world)
        (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    elif world.kind == "audio":
        config = transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
            conv_stride=(4, 4), conv_kernel=(16, 4), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
            classifier_proj_size=16, mask_time_prob=0.0, layerdrop=0.0, hidden_dropout=0.0, **labels,
        )  # fmt: skip
        model = transformers.Wav2Vec2ForSequenceClassification(config)
        own = transformers.Wav2Vec2FeatureExtractor(**{k: v for k, v in SOUND.items() if k[-5:] != "_type"})

        def waves(x: torch.Tensor) -> torch.Tensor:
            found = own(list(x.numpy() / 32_768), sampling_rate=RATE, return_tensors="pt")["input_values"]
            return torch.as_tensor(model(found.float()).logits)

        learn(model, waves, world)
        (folder / "preprocessor_config.json").write_text(json.dumps(SOUND))
    else:
        tokenizer = world.dataset.front["tokenizer"]
        config = transformers.BertConfig(
            vocab_size=world.dataset.channels, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=16, **labels,
        )  # fmt: skip
        model = transformers.BertForSequenceClassification(config)
        learn(model, lambda x: model(x.long(), attention_mask=(x != 0).long()).logits, world)
        (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    model.save_pretrained(folder)
    if world.kind == "text":
        return {"text": {"max_tokens": 12, "tokenizer": str(folder / "tokenizer.json")}}
    return {}


def of_timm(world: World, folder: Path) -> dict[str, Any]:
    """A small ResNet in a folder as timm's repositories on the hub have it."""
    try:
        import timm
    except (ImportError, RuntimeError) as err:
        pytest.skip(f"timm cannot be imported here: {str(err).splitlines()[0]}")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    arguments = {"channels": [8, 8, 16, 16]}
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3, **arguments)
    names = [*reversed(world.dataset.classes)]
    declared = {
        "input_size": [3, 8, 8], "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "label_names": names,
    }  # fmt: skip
    learn(model, lambda x: model((x.float().expand(-1, 3, -1, -1) / 255 - 0.5) / 0.25), world)
    save_file(model.state_dict(), folder / "model.safetensors")
    body = {"architecture": "resnet10t", "num_classes": 3, "model_args": arguments, "pretrained_cfg": declared}
    (folder / "config.json").write_text(json.dumps(body))
    return {}


WRITERS = {"transformers": of_transformers, "timm": of_timm}


@pytest.mark.parametrize(("name", "kind"), cells("learns"))
def test_a_student_learns_from_a_pretrained_classifier_whose_classes_go_by_name(
    name: str, kind: str, made: Callable[[str], World], tmp_path: Path
) -> None:
    world, folder = made(kind), tmp_path / "model"
    folder.mkdir()
    data = WRITERS[name](world, folder)
    document = world.document({"kind": name, "path": str(folder)}, **data)
    document["distill"]["epochs"] = 10
    report = pipeline.run(parse(document, origin="matrix"), folder=tmp_path / "run", until="distill").report
    teacher, student = report["teacher"], report["student"]
    assert teacher["kind"] == name and teacher["class_order"] == "by name" and teacher["preprocessing"]
    assert teacher["test_top1"] > 0.8
    losses = [epoch["loss"] for epoch in student["history"]]
    assert losses[-1] < losses[0]


def test_a_transformer_of_texts_shares_its_tokenizer_with_the_student(
    made: Callable[[str], World], tmp_path: Path
) -> None:
    world = made("text")
    data = of_transformers(world, tmp_path)
    facts = world.dataset.front

    def opened(length: int = 12, **other: str) -> object:
        return open_transformers(
            tmp_path, name="tiny", data_kind="text", sample_shape=(length,), device=torch.device("cpu"),
            facts=facts | other,
        )  # fmt: skip

    assert opened() and data["text"]["tokenizer"] == str(tmp_path / "tokenizer.json")
    with pytest.raises(BadInputError, match=r"takes 16 tokens at most, the data's texts have 20; set data.text.max_t"):
        opened(20)
    body = json.loads(facts["tokenizer"])
    body["normalizer"] = None
    with pytest.raises(BadInputError, match=r"another tokenizer: the same number would.*data.text.tokenizer = \"/"):
        opened(tokenizer=json.dumps(body))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(BadInputError, match=r"teacher tiny: has no tokenizer\.json"):
        opened()


def test_a_transformer_of_sound_refuses_another_rate_and_spectrograms(
    made: Callable[[str], World], tmp_path: Path
) -> None:
    of_transformers(made("audio"), tmp_path)

    def opened(rate: int) -> object:
        return open_transformers(
            tmp_path, name="tiny", data_kind="audio", sample_shape=(250,), device=torch.device("cpu"),
            facts={"sample_rate": rate},
        )  # fmt: skip

    assert opened(RATE)
    with pytest.raises(BadInputError, match="teacher tiny: takes sound of 2000 Hz, the data has 8000 Hz; resample"):
        opened(8_000)
    place = tmp_path / "preprocessor_config.json"
    place.write_text(json.dumps(SOUND | {"feature_extractor_type": "ASTFeatureExtractor"}))
    with pytest.raises(BadInputError, match="its feature extractor is 'ASTFeatureExtractor'; expected Wav2Vec2Feature"):
        opened(RATE)


def test_a_wave_is_normalised_as_the_extractor_of_transformers_does(made: Callable[[str], World]) -> None:
    transformers = pytest.importorskip("transformers")
    from edgekd.teachers.transformers_inputs import of_sound

    own = transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)
    clips = np.asarray(made("audio").dataset.test.inputs)
    wanted = own(list(clips / 32_768), sampling_rate=RATE, return_tensors="pt")["input_values"]
    folder = made("audio").folder / "extractor"
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text(json.dumps(SOUND))
    taken = of_sound(folder, None, sample_shape=clips.shape[1:], facts={"sample_rate": RATE})
    # Float32 against float64 of numpy: sums of 250 squares, each rounded by 6e-8.
    torch.testing.assert_close(
        taken.arguments(torch.from_numpy(clips))["input_values"].double(), wanted.double(), rtol=0, atol=2e-5
    )
