"""Running a network: compiled or not, in which layout and precision."""

import shutil

import pytest
import torch
from torch import Tensor, nn

from edgekd.core import methods
from edgekd.core.forward import Teacher, autocast, predict, prepared
from edgekd.core.optimizer import Settings
from edgekd.core.source import Resident
from edgekd.core.trainer import Trainer
from edgekd.errors import EnvironmentFault

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.randint(0, 256, (16, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, batch norm and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.matrix = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.norm(self.convolution(pixels.float() / 255)).relu()
        logits: Tensor = self.matrix(maps.mean(dim=(-2, -1)))
        return logits


def test_a_network_is_prepared_in_place_and_its_kernels_are_laid_out_channels_last() -> None:
    net = Net()
    assert prepared(net, channels_last=True, compiled=False) is net
    assert net.convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_autocast_is_bf16_for_bf16_and_nothing_for_fp32() -> None:
    matrix = torch.ones(2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with autocast(torch.device("cpu"), precision):
            assert (matrix @ matrix).dtype == dtype


def test_a_teacher_answers_as_in_eval_mode_without_gradient() -> None:
    torch.manual_seed(0)
    net = Net()
    answer = Teacher(net.train(), precision="fp32")(0, torch.arange(16), IMAGES)
    assert not answer.requires_grad
    assert torch.equal(answer, predict(net, IMAGES, batch_size=16).half().float())


def test_compiling_on_a_cpu_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        EnvironmentFault, match=r"distill\.compile = true needs a C\+\+ compiler .*apt-get install g\+\+"
    ):
        prepared(Net(), channels_last=False, compiled=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
def test_compiled_training_ends_where_plain_training_ends_and_keeps_the_names_of_the_weights() -> None:
    def train(compiled: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        student, teacher = Net(), Net()
        made = Trainer(
            student,
            source=Resident(IMAGES, torch.arange(16) % 3),
            objective=methods.build("cist"),
            settings=Settings(epochs=2, batch_size=8, learning_rate=0.05, compile=compiled),
            targets=Teacher(teacher, precision="fp32", compiled=compiled),
        )
        for _ in range(2):
            made.run_epoch()
        return made.student.state_dict()

    plain, fast = train(False), train(True)
    assert list(plain) == list(fast)
    for name, value in plain.items():
        # Fused kernels sum in another order; four steps.
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)
