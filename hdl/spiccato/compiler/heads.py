"""How an inference's issue words are kept: the first ones apart, beside the hardware's queue."""

from ..rtl.sequencer import Sequencer

__all__ = ["HEAD_WORDS", "LEAST_WORDS"]

#: First words of each model that the hardware has at hand while it fetches the others.
HEAD_WORDS = Sequencer.head_words
#: Issue words that an inference has at least.
LEAST_WORDS = HEAD_WORDS + Sequencer.least_tail
