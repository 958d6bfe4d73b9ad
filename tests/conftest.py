"""The book, built once for all tests that look at its pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]


def build(folder, **published):
    """Build the HTML from the stored outputs, without executing them; return its folder."""
    environment = os.environ | {"BOOK_URL": "", "GITHUB_REPOSITORY": ""} | published
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]
    for name, path in extensions.items():
        extensions[name] = str(ROOT / path)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "-q", "-W", "-n", "--keep-going"]
    command += ["--config", str(folder / "_config.yml"), "--toc", "_toc.yml"]
    command += ["--path-output", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built HTML."""
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def pages(site):
    """Every page of the book by name: its path, and what stands on it."""
    return {
        path.relative_to(site).as_posix(): (
            path,
            BeautifulSoup(path.read_text(), "html.parser"),
        )
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }
