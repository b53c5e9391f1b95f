"""Import of PyTorch modules that take or keep h and c: a context each, or refused. Needs PyTorch."""

import dataclasses

import numpy as np
import pytest

from spiccato.compiler import compile_program
from spiccato.errors import FitError, ModelError
from spiccato.importers import load_network
from spiccato.program import StateName
from spiccato_sim.models.reference import Reference
from spiccato_sim.models.vm import VirtualMachine
from streaming import WIDE, assert_accurate

torch = pytest.importorskip("torch")
nn = torch.nn


class Parts(nn.Module):
    """Layers to write models of; what ``make(module)`` adds are buffers and the like."""

    def __init__(self, flow, make=None, features=5, hidden=7, layers=2):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, 3)
        self.flow = flow
        if make is not None:
            make(self)

    def forward(self, x):
        return self.flow(self, x)


class Given(Parts):
    """h and c are arguments."""

    def forward(self, x, h, c):
        return self.flow(self, x, h, c)


class GivenTogether(Parts):
    """h and c are one argument."""

    def forward(self, x, state):
        return self.flow(self, x, state)


def one_step(m, x, h, c):
    y, (h, c) = m.lstm(x, (h, c))
    return m.fc(y), h, c


def kept(m, x):
    y, (m.h, m.c) = m.lstm(x, (m.h, m.c))
    return m.fc(y)


def copied(m, x):
    """In place, as models do that are to be compiled."""
    y, (h, c) = m.lstm(x, (m.h, m.c))
    m.h[0] = h[0].detach()
    m.h[1].copy_(h[1])
    m.c.data.copy_(c)
    return m.fc(y)


def lazy(m, x):
    y, m.state = m.lstm(x, m.state)
    return m.fc(y)


def in_a_dict(m, x):
    y, state = m.lstm(x, m.kept["state"] if m.kept else None)
    m.kept["state"] = tuple(part.detach() for part in state)
    return m.fc(y)


def buffers(layers=2, sequences=1, hidden=7):
    def make(m):
        m.register_buffer("h", torch.zeros(layers, sequences, hidden))
        m.register_buffer("c", torch.zeros(layers, sequences, hidden))
        m.calls = 0

    return make


def nothing_yet(m):
    m.state, m.kept = None, {}


