"""Pictures of a table and a page for the documentation, by a headless Chromium.

``python -m benchmarks.screenshots RUN --table docs/images/table.png --page docs/images/page.png``
"""

from __future__ import annotations

import argparse
import html
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

STYLE = (
    "body{margin:0;background:#fff}pre{margin:0;padding:12px 14px;display:inline-block;"
    "font:13px/1.35 'DejaVu Sans Mono',monospace;color:#1b1b1b}"
)


def browser(width: int, height: int) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.add_argument("--force-device-scale-factor=2")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def shown(run: Path, columns: int) -> str:
    """Give what ``aliascope show`` prints."""
    command = [sys.executable, "-m", "aliascope", "show", str(run)]
    wide = {**os.environ, "COLUMNS": str(columns)}
    return subprocess.run(command, env=wide, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--columns", type=int, default=112)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=900)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser(chosen.width, chosen.height) as chromium:
        if chosen.table:
            text = html.escape(shown(chosen.run, chosen.columns).strip("\n"))
            file = Path(folder, "table.html")
            file.write_text(f"<meta charset=utf-8><style>{STYLE}</style><pre>{text}</pre>")
            chromium.get(file.as_uri())
            element = chromium.find_element("tag name", "pre")
            chosen.table.write_bytes(element.screenshot_as_png)
        if chosen.page:
            file = Path(folder, "page.html")
            command = [
                sys.executable,
                "-m",
                "aliascope",
                "report",
                str(chosen.run),
                "-o",
                str(file),
            ]
            subprocess.run(command, check=True, capture_output=True)
            chromium.get(file.as_uri())
            chosen.page.write_bytes(chromium.get_screenshot_as_png())


if __name__ == "__main__":
    main()
