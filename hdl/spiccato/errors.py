"""Errors that are the user's to mend: one line that says what, where, and what would be right."""

__all__ = [
    "SpiccatoError",
    "BoardError",
    "ConfigError",
    "FitError",
    "InputError",
    "ModelError",
    "ProgramError",
    "DeviceError",
    "LinkError",
    "SessionError",
]


class SpiccatoError(ValueError):
    """Base of all errors a command reports in one line and leaves with a non-zero exit status."""


class ConfigError(SpiccatoError):
    """A configuration that cannot be built."""


class BoardError(SpiccatoError):
    """A board that is unknown, or a board file that is none."""


class InputError(SpiccatoError):
    """Inputs of another shape or kind than a network takes."""


class ModelError(SpiccatoError):
    """A model that cannot be used. The message is one line: what is wrong, where, what would be right."""


class FitError(SpiccatoError):
    """A network that does not fit a configuration."""


class ProgramError(SpiccatoError):
    """A program file that is corrupt or made for another configuration."""


class DeviceError(SpiccatoError):
    """A device refused something, or is not what a program needs."""


class LinkError(DeviceError):
    """The way to a device failed: it cannot be opened, or nothing sensible comes back. Open the device again."""


class SessionError(DeviceError):
    """A device was reset or gave up, so that program and state are gone. Open it and load the program again."""
