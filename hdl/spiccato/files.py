"""Files that appear complete or not at all."""

import os

__all__ = ["write_whole"]


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
