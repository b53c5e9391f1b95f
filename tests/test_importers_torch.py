"""Import of PyTorch modules: what is taken, what is refused and where. Needs PyTorch."""

import numpy as np
import pytest
from spiccato.importers import load_network
from spiccato.network import ModelError
from spiccato_sim.reference import Reference

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
        self.gru = nn.GRU(5, 7)
        self.start = nn.Parameter(torch.randn(2, 1, 7))
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
        np.testing.assert_array_equal(load_network(module).lstm[1].weight_hh, weights)
    wrapper = nn.Module()
    wrapper._orig_mod = Parts(ACCEPTED["every step"])
    assert load_network(wrapper).output_size == 3


REFUSED = {
    "residual": (lambda m, x: m.more[0](m.lstm(x)[0])[0] + m.lstm(x)[0], r"Parts \(test_importers_torch.py:\d+\): "
                 r"a?d?d? ?.*on the result of nn.LSTM 'more.0'.* is not supported; supported: nn.LSTM layers"),
    "relu": (lambda m, x: m.act(m.fc(m.lstm(x)[0])), r"nn.ReLU 'act' .*: relu on the result of nn.Linear 'fc'"),
    "tanh": (lambda m, x: torch.tanh(m.fc(m.lstm(x)[0])), "tanh on the result of nn.Linear 'fc'"),
    "scale": (lambda m, x: 2 * m.fc(m.lstm(x)[0]), "mul on the result of nn.Linear 'fc'"),
    "inplace": (lambda m, x: m.fc(m.lstm(x)[0]).add_(1), "add on the result of nn.Linear 'fc'"),
    "mean": (lambda m, x: m.fc(m.lstm(x)[0].mean(1)), "mean on the result of nn.LSTM 'lstm'.*layer 1"),
    "value": (lambda m, x: m.fc(m.lstm(x)[0]) if x.sum() > 0 else x, "sum on the model's input"),
    "numpy": (lambda m, x: torch.from_numpy(x.numpy()), "numpy on the model's input"),
    "linear first": (lambda m, x: m.lstm(nn.functional.linear(x, torch.eye(5)))[0], "reads the model's input"),
    "linear between": (lambda m, x: m.more[0](nn.functional.linear(m.lstm(x)[0], torch.eye(7)))[0],
                       "nn.LSTM 'more.0'.* reads the result of .*; supported: LSTM layers first"),
    "backwards": (lambda m, x: m.fc(m.lstm(x.flip(1))[0]), "flip on the model's input"),
    "reversed index": (lambda m, x: m.fc(m.lstm(x[:, torch.arange(x.shape[1] - 1, -1, -1)])[0]),
                       "does not read the model's input as it is"),
    "features swapped": (lambda m, x: m.lstm(x[..., [1, 0, 2, 3, 4]]), "does not read the model's input as it is"),
    "part of the steps": (lambda m, x: m.more[0](m.lstm(x)[0][:, 1:])[0],
                          "nn.LSTM 'more.0'.* does not read the result"),
    "first step": (lambda m, x: m.fc(m.lstm(x)[0][:, 0]), "holds steps 1 of 3; supported: all steps, or the last"),
    "one sequence": (lambda m, x: m.fc(m.lstm(x)[0][-1]), "only a part of the batch"),
    "c": (lambda m, x: m.fc(m.lstm(x)[1][1][-1]), "nn.Linear 'fc' .* reads the cell state of nn.LSTM 'lstm'"),
    "mixed": (lambda m, x: m.fc(torch.cat([m.lstm(x)[1][0][0, :, :3], m.lstm(x)[1][0][1, :, 3:]], 1)),
              "nn.Linear 'fc'.* reads .* at once"),
    "two heads": (lambda m, x: (m.fc(m.lstm(x)[0]), m.fc(m.lstm(x)[0])),
                  "gives 'output.0.', 'output.1.'; supported: one"),
    "padding": (lambda m, x: m.lstm(torch.cat([x, torch.zeros_like(x)], 1))[0], "cat on the model's input"),
    "packed": (lambda m, x: m.lstm(nn.utils.rnn.pack_padded_sequence(x, [5, 5, 5], batch_first=True))[0].data,
               "pack_padded_sequence on the model's input"),
    "learned start": (lambda m, x: m.lstm(x, (m.start.expand(2, x.shape[0], 7).contiguous(), torch.zeros(
        2, x.shape[0], 7)))[0], "nn.LSTM 'lstm' .*: the initial h is not zero"),
    "handed-on state": (lambda m, x: m.lstm(x, m.lstm(x)[1])[0], "the initial h is not zero"),
    "cell": (lambda m, x: m.cell(x[:, 0])[0], "nn.LSTMCell 'cell' .*: lstm_cell on the model's input"),
    "gru": (lambda m, x: m.gru(x)[0], "nn.GRU 'gru' .*: gru on the model's input"),
    "always dropout": (lambda m, x: nn.functional.dropout(m.lstm(x)[0], 0.1), "dropout on the result"),
    "half": (lambda m, x: m.fc(m.lstm(x)[0].half().float()), "half on the result"),
    "to half": (lambda m, x: m.fc(m.lstm(x)[0].to(torch.float16).float()), "a conversion to torch.float16"),
    "constant result": (lambda m, x: torch.zeros(3), "does not depend on its input"),
    "wrong width": (lambda m, x: m.head(m.lstm(x)[0]), "nn.Linear 'head.0' .* takes 4 inputs; expected 7"),
    "python error": (lambda m, x: m.nonesuch(x), "Parts.forward fails on an input of shape .*nonesuch"),
}


@pytest.mark.parametrize("flow, message", REFUSED.values(), ids=REFUSED)
def test_refused_modules(flow, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(Parts(flow))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings, message", [
    ({"bidirectional": True}, "nn.LSTM 'lstm' .*: bidirectional=True is not supported; supported: one direction"),
    ({"proj_size": 3}, "nn.LSTM 'lstm' .*: proj_size is not supported; supported: proj_size=0"),
])
def test_refused_settings(settings, message):
    with pytest.raises(ModelError, match=message):
        load_network(Parts(ACCEPTED["every step"], **settings))


def test_refused_objects():
    module = Parts(ACCEPTED["every step"])
    with torch.no_grad():
        module.lstm.weight_hh_l1[3, 2] = float("nan")
    with pytest.raises(ModelError, match=r"nn.LSTM 'lstm' .*layer 1: weight_hh\[3, 2\] is nan"):
        load_network(module)
    with pytest.raises(ModelError, match="module Linear has no nn.LSTM"):
        load_network(nn.Linear(2, 2))
    with pytest.warns(DeprecationWarning):
        compiled = torch.jit.script(nn.LSTM(5, 7))
    with pytest.raises(ModelError, match="compiled by TorchScript"):
        load_network(compiled)