def test_a_voice_activity_detector_with_buffers():
    """As wide as real ones: each stream a copy of the module in PyTorch, a context here."""
    sizes = {"features": 32, "hidden": 64, "layers": 1}
    make = buffers(layers=1, hidden=64)
    network = load_network(Parts(kept, make, **sizes))
    assert network.origin == (
        "taken as state, which the accelerator keeps for each context: 'h' (h of 'lstm'), 'c' (c of 'lstm')"
    )
    xs = 2 * torch.randn(3, 16, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ys = []
    with torch.no_grad():
        for stream in xs:
            module = Parts(kept, make, **sizes).double().eval()
            ys.append([module(x[None, None])[0, 0].numpy() for x in stream])
    assert_accurate(network, xs.numpy(), np.array(ys))


def both(m, x, state):
    y, state = m.lstm(x, state)
    return m.fc(y), state


EXAMPLE = (torch.zeros(1, 1, 5), torch.zeros(2, 1, 7), torch.zeros(2, 1, 7))
STREAMING = {
    "arguments": (Given(one_step), None),
    "arguments of an example": (Given(one_step), EXAMPLE),
    "one argument": (GivenTogether(both), None),
    "one argument of an example": (GivenTogether(both), (EXAMPLE[0], EXAMPLE[1:])),
    "buffers": (Parts(kept, buffers()), None),
    "buffers of several sequences": (Parts(kept, buffers(sequences=3)), None),
    "buffers in place": (Parts(copied, buffers()), None),
    "attributes": (Parts(lazy, nothing_yet), None),
    "a dict": (Parts(in_a_dict, nothing_yet), None),
}


@pytest.mark.parametrize("module, example", STREAMING.values(), ids=STREAMING)
def test_forms_of_state(module, example):
    network = load_network(module, example_input=example)
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: ")
    assert " (h of 'lstm'" in network.origin and " (c of 'lstm'" in network.origin
    xs = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    sequences = module.h.shape[1] if hasattr(module, "h") else 1
    state, ys = EXAMPLE[1:], []
    with torch.no_grad():
        for x in xs:
            data = x.expand(sequences, 1, 5)
            if isinstance(module, Given):
                y, *state = module(data, *state)
            elif isinstance(module, GivenTogether):
                y, state = module(data, state)
            else:
                y = module(data)
            ys.append(y[-1, 0].numpy())
    np.testing.assert_allclose(Reference(network).run(xs.numpy()), ys, rtol=0, atol=1e-6)


FEATURES = {
    "of arguments": (
        Given(lambda m, x, h, c: (lambda y, s: (m.fc(y), y, *s))(*m.lstm(x, (h, c)))),
        EXAMPLE,
        "output[1]",
    ),
    "first": (Given(lambda m, x, h, c: (lambda y, s: (y, *s, m.fc(y)))(*m.lstm(x, (h, c)))), EXAMPLE, "output[0]"),
    "in a dict": (
        Parts(
            lambda m, x: (lambda y, s: (m.__setattr__("state", s), {"y": m.fc(y), "features": y})[1])(
                *m.lstm(x, m.state)
            ),
            nothing_yet,
        ),
        None,
        "output['features']",
    ),
}


@pytest.mark.parametrize("module, example, name", FEATURES.values(), ids=FEATURES)
def test_h_is_a_result_beside_the_output(module, example, name):
    """A head on features that are wanted, too: they are the last layer's h, which a context keeps."""
    network = load_network(module, example_input=example)
    assert [state for state in network.states if state.result] == [StateName(name, "h", 1, True)]
    config = dataclasses.replace(WIDE, keep_h=True)
    machine = VirtualMachine(compile_program([network], config, contexts=2, weight_formats="int16"))
    xs = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    state = [part.double() for part in EXAMPLE[1:]]
    module = module.double().eval()
    with torch.no_grad():
        for x in xs.double():
            features, state = module.lstm(x[None, None], tuple(state))
            y = machine.step(x.numpy(), stream=1)
            np.testing.assert_allclose(y, module.fc(features)[0, 0], rtol=0, atol=1e-3)
            states = machine.states(stream=1)
            np.testing.assert_allclose(states[name], features[0, 0], rtol=0, atol=1e-3)
            c = next(states[own] for own in states if own.startswith(("c[1]", "state[1][1]", "c_l1")))
            np.testing.assert_allclose(c, state[1][1, 0], rtol=0, atol=1e-3)
    module.float()
    with pytest.raises(FitError, match="h of layer 1, besides its output, .* does not keep h: needs keep_h=True"):
        compile_program([network], WIDE)


def test_h_of_a_model_that_keeps_no_state():
    """Of every step; final states of such a model are nothing that it needs."""

    def flow(m, x):
        y, (h, c) = m.lstm(x)
        return m.fc(y), y, h, c

    assert load_network(Parts(flow)).states == (StateName("output[1]", "h", 1, True),)
    assert load_network(Parts(lambda m, x: (lambda y, s: (m.fc(y), s))(*m.lstm(x)))).states == ()


def with_state(change):
    """A flow that hands on ``change(h, c)``."""

    def flow(m, x, h, c):
        y, h, c = one_step(m, x, h, c)
        return y, *change(h, c)

    return Given(flow), EXAMPLE


def with_buffers(after=lambda m: None, before=lambda m: None):
    """A flow that does something before and after the step with the buffers."""

    def flow(m, x):
        before(m)
        y = kept(m, x)
        after(m)
        return y

    return Parts(flow, buffers(sequences=3)), None


def every_tenth(m):
    if m.calls % 10 == 0:
        m.h, m.c = torch.zeros_like(m.h), torch.zeros_like(m.c)
    m.calls += 1


def after_some(m):
    m.calls += 1
    if m.calls % 10 == 0:
        m.h, m.c = torch.zeros(2, 3, 7), torch.zeros(2, 3, 7)


class TwoLayers(Parts):
    """Hands the first layer's h on to the second one."""

    def __init__(self):
        super().__init__(
            None, lambda m: [setattr(m, name, torch.zeros(1, 1, 7)) for name in ("h1", "c1", "h2", "c2")], layers=1
        )
        self.second = nn.LSTM(7, 7, batch_first=True)

    def forward(self, x):
        y, (h1, c1) = self.lstm(x, (self.h1, self.c1))
        y, (h2, c2) = self.second(y, (self.h2, self.c2))
        self.h1, self.c1, self.h2, self.c2 = h2, c1, h1, c2
        return self.fc(y)


NOT_STREAMING = {
    "h scaled on its way out": (*with_state(lambda h, c: (0.9 * h, c)), "reads the result of nn.LSTM 'lstm'"),
    "c scaled on its way out": (*with_state(lambda h, c: (h, 0.9 * c)), "reads the cell state of nn.LSTM 'lstm'"),
    "h scaled on its way in": (
        Given(lambda m, x, h, c: one_step(m, x, 0.5 * h, c)),
        EXAMPLE,
        r"Given \(test_streaming_torch.py:\d+\) reads the state 'h'; supported",
    ),
    "layers swapped": (
        *with_state(lambda h, c: (h.flip(0), c.flip(0))),
        r"the state 'h' is h of 'lstm' before .* \('output\[1\]' has it in another order\)",
    ),
    "h and c swapped": (*with_state(lambda h, c: (c, h)), "handed on as .* in another order"),
    "h handed on twice": (*with_state(lambda h, c: (h, h)), "the state 'c' is c of 'lstm' before .* no result"),
    "c is not handed on": (*with_state(lambda h, c: (h,)), "the state 'c' is c of 'lstm' before .* no result"),
    "mean over the batch": (
        *with_buffers(lambda m: setattr(m, "h", m.h.mean(1, keepdim=True).expand_as(m.h))),
        "mean on the result of nn.LSTM 'lstm'",
    ),
    "first of the batch": (
        *with_buffers(lambda m: setattr(m, "h", m.h[:, :1].expand_as(m.h))),
        "the state 'h' is h of 'lstm' before a call, but does not hold",
    ),
    "batch in another order": (
        *with_buffers(lambda m: setattr(m, "h", m.h.flip(1))),
        r"does not hold that layer's final one after it \(it is there in another order\)",
    ),
    "state of another layer": (TwoLayers(), None, r"the state 'h1' is h of 'lstm' before a call, but does not hold"),
    "reset at every call": (*with_buffers(before=lambda m: m.h.zero_()), "zero on the state 'h' is not supported"),
    "reset after every call": (*with_buffers(lambda m: m.h.fill_(0.0)), "fill on the result of nn.LSTM"),
    "overwritten after every call": (
        *with_buffers(lambda m: setattr(m, "h", torch.zeros(2, 3, 7))),
        "layer 0: the initial c is state and the other one is not",
    ),
    "set to a number": (*with_buffers(lambda m: m.h.__setitem__(0, 0.0)), "setitem on the result of nn.LSTM"),
    "reset every tenth call": (*with_buffers(before=every_tenth), "module Parts changes 'calls' from call to call"),
    "reset after some calls": (
        *with_buffers(after_some),
        "module Parts changes 'calls' from call to call; supported: to keep h and c of recurrent layers, and nothing "
        "else",
    ),
    "leaky": (*with_buffers(lambda m: m.h.mul_(0.9)), "reads the result of nn.LSTM 'lstm'"),
    "moved before it is read": (
        *with_buffers(before=lambda m: m.h.__setitem__(0, m.h[1])),
        "the initial h holds an element of state that another unit or layer starts from",
    ),
    "read by the linear layer": (
        Parts(lambda m, x: (kept(m, x), m.fc(m.c[-1]))[1], buffers()),
        None,
        "nn.Linear 'fc' .*reads the cell state of nn.LSTM 'lstm'",
    ),
    "an average beside it": (
        Parts(
            lambda m, x: (kept(m, x), setattr(m, "mean", 0.9 * m.mean + 0.1 * x))[0],
            lambda m: (buffers()(m), m.register_buffer("mean", torch.zeros(1, 1, 5))),
        ),
        None,
        r"reads the state 'mean'",
    ),
    "only h is kept": (
        Parts(lambda m, x: (lambda y, s: (setattr(m, "h", s[0]), m.fc(y))[1])(*m.lstm(x, (m.h, m.c))), buffers()),
        None,
        "the initial h is state and the other one is not",
    ),
}


@pytest.mark.parametrize("module, example, message", NOT_STREAMING.values(), ids=NOT_STREAMING)
def test_what_only_looks_like_streaming_is_refused(module, example, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(module, example_input=example)
    assert "\n" not in str(caught.value)


def test_state_of_an_earlier_call():
    module = Parts(kept, buffers())
    module(torch.randn(1, 1, 5))
    with pytest.raises(ModelError, match="the state 'h' is not zero: module Parts keeps it of an earlier call"):
        load_network(module)


def test_several_modules_need_an_example():
    module = Given(one_step)
    module.more = nn.LSTM(7, 7)
    with pytest.raises(ModelError, match=r"of a module that takes state example_input=\(x, h, c\)"):
        load_network(module)
    assert load_network(module, example_input=EXAMPLE).origin
    with pytest.raises(ModelError, match="example_input: 'c' is a int; expected tensors"):
        load_network(module, example_input=(*EXAMPLE[:2], 3))


@pytest.mark.parametrize("learned", [True, False])
def test_constant_initial_states(learned):
    """Learned parameters, and buffers that stay."""

    def make(m):
        for name in ("h0", "c0"):
            start = torch.randn(2, 1, 7)
            m.register_parameter(name, nn.Parameter(start)) if learned else m.register_buffer(name, start)

    def flow(m, x):
        h, c = (start.expand(-1, x.shape[0], -1).contiguous() for start in (m.h0, m.c0))
        return m.fc(m.lstm(x, (h, c))[0])

    module = Parts(flow, make)
    network = load_network(module)
    assert network.origin is None
    x = torch.randn(1, 6, 5)
    np.testing.assert_allclose(Reference(network).run(x[0].numpy()), module(x)[0].detach(), rtol=0, atol=1e-6)


def test_initial_states_of_each_sequence_are_refused():
    module = Parts(lambda m, x: m.fc(m.lstm(x, (m.h0, m.h0))[0]), lambda m: setattr(m, "h0", torch.randn(2, 3, 7)))
    with pytest.raises(ModelError, match="nn.LSTM 'lstm' .*, layer 0: the initial h is not the same in every sequence"):
        load_network(module)
