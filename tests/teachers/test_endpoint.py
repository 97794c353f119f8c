"""A teacher behind an HTTP endpoint: what is sent, what is kept, what is refused with the item's name."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Progress
from edgekd.teachers.endpoint import left, open_endpoint
from edgekd.teachers.endpoint_form import Form
from edgekd.teachers.http import Patience
from edgekd.teachers.interface import Opened

from .endpoint_server import Reaction, inputs_of, scores, serving

QUICK = Patience(timeout_s=5.0, retries=1, backoff_s=0.001)
PICTURES = np.random.default_rng(0).integers(0, 256, (40, 6, 4, 1), dtype=np.uint8)
IDS = np.array([f"bars/{i}.png" for i in range(40)])


def opened(url: str, folder: Path, *, patience: Patience = QUICK, version: str = "", **form: Any) -> Opened:
    return open_endpoint(
        url,
        headers={},
        form=Form(**{"batch_size": 8, "concurrency": 2} | form),
        patience=patience,
        folder=folder,
        version=version,
        sample=PICTURES[:1],
    )


@pytest.mark.parametrize("encoding", ["base64", "list"])
def test_the_scores_of_every_item_come_back_in_order(encoding: str, tmp_path: Path) -> None:
    with serving() as server:
        found = opened(server.url, tmp_path, encoding=encoding).ask(PICTURES, IDS)
        np.testing.assert_array_equal(found, scores(PICTURES).astype(np.float32))
        request = next(r for r in server.requests if len(r["ids"]) == 8)
        assert set(request) == {"inputs", "shape", "dtype", "ids"}
        assert request["shape"] == [8, 6, 4, 1] and request["dtype"] == "uint8"
        place = int(request["ids"][0].removeprefix("bars/").removesuffix(".png"))
        np.testing.assert_array_equal(inputs_of(request), PICTURES[place : place + 8])


def test_other_keys_and_other_types_travel_too(tmp_path: Path) -> None:
    with serving(score=lambda x: np.stack([x.sum(axis=(1, 2)), x.max(axis=(1, 2))], axis=1)) as server:
        server.script.append(Reaction(change=lambda said: {"outputs": said["scores"]}))
        windows = np.random.default_rng(1).normal(size=(5, 7, 2)).astype(np.float32)
        teacher = open_endpoint(
            server.url, headers={}, form=Form(), patience=QUICK, folder=tmp_path, version="", sample=windows[:1]
        )
        found = teacher.ask(windows, None)
        np.testing.assert_array_equal(found[:, 1], windows.max(axis=(1, 2)))
        assert server.requests[-1]["dtype"] == "float32"


def test_nothing_is_asked_twice_and_equal_items_once(tmp_path: Path) -> None:
    with serving() as server:
        teacher = opened(server.url, tmp_path)
        twice = np.concatenate([PICTURES[:10], PICTURES[:10]])
        np.testing.assert_array_equal(teacher.ask(twice, None)[:10], teacher.ask(twice, None)[10:])
        again = opened(server.url, tmp_path)
        again.ask(PICTURES[:10], None)
        assert server.asked().total() == 10
        opened(server.url, tmp_path, version="2").ask(PICTURES[:10], None)
        assert server.asked().total() == 20


def test_no_more_requests_are_under_way_than_asked_for(tmp_path: Path) -> None:
    with serving(Reaction(sleep_s=0.02)) as server:
        opened(server.url, tmp_path, concurrency=3, batch_size=2).ask(PICTURES, IDS)
        assert server.most_at_once == 3 and len(server.requests) == 21


def test_a_rate_limit_spaces_the_requests(tmp_path: Path) -> None:
    slow = Patience(timeout_s=5.0, retries=0, requests_per_second=20.0)
    with serving() as server:
        opened(server.url, tmp_path, patience=slow, concurrency=4).ask(PICTURES, IDS)
        assert len(server.times) == 6 and server.times[-1] - server.times[0] >= 0.2


def test_what_was_answered_before_the_endpoint_went_down_is_kept(tmp_path: Path) -> None:
    with serving(*[Reaction()] * 3, Reaction(status=500)) as server:
        with pytest.raises(EnvironmentFault, match=r"HTTP 500 .*at try 2 of 2, asked for 8 items, 'bars/.*run again"):
            opened(server.url, tmp_path, concurrency=1).ask(PICTURES, IDS)
        answered = 1 + 2 * 8
        server.requests.clear()
        server.script.clear()
        found = opened(server.url, tmp_path).ask(PICTURES, IDS)
        np.testing.assert_array_equal(found, scores(PICTURES).astype(np.float32))
        assert server.asked().total() == 40 - answered and max(server.asked().values()) == 1


ASK = """
import sys
from pathlib import Path
import numpy as np
from edgekd.teachers.endpoint import open_endpoint
from edgekd.teachers.endpoint_form import Form
from edgekd.teachers.http import Patience
pictures = np.random.default_rng(0).integers(0, 256, (40, 6, 4, 1), dtype=np.uint8)
form = Form(batch_size=2, concurrency=1)
teacher = open_endpoint(sys.argv[1], headers={}, form=form, patience=Patience(), folder=Path(sys.argv[2]), version="",
                        sample=pictures[:1])
