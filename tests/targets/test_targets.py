"""Every shipped target loads and says where its facts come from; a wrong one is refused with all its faults."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekd import compete
from edgekd.errors import BadInputError
from edgekd.targets import Budgets, Target, dump, load, names

SHIPPED = [
    "android-arm64",
    "browser-wasm",
    "cuda-gpu",
    "jetson-orin-nano",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "x86-1t",
    "x86-2t",
    "x86-avx2",
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(name_or_path: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load(name_or_path)
    return str(caught.value)


def edited(folder: Path, old: str, new: str) -> str:
    text = dump(load("x86-1t"))
    assert old in text
    return write(folder, text.replace(old, new))


def test_the_shipped_targets_are_these() -> None:
    assert names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_target_loads_under_its_own_name(name: str) -> None:
    assert load(name).name == name


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_target_links_the_source_of_every_fact(name: str) -> None:
    sources = load(name).sources
    assert sources
    assert all("https://" in source for source in sources)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_target_says_what_a_proxy_run_is_worth(name: str) -> None:
    target = load(name)
    assert target.proxy
    assert target.shows
    assert target.does_not_show


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_target_lets_fp32_and_its_expected_winner_compete(name: str) -> None:
    target = load(name)
    assert "fp32" in target.precisions
    assert target.preferred in target.precisions


@pytest.mark.parametrize("name", SHIPPED)
def test_no_shipped_budget_needs_the_thousand_samples_of_a_p99(name: str) -> None:
    budgets = load(name).budgets
    assert budgets.max_p50_ms is not None
    assert budgets.max_p99_ms is None


def test_without_vnni_a_variant_that_may_saturate_competes_only_where_files_are_made_portable() -> None:
    target = load("x86-avx2")
    names = target.precisions
    chosen = {made: compete.allowed(names, names, "x", isa=target.isa, portable=made)[0] for made in (True, False)}
    assert set(chosen[True]) - set(chosen[False]) == {"int8-u8s8"}
    assert "int8-u8s8-7bit" in chosen[False] and target.preferred == "int8-u8s8-7bit"


@pytest.mark.parametrize("name", ["cuda-gpu", "jetson-orin-nano"])
def test_on_the_cuda_provider_no_int8_competes(name: str) -> None:
    target = load(name)
    assert target.provider == "CUDAExecutionProvider"
    assert target.precisions == ("fp32", "fp16")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_dumped_target_reads_back_equal(name: str, tmp_path: Path) -> None:
    target = load(name)
    assert load(write(tmp_path, dump(target))) == target


@settings(deadline=None, max_examples=50)
@given(text=TEXT, entries=st.dictionaries(TEXT, TEXT, max_size=3), limit=st.floats(min_value=1e-9, max_value=1e15))
def test_any_text_survives_the_round_trip(
    text: str, entries: dict[str, str], limit: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changes: dict[str, Any] = {
        "title": text,
        "sources": (text, '"\\\n\x7f', "\U0001f600"),
        "session_config": entries,
        "budgets": Budgets(max_load_ms=limit),
    }
    target = load("x86-2t").model_copy(update=changes)
    assert load(write(tmp_path_factory.mktemp("dump"), dump(target))) == target


def test_a_target_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load("x86-1t").threads = 2  # type: ignore[misc]


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    assert refusal("raspberry-pi5") == (
        f"unknown target 'raspberry-pi5'; known: {', '.join(SHIPPED)}; did you mean 'raspberry-pi-5'? "
        "(write your own: `path/to/target.toml`)"
    )
    assert "did you mean" not in refusal("pi5")


def test_a_missing_file_says_when_the_name_is_built_in(tmp_path: Path) -> None:
    assert "'x86-1t' without .toml is built in" in refusal(str(tmp_path / "x86-1t.toml"))
    assert "built in" not in refusal(str(tmp_path / "mine.toml"))


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "mine"\nthreads = = 2\n')
    assert refusal(path).startswith(f"{path}:2: TOML syntax error: ")
    path = write(tmp_path, 'name = "mine"\nthreads = [1,')
    assert refusal(path).startswith(f"{path}:2: TOML syntax error: ")


def test_a_folder_and_a_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read: Is a directory" in refusal(str(tmp_path / "folder.toml"))
    assert "is not UTF-8 text (byte 0)" in refusal(str(tmp_path / "bytes.toml"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, dump(load("x86-1t")))
    Path(path).chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_wrong_type_is_found_and_expected(tmp_path: Path) -> None:
    path = edited(tmp_path, "\nthreads = 1\n", '\nthreads = "two"\n')
    assert refusal(path) == f'target {path}: 1 problem(s)\n  threads: found "two", expected integer'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 1\n", "threads = 0\n", "threads: found 0, expected more than 0"),
        ("threads = 1\n", "threads = 1\nthreadz = 2\n", "threadz: unknown key; did you mean 'threads'?; known: name,"),
        ("max_p50_ms", "max_p5_ms", "budgets.max_p5_ms: unknown key; did you mean 'max_p50_ms'?; known: max_p50_ms,"),
        ("max_load_ms = 5000.0", "max_load_ms = inf", "budgets.max_load_ms: found Infinity, expected finite number"),
        ("spinning = true", "spinning = 1", "spinning: found 1, expected true or false"),
        ("proxy = true\n", "", "proxy: missing, expected in every target"),
        ('"CPUExecutionProvider"', '"cpu"', 'provider: found "cpu", expected text that matches'),
        ('preferred = "int8-u8s8"', 'preferred = "int9"', "preferred: found \"int9\", expected 'fp32', 'fp16', "),
        ('preferred = "int8-u8s8"', 'preferred = "fp16"\nisa = 1979-05-27', 'isa: found "1979-05-27", expected string'),
        ('  "fp16",\n', "", "preferred is 'fp16'; expected one of precisions: fp32, int8-u8s8"),
        ('  "fp16",\n', '  "fp32",\n', "precisions names a variant twice; remove the second"),
        ("shows = ", 'shows = ""\ndescription2 = ', "description2: unknown key; did you mean 'description'?"),
    ],
)
def test_each_mistake_is_told(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = dump(load("x86-1t").model_copy(update={"preferred": "fp16"} if "preferred is" in message else {}))
    assert old in text
    assert f"\n  {message}" in refusal(write(tmp_path, text.replace(old, new, 1)))


def test_a_proxy_that_does_not_say_what_it_shows_is_refused(tmp_path: Path) -> None:
    target = load("x86-1t").model_copy(update={"shows": ""})
    assert "proxy is true; expected shows and does_not_show" in refusal(write(tmp_path, dump(target)))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, 'threads = "two"\nspinning = 1\ntitel = "x"\n[budgets]\nmax_p50_ms = -1.0\n')
    message = refusal(path)
    for line in ("threads: found", "spinning: found", "titel: unknown key", "budgets.max_p50_ms: found -1.0"):
        assert f"\n  {line}" in message
    assert f"{message.count(chr(10))} problem(s)" in message


def test_a_minimal_target_of_ones_own_loads(tmp_path: Path) -> None:
    target = load(
        write(
            tmp_path,
            'name = "mine"\ntitle = "Mine"\nprovider = "CPUExecutionProvider"\nthreads = 2\nspinning = true\n'
            'precisions = ["fp32"]\npreferred = "fp32"\nmemory_bytes = 1_000_000\nproxy = false\n'
            '[session_config]\n"session.x64quantprecision" = "1"\n',
        )
    )
    assert isinstance(target, Target)
    assert target.session_config == {"session.x64quantprecision": "1"}
    assert (target.inter_op_threads, target.graph_optimization, target.budgets) == (1, "all", Budgets())


def test_targets_import_neither_torch_nor_onnxruntime() -> None:
    code = "import sys, edgekd.targets as t; t.load('x86-1t'); print({'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
