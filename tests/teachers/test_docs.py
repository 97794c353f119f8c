"""docs/teachers.md: every recipe in it loads, every kind stands in it, and its server answers a real request."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.recipe import parse
from edgekd.recipe.teacher import KEYS
from edgekd.teachers.endpoint import open_endpoint
from edgekd.teachers.endpoint_form import Form
from edgekd.teachers.http import Patience

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
SNIPPETS = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)]


def document(snippet: dict[str, Any]) -> dict[str, Any]:
    """A whole recipe around what a page shows of one."""
    rest = {"name": "page", "student": {"model": "resnet8"}}
    return rest | snippet | {"data": {"source": "data.npz", **snippet.get("data", {})}}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet["teacher"].get("kind", "network"))
def test_a_recipe_of_the_page_loads(snippet: dict[str, Any]) -> None:
    teacher = parse(document(snippet), origin="docs/teachers.md").teacher
    assert teacher is not None and teacher.kind == snippet["teacher"].get("kind", "network")


def test_every_kind_has_its_line_and_its_recipe() -> None:
    shown = {snippet["teacher"].get("kind", "network") for snippet in SNIPPETS}
    assert shown == set(KEYS)
    assert all(f"| `{kind}` |" in PAGE for kind in KEYS)


def test_the_server_of_the_page_answers(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    code = code.replace(".serve_forever()", "").replace(
        'HTTPServer(("127.0.0.1", 8000)', 'server = HTTPServer(("127.0.0.1", 0)'
    )
    own = "server.RequestHandlerClass.log_message = lambda *arguments: None\nprint(server.server_port, flush=True)\n"
    model = "model = lambda x: x.reshape(len(x), -1)[:, :2] / 4.0\n"
    line = [sys.executable, "-c", f"{model}{code}\n{own}server.serve_forever()"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}/"
            inputs = np.arange(12, dtype=np.int16).reshape(3, 4)
            opened = open_endpoint(
                url,
                headers={},
                form=Form(),
                patience=Patience(retries=0),
                folder=tmp_path,
                version="",
                sample=inputs[:1],
            )
            np.testing.assert_array_equal(opened.ask(inputs, None), [[0, 0.25], [1, 1.25], [2, 2.25]])
        finally:
            process.terminate()
