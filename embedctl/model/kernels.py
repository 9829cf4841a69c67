"""What surrounds attention in a post-norm layer, in one pass over memory each way (Triton, CUDA).

T tokens, H hidden numbers, I intermediate ones. Everything is computed in float32, whatever the tensors' type. The
gradients of biases and norms are summed per group of tokens first, then over the groups: a fixed order, so the same
bytes every time on the same GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUPS = 1024  # of tokens: enough to fill a GPU, few enough that their sums are soon added up
COLUMNS, ROWS = 128, 16  # a tile of the activation's gradient


@triton.jit
def _kept(seed: tl.tensor, place: tl.tensor, p: tl.tensor) -> tl.tensor:
    """Whether each place is kept, with probability 1 - p: murmur3's last step (A. Appleby) twice over a counter.

    Philox, Triton's own generator, would take longer than the memory traffic beside it.
    """
    word = place.to(tl.uint32) ^ seed.to(tl.uint32)
    for _ in tl.static_range(2):
        word = (word ^ (word >> 16)) * 0x85EBCA6B
        word = (word ^ (word >> 13)) * 0xC2B2AE35
        word = (word ^ (word >> 16)) + seed.to(tl.uint32)
    return (word >> 8).to(tl.float32) * (1.0 / (1 << 24)) >= p


@triton.jit(do_not_specialize=["seed"])
def _norm_forward(z_TH: tl.tensor, res_TH: tl.tensor, gamma_H: tl.tensor, beta_H: tl.tensor, sum_TH: tl.tensor,
                  out_TH: tl.tensor, mean_T: tl.tensor, rstd_T: tl.tensor, seed: tl.tensor, p: tl.tensor,
                  eps: tl.tensor, H: tl.constexpr, DROP: tl.constexpr, KEEP: tl.constexpr,
                  BLOCK: tl.constexpr) -> None:  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    real, place = column < H, token * H + column
    x = tl.load(z_TH + place, mask=real, other=0.0).to(tl.float32)
    if DROP:
        x = tl.where(_kept(seed, place, p), x / (1 - p), 0.0)
    x = x + tl.load(res_TH + place, mask=real, other=0.0).to(tl.float32)
    if KEEP:
        x = x.to(sum_TH.dtype.element_ty)
        tl.store(sum_TH + place, x, mask=real)
        x = x.to(tl.float32)
    mean = tl.sum(x, 0) / H
    centred = tl.where(real, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, 0) / H + eps)
    if KEEP:
        tl.store(mean_T + token, mean)
        tl.store(rstd_T + token, rstd)
    gamma = tl.load(gamma_H + column, mask=real, other=0.0).to(tl.float32)
    beta = tl.load(beta_H + column, mask=real, other=0.0).to(tl.float32)
    tl.store(out_TH + place, centred * rstd * gamma + beta, mask=real)


@triton.jit(do_not_specialize=["seed", "T"])
def _norm_backward(grad_TH: tl.tensor, sum_TH: tl.tensor, gamma_H: tl.tensor, mean_T: tl.tensor, rstd_T: tl.tensor,
                   res_grad_TH: tl.tensor, z_grad_TH: tl.tensor, parts_3GH: tl.tensor, seed: tl.tensor, p: tl.tensor,
                   T: tl.tensor, H: tl.constexpr, DROP: tl.constexpr, BLOCK: tl.constexpr) -> None:  # fmt: skip
    group, groups = tl.program_id(0), tl.num_programs(0)
    column = tl.arange(0, BLOCK).to(tl.int64)
    real = column < H
    gamma = tl.load(gamma_H + column, mask=real, other=0.0).to(tl.float32)
    bias_sum = tl.zeros((BLOCK,), tl.float32)
    gamma_sum = tl.zeros((BLOCK,), tl.float32)
    beta_sum = tl.zeros((BLOCK,), tl.float32)
    for token in range(group, T, groups):
        place = token * H + column
        grad = tl.load(grad_TH + place, mask=real, other=0.0).to(tl.float32)
        x = tl.load(sum_TH + place, mask=real, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_T + token)
        unit = tl.where(real, (x - tl.load(mean_T + token)) * rstd, 0.0)
        scaled = grad * gamma
        inner = (scaled - unit * (tl.sum(scaled * unit, 0) / H) - tl.sum(scaled, 0) / H) * rstd
        tl.store(res_grad_TH + place, inner, mask=real)
        gamma_sum += grad * unit
        beta_sum += grad
        if DROP:
            inner = tl.where(_kept(seed, place, p), inner / (1 - p), 0.0)
            tl.store(z_grad_TH + place, inner, mask=real)
        bias_sum += inner
    part = parts_3GH + group * H + column
    tl.store(part, bias_sum, mask=real)
    tl.store(part + groups * H, gamma_sum, mask=real)
    tl.store(part + 2 * groups * H, beta_sum, mask=real)


@triton.jit(do_not_specialize=["T"])
def _gelu_backward(grad_TI: tl.tensor, x_TI: tl.tensor, x_grad_TI: tl.tensor, parts_GI: tl.tensor, T: tl.tensor,
                   I: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> None:  # noqa: E741  # fmt: skip
    group, groups = tl.program_id(1), tl.num_programs(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(group * ROWS, T, groups * ROWS):
        token = (first + tl.arange(0, ROWS))[:, None]
        place, real = token.to(tl.int64) * I + column, (token < T) & (column < I)
        x = tl.load(x_TI + place, mask=real, other=0.0).to(tl.float32)
        grad = tl.load(grad_TI + place, mask=real, other=0.0).to(tl.float32)
        slope = 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
        inner = grad * slope
        tl.store(x_grad_TI + place, inner, mask=real)
        total += inner
    tl.store(parts_GI + group.to(tl.int64) * I + column, tl.sum(total, 0)[None, :], mask=column < I)


def dropout_add_norm(
    z: Tensor, residual: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, *, p: float, eps: float
) -> Tensor:
    """LayerNorm(dropout(z) + residual), Ba et al. 2016.

    Args:
        z: (..., H), its bias in it.
        residual: (..., H).
        bias: (H,), which z holds already: it only receives its gradient here.
        gamma: (H,).
        beta: (H,).
        p: the probability of being dropped; which numbers are follows from torch's CPU generator.
        eps: of the norm.

    Returns:
        (..., H).
    """
    given = z, residual, bias, gamma, beta, p, eps, torch.is_grad_enabled()
    output: Tensor = _DropoutAddNorm.apply(*given)  # type: ignore[no-untyped-call]
    return output


def gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU, x Phi(x) (Hendrycks and Gimpel 2016), of x (..., I) with its bias (I,) in it: that gets its gradient."""
    output: Tensor = _Gelu.apply(x, bias)  # type: ignore[no-untyped-call]
    return output


