"""How many cells at a time, on how many threads, on which GPU."""

from pathlib import Path

import pytest

from edgekd.study.place import Places, decide

from .sample import whole


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize(
    ("jobs", "cores", "expected"),
    [(None, 2, (2, 1)), (None, 64, (43, 1)), (1, 8, (1, 8)), (3, 8, (3, 2)), (99, 8, (43, 1))],
)
def test_cores_are_shared_among_the_cells(
    jobs: int | None, cores: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    places = decide(whole(), folder=tmp_path, jobs=jobs, cores=cores)
    assert (places.jobs, places.threads, places.gpus) == (*expected, ())


def test_a_folder_keeps_its_number_of_threads_because_the_bits_depend_on_it(tmp_path: Path) -> None:
    assert decide(whole(), folder=tmp_path, jobs=1, cores=4).threads == 4
    assert decide(whole(), folder=tmp_path, jobs=4, cores=4).threads == 4
    (tmp_path / "places.json").write_text("{")
    assert decide(whole(), folder=tmp_path, jobs=4, cores=4).threads == 1


def test_what_the_user_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert decide(whole(), folder=tmp_path, jobs=2, cores=8).threads == 3


def test_workers_take_turns_on_the_gpus() -> None:
    places = Places(jobs=3, threads=2, gpus=("0", "GPU-ab"))
    environments = places.environments()
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0", "GPU-ab", "0"]
    assert {environment["OMP_NUM_THREADS"] for environment in environments} == {"2"}
    assert {
        environment["CUDA_VISIBLE_DEVICES"] for environment in Places(jobs=2, threads=1, gpus=()).environments()
    } == {""}
