"""A recipe whose teacher answers over HTTP: what it asks for, what it goes on with, what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd import pipeline, recipe
from edgekd.data import Samples
from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault

from .teachers.endpoint_server import Reaction, serving

RECIPE = """name = "asked"
[data]
source = "bars.npz"
calibration_samples = 24
augment = "none"
[teacher]
kind = "endpoint"
outputs = "logits"
classes = ["top", "middle", "bottom"]
[teacher.endpoint]
url = "URL"
headers = { Authorization = "SCORES_TOKEN" }
batch_size = 16
backoff_s = 0.001
retries = 1
cache_folder = "answers"
[student]
model = "own.py:small"
[distill]
batch_size = 16
epochs = 2
learning_rate = 0.01
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
OWN = """
from torch import nn

def small(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))
"""
UNNAMED = RECIPE.replace('classes = ["top", "middle", "bottom"]\n', "")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, draw: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data and the student's code; the token is set."""
    train, test = draw(150), draw(60, seed=1)
    arrays = {"x_train": train.inputs, "y_train": train.labels, "x_test": test.inputs, "y_test": test.labels}
    np.savez(tmp_path / "bars.npz", classes=np.array(["top", "middle", "bottom"]), **arrays)
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("SCORES_TOKEN", "Bearer secret")
    return tmp_path


def run(place: Path, text: str, *, until: str | None = "distill", folder: str = "run") -> pipeline.Outcome:
    (place / "recipe.toml").write_text(text)
    return pipeline.run(recipe.load(place / "recipe.toml"), folder=place / folder, until=until)


def test_every_sample_is_asked_for_once_whoever_learns_from_it(place: Path) -> None:
    with serving() as server:
        text = RECIPE.replace("URL", server.url)
        teacher = run(place, text).report["teacher"]
        assert teacher["kind"] == "endpoint" and teacher["test_top1"] == 1.0
        assert teacher["class_order"] == "by name" and teacher["model"] == server.url
        # The calibration split is never asked about. The first request has one sample, under its hash.
        assert 160 < server.asked().total() <= 210 - 24 and max(server.asked().values()) == 1
        assert {sent["Authorization"] for sent in server.headers} == {"Bearer secret"}
        before = len(server.requests)
        run(place, text.replace("epochs = 2", "epochs = 1"), folder="other")
        run(
            place,
            text.replace("[quantize]", 'teacher_cache = "fp16"\ncache_folder = "kept"\n[quantize]'),
            folder="third",
        )
        assert len(server.requests) == before, "another student of the same teacher asks for nothing"
    assert not any(b"secret" in file.read_bytes() for file in place.rglob("*") if file.is_file())


def test_an_endpoint_that_goes_down_costs_nothing_that_was_answered(place: Path) -> None:
    with serving(*[Reaction()] * 6, Reaction(status=503)) as server:
        text = RECIPE.replace("URL", server.url)
        with pytest.raises(
            EnvironmentFault, match=r"/scores: HTTP 503 .*, at try 2 of 2, asked for .*run again to go on"
        ):
            run(place, text)
        served = {name for request in server.requests[:6] for name in request["ids"]}
        server.script.clear()
        server.requests.clear()
        assert run(place, text).report["student"] is not None
        assert len(served) > 60 and not served & set(server.asked())


def test_columns_that_the_endpoint_names_are_put_in_the_datas_order(place: Path) -> None:
    def rotated(body: dict[str, list[list[float]]]) -> dict[str, object]:
        return {"scores": [row[1:] + row[:1] for row in body["scores"]], "classes": ["middle", "bottom", "top"]}

    with serving(Reaction(change=rotated)) as server:
        teacher = run(place, UNNAMED.replace("URL", server.url)).report["teacher"]
    assert teacher["test_top1"] == 1.0 and teacher["class_order"] == "by name"


def test_columns_in_another_order_that_nobody_names_are_found_at_chance(place: Path) -> None:
    mute = Reaction(change=lambda body: {"scores": [row[1:] + row[:1] for row in body["scores"]]})
    with serving(mute) as server, pytest.raises(BadInputError, match="which is chance for 3 classes"):
        run(place, UNNAMED.replace("URL", server.url))


def test_probabilities_that_were_declared_logits_are_found_out(place: Path) -> None:
    def softmax(body: dict[str, list[list[float]]]) -> dict[str, object]:
        values = np.exp(body["scores"])
        return {"outputs": (values / values.sum(axis=1, keepdims=True)).tolist()}

    with serving(Reaction(change=softmax)) as server:
        text = RECIPE.replace("URL", server.url)
        with pytest.raises(BadInputError, match="declared outputs = 'logits', but its outputs are probabilities"):
            run(place, text)
        before = len(server.requests)
        right = run(place, text.replace('"logits"', '"probabilities"')).report["teacher"]
        assert right["outputs"] == "probabilities" and right["test_top1"] == 1.0
        assert not {*server.requests[0]["ids"]} & {i for r in server.requests[before:] for i in r["ids"]}


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        ('"SCORES_TOKEN"', '"NO_SUCH_TOKEN"', EnvironmentFault, "variable NO_SUCH_TOKEN, which is not set"),
        ('"SCORES_TOKEN"', '"Bearer abc"', BadInputError, "teacher.endpoint.headers.Authorization: found 'Bearer abc'"),
        ("URL", "ftp://host/x", BadInputError, "of scheme 'ftp'; expected http://host/path"),
        ("batch_size = 16\nbackoff", "batchsize = 16\nbackoff", BadInputError, "did you mean 'batch_size'?"),
        ("retries = 1", "concurrency = 99", BadInputError, "teacher.endpoint.concurrency: found 99"),
        ("outputs =", 'path = "x.onnx"\noutputs =', BadInputError, "path belongs to kind"),
        ('augment = "none"', 'augment = "flip"', BadInputError, "answers for each sample as it is"),
        ('"bottom"]', '"left"]', BadInputError, "knows no class 'bottom'"),
        ('"bottom"]', '"bottom", "left"]', BadInputError, "has 3 outputs, and 4 class names"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(
    old: str, new: str, kind: type[EdgekdError], message: str, place: Path
) -> None:
    with serving() as server, pytest.raises(kind) as refused:
        run(place, RECIPE.replace(old, new).replace("URL", server.url))
    assert message in str(refused.value)


def test_the_kept_recipe_loads_back_equal(place: Path) -> None:
    with serving() as server:
        run(place, RECIPE.replace("URL", server.url))
    assert recipe.load(place / "run" / "recipe.lock.toml") == recipe.load(place / "recipe.toml")


@pytest.mark.slow
def test_the_command_runs_it_to_its_verdict_and_bundle(place: Path) -> None:
    with serving() as server:
        (place / "recipe.toml").write_text(RECIPE.replace("URL", server.url))
        line = [
            sys.executable,
            "-P",
            "-m",
            "edgekd.cli",
            "run",
            str(place / "recipe.toml"),
            "--out",
            str(place / "run"),
        ]
        done = subprocess.run([*line, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["gate"]["verdict"] == "pass" and report["teacher"]["kind"] == "endpoint"
    assert (place / "run" / "bundle" / "model.onnx").is_file()
