"""`edgekd ci` takes the report of `edgekd language`: its gate has the same form, and is made again first."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgekd import rebundle
from edgekd.ci import FORMATS, annotations, headline, read
from edgekd.errors import BadInputError

from ..language import reports  # noqa: TID252  one sample report for both

MACHINE = {"cpu_model": "EPYC", "isa": "avx2", "packages": {"onnxruntime": "1.32.0"}}


def saved(folder: Path, *, without: str = "", **limits: float) -> Path:
    made: dict[str, Any] = reports.report(**limits)
    made |= {"created": "2026-11-28T05:00:00+00:00", "environment": MACHINE}
    made |= {"session": {"threads": 1, "provider": "CPUExecutionProvider"}}
    made.pop(without, None)
    (folder / "report.json").write_text(json.dumps(made))
    return folder / "report.json"


def test_a_language_report_is_told_in_every_form(tmp_path: Path) -> None:
    document = read(saved(tmp_path))
    assert (document.kind, document.verdict, document.name, document.target) == ("language", "pass", "story", "x86-1t")
    assert headline(document) == "PASS: story, fp32, ships on x86-1t"
    texts = {name: make([document]) for name, make in FORMATS.items()}
    cases = ElementTree.fromstring(texts["junit"]).iter("testcase")
    assert [case.get("name") for case in cases] == ["max_perplexity_ratio", "max_token_ms", "max_size_bytes"]
    for name in ("summary", "comment"):
        assert "max_perplexity_ratio" in texts[name] and "by proxy" in texts[name] and "EPYC (avx2)" in texts[name]
    told = json.loads(texts["bencher"])["story on x86-1t"]
    assert told.keys() >= {"latency", "perplexity-ratio", "file-size"}
    assert told["perplexity-ratio"]["value"] == pytest.approx(1.22957, abs=1e-5)
    assert json.loads(texts["benchmark"])
    assert annotations([document])[0].startswith("::notice title=edgekd pass%3A story on x86-1t::PASS")


def test_a_missed_limit_is_an_error_and_a_failure(tmp_path: Path) -> None:
    document = read(saved(tmp_path, max_token_ms=0.5))
    assert document.verdict == "fail" and headline(document) == "FAIL: story, fp32: misses a limit on x86-1t"
    assert annotations([document])[0].startswith("::error title=edgekd fail%3A story on x86-1t%2C max_token_ms::")
    assert 'failures="1"' in FORMATS["junit"]([document])


def test_an_edited_or_unwhole_report_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_text(path.read_text().replace('"limit": 1.5', '"limit": 2.5'))
    with pytest.raises(BadInputError, match="raw_sha256"):
        read(path)
    for missing in ("environment", "session", "created", "gate"):
        with pytest.raises(BadInputError, match=r"report\.json: "):
            read(saved(tmp_path, without=missing))


def test_a_bundle_of_it_is_where_its_run_made_it(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(BadInputError, match=r"is of `edgekd language`; .*the bundle to ship is .*/bundle"):
        rebundle.rebundle(tmp_path, out=tmp_path / "out", variant=None)
