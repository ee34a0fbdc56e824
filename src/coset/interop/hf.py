"""Signatures of Hugging Face vision models: what the group does to their inputs, and to which of their outputs."""

from __future__ import annotations

from collections.abc import Sequence

from .. import actions
from ..actions import Action, Interpolation, Padding, Signature
from ..errors import SignatureError, explain
from ..groups import Group

__all__ = ["classifier_signature", "segmenter_signature"]


def classifier_signature(
    group: Group,
    *,
    labels: bool = False,
    ignored: Sequence[str] = (),
    interpolation: Interpolation = Interpolation.BILINEAR,
    padding: Padding = Padding.ZEROS,
) -> Signature:
    """The signature of ``…ForImageClassification``: images move, logits stay.

    The symmetrized model is called with ``pixel_values=`` and returns the model's own output object.

    Args:
        group: a group of the plane, or ``Torus(H, W)``.
        labels: the model is also given ``labels`` (B,) and returns a ``loss``: that of the canonical images, averaged over all of them.
        ignored: further outputs that are returned as the first call gives them, such as ``hidden_states`` where the model returns them.
        interpolation: how values between pixels are read, where the group needs it.
        padding: what lies outside of the image, where the group needs it.

    Raises:
        SignatureError: when the group does not move images, or an output is named twice.

    Example:
        >>> import torch, coset
        >>> from coset import frames, groups
        >>> from coset.interop.hf import classifier_signature
        >>> from transformers import ViTConfig, ViTForImageClassification
        >>> tiny = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8)
        >>> net = ViTForImageClassification(tiny).eval()
        >>> model = coset.symmetrize(net, classifier_signature(groups.Cyclic(4)))
        >>> type(model(pixel_values=torch.randn(2, 3, 16, 16))).__name__
        'ImageClassifierOutput'
    """
    image = actions.Image(group, interpolation=interpolation, padding=padding)
    return _signature(image, actions.Trivial(group), actions.Trivial(group) if labels else None, ignored)


def segmenter_signature(
    group: Group,
    *,
    labels: bool = False,
    ignored: Sequence[str] = (),
    interpolation: Interpolation = Interpolation.BILINEAR,
    padding: Padding = Padding.ZEROS,
) -> Signature:
    """The signature of ``…ForSemanticSegmentation``: images move, and logits of pixels move with them.

    Logits may have fewer pixels than images. Under turns and flips they are turned on their own grid; on a torus declare
    ``actions.Coarse`` yourself where the sizes differ.

    Args:
        group: a group of the plane.
        labels: the model is also given ``labels`` (B, H, W), which move as masks, and returns a ``loss``: that of the canonical
            images, averaged over all of them.
        ignored: further outputs that are returned as the first call gives them.
        interpolation: how values between pixels are read, where the group needs it.
        padding: what lies outside of the image, where the group needs it.

    Raises:
        SignatureError: when the group does not move images, or an output is named twice.

    Example:
        >>> from coset import groups
        >>> from coset.interop.hf import segmenter_signature
        >>> segmenter_signature(groups.Cyclic(4))
        Dict(pixel_values=Image(Cyclic(4))) >> Dict(logits=Image(Cyclic(4)))
    """
    image = actions.Image(group, interpolation=interpolation, padding=padding)
    return _signature(image, image, actions.Mask(group, padding=padding) if labels else None, ignored)


def _signature(image: Action, logits: Action, labels: Action | None, ignored: Sequence[str]) -> Signature:
    """The signature from images (and labels) to logits (and a loss)."""
    rest = [*(["loss"] if labels is not None else []), *([ignored] if isinstance(ignored, str) else ignored)]
    if "logits" in rest or len(set(rest)) != len(rest):
        raise SignatureError(
            explain(f"ignored={ignored!r}", "names of outputs besides logits and loss, each once", "write for instance ('hidden_states',)")
        )
    source = actions.Dict(pixel_values=image, **({} if labels is None else {"labels": labels}))
    return source >> actions.Dict(logits=logits, **{name: actions.Ignore(image.group) for name in rest})
