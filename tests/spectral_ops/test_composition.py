"""Expressions of operators: the algebra, its cost, what they carry and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spectral_ops import (
    Biharmonic,
    FractionalHeat,
    Heat,
    Identity,
    Mixture,
    Plate,
    Poisson,
    Product,
    ReactionDiffusion,
    Scaled,
    Softplus,
    SpectralOperator,
    Sum,
    Wave,
    apply_gain,
)

RELAXATIONS = (Heat, FractionalHeat, Biharmonic, ReactionDiffusion)

hundredths = st.integers(0, 200).map(lambda n: n / 100)
leaves = st.one_of(
    st.builds(Heat, hundredths, hundredths),
    st.builds(FractionalHeat, hundredths, hundredths, hundredths),
    st.builds(Biharmonic, hundredths, hundredths),
    st.builds(ReactionDiffusion, hundredths, hundredths, hundredths),
    st.builds(Wave, hundredths, hundredths, hundredths),
    st.builds(Plate, hundredths, hundredths, hundredths),
    st.builds(Poisson, hundredths),
    st.builds(Identity),
)
OPERATORS = {kind.__name__: kind for kind in (*RELAXATIONS, Wave, Plate, Poisson, Identity)}
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a @ b, inner, inner),
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda c, a: c * a, hundredths.map(lambda c: c - 1), inner),
        st.builds(
            lambda parts: Mixture([a for a, _ in parts], torch.tensor([w for _, w in parts]).double()),
            st.lists(st.tuples(inner, hundredths), min_size=1, max_size=3),
        ),
    ),
    max_leaves=8,
)


def apply_parts(operator: SpectralOperator, x: Tensor) -> Tensor:
    """Apply an expression as it is read: every part on its own, in space."""
    if isinstance(operator, Product):
        for term in reversed(operator.terms):
            x = apply_parts(term, x)
        return x
    if isinstance(operator, Sum):
        return sum(apply_parts(term, x) for term in operator.terms)
    if isinstance(operator, Scaled):
        return operator.factor * apply_parts(operator.terms[0], x)
    if isinstance(operator, Mixture):
        return sum(w * apply_parts(term, x) for w, term in zip(operator.weights, operator.terms, strict=True))
    return operator(x)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(expression=expressions)
def test_an_expression_is_its_parts_one_by_one(expression):
    x = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(expression(x), apply_parts(expression, x), rtol=1e-10, atol=1e-11)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(expression=expressions.filter(lambda e: "Mixture" not in repr(e)))
def test_repr_reads_back_as_the_same_expression(expression):
    again = eval(repr(expression), dict(OPERATORS))
    torch.testing.assert_close(again.gain((5, 6)), expression.gain((5, 6)), rtol=1e-5, atol=1e-6)


def deep(k: Tensor) -> SpectralOperator:
    a, b, c = Heat(k, 0.4), Heat(0.7), Heat(Softplus(0.3, (3,)))
    return 0.5 * (a @ b + 2 * c) @ (a - 0.3 * b) + Mixture([a @ c, b, -c], [0.2, 0.3, 0.5]) @ (b + b)


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (3, 6, 7), (2, 4, 3, 6, 7)])
def test_any_expression_costs_one_transform_and_its_inverse(shape, draw, count_products):
    x, expression = draw(*shape), deep(draw(3).exp())
    assert count_products(lambda: expression(x)) == count_products(lambda: Heat(0.3)(x)) == 4
    assert count_products(lambda: apply_parts(Heat(0.3) @ Heat(0.2) + Heat(0.1), x)) == 12  # what it would be otherwise


def test_algebra(draw):
    x, a, b, c = draw(2, 3, 6, 7), Heat(draw(3).exp()), Heat(0.2), Heat(nn.Parameter(draw(3).exp()))
    equal = [
        (a @ b, b @ a),
        ((a @ b) @ c, a @ (b @ c)),
        (a @ (b + c), a @ b + a @ c),
        (a - b, a + (-b)),
        (a * 2.5, 2.5 * a),
        (2 * (a + b), 2 * a + 2 * b),
        (0.25 * a + 0.75 * b, Mixture([a, b], [0.25, 0.75])),
        (Mixture([a], [1]), a),
    ]
    for left, right in equal:
        torch.testing.assert_close(left(x), right(x))
    assert not torch.allclose((a @ b)(x), (a + b)(x)) and not torch.allclose((a - b)(x), (b - a)(x))


def test_nested_sums_and_products_are_flat():
    a, b, c = Heat(0.1), Heat(0.2), Heat(0.3)
    assert list((a + (b + c)).terms) == list(((a + b) + c).terms) == [a, b, c]
    assert list((a @ (b @ c)).terms) == list(((a @ b) @ c).terms) == [a, b, c]
    assert repr((a + b) @ (2 * c)) == f"({a} + {b}) @ (2 * {c})" and repr(2 * (a + b)) == f"2 * ({a} + {b})"
    assert repr(Mixture([a, b], [1, 2])) == f"Mixture([{a}, {b}], weights=[1, 2])"


@pytest.mark.parametrize("kind", ["tensor", "parameter", "module", "left tensor", "left parameter"])
def test_factors_may_differ_between_channels(kind, draw):
    x, factor, heat = draw(2, 3, 6, 7), draw(3).exp(), Heat(0.2)
    scaled = {
        "tensor": lambda: heat * factor,
        "parameter": lambda: heat * nn.Parameter(factor),
        "module": lambda: Scaled(heat, Softplus(1.0, (3,))),
        "left tensor": lambda: factor * heat,
        "left parameter": lambda: nn.Parameter(factor) * heat,
    }[kind]()
    expected = torch.ones(3).double() if kind == "module" else factor
    torch.testing.assert_close(scaled(x), expected[:, None, None] * heat(x), rtol=1e-6, atol=1e-6)
    assert len(list(scaled.parameters())) == (kind in ("parameter", "module", "left parameter"))


class Router(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(weights)

    def forward(self, grid):
        return self.logits.softmax(0).to(grid.dtype)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3), (2, 6, 7, 3), (2, 4, 1, 1, 3)])
@pytest.mark.parametrize("kind", [lambda w: w, nn.Parameter, Router])
def test_mixture_weights(shape, kind, draw):
    x, weights, a, b = draw(4, 3, 6, 7), draw(*shape), Heat(draw(3).exp()), Heat(0.2)
    mixture = Mixture([a, b], kind(weights))
    weights = weights.softmax(0) if kind is Router else weights
    gains = [op.gain((6, 7), dtype=torch.float64) for op in (a, b)]
    expected = weights[0] * gains[0] + weights[1] * gains[1].unsqueeze(-1)
    torch.testing.assert_close(mixture.gain((6, 7), dtype=torch.float64), expected)
    per_sample = mixture(x)
    for i in range(4):
        one = expected[i] if len(shape) == 5 else expected
        torch.testing.assert_close(per_sample[i], apply_gain(x[i], one))


def test_gradients_reach_every_part(draw):
    def run(x, k, factor, weights):
        return (Mixture([Heat(k), Heat(0.2) @ Heat(k)], weights) + factor * Heat(0.1))(x)

    inputs = [v.requires_grad_() for v in (draw(1, 3, 2, 3), draw(3).exp(), draw(3), draw(2, 3))]
    assert torch.autograd.gradcheck(run, inputs)


def test_parameters_shared_and_saved(draw):
    x, shared = draw(2, 3, 6, 7), Heat(nn.Parameter(draw(3).exp()))
    expression = (shared @ shared) + 0.5 * shared
    assert len(list(expression.parameters())) == 1
    other = copy.deepcopy(expression)
    with torch.no_grad():
        shared.diffusivity.mul_(2)
    assert not torch.allclose(other(x), expression(x))
    other.load_state_dict(expression.state_dict())
    assert torch.equal(other(x), expression(x))
    torch.testing.assert_close(expression(x), shared(shared(x)) + 0.5 * shared(x))


def test_export_with_dynamic_sizes(draw):
    expression, dynamic = deep(draw(3, dtype=torch.float32).exp()), torch.export.Dim.DYNAMIC
    x = draw(2, 3, 6, 8, dtype=torch.float32)
    program = torch.export.export(expression, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)).module()
    for shape in ((2, 3, 6, 8), (5, 3, 7, 7), (3, 3, 31, 4)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(program(x), expression(x))


def test_compile_whole_graph_with_dynamic_sizes(draw):
    expression = Heat(nn.Parameter(draw(3, dtype=torch.float32).exp())) @ Heat(torch.rand(3)) - 0.5 * Heat(0.2)
    compiled = torch.compile(expression, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 6, 8), (4, 3, 7, 5)):
        x = draw(*shape, dtype=torch.float32)
        torch.testing.assert_close(compiled(x), expression(x))
    expected = torch.autograd.grad(expression(x).sum(), list(expression.parameters()))
    torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), list(expression.parameters())), expected)


def test_equal_spacings_are_compatible_however_written(draw):
    x = draw(6, 7)
    a, b, c = (Heat(0.3, spacing=s) for s in (2, (2.0, 2.0), [2, 2]))
    torch.testing.assert_close((a @ b @ c)(x), Heat(0.9, spacing=2.0)(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Heat() @ Heat(dims=(1, 2)), ValueError, r"must share dims.*\(-2, -1\).*\(1, 2\)"),
        (lambda: Heat() + Heat(laplacian="finite-difference"), ValueError, "must share .*'spectral'.*'finite-diff"),
        (lambda: Mixture([Heat(), Heat(spacing=2.0)], [1, 1]), ValueError, "must share .*'spacing': 1.0.*2.0"),
        (lambda: Sum(), ValueError, "an expression needs at least one operator"),
        (lambda: Mixture([], []), ValueError, "an expression needs at least one operator"),
        (lambda: Product(Heat(), nn.Identity()), TypeError, "expressions combine spectral operators, got Identity"),
        (lambda: Heat() + 1, TypeError, "unsupported operand"),
        (lambda: Heat() - 1, TypeError, "unsupported operand"),
        (lambda: Heat() @ torch.ones(3, 3), TypeError, "unsupported operand"),
        (lambda: Heat() * Heat(), TypeError, "unsupported operand"),
        (lambda: Heat() * True, TypeError, "unsupported operand"),
        (lambda: Heat() * float("nan"), ValueError, "factor must be finite, got nan"),
        (lambda: Heat() * torch.tensor([1, 2]), TypeError, "factor must be a real floating-point tensor"),
        (lambda: Mixture([Heat(), Heat()], [1.0]), ValueError, r"weights must have 2 entries .* got shape \(1,\)"),
        (lambda: Mixture([Heat(), Heat()], 1.0), TypeError, "weights must be floats, one tensor, .* got 1.0"),
        (lambda: Mixture([Heat()], [float("inf")]), ValueError, "weights must be finite"),
        (lambda: Mixture([Heat()] * 3, Router(torch.ones(2)))(torch.ones(4, 4)), ValueError, "weights must have 3"),
        (lambda: (Heat() + Heat()).multiplier(torch.ones(2, 2)), NotImplementedError, "Sum gives its gain by raw_gain"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sums_of_lists_and_quotients(draw):
    parts, x = [Heat(0.1), Wave(1.0, 2.0), Poisson(0.4)], draw(2, 3, 6, 7)
    assert repr(sum(parts)) == repr(parts[0] + parts[1] + parts[2])
    torch.testing.assert_close(sum(parts)(x), sum(part(x) for part in parts))
    torch.testing.assert_close((parts[0] / 4)(x), parts[0](x) / 4)
    divisor = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close((parts[0] / divisor)(x), parts[0](x) / divisor.view(3, 1, 1))
    for wrong in (lambda: 1 + parts[0], lambda: parts[0] / True):
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong()
    with pytest.raises(ZeroDivisionError):
        parts[0] / 0
