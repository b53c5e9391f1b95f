"""The compiler's front: a network and a configuration in, a program out."""

import dataclasses

import numpy as np

from ..errors import FitError, SpiccatoError
from ..isa.issue import Source, VectorFrom, issue_word
from ..numbers import INT8_BITS, QUARTERS, WEIGHT_BITS
from ..program import LayerPlace, Program, memory_rows
from ..registry import targets
from ..rtl.accelerator import Timing
from .layout import Layout
from .notes import calibration_note, output_note
from .quantise import check_gate_range, gate_bias, gate_point, output_frac_bits, output_point, quantise_matrix
from .scales import calibrated_scale, weight_scale
from .schedule import check_schedule, schedule

__all__ = ["compile_network", "WEIGHT_FORMATS", "fitting_schedule", "issue_words", "weight_formats"]

WEIGHT_FORMATS = ("int16", "int8")


def compile_network(network, config, *, weight_format="auto"):
    """Compile ``network`` for ``config``.

    Parameters
    ----------
    network : spiccato.network.Network
    config : spiccato.config.Config
    weight_format : str or sequence of str
        "int16"; "int8" (LSTM layers; the linear layer keeps 16 bits); one of these for each LSTM layer and for the
        linear layer; or "auto": 16 bits where they fit, the largest layers at 8 bits where they do not.

    Returns
    -------
    Program
        With ``notes`` on what may be less accurate than usual.

    Raises
    ------
    FitError
        If the network does not fit: with what it needs, what there is, and what would fit.
    """
    layout = Layout(network, config)
    formats = weight_formats(layout, weight_format)
    timing = Timing(config)
    plan, short = fitting_schedule(layout, formats, timing)
    if short:
        raise FitError(_fit_message(network, config, weight_format, short))
    check_schedule(plan, layout, timing)
    weights = _Weights(layout, formats)
    shifts = np.zeros((2, layout.slots, config.cores, config.block), dtype=np.uint8)
    biases = np.zeros((layout.slots, config.cores, config.block), dtype=np.int64)

    notes = []
    name = f"{network.name}: layer 0"
    if network.calibration is None:
        scale = weight_scale(network.lstm[0].weight_ih, name)
    else:
        scale = calibrated_scale(
            network.lstm[0],
            network.calibration,
            block=config.block,
            int8=formats[0] == "int8",
            io_format=config.io_format,
            name=name,
        )
        notes += calibration_note(network.calibration, scale.adjust, config.io_format)
    for number, (layer, place) in enumerate(zip(network.lstm, layout.layers)):
        name = f"{network.name}: layer {number}"
        slots = slice(place.first_slot, place.first_slot + place.slots)
        weight_ih = np.ldexp(layer.weight_ih, scale.log2_scale) if number == 0 else layer.weight_ih
        check_gate_range(layer.weight_hh, weight_ih if number else None, layer.bias_ih + layer.bias_hh, name)
        for matrix, array in ((place.input, weight_ih), (place.recurrent, layer.weight_hh)):
            dealt = layout.columns(layout.gate_rows(array, place.slots), matrix.blocks)
            point = gate_point(dealt.shape[:3], matrix.vector_from, scale.cap)
            quantised = quantise_matrix(dealt, point, formats[number] == "int8", name)
            weights.add(matrix, quantised.mantissas)
            shifts[int(matrix.recurrent), slots] = quantised.shifts
        bias = layout.gate_rows(layer.bias_ih + layer.bias_hh, place.slots)
        biases[slots] = gate_bias(bias, place.input.blocks + place.recurrent.blocks)

    linear = layout.linear
    slots = slice(linear.first_slot, linear.first_slot + linear.slots)
    weight, bias = network.output_map()
    frac_bits = output_frac_bits(weight, bias, f"{network.name}: linear layer")
    notes += output_note(weight, bias, frac_bits)
    dealt = layout.columns(layout.output_rows(weight, linear.slots), linear.input.blocks)
    quantised = quantise_matrix(
        dealt, output_point(dealt.shape[:3], frac_bits), formats[-1] == "int8", f"{network.name}: linear layer"
    )
    weights.add(linear.input, quantised.mantissas)
    shifts[0, slots] = quantised.shifts
    biases[slots] = (
        np.rint(np.ldexp(layout.output_rows(bias, linear.slots), frac_bits)).astype(np.int64) + linear.input.blocks // 2
    )

    words, body = _issue_words(layout, plan, weights, formats, timing)
    return Program(
        name=network.name,
        config=config,
        input_size=network.input_size,
        output_size=network.output_size,
        layers=tuple(LayerPlace(p.units, p.first_block, p.first_slot, p.slots) for p in layout.layers),
        weight_formats=tuple(formats),
        output_frac_bits=frac_bits,
        body=body,
        spaced_latency=plan.spaced_latency,
        initiation_interval=plan.initiation_interval,
        critical_mac_bound=_mac_bound(network, config, critical=True),
        full_mac_bound=_mac_bound(network, config, critical=False),
        weights=weights.image,
        shifts=shifts,
        biases=biases,
        adjust=layout.columns(scale.adjust.astype(np.int16), layout.input_blocks),
        enable=layout.columns(np.ones(network.input_size, dtype=np.uint8), layout.input_blocks),
        words=words,
        notes=tuple(notes),
    )


