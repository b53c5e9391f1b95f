"""Marks of an inference, as ``tuser`` of its output packet carries them."""

from .word import Word

__all__ = ["MARKS", "marks_word"]

#: In the order of the bits of ``tuser`` and of the sticky register.
MARKS = {
    "malformed": "The input packet was shorter or longer than the model's input; the state was not changed.",
    "nan": "The input held NaN, which counted as 0.",
    "saturated": "The input held infinity or a value beyond the program's range, which saturated.",
}
marks_word = Word({name: (1, meaning) for name, meaning in MARKS.items()})
