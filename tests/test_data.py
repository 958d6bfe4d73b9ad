"""Data sets: what is loaded, where from, and what happens when a file is not what it should be.

The tests of the real sets run where ``COMPANION_DATA`` names a folder that holds them; all others
use small made-up files, a cache folder of their own, and a server on 127.0.0.1.
"""

import gc
import gzip
import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pooch
import pytest
from sklearn.datasets import load_digits

from companion import data

REAL = os.environ.get("COMPANION_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL, reason="COMPANION_DATA names no folder of real data"
)


def idx(array):
    """`array` of bytes in the IDX format, gzipped."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


PIXELS = np.random.default_rng(0).integers(256, size=(5, 2, 3), dtype=np.uint8)
PIXELS[0, 0, :2] = 0, 255
LABELS = np.array([3, 0, 9, 1, 4], np.uint8)
FILES = {
    "mnist/train-images-idx3-ubyte.gz": idx(PIXELS[:3]),
    "mnist/train-labels-idx1-ubyte.gz": idx(LABELS[:3]),
    "mnist/t10k-images-idx3-ubyte.gz": idx(PIXELS[3:]),
    "mnist/t10k-labels-idx1-ubyte.gz": idx(LABELS[3:]),
    "tinyshakespeare/input.txt": "First Citizen:\r\nAdieu, \u201ccaf\u00e9\u201d\n".encode(),
    "uci/yacht/data.txt": b"-2.3 0.5 4.78\n1e3\t2 0.11 \n\n",
}
YACHT = "uci/yacht/data.txt"
HERE = [name for name, (_, files) in data.SETS.items() if not any(files.values())]
SPLIT = [name for name, (_, files) in data.SETS.items() if len(files) > 1]


class Server(http.server.ThreadingHTTPServer):
    """Serves `FILES`. `faults` is how the next answers go wrong; `requests` is what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests = [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        fault = self.server.faults.pop(0) if self.server.faults else None
        content = FILES[self.path[1:]]
        self.send_response(404 if fault == "no such page" else 200)
        if fault != "cut short, length not told":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "wrong bytes":
            content = content[::-1]
        elif fault:
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The cache folder, not yet there; nothing is set that a user may have set."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(
        pooch, "os_cache", lambda project: tmp_path / "caches" / project
    )
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between pooch's attempts
    return tmp_path / "caches" / "dropout-companion"


def register(monkeypatch, url):
    registry = {
        file: (f"{url}/{file}", hashlib.sha256(content).hexdigest())
        for file, content in FILES.items()
    }
    monkeypatch.setattr(data, "REGISTRY", registry)


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        register(monkeypatch, server.url)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def faulty_server(server):
    """The server, for downloads that fail: pooch leaves their connections to the collector."""
    yield server
    # Its warnings are to come here, and not in a test that happens to run later.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def folder(monkeypatch, tmp_path, server):
    """A folder with every file that COMPANION_DATA names. The server is there to be left alone."""
    folder = tmp_path / "given"
    for file, content in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    monkeypatch.setenv("COMPANION_DATA", str(folder))
    return folder


