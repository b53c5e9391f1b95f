"""Import of PyTorch modules: what is taken, what is refused and where. Needs PyTorch."""

import numpy as np
import pytest

from spiccato.errors import ModelError
from spiccato.importers import load_network
from spiccato_sim.models.reference import Reference

torch = pytest.importorskip("torch")
nn = torch.nn


class Parts(nn.Module):
    """Layers to write models of; ``flow(parts, x)`` is the model's forward."""

    def __init__(self, flow, batch_first=True, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(5, 7, 2, batch_first=batch_first, **settings)
        self.more = nn.ModuleList([nn.LSTM(7, 7, batch_first=batch_first), nn.LSTM(7, 4, batch_first=batch_first)])
        self.fc = nn.Linear(7, 3)
        self.head = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2, bias=False))
        self.act = nn.ReLU()
        self.cell = nn.LSTMCell(5, 7)
        self.rnn = nn.RNN(5, 7)
        self.single = nn.LSTM(1, 7, batch_first=True)
        self.wide = nn.Linear(24 * 7, 3)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


def stacked(m, x):
    """LSTM layers of a ModuleList, one after the other."""
    x = m.lstm(x)[0]
    for lstm in m.more:
        x, (h, c) = lstm(x)
        x = nn.functional.dropout(x, 0.3, m.training)
    return m.head(x)


def batch_of_zeros(m, x):
    """States made by hand, in the usual spelling."""
    zeros = torch.zeros(2, x.size(0), 7, device=x.device, dtype=x.dtype)
    out, states = m.lstm(x, (zeros, x.new_zeros(2, x.shape[0], 7)))
    return m.fc(out[:, -1, :]), states


ACCEPTED = {
    "every step": lambda m, x: m.fc(m.lstm(x)[0]),
    "last step": lambda m, x: m.fc(m.lstm(x)[0][:, -1]),
    "last h": lambda m, x: m.fc(m.lstm(x)[1][0][-1]),
    "named states": lambda m, x: {"y": m.fc(m.lstm(x)[0].select(1, -1)), "c": m.lstm(x)[1][1]},
    "states made by hand": batch_of_zeros,
    "several modules": stacked,
    "no linear layer": lambda m, x: m.lstm(x),
    "flattened": lambda m, x: m.fc(m.lstm(x)[0].reshape(-1, 7)).view(x.shape[0], -1, 3),
    "in another dtype and order": lambda m, x: m.fc(m.lstm(x.float())[0].transpose(0, 1)[-1].contiguous()),
    "unused results": lambda m, x: (m.fc(m.lstm(x)[0]), m.more[0](m.lstm(x)[0]))[0],
    "by name": lambda m, x: torch.clamp(
        input=torch.sigmoid(input=nn.functional.linear(input=m.lstm(x)[0], weight=m.fc.weight)), min=0.4
    ),
    "split": lambda m, x: m.fc(torch.cat(torch.chunk(m.lstm(x)[0], 2, dim=1), dim=1)),
}


