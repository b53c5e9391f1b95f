"""Radiona ULX3S with the ECP5-85F: the board that open tools carry all the way to a bitstream."""

import dataclasses

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from spiccato.config import Config

from .board import ALL_KINDS, Board, Resources
from .flows.ecp5 import ECP5
from .shells.ecp5_pll import add_pll
from .shells.serial import Serial

__all__ = ["ULX3SPlatform", "BOARD"]

_CHIP_DATABASE = "nextpnr-ecp5, its utilisation report for the device"


class ULX3SPlatform(ULX3S_85F_Platform):
    """amaranth-boards' platform with the name by which the device is ordered."""

    part = "LFE5U-85F-6BG381C"


_DEFAULT = Config(
    name="ulx3s",
    family="ecp5",
    cores=1,
    block=8,
    weight_depth=1024,
    slots=64,
    models=4,
    streams=64,
    state_slots=480,
    vector_blocks=32,
    input_blocks=16,
    program_depth=2048,
    output_beats=16,
    clock_mhz=100.0,
)
_KINDS = dataclasses.replace(_DEFAULT, name="ulx3s-kinds", epilogues=ALL_KINDS)
# Twice the columns in the same memories, weights of 9 bits. The open tools know no 9x9 multiplier of the ECP5, which is
# half an 18x18 one: each product takes a whole one, of which the device has enough.
_FAST = dataclasses.replace(_DEFAULT, name="ulx3s-fast", columns=16, multiplier="9x9", input_blocks=8)

BOARD = Board(
    configurations={"default": _DEFAULT, "kinds": _KINDS, "fast": _FAST},
    title="Radiona ULX3S 85F",
    device="ECP5 LFE5U-85F",
    platform=ULX3SPlatform,
    flow=ECP5,
    # The fastest that common USB adapters reach.
    shells=(Serial(add_clock=add_pll, baud=3_000_000),),
    resources=Resources(logic=83_640, dsp=156, memory={"dp16kd": 208}),
    sources={
        "part": "amaranth_boards.ulx3s",
        "pins": "amaranth_boards.ulx3s",
        "logic": _CHIP_DATABASE,
        "dsp": _CHIP_DATABASE,
        "dp16kd": _CHIP_DATABASE,
    },
)
