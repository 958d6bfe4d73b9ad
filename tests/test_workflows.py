"""The workflows do what a contributor does by hand: they call make, and targets that exist."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def jobs(workflow):
    return WORKFLOWS[workflow]["jobs"].values()


def commands(workflow):
    steps = [step for job in jobs(workflow) for step in job["steps"]]
    return [
        line for step in steps if "run" in step for line in step["run"].splitlines()
    ]


def pythons(workflow):
    """Every version of Python that a workflow asks for, with those of a matrix."""
    text = (ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text()
    return set(re.findall(r'python(?:-version)?: "(3\.\d+)"', text))


def test_there_is_a_workflow_for_the_book_the_tests_and_a_release():
    assert WORKFLOWS.keys() == {"book", "release", "tests"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_calls_only_targets_of_make_that_exist(name):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    called = [line for line in commands(name) if line.startswith("make")]
    assert called
    for line in called:
        assert set(line.split()[1:]) <= set(targets), line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_job_has_an_end_and_no_more_rights_than_it_needs(name):
    rights = WORKFLOWS[name]["permissions"]
    assert set(rights.values()) == {"read"}
    for job in jobs(name):
        assert job["timeout-minutes"] <= 120
        assert ("id-token" in job.get("permissions", {})) == ("environment" in job)


def test_the_book_is_built_by_the_two_commands_of_the_readme():
    assert commands("book") == ["make test", "make book"]
    assert pythons("book") == {PROJECT["requires-python"].removeprefix(">=")}


def test_the_tests_run_on_every_python_that_the_package_names():
    named = "Programming Language :: Python :: (3.[0-9]+)"
    found = [re.fullmatch(named, line) for line in PROJECT["classifiers"]]
    assert {match[1] for match in found if match} == pythons("tests") | pythons("book")


@pytest.mark.parametrize("name", ["book", "tests"])
def test_the_book_and_its_tests_are_made_from_nothing_every_week(name):
    assert "schedule" in WORKFLOWS[name][True]  # YAML 1.1 reads "on" so