teacher.ask(pictures, None)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_with_what_it_has(number: signal.Signals, tmp_path: Path) -> None:
    with serving(Reaction(sleep_s=0.03)) as server:
        line = [sys.executable, "-P", "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{ASK}"]
        process = subprocess.Popen([*line, server.url, str(tmp_path)], stderr=subprocess.DEVNULL)
        while len(server.requests) < 8:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(10) != 0
        before = len(server.requests)
        found = opened(server.url, tmp_path).ask(PICTURES, IDS)
        np.testing.assert_array_equal(found, scores(PICTURES).astype(np.float32))
        # What was under way when it was killed may be asked for again, and nothing else.
        assert server.asked().total() <= 40 + 2 * 2
        assert 8 <= before < 21


@pytest.mark.parametrize("damage", ["half a record", "a flipped bit", "no head"])
def test_damaged_answers_are_asked_for_again_and_never_used(damage: str, tmp_path: Path) -> None:
    with serving() as server:
        opened(server.url, tmp_path).ask(PICTURES, IDS)
        (file,) = tmp_path.rglob("answers.bin")
        raw = bytearray(file.read_bytes())
        if damage == "half a record":
            file.write_bytes(raw[:-5])
        elif damage == "a flipped bit":
            raw[-10] ^= 1
            file.write_bytes(raw)
        else:
            file.with_name("answers.json").write_text("{")
        server.requests.clear()
        for _ in range(2):
            found = opened(server.url, tmp_path).ask(PICTURES, IDS)
            np.testing.assert_array_equal(found, scores(PICTURES).astype(np.float32))
        assert server.asked().total() == (40 if damage == "no head" else 1)


