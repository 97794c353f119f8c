"""The variants: they hold 8 and 4 bits, are scored on the test blocks, and what cannot be built says why."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.language import files
from edgekd.language.corpus import Corpus
from edgekd.language.score import Scores
from edgekd.session import SessionOptions

NAMES = ("int8-weight-only", "int4-weight-only", "int8-dynamic")


@pytest.fixture(scope="module")
def built(words: Corpus, shipped: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("run") / "variants"
    options = SessionOptions(threads=1)
    return files.build(shipped, folder, names=NAMES, corpus=words, context=16, options=options)


def test_a_file_holds_the_bits_that_its_name_says(built) -> None:  # type: ignore[no-untyped-def]
    _, paths = built
    for path, operator, bits in zip(
        paths[1:], ("MatMulNBits", "MatMulNBits", "MatMulInteger"), (8, 4, None), strict=True
    ):
        nodes = [node for node in onnx.load(str(path)).graph.node if node.op_type == operator]
        assert len(nodes) >= 4, path
        assert {a.i for node in nodes for a in node.attribute if a.name == "bits"} == ({bits} if bits else set())


def test_fewer_bits_make_a_smaller_file_of_nearly_the_same_worth(built, words: Corpus) -> None:  # type: ignore[no-untyped-def]
    found, _ = built
    sizes = [found[name]["size_bytes"] for name in ("fp32", "int8-weight-only", "int4-weight-only")]
    assert sizes == sorted(sizes, reverse=True)
    nats = {name: sum(entry["scores"]["nats"]) / sum(entry["scores"]["tokens"]) for name, entry in found.items()}
    assert nats["int8-weight-only"] == pytest.approx(nats["fp32"], rel=0.02)
    assert nats["int8-dynamic"] == pytest.approx(nats["fp32"], rel=0.02)
    assert nats["int4-weight-only"] == pytest.approx(nats["fp32"], rel=0.1)
    scores = Scores.read(found["fp32"]["scores"])
    assert scores.tokens == tuple(len(block.tokens) - 1 for block in words.test.blocks)


def test_what_is_timed_are_whole_windows_of_the_validation_part(words: Corpus) -> None:
    texts = files.texts(words, context=16)
    assert texts.shape == (3, 16) and texts.dtype == np.int64