def files_below(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


# --- what every data set is ----------------------------------------------------------------------


def test_the_carried_digits_are_those_of_scikit_learn():
    X, y = data.load("digits")
    expected_X, expected_y = load_digits(return_X_y=True)
    np.testing.assert_array_equal(X * 16, expected_X)
    np.testing.assert_array_equal(y, expected_y)
    assert (X.dtype, y.dtype) == (np.float32, np.int64)
    assert X.flags.writeable
    assert y.flags.writeable


def test_the_carried_digits_are_small():
    assert Path(data.__file__).with_name("digits.npz").stat().st_size < 80_000


def test_some_sets_need_no_file():
    assert "digits" in HERE
    assert "mnist" not in HERE


def test_what_needs_no_file_needs_numpy_alone():
    code = (
        f"import sys; from companion import data; [*map(data.load, {HERE})]; "
        "assert not {'pooch', 'tqdm', 'requests', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def rows_of_the_docstring():
    """The shape and the dtype of each set as the docstring of `load` has them."""
    table = data.load.__doc__.split("=\n")[2]
    cells = [re.split("  +", line.strip()) for line in table.splitlines()[:-1]]
    return {row[0].strip("`"): tuple(row[1:-1]) for row in cells}


def test_every_set_has_a_row_in_the_docstring_and_no_other():
    assert set(rows_of_the_docstring()) == set(data.NAMES)


@pytest.mark.parametrize("name", data.NAMES)
def test_the_row_in_the_docstring_is_right(name, monkeypatch):
    if REAL:
        monkeypatch.setenv("COMPANION_DATA", REAL)
    if name not in data.available():
        pytest.skip("COMPANION_DATA names no folder of real data")
    loaded = data.load(name)
    shown = (
        ("one str",)
        if isinstance(loaded, str)
        else (str(loaded.X.shape), str(loaded.y.dtype))
    )
    assert rows_of_the_docstring()[name] == shown


def test_a_data_set_unpacks_and_has_names():
    dataset = data.load("digits")
    X, y = dataset
    assert isinstance(dataset, data.Dataset)
    assert dataset.X is X
    assert dataset.y is y


@pytest.mark.parametrize(
    ("split", "rows"), [("train", slice(3)), ("test", slice(3, 5)), ("all", slice(5))]
)
def test_images_are_rows_of_pixels_between_0_and_1(folder, split, rows):
    X, y = data.load("mnist", split=split)
    np.testing.assert_array_equal(
        X, PIXELS[rows].reshape(-1, 6).astype(np.float32) / 255
    )
    np.testing.assert_array_equal(y, LABELS[rows])
    assert (X.dtype, y.dtype) == (np.float32, np.int64)
    assert X.flags.writeable
    assert y.flags.writeable


def test_both_splits_are_the_default(folder):
    assert len(data.load("mnist").X) == 5


def test_the_last_column_of_a_table_is_the_target(folder):
    X, y = data.load("uci-yacht")
    np.testing.assert_array_equal(X, [[-2.3, 0.5], [1000, 2]])
    np.testing.assert_array_equal(y, [4.78, 0.11])
    assert (X.dtype, y.dtype) == (np.float64, np.float64)
    assert X.flags.c_contiguous
    assert y.flags.c_contiguous


def test_a_text_is_one_str_with_every_character_of_its_file(folder):
    assert (
        data.load("tinyshakespeare")
        == "First Citizen:\r\nAdieu, \u201ccaf\u00e9\u201d\n"
    )


@needs_real_data
@pytest.mark.parametrize(
    ("name", "mean", "counts"),
    [
        (
            "mnist",
            0.1307,
            {
                "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
                "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
            },
        ),
        ("fashion-mnist", 0.2860, {"train": [6000] * 10, "test": [1000] * 10}),
    ],
)
def test_the_real_images(monkeypatch, name, mean, counts):
    monkeypatch.setenv("COMPANION_DATA", REAL)
    parts = {split: data.load(name, split=split) for split in ("train", "test", "all")}
    for split, count in counts.items():
        X, y = parts[split]
        assert X.shape == (sum(count), 784)
        assert (X.dtype, y.dtype) == (np.float32, np.int64)
        assert (X.min(), X.max()) == (0, 1)
        assert np.bincount(y).tolist() == count
    # The published means of the training images.
    assert parts["train"].X.mean(dtype=float) == pytest.approx(mean, abs=5e-5)
    for whole, train, test in zip(
        parts["all"], parts["train"], parts["test"], strict=True
    ):
        np.testing.assert_array_equal(whole, np.concatenate([train, test]))


@needs_real_data
@pytest.mark.parametrize(
    ("name", "shape", "first", "lowest", "highest"),
    [
        ("uci-concrete", (1030, 8), 540.0, 2.33, 82.6),
        ("uci-energy", (768, 8), 0.98, 6.01, 43.1),
        ("uci-yacht", (308, 6), -2.3, 0.01, 62.42),
    ],
)
def test_the_real_tables(monkeypatch, name, shape, first, lowest, highest):
    monkeypatch.setenv("COMPANION_DATA", REAL)
    X, y = data.load(name)
    assert X.shape == shape
    assert y.shape == shape[:1]
    assert (X.dtype, y.dtype) == (np.float64, np.float64)
    assert (X[0, 0], y.min(), y.max()) == (first, lowest, highest)


@needs_real_data
def test_the_real_text(monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", REAL)
    text = data.load("tinyshakespeare")
    assert (len(text), len(set(text))) == (1_115_394, 65)
    assert text.startswith("First Citizen:\n")


@needs_real_data
def test_every_real_set_is_available(monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", REAL)
    assert data.available() == list(data.NAMES)


def test_every_file_has_an_address_and_a_checksum():
    of_sets = [file for _, files in data.SETS.values() for file in files["all"]]
    assert sorted(of_sets) == sorted(data.REGISTRY)
    for file, (url, sha256) in data.REGISTRY.items():
        assert url.startswith("https://")
        assert url.rpartition("/")[2] == file.rpartition("/")[2]
        assert re.fullmatch("[0-9a-f]{64}", sha256)


# --- what is asked for ---------------------------------------------------------------------------


def test_an_unknown_name_is_quoted_and_the_known_are_listed():
    with pytest.raises(ValueError, match=f"'cifar'.*{', '.join(data.NAMES)}$"):
        data.load("cifar")


@pytest.mark.parametrize("name", [None, 3, ["digits"], b"digits"])
def test_a_name_is_a_str(name):
    with pytest.raises(TypeError, match=re.escape(repr(name))):
        data.load(name)


@pytest.mark.parametrize("name", data.NAMES)
@pytest.mark.parametrize("split", ["valid", "", None, ["train"]])
def test_an_unknown_split_is_quoted(name, split):
    with pytest.raises(ValueError, match=f"{name} .*all.*got {re.escape(repr(split))}"):
        data.load(name, split=split)


def test_the_parts_of_a_split_set_are_its_whole():
    assert {"mnist", "fashion-mnist"} <= set(SPLIT)
    for name in SPLIT:
        files = data.SETS[name][1]
        assert files["all"] == files["train"] + files["test"]


@pytest.mark.parametrize("name", [name for name in data.NAMES if name not in SPLIT])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_set_without_an_official_split_is_loaded_whole_or_not_at_all(name, split):
    with pytest.raises(ValueError, match=f"{name} .*got '{split}'"):
        data.load(name, split=split)


# --- COMPANION_DATA ------------------------------------------------------------------------------


def test_a_given_folder_is_used_and_nothing_is_fetched(folder, server, cache):
    data.load("uci-yacht")
    assert server.requests == []
    assert not cache.exists()


def test_a_given_folder_may_begin_with_a_tilde(folder, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder.parent))
    monkeypatch.setenv("COMPANION_DATA", "~/given")
    assert data.load("uci-yacht").X.shape == (2, 2)


def test_a_file_missing_from_a_given_folder_is_an_error_and_is_not_fetched(
    folder, server
):
    (folder / YACHT).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        data.load("uci-yacht")
    assert str(folder / YACHT) in str(caught.value)
    assert f"{server.url}/{YACHT}" in str(caught.value)
    assert "unset COMPANION_DATA" in str(caught.value)
    assert server.requests == []


def test_the_full_path_is_named_even_if_the_folder_is_given_as_a_relative_one(
    folder, monkeypatch
):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("COMPANION_DATA", "given")
    (folder / YACHT).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder / YACHT))):
        data.load("uci-yacht")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[:-1] + b"?",
        lambda content: b"",
    ],
    ids=["truncated", "corrupt", "empty"],
)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "mnist/t10k-labels-idx1-ubyte.gz"),
        ("tinyshakespeare", "tinyshakespeare/input.txt"),
        ("uci-yacht", YACHT),
    ],
)
def test_a_damaged_file_in_a_given_folder_is_an_error(
    folder, server, name, file, damage
):
    data.load(name)  # what was right once is verified again
    (folder / file).write_bytes(damage(FILES[file]))
    with pytest.raises(ValueError, match="truncated or corrupt") as caught:
        data.load(name)
    message = str(caught.value)
    assert str(folder / file) in message
    assert f"expected {hashlib.sha256(FILES[file]).hexdigest()}" in message
    assert "Delete it" in message
    assert "unset COMPANION_DATA" in message
    assert server.requests == []


