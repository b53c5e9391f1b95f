"""What a file holds, by its first bytes: a wrong suffix or another kind of file is told before anything reads it."""

import zipfile
from pathlib import Path

from ..errors import ModelError

__all__ = ["check_contents"]

# What can be told from a file's contents -> the suffixes that files of this kind have.
_KINDS = {
    "a PyTorch file": (".pt", ".pth", ".ckpt"),
    "a safetensors file": (".safetensors",),
    "an ONNX model": (".onnx",),
    "a Keras model": (".keras", ".h5"),
}


def check_contents(path: Path) -> None:
    """Refuse a file whose contents belong under another suffix, or under none that can be imported.

    Raises
    ------
    ModelError
        Saying what the file is and what would be right.
    OSError
        The file cannot be read.
    """
    suffix = path.suffix.lower()
    with open(path, "rb") as file:
        head = file.read(512)
    kind = _zip_kind(path) if head.startswith(b"PK\x03\x04") else _kind(head, path.stat().st_size)
    if kind == "TorchScript":
        raise ModelError(
            "a TorchScript module, which cannot be followed; give the module it was made from, an ONNX "
            "file, or its state dict: torch.save(torch.jit.load(path).state_dict(), 'state.pt')"
        )
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise ModelError("a pointer of Git LFS, not the file itself; git lfs pull fetches that")
    if kind in _KINDS and suffix not in _KINDS[kind]:
        raise ModelError(f"{kind}, but named {suffix}; rename it to end in {' or '.join(_KINDS[kind])}")
    if suffix in _KINDS["a PyTorch file"]:
        if not head:
            raise ModelError("an empty file; expected a PyTorch state dict: torch.save(model.state_dict(), path)")
        if kind == "text":
            raise ModelError("a text file; expected a PyTorch state dict: torch.save(model.state_dict(), path)")


def _kind(head: bytes, size: int) -> str | None:
    """What a file is that begins with ``head`` and is no ZIP archive; None if that cannot be told."""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "a Keras model"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") <= size - 8:
        return "a safetensors file"
    # ONNX: field 1, the version of its format, is small, and field 2, 7 or 8 follows: producer, graph or operator set.
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a", b"\x42") and 0 < head[1] < 32:
        return "an ONNX model"
    try:
        # The last character may be cut.
        text = head.decode() if len(head) < 512 else head[:-3].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    return "text" if text and all(c.isprintable() or c.isspace() for c in text) else None


def _zip_kind(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    if any(name.endswith("/constants.pkl") for name in names):
        return "TorchScript"
    if any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch file"
    return "a Keras model" if "config.json" in names else None
