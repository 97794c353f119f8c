"""JSON over http(s): what is tried again, how long is waited, what is refused at once."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers.http import (
    Answer,
    Client,
    Pace,
    Patience,
    Stopped,
    backoff,
    check_url,
    headers_from_environment,
    retry_after,
)

from .endpoint_server import Reaction, serving

QUICK = Patience(timeout_s=2.0, retries=2, backoff_s=0.001, max_wait_s=5.0)
BODY = b'{"inputs": [[[[9]], [[0]], [[0]]]], "shape": [1, 3, 1, 1], "dtype": "uint8", "ids": ["a"]}'
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def post(url: str, patience: Patience = QUICK, **headers: str) -> Answer:
    return Client(url, headers=headers, patience=patience).post(BODY, about="item 'a'", stop=Event())


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_server_that_fails_twice_and_then_answers_is_asked_three_times() -> None:
    with serving(Reaction(status=500), Reaction(status=503), Reaction()) as server:
        assert post(server.url).body.startswith(b'{"scores"')
        assert len(server.requests) == 3 and server.requests[0] == server.requests[2]


def test_a_server_that_keeps_failing_is_named_with_what_it_said_and_the_item() -> None:
    with serving(Reaction(status=502)) as server:
        with pytest.raises(
            EnvironmentFault, match=r"HTTP 502 Bad Gateway, at try 3 of 3, asked for item 'a'.*run again"
        ):
            post(server.url)
        assert len(server.requests) == 3


def test_retry_after_is_waited_for() -> None:
    with serving(Reaction(status=429, headers={"Retry-After": "1"}), Reaction()) as server:
        assert post(server.url).body
        assert server.times[1] - server.times[0] >= 1.0


def test_a_wait_that_is_too_long_is_told_and_not_sat_through() -> None:
    with serving(Reaction(status=429, headers={"Retry-After": "3600"})) as server:
        with pytest.raises(
            EnvironmentFault, match=r"HTTP 429 .*wants 3600 s to pass .*max_wait_s is 5.*run again later"
        ):
            post(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "Does it take the request"),
        (401, "environment variables"),
        (403, "environment variables"),
        (404, "teacher.endpoint.url"),
        (413, "Lower teacher.endpoint.batch_size"),
        (422, "'no such dtype'"),
    ],
)
def test_what_the_server_refuses_is_not_tried_again(status: int, hint: str) -> None:
    with serving(Reaction(status=status, body=b"no such\n dtype")) as server:
        with pytest.raises(BadInputError, match=f"answers HTTP {status} .*item 'a'.*no such dtype.*{hint}|{hint}"):
            post(server.url, Authorization="Bearer secret")
        assert len(server.requests) == 1


def test_an_endpoint_that_is_down_is_tried_again_and_then_told(free_port: int) -> None:
    with pytest.raises(EnvironmentFault, match=r"cannot be reached \(.*refused\), at try 3 of 3.*Is it up\?"):
        post(f"http://127.0.0.1:{free_port}/x")


@pytest.mark.parametrize("slow", [Reaction(sleep_s=0.6), Reaction(drip_s=0.05)], ids=["silent", "a byte now and then"])
def test_a_slow_endpoint_meets_the_time_out(slow: Reaction) -> None:
    quick = Patience(timeout_s=0.2, retries=1, backoff_s=0.001)
    with serving(slow) as server, pytest.raises(EnvironmentFault, match=r"no answer within 0.2 s, at try 2 of 2"):
        post(server.url, quick)


def test_an_answer_that_is_cut_short_is_asked_for_again() -> None:
    with serving(Reaction(cut=5), Reaction()) as server:
        assert post(server.url).body.endswith(b"]]}")
        assert len(server.requests) == 2


def test_a_port_that_speaks_no_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail ready\r\n")

        Thread(target=answer, daemon=True).start()
        port = listening.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=r"the connection broke \(BadStatusLine: 220 mail ready"):
            post(f"http://127.0.0.1:{port}/", Patience(timeout_s=2.0, retries=0))


def test_headers_reach_the_server_and_a_redirect_on_its_host_is_followed_with_the_post() -> None:
    with serving(Reaction(status=307, headers={"Location": "/v2/scores"}), Reaction()) as server:
        post(server.url, Authorization="Bearer secret")
        assert [sent["Authorization"] for sent in server.headers] == ["Bearer secret"] * 2
        assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("http://localhost:1/x", 307, "redirects to another host, http://localhost:1; that is refused"),
        ("http://169.254.169.254/x", 308, "redirects to another host"),
        ("ftp://127.0.0.1/x", 307, "redirects to another host|HTTP 307"),
        ("file:///etc/passwd", 307, "HTTP 307"),
        ("/login", 302, "HTTP 302 redirects to /login, which drops what was posted"),
    ],
)
def test_a_redirect_elsewhere_is_refused(place: str, status: int, message: str) -> None:
    with serving(Reaction(status=status, headers={"Location": place})) as server:
        with pytest.raises(BadInputError, match=message):
            post(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "of scheme 'file'; expected http://"),
        ("ftp://host/x", "of scheme 'ftp'"),
        ("host/x", "of scheme ''"),
        ("http:///x", "is not whole"),
        ("http://host:99999/x", "is not a URL"),
        ("http://[::1/x", "is not a URL"),
        ("http://host/a b", "is not whole"),
        ("http://host/x\r\nX-Evil: 1", "is not whole"),
        ("https://me:secret@host/x", "holds a user name or password"),
    ],
)
def test_a_url_that_is_none_of_http_is_refused(url: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


def test_header_values_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORES_TOKEN", "Bearer secret")
    assert headers_from_environment({"Authorization": "SCORES_TOKEN"}) == {"Authorization": "Bearer secret"}
    with pytest.raises(EnvironmentFault, match="environment variable OTHER_TOKEN, which is not set"):
        headers_from_environment({"Authorization": "OTHER_TOKEN"})
    with pytest.raises(BadInputError, match="'X Y' is no header"):
        headers_from_environment({"X Y": "SCORES_TOKEN"})
    monkeypatch.setenv("SCORES_TOKEN", "secret\r\nX-Evil: 1")
    with pytest.raises(EnvironmentFault, match="SCORES_TOKEN holds a line break") as refused:
        headers_from_environment({"Authorization": "SCORES_TOKEN"})
    assert "secret" not in str(refused.value)


def test_an_answer_without_end_is_refused() -> None:
    with serving(Reaction(body=b" " * (2**26 + 1))) as server, pytest.raises(BadInputError, match="more than 64 MiB"):
        post(server.url)


def test_a_wait_ends_when_the_caller_wants_no_more() -> None:
    stop = Event()
    stop.set()
    with serving(Reaction(status=500)) as server, pytest.raises(Stopped):
        Client(server.url, headers={}, patience=Patience(backoff_s=1000.0)).post(BODY, about="a", stop=stop)


@given(attempt=st.integers(0, 500), draw=st.floats(0, 1, exclude_max=True), base=st.floats(0.001, 10))
def test_a_back_off_doubles_at_most_and_is_bounded(attempt: int, draw: float, base: float) -> None:
    pause = backoff(attempt, base_s=base, longest_s=30.0, draw=draw)
    assert 0.0 <= pause <= min(30.0, base * 2.0 ** min(attempt, 60))


def test_the_back_off_of_try_three_is_up_to_eight_times_the_base() -> None:
    assert backoff(3, base_s=0.5, longest_s=60.0, draw=0.75) == 3.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


def test_turns_come_at_the_rate_and_not_before_a_hold_ends() -> None:
    clock = [100.0]
    pace = Pace(4.0, now=lambda: clock[0])
    assert [pace.reserve() for _ in range(3)] == [0.0, 0.25, 0.5]
    clock[0] = 101.0
    assert pace.reserve() == 0.0
    pace.hold(10.0)
    assert [pace.reserve() for _ in range(2)] == [10.0, 10.25]


def test_without_a_rate_every_turn_comes_at_once() -> None:
    pace = Pace(None, now=time.monotonic)
    assert [pace.reserve() for _ in range(3)] == [0.0, 0.0, 0.0]
