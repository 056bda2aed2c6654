"""Cases of cosine transforms, operators and linear layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_dct
from torch import Tensor, nn

from backbones import packed
from benchmarks.case import Case, gradients, inference, named
from benchmarks.measuring import Run
from benchmarks.public import decay, public_dct2, public_idct2
from spectral_ops import Heat, apply_gain, cosine_basis, dctn, idctn
from spectral_ops.linear import call


def _einsum(x: Tensor, basis: Tensor) -> Tensor:
    spectrum = torch.einsum("mw,bnwc->bnmc", basis, torch.einsum("nh,bhwc->bnwc", basis, x))
    return torch.einsum("nh,bnwc->bhwc", basis, torch.einsum("mw,bnmc->bnwc", basis, spectrum))


def _torch_dct(x: Tensor, basis: Tensor) -> Tensor:
    spectrum = torch_dct.dct_2d(x.permute(0, 3, 1, 2), norm="ortho")
    return torch_dct.idct_2d(spectrum, norm="ortho").permute(0, 2, 3, 1)


#: Cosine transforms and back; the basis is ignored by those that make their own.
_ROUND_TRIPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul (ours)": lambda x, basis: idctn(dctn(x, (1, 2), backend="matmul"), (1, 2), backend="matmul"),
    "einsum": _einsum,
    "convolution": lambda x, basis: public_idct2(public_dct2(x, basis, basis), basis, basis),
    "torch-dct": _torch_dct,
}


def transforms(n: int, channels: int, batch: int, *, dtype: torch.dtype = torch.float32, step: bool = False) -> Case:
    """There and back: the input is the exact result, and the gradient that comes in the one that goes out."""
    trips = {k: f for k, f in _ROUND_TRIPS.items() if dtype == torch.float32 or k != "torch-dct"}  # an FFT

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        exact = torch.randn(batch, n, n, channels)
        x, basis = exact.to(device, dtype), cosine_basis(n).to(device, dtype)
        if not step:
            return {name: lambda f=f: f(x, basis) for name, f in trips.items()}, exact.double()
        leaf = torch.randn_like(x).requires_grad_()
        return {
            name: lambda f=f: gradients(lambda: f(leaf, basis), [leaf], x) for name, f in trips.items()
        }, exact.double().flatten()

    return Case(named(n, channels, batch, dtype == torch.bfloat16), make, tuple(trips))


def spectral_part(n: int, channels: int, batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        x, gain, basis = torch.randn(batch, n, n, channels), torch.rand(n, n, channels), cosine_basis(n)
        exact = apply_gain(x.double(), gain.double(), (1, 2))
        x, gain, basis = x.to(device), gain.to(device), basis.to(device)

        def products() -> Tensor:
            y = x
            for matrix in (basis, basis.mT):
                y = torch.matmul(matrix, torch.matmul(matrix, y.flatten(2)).view(x.shape))
            return y

        def public() -> Tensor:
            spectrum = torch.einsum("bnmc,nmc->bnmc", public_dct2(x, basis, basis), gain)
            return public_idct2(spectrum, basis, basis)

        run = torch.inference_mode()
        ours = run(lambda: apply_gain(x, gain, (1, 2)))
        return {"ours": ours, "four products alone": run(products), "public": run(public)}, exact

    return Case(named(n, channels, batch), make, ("ours", "public"))


def operator_step(n: int, channels: int, batch: int) -> Case:
    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        x, k, toward = (
            torch.randn(batch, n, n, channels),
            torch.rand(n, n, channels),
            torch.randn(batch, n, n, channels),
        )
        basis, exponential = cosine_basis(n).to(device), decay(n, n)[..., None].to(device)

        def ours(x: Tensor, k: Tensor, toward: Tensor) -> Run:
            x, operator = x.clone().requires_grad_(), Heat(nn.Parameter(k.clone()), dims=(1, 2))
            return lambda: gradients(lambda: operator(x), [x, operator.diffusivity], toward)

        def public(x: Tensor, k: Tensor, toward: Tensor) -> Run:
            x, k = x.clone().requires_grad_(), k.clone().requires_grad_()

            def forward() -> Tensor:
                spectrum = torch.einsum("bnmc,nmc->bnmc", public_dct2(x, basis, basis), torch.pow(exponential, k))
                return public_idct2(spectrum, basis, basis)

            return lambda: gradients(forward, [x, k], toward)

        exact = ours(x.double(), k.double(), toward.double())()
        arguments = x.to(device), k.to(device), toward.to(device)
        return {"ours": ours(*arguments), "public": public(*arguments)}, exact

    return Case(named(n, channels, batch), make, ("ours", "public"), memory=True)


def linear(n: int, channels: int, batch: int) -> Case:
    """The first linear of an MLP."""

    def make(device: torch.device) -> tuple[dict[str, Run], Tensor]:
        layer, x = nn.Linear(channels, 4 * channels), torch.randn(batch, n, n, channels)
        exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double()).detach()
        layer, x = layer.to(device), x.to(device)
        models = {"ours": lambda x: call(layer, x), "nn.Linear": layer}
        if device.type == "cpu":
            models["ours, packed"] = packed(nn.Sequential(layer).eval(), x)
        return {name: inference(lambda m=m: m(x), False, device) for name, m in models.items()}, exact

    return Case(f"{n} x {n} x {channels} to {4 * channels}, batch {batch}", make, ("ours", "nn.Linear", "ours, packed"))