def assert_same(module, network, batch_first=True):
    """The network computes what the module computes at its last step."""
    x = torch.randn(1, 6, 5) if batch_first else torch.randn(6, 1, 5)
    result = module.eval()(x)
    while not torch.is_tensor(result):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    expected = result.detach().numpy().reshape(-1, network.output_size)[-1]
    np.testing.assert_allclose(Reference(network).run(x.numpy().reshape(6, 5))[-1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("flow", ACCEPTED.values(), ids=ACCEPTED)
def test_modules(flow):
    module = Parts(flow)
    network = load_network(module)
    assert module.training  # left alone
    assert network.name == "Parts"
    assert_same(module, network)


@pytest.mark.parametrize("settings", [{"batch_first": False}, {"bias": False}, {"dropout": 0.5}])
def test_settings(settings):
    module = Parts(lambda m, x: m.fc(m.lstm(x)[0]), **settings)
    assert_same(module, load_network(module), settings.get("batch_first", True))


def test_forms_of_a_module():
    """Unbatched input, half precision, double precision, torch.compile's wrapper."""

    class Unbatched(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 7)

        def forward(self, x):
            return self.lstm(x[:, None])[0].squeeze(1)

    assert load_network(Unbatched()).input_size == 5
    for convert in (nn.Module.double, nn.Module.bfloat16):
        module = convert(Parts(ACCEPTED["every step"]))
        weights = module.lstm.weight_hh_l1.detach().double().numpy()
        np.testing.assert_array_equal(load_network(module).layers[1].weight_hh, weights)
    wrapper = nn.Module()
    wrapper._orig_mod = Parts(ACCEPTED["every step"])
    assert load_network(wrapper).output_size == 3


REFUSED = {
    "sum of branches": (
        lambda m, x: m.more[0](m.lstm(x)[0])[0] + m.lstm(x)[0],
        r"Parts \(test_importers_torch.py:\d+\) "
        r"combines the result of nn.LSTM 'more.0' .* with the result of nn.LSTM 'lstm'.*; supported: with a constant",
    ),
    "softplus": (lambda m, x: nn.functional.softplus(m.fc(m.lstm(x)[0])), "softplus on the result of nn.Linear 'fc'"),
    "softmax": (
        lambda m, x: m.fc(m.lstm(x)[0]).softmax(-1),
        r"softmax on the result of nn.Linear 'fc' .* is not supported \(softmax stays on the host\); supported",
    ),
    "another ELU": (lambda m, x: torch._C._nn.elu(m.fc(m.lstm(x)[0]), 1.0, 2.0), "elu on the result of nn.Linear 'fc'"),
    "another ELU by name": (
        lambda m, x: torch._C._nn.elu(m.fc(m.lstm(x)[0]), input_scale=2.0),
        "elu on the result of nn.Linear 'fc'",
    ),
    "another GELU": (
        lambda m, x: nn.functional.gelu(m.fc(m.lstm(x)[0]), approximate="tanh"),
        "gelu with approximate='tanh' is not supported; supported: 'none'",
    ),
    "activation in front": (
        lambda m, x: m.fc(m.lstm(torch.tanh(x))[0]),
        "on the model's input: an activation in front of all layers is not supported; supported: behind a layer",
    ),
    "written into": (
        lambda m, x: [h := m.lstm(x)[0], h.__setitem__((slice(None), 0), 0.0), m.fc(h)][2],
        "setitem on the result of nn.LSTM 'lstm'",
    ),
    "mean": (lambda m, x: m.fc(m.lstm(x)[0].mean(1)), "mean on the result of nn.LSTM 'lstm'.*layer 1"),
    "value": (lambda m, x: m.fc(m.lstm(x)[0]) if x.sum() > 0 else x, "sum on the model's input"),
    "numpy": (lambda m, x: torch.from_numpy(x.numpy()), "numpy on the model's input"),
    "backwards": (
        lambda m, x: m.fc(m.lstm(x.flip(1))[0]),
        "nn.LSTM 'lstm' .* does not read the model's input as it is, but in another order",
    ),
    "reversed index": (
        lambda m, x: m.fc(m.lstm(x[:, torch.arange(x.shape[1] - 1, -1, -1)])[0]),
        "does not read the model's input as it is",
    ),
    "features swapped": (lambda m, x: m.lstm(x[..., [1, 0, 2, 3, 4]]), "does not read the model's input as it is"),
    "part of the steps": (
        lambda m, x: m.more[0](m.lstm(x)[0][:, 1:])[0],
        "nn.LSTM 'more.0'.* does not read the result",
    ),
    "first step": (lambda m, x: m.fc(m.lstm(x)[0][:, 0]), "holds steps 1 of 3; supported: all steps, or the last"),
    "first step of one feature": (lambda m, x: m.single(x.unsqueeze(2))[0][:, 0], "holds steps 1 of 5; supported: all"),
    "third step": (lambda m, x: m.fc(m.lstm(x)[0][:, 2]), "holds steps 3 of 4; supported: all steps, or the last"),
    "all steps at once": (
        lambda m, x: m.wide(m.lstm(x)[0].flatten(1)),
        r"nn.Linear 'wide' .* reads several steps of .*"
        "at once; supported: one step, since the accelerator gives an output for each",
    ),
    "one sequence": (lambda m, x: m.fc(m.lstm(x)[0][-1]), "only a part of the batch"),
    "c": (lambda m, x: m.fc(m.lstm(x)[1][1][-1]), "nn.Linear 'fc' .* reads the cell state of nn.LSTM 'lstm'"),
    "mixed": (
        lambda m, x: m.fc(torch.cat([m.lstm(x)[1][0][0, :, :3], m.lstm(x)[1][0][1, :, 3:]], 1)),
        "nn.Linear 'fc'.* reads .* at once",
    ),
    "heads with other activations": (
        lambda m, x: (m.fc(h := m.lstm(x)[0]), torch.tanh(m.fc(h))),
        r"heads 'output\[0\]' \(identity\) and 'output\[1\]' \(tanh identity\) have other activations",
    ),
    "heads with an LSTM of their own": (
        lambda m, x: (m.fc(h := m.lstm(x)[0]), m.more[0](h)[0]),
        "head 'output.1.' has a LSTM layer; supported: linear and dense layers",
    ),
    "padding": (lambda m, x: m.lstm(torch.cat([x, torch.zeros_like(x)], 1))[0], "cat on the model's input"),
    "packed": (
        lambda m, x: m.lstm(nn.utils.rnn.pack_padded_sequence(x, [5, 5, 5], batch_first=True))[0].data,
        "pack_padded_sequence on the model's input",
    ),
    "handed-on state": (
        lambda m, x: m.lstm(x, m.lstm(x)[1])[0],
        "the initial h is the result of nn.LSTM 'lstm' .*; supported: constants, or state",
    ),
    "cell": (
        lambda m, x: m.cell(x[:, 0])[0],
        "nn.LSTMCell 'cell' .* starts from constants at every call; supported: state that is handed on",
    ),
    "plain": (lambda m, x: m.rnn(x)[0], r"nn.RNN 'rnn' .*: rnn_tanh on .* \(a plain recurrent layer is none of the"),
    "always dropout": (lambda m, x: nn.functional.dropout(m.lstm(x)[0], 0.1), "dropout on the result"),
    "half": (lambda m, x: m.fc(m.lstm(x)[0].half().float()), "half on the result"),
    "to half": (lambda m, x: m.fc(m.lstm(x)[0].to(torch.float16).float()), "a conversion to torch.float16"),
    "constant result": (lambda m, x: torch.zeros(3), "does not depend on its input"),
    "wrong width": (lambda m, x: m.head(m.lstm(x)[0]), "nn.Linear 'head.0' .* takes 4 inputs; expected 7"),
    "window": (
        lambda m, x: m.fc(m.lstm(x[:, -12:])[0][:, -1]),
        r"on an input of shape \(2, 1021, 5\), nn.LSTM 'lstm' .* does not read the model's input as it is",
    ),
    "long window": (lambda m, x: m.fc(m.lstm(x[:, :500])[0]), "does not read the model's input as it is"),
    "narrowed window": (
        lambda m, x: m.fc(m.lstm(x.narrow(1, 0, min(12, x.shape[1])))[0]),
        "does not read the model's input as it is",
    ),
    "univariate window": (lambda m, x: m.single(x[:, -12:, None])[0], "does not read the model's input as it is"),
    "first results": (
        lambda m, x: m.fc(m.lstm(x)[0])[:, :10],
        r"holds steps 1, 2, 3, \.\.\., 10 of 1021; supported: all steps",
    ),
    "last results": (lambda m, x: m.fc(m.lstm(x)[0])[:, -10:], "holds steps 1012, .* of 1021; supported: all steps"),
    "late results": (
        lambda m, x: m.fc(m.lstm(x)[0])[:, 10:],
        "the model's result 'output' is empty after 3 steps; supported: all steps, or the last one",
    ),
    "window after a few steps": (lambda m, x: m.fc(m.lstm(x[:, 10:])[0]), "does not read the model's input as it is"),
    "branch of long inputs": (
        lambda m, x: m.fc(m.lstm(x * 2 if x.shape[1] > 8 else x)[0]),
        r"inputs of shape \(5, 3, 5\) and \(2, 1021, 5\) give different ones; supported: the same for any number",
    ),
    "window of at most 300 steps": (
        lambda m, x: m.fc(m.lstm(x[:, -12:] if x.shape[1] < 300 else x.nonesuch)[0]),
        r"on an input of shape \(2, 251, 5\), nn.LSTM 'lstm' .* does not read",
    ),
    "draw": (
        lambda m, x: m.fc(m.lstm(x + torch.randn(5))[0]),
        "^constants that the model uses differ from run to run; supported: the same in every run$",
    ),
    "no result": (lambda m, x: [None][m.lstm(x)[0].ndim - 3], "^the model gives no result; supported: results"),
    "python error": (lambda m, x: m.nonesuch(x), "Parts.forward fails on an input of shape .*nonesuch"),
}


@pytest.mark.parametrize("flow, message", REFUSED.values(), ids=REFUSED)
def test_refused_modules(flow, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(Parts(flow))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"bidirectional": True}, "nn.LSTM 'lstm' .*: bidirectional=True is not supported; supported: one direction"),
        ({"proj_size": 3}, "nn.LSTM 'lstm' .*: proj_size is not supported; supported: proj_size=0"),
    ],
)
def test_refused_settings(settings, message):
    with pytest.raises(ModelError, match=message):
        load_network(Parts(ACCEPTED["no linear layer"], **settings))


