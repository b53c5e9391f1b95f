"""BittWare IA-420F."""

import dataclasses

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource, Subsignal

from spiccato.config import Config

from .board import ALL_KINDS, RECALLED, Board, Resources
from .flows.quartus import QUARTUS
from .platforms import AgilexPlatform
from .shells.bringup import Bringup
from .shells.out_of_context import OutOfContext

__all__ = ["IA420FPlatform", "BOARD"]

_CORUNDUM = "corundum/corundum, fpga/mqnic/IA_420F/fpga_100g/fpga.qsf"


class IA420FPlatform(AgilexPlatform):
    """The pins that are known; PCIe and QSFP belong to the vendor's hard IP, which places them itself."""

    part = "AGFB014R24B2E2V"
    default_clk = "clk50"
    resources = [
        Resource("clk50", 0, Pins("DC52", dir="i"), Clock(50e6), Attrs(IO_STANDARD="1.2 V")),
        # The complementary pin follows from the pair.
        Resource("clk33", 0, Pins("CU50", dir="i"), Clock(1e9 / 30), Attrs(IO_STANDARD="True Differential Signaling")),
        Resource("led_green", 0, Pins("CU48", dir="o"), Attrs(IO_STANDARD="1.2 V")),
        Resource("led_red", 0, Pins("CT49", dir="o"), Attrs(IO_STANDARD="1.2 V")),
        Resource(
            "i2c",
            0,
            Subsignal("scl", Pins("CE52", dir="io")),
            Subsignal("sda", Pins("CM57", dir="io")),
            # The bus is shared with the card's controller: ask, then wait for the grant.
            Subsignal("request", PinsN("CN56", dir="o")),
            Subsignal("grant", Pins("CK57", dir="i")),
            Attrs(IO_STANDARD="1.2 V"),
        ),
    ]
    settings = {
        # Configuration.
        "STRATIXV_CONFIGURATION_SCHEME": "ACTIVE SERIAL X4",
        "ACTIVE_SERIAL_CLOCK": "AS_FREQ_100MHZ",
        "DEVICE_INITIALIZATION_CLOCK": "OSC_CLK_1_125MHZ",
        "USE_CONF_DONE": "SDM_IO16",
        "USE_INIT_DONE": "SDM_IO0",
        "USE_HPS_COLD_RESET": "SDM_IO13",
        "SDM_DIRECT_TO_FACTORY_IMAGE": "SDM_IO10",
        # Power management: the device tells the regulators its core voltage. Wrong settings here can keep it from
        # starting.
        "VID_OPERATION_MODE": "PMBUS SLAVE",
        "PWRMGT_DEVICE_ADDRESS_IN_PMBUS_SLAVE_MODE": "01",
        "PWRMGT_TRANSLATED_VOLTAGE_VALUE_UNIT": "VOLTS",
        "PWRMGT_VOLTAGE_OUTPUT_FORMAT": "LINEAR FORMAT",
        "PWRMGT_LINEAR_FORMAT_N": "-12",
        "USE_PWRMGT_SCL": "SDM_IO14",
        "USE_PWRMGT_SDA": "SDM_IO11",
        "USE_PWRMGT_ALERT": "SDM_IO12",
    }


# State memories to the end of the blocks that they begin: 2 x 448 + 128 = 1024.
_DEFAULT = Config(
    name="ia420f", family="agilex7", cores=6, block=32, models=4, streams=256, state_slots=448, clock_mhz=320.0
)
# Half the weights for 3.6 times the contexts: for sliding windows of a hundred steps.
_WINDOWS = dataclasses.replace(_DEFAULT, name="ia420f-windows", weight_depth=512, state_slots=1600)
# State memories half as deep, for the tables of the dense layers' functions.
_KINDS = dataclasses.replace(_DEFAULT, name="ia420f-kinds", epilogues=ALL_KINDS, state_slots=192)
# Four 9x9 multipliers where two of 18x19 are: twice the columns, 8-bit weights.
_FAST = dataclasses.replace(_DEFAULT, name="ia420f-fast", columns=64, multiplier="9x9", input_blocks=16)

BOARD = Board(
    configurations={"default": _DEFAULT, "windows": _WINDOWS, "kinds": _KINDS, "fast": _FAST},
    title="BittWare IA-420F",
    device="Agilex 7 AGF014",
    platform=IA420FPlatform,
    flow=QUARTUS,
    shells=(OutOfContext(), Bringup()),
    resources=Resources(logic=487_200, dsp=4_510, memory={"m20k": 7_110}),
    sources={"part": _CORUNDUM, "pins": _CORUNDUM, "logic": RECALLED, "dsp": RECALLED, "m20k": RECALLED},
)
