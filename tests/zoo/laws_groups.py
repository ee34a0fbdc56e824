"""The laws of groups as functions that raise AssertionError: run over the zoo, and on broken groups that must fail."""

from __future__ import annotations

import torch
from torch import Tensor

from coset.groups import Group
from coset.tree import Tree, leaves, tree_map

ROUNDING = {torch.float32: 2e-5, torch.float64: 5e-13}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scale(*elements: Tree) -> float:
    """How large the products of these elements may get, which sets the rounding error."""
    size = 1.0
    for element in elements:
        size *= max([1.0, *(float(leaf.abs().max()) * leaf.shape[-1] for leaf in leaves(element) if not is_integer(leaf) and leaf.dim())])
    return size


def is_integer(leaf: Tensor) -> bool:
    return not (leaf.is_floating_point() or leaf.is_complex())


def close(group: Group, g: Tree, h: Tree, dtype: torch.dtype, *factors: Tree) -> None:
    gap = float(group.distance(g, h).max())
    assert gap <= ROUNDING[dtype] * scale(*factors), f"{group}: elements differ by {gap}"


def axioms(group: Group, dtype: torch.dtype, count: int = 12) -> None:
    """Identity, inverse and associativity."""
    a, b, c = (group.sample(count, generator=generator(s), dtype=dtype) for s in range(3))
    e = group.identity(count, dtype=dtype)
    close(group, group.compose(e, a), a, dtype, a)
    close(group, group.compose(a, e), a, dtype, a)
    close(group, group.compose(a, group.inverse(a)), e, dtype, a, a)
    close(group, group.compose(group.inverse(a), a), e, dtype, a, a)
    close(group, group.compose(group.compose(a, b), c), group.compose(a, group.compose(b, c)), dtype, a, b, c)


def distances(group: Group, dtype: torch.dtype) -> None:
    """Zero on equal elements, and not on different ones."""
    a = group.sample(6, generator=generator(), dtype=dtype)
    assert float(group.distance(a, a).max()) == 0
    assert group.distance(a, a).shape == (6,)
    if not group.finite:
        b = group.sample(6, generator=generator(1), dtype=dtype)
        different = group.distance(a, b) > 1e-3
        assert bool(different.any()) or group.lie_dimension == 0


def broadcasting(group: Group, dtype: torch.dtype) -> None:
    """Batch axes broadcast in compose and pass through inverse."""
    a = group.sample(3, 1, generator=generator(), dtype=dtype)
    b = group.sample(4, generator=generator(1), dtype=dtype)
    ab = group.compose(a, b)
    assert group.batch(ab) == (3, 4)
    assert group.batch(group.inverse(ab)) == (3, 4)
    one = group.compose(tree_map(lambda x: x[2, 0], a), tree_map(lambda x: x[1], b))
    close(group, tree_map(lambda x: x[2, 1], ab), one, dtype, a, b)
    assert group.batch(group.identity()) == ()
    assert group.batch(group.sample(generator=generator())) == ()
    assert group.batch(group.sample(0, 2, generator=generator())) == (0, 2)


def dtypes(group: Group, dtype: torch.dtype) -> None:
    """Floats in the asked precision, integers as int64, on every verb."""
    made = [group.identity(2, dtype=dtype), group.sample(2, dtype=dtype), group.inverse(group.sample(2, dtype=dtype))]
    if group.lie_dimension:
        made += [group.algebra(dtype=dtype), group.exp(group.algebra(dtype=dtype))]
    if group.finite:
        made.append(group.elements(dtype=dtype))
    for leaf in (leaf for element in made for leaf in leaves(element)):
        assert leaf.dtype in (dtype, dtype.to_complex(), torch.int64), f"{group}: {leaf.dtype} where {dtype} was asked"
        assert leaf.device.type == "cpu"