@pytest.mark.parametrize(
    ("reaction", "message"),
    [
        (Reaction(change=lambda s: {"scores": s["scores"][:-1]}), "answers 7 rows under 'scores' for 8 items, 'bars/"),
        (Reaction(change=lambda s: {"scores": s["scores"][0]}), "answers 3 rows under 'scores' for 8 items"),
        (Reaction(change=lambda s: {"scores": [row[:2] for row in s["scores"]]}), "answers 2 scores for 8 items"),
        (Reaction(change=lambda s: {"scores": [*s["scores"][:-1], [1.0]]}), "answers 1 scores for item 'bars/8.png'"),
        (Reaction(change=lambda s: {"scores": [[*s["scores"][0][:2], float("nan")], *s["scores"][1:]]}),
         "answers nan as score 2 of item 'bars/1.png'; expected finite"),
        (Reaction(change=lambda s: {"scores": [[10**400, 0, 0], *s["scores"][1:]]}), "as score 0 of item 'bars/1.png'"),
        (Reaction(change=lambda s: {"scores": [[None, 0, 0], *s["scores"][1:]]}), "answers None among the scores of"),
        (Reaction(change=lambda s: {"scores": [["1.0", 0, 0], *s["scores"][1:]]}), "answers '1.0' among the scores of"),
        (Reaction(change=lambda s: {"scores": [7] * 8}), "answers 7 for item 'bars/1.png'; expected a list"),
        (Reaction(change=lambda s: {"scores": "many"}), "answers a str under 'scores' for 8 items"),
        (Reaction(change=lambda s: s | {"ids": [f"bars/{i}.png" for i in range(9, 1, -1)]}),
         "answers for other items: row 0 says it is 'bars/9.png', asked for was 'bars/1.png'"),
        (Reaction(change=lambda s: s | {"classes": ["c", "b", "a"]}), "calls its columns c, b, a .*nothing before"),
        (Reaction(change=lambda s: {"detail": "warming up"}), "JSON with the keys 'detail'; expected scores or"),
        (Reaction(change=lambda s: {"error": "out of memory"}), "keys 'error': 'out of memory'; expected scores"),
        (Reaction(body=b"[1, 2]"), "answers a JSON list; expected an object"),
        (Reaction(body=b'{"scores": [[1.0, 2'), "19 bytes that are not whole JSON .*'{\"scores\": .*expected"),
        (Reaction(body=b"[" * 100_000), "not whole JSON"),
        (Reaction(body=b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html"}),
         "answers HTML instead of JSON: '<!doctype html><title>Sign in"),
        (Reaction(body=b"\xff\xfe\x00"), "not whole JSON"),
        (Reaction(body=b""), "answers 0 bytes that are not whole JSON"),
    ],
)  # fmt: skip
def test_a_malformed_answer_is_named_and_what_came_before_is_kept(
    reaction: Reaction, message: str, tmp_path: Path
) -> None:
    with serving(Reaction(), reaction, Reaction()) as server:
        with pytest.raises(BadInputError, match=message):
            opened(server.url, tmp_path, concurrency=1).ask(PICTURES, IDS)
        assert len(server.requests) == 2
        server.requests.clear()
        found = opened(server.url, tmp_path).ask(PICTURES, IDS)
        np.testing.assert_array_equal(found, scores(PICTURES).astype(np.float32))
        assert server.asked().total() == 39, "the first item was kept, the malformed batch was not"


def test_an_endpoint_may_name_its_columns(tmp_path: Path) -> None:
    with serving(Reaction(change=lambda said: said | {"classes": ["bottom", "middle", "top"]})) as server:
        assert opened(server.url, tmp_path).classes == ("bottom", "middle", "top")
        assert opened(server.url, tmp_path).classes == ("bottom", "middle", "top"), "as it said before"
        assert len(server.requests) == 1


def test_a_name_that_no_recipe_shows_is_not_in_messages_or_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "Bearer secret")
    with serving(Reaction(), Reaction(status=401)) as server:
        teacher = open_endpoint(
            f"{server.url}?key=secret",
            headers={"Authorization": "TOKEN"},
            form=Form(),
            patience=QUICK,
            folder=tmp_path,
            version="",
            sample=PICTURES[:1],
        )
        with pytest.raises(BadInputError, match="HTTP 401") as refused:
            teacher.ask(PICTURES, IDS)
        assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in str(refused.value) + teacher.name
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_progress_tells_the_rate_and_the_time_left(tmp_path: Path) -> None:
    said = list[Progress]()
    with serving() as server:
        open_endpoint(
            server.url, headers={}, form=Form(batch_size=8), patience=QUICK, folder=tmp_path, version="",
            sample=PICTURES[:1], listener=said.append,
        ).ask(PICTURES, IDS)  # fmt: skip
    assert [p.done for p in said] == sorted(p.done for p in said) and said[-1].done == said[-1].total == 39
    assert said[-1].note.endswith("/s, 0:00 left")
    assert left(10, 110, seconds=5.0) == "2.0/s, 0:50 left"
    assert left(1, 7201, seconds=1.0) == "1.0/s, 2:00:00 left"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"cannot keep the endpoint's answers in .*choose another teacher\.endpoint\.cache_folder"
    with serving() as server, pytest.raises(EnvironmentFault, match=message):
        opened(server.url, tmp_path / "file")
