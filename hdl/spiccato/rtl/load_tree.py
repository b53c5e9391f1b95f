"""The load bus, and the tree by which a core's memories take from it."""

from amaranth.hdl import Signal
from amaranth.lib import data

from ..isa.load import TARGET_BITS, header_word, place_word
from .broadcast import DelayLine, copies

__all__ = ["LoadTree", "load_buses", "load_data_bits", "load_layout"]

#: Rows whose write enables are decoded from one copy of the row number.
_ROWS = 8


def load_data_bits(config):
    """Width of the load bus: one row of weights, or the widest other entry of a small configuration."""
    return max(config.operands.weight * config.columns, 128)


def load_layout(config):
    """One word for one memory, broadcast to all cores."""
    return data.StructLayout(
        {
            "enable": 1,
            "target": TARGET_BITS,
            "core": header_word["core"].width,
            "row": header_word["row"].width,
            "addr": place_word["addr"].width,
            "data": load_data_bits(config),
        }
    )


def load_buses(config):
    """How many equal load buses there are: each is for some of the cores, the first one for what is no core as well."""
    in_core = 4 + config.keep_h  # registers: of weights, sums, shifts, c and kept h
    beside = 5  # of features, issue words, heads, contexts, models
    return -(-config.cores // ((config.stages.reach.registers - beside) // in_core))


class LoadTree:
    """What some memories of a core take from the load bus: registers only, deep enough that none reaches far.

    Loading can wait. What the methods return is valid ``latency`` cycles after the bus.
    """

    #: The core's edge, the comparison with its number, two levels of copies.
    latency = 4

    def __init__(self, m, load, index):
        self._m = m
        # Equal in all cores: each has its own, so that the comparison is not made from across the device.
        self._enable, self._target, self._core = (
            copies(m, f"load_{name}_1", getattr(load, name), 1)[0] for name in ("enable", "target", "core")
        )
        self._index = index
        self._row, self._addr = (DelayLine(m, f"load_{name}", getattr(load, name)) for name in ("row", "addr"))
        self._data = load.data

    def _hit(self, kind):
        """A word for memories of this kind in this core."""
        name = f"load_{kind.name.lower()}"
        hit = Signal(name=f"{name}_2", reset_less=True)
        self._m.d.sync += hit.eq(self._enable & (self._core == self._index) & (self._target == kind))
        return DelayLine(self._m, name, hit, 2)

    def enables(self, kind, number):
        """Equal write enables for ``number`` memories that hold ``kind``."""
        return self._hit(kind).spread(self.latency, number)

    def row_enables(self, kind, rows, number=1):
        """Write enables of each row's memory of this kind, ``number`` equal ones: a list for each row."""
        name, groups = f"load_{kind.name.lower()}", -(-rows // _ROWS)
        hits = self._hit(kind).spread(self.latency - 1, groups)
        numbers = self._row.spread(self.latency - 1, groups, f"{name}_row")
        return [
            copies(
                self._m, f"write_{kind.name.lower()}_{row}", hits[row // _ROWS] & (numbers[row // _ROWS] == row), number
            )
            for row in range(rows)
        ]

    def addresses(self, number, name="load_addr"):
        """Equal addresses for ``number`` memories."""
        return self._addr.spread(self.latency, number, name)

    def data(self, bits, number, name="load_data"):
        """Equal data, the lowest ``bits`` of them, for ``number`` memories or groups of memories."""
        return DelayLine(self._m, name, self._data[:bits]).spread(self.latency, number)
