"""Files and folders that appear complete or not at all."""

import os
import shutil
from pathlib import Path

from .errors import SpiccatoError

__all__ = ["check_folder", "replace_folder", "write_whole"]


def write_whole(path, data):
    """Write ``data`` (bytes) to ``path`` through another name in the same folder.

    Raises
    ------
    OSError
        If that fails; then ``path`` is as it was and nothing is left beside it.
    """
    path = os.fspath(path)
    partial = f"{path}.{os.getpid()}.partial"
    with open(partial, "xb") as file:
        try:
            file.write(data)
            file.close()
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


def check_folder(folder, mark):
    """Raise SpiccatoError if ``folder`` exists, is not empty and has no file ``mark``: somebody else's work."""
    folder = Path(folder).absolute()
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        for name, text in contents.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
        # Not one step, since a folder that is not empty cannot be renamed over.
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