def weight_formats(layout, weight_format):
    """Resolve ``weight_format`` of :func:`compile_network` to a list: one for each LSTM layer, one for the linear."""
    layers = len(layout.layers)
    if isinstance(weight_format, str) and weight_format in WEIGHT_FORMATS:
        return [weight_format] * layers + ["int16"]
    if weight_format == "auto":
        formats = ["int16"] * (layers + 1)
        by_size = sorted(
            range(layers), key=lambda number: -layout.layers[number].input.tiles - layout.layers[number].recurrent.tiles
        )
        for number in by_size:
            if weight_words(layout, formats) <= layout.config.weight_depth:
                break
            formats[number] = "int8"
        return formats
    formats = list(weight_format) if not isinstance(weight_format, str) else [weight_format]
    if len(formats) != layers + 1 or any(f not in WEIGHT_FORMATS for f in formats):
        raise SpiccatoError(
            f"weight format {weight_format!r}: expected auto, {', '.join(WEIGHT_FORMATS)}, or one of "
            f"these for each of {layers} LSTM layers and the linear layer"
        )
    return formats


def _matrix_words(matrix, weight_format):
    return -(-matrix.tiles // 2) if weight_format == "int8" else matrix.tiles


def weight_words(layout, formats):
    """Words of weight memory that each core needs."""
    return sum(_matrix_words(matrix, formats[matrix.layer]) for matrix in layout.matrices)


def issue_words(layout, timing, plan=None):
    """Words of program memory: those that start the state, and one for each cycle of an inference.

    From a zero state, the recurrent half of every slot is its bias. Idle words keep the first reload at distance.
    Without its schedule ``plan``, an inference is counted as one word for each tile, the least that it can take.
    """
    inference = sum(matrix.tiles for matrix in layout.matrices) if plan is None else len(plan.matrix)
    return layout.lstm_slots + timing.reload + inference


def _shortages(layout, formats, timing, plan=None):
    """What a network needs more of than its configuration has, for messages; empty if it fits.

    Without its schedule ``plan``, which takes a while to make for a network that is far too large, an empty answer is
    not the last word: idle words may fill the program memory.
    """
    rows = memory_rows(
        layout.config,
        weights=weight_words(layout, formats),
        slots=layout.slots,
        vector_blocks=layout.vector_blocks,
        input_blocks=layout.input_blocks,
        words=issue_words(layout, timing, plan),
        output_beats=layout.output_beats,
    )
    at_least = {"program memory": "program memory at least"} if plan is None else {}
    short = [
        f"{at_least.get(memory, memory)} {needed} of {available} {unit}"
        for memory, needed, available, unit in rows
        if needed > available
    ]
    return ", ".join(short)


def fitting_schedule(layout, formats, timing):
    """The schedule of a network that fits, or None, and what it needs more of than there is, for messages."""
    short = _shortages(layout, formats, timing)
    if short:
        return None, short
    plan = schedule(layout, timing)
    return plan, _shortages(layout, formats, timing, plan)


def _fit_message(network, config, weight_format, short):
    boards = [
        dataclasses.replace(target.config, io_format=config.io_format)
        for target in targets().values()
        if target.name != config.name and not target.simulated_only
    ]
    fitting = []
    for other in [config, *boards]:
        layout, timing = Layout(network, other), Timing(other)
        fitting += [
            f"{other.name} with {name} weights"
            for name in WEIGHT_FORMATS
            if not fitting_schedule(layout, weight_formats(layout, name), timing)[1]
        ]
    wanted = weight_format if isinstance(weight_format, str) else ", ".join(weight_format)
    return (
        f"network {network.name!r} does not fit {config.name!r} with {wanted} weights: needs {short}; "
        f"would fit: {', '.join(fitting) or 'no board'}"
    )


def _mac_bound(network, config, critical):
    """Cycles with every multiplier busy: each matrix's multiplications over the multipliers, rounded up."""
    macs = [layer.weight_ih.size for layer in network.lstm] + [network.output_map()[0].size]
    if not critical:
        macs += [layer.weight_hh.size for layer in network.lstm]
    return sum(-(-m // config.multipliers) for m in macs)


class _Weights:
    """The weight memories being filled, matrix after matrix."""

    def __init__(self, layout, formats):
        self._formats = formats
        config = layout.config
        self.image = np.zeros((config.cores, weight_words(layout, formats), config.block, config.block), dtype=np.int16)
        self._start = {}
        address = 0
        for matrix in layout.matrices:
            self._start[matrix] = address
            address += _matrix_words(matrix, formats[matrix.layer])

    def place(self, matrix, tile):
        """(address, high half) of tile number ``slot * blocks + block``; arrays allowed."""
        if self._formats[matrix.layer] == "int8":
            return self._start[matrix] + tile // 2, tile % 2
        return self._start[matrix] + tile, tile * 0

    def add(self, matrix, mantissas):
        """Place the mantissas (slots, cores, block, blocks, block) of ``matrix``."""
        tiles = mantissas.transpose(1, 0, 3, 2, 4).reshape(mantissas.shape[1], matrix.tiles, *self.image.shape[2:])
        start = self._start[matrix]
        if self._formats[matrix.layer] == "int8":
            # 8-bit mantissas come widened, in the high byte.
            bytes_ = (tiles >> (WEIGHT_BITS - INT8_BITS)) & 0xFF
            words = bytes_[:, 0::2].copy()
            words[:, : bytes_.shape[1] // 2] |= bytes_[:, 1::2] << INT8_BITS
            tiles = words
        self.image[:, start : start + tiles.shape[1]] = tiles.astype(np.uint16).view(np.int16)


def _issue_words(layout, plan, weights, formats, timing):
    """Encode the schedule; returns (words, number of words before the inference)."""
    config = layout.config
    seeds, count = layout.lstm_slots, issue_words(layout, timing, plan)
    body = count - len(plan.matrix)
    names = (
        "valid",
        "weight",
        "int8",
        "high",
        "slot",
        "recurrent",
        "source",
        "store",
        "cell",
        "vector_from",
        "vector",
        "quarter",
        "seed",
        "wait_block",
        "start",
        "commit",
        "output",
        "output_beats",
        "output_last",
    )
    fields = {name: np.zeros(count, dtype=np.int64) for name in names}
    fields["valid"][:seeds] = fields["store"][:seeds] = fields["seed"][:seeds] = 1
    fields["source"][:seeds] = Source.BIAS.value
    fields["slot"][:seeds] = np.arange(seeds)

    for number, matrix in enumerate(layout.matrices):
        at = np.flatnonzero(plan.matrix == number)
        to = at + body
        slot, block, finish = plan.slot[at], plan.block[at], plan.finish[at]
        fields["valid"][to] = 1
        fields["weight"][to], fields["high"][to] = weights.place(matrix, slot * matrix.blocks + block)
        fields["int8"][to] = formats[matrix.layer] == "int8"
        fields["slot"][to] = matrix.first_slot + slot
        fields["recurrent"][to] = matrix.recurrent
        fields["source"][to] = plan.source[at]
        fields["store"][to] = plan.store[at]
        fields["vector_from"][to] = matrix.vector_from.value
        fields["vector"][to] = matrix.first_block + block
        if matrix is layout.linear.input:
            fields["output"][to] = finish
            fields["output_beats"][to] = [layout.slot_output_beats(s) - 1 for s in slot] * finish
            fields["output_last"][to] = finish & (slot == matrix.slots - 1)
        elif not matrix.recurrent:
            fields["cell"][to] = finish
            fields["quarter"][to] = QUARTERS * layout.layers[matrix.layer].first_block + slot * config.cores
    # Blocks of x arrive in order; the first word that reads each one waits for it.
    from_x = (fields["vector_from"] == VectorFrom.X.value) & (fields["valid"] == 1)
    _, first = np.unique(fields["vector"][from_x], return_index=True)
    fields["wait_block"][np.flatnonzero(from_x)[first]] = 1
    fields["start"][body] = 1
    fields["commit"][-1] = 1
    return issue_word(config).encode(fields), body
