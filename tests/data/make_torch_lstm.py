"""Makes torch_lstm.npz, the golden vectors of test_reference.py: run it with PyTorch 2.13.0 installed.

A two-layer nn.LSTM (5 inputs, 7 units) and an nn.Linear (3 outputs) in float64, weights of PyTorch's
initialisation times 2, over 24 steps; the file holds the state dict, inputs `xs`, outputs `ys` and the last
states `h` and `c` of shape (2, 7).
"""

from pathlib import Path

import numpy as np
import torch


def main() -> None:
    torch.manual_seed(2)
    torch.set_default_dtype(torch.float64)
    model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(5, 7, 2), "fc": torch.nn.Linear(7, 3)})
    xs = 2 * torch.randn(24, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
        out, (h, c) = model["lstm"](xs)
        ys = model["fc"](out)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays |= {"xs": xs.numpy(), "ys": ys.numpy(), "h": h.numpy(), "c": c.numpy()}
    np.savez_compressed(Path(__file__).with_name("torch_lstm.npz"), **arrays)


if __name__ == "__main__":
    main()
