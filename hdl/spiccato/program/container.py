"""Files of programs and states: safetensors containers with a header of their own and a digest over everything."""

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ..errors import ProgramError
from ..files import write_whole

__all__ = ["checksum", "read_container", "write_container"]


def _key(what: str) -> str:
    """Key of the container's header; one, because the container does not keep keys in order."""
    return f"spiccato {what}"


def checksum(plain: Any) -> int:
    """CRC-32 of plain data."""
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


def write_container(
    path: str | os.PathLike, what: str, version: int, header: dict[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write a file, all or nothing.

    Parameters
    ----------
    path : path
    what : "program" or "state"
    version : int
        Of the format.
    header : dict
        Plain data.
    arrays : {name: array}

    Raises
    ------
    ProgramError
        If it cannot be written.
    """
    text = json.dumps({"version": version, **header}, sort_keys=True)
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        write_whole(path, safetensors.numpy.save(whole, metadata={_key(what): text}))
    except OSError as error:
        raise ProgramError(f"{path}: cannot be written: {error.strerror}") from None


def read_container(
    path: str | os.PathLike, what: str, version: int, remedy: str
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Header and arrays of a file.

    Parameters
    ----------
    path, what, version
        As for :func:`write_container`.
    remedy : str
        How to get such a file, for messages.

    Raises
    ------
    ProgramError
        If it is missing, damaged, or nothing of that kind and version. That header and arrays belong together is for
        the caller to check.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise ProgramError(f"{path}: is a folder; expected a {what} file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(_key(what), "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise ProgramError(f"{path}: no such file") from None
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise ProgramError(f"{path}: damaged, or not a {what} file: {error}") from None
    except json.JSONDecodeError as error:
        raise ProgramError(f"{path}: damaged header: {error}") from None
    if header is None:
        raise ProgramError(f"{path}: not a {what} file ({remedy} to get one)")
    found = header.get("version") if isinstance(header, dict) else None
    if found != version:
        raise ProgramError(f"{path}: damaged, or {what} format {found}; this version reads {version}: {remedy} again")
    return header, arrays
