"""The page as a browser lays it out: nothing wider than the window, every picture drawn, nothing fetched."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekd import report

from .sample import build

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
)
PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, drawn = [...document.querySelectorAll("figure svg")];
  root.dataset.overflow = root.scrollWidth - root.clientWidth;
  root.dataset.drawn = drawn.filter((svg) => svg.getBoundingClientRect().height > 50).length + "/" + drawn.length;
  root.dataset.fetched = performance.getEntriesByType("resource").length;
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [500, 1200])  # 500 is the narrowest window that headless Chromium opens
def test_the_page_fits_the_window_and_draws_every_chart(tmp_path: Path, width: int) -> None:
    page = report.write(build(), tmp_path).html
    # The page's own policy forbids every script; the probe is the one exception.
    text = page.read_text().replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    command = [str(CHROMIUM), *FLAGS, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    seen = dict(re.findall(r'data-(overflow|drawn|fetched)="([^"]+)"', done.stdout[:2000]))
    assert seen == {"overflow": "0", "drawn": "5/5", "fetched": "0"}
