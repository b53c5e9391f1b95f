"""Why some operations are none that an accelerator of matrices computes, by what frameworks call them."""

__all__ = ["reason_of"]

_HOST = "stays on the host"
_STATISTICS = "takes its mean or variance from the values of each step, which no constant matrix does: it " + _HOST

#: By names in lower case without underscores.
_REASONS = (
    {
        name: f"{what} {_HOST}"
        for what, names in {
            "softmax": ("softmax", "logsoftmax", "hardmax", "softmin"),
            "the choice of the largest": ("argmax", "argmin", "topk"),
            "a convolution": ("conv", "conv1d", "conv2d", "conv3d", "convtranspose", "separableconv1d"),
            "a look-up in a table": ("embedding", "embeddingbag", "gather"),
            "pooling": ("maxpool", "averagepool", "maxpool1d", "avgpool1d", "maxpooling1d", "averagepooling1d"),
        }.items()
        for name in names
    }
    | dict.fromkeys(
        (
            "layernorm",
            "layernormalization",
            "groupnorm",
            "groupnormalization",
            "instancenorm",
            "instancenormalization",
            "rmsnorm",
            "rmsnormalization",
            "unitnormalization",
        ),
        _STATISTICS,
    )
    | dict.fromkeys(
        ("rnn", "rnntanh", "rnnrelu", "simplernn", "rnntanhcell", "rnnrelucell"),
        "a plain recurrent layer is none of the accelerator's; LSTM and GRU are",
    )
)


def reason_of(operation: str) -> str | None:
    """The reason why an operation is not supported; None if none is known but that it is not."""
    return _REASONS.get(operation.replace("_", "").lower())
