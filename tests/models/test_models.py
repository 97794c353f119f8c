"""The networks have their published sizes, run on small images, and bad names are refused with the fix."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.models import MODELS, build, check_name, describe
from edgekd.models.builders import BUILDERS
from edgekd.models.count import count_macs, count_parameters

# The setting of each published count: classes, input channels, whether batch-norm statistics are counted
# (Keras does).
SETTINGS = dict.fromkeys(MODELS, (100, 3, False)) | {
    "mobilenet_v2": (1000, 3, False),
    "resnet8_tiny": (10, 3, True),
    "ds_cnn": (12, 1, True),
    "resnet_1d": (2, 1, False),
    "ds_cnn_1d": (12, 1, False),
    "text_mean": (20, 10_000, False),
    "text_cnn": (20, 10_000, False),
    "text_transformer": (20, 10_000, False),
}


def statistics(network: nn.Module) -> int:
    return sum(buffer.numel() for key, buffer in network.named_buffers() if "running" in key)


def own_file(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text("import torch\nfrom torch import nn\n" + text)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_each_network_has_its_published_parameter_count(name: str) -> None:
    classes, channels, with_statistics = SETTINGS[name]
    with torch.device("meta"):
        network = build(name, num_classes=classes, in_channels=channels)
    counted = count_parameters(network) + (statistics(network) if with_statistics else 0)
    assert counted == MODELS[name].published_parameters


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 17, 5)])
@pytest.mark.parametrize("name", [name for name in MODELS if "image" in MODELS[name].kinds])
def test_each_network_answers_a_batch_of_small_images_with_finite_logits(
    name: str, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    network = build(name, num_classes=7, in_channels=shape[0]).eval()
    with torch.inference_mode():
        logits = network(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    def draw() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return build(name, num_classes=4, in_channels=1).state_dict()

    first, second = draw(), draw()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_listed_model_has_a_builder_and_knows_its_own_name() -> None:
    assert list(BUILDERS) == list(MODELS)
    assert all(info.name == key for key, info in MODELS.items())


def test_convolutions_start_with_he_variance_and_norms_at_one_and_zero() -> None:
    torch.manual_seed(0)
    network = build("resnet20", num_classes=10, in_channels=3)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
    expected = (2 / (64 * 9)) ** 0.5  # 36,864 draws: the standard error of the ratio is 0.4 %
    assert float(last.weight.detach().std()) / expected == pytest.approx(1, abs=0.02)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) and bool((norm.bias == 0).all()) for norm in norms)


@pytest.mark.parametrize(("width", "millions"), [(0.5, 1.97), (0.75, 2.64), (1.4, 6.11)])
def test_mobilenet_v2_has_the_known_size_at_other_widths(width: float, millions: float) -> None:
    with torch.device("meta"):
        network = build("mobilenet_v2", num_classes=1000, in_channels=3, options={"width": width})
    assert round(count_parameters(network) / 1e6, 2) == millions


def test_ds_cnn_maps_the_benchmarks_49x10_input_to_25x5_as_keras_does() -> None:
    network = build("ds_cnn", num_classes=12, in_channels=1)
    # 25*5 positions: stem 40*64; 4 blocks of 9*64 + 64*64; then the dense layer 64*12.
    by_hand = 125 * 64 * 40 + 4 * 125 * (64 * 9 + 64 * 64) + 64 * 12
    assert count_macs(network, input_shape=(1, 49, 10)) == by_hand == 2_656_768


def test_macs_of_a_small_network_match_the_count_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8x8x8 outputs, 27 each: 13,824
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=4, bias=False),  # 512 outputs, 2 * 3 each: 3,072
        nn.Flatten(2),
        nn.Conv1d(8, 4, 5),  # 4 x 60 outputs, 40 each: 9,600
        nn.Flatten(),
        nn.Linear(240, 10),  # 2,400
    )
    assert count_macs(network, input_shape=(3, 16, 16)) == 13_824 + 3_072 + 9_600 + 2_400


def test_counting_macs_leaves_modes_hooks_and_statistics_as_they_were() -> None:
    network = build("resnet8", num_classes=10, in_channels=1)
    frozen = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count_macs(network, input_shape=(1, 28, 28))
    assert network.training and not frozen.training
    assert not any(layer._forward_hooks for layer in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_frozen_weights_are_not_counted() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    assert count_parameters(network) == 4 * 2 + 2


def test_an_input_that_the_network_cannot_take_is_refused() -> None:
    network = build("resnet8", num_classes=10, in_channels=1)
    with pytest.raises(BadInputError, match=r"ResNet cannot take an input .* = \(3, 28, 28\)"):
        count_macs(network, input_shape=(3, 28, 28))
    assert network.training


def test_describe_counts_without_drawing_random_numbers() -> None:
    state = torch.get_rng_state()
    found = describe("resnet20", num_classes=100, input_shape=(3, 32, 32))
    assert torch.equal(state, torch.get_rng_state())
    assert found.parameters == 278_324
    # Stem 27*16*1024; stage 1: 6 * 144*16*1024; stages 2, 3: a half, 5 whole, and a 1x1 shortcut each.
    stage = 6 * 144 * 16 * 1024
    later = stage - 144 * 16 * 1024 // 2 + 16 * 32 * 256
    assert found.macs == 27 * 16 * 1024 + stage + 2 * later + 64 * 100


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(BadInputError, match=r"unknown model 'resnt20'; known: resnet8, .*mean 'resnet20'\?"):
        build("resnt20", num_classes=10, in_channels=1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"height": 2}, "unknown option 'height' of model 'resnet20'; known: width, blocks"),
        ("mobilenet_v2", {"widht": 2}, "unknown option 'widht' .*; known: width; did you mean 'width'"),
        ("mobilenet_v2", {"width": 0}, "option width of mobilenet_v2 is 0; expected a number above 0"),
        ("mobilenet_v2", {"width": "wide"}, "option width of mobilenet_v2 is 'wide'"),
        ("mobilenet_v2", {"width": float("nan")}, "option width of mobilenet_v2 is nan"),
        ("resnet8", {"width": -1.0}, "option width of resnet8 is -1.0; expected a number above 0"),
        ("wrn_16_1", {"blocks": 0}, "option blocks of wrn_16_1 is 0; expected a whole number from 1 to 64"),
        ("ds_cnn", {"blocks": 1.5}, "option blocks of ds_cnn is 1.5"),
    ],
)
def test_a_wrong_option_is_refused(name: str, options: dict[str, float | int | str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        build(name, num_classes=10, in_channels=1, options=options)


@pytest.mark.parametrize(("classes", "channels"), [(0, 1), (10, 0)])
def test_no_classes_or_no_channels_are_refused(classes: int, channels: int) -> None:
    with pytest.raises(BadInputError, match="expected at least 1 of each"):
        build("resnet8", num_classes=classes, in_channels=channels)


def test_a_users_own_network_is_built_with_its_options(tmp_path: Path) -> None:
    text = "def net(*, num_classes, in_channels, hidden):\n    return nn.Sequential(nn.Flatten(), "
    text += "nn.Linear(in_channels * 4, hidden), nn.Linear(hidden, num_classes))\n"
    path = own_file(tmp_path, text)
    network = build(f"{path}:net", num_classes=5, in_channels=2, options={"hidden": 3})
    assert network(torch.zeros(2, 2, 2, 2)).shape == (2, 5)
    found = describe(f"{path}:net", num_classes=5, input_shape=(2, 2, 2), options={"hidden": 3})
    assert (found.parameters, found.macs) == (8 * 3 + 3 + 3 * 5 + 5, 8 * 3 + 3 * 5)


def test_a_users_own_class_with_a_dataclass_beside_it_loads(tmp_path: Path) -> None:
    path = own_file(
        tmp_path,
        "from dataclasses import dataclass\n\n@dataclass\nclass Size:\n    k: 'int'"
        "\n\nclass Net(nn.Linear):\n    def __init__(self, num_classes, in_channels):\n"
        "        super().__init__(in_channels, Size(num_classes).k)\n",
    )
    assert isinstance(build(f"{path}:Net", num_classes=5, in_channels=2), nn.Linear)


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("def net(): ...", "nte", r"mine\.py has no 'nte'; it defines: net"),
        ("net = 3", "net", r"has a int, not a callable, named 'net'; it defines: no function or class"),
        (
            "def net(num_classes): ...",
            "net",
            r"cannot be called with num_classes=, in_channels=: .*in_channels",
        ),
        ("def net(num_classes, in_channels, depth): ...", "net", "missing a required argument: 'depth'"),
        ("def net(num_classes, in_channels): return 3", "net", "returned a int; expected a torch.nn.Module"),
        (
            "def net(num_classes, in_channels):\n    return nn.Lin(3)",
            "net",
            r"mine\.py:4: net.* failed: Attr",
        ),
        ("def net(:", "net", r"mine\.py:3: it cannot be imported: SyntaxError"),
        ("import no_such_package_here", "net", r"mine\.py:3: it cannot be imported: ModuleNotFoundError"),
        ("def net(num_classes, in_channels): ...", "", r"not of the form path/to/file\.py:callable"),
    ],
)
def test_a_users_own_network_that_cannot_be_built_is_refused(
    tmp_path: Path, text: str, attribute: str, message: str
) -> None:
    path = own_file(tmp_path, text)
    with pytest.raises(BadInputError, match=message):
        build(f"{path}:{attribute}", num_classes=5, in_channels=2)


@pytest.mark.parametrize("name", ["nets.py", "nets.txt:net", "resnet20:4"])
def test_a_name_that_is_half_a_file_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(BadInputError, match=r"is not of the form path/to/file\.py:callable"):
        build(name, num_classes=5, in_channels=2)


def test_a_relative_path_starts_at_the_working_directory_and_faults_name_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file(tmp_path, "def net(num_classes, in_channels):\n    return nn.Linear(in_channels, 1 // 0)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"^mine\.py:4: net\(\.\.\.\) failed: ZeroDivisionError"):
        build("mine.py:net", num_classes=5, in_channels=2)


def test_describe_takes_an_own_network_that_reads_values_and_draws_no_random_numbers(tmp_path: Path) -> None:
    text = "def net(num_classes, in_channels):\n    k = int(torch.tensor(num_classes).item())\n"
    path = own_file(tmp_path, text + "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 4, k))\n")
    state = torch.get_rng_state()
    assert describe(f"{path}:net", num_classes=5, input_shape=(1, 2, 2)).macs == 20
    assert torch.equal(state, torch.get_rng_state())


def test_a_missing_file_of_the_users_own_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.py of model .* is not a file"):
        build(f"{tmp_path / 'none.py'}:net", num_classes=5, in_channels=2)


def test_listing_and_checking_names_loads_no_torch() -> None:
    code = (
        "import sys; from edgekd.models import MODELS, check_name; check_name('resnet20'); "
        "assert MODELS; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_known_name_with_known_options_passes_the_check() -> None:
    check_name("mobilenet_v2", options={"width": 0.5})
