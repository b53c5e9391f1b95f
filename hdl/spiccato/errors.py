"""Errors that are the user's to mend: one line that says what, where, and what would be right."""

__all__ = ["SpiccatoError", "ConfigError", "FitError", "ProgramError"]


class SpiccatoError(ValueError):
    """Base of all errors a command reports in one line and leaves with a non-zero exit status."""


class ConfigError(SpiccatoError):
    """A configuration that cannot be built."""


class FitError(SpiccatoError):
    """A network that does not fit a configuration."""


class ProgramError(SpiccatoError):
    """A program file that is corrupt or made for another configuration."""
