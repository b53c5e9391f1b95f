"""Arrays that users give: what takes inputs takes the same, and refuses the rest with one line."""

import warnings

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.errors import InputError, SpiccatoError
from spiccato.formats import from_bits, to_bits
from spiccato.network import Network
from spiccato.registry import configuration
from spiccato_sim.analysis.accuracy import accuracy, as_streamed
from spiccato_sim.analysis.estimate import estimate
from spiccato_sim.benches.simulate import simulate
from spiccato_sim.models import zoo
from spiccato_sim.models.bfloat16 import BFloat16Pipeline
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import InputWarning, VirtualMachine

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
NETWORK = zoo.random_network(RNG, layers=1, min_size=3, max_size=6)
FEATURES, OUTPUTS = NETWORK.input_size, NETWORK.output_size
PROGRAM = compile_program([NETWORK], configuration("test4"))
XS = RNG.standard_normal((4, FEATURES))


class Tensor:
    """Another package's, which numpy cannot read."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse tensor.detach().")


#: What is no series of inputs, and what is said of it.
BAD = {
    "one feature": (np.zeros((4, 1)), rf"has shape \(4, 1\); expected \(steps, {FEATURES}\)"),
    "one step": (np.zeros(FEATURES), rf"has shape \({FEATURES},\); expected \(steps, "),
    "a batch": (np.zeros((1, 5, FEATURES)), rf"has shape \(1, 5, {FEATURES}\); expected"),
    "a number": (0.5, r"has shape \(\); expected"),
    "nothing": ([], r"has shape \(0,\); expected"),
    "None": (None, "holds object; expected real numbers"),
    "complex": (XS.astype(complex), "holds complex128; expected real numbers"),
    "objects": (XS.astype(object), "holds object; expected"),
    "strings": (XS.astype(str), "holds <U32; expected"),
    "masked": (np.ma.masked_where(XS > 1, XS), "is masked in places"),
    "truth values": (XS > 0, "holds bool; expected"),
    "times": (np.zeros((4, FEATURES), "m8[s]"), "holds timedelta64"),
    "ragged": ([[0.0] * FEATURES, [0.0]], "is not an array of real numbers: setting an array element"),
    "a tensor": (Tensor(), r"is not an array of real numbers: Can't call numpy\(\) on Tensor that requires grad\.$"),
}
#: What takes a series of inputs; None stands for the network or program at hand.
TAKERS = {
    "virtual machine": lambda xs: VirtualMachine(PROGRAM).run(xs),
    "reference": lambda xs: Reference(NETWORK).run(xs),
    "bfloat16 pipeline": lambda xs: BFloat16Pipeline(NETWORK).run(xs),
    "accuracy": lambda xs: accuracy(PROGRAM, NETWORK, xs),
    "estimate": lambda xs: estimate(NETWORK, xs, boards=["test4"]),
    "simulate": lambda xs: simulate(PROGRAM, xs, spaced=1),
    "calibration": lambda xs: Network(NETWORK.layers, calibration=xs),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("name", BAD)
def test_refused(taker, name):
    xs, message = BAD[name]
    if taker == "calibration" and xs is None:
        return
    with pytest.raises(SpiccatoError, match=message if taker != "accuracy" else None) as caught:
        TAKERS[taker](xs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [VirtualMachine(PROGRAM), Reference(NETWORK), BFloat16Pipeline(NETWORK)],
    ids=lambda model: type(model).__name__,
)
def test_one_step(model):
    """A step is (features,); a series of no steps gives no outputs, of as many columns as ever."""
    for x in (0.5, np.zeros(1), np.zeros((1, FEATURES)), np.zeros(FEATURES, complex)):
        with pytest.raises(InputError, match="^x (has shape|holds complex128)"):
            model.step(x)
    assert model.run(np.zeros((0, FEATURES))).shape == (0, OUTPUTS)
    model.reset()
    ys = model.run(XS)
    for same in (XS.tolist(), XS[::-1][::-1], np.asfortranarray(XS)):
        model.reset()
        assert (model.run(same) == ys).all()
    model.reset()
    integers = model.run(np.ones((2, FEATURES), np.int8))
    model.reset()
    assert (model.run(np.ones((2, FEATURES))) == integers).all()


def test_what_is_no_number_is_treated_as_by_the_hardware():
    """NaN counts as 0, infinity saturates; steps are marked, counted, and told with one warning."""
    machine = VirtualMachine(PROGRAM)
    xs = XS.copy()
    xs[1, 0], xs[2, 1], xs[3, 1], xs[3, 2] = np.nan, np.inf, -np.inf, np.nan
    with pytest.warns(InputWarning) as caught:
        ys = machine.run(xs)
    [warning] = caught
    assert str(warning.message) == (
        "2 of 4 steps hold NaN, which counts as 0; 2 of 4 steps are beyond the program's range and saturate"
    )
    assert machine.marks == {"nan": 2, "saturated": 2} and np.isfinite(ys).all()
    # The largest finite number of the format saturates where infinity does.
    largest = from_bits(np.array([0x7F7F]), "bfloat16")[0]
    plain = np.where(np.isnan(xs), 0, np.clip(xs, -largest, largest))
    machine.reset()
    assert not machine.marks
    with pytest.warns(InputWarning, match="^2 of 4 steps are beyond"):
        assert (machine.run(plain) == ys).all()
    machine.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine.run(XS)
    assert not machine.marks


@pytest.mark.parametrize(
    "bits, message",
    [
        (np.zeros(1, int), rf"bits has shape \(1,\); expected \({FEATURES},\)"),
        (np.zeros(FEATURES), "bits holds float64; expected bit patterns, which are integers"),
        (np.full(FEATURES, 1 << 16), r"bits has values outside 0\.\.65535, the bit patterns of 16 bits"),
        (np.full(FEATURES, -1), r"bits has values outside 0\.\.65535"),
        (0, r"bits has shape \(\)"),
    ],
)
def test_bit_patterns_that_are_refused(bits, message):
    with pytest.raises(InputError, match=message):
        VirtualMachine(PROGRAM).step_bits(bits)


def test_bit_patterns():
    machine, other = VirtualMachine(PROGRAM), VirtualMachine(PROGRAM)
    assert (from_bits(machine.step_bits(to_bits(XS[0], "bfloat16")).bits, "bfloat16") == other.step(XS[0])).all()


def test_one_step_at_least_to_measure_errors():
    with pytest.raises(SpiccatoError, match=r"inputs has shape \(0, 5\)"):
        as_streamed(np.zeros((0, 5)), "bfloat16")
    with pytest.raises(SpiccatoError, match=r"calibration has shape \(0, "):
        Network(NETWORK.layers, calibration=np.zeros((0, FEATURES)))


@pytest.mark.parametrize("names", [("x",), ("arr_0",), ("x", "y"), ()])
def test_npz(tmp_path, names):
    """A file with one array is as good as a .npy file; of several, none is guessed at."""
    path = tmp_path / "x.npz"
    np.savez(path, **dict.fromkeys(names, XS))
    if len(names) == 1:
        assert (zoo.load_inputs(path, FEATURES) == XS).all()
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(SpiccatoError, match=r"x.npz: not a .npy file of numbers"):
            zoo.load_inputs(path, FEATURES)
    else:
        with pytest.raises(SpiccatoError, match=r"x.npz: holds (several arrays \(x, y\)|no array); expected one"):
            zoo.load_inputs(path, FEATURES)