@pytest.mark.parametrize("kind", ["a file", "nothing"])
def test_companion_data_must_be_a_folder(monkeypatch, tmp_path, kind):
    path = tmp_path / "here"
    if kind == "a file":
        path.write_text("")
    monkeypatch.setenv("COMPANION_DATA", str(path))
    for ask in (data.available, lambda: data.load("uci-yacht")):
        with pytest.raises(
            NotADirectoryError, match=f"COMPANION_DATA.*{re.escape(str(path))}"
        ):
            ask()
    for name in HERE:
        assert len(data.load(name)) > 0


# --- the cache and the network -------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ""])
def test_a_file_is_fetched_once_into_the_cache(
    server, cache, monkeypatch, capsys, value
):
    if value is not None:
        monkeypatch.setenv("COMPANION_DATA", value)
    for _ in range(2):
        np.testing.assert_array_equal(data.load("uci-yacht").y, [4.78, 0.11])
    assert server.requests == [f"/{YACHT}"]
    assert files_below(cache) == [YACHT]
    assert "100%" in capsys.readouterr().err  # the progress bar


def test_the_cache_has_the_layout_of_a_given_folder(server, cache, monkeypatch):
    for name in ("mnist", "tinyshakespeare", "uci-yacht"):
        data.load(name)
    assert files_below(cache) == sorted(FILES)
    monkeypatch.setenv("COMPANION_DATA", str(cache))
    np.testing.assert_array_equal(data.load("mnist").y, LABELS)


