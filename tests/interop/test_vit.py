"""A ViT on graphs drawn as images: every size up to the canvas, every order, weights of a saved checkpoint, clear errors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

import coset
from coset import actions, groups
from coset.errors import InputError

transformers = pytest.importorskip("transformers")
from coset.interop.vit import NEW, Orders, PatchTransformer  # noqa: E402

S = groups.Symmetric()
ALL = Orders(graph=2, nodes=3, edges=4)


def config(**options):
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "image_size": 12,
        "patch_size": 3,
    }
    return transformers.ViTConfig(**{**sizes, **options})


def build(inputs=ALL, outputs=ALL, seed=0, **options):
    torch.manual_seed(seed)
    return PatchTransformer(config(), inputs, outputs, **options).double().eval()


def data(n, samples=2, inputs=ALL):
    torch.manual_seed(n)
    shapes = {"graph": (), "nodes": (n,), "edges": (n, n)}
    found = {key: torch.randn(samples, *shapes[key], count, dtype=torch.float64) for key, count in inputs._asdict().items()}
    return {key: x for key, x in found.items() if x.shape[-1]}


@pytest.mark.parametrize("largest", [None, 1, 3, 4, 5, 8, 12, 13])
def test_every_size_up_to_the_canvas(largest):
    model = build(largest=largest)
    assert model.grid == 4
    assert model.largest == (12 if largest is None else 4 * -(-largest // 4))
    for n in range(1, model.largest + 1):
        y = model(**data(n))
        assert {key: tuple(value.shape) for key, value in y.items()} == {"graph": (2, 2), "nodes": (2, n, 3), "edges": (2, n, n, 4)}
        assert all(bool(torch.isfinite(value).all()) and float(value.detach().std()) > 0 for value in y.values())
    with pytest.raises(InputError, match=f"at most {model.largest}.*largest={model.largest + 1}"):
        model(**data(model.largest + 1))


def test_as_many_nodes_as_tokens_give_one_pixel_to_each():
    model = build(largest=4)
    assert model.patch == 1
    assert model(**data(4))["nodes"].shape == (2, 4, 3)
    assert model.vit.embeddings.patch_embeddings.num_patches == 16


@pytest.mark.parametrize("largest", [4, 12])
def test_outputs_are_read_where_inputs_are_drawn(largest):
    """With patches as tokens and the identity as transformer, what is read is what was drawn."""
    edges, nodes = Orders(edges=1), Orders(nodes=1)
    for n in (1, 3, 4, largest):
        x = data(n, inputs=edges)
        one, two = build(edges, edges, largest=largest), build(edges, nodes, largest=largest)
        p = one.patch
        image, _ = one.draw({"graph": None, "nodes": None, **x}, None, 2, n)
        cut = image[:, 1].unfold(1, p, p).unfold(2, p, p).flatten(3).flatten(1, 2)
        tokens = torch.cat([torch.zeros(2, 1, p * p, dtype=cut.dtype), cut], 1)
        one.heads["edges"] = torch.nn.Identity()
        two.heads["nodes"] = torch.nn.Linear(p * p, p, bias=False, dtype=cut.dtype)
        two.heads["nodes"].weight.data = torch.eye(p * p, dtype=cut.dtype)[:: p + 1]
        assert torch.equal(one.read(tokens, n)["edges"], x["edges"])
        assert torch.equal(two.read(tokens, n)["nodes"], x["edges"].diagonal(dim1=1, dim2=2).mT)


def test_nodes_stand_on_the_diagonal_and_graphs_everywhere():
    model, x = build(), data(5)
    image, real = model.draw(x, None, 2, 5)
    assert image.shape == (2, 1 + 2 + 3 + 4, 12, 12)
    assert bool(real.all())
    assert torch.equal(image[:, 0, :5, :5], torch.ones(2, 5, 5, dtype=image.dtype))
    assert torch.equal(image[:, 1:3, :5, :5], x["graph"][:, :, None, None].expand(2, 2, 5, 5))
    assert torch.equal(image[:, 3:6, :5, :5].diagonal(dim1=2, dim2=3).mT, x["nodes"])
    assert torch.equal(image[:, 6:, :5, :5].movedim(1, -1), x["edges"])
    assert float(image[:, :, 5:].abs().sum() + image[:, :, :, 5:].abs().sum()) == 0


def test_every_number_reaches_every_output():
    model, x = build(), data(7)
    for key, value in x.items():
        for row in range(value.shape[-1]):
            moved = value.clone()
            moved[(0, *(-1,) * (value.dim() - 2), row)] += 1  # of the graph, the last node, or the last pair
            for name, (before, after) in {name: (model(**x)[name], model(**{**x, key: moved})[name]) for name in model(**x)}.items():
                assert float((before[0] - after[0]).abs().max()) > 1e-8, (key, name)
                assert torch.allclose(before[1], after[1])


def test_padding_changes_nothing():
    model, x = build(), data(5)
    padded = {"graph": x["graph"], "nodes": torch.full((2, 9, 3), 5.0).double(), "edges": torch.full((2, 9, 9, 4), 5.0).double()}
    padded["nodes"][:, :5], padded["edges"][:, :5, :5] = x["nodes"], x["edges"]
    mask = (torch.arange(9) < 5).expand(2, 9)
    found, expected = model(**padded, mask=mask), model(**x)
    assert torch.allclose(found["graph"], expected["graph"])
    assert torch.allclose(found["nodes"][:, :5], expected["nodes"])
    assert torch.allclose(found["edges"][:, :5, :5], expected["edges"])
    assert float(found["nodes"][:, 5:].abs().sum() + found["edges"][:, 5:].abs().sum() + found["edges"][:, :, 5:].abs().sum()) == 0


def test_zeros_are_not_padding():
    model = build(Orders(edges=1), Orders(graph=1))
    assert not torch.allclose(model(edges=torch.zeros(1, 4, 4, 1)), model(edges=torch.zeros(1, 5, 5, 1)))


def test_training_mode_leaves_no_patch_out():
    model, x = build(), data(5)
    assert torch.allclose(model.train()(**x)["nodes"], model.eval()(**x)["nodes"])


def test_symmetrized():
    model = build(Orders(nodes=3, edges=4), Orders(nodes=3))
    source = actions.Dict(nodes=actions.Permute(S, -2), edges=actions.Permute(S, -3, -2))
    wrapped, x = coset.symmetrize(model, source >> actions.Permute(S, -2)), data(6, inputs=Orders(nodes=3, edges=4))
    g = S.at(6).sample(2)
    bare = actions.Permute(S, -2).act(g, model(**x)) - model(**source.act(g, x))
    gap = actions.Permute(S, -2).act(g, wrapped(**x)) - wrapped(**source.act(g, x))
    assert float(bare.detach().abs().max()) > 1e-3
    assert float(gap.detach().abs().max()) < 1e-10


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(3)
    model = transformers.ViTForImageClassification(config())
    model.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit", model


@pytest.mark.parametrize(("inputs", "largest"), [(ALL, None), (ALL, 4), (Orders(nodes=1, edges=1), None)])
def test_a_saved_transformer_keeps_its_weights(saved, inputs, largest):
    folder, original = saved
    model = PatchTransformer.from_pretrained(folder, inputs, Orders(graph=1), largest)
    found, expected = model.vit.state_dict(), original.vit.state_dict()
    assert set(found) == set(expected)
    differ = {name for name in found if found[name].shape != expected[name].shape or not torch.equal(found[name], expected[name])}
    assert differ == {f"{NEW}.weight"}
    assert model.vit.embeddings.position_embeddings.shape == (1, 17, 16)
    assert model(**{key: x.float() for key, x in data(3, inputs=inputs).items()}).shape == (2, 1)


def test_a_bare_vit_loads_too(tmp_path):
    transformers.ViTModel(config()).save_pretrained(tmp_path)
    assert PatchTransformer.from_pretrained(str(tmp_path), ALL, ALL).grid == 4


def spoil(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: folder.rename(folder.with_name("away")), "which does not exist"),
        (lambda folder: (folder / "config.json").unlink(), "without config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "without weights"),
        (lambda folder: spoil(folder, model_type="bert"), "model type 'bert'"),
        (lambda folder: spoil(folder, num_hidden_layers=3), "all weights of the transformer"),
        (lambda folder: spoil(folder, image_size=24), "without .*position_embeddings"),
    ],
)
def test_broken_checkpoints(saved, harm, words):
    folder, _ = saved
    harm(folder)
    with pytest.raises(InputError, match=words) as caught:
        PatchTransformer.from_pretrained(folder, ALL, ALL)
    assert str(folder) in str(caught.value)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes": None}, "nodes: no tensor"),
        ({"nodes": torch.zeros(2, 5)}, r"the shape \(B, n, 3\)"),
        ({"edges": torch.zeros(2, 5, 4)}, r"the shape \(B, n, n, 4\)"),
        ({"edges": torch.zeros(2, 5, 6, 4)}, r"the shape \(B, n, n, 4\)"),
        ({"edges": torch.zeros(2, 6, 6, 4)}, "one number of samples and of nodes"),
        ({"graph": torch.zeros(3, 2)}, "one number of samples and of nodes"),
        ({"graph": torch.zeros(2, 5, 2)}, r"the shape \(B, 2\)"),
        ({"mask": torch.ones(2, 5)}, "mask.bool"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, "one number of samples and of nodes"),
    ],
)
def test_wrong_inputs(change, words):
    with pytest.raises(InputError, match=words):
        build()(**{**data(5), **change})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(Orders(), ALL), "at least one of them not zero"),
        (lambda: build(ALL, Orders()), "at least one of them not zero"),
        (lambda: build(largest=0), "largest=0"),
        (lambda: PatchTransformer(config(image_size=(12, 24)), ALL, ALL), "square"),
    ],
)
def test_wrong_sizes(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_nothing_of_torchvision_or_timm_is_imported():
    code = "import sys, coset.interop.vit; print(sorted({name.partition('.')[0] for name in sys.modules} & {'torchvision', 'timm'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
