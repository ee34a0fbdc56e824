"""Hugging Face vision models inside of frames: their own outputs, their own loading path, exact equivariance."""

from __future__ import annotations

import copy

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import InputError, SignatureError

transformers = pytest.importorskip("transformers")

from coset.interop.hf import classifier_signature, segmenter_signature  # noqa: E402

C4, D4 = groups.Cyclic(4), groups.Dihedral(4)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEGFORMER = {"depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2]}


def classifier(name):
    """A tiny classifier of 5 classes."""
    if name == "ViT":
        return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **SMALL))
    if name == "MobileNetV1":
        config = transformers.MobileNetV1Config(image_size=32, depth_multiplier=0.25, num_labels=5)
        return transformers.MobileNetV1ForImageClassification(config)
    config = transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25, num_labels=5)
    return transformers.MobileNetV2ForImageClassification(config)


def segmenter(name):
    """A tiny segmenter of 4 classes."""
    if name == "SegFormer":
        patches = {"patch_sizes": [7, 3], "strides": [4, 2], "num_encoder_blocks": 2}
        config = transformers.SegformerConfig(num_labels=4, decoder_hidden_size=16, **SEGFORMER, **patches)
        return transformers.SegformerForSemanticSegmentation(config)
    config = transformers.MobileNetV2Config(image_size=64, depth_multiplier=0.25, num_labels=4, output_stride=16)
    return transformers.MobileNetV2ForSemanticSegmentation(config)


def awake(model):
    """With weights that let inputs through: fresh models of many layers give nearly nothing."""
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    return model.eval()


