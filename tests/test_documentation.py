"""The documentation: its site builds, its links lead somewhere, and its commands exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from aliascope.commands.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_site_builds_with_no_broken_link(tmp_path):
    pytest.importorskip("material")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "reading-the-result" / "index.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", text)
    local = [a or b for a, b in linked if "://" not in (a or b)]
    assert [each for each in local if not (page.parent / each).exists()] == []


def commands(page):
    """Lines in which the page calls the program, joined where they go on."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["aliascope"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_a_page_shows_exist(page):
    for words in commands(page):
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            assert words and words[0] in command.commands, f"aliascope {' '.join(words)}"
            command, words = command.commands[words[0]], words[1:]
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used - known - {"-h", "--help"} == set(), f"{command.name}: {' '.join(words)}"
