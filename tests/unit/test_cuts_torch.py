"""Parts of PyTorch modules: a refusal names one that runs, and it computes what the module does between its ends."""

import re

import numpy as np
import pytest

from cuts import told_cut
from spiccato.errors import ModelError
from spiccato.importers import load_network
from spiccato_sim.models.reference import Reference

torch = pytest.importorskip("torch")
nn = torch.nn


class Own(nn.Module):
    """An LSTM and a linear layer, further modules, and ``flow(module, x)`` as its forward."""

    def __init__(self, flow, **modules):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.fc = nn.Linear(7, 3)
        for name, module in modules.items():
            setattr(self, name, module)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


def overwritten(m, x):
    """Something that is not supported changes what lies within the part."""
    h = m.lstm(x)[0]
    h[:, 0] = 0.0
    return m.fc(h).softmax(-1)


#: Module, an input of it, its refusal, and the part that this names.
REFUSED = {
    "convolution": (
        lambda: Own(lambda m, x: m.fc(m.lstm(m.conv(x).mT)[0][:, -1]), conv=nn.Conv1d(2, 5, 3)),
        torch.randn(1, 2, 9),
        r"nn.Conv1d 'conv' .*: conv1d on the model's input is not supported \(a convolution stays on the host\)",
        {"from_": "lstm", "to": "fc"},
    ),
    "convolution over many steps": (
        lambda: Own(lambda m, x: m.fc(m.lstm(m.conv(x).mT)[0][:, -1]), conv=nn.Conv1d(2, 5, 12)),
        torch.randn(1, 2, 30),
        r"nn.Conv1d 'conv' .*: conv1d on the model's input is not supported \(a convolution stays on the host\)",
        {"from_": "lstm", "to": "fc"},
    ),
    "convolutions with activations in place": (
        lambda: Own(
            lambda m, x: m.fc(m.lstm(m.front(x).mT)[0][:, -1]),
            front=nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(inplace=True), nn.Conv1d(4, 5, 3), nn.LeakyReLU(0.1, True)),
        ),
        torch.randn(1, 2, 9),
        "nn.Conv1d 'front.0' .*: conv1d on the model's input",
        {"from_": "lstm", "to": "fc"},
    ),
    "embedding": (
        lambda: Own(lambda m, x: m.fc(m.lstm(m.emb(x))[0]), emb=nn.Embedding(40, 5)),
        torch.randint(0, 40, (1, 6)),
        r"nn.Embedding 'emb' .*: embedding on the model's input is not supported \(a look-up in a table stays",
        {"from_": "lstm", "to": "fc"},
    ),
    "softmax": (
        lambda: Own(lambda m, x: m.fc(m.lstm(x)[0]).softmax(-1)),
        torch.randn(1, 6, 5),
        r"softmax on the result of nn.Linear 'fc' .*\(softmax stays on the host\)",
        {"to": "fc"},
    ),
    "argmax": (
        lambda: Own(lambda m, x: m.fc(m.lstm(x)[0]).argmax(-1)),
        torch.randn(1, 6, 5),
        r"argmax on the result of nn.Linear 'fc' .*\(the choice of the largest stays on the host\)",
        {"to": "fc"},
    ),
    "normalisation": (
        lambda: Own(lambda m, x: m.fc(m.norm(m.lstm(x)[0])), norm=nn.LayerNorm(7)),
        torch.randn(1, 6, 5),
        r"nn.LayerNorm 'norm' .*: layer_norm on .*takes its mean or variance from the values of each step",
        {"to": "lstm"},
    ),
    "product of layers": (
        lambda: Own(lambda m, x: m.fc(m.more(h := m.lstm(x)[0])[0] * h), more=nn.LSTM(7, 7, batch_first=True)),
        torch.randn(1, 6, 5),
        "combines the result of nn.LSTM 'more'",
        {"to": "more"},
    ),
    "bidirectional": (
        lambda: Own(lambda m, x: m.bi(m.lstm(x)[0])[0], bi=nn.LSTM(7, 4, bidirectional=True, batch_first=True)),
        torch.randn(1, 6, 5),
        "nn.LSTM 'bi' .*: bidirectional=True is not",
        {"to": "lstm"},
    ),
    "mean": (
        lambda: Own(lambda m, x: m.fc(m.lstm(x)[0].mean(1))),
        torch.randn(1, 6, 5),
        "mean on the result of nn.LSTM",
        {"to": "lstm"},
    ),
    "all steps at once": (
        lambda: Own(lambda m, x: m.wide(m.lstm(x)[0].flatten(1)), wide=nn.Linear(24 * 7, 3)),
        torch.randn(1, 24, 5),
        "nn.Linear 'wide' .* reads several steps of .* at once",
        {"to": "lstm"},
    ),
    "heads of an LSTM of their own": (
        lambda: Own(lambda m, x: (m.fc(h := m.lstm(x)[0]), m.more(h)[0]), more=nn.LSTM(7, 4, batch_first=True)),
        torch.randn(1, 6, 5),
        "head 'output.1.' has a LSTM layer",
        {"to": "more"},
    ),
    "behind a function of a module of the user's": (
        lambda: Own(lambda m, x: m.head(x).softmax(-1), head=Own(lambda m, x: torch.relu(m.fc(m.lstm(x)[0])))),
        torch.randn(1, 6, 5),
        "softmax on the result of Own 'head'",
        {"to": "head"},
    ),
}


