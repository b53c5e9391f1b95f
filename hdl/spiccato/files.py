"""Files and folders that appear complete or not at all."""

import contextlib
import os
import shutil
from pathlib import Path

from .errors import SpiccatoError

__all__ = ["check_file", "check_folder", "replace_folder", "write_whole"]


def write_whole(path, data):
    """Write ``data`` (bytes) to ``path`` through another name in the same folder.

    Raises
    ------
    OSError
        If that fails, with ``path`` as its file name; then ``path`` is as it was and nothing is left beside it.
    """
    path = os.fspath(path)
    partial = f"{path}.{os.getpid()}.partial"
    with _named(path), open(partial, "xb") as file:
        try:
            file.write(data)
            file.close()
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


@contextlib.contextmanager
def _named(path):
    """Context in which errors name the path that the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def check_file(path):
    """Raise SpiccatoError if :func:`write_whole` is bound to fail: for before a long work."""
    path = Path(path)
    if path.is_dir():
        raise SpiccatoError(f"{path}: cannot be written: it is a folder")
    _check_place(path, path.absolute().parent)
    if not path.absolute().parent.exists():
        raise SpiccatoError(f"{path}: cannot be written: there is no folder {path.parent}")


def _check_place(path, folder):
    """Raise SpiccatoError unless ``folder``, or what exists of the way to it, can take ``path``."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise SpiccatoError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SpiccatoError(f"{path}: cannot be written: no permission to write in {folder}")


def check_folder(folder, mark):
    """Raise SpiccatoError if ``folder`` cannot be made, or is somebody else's: neither empty nor has it ``mark``."""
    folder = Path(folder).absolute()
    _check_place(folder, folder.parent)
    if folder.exists() and not (folder.is_dir() and ((folder / mark).exists() or not any(folder.iterdir()))):
        raise SpiccatoError(f"{folder} exists and was not written by this generator: remove it or choose another")


def replace_folder(folder, contents, mark):
    """Write a folder; one that an earlier call wrote is replaced.

    Parameters
    ----------
    folder : path
        Made by this function, with its parents. It has to pass :func:`check_folder`.
    contents : dict
        Texts of the files by name, relative to the folder.
    mark : str
        The file by which a generated folder is recognised.
    """
    check_folder(folder, mark)
    folder = Path(folder).absolute()
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        with _named(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            for name, text in contents.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_text(text, encoding="utf-8", newline="\n")
            # Not one step, since a folder that is not empty cannot be renamed over.
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
