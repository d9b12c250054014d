"""NumPy twins of the kernels: same names, same arguments. They run where nothing was compiled; the tests trust them.

A twin takes `threads` as its kernel does, and does not use it.
"""

from tinytorch._ext._reference.arrays import copy
from tinytorch._ext._reference.attention import attention_backward, attention_decode, attention_forward
from tinytorch._ext._reference.batch_norm import batch_norm, batch_norm_backward
from tinytorch._ext._reference.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from tinytorch._ext._reference.embedding import gather, scatter_add
from tinytorch._ext._reference.gemm import gemm
from tinytorch._ext._reference.optim import adam_step, sgd_step
from tinytorch._ext._reference.pool import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from tinytorch._ext._reference.probe import multiply_add, triad
from tinytorch._ext._reference.quant import gemm_int8, gemv_int4, gemv_int8
from tinytorch._ext._reference.rows import (
    activate,
    activate_backward,
    cross_entropy,
    layer_norm,
    layer_norm_backward,
    log_softmax,
    log_softmax_backward,
    rms_norm,
    rms_norm_backward,
    softmax,
    softmax_backward,
    sum_rows,
)
from tinytorch._ext._reference.scalar import Value

__all__ = [
    "Value",
    "activate",
    "activate_backward",
    "adam_step",
    "attention_backward",
    "attention_decode",
    "attention_forward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "copy",
    "cross_entropy",
    "gather",
    "gemm",
    "gemm_int8",
    "gemv_int4",
    "gemv_int8",
    "layer_norm",
    "layer_norm_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "multiply_add",
    "rms_norm",
    "rms_norm_backward",
    "scatter_add",
    "sgd_step",
    "softmax",
    "softmax_backward",
    "sum_rows",
    "triad",
]
