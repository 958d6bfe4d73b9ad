"""The long experiments: what is stored is what the programs would have to run."""

import importlib
import json
import math
import sys
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from companion.data import Dataset
from companion.network import MLP

ROOT = Path(__file__).parents[1]
NAMES = ["pytorch_networks"]


@pytest.fixture
def load(monkeypatch):
    """Import a program of the folder, or what the programs share, afresh."""
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "2")  # is put back; the programs set it to 1

    def fresh(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield fresh
    for name in (
        *NAMES,
        "scikit_learn_dropout",
        "audit_alarms",
        "audit_right",
        "moving_figures",
        "fresh_mask",
        "layer_times",
        "runs",
    ):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(load):
    return load("runs")


@pytest.fixture(params=NAMES)
def program(request, load):
    return load(request.param)


@pytest.fixture
def networks(load):
    return load("pytorch_networks")


def stored(program):
    return json.loads(program.RESULTS.read_text())


# What is stored


def test_results_are_what_the_program_would_write_now(program, monkeypatch):
    asked = []
    monkeypatch.setattr(program, "run_missing", lambda *args: asked.append(args))
    monkeypatch.setattr(program.data, "load", lambda name, split="all": "")
    program.main()
    ((results, what, wanted, run, settings, packages),) = asked
    assert results == ROOT / "reproduce" / f"{program.__name__}.json"
    assert run is program.run
    content = stored(program)
    keys = [{name: run[name] for name in wanted[0]} for run in content["runs"]]
    assert sorted(keys, key=str) == sorted(wanted, key=str)
    assert content["settings"] == settings == program.SETTINGS
    assert content["what"] == what == program.WHAT
    assert content["command"] == "make reproduce"
    assert content["versions"].keys() == {"python", *packages}


def test_network_runs_are_three_tutorials_with_their_layers_and_seeds(networks):
    runs = stored(networks)["runs"]
    names = "network", "variant", "layer", "seed"
    keys = [tuple(run[name] for name in names) for run in runs]
    own, rates = "torch.nn.Dropout", ("none", "0.5, 0.5")
    layers = "one mask, no scale", "one mask, scaled", own
    blog = product(["blog"], ["as printed", "repaired"], layers, range(3))
    pairs = product(["d2l"], rates, [own], range(3))
    apxml = product(["apxml"], rates[1:], [own], range(10))
    assert sorted(keys) == sorted([*blog, *pairs, *apxml])


def test_network_runs_have_one_measurement_an_epoch(networks):
    for run in stored(networks)["runs"]:
        assert run.get("seconds", 1) > 0
        settings = networks.SETTINGS[run["network"]]
        for part, what in product(("train", "test"), ("loss", "accuracy")):
            values = run[f"{part}_{what}"]
            assert len(values) == settings["epochs"]
            # a uniform guess among 10 classes has log(10) nats
            assert 0 < min(values) <= max(values) < (1 if what[0] == "a" else 2.31)
        if run["network"] == "blog":
            assert 0 < run["macro_f1"] < 1
        if run["network"] == "apxml":
            assert len(run["accuracy_left_on"]) == settings["calls"]


def test_runs_that_are_stored_are_not_repeated(program, tmp_path, monkeypatch):
    copy = tmp_path / "results.json"
    before = program.RESULTS.read_text()
    copy.write_text(before)
    monkeypatch.setattr(program, "RESULTS", copy)
    monkeypatch.setattr(program.data, "load", lambda name, split="all": "")
    program.main()
    assert copy.read_text() == before
    assert list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize(
    ("name", "there", "missing"),
    [
        ("pytorch_networks", [], "mnist"),
        ("pytorch_networks", ["fashion-mnist"], "mnist"),
        ("pytorch_networks", ["mnist"], "fashion-mnist"),
    ],
)
def test_missing_data_is_said_before_anything_is_started(
    name, there, missing, load, tmp_path, monkeypatch
):
    program = load(name)
    real = program.data.load
    monkeypatch.setattr(
        program.data,
        "load",
        lambda name, split="all": "" if name in there else real(name, split=split),
    )
    monkeypatch.setattr(program, "run_missing", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results.json")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"(?<!-){missing}\b"):
        program.main()
    assert list(tmp_path.iterdir()) == []


# What a run does


@pytest.fixture
def tiny(networks, monkeypatch):
    """All networks with a few random images, and the threads put back."""
    before, rng = torch.get_num_threads(), np.random.default_rng(0)
    torch.set_num_threads(2)
    sizes = {"train": 70, "test": 20}
    sets = {
        name: {
            part: Dataset(rng.random((n, 784), "f4") + shift, rng.integers(10, size=n))
            for part, n in sizes.items()
        }
        for name, shift in (("mnist", 0), ("fashion-mnist", 1))
    }
    monkeypatch.setattr(networks.data, "load", lambda name, *, split: sets[name][split])
    monkeypatch.setitem(networks.SETTINGS["d2l"], "epochs", 3)
    yield networks
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("network", "variant", "layer"),
    [
        ("apxml", "0.5, 0.5", "torch.nn.Dropout"),
        ("blog", "repaired", "one mask, scaled"),
        ("blog", "as printed", "torch.nn.Dropout"),
        ("d2l", "none", "torch.nn.Dropout"),
        ("d2l", "0.5, 0.5", "torch.nn.Dropout"),
    ],
)
def test_a_network_run_gives_what_is_stored_and_repeats(network, variant, layer, tiny):
    first, again, other = (tiny.run(network, variant, layer, s) for s in (0, 0, 1))
    assert first == again != other
    key = {"network", "variant", "layer", "seed", "seconds"}
    (like,) = {frozenset(r) for r in stored(tiny)["runs"] if r["network"] == network}
    assert first.keys() | key == like | {"seconds"}
    beginning = tiny.run(network, variant, layer, 0, **tiny.BEGINNING)
    assert beginning == {name: first[name][:1] for name in beginning}
    assert torch.get_num_threads() == 1
    json.dumps(first)


@pytest.mark.parametrize("network", ["apxml", "blog", "d2l"])
def test_a_network_run_trains_as_its_settings_say(network, tiny, monkeypatch):
    variant = "repaired" if network == "blog" else "0.5, 0.5"
    asked, fit = [], tiny.training.fit

    def spy(model, X, y, **kwargs):
        first = model[0].weight.detach().clone()
        asked.append((first, model, X, y, kwargs))
        return fit(model, X, y, **kwargs)

    monkeypatch.setattr(tiny.training, "fit", spy)
    result = tiny.run(network, variant, "torch.nn.Dropout", 2)
    ((first, model, X, y, kwargs),) = asked
    make = {
        "apxml": lambda: tiny.perceptron((256, 128), (0.5, 0.5)),
        "blog": lambda: tiny.blog_network(variant, nn.Dropout()),
        "d2l": lambda: tiny.perceptron((256, 256), (0.5, 0.5)),
    }[network]
    assert torch.equal(first, tiny.training.seeded(2, make)[0].weight)
    rates = [part.p for part in model if isinstance(part, nn.Dropout)]
    assert rates == ([0.5] if network == "blog" else [0.5, 0.5])
    settings = tiny.SETTINGS[network]
    train, test = (tiny.data.load(settings["data"], split=s) for s in ("train", "test"))
    assert X is train.X
    assert y is train.y
    assert kwargs["validation"] is test
    assert kwargs["seed"] == 2
    assert kwargs["epochs"] == settings["epochs"]
    assert kwargs["batch_size"] == settings["batch_size"]
    name, kind = ("sgd", "SGD") if network == "d2l" else ("adam", "Adam")
    assert type(kwargs["optimizer"]).__name__ == kind
    assert kwargs["optimizer"].param_groups[0]["lr"] == settings[name]
    if network == "apxml":
        left_on = tiny.training.seeded(2, lambda: tiny.accuracies_left_on(model, test))
        assert left_on == result["accuracy_left_on"]
    loss, accuracy = tiny.training.evaluate(model, *test)
    assert result["test_accuracy"][-1] == pytest.approx(accuracy, abs=1e-6)
    assert result["test_loss"][-1] == pytest.approx(loss, abs=1e-6)
    if network == "blog":
        guesses = tiny.training.predict(model, test.X).argmax(1).numpy()
        present = np.union1d(guesses, test.y)
        right = [((guesses == c) & (test.y == c)).sum() for c in present]
        both = [(guesses == c).sum() + (test.y == c).sum() for c in present]
        f1 = np.mean(2 * np.array(right) / both)
        assert result["macro_f1"] == pytest.approx(f1, abs=1e-6)


# The networks


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("scaled", [True, False])
def test_a_shared_mask_drops_the_same_units_of_every_row(scaled, p, networks):
    layer, x = networks.SharedMask(p, scaled=scaled), torch.rand(6, 1000) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = layer(x), layer(x)
    kept = first[0] != 0
    scale = 1 / (1 - p) if scaled else 1
    torch.testing.assert_close(first, x * kept * scale)
    # 5 standard errors
    assert abs(kept.double().mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / 1000)
    assert torch.equal(first, second) == (p == 0)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_shared_mask_drops_nothing_in_evaluation(scaled, networks):
    x = torch.rand(6, 10)
    assert networks.SharedMask(0.5, scaled=scaled).eval()(x) is x


def test_layers_are_what_they_are_called(networks):
    layers = {name: make(0.3) for name, make in networks.LAYERS.items()}
    assert {layer.p for layer in layers.values()} == {0.3}
    assert type(layers["torch.nn.Dropout"]) is nn.Dropout
    for name, scaled in (("one mask, scaled", True), ("one mask, no scale", False)):
        assert type(layers[name]) is networks.SharedMask
        assert layers[name].scaled is scaled


@pytest.mark.parametrize(
    ("version", "kinds", "outputs"),
    [
        ("as printed", "Linear Linear Dropout", 512),
        ("repaired", "Linear ReLU Linear ReLU Dropout Linear", 10),
    ],
)
def test_the_blog_network_in_each_version(version, kinds, outputs, networks):
    assert version in networks.BLOG
    layer = nn.Dropout(0.5)
    network = networks.blog_network(version, layer)
    assert [type(part).__name__ for part in network] == kinds.split()
    assert any(part is layer for part in network)
    hidden = [part.out_features for part in network if isinstance(part, nn.Linear)]
    assert hidden == [512, 512, 10][: len(hidden)]
    assert network(torch.ones(2, 784)).shape == (2, outputs)


@pytest.mark.parametrize("sizes", [(256, 256), (256, 128)])
def test_the_multilayer_perceptron_drops_after_each_activation(sizes, networks):
    network = networks.perceptron(sizes, networks.RATES["0.5, 0.5"])
    kinds = [type(part).__name__ for part in network]
    assert kinds == 2 * ["Linear", "ReLU", "Dropout"] + ["Linear"]
    assert (network[2].p, network[5].p) == (0.5, 0.5)
    assert [network[i].out_features for i in (0, 3, 6)] == [*sizes, 10]
    assert network(torch.ones(2, 784)).shape == (2, 10)


# Running what is missing

PROGRAM = """
import multiprocessing
import os
import time
from pathlib import Path

HERE, START = Path(__file__).parent, time.perf_counter()


def run(name, seed):
    with open(HERE / "log", "a") as log:
        print(name, seed, file=log)
    if name == "fails" and not (HERE / "mended").exists():
        while (HERE / "results.json").read_text().count("threads") < 2:
            time.sleep(0.01)
            assert time.perf_counter() < START + 10, "two runs are not stored"
        raise RuntimeError("not today")
    if name == "slow":
        time.sleep(0.5)
    threads = os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]
    return {"threads": threads, "process": type(multiprocessing.current_process()).__name__}
"""


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    (tmp_path / "experiment.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("experiment")
    del sys.modules["experiment"]


def ran(folder):
    return sorted((folder / "log").read_text().splitlines())


def keys_of(results):
    return [
        {"name": run["name"], "seed": run["seed"]}
        for run in json.loads(results.read_text())["runs"]
    ]


def test_each_missing_run_is_run_once_with_one_thread_and_stored(
    runs, experiment, tmp_path
):
    wanted = [{"name": name, "seed": seed} for name in "ba" for seed in range(2)]
    results = tmp_path / "results.json"
    old = {**wanted[2], "note": "stored before"}
    runs.save(
        results,
        "a toy",
        [old, {"name": "no longer wanted", "seed": 0}],
        {"size": 3},
        (),
    )
    runs.run_missing(results, "a toy", wanted, experiment.run, {"size": 3}, ["numpy"])
    content = json.loads(results.read_text())
    assert content["settings"] == {"size": 3}
    assert content["versions"]["numpy"] == np.__version__
    assert keys_of(results) == wanted
    assert ran(tmp_path) == ["a 1", "b 0", "b 1"]
    assert content["runs"].pop(2) == old
    for run in content["runs"]:
        assert run["threads"] == ["1", "1"]
        assert run["process"] == "SpawnProcess"


def test_a_program_that_is_interrupted_keeps_what_is_done_and_goes_on_there(
    runs, experiment, tmp_path
):
    names = ("first", "second", "fails")
    wanted = [{"name": name, "seed": 0} for name in names]
    results = tmp_path / "results.json"
    runs.save(results, "a toy", [], {}, ())
    with pytest.raises(RuntimeError, match="not today"):
        runs.run_missing(results, "a toy", wanted, experiment.run, {}, [])
    assert keys_of(results) == wanted[:2]
    (tmp_path / "mended").touch()
    (tmp_path / "log").unlink()
    runs.run_missing(results, "a toy", wanted, experiment.run, {}, [])
    assert ran(tmp_path) == ["fails 0"]
    assert keys_of(results) == wanted


def test_a_run_that_fails_at_once_costs_no_other_run(runs, experiment, tmp_path):
    wanted = [{"name": name, "seed": 0} for name in ("fails", "a", "b", "slow")]
    results = tmp_path / "results.json"
    runs.save(results, "a toy", [], {}, ())
    with pytest.raises(RuntimeError, match="not today"):
        runs.run_missing(results, "a toy", wanted, experiment.run, {}, [])
    assert keys_of(results) == wanted[1:]


def test_results_of_other_settings_are_not_added_to(runs, experiment, tmp_path):
    results = tmp_path / "results.json"
    runs.save(results, "a toy", [{"name": "a", "seed": 0}], {"size": 2}, ())
    with pytest.raises(ValueError, match=r"(?s)'size': 2.*'size': 3.*Delete it"):
        runs.run_missing(
            results,
            "a toy",
            [{"name": "b", "seed": 0}],
            experiment.run,
            {"size": 3},
            [],
        )
    assert keys_of(results) == [{"name": "a", "seed": 0}]


def test_a_run_is_missing_unless_all_of_its_key_is_stored(runs, experiment, tmp_path):
    results = tmp_path / "results.json"
    near = [{"name": "a", "seed": 1}, {"name": "b", "seed": 0}]
    runs.save(results, "a toy", near, {}, ())
    wanted = [{"name": "a", "seed": 0}]
    runs.run_missing(results, "a toy", wanted, experiment.run, {}, [])
    assert ran(tmp_path) == ["a 0"]
    assert keys_of(results) == wanted


def test_results_are_replaced_in_one_go(runs, tmp_path):
    results = tmp_path / "results.json"
    run = {"text": "all", "dropout": "none", "seed": 0}
    runs.save(results, "a toy", [run], {"size": 3}, ["numpy", "torch"])
    content = json.loads(results.read_text())
    assert content["runs"] == [run]
    assert content["settings"] == {"size": 3}
    assert content["command"] == "make reproduce"
    assert abs(datetime.now(UTC).date() - date.fromisoformat(content["date"])).days <= 1
    assert content["versions"].keys() == {"python", "numpy", "torch"}
    assert content["versions"]["torch"] == torch.__version__
    assert list(tmp_path.iterdir()) == [results]
    with pytest.raises(TypeError):
        runs.save(results, "a toy", [{"held_out": {1.5}}], {}, ())
    assert json.loads(results.read_text()) == content


def test_results_stay_whole_if_writing_stops_halfway(runs, tmp_path, monkeypatch):
    results = tmp_path / "results.json"
    runs.save(results, "a toy", [{"seed": 0}], {}, ())
    before, write = results.read_text(), Path.write_text

    def stop(path, text):
        write(path, text[:20])
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", stop)
    with pytest.raises(OSError, match="full"):
        runs.save(results, "a toy", [{"seed": 0}, {"seed": 1}], {}, ())
    assert results.read_text() == before


@pytest.fixture
def runs_and_settings(request, load, monkeypatch):
    """What is stored, once it is seen to be what the program would write now."""
    program, asked = load(request.param), []
    monkeypatch.setattr(program, "run_missing", lambda *args: asked.append(args))
    program.main()
    ((results, what, wanted, run, settings, packages),) = asked
    content = stored(program)
    assert (results, run) == (program.RESULTS, program.run)
    assert [{name: r[name] for name in wanted[0]} for r in content["runs"]] == wanted
    assert content["what"] == what == program.WHAT
    assert content["settings"] == settings
    assert content["versions"].keys() == {"python", *packages}
    return content["runs"], settings


@pytest.mark.parametrize("runs_and_settings", ["scikit_learn_dropout"], indirect=True)
def test_scikit_learn_runs_are_every_model_on_every_fold(runs_and_settings):
    runs, settings = runs_and_settings
    for run in runs:
        chosen = ["learning_rate_init"]
        chosen += ["dropout"] if run["model"] == "with dropout" else []
        for name in ("accuracy", "log_loss", *chosen):
            assert len(run[name]) == settings["folds"]
        assert 0.8 < min(run["accuracy"]) <= max(run["accuracy"]) <= 1
        for name in chosen:
            assert set(run[name]) <= set(settings[name])
        assert len(run["first_loss"]) == settings["max_iter"]
        assert run.get("seconds", 1) > 0


@pytest.mark.parametrize("model", ["without", "with dropout"])
def test_a_scikit_learn_run_is_what_its_settings_say(model, load, monkeypatch):
    program = load("scikit_learn_dropout")
    fixed = {"hidden_layer_sizes": [2, 3], "batch_size": 50, "max_iter": 60}
    few = {"folds": 3, "inner_folds": 2, "samples": 150}
    grid = {"learning_rate_init": [0.01, 0.011]}  # so near that a detail decides
    if model == "with dropout":
        grid = {"dropout": [0.1, 0.11, 0.12]} | grid
    for name, value in (fixed | few | grid).items():
        monkeypatch.setitem(program.SETTINGS, name, value)
    X, y = (part[:150] for part in load_wine(return_X_y=True))
    X = X.astype(np.float32)

    def splits(n, samples):
        folds = StratifiedKFold(n, shuffle=True, random_state=1)
        return folds.split(X[samples], y[samples])

    def fitted(samples, **params):
        params = {"dropout": 0.0, "random_state": 1, "n_iter_no_change": 60} | params
        network = program.MLPDropoutClassifier(**fixed, **params)
        with pytest.warns(ConvergenceWarning):  # to the last epoch
            return make_pipeline(StandardScaler(), network).fit(X[samples], y[samples])

    def loss_of(pipeline, samples):
        guesses = pipeline.predict_proba(X[samples]).astype(float)
        return -np.log(guesses[np.arange(len(samples)), y[samples]]).mean()

    points = [
        dict(zip(grid, values, strict=True)) for values in product(*grid.values())
    ]
    expected = {"accuracy": [], "log_loss": []} | {name: [] for name in grid}
    curves = []
    for train, test in splits(3, np.arange(len(y))):
        inner = [(train[a], train[b]) for a, b in splits(2, train)]
        losses = [
            sum(loss_of(fitted(a, **point), b) for a, b in inner) for point in points
        ]
        best = points[np.argmin(losses)]
        for name, value in best.items():
            expected[name].append(value)
        pipeline = fitted(train, **best)
        expected["accuracy"].append((pipeline.predict(X[test]) == y[test]).mean())
        expected["log_loss"].append(loss_of(pipeline, test))
        curves.append(fitted(train, **points[0])[-1].loss_curve_)
    expected["first_loss"] = np.mean(curves, axis=0)
    measured = program.run("wine", model, 1)
    assert measured == {n: pytest.approx(v, abs=2e-6) for n, v in expected.items()}


@pytest.mark.parametrize("runs_and_settings", ["audit_alarms"], indirect=True)
def test_audit_runs_are_every_block_of_every_rate(runs_and_settings):
    runs, settings = runs_and_settings
    assert {len(run["failed"]) for run in runs} == {settings["audits"]}


def test_an_audit_run_names_what_fails_first(load, monkeypatch):
    program = load("audit_alarms")
    monkeypatch.setitem(program.SETTINGS, "audits", 2)
    usual = program.USUAL
    assert program.run(1e-6, usual, 0.0, 0) == {"failed": ["", ""]}
    assert program.run(1e-6, usual, 0.01, 3) == {"failed": ["drop rate", "drop rate"]}
    assert program.run(1e-6, "paths", 0.01, 3, audits=1) == {"failed": ["drop rate"]}


@pytest.mark.parametrize("runs_and_settings", ["cost_of_mistakes"], indirect=True)
def test_every_mistake_was_trained_at_every_rate_with_every_seed(runs_and_settings):
    runs, settings = runs_and_settings
    keys = {(run["variant"], run["rate"], run["seed"]) for run in runs}
    assert len(keys) == len(runs) == 6 * len(settings["rates"]) * settings["seeds"]
    for run in runs:
        assert (
            len(run["validation_loss"])
            == settings["epochs"] / settings["measured_every"]
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", ["one mask a batch", "no scale", "1/p, p = 0.2"])
def test_a_mistake_is_the_one_it_is_called(variant, training, load):
    program = load("cost_of_mistakes")
    Layer, p = program.LAYERS[variant]
    x = torch.ones(64, 1000)
    y = Layer(p).train(training)(x)
    if not training:
        assert y is x
        return
    scale = {"one mask a batch": 2, "no scale": 1, "1/p, p = 0.2": 5}[variant]
    assert set(y.unique().tolist()) == {0, scale}
    rows = len({tuple(row) for row in y.tolist()})
    assert rows == (1 if variant == "one mask a batch" else 64)
    assert abs((y == 0).float().mean() - p) < 5 * math.sqrt(p * (1 - p) / 1000)


def test_a_dropout_that_is_off_by_a_little_has_that_rate_and_the_scale_of_p(load):
    program, rng = load("audit_alarms"), np.random.default_rng(0)
    x = np.ones(1_000_000)
    off = program.off_by(0.01, whole=False)
    y = off(x, 0.5, True, rng)
    assert set(np.unique(y)) == {0, 2}
    assert abs((y == 0).mean() - 0.51) < 5 * math.sqrt(0.51 * 0.49 / x.size)
    for p, training in [(0, True), (1, True), (0.5, False)]:
        np.testing.assert_array_equal(off(x, p, training, rng), x if p < 1 else 0 * x)


@pytest.mark.parametrize("runs_and_settings", ["moving_figures"], indirect=True)
def test_moving_figures_are_one_unit_and_nine_pairs_of_curves(runs_and_settings):
    runs, settings = runs_and_settings
    unit, *curves = runs
    assert (unit["figure"], len(curves)) == ("distribution", 9)
    assert len(unit["hidden"]) == len(unit["weights"]) == 32
    assert min(unit["hidden"]) == 0
    for run in curves:
        for name in ("train_loss", "train_spread", "val_loss", "val_spread"):
            assert len(run[name]) == settings["curves"]["epochs"]
            assert 0 < min(run[name]) <= max(run[name]) < math.log(10)


def test_moving_figures_are_what_the_companion_gives(load, monkeypatch):
    program = load("moving_figures")
    monkeypatch.setitem(program.SETTINGS["curves"], "epochs", 4)
    kept = {(run["figure"], run["p"]): run for run in stored(program)["runs"]}
    for key in [("distribution", 0.5), ("curves", 0.5)]:
        for name, value in program.run(*key).items():
            expected = kept[key][name]
            if name.startswith(("train", "val")):
                expected = expected[:4]
            # The last digit stored, and room for another processor's rounding.
            bound = {"rel": 0.06} if name.endswith("spread") else {"rel": 0.01}
            assert value == pytest.approx(expected, **bound, abs=1e-3), (key, name)


@pytest.mark.parametrize("runs_and_settings", ["fresh_mask"], indirect=True)
def test_fresh_mask_runs_are_losses_of_ten_networks(runs_and_settings):
    runs, settings = runs_and_settings
    for run in runs:
        for name in ("median", "largest", "validation"):
            assert len(run[name]) == len(settings["epochs"])
        assert len(run["test"]) == settings["seeds"]
        assert all(map(float.__le__, run["median"], run["largest"]))


def test_fresh_mask_trains_with_the_gradient_of_the_companion(load, monkeypatch):
    program, rng = load("fresh_mask"), np.random.default_rng(0)
    monkeypatch.setitem(program.SETTINGS, "seeds", 2)
    X, y = (images[:, :30] for images in program.images())
    weights, biases = program.start(2)
    masks, others = rng.random((2, 2, 2, 30, 64)) >= 0.3
    right = program.gradients(weights, biases, X, y, list(masks), list(masks), 0.3)
    wrong = program.gradients(weights, biases, X, y, list(masks), list(others), 0.3)
    for seed in range(2):
        net = MLP([64, 64, 64, 10], p=0.3)
        net.weights = [W[seed].astype(float) for W in weights]
        net.biases = [b[seed, 0].astype(float) for b in biases]
        loss, _ = net.evaluate(X[seed], y[seed])
        assert program.losses(weights, biases, X, y)[seed] == pytest.approx(loss)
        drawn = [None, *masks[:, seed]]
        _, expected = net.loss_and_grad(X[seed], y[seed], masks=drawn)
        for got, layer in zip(right[:3], expected[::2], strict=True):
            np.testing.assert_allclose(got[seed], layer, atol=1e-7)
        for got, layer in zip(right[3:], expected[1::2], strict=True):
            np.testing.assert_allclose(got[seed, 0], layer, atol=1e-7)
        # The last layer lies above all masks of the backward pass.
        np.testing.assert_array_equal(wrong[2], right[2])
        assert np.abs(wrong[1] - right[1]).max() > 1e-3


@pytest.mark.parametrize("optimiser", ["plain", "momentum", "adam"])
def test_fresh_mask_steps_as_pytorch_does(optimiser, load):
    program, rng = load("fresh_mask"), np.random.default_rng(0)
    ours, memory = rng.normal(size=(4, 3)), {}
    theirs = torch.tensor(ours.copy(), requires_grad=True)
    make = {
        "plain": lambda: torch.optim.SGD([theirs], 0.01),
        "momentum": lambda: torch.optim.SGD([theirs], 0.01, momentum=0.9),
        "adam": lambda: torch.optim.Adam([theirs], 0.01),
    }
    step = make[optimiser]()
    for _ in range(5):
        slope = rng.normal(size=(4, 3))
        theirs.grad = torch.tensor(slope)
        step.step()
        program.update([ours], [slope], optimiser, 0.01, memory)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6)


def test_layer_times_are_of_four_layers_at_each_size(load, monkeypatch):
    program, drop = load("layer_times"), importlib.import_module("companion.nn.drop")
    monkeypatch.setitem(program.SETTINGS, "units", [8, 16])
    monkeypatch.setitem(program.SETTINGS, "units a round", 80)
    before, slow = torch.get_num_threads(), []
    plain = drop.plain
    monkeypatch.setattr(drop, "plain", lambda *args: slow.append(1) or plain(*args))
    times = program.run(threads=1, rounds=1)
    torch.set_num_threads(before)
    assert list(zip(times["units"], times["p"], strict=True)) == [
        *((8, 0.1), (8, 0.5), (16, 0.1), (16, 0.5))
    ]
    for layer in ("PyTorch", "companion", "without Numba", "ReLU"):
        assert len(times[layer]) == 4
        assert min(times[layer]) > 0
    assert slow  # without Numba
    assert times["processor"]
    assert times["megabytes"] > 100
    assert times["first call"] >= 0
    json.dumps(times)