class Own(nn.Module):
    """An LSTM and a linear layer, and what ``make(module)`` adds."""

    def __init__(self, make, flow):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.fc = nn.Linear(7, 3)
        make(self)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


SINGLE_STATES = {"h0": torch.zeros(1, 1, 7), "c0": torch.zeros(1, 1, 7)}
SHAPES = {
    "zero states of one sequence": ((1, 6, 5), {}, lambda m, x: m.lstm(x, 2 * (torch.zeros(1, 1, 7),))[0]),
    "zero buffers": ((1, 6, 5), SINGLE_STATES, lambda m, x: m.lstm(x, (m.h0, m.c0))[0]),
    "zero state of one": ((6, 5), {}, lambda m, x: m.lstm(x, (torch.zeros(1, 7), torch.zeros(1, 7)))[0]),
    "features first": ((2, 5, 6), {}, lambda m, x: m.lstm(x.permute(0, 2, 1))[0]),
    "fixed sizes": ((12, 5), {}, lambda m, x: m.lstm(x.reshape(1, 12, 5))[0]),
    "fixed sizes of any batch": ((2, 60), {}, lambda m, x: m.lstm(x.view(-1, 12, 5))[0][:, -1]),
    "flat": ((60,), {}, lambda m, x: m.lstm(x.view(1, 12, 5))[0]),
    "one step": ((4, 1, 5), {}, lambda m, x: m.lstm(x)[0].flatten(1)),
    "one step, of one": ((1, 1, 5), SINGLE_STATES, lambda m, x: m.lstm(x, (m.h0, m.c0))[0].reshape(7)),
}


