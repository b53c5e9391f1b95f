"""Interfaces of the AXI family, as their manager or transmitter sees them.

Members are called as in Arm's specifications (IHI 0022, IHI 0051), in lower case. A part has them as ``Out(AxiLite())``
if it is the manager, and as ``In(AxiLite())`` if it is the subordinate; streams likewise. The ports of its Verilog
module have the interface's name in front: ``s_axil_awaddr``.
"""

import enum

from amaranth.lib.wiring import In, Out, Signature

from ..isa.marks import marks_word, request_word
from ..isa.registers import ADDRESS_BITS
from ..isa.word import WORD_BITS
from .words import layout

__all__ = ["AxiLite", "AxiLiteReads", "AxiLiteWrites", "AxiStream", "Response", "input_stream", "output_stream"]


class Response(enum.IntEnum):
    """What ``bresp`` and ``rresp`` tell, as far as it occurs here."""

    OKAY = 0
    SLVERR = 2


class AxiLiteReads(Signature):
    """The channels by which AXI4-Lite reads words of 32 bits.

    Attributes
    ----------
    araddr, arprot, arvalid : out, arready : in
        Address.
    rdata, rresp, rvalid : in, rready : out
        Its word, and the response, one of :class:`Response`.
    """

    def __init__(self):
        super().__init__(
            {
                "araddr": Out(ADDRESS_BITS),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(WORD_BITS),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLiteWrites(Signature):
    """The channels by which AXI4-Lite writes words of 32 bits.

    Attributes
    ----------
    awaddr, awprot, awvalid : out, awready : in
        Address.
    wdata, wstrb, wvalid : out, wready : in
        Its word, and which bytes of it count.
    bresp, bvalid : in, bready : out
        The response, one of :class:`Response`.
    """

    def __init__(self):
        super().__init__(
            {
                "awaddr": Out(ADDRESS_BITS),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(WORD_BITS),
                "wstrb": Out(WORD_BITS // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )


class AxiLite(Signature):
    """AXI4-Lite: the members of :class:`AxiLiteWrites` and of :class:`AxiLiteReads`."""

    def __init__(self):
        super().__init__({**AxiLiteWrites().members, **AxiLiteReads().members})


class AxiStream(Signature):
    """AXI4-Stream: beats of packets.

    Parameters
    ----------
    data_bits : int, multiple of 8
    keep : bool
        Whether there is ``tkeep``; without it all bytes of a beat count.
    id_bits : int
        Of ``tid``; with 0 there is none.
    user : shape, optional
        Of ``tuser``; without it there is none.

    Attributes
    ----------
    tdata : out
    tkeep : out
        Which bytes of the beat count.
    tid : out
    tuser : out
    tlast : out
        The beat is its packet's last.
    tvalid : out, tready : in
        A beat is taken in a cycle in which both are high.
    """

    def __init__(self, data_bits: int, *, keep: bool = False, id_bits: int = 0, user=None):
        super().__init__(
            {
                "tdata": Out(data_bits),
                **({"tkeep": Out(data_bits // 8)} if keep else {}),
                **({"tid": Out(id_bits)} if id_bits else {}),
                **({} if user is None else {"tuser": Out(user)}),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )


def input_stream(config):
    """The stream of input packets, an :class:`AxiStream`."""
    return AxiStream(config.beat_bits, id_bits=config.tid_bits, user=layout(request_word))


def output_stream(config):
    """The stream of output packets, an :class:`AxiStream`."""
    return AxiStream(config.beat_bits, keep=True, id_bits=config.tid_bits, user=layout(marks_word))
