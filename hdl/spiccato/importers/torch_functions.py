"""Functions, methods and properties of PyTorch by name, and what kind of thing they do."""

__all__ = [
    "ACTIVATIONS",
    "ARITHMETIC",
    "BATCH_NORM",
    "CLIPS",
    "CONVERSIONS",
    "DROPOUTS",
    "INDEXED",
    "MOVES",
    "NEW",
    "PROPERTIES",
    "SIZED",
    "WRITES",
]

#: Functions, methods and properties that only move values.
MOVES = {
    "transpose",
    "permute",
    "movedim",
    "moveaxis",
    "swapaxes",
    "swapdims",
    "t",
    "T",
    "mT",
    "squeeze",
    "unsqueeze",
    "reshape",
    "view",
    "view_as",
    "reshape_as",
    "flatten",
    "unflatten",
    "contiguous",
    "clone",
    "detach",
    "detach_",
    "data",
    "select",
    "narrow",
    "__getitem__",
    "index_select",
    "gather",
    "take_along_dim",
    "unbind",
    "split",
    "chunk",
    "tensor_split",
    "cat",
    "concat",
    "concatenate",
    "stack",
    "hstack",
    "vstack",
    "flip",
    "expand",
    "expand_as",
    "atleast_2d",
    "atleast_3d",
    "cpu",
    "__iter__",
}
#: Those that move values into another tensor.
WRITES = {"copy_", "__setitem__"}
#: Those that may be given other tensors, which tell what to take.
INDEXED = {"__getitem__", "index_select", "gather", "take_along_dim", "view_as", "reshape_as", "expand_as"}
#: Those that may be given sizes that fit one number of steps only.
SIZED = {"reshape", "view"}
#: Those that tell nothing of the values.
PROPERTIES = {
    "shape",
    "size",
    "dim",
    "ndim",
    "ndimension",
    "dtype",
    "device",
    "layout",
    "is_cuda",
    "is_cpu",
    "is_nested",
    "is_sparse",
    "is_quantized",
    "is_contiguous",
    "is_floating_point",
    "is_complex",
    "requires_grad",
    "numel",
    "nelement",
    "stride",
    "get_device",
    "__len__",
}
#: Those that make new tensors of the same type and device.
NEW = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
CONVERSIONS = {"to", "type", "type_as", "float", "double"}
DROPOUTS = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}
#: Arithmetic with constants: name without the underscores of methods and of those in place -> operation.
ARITHMETIC = {
    "add": "add",
    "sub": "sub",
    "subtract": "sub",
    "rsub": "rsub",
    "mul": "mul",
    "multiply": "mul",
    "div": "div",
    "divide": "div",
    "true_divide": "div",
    "neg": "neg",
    "negative": "neg",
}

#: Arguments of torch.nn.functional.batch_norm.
BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
#: Activations: name without the underscore of those in place -> their parameters.
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "selu": (),
    "celu": ("alpha",),
    "sigmoid": (),
    "tanh": (),
    "hardsigmoid": (),
    "silu": (),
    "gelu": ("approximate",),
}
#: Functions that bound values: name without the underscore of those in place -> their parameters.
CLIPS: dict[str, tuple[str, ...]] = {
    "hardtanh": ("min_val", "max_val"),
    "clamp": ("min", "max"),
    "clip": ("min", "max"),
    "clamp_min": ("min",),
    "clamp_max": ("max",),
}
