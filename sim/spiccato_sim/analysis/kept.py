"""Results that stay in files under a digest of all that decides them, so that what was interrupted goes on."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spiccato.files import write_whole
from spiccato.network import Network

__all__ = ["Lines", "arrays_digest", "code_digest", "digest", "kept", "network_digest"]


def digest(*values: Any) -> str:
    """64-bit hexadecimal digest of plain data."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(package: ModuleType, *names: str) -> str:
    """Digest of a package's modules of these names, or of all that it has, its folders' not."""
    folder = Path(package.__file__ or "").parent
    paths = [folder / f"{name}.py" for name in names] or sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def arrays_digest(arrays: Mapping[str, ArrayLike]) -> str:
    """Digest of arrays of numbers, by name."""
    state = hashlib.sha256()
    for name, array in arrays.items():
        values = np.ascontiguousarray(array, dtype="<f8")
        state.update(f"{name} {values.shape}".encode())
        state.update(values.data)
    return state.hexdigest()[:16]


def network_digest(network: Network) -> str:
    """Digest of all that a network computes, and of the inputs that it is calibrated with; not of its name."""
    arrays = {
        f"{number} {layer.kind} {name}": array
        for number, layer in enumerate(network.layers)
        for name, array in layer.arrays().items()
    }
    return arrays_digest(arrays if network.calibration is None else arrays | {"calibration": network.calibration})


def kept(path: Path, function: Callable[[], dict]) -> dict:
    """What is in the file ``path``, else what ``function`` gives, which is kept unless it holds failures."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(path.read_text())
    result = function()
    if not result.get("failures"):
        write_whole(path, json.dumps(result).encode())
    return result


class Lines:
    """A file with a line of JSON for each result, which grows with each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict]:
        """All results so far; a line that an interrupted run did not finish is dropped from the file."""
        with contextlib.suppress(FileNotFoundError):
            text = self._path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                write_whole(self._path, whole.encode())
            return [json.loads(line) for line in whole.splitlines()]
        return []

    def append(self, results: Iterable[dict]) -> None:
        """Add results; the folder is made if there is none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(result) + "\n" for result in results))
