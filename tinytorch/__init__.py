"""TinyTorch: the framework that students build.

    import tinytorch as tt
    x = tt.Tensor([[1.0, 2.0]]) @ tt.ones((2, 3))

Modules of the course export to tinytorch/*.py; the names below load them on first use, so that a part whose module is
not there yet is missed only where it is used.
"""

from importlib import import_module

_MODULES = {
    "tensor": (
        "DTypeError", "Function", "OverlapError", "ShapeError", "Storage", "Tensor",
        "arange", "bool_", "float16", "float32", "float64", "full", "int8", "int32", "int64", "ones", "zeros",
    ),
    "activations": (
        "GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh",
        "gelu", "leaky_relu", "log_softmax", "relu", "sigmoid", "silu", "softmax", "tanh",
    ),
    "layers": ("Dropout", "Linear", "Module", "Parameter", "Sequential", "manual_seed"),
    "losses": (
        "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "MAELoss", "MSELoss", "accuracy",
        "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "mae_loss", "mse_loss",
    ),
    "data": (
        "BatchSampler", "Compose", "DataLoader", "Dataset", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomSampler",
        "SequentialSampler", "Subset", "TensorDataset", "TransformedDataset", "default_collate", "random_split",
    ),
    "autograd": ("checkpoint", "gradcheck", "is_grad_enabled", "no_grad"),
    "optimizers": (
        "Adam", "AdamW", "CosineWithWarmup", "OneCycleLR", "Optimizer", "RMSProp", "SGD", "Scheduler", "StepLR",
        "clip_grad_norm_", "clip_grad_value_",
    ),
    "training": ("Callback", "EarlyStopping", "Half", "LossScaler", "Trainer", "load_checkpoint", "save_checkpoint"),
    "convolutions": ("AvgPool2d", "BatchNorm2d", "Conv2d", "Flatten", "MaxPool2d", "ResidualBlock"),
    "tokenization": ("BPETokenizer", "CharTokenizer", "StreamDecoder", "bits_per_byte"),
    "embeddings": ("Embedding", "LearnedPositions", "Rotary", "SinusoidalPositions", "tie"),
    "attention": ("MultiHeadAttention", "attention_weights", "causal_mask", "padding_mask", "scaled_dot_product_attention"),
    "profiling": ("Profile",),
    "quantization": ("FakeQuantize", "Int4Linear", "QuantizedConv2d", "QuantizedLinear", "quantize_model", "size_of"),
    "acceleration": ("distances", "fuse"),
    "compression": ("CSRLinear", "LowRankLinear", "Pruner", "distillation_loss"),
    "transformers": (
        "GPT", "MLP", "Block", "LayerNorm", "RMSNorm", "attention_entropy", "causality_leak", "generate", "perplexity",
        "position_sensitivity", "sampling_weights",
    ),
    "memoization": ("KVCache", "PagedCache", "generate_cached", "paged_step", "speculate"),
    "benchmarking": ("compare", "measure"),
    "capstone": ("BUDGETS", "build"),
}
_TOOLS = {"student": ("NotebookError", "provenance", "use")}
_HOME = {name: module for module, names in (_MODULES | _TOOLS).items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'tinytorch' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
