"""Triton kernels for the parts of a post-norm layer outside attention: dropout, residual, LayerNorm and GELU.

Each kernel reads and writes its tensors once. T is the number of tokens, H the hidden size, I the intermediate size.
Everything is computed in float32, whatever the type of the tensors. The gradients of biases and norms are summed per
group of tokens and then over the groups, in a fixed order, so results are reproducible on the same GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUPS = 1024  # groups of tokens: enough to use the whole GPU, and few enough that summing over them is fast
COLUMNS, ROWS = 128, 16  # tile size of the backward pass of GELU


@triton.jit
def _keep_mask(seed: tl.tensor, offset: tl.tensor, p: tl.tensor) -> tl.tensor:
    """Return the dropout mask: whether the element at each offset is kept, with probability 1 - p.

    The random number of an offset is murmur3's finalizer (A. Appleby), applied twice. Philox, which Triton provides,
    would take longer than the memory traffic of the kernel.
    """
    bits = offset.to(tl.uint32) ^ seed.to(tl.uint32)
    for _ in tl.static_range(2):
        bits = (bits ^ (bits >> 16)) * 0x85EBCA6B
        bits = (bits ^ (bits >> 13)) * 0xC2B2AE35
        bits = (bits ^ (bits >> 16)) + seed.to(tl.uint32)
    return (bits >> 8).to(tl.float32) * (1.0 / (1 << 24)) >= p


@triton.jit(do_not_specialize=["seed"])
def _norm_forward(z_TH: tl.tensor, res_TH: tl.tensor, gamma_H: tl.tensor, beta_H: tl.tensor, sum_TH: tl.tensor,
                  out_TH: tl.tensor, mean_T: tl.tensor, rstd_T: tl.tensor, seed: tl.tensor, p: tl.tensor,
                  eps: tl.tensor, H: tl.constexpr, DROP: tl.constexpr, SAVE: tl.constexpr,
                  BLOCK: tl.constexpr) -> None:  # fmt: skip
    """Each program computes one token."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    valid, offset = column < H, token * H + column
    x = tl.load(z_TH + offset, mask=valid, other=0.0).to(tl.float32)
    if DROP:
        x = tl.where(_keep_mask(seed, offset, p), x / (1 - p), 0.0)
    x = x + tl.load(res_TH + offset, mask=valid, other=0.0).to(tl.float32)
    if SAVE:
        x = x.to(sum_TH.dtype.element_ty)
        tl.store(sum_TH + offset, x, mask=valid)
        x = x.to(tl.float32)
    mean = tl.sum(x, 0) / H
    centered = tl.where(valid, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centered * centered, 0) / H + eps)
    if SAVE:
        tl.store(mean_T + token, mean)
        tl.store(rstd_T + token, rstd)
    gamma = tl.load(gamma_H + column, mask=valid, other=0.0).to(tl.float32)
    beta = tl.load(beta_H + column, mask=valid, other=0.0).to(tl.float32)
    tl.store(out_TH + offset, centered * rstd * gamma + beta, mask=valid)


@triton.jit(do_not_specialize=["seed", "T"])
def _norm_backward(grad_TH: tl.tensor, sum_TH: tl.tensor, gamma_H: tl.tensor, mean_T: tl.tensor, rstd_T: tl.tensor,
                   res_grad_TH: tl.tensor, z_grad_TH: tl.tensor, sums_3GH: tl.tensor, seed: tl.tensor, p: tl.tensor,
                   T: tl.tensor, H: tl.constexpr, DROP: tl.constexpr, BLOCK: tl.constexpr) -> None:  # fmt: skip
    """Each program computes one group of tokens and its sums of the gradients of bias, gamma and beta."""
    group, groups = tl.program_id(0), tl.num_programs(0)
    column = tl.arange(0, BLOCK).to(tl.int64)
    valid = column < H
    gamma = tl.load(gamma_H + column, mask=valid, other=0.0).to(tl.float32)
    bias_sum = tl.zeros((BLOCK,), tl.float32)
    gamma_sum = tl.zeros((BLOCK,), tl.float32)
    beta_sum = tl.zeros((BLOCK,), tl.float32)
    for token in range(group, T, groups):
        offset = token * H + column
        grad = tl.load(grad_TH + offset, mask=valid, other=0.0).to(tl.float32)
        x = tl.load(sum_TH + offset, mask=valid, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_T + token)
        x_hat = tl.where(valid, (x - tl.load(mean_T + token)) * rstd, 0.0)
        scaled = grad * gamma
        x_grad = (scaled - x_hat * (tl.sum(scaled * x_hat, 0) / H) - tl.sum(scaled, 0) / H) * rstd
        tl.store(res_grad_TH + offset, x_grad, mask=valid)
        gamma_sum += grad * x_hat
        beta_sum += grad
        if DROP:
            x_grad = tl.where(_keep_mask(seed, offset, p), x_grad / (1 - p), 0.0)
            tl.store(z_grad_TH + offset, x_grad, mask=valid)
        bias_sum += x_grad
    sums = sums_3GH + group * H + column
    tl.store(sums, bias_sum, mask=valid)
    tl.store(sums + groups * H, gamma_sum, mask=valid)
    tl.store(sums + 2 * groups * H, beta_sum, mask=valid)