class Corner(torch.nn.Module):
    """Scores of turns (and flips): the first channel in one eighth of each turned image."""

    def __init__(self, group):
        super().__init__()
        self.group = group

    def forward(self, inputs, noise):
        x = inputs["pixel_values"]
        image = actions.Image(self.group)
        scores = []
        for number in range(self.group.order):
            g = torch.utils._pytree.tree_map(lambda leaf, i=number: leaf[i : i + 1], self.group.elements())
            turned = image.act(self.group.inverse(g), x)[:, 0]
            scores.append(turned[:, : turned.shape[-2] // 2, : turned.shape[-1] // 4].double().mean((1, 2)))
        return torch.stack(scores, 1)


CLASSIFIERS = ["ViT", "MobileNetV1", "MobileNetV2"]
SEGMENTERS = ["SegFormer", "MobileNetV2"]


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("group", [C4, D4], ids=repr)
def test_classifiers_are_invariant_bit_by_bit(name, group, generator):
    net = awake(classifier(name))
    model = coset.symmetrize(net, classifier_signature(group), frames.Canonicalizer(Corner(group))).eval()
    average = coset.symmetrize(net, classifier_signature(group), frames.Full()).eval()
    x = torch.randn(4, 3, 32, 32, generator=generator)
    image = actions.Image(group)
    with torch.no_grad():
        here, mean, bare = model(pixel_values=x), average(pixel_values=x), net(pixel_values=x)
        assert type(here) is type(mean) is type(bare)
        assert list(here.keys()) == list(bare.keys()) == ["logits"]
        for _ in range(3):
            moved = image.act(group.haar(4, generator=generator), x)
            assert torch.equal(model(pixel_values=moved).logits, here.logits)
            assert torch.allclose(average(pixel_values=moved).logits, mean.logits, atol=1e-5 * float(mean.logits.abs().max()))
            assert float((net(pixel_values=moved).logits - bare.logits).abs().max()) > 1e-2 * float(bare.logits.abs().max())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_turn_their_masks_bit_by_bit(name, generator):
    net = awake(segmenter(name))
    model = coset.symmetrize(net, segmenter_signature(C4), frames.Canonicalizer(Corner(C4))).eval()
    x = torch.randn(3, 3, 64, 64, generator=generator)
    image = actions.Image(C4)
    with torch.no_grad():
        here, bare = model(pixel_values=x), net(pixel_values=x)
        assert type(here) is type(bare)
        assert here.logits.shape == bare.logits.shape
        for _ in range(3):
            g = C4.haar(3, generator=generator)
            there = model(pixel_values=image.act(g, x)).logits
            assert torch.equal(there, image.act(g, here.logits))
            assert torch.equal(there.argmax(1), actions.Mask(C4).act(g, here.logits.argmax(1)))
    report = coset.audit(model, segmenter_signature(C4), {"pixel_values": x}, samples=4)
    assert report.error == 0


def test_images_that_are_not_square(generator):
    net = awake(segmenter("SegFormer"))
    model = coset.symmetrize(net, segmenter_signature(C4), frames.Canonicalizer(Corner(C4))).eval()
    x = torch.randn(3, 3, 64, 96, generator=generator)
    with torch.no_grad():
        here = model(pixel_values=x).logits
        assert here.shape == (3, 4, 16, 24)
        turned = torch.rot90(x, 1, (-2, -1))
        there = model(pixel_values=turned).logits
        assert torch.allclose(there, torch.rot90(here, 1, (-2, -1)), atol=1e-5)  # lying and standing images are two batches
        for one, other in zip(x.split(1), turned.split(1), strict=True):
            assert torch.equal(model(pixel_values=other).logits, torch.rot90(model(pixel_values=one).logits, 1, (-2, -1)))


def test_labels_give_the_loss_of_the_canonical_images(generator):
    x, classes = torch.randn(4, 3, 32, 32, generator=generator), torch.tensor([0, 3, 2, 4])
    net = awake(classifier("ViT"))
    model = coset.symmetrize(net, classifier_signature(C4, labels=True), frames.Canonicalizer(Corner(C4)))
    found = model(pixel_values=x, labels=classes)
    assert torch.allclose(found.loss, torch.nn.functional.cross_entropy(found.logits, classes))
    found.loss.backward()
    assert all(p.grad is not None for p in net.classifier.parameters())
    x, masks = torch.randn(2, 3, 64, 64, generator=generator), torch.randint(4, (2, 64, 64), generator=generator)
    net = awake(segmenter("SegFormer"))
    model = coset.symmetrize(net, segmenter_signature(C4, labels=True), frames.Canonicalizer(Corner(C4))).eval()
    one = model(pixel_values=x, labels=masks)
    two = model(pixel_values=torch.rot90(x, 1, (-2, -1)), labels=torch.rot90(masks, 1, (-2, -1)))
    wrong = model(pixel_values=torch.rot90(x, 1, (-2, -1)), labels=masks)
    assert torch.equal(one.loss, two.loss)
    assert not torch.equal(one.loss, wrong.loss)
    whole = torch.nn.functional.interpolate(one.logits, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(one.loss, torch.nn.functional.cross_entropy(whole, masks), atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weights_come_from_local_files(name, tmp_path, generator):
    net = awake(classifier(name))
    net.save_pretrained(tmp_path)
    loaded = type(net).from_pretrained(tmp_path, local_files_only=True).eval()
    signature = classifier_signature(C4)
    x = torch.randn(2, 3, 32, 32, generator=generator)
    one, two = (coset.symmetrize(model, signature, frames.Canonicalizer(Corner(C4))).eval() for model in (net, loaded))
    with torch.no_grad():
        assert torch.allclose(one(pixel_values=x).logits, two(pixel_values=x).logits, atol=1e-5)  # memory is aligned in other ways
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in net.state_dict().items())
    assert all(key.startswith("model.") for key in two.state_dict())
    fresh = coset.symmetrize(classifier(name), signature, frames.Canonicalizer(Corner(C4))).eval()
    fresh.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.allclose(one(pixel_values=x).logits, fresh(pixel_values=x).logits, atol=1e-5)
    two.model.save_pretrained(tmp_path / "again")  # the inner model is still the library's own
    assert (tmp_path / "again" / "config.json").exists()


def test_undeclared_outputs_are_refused_and_named(generator):
    net = awake(classifier("ViT"))
    x = torch.randn(2, 3, 32, 32, generator=generator)
    model = coset.symmetrize(lambda pixel_values: net(pixel_values=pixel_values, output_hidden_states=True), classifier_signature(C4))
    with pytest.raises(SignatureError, match=r"without an action: \['hidden_states'\]"):
        model(pixel_values=x)
    kept = coset.symmetrize(model.model, classifier_signature(C4, ignored=["hidden_states"]))
    assert len(kept(pixel_values=x).hidden_states) == 3
    with pytest.raises(SignatureError, match="missing"):
        coset.symmetrize(net, classifier_signature(C4, labels=True))(pixel_values=x)
    with pytest.raises(SignatureError, match="each once"):
        classifier_signature(C4, labels=True, ignored=["loss"])
    with pytest.raises(SignatureError, match="call the model by keyword"):
        coset.symmetrize(net, classifier_signature(C4))(x)
    with pytest.raises(InputError, match="at least 3 axes"):
        coset.symmetrize(net, classifier_signature(C4))(pixel_values=x[0, 0])


def test_a_model_that_returns_tuples_is_told_so(generator):
    net = awake(classifier("ViT"))
    x = torch.randn(2, 3, 32, 32, generator=generator)
    model = coset.symmetrize(lambda pixel_values: net(pixel_values=pixel_values, return_dict=False), classifier_signature(C4))
    with pytest.raises(SignatureError, match=r"missing: \['logits'\]"):
        model(pixel_values=x)


def test_copies(generator):
    model = coset.symmetrize(awake(classifier("MobileNetV2")), classifier_signature(D4), frames.Canonicalizer(Corner(D4))).eval()
    x = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(pixel_values=x).logits, model(pixel_values=x).logits)