def test_a_split_fetches_its_own_files_alone(server, cache):
    data.load("mnist", split="test")
    assert files_below(cache) == [
        "mnist/t10k-images-idx3-ubyte.gz",
        "mnist/t10k-labels-idx1-ubyte.gz",
    ]


@pytest.mark.parametrize(
    "content", [FILES[YACHT][:-5], b"1 2 3\n"], ids=["truncated", "corrupt"]
)
def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache, content):
    data.load("uci-yacht")
    (cache / YACHT).write_bytes(content)
    np.testing.assert_array_equal(data.load("uci-yacht").y, [4.78, 0.11])
    assert len(server.requests) == 2


def test_a_damaged_file_that_cannot_be_fetched_again_is_named(faulty_server, cache):
    data.load("uci-yacht")
    (cache / YACHT).write_bytes(b"1 2 3\n")
    faulty_server.faults += ["no such page"] * 3
    with pytest.raises(OSError, match="damaged file") as caught:
        data.load("uci-yacht")
    assert str(cache / YACHT) in str(caught.value)
    assert hashlib.sha256(FILES[YACHT]).hexdigest() in str(caught.value)


FAULTS = [
    ("wrong bytes", ValueError, "did not deliver"),
    ("cut short, length not told", ValueError, "did not deliver"),
    ("cut short", OSError, "could not fetch"),
    ("no such page", OSError, "could not fetch"),
]


@pytest.mark.parametrize(("fault", "error", "words"), FAULTS)
def test_a_failed_download_leaves_nothing_and_a_later_one_works(
    faulty_server, cache, fault, error, words
):
    faulty_server.faults += [fault] * 3
    with pytest.raises(error, match=words) as caught:
        data.load("uci-yacht")
    message = str(caught.value)
    assert f"{faulty_server.url}/{YACHT}" in message
    assert str(cache / YACHT) in message
    assert (
        f"COMPANION_DATA can point at a folder that holds the file as {YACHT}"
        in message
    )
    if error is ValueError:
        assert hashlib.sha256(FILES[YACHT]).hexdigest() in message
    assert files_below(cache) == []
    assert "uci-yacht" not in data.available()

    np.testing.assert_array_equal(data.load("uci-yacht").y, [4.78, 0.11])
    assert "uci-yacht" in data.available()


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS])
def test_a_download_that_fails_once_is_tried_again(faulty_server, fault):
    faulty_server.faults.append(fault)
    np.testing.assert_array_equal(data.load("uci-yacht").y, [4.78, 0.11])
    assert len(faulty_server.requests) == 2


def test_without_a_network_the_address_and_the_way_round_are_named(monkeypatch, cache):
    with socket.socket() as taken:  # bound and not listening: a connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        register(monkeypatch, url)
        with pytest.raises(OSError, match=f"could not fetch {url}/{YACHT}") as caught:
            data.load("uci-yacht")
    assert "COMPANION_DATA can point at a folder" in str(caught.value)
    assert f"holds the file as {YACHT}" in str(caught.value)
    assert files_below(cache) == []


def test_a_cache_that_cannot_be_written_to_is_an_error_with_a_way_round(server, cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="COMPANION_DATA can point at a folder") as caught:
        data.load("uci-yacht")
    assert str(cache / YACHT) in str(caught.value)


@pytest.mark.parametrize("package", ["pooch", "tqdm"])
def test_without_pooch_the_error_says_what_to_install(server, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=re.escape('pip install "dropout-companion[data]"')
    ):
        data.load("uci-yacht")
    assert server.requests == []
    assert data.available() == HERE
    for name in HERE:
        assert len(data.load(name)) > 0


def test_a_given_folder_needs_no_pooch(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    np.testing.assert_array_equal(data.load("mnist").y, LABELS)
    assert "mnist" in data.available()


# --- available -----------------------------------------------------------------------------------


def test_available_fetches_nothing_and_makes_no_folder(cache):
    assert data.available() == HERE
    assert not cache.exists()


def test_available_looks_into_a_given_folder_and_not_into_the_cache(
    server, folder, monkeypatch
):
    (folder / YACHT).unlink()
    monkeypatch.delenv("COMPANION_DATA")
    data.load("uci-yacht")
    assert "uci-yacht" in data.available()
    monkeypatch.setenv("COMPANION_DATA", str(folder))
    assert "uci-yacht" not in data.available()
    assert "mnist" in data.available()


def test_a_set_is_available_if_all_its_files_are(folder):
    complete = [*HERE, "mnist", "tinyshakespeare", "uci-yacht"]
    assert data.available() == [name for name in data.NAMES if name in complete]
    (folder / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    complete.remove("mnist")
    assert data.available() == [name for name in data.NAMES if name in complete]