class _DropoutAddNorm(torch.autograd.Function):
    """Keeps only what the backward pass needs: the sum, not z, nor the mask, which is drawn again."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, residual: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, p: float,
                eps: float, keep: bool) -> Tensor:  # fmt: skip
        """The norm of the sum; `keep` stores what the backward pass needs."""
        z, residual = z.contiguous(), residual.contiguous()
        width, tokens = z.shape[-1], z.numel() // z.shape[-1]
        seed = int(torch.randint(1 << 31, ()).item()) if p else 0
        out, total = torch.empty_like(residual), torch.empty_like(residual) if keep else residual
        mean, rstd = (torch.empty(tokens if keep else 1, device=z.device, dtype=torch.float32) for _ in range(2))
        block = triton.next_power_of_2(width)
        _norm_forward[(tokens,)](z, residual, gamma, beta, total, out, mean, rstd, seed, p, eps, width,
                                 p > 0, keep, block)  # fmt: skip
        ctx.save_for_backward(total, gamma, mean, rstd)
        ctx.facts = seed, p, width, tokens, block, bias.dtype, beta.dtype, z.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of z, residual, bias, gamma and beta."""
        total, gamma, mean, rstd = ctx.saved_tensors
        seed, p, width, tokens, block, bias_type, beta_type, z_type = ctx.facts
        residual_grad = torch.empty_like(total)
        z_grad = torch.empty_like(total, dtype=z_type) if p or z_type != total.dtype else residual_grad
        groups = min(GROUPS, tokens)
        parts = torch.empty(3, groups, width, device=grad.device, dtype=torch.float32)
        _norm_backward[(groups,)](grad.contiguous(), total, gamma, mean, rstd, residual_grad, z_grad, parts, seed, p,
                                  tokens, width, z_grad is not residual_grad, block)  # fmt: skip
        bias, gamma_grad, beta = parts.sum(1)
        return (z_grad, residual_grad, bias.to(bias_type), gamma_grad.to(gamma.dtype), beta.to(beta_type),
                None, None, None)  # fmt: skip


class _Gelu(torch.autograd.Function):
    """Keeps its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        """GELU of x."""
        ctx.save_for_backward(x)
        ctx.bias_type = bias.dtype
        return torch.nn.functional.gelu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of x and of the bias in it."""
        (x,) = ctx.saved_tensors
        x = x.contiguous()
        width, tokens = x.shape[-1], x.numel() // x.shape[-1]
        columns = triton.cdiv(width, COLUMNS)
        groups = min(triton.cdiv(tokens, ROWS), max(1, 8 * GROUPS // columns))
        x_grad, parts = torch.empty_like(x), torch.empty(groups, width, device=x.device, dtype=torch.float32)
        _gelu_backward[(columns, groups)](grad.contiguous(), x, x_grad, parts, tokens, width, ROWS, COLUMNS)
        return x_grad, parts.sum(0).to(ctx.bias_type)
