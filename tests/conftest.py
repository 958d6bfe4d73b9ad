"""The built book and a browser to read it with, for every test that asks for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the HTML, built from the stored outputs, without executing them."""
    folder = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]
    for name, place in extensions.items():
        extensions[name] = str(ROOT / place)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "-q", "-W", "-n", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--toc", "_toc.yml"]
    command += ["--path-output", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site):
    """Every page of the book by name: where it is, and what is in it."""
    return {
        path.relative_to(site).as_posix(): (
            path,
            BeautifulSoup(path.read_text(), "html.parser"),
        )
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser on the path; looked for {', '.join(names)}")
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=as_root)
        yield browser
        browser.close()
