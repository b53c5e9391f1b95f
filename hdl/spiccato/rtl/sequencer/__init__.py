"""The sequencer, from the program's words to the issue register.

:mod:`.fetch` and :mod:`.heads` have the words, a :mod:`.gate` tells for some of its registers whether the next one
goes, :mod:`.sequencer` puts them together and issues.
"""

from .sequencer import Sequencer, finish_layout, state_layout

__all__ = ["Sequencer", "finish_layout", "state_layout"]