@pytest.mark.parametrize("shape, buffers, flow", SHAPES.values(), ids=SHAPES)
def test_shapes_of_inputs_are_found(shape, buffers, flow):
    def make(module):
        for name, buffer in buffers.items():
            module.register_buffer(name, buffer)

    module = Own(make, lambda m, x: m.fc(flow(m, x)))
    for example in ({}, {"example_input": torch.zeros(shape)}, {"example_input": np.zeros(shape)}):
        network = load_network(module, **example)
        assert [layer.hidden_size for layer in network.hidden_layers] == [7]
        xs = torch.randn(shape)
        if flow is SHAPES["features first"][2]:
            steps = xs[:1].mT
        else:
            steps = xs[:1] if xs.dim() == 3 or len(shape) == 2 and shape[1] == 60 else xs
        result = module(xs).detach().numpy().reshape(-1, 3)
        ys = Reference(network).run(steps.reshape(-1, 5).numpy())
        # The first sequence: all of its steps, or the last one.
        first = result[: len(ys)] if len(result) % len(ys) == 0 else result[:1]
        np.testing.assert_allclose(ys[-len(first) :], first, rtol=0, atol=1e-6)


def test_an_example_input_gives_the_shape():
    module = Own(lambda m: None, lambda m, x: m.fc(m.lstm(x[:, 0, :, 0].permute(0, 2, 1))[0]))
    with pytest.raises(ModelError, match=r"Own.forward fails on an input of shape \(5, 3, 5\): .*example_input=x"):
        load_network(module)
    network = load_network(module, example_input=torch.zeros(2, 1, 5, 1, 9))
    np.testing.assert_array_equal(network.layers[0].weight_ih, module.lstm.weight_ih_l0.detach())
    with pytest.raises(ModelError, match=r"fails on example_input, of shape \(2, 5\): "):
        load_network(module, example_input=torch.zeros(2, 5))
    with pytest.raises(ModelError, match="example_input is a list; expected a tensor or an array"):
        load_network(module, example_input=[1])
    with pytest.raises(ModelError, match="example_input is for a torch.nn.Module"):
        load_network(module.state_dict(), example_input=torch.zeros(2, 5))


