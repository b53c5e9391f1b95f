"""How an inference's issue words are kept: the first ones apart, beside the hardware's queue."""

__all__ = ["HEAD_WORDS", "LEAST_WORDS"]

#: First words of each model that the hardware has at hand while it fetches the others.
HEAD_WORDS = 3
#: An inference has at least these and two others.
LEAST_WORDS = HEAD_WORDS + 2
