"""``tuser`` of the streams: what an input packet asks for, and the marks of an output packet."""

from .word import Word

__all__ = ["MARKS", "marks_word", "request_word"]

#: In the order of the bits of ``tuser`` and of the sticky register.
MARKS = {
    "malformed": "The input packet was shorter or longer than the model's input; the state was not changed.",
    "nan": "The input held NaN, which counted as 0.",
    "saturated": "An input was infinite or beyond the program's range, or a dense layer's result beyond its own.",
    "unknown": "The packet's `tid` names no context; it was not computed, and the output is one beat of zeros.",
}
marks_word = Word({name: (1, meaning) for name, meaning in MARKS.items()})

#: What an input packet asks for, in the bits of ``tuser`` of its first beat.
request_word = Word(
    {"start": (1, "this timestep starts from the model's initial state"), "quiet": (1, "no output packet")}
)