@triton.jit(do_not_specialize=["T"])
def _gelu_backward(grad_TI: tl.tensor, x_TI: tl.tensor, x_grad_TI: tl.tensor, sums_GI: tl.tensor, T: tl.tensor,
                   I: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> None:  # noqa: E741  # fmt: skip
    """Each program computes one group of tokens in a range of columns, and its sum of the gradients of the bias."""
    group, groups = tl.program_id(1), tl.num_programs(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(group * ROWS, T, groups * ROWS):
        token = (first + tl.arange(0, ROWS))[:, None]
        offset, valid = token.to(tl.int64) * I + column, (token < T) & (column < I)
        x = tl.load(x_TI + offset, mask=valid, other=0.0).to(tl.float32)
        grad = tl.load(grad_TI + offset, mask=valid, other=0.0).to(tl.float32)
        gelu_grad = 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
        x_grad = grad * gelu_grad
        tl.store(x_grad_TI + offset, x_grad, mask=valid)
        total += x_grad
    tl.store(sums_GI + group.to(tl.int64) * I + column, tl.sum(total, 0)[None, :], mask=column < I)


def dropout_add_norm(
    z: Tensor, residual: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, *, p: float, eps: float
) -> Tensor:
    """Return LayerNorm(dropout(z) + residual) (..., H) (Ba et al. 2016).

    Args:
        z: (..., H), the output of the linear layer, with its bias added.
        residual: (..., H).
        bias: (H,), the bias that z already includes; it is passed only to receive its gradient.
        gamma: (H,), the weight of the norm.
        beta: (H,), the bias of the norm.
        p: the dropout probability; torch's CPU random generator seeds the mask.
        eps: the epsilon of the norm.
    """
    args = z, residual, bias, gamma, beta, p, eps, torch.is_grad_enabled()
    output: Tensor = _DropoutAddNorm.apply(*args)  # type: ignore[no-untyped-call]
    return output


def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(x) = x Phi(x) (..., I) (Hendrycks and Gimpel 2016) of the output of a linear layer.

    `bias` (I,) is the layer's bias, which x (..., I) already includes; it is passed only to receive its gradient.
    """
    output: Tensor = _Gelu.apply(x, bias)  # type: ignore[no-untyped-call]
    return output


class _DropoutAddNorm(torch.autograd.Function):
    """Saves the sum and the statistics of the norm for the backward pass, which computes the dropout mask again."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, residual: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, p: float,
                eps: float, save: bool) -> Tensor:  # fmt: skip
        """Return the normalized sum; `save` stores what the backward pass needs."""
        z, residual = z.contiguous(), residual.contiguous()
        width, tokens = z.shape[-1], z.numel() // z.shape[-1]
        seed = int(torch.randint(1 << 31, ()).item()) if p else 0
        out, total = torch.empty_like(residual), torch.empty_like(residual) if save else residual
        mean, rstd = (torch.empty(tokens if save else 1, device=z.device, dtype=torch.float32) for _ in range(2))
        block = triton.next_power_of_2(width)
        _norm_forward[(tokens,)](z, residual, gamma, beta, total, out, mean, rstd, seed, p, eps, width,
                                 p > 0, save, block)  # fmt: skip
        ctx.save_for_backward(total, gamma, mean, rstd)
        ctx.settings = seed, p, width, tokens, block, bias.dtype, beta.dtype, z.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of z, residual, bias, gamma and beta."""
        total, gamma, mean, rstd = ctx.saved_tensors
        seed, p, width, tokens, block, bias_type, beta_type, z_type = ctx.settings
        residual_grad = torch.empty_like(total)
        z_grad = torch.empty_like(total, dtype=z_type) if p or z_type != total.dtype else residual_grad
        groups = min(GROUPS, tokens)
        sums = torch.empty(3, groups, width, device=grad.device, dtype=torch.float32)
        _norm_backward[(groups,)](grad.contiguous(), total, gamma, mean, rstd, residual_grad, z_grad, sums, seed, p,
                                  tokens, width, z_grad is not residual_grad, block)  # fmt: skip
        bias_grad, gamma_grad, beta_grad = sums.sum(1)
        return (z_grad, residual_grad, bias_grad.to(bias_type), gamma_grad.to(gamma.dtype), beta_grad.to(beta_type),
                None, None, None)  # fmt: skip


class _Gelu(torch.autograd.Function):
    """Saves only its input for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """Return GELU(x)."""
        ctx.save_for_backward(x)
        ctx.bias_type = bias.dtype
        return torch.nn.functional.gelu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of x and of the bias."""
        (x,) = ctx.saved_tensors
        x = x.contiguous()
        width, tokens = x.shape[-1], x.numel() // x.shape[-1]
        columns = triton.cdiv(width, COLUMNS)
        groups = min(triton.cdiv(tokens, ROWS), max(1, 8 * GROUPS // columns))
        x_grad, sums = torch.empty_like(x), torch.empty(groups, width, device=x.device, dtype=torch.float32)
        _gelu_backward[(columns, groups)](grad.contiguous(), x, x_grad, sums, tokens, width, ROWS, COLUMNS)
        return x_grad, sums.sum(0).to(ctx.bias_type)
