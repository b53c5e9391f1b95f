"""Room in the output queue, counted in whole packets when their inferences start."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from ..isa.load import model_word
from .part import Part
from .words import layout

__all__ = ["OutputRoom"]


class OutputRoom(Part):
    """Whether the output packet of an inference finds room, however long the host lets it wait.

    Attributes
    ----------
    models : in, table of the models: constant while inferences may start
    model, quiet : in, of both packets; a quiet one has no output
    unknown : in, of both packets: the output is one beat; known when ``started`` tells of the packet
    started, side : in, a pulse: an inference has started, and its packet's side
    taken : in, a pulse for each beat that has left for the host
    room : out, of both packets: the output finds room
    """

    #: From ``taken`` to ``room``: the change, the number of free beats, the comparison.
    latency = 3
    #: The same from ``started``.
    charge_latency = 1 + latency

    def __init__(self, config):
        self.config = config
        super().__init__(
            "output_room",
            {
                "models": In(layout(model_word(config))).array(config.models),
                "model": In(config.model_bits).array(2),
                "quiet": In(2),
                "unknown": In(2),
                "started": In(1),
                "side": In(1),
                "taken": In(1),
                "room": Out(2),
            },
        )

    def elaborate(self, platform):
        m = Module()
        beats = [entry.output_beats for entry in self.models]
        free = Signal(range(self.config.output_beats + 1), init=self.config.output_beats)
        change = Signal(signed(len(beats[0]) + 1))
        fits = Signal(len(beats), reset_less=True)
        m.d.sync += [free.eq(free + change), fits.eq(Cat(free >= number for number in beats))]
        # A packet's own beats, from the cycle after its announcement on.
        charges = []
        for s in range(2):
            charge = Signal(len(beats[0]), name=f"beats_{s}", reset_less=True)
            m.d.sync += charge.eq(Mux(self.quiet[s], 0, Array(beats)[self.model[s]]))
            charges.append(Mux(self.unknown[s], ~self.quiet[s], charge))
            m.d.comb += self.room[s].eq(self.quiet[s] | Array(fits)[self.model[s]])
        charged = Signal.like(charges[0], name="charged")
        m.d.sync += [
            charged.eq(Mux(self.started, Mux(self.side, charges[1], charges[0]), 0)),
            change.eq(self.taken - charged),
        ]
        return m
