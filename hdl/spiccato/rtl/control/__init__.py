"""Control: what a host does with the accelerator besides streaming, all of it slow.

:mod:`.bus` is the AXI4-Lite subordinate, :mod:`.loader` takes programs, :mod:`.transfers` moves states,
:mod:`.counters` counts and collects errors, :mod:`.control` puts them together.
"""

from .control import Control

__all__ = ["Control"]