def between(module, x, cut):
    """What the part's first module reads and its last one gives, in one call of the whole module."""
    seen = {}

    def first(value):
        return value if torch.is_tensor(value) else value[0]

    parts = dict(module.named_modules())
    if "from_" in cut:
        parts[cut["from_"]].register_forward_pre_hook(lambda _, args: seen.update(start=first(args)))
    parts[cut["to"]].register_forward_hook(lambda _, __, result: seen.update(end=first(result)))
    with torch.no_grad():
        module.eval()(x)
    return [tensor.numpy() for tensor in (seen.get("start", x), seen["end"])]


@pytest.mark.parametrize("make, x, message, cut", REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_a_part_that_runs(make, x, message, cut):
    with pytest.raises(ModelError) as caught:
        load_network(make())
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)
    assert told_cut(str(caught.value)) == cut
    network = load_network(make(), **cut)
    start, end = between(make(), x, cut)
    ys = Reference(network).run(start.reshape(-1, network.input_size))
    expected = end.reshape(-1, network.output_size)
    # Some give their result for the last step only.
    np.testing.assert_allclose(ys[-len(expected) :], expected, rtol=0, atol=1e-6)
    assert "; outside stay: before it " in network.origin


NO_PART = {
    "a value decides": (Own(lambda m, x: m.fc(m.lstm(x)[0]) if x.sum() > 0 else x), "sum on the model's input"),
    "written into a constant": (
        Own(lambda m, x: [kept := torch.zeros(3), kept.copy_(x[0, 0, :3]), m.fc(m.lstm(x)[0]) + kept][2]),
        "copy on the model's input",
    ),
}


@pytest.mark.parametrize("module, message", NO_PART.values(), ids=NO_PART)
def test_no_part_is_told_where_none_is_sure(module, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(module)
    assert "the part" not in str(caught.value)


def test_values_that_are_overwritten_are_no_part():
    """Up to the LSTM layer they are not yet; the linear layer behind reads something else than its result."""
    with pytest.raises(ModelError) as caught:
        load_network(Own(overwritten))
    assert "setitem on the result of nn.LSTM 'lstm'" in str(caught.value)
    with pytest.raises(ModelError, match="setitem on the result of nn.LSTM 'lstm'"):
        load_network(Own(overwritten), to="fc")


def test_state_beside_a_part():
    """Attributes that keep h and c are followed behind the part's end, too."""

    def flow(m, x):
        out, m.state = m.lstm(x, m.state)
        return m.fc(out).softmax(-1)

    module = Own(flow, state=None)
    with pytest.raises(ModelError) as caught:
        load_network(module)
    network = load_network(module, **told_cut(str(caught.value)))
    assert network.origin.startswith("taken as state, which the accelerator keeps for each context: 'state[0]' (h of ")


@pytest.mark.parametrize(
    "cut, message",
    [
        ({"from_": "nonesuch"}, "--from nonesuch: the model has no module of that name; it has 'lstm', 'fc'"),
        ({"to": "spare"}, "--to spare: the model computes its result without it"),
        ({"from_": "spare"}, "--from spare: the model computes its result without it"),
    ],
)
def test_parts_that_are_none(cut, message):
    module = Own(lambda m, x: m.fc(m.lstm(x)[0]), spare=nn.Linear(2, 2))
    with pytest.raises(ModelError, match=message):
        load_network(module, **cut)
