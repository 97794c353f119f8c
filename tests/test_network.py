"""Weights as safetensors: what travels with them, and every file that is refused."""

import json
import struct
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekd import network
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.front import Pixels
from edgekd.network import Card, Network

CLASSES = ("a b", "größe", "<script>")
CARD = Card(model="resnet8", classes=CLASSES, channels=1, options={}, facts={"seed": 3, "top1": 0.5})
MEAN, STD = (0.3,), (0.2,)


class Trap:
    """Unpickling an instance creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def made(card: Card = CARD, *, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return network.build(card, mean=MEAN, std=STD).eval()


def written(folder: Path, card: Card = CARD) -> Path:
    path = folder / "net.safetensors"
    network.save(made(card), path, card)
    return path


def other(**changes: object) -> Card:
    fields = {"model": "resnet8", "classes": CLASSES, "channels": 1, "options": {}, "facts": {}}
    return Card(**{**fields, **changes})  # type: ignore[arg-type]


def load(path: Path, card: Card = CARD) -> tuple[Network, Card]:
    return network.load(path, card=card, mean=(0.9,), std=(0.9,))


PIXELS = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_saved_network_comes_back_with_its_card_mean_and_std_and_the_same_logits(tmp_path: Path) -> None:
    loaded, card = load(written(tmp_path), other())
    assert card == CARD
    assert not loaded.training
    assert loaded.front.mean.flatten().tolist() == pytest.approx(MEAN)
    assert loaded.front.std.flatten().tolist() == pytest.approx(STD)
    with torch.no_grad():
        assert torch.equal(loaded(PIXELS), made()(PIXELS))


def test_the_preprocessing_is_pixels_over_255_less_mean_over_std() -> None:
    net = Network(nn.Identity(), Pixels(mean=(0.5, 0.0), std=(0.25, 2.0)))
    out = net(torch.tensor([[[[255]], [[51]]]], dtype=torch.uint8))
    assert out.flatten().tolist() == pytest.approx([2.0, 0.1])


def test_equal_networks_give_equal_bytes_in_whatever_layout(tmp_path: Path) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    network.save(made(), first, CARD)
    network.save(made().to(memory_format=torch.channels_last), second, CARD)  # type: ignore[call-overload]
    assert first.read_bytes() == second.read_bytes()
    assert sha256(first) == sha256(second)
    network.save(made(seed=1), second, CARD)
    assert sha256(first) != sha256(second)


def test_saving_leaves_no_other_file_and_a_failure_keeps_the_old_one(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        network.save(made(), path, other(facts={"path": tmp_path}))  # no JSON
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    with pytest.raises(OSError, match="nowhere"):
        network.save(made(), tmp_path / "nowhere" / "net.safetensors", CARD)


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    body[1].weight = body[0].weight
    path = tmp_path / "tied.safetensors"
    network.save(Network(body, Pixels(mean=MEAN, std=STD)), path, CARD)
    tensors = load_file(path)
    assert torch.equal(tensors["body.0.weight"], tensors["body.1.weight"])


@pytest.mark.parametrize("prefix", ["", "body."])
def test_a_state_dict_from_elsewhere_takes_classes_mean_and_std_from_the_caller(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "bare.safetensors"
    source = made().body
    save_file({prefix + name: value.contiguous() for name, value in source.state_dict().items()}, path)
    loaded, card = load(path, other())
    assert card == other()
    assert loaded.front.mean.flatten().tolist() == pytest.approx([0.9])
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.body.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"weights .*gone: no such file; expected a \.safetensors file"):
        load(tmp_path / "gone")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_with_the_way_to_convert_it_and_never_unpickled(tmp_path: Path, zipped: bool) -> None:
    path, created = tmp_path / "weights.safetensors", tmp_path / "created"
    torch.save({"w": torch.zeros(2), "trap": Trap(created)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadInputError, match=r"found a pickle .* never loaded; convert it once"):
        load(path)
    assert not created.exists()


def test_a_sound_file_whose_header_length_looks_like_the_start_of_a_pickle_is_read(tmp_path: Path) -> None:
    raw = written(tmp_path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    for wanted in (0x80 | (length // 256 + 1) << 8, 0x4B50):  # "\x80" and "PK"
        assert wanted > length
        path = tmp_path / "padded.safetensors"
        path.write_bytes(struct.pack("<Q", wanted) + raw[8 : 8 + length].ljust(wanted) + raw[8 + length :])
        assert load(path)[1] == CARD


def test_empty_truncated_and_corrupt_files_are_bad_input(tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    broken = [raw[:n] for n in (0, 1, 7, 8, 100, 8 + length, len(raw) - 1)]
    for content in (*broken, raw + b"\x00", b"\xff" * 64, raw[:8] + b"x" * length + raw[8 + length :]):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"net\.safetensors: not a whole safetensors file .*again"):
            load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_tensor(tmp_path: Path, value: float) -> None:
    net, path = made(), tmp_path / "net.safetensors"
    name, parameter = list(net.named_parameters())[2]
    parameter.data.view(-1)[0] = value
    network.save(net, path, CARD)
    with pytest.raises(BadInputError, match=rf"tensor '{name}' holds NaN or infinity"):
        load(path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (other(classes=("a b", "größe")), "tells 3 classes apart, the data has 2"),
        (other(classes=("a b", "<script>", "größe")), "calls class 1 'größe', the data calls it '<script>'"),
        (other(model="resnet20"), "holds model 'resnet8', the recipe says 'resnet20'"),
        (other(channels=3), r"takes 1 channel\(s\), the data has 3"),
        (other(options={"width": 0.5}), r"built with options {}, the recipe says {'width': 0.5}"),
    ],
)
def test_a_card_that_contradicts_the_recipe_or_the_data_is_refused(tmp_path: Path, card: Card, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load(written(tmp_path), card)


def test_options_come_with_the_file_where_the_recipe_names_none(tmp_path: Path) -> None:
    card = other(model="mobilenet_v2", options={"width": 0.1})
    loaded, own = load(written(tmp_path, card), other(model="mobilenet_v2"))
    assert own == card
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in made(card).parameters())


def test_a_bare_state_dict_of_other_classes_says_so_before_torch_lists_shapes(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_file({name: value.contiguous() for name, value in made().body.state_dict().items()}, path)
    with pytest.raises(BadInputError, match="tells 3 classes apart, the data has 4; expected a teacher of the same"):
        load(path, other(classes=tuple("abcd")))


def test_tensors_that_do_not_fit_the_model_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    whole = {name: value.contiguous() for name, value in made().body.state_dict().items()}
    name = next(iter(whole))
    save_file({n: v for n, v in whole.items() if n != name}, path)
    with pytest.raises(BadInputError, match=rf"does not fit model 'resnet8': tensor 'body\.{name}' is missing"):
        load(path)
    save_file({**whole, "extra": torch.zeros(1)}, path)
    with pytest.raises(BadInputError, match=r"tensor 'body\.extra' is missing or not expected"):
        load(path)
    save_file({**whole, name: torch.zeros(2, 2, 3, 3)}, path)
    with pytest.raises(BadInputError, match=r"(?s)does not fit model 'resnet8': .*size mismatch"):
        load(path)


def test_a_head_that_is_a_convolution_is_not_mistaken_for_other_classes(tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(
        textwrap.dedent("""
            from torch import nn

            def build(num_classes, in_channels):
                gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, 5))
                return nn.Sequential(gate, nn.Unflatten(1, (5, 1, 1)), nn.Conv2d(5, num_classes, 1), nn.Flatten())
        """)
    )
    card = other(model=f"{source}:build")
    path = written(tmp_path, card)
    assert load(path, card)[0](PIXELS).shape == (2, 3)


@pytest.mark.parametrize(
    "text", ["no json", "{}", "[]", json.dumps({"model": "resnet8", "classes": ["a"], "later": 1}), "3"]
)
def test_a_card_that_cannot_be_read_is_bad_input(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.safetensors"
    tensors: dict[str, Tensor] = {name: value.contiguous() for name, value in made().state_dict().items()}
    save_file(tensors, path, metadata={network.METADATA_KEY: text})
    with pytest.raises(BadInputError, match="its card cannot be read"):
        load(path)