@pytest.mark.parametrize(
    "shape, flow, message",
    [
        (
            (12, 1, 5),
            lambda m, x: m.lstm((x + torch.randn(5)).transpose(0, 1))[0],
            "constants that the model uses differ from run to run",
        ),
        ((1, 1, 5), lambda m, x: m.lstm(x.flip(1))[0], r"on an input of shape \(1, 7, 5\), .* in another order"),
        ((1, 1, 5), lambda m, x: m.lstm(x + torch.arange(x.shape[1])[:, None])[0], "not the same at every step"),
        ((3, 1, 5), lambda m, x: m.lstm(x)[0][:, 0], r"on an input of shape \(3, 7, 5\), .* holds steps 1 of 7"),
        ((1, 1, 5), lambda m, x: m.lstm(x[:, -12:])[0], r"on an input of shape \(1, 1021, 5\), .* a part of it"),
        ((0, 1, 5), lambda m, x: m.lstm(x)[0], r"example_input, of shape \(0, 1, 5\), is empty; expected at least"),
    ],
)
def test_an_example_input_hides_nothing(shape, flow, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(Own(lambda m: None, lambda m, x: m.fc(flow(m, x))), example_input=torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_states_that_a_module_keeps():
    """A module that has been used still has states of its last call."""

    def keeping(m, x):
        result, m.hidden = m.lstm(x, m.hidden)
        return m.fc(result)

    module = Own(lambda m: setattr(m, "hidden", None), keeping)
    assert load_network(module).output_size == 3
    assert module.hidden is None  # left alone
    module(torch.randn(1, 6, 5))
    with pytest.raises(ModelError, match="the state 'hidden.0.' is not zero: module Own keeps it of an earlier call"):
        load_network(module)
    module.hidden = None
    module(torch.randn(2, 6, 5))
    with pytest.raises(ModelError, match="it keeps 'hidden' of an earlier call, which must be reset"):
        load_network(module)
    written = Own(lambda m: None, lambda m, x: (m.fc(m.lstm(x)[0]), setattr(m, "last", m.lstm(x)[1]))[0])
    written(torch.randn(2, 6, 5))
    assert load_network(written).output_size == 3


def test_all_forms_of_the_last_step():
    last = [
        lambda h: h[..., -1, :],
        lambda h: h[:, -1:],
        lambda h: h.narrow(1, h.shape[1] - 1, 1),
        lambda h: h[:, [-1]],
        lambda h: h.index_select(1, torch.tensor([h.shape[1] - 1])),
        lambda h: h.unbind(1)[-1],
        lambda h: h.split(1, 1)[-1],
        lambda h: h.gather(1, torch.full((h.shape[0], 1, 7), h.shape[1] - 1)),
        lambda h: h[torch.arange(h.shape[0]), -1],
        lambda h: h.flip(1)[:, 0],
        lambda h: h.permute(1, 0, 2)[-1],
        lambda h: torch.take_along_dim(h, torch.full((1, 1, 1), h.shape[1] - 1), 1),
        lambda h: h.mT[..., -1],
    ]
    for form in last:
        module = Parts(lambda m, x, form=form: m.fc(form(m.lstm(x)[0])))
        assert_same(module, load_network(module))


def test_refused_objects():
    module = Parts(ACCEPTED["every step"])
    with torch.no_grad():
        module.lstm.weight_hh_l1[3, 2] = float("nan")
    with pytest.raises(ModelError, match=r"nn.LSTM 'lstm' .*layer 1: weight_hh\[3, 2\] is nan"):
        load_network(module)
    with pytest.raises(ModelError, match="network 'Linear' has only linear layers, which are one matrix"):
        load_network(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="module ReLU has no parameters"):
        load_network(nn.ReLU())
    with pytest.warns(DeprecationWarning):
        compiled = torch.jit.script(nn.LSTM(5, 7))
    with pytest.raises(ModelError, match="compiled by TorchScript"):
        load_network(compiled)


def test_a_keras_model_that_is_a_module_too():
    """As it is with PyTorch behind Keras."""

    class Sequential(nn.Module):
        name, layers = "both", ()

        def to_json(self):
            return '{"class_name": "Sequential", "config": {"layers": []}}'

        def get_weights(self):
            return []

    with pytest.raises(ModelError, match="the model has no layer; supported: LSTM, GRU and Dense layers"):
        load_network(Sequential())
