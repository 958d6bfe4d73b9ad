"""The built book, served, and a browser to look at it: made once for all tests."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from browser import NAMES, chromium, find_chromium, serve
from bs4 import BeautifulSoup
from filelock import FileLock
from hypothesis import settings
from playwright.sync_api import expect

# Not as it is installed, before what is imported is measured: see addopts in pyproject.toml.
pytest_plugins = ["companion.audit.pytest_plugin"]
ROOT = Path(__file__).parents[1]
# The same examples in every run, however slow the machine, and no folder of them.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")
expect.set_options(timeout=30_000)  # milliseconds: a busy machine is slow, not wrong


def pytest_collection_modifyitems(items):
    """Long files first, then those with many tests, so that no core is left alone at the end."""
    size = Counter(item.path for item in items)

    def turn(item):
        builds, notebook = (
            item.path.stem == "test_publish",
            item.path.suffix == ".ipynb",
        )
        return not builds, not notebook, -size[item.path], item.path

    items.sort(key=turn)


def build(folder, builder="html", **published):
    """Build the book from the stored outputs, without executing them; return its folder."""
    environment = os.environ | {"BOOK_URL": "", "GITHUB_REPOSITORY": ""} | published
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]
    for name, place in extensions.items():
        extensions[name] = str(ROOT / place)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", ROOT, "-q", "-W", "-n", "--keep-going"]
    command += ["--config", folder / "_config.yml", "--toc", "_toc.yml"]
    command += ["--path-output", folder, "--builder", builder]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / builder


def build_alone(folder, builder="html"):
    """Build the few pages that a test has written, by Sphinx with the book's extensions at hand."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", builder, ".", "out"]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT / 'book' / '_ext'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of a build that is made once for all workers: by the first one that asks."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def build_once(name, builder="html", after=None, **published):
        place, done = folder / name, folder / f"{name}.done"
        with FileLock(folder / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                if after is not None:  # pages that are read need not be read again
                    kept = "_build/.doctrees"
                    shutil.copytree(after.parents[1] / kept, place / kept)
                build(place, builder, **published)
                done.touch()
        return place / "_build" / builder

    return build_once


@pytest.fixture(scope="session")
def site(built):
    """The folder of the built HTML."""
    return built("site")


@pytest.fixture(scope="session")
def pages(site):
    """Every page by name: its path and its soup."""
    return {
        path.relative_to(site).as_posix(): (
            path,
            BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser"),
        )
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served on loopback, without a slash at its end."""
    with serve(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """Chromium, driven by Playwright."""
    program = find_chromium()
    if program is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(
            f"no Chromium found (looked for {', '.join(NAMES)}): install it with "
            "'apt install chromium' or your system's like"
        )
    with chromium(program) as browser:
        yield browser
