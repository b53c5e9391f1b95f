"""What the hardware knows of each loaded model."""

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from ..isa.load import RecordKind, model_word
from .broadcast import DelayLine, copies, equal_register, take
from .load_tree import load_layout
from .part import Part
from .words import layout

__all__ = ["ModelTable"]


class ModelTable(Part):
    """The entries of all models, from a load on.

    Attributes
    ----------
    load : in
    tables : out, equal copies, one for each of its ``users``
    """

    #: From the load bus to ``tables``.
    load_latency = 4

    def __init__(self, config, *, users):
        self.config, self.users = config, users
        self.word = layout(model_word(config))
        tables = Out(self.word).array(users, config.models)
        super().__init__("model_table", {"load": In(load_layout(config)), "tables": tables})

    def elaborate(self, platform):
        m = Module()
        load = self.load
        arrived = DelayLine(m, "entry", load.data[: self.word.size]).at(3)
        (is_entry,) = copies(m, "load_entry", load.enable & (load.target == RecordKind.MODELS), 1)
        place_of = DelayLine(m, "load_addr", load.addr).at(1)
        reach = self.config.stages.reach.registers
        for number in range(self.config.models):
            (hit,) = copies(m, f"load_{number}", is_entry & (place_of == number), 1)
            for user in range(self.users):
                entry = equal_register(f"model_{number}_{user}", self.word)
                take(m, f"load_{number}_{user}", entry.as_value(), arrived, hit, reach)
                m.d.comb += self.tables[user][number].eq(entry)
        return m
