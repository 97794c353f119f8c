"""The ONNX file: any batch, length and past, as torch says; its quantized forms; what is timed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.errors import BadInputError
from edgekd.language.export import export
from edgekd.language.runtime import Runner, feeds_at_full_context
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.quantize.convert import CONVERTED
from edgekd.session import SessionOptions

TOKENS = np.random.default_rng(0).integers(0, 40, (3, 80))


def net(positions: str) -> CausalTransformer:
    torch.manual_seed(0)
    made = CausalTransformer(vocabulary=40, context=80, width=32, depth=2, heads=2, positions=positions)
    with torch.no_grad():
        for parameter in made.parameters():  # larger than at the start of training, so that places matter
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return made.eval()


@pytest.fixture(scope="module", params=["rotary", pytest.param("learned", marks=pytest.mark.slow)])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, CausalTransformer]:
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    made = net(request.param)
    facts = export(made, path, tokens=TOKENS, opset=18, tolerance=1e-3, metadata={"context": 80})
    assert {(check.batch, check.length) for check in facts.checks} == {(b, n) for b in (1, 3) for n in (1, 7, 64)}
    assert facts.max_difference < 1e-4
    return path, made


def test_any_batch_and_length_is_read_as_torch_reads_it(exported: tuple[Path, CausalTransformer]) -> None:
    path, made = exported
    runner = Runner(path, SessionOptions(threads=1))
    for batch, length in ((1, 1), (2, 5), (1, 80), (3, 33)):
        with torch.no_grad():
            expected = made(torch.from_numpy(TOKENS[:batch, :length])).numpy()
        np.testing.assert_allclose(runner(TOKENS[:batch, :length]), expected, atol=1e-4)


def test_token_by_token_gives_what_the_whole_text_gives(exported: tuple[Path, CausalTransformer]) -> None:
    path, _ = exported
    runner = Runner(path, SessionOptions(threads=1))
    past, steps = runner.empty_past(2), []
    for place in range(20):
        logits, past = runner.step(TOKENS[:2, place : place + 1], past)
        steps.append(logits)
    assert past.shape[4] == 20
    np.testing.assert_allclose(np.concatenate(steps, axis=1), runner(TOKENS[:2, :20]), atol=1e-4)


@pytest.mark.parametrize("variant", ["int8-weight-only", "int4-weight-only", "int8-dynamic"])
def test_quantized_files_take_any_length_and_past_too(
    variant: str, exported: tuple[Path, CausalTransformer], tmp_path: Path
) -> None:
    path, _ = exported
    CONVERTED[variant][0](path, tmp_path / "small.onnx", {}, ())
    small, whole = (Runner(file, SessionOptions(threads=1)) for file in (tmp_path / "small.onnx", path))
    expected = whole(TOKENS[:2, :30])
    first, past = small.step(TOKENS[:2, :29], small.empty_past(2))
    second, _ = small.step(TOKENS[:2, 29:30], past)
    found = np.concatenate([first, second], axis=1)
    noise = np.square(found - expected).mean() / np.square(expected).mean()
    assert noise < (0.1 if variant.startswith("int4") else 0.01)


def test_what_is_timed_is_a_whole_context_and_the_token_after_all_others(
    exported: tuple[Path, CausalTransformer],
) -> None:
    runner = Runner(exported[0], SessionOptions(threads=1))
    feeds = feeds_at_full_context(runner, TOKENS)
    assert feeds["prefill"]["tokens"].shape == (3, 1, 80)
    assert feeds["prefill"]["past"].shape == (3, 2, 2, 1, 2, 0, 16)
    assert feeds["token"]["tokens"].shape == (3, 1, 1)
    assert feeds["token"]["past"].shape == (3, 2, 2, 1, 2, 79, 16)


@pytest.mark.slow
def test_a_file_that_differs_from_torch_is_not_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"differs from torch by .* \(allowed: export.max_difference = 1e-12\)"):
        export(net("learned"), tmp_path / "m.onnx", tokens=TOKENS, opset=18, tolerance=1e-12, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_an_image_network_is_no_language_network(make_net, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInputError, match="has inputs x; expected tokens, past"):
        Runner(make_net(tmp_path / "bars.onnx"), SessionOptions(threads=1))
