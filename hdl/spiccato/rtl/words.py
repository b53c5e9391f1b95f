"""Words of :mod:`spiccato.isa` as Amaranth layouts."""

from amaranth.lib import data

from ..isa.word import Word

__all__ = ["layout"]


def layout(word: Word) -> data.StructLayout:
    """The same fields in the same bits; enumerations keep their names in waveforms."""
    return data.StructLayout({field.name: field.values or field.width for field in word})