def reproducible(group: Group, dtype: torch.dtype) -> None:
    """One seed, one sample; another seed, another one."""
    a, b, c = (group.sample(64, generator=generator(s), dtype=dtype, device="cpu") for s in (0, 0, 1))
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert torch.equal(x, y)
    trivial = group.lie_dimension == 0 and (not group.finite or group.order == 1)
    assert trivial or any(not torch.equal(x, y) for x, y in zip(leaves(a), leaves(c), strict=True)) or group.dim == 1


def listed(group: Group, dtype: torch.dtype) -> None:
    """Elements: identity first, as many as the order, all different, closed, found by index."""
    elements = group.elements(dtype=dtype)
    order = group.order
    assert group.batch(elements) == (order,)
    assert torch.equal(group.index(elements), torch.arange(order))
    close(group, tree_map(lambda x: x[0], elements), group.identity(dtype=dtype), dtype)
    some = tree_map(lambda x: x[:: max(1, order // 40)], elements)
    products = group.compose(tree_map(lambda x: x[:, None], some), tree_map(lambda x: x[None], elements))
    where = group.index(products)
    close(group, tree_map(lambda x: x[where], elements), products, dtype)
    assert all(len(row.unique()) == order for row in where), f"{group}: a row of the table repeats an element"
    assert torch.equal(group.index(group.sample(3, generator=generator(), dtype=dtype)) < order, torch.ones(3, dtype=torch.bool))


def matrices(group: Group, dtype: torch.dtype) -> None:
    """The matrix is a homomorphism, of size dim, in the asked dtype; determinants agree with ``reflects``."""
    a, b = (group.sample(200, generator=generator(s), dtype=dtype) for s in range(2))
    ma, mb, mab = (group.matrix(x, dtype=dtype) for x in (a, b, group.compose(a, b)))
    assert ma.shape == (200, group.dim, group.dim)
    assert ma.dtype in (dtype, dtype.to_complex())
    assert float((ma @ mb - mab).abs().max()) <= ROUNDING[dtype] * scale(a, b)
    if not ma.is_complex():
        assert bool((torch.linalg.det(ma.double()) < 0).any()) == group.reflects


def shifts(group: Group, dtype: torch.dtype) -> None:
    """The shift of gh is A u + t."""
    a, b = (group.sample(8, generator=generator(s), dtype=dtype) for s in range(2))
    t, u, whole = (group.shift(x) for x in (a, b, group.compose(a, b)))
    expected = (group.matrix(a, dtype=dtype) @ u[..., None])[..., 0] + t
    assert float((expected - whole).abs().max()) <= ROUNDING[dtype] * scale(a, b)


def permutations(group: Group, dtype: torch.dtype) -> None:
    """(g x)[p[i]] = x[i] makes an action: moving by h and then by g is moving by gh."""
    a, b = (group.sample(8, generator=generator(s), dtype=dtype) for s in range(2))
    p, q, pq = (group.permutation(x) for x in (a, b, group.compose(a, b)))
    x = torch.arange(p.shape[-1]).expand_as(p)

    def move(p: Tensor, x: Tensor) -> Tensor:
        return torch.zeros_like(x).scatter(-1, p, x)

    assert torch.equal(move(p, move(q, x)), move(pq, x))


def exponential(group: Group, dtype: torch.dtype) -> None:
    """Dimension of the algebra, exp(0) = e, one-parameter subgroups, and inverses along them."""
    basis = group.algebra(dtype=dtype)
    for leaf in leaves(basis):
        assert len(leaf) == group.lie_dimension
    flat = torch.cat([torch.view_as_real(x).flatten(1) if x.is_complex() else x.flatten(1) for x in leaves(basis)], 1)
    assert int(torch.linalg.matrix_rank(flat.double())) == group.lie_dimension
    c = torch.randn(7, group.lie_dimension, generator=generator(), dtype=dtype) * 0.7
    zero, one, two, back = (group.exp(group.combine(k * c)) for k in (0, 1, 2, -1))
    assert group.batch(one) == (7,)
    close(group, zero, group.identity(7, dtype=dtype), dtype)
    close(group, group.compose(one, one), two, dtype, one, one)
    close(group, group.inverse(one), back, dtype, one, one, back)


def homomorphism(phi, dtype: torch.dtype, count: int = 8) -> None:
    """phi(gh) = phi(g) phi(h), phi(e) = e, with batch axes and dtype kept."""
    a, b = (phi.source.sample(count, generator=generator(s), dtype=dtype) for s in range(2))
    image = phi(phi.source.compose(a, b), dtype=dtype)
    split = phi.target.compose(phi(a, dtype=dtype), phi(b, dtype=dtype))
    assert phi.target.batch(image) == (count,)
    close(phi.target, image, split, dtype, phi(a, dtype=dtype), phi(b, dtype=dtype))
    e = phi(phi.source.identity(count, dtype=dtype), dtype=dtype)
    close(phi.target, e, phi.target.identity(count, dtype=dtype), dtype)
    axioms_of_image = phi.target.compose(phi(a, dtype=dtype), phi(phi.source.inverse(a), dtype=dtype))
    close(phi.target, axioms_of_image, phi.target.identity(count, dtype=dtype), dtype, phi(a, dtype=dtype), phi(a, dtype=dtype))


def membership(group: Group, g: Tree, dtype: torch.dtype) -> None:
    """Elements satisfy the equations that define the group, checked without its own verbs."""
    from coset import groups as G

    bound = 50 * ROUNDING[dtype] * scale(g, g)
    if isinstance(group, G.Product):
        for factor, entry in zip(group.factors, g, strict=True):
            membership(factor, entry, dtype)
    elif isinstance(group, (G.Euclidean, G.SpecialEuclidean, G.Affine)):
        membership(group.linear, g.matrix, dtype)
    elif group.finite:
        elements = group.elements(dtype=dtype)
        close(group, tree_map(lambda x: x[group.index(g)], elements), g, dtype)
    elif group.dim is not None and not isinstance(group, G.Translation):
        unit = torch.eye(group.dim, dtype=g.dtype)
        determinant = torch.linalg.det(g.to(torch.complex128 if g.is_complex() else torch.float64))
        if isinstance(group, G.Orthogonal | G.SpecialOrthogonal | G.Unitary | G.SpecialUnitary):
            assert float((g @ g.mH - unit).abs().max()) < bound
        if isinstance(group, G.Lorentz | G.SpecialLorentz | G.ProperLorentz):
            eta = torch.diag(torch.tensor([1.0, *[-1.0] * (group.dim - 1)], dtype=dtype))
            assert float((g.mT @ eta @ g - eta).abs().max()) < bound
        if isinstance(group, G.SpecialOrthogonal | G.SpecialUnitary | G.SpecialLinear | G.SpecialLorentz | G.ProperLorentz):
            assert float((determinant - 1).abs().max()) < bound
        if isinstance(group, G.ProperLorentz):
            assert bool((g[..., 0, 0] >= 1 - bound).all())
        if isinstance(group, G.Scaling):
            assert float((g - g[..., :1, :1] * unit).abs().max()) == 0
            assert bool((g[..., 0, 0] > 0).all())
        assert float(determinant.abs().min()) > 0


def devices(group: Group, dtype: torch.dtype) -> None:
    """Results are on the asked device: shown on "meta", which refuses most, not all, meetings with tensors of the host."""
    a, b = group.identity(4, dtype=dtype, device="meta"), group.sample(4, dtype=dtype, device="meta")
    made = [a, b, group.compose(a, b), group.inverse(b), group.distance(a, b)]
    if group.dim is not None:
        made.append(group.matrix(b))
    if group.lie_dimension:
        basis = group.algebra(dtype=dtype, device="meta")
        made += [basis, group.exp(basis)]
    if group.finite:
        made += [group.elements(dtype=dtype, device="meta"), group.index(b)]
    for leaf in (leaf for element in made for leaf in leaves(element)):
        assert leaf.device.type == "meta", f"{group}: a tensor on {leaf.device}"
