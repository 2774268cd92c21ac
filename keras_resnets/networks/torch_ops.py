"""PyTorch operations for `layers` that move fewer bytes than Keras' own."""

import torch


def trained_conv2d(
    inputs: torch.Tensor, kernel: torch.Tensor, stride: int, padding: str
) -> torch.Tensor | None:
    """Convolves an NHWC batch whose gradient is asked for.

    Keras keeps kernels as (k, k, C, F). Its convolution copies each to the order that
    PyTorch expects, in every step, and the gradient back. A 1x1 convolution is a matrix
    product with the kernel as it is; other kernels are transposed as one matrix, for
    which PyTorch has a fast copy.

    Args:
        inputs: (N, H, W, C).
        kernel: (k, k, C, F).
        stride: 1 or 2.
        padding: `"same"` or `"valid"`.

    Returns:
        (N, H', W', F), or None on other devices than a CPU, for other dtypes than
        float32 and bfloat16, and for padding that is not symmetric.
    """
    if inputs.device.type != "cpu" or inputs.dtype not in _DTYPES:
        return None
    size, _, channels, filters = kernel.shape
    if kernel.shape[1] != size:
        return None
    if size == 1:
        if stride > 1:
            inputs = inputs[:, ::stride, ::stride]
        return inputs @ kernel.reshape(channels, filters)
    if padding == "same" and (stride > 1 or size % 2 == 0):
        return None
    margin = size // 2 if padding == "same" else 0
    rows = kernel.reshape(-1, filters).t().contiguous()
    outputs = torch.nn.functional.conv2d(
        inputs.permute(0, 3, 1, 2),
        rows.view(filters, size, size, channels).permute(0, 3, 1, 2),
        stride=stride,
        padding=margin,
    )
    return outputs.permute(0, 2, 3, 1)


_DTYPES = (torch.float32, torch.bfloat16)


def fused_batch_norm(
    inputs: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalizes an NHWC batch; returns it, its mean and biased variance in float32."""
    if inputs.dtype not in _DTYPES:
        inputs = inputs.float()
    count = inputs.numel() // inputs.shape[-1]
    # With momentum 1 the running statistics become those of the batch.
    mean, variance = torch.zeros(2, inputs.shape[-1], device=inputs.device)
    # Not torch.nn.functional.batch_norm, which refuses one value per channel.
    outputs = torch.batch_norm(
        inputs.permute(0, 3, 1, 2),
        gamma,
        beta,
        mean,
        variance,
        training=True,
        momentum=1.0,
        eps=epsilon,
        cudnn_enabled=True,
    )
    # Keras keeps the biased variance, PyTorch the unbiased one.
    biased = variance * ((count - 1) / count) if count > 1 else torch.zeros_like(mean)
    return outputs.permute(0, 2, 3, 1), mean, biased
