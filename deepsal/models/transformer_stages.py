"""Five-stage cut of the vision transformers of timm, whose tokens become maps."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepsal.vocabulary import STAGES

PARTS_AFTER_EMBEDDING = {"blocks", "norm", "fc_norm", "attn_pool", "head", "head_dist", "head_drop"}
INITIAL_DEVIATION = 0.02
"""Standard deviation of initial tokens and position embeddings, as in timm."""


@dataclass
class TokenContext:
    """Tensors that the stages of a transformer pass on beside the map, in one forward pass.

    prefix: class and register tokens, (B, P, C); None before conv1 · rotation: codes of the
    positions for rotary attention, (blocks of the network, …); None without it.
    """

    prefix: Tensor | None = None
    rotation: Tensor | None = None


class TransformerStage(nn.Module):
    """Consecutive blocks of a vision transformer, from a map to a map.

    A unit is one channel of the patches' tokens. Class and register tokens have no place in the
    image, so they travel in a `TokenContext`, and the output of a stage is a plain map.

    Args:
        blocks: attention blocks of timm.
        first_block: number of the first of them in the network.
        embedding: conv1 only: the timm network without its blocks and all that follows them.
        norm: conv5 only: the normalisation after the last block.
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        first_block: int,
        embedding: nn.Module | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.first_block = first_block

    def forward(self, x: Float[Tensor, "B C h w"], context: TokenContext) -> Tensor:
        """Return the patches' tokens as a map (B, D, rows, columns); update `context`.

        Args:
            x: the image in conv1, else the map of the stage before.
            context: of this forward pass.
        """
        if self.embedding is not None:
            x = _embed_patches(self.embedding, x, context)
        prefix, rotation = cast(Tensor, context.prefix), context.rotation
        tokens = torch.cat([prefix, x.flatten(2).mT], 1)
        for number, block in enumerate(self.blocks, self.first_block):
            tokens = block(tokens) if rotation is None else block(tokens, rope=rotation[number])
        if self.norm is not None:
            tokens = self.norm(tokens)
        context.prefix, patches = tokens.tensor_split([prefix.shape[1]], 1)
        return cast(Tensor, patches.mT.unflatten(2, x.shape[2:]))

    def reset_parameters(self) -> None:
        """Draw new class tokens, register tokens and position embeddings, which are no module's."""
        for parameter in self.embedding.parameters(recurse=False) if self.embedding else ():
            nn.init.trunc_normal_(parameter, std=INITIAL_DEVIATION)


def is_transformer(network: nn.Module) -> bool:
    """Return whether `transformer_stages` can cut a timm network: ViT, DeiT, DINOv2, DINOv3, EVA.

    Their tokens keep one resolution from the first block to the last. Hybrids, which embed the
    feature map of a CNN, are none.
    """
    from timm.layers.patch_embed import PatchEmbed  # not at the top: timm imports W&B
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    kinds = VisionTransformer | Eva
    return isinstance(network, kinds) and isinstance(network.patch_embed, PatchEmbed)


def transformer_stages(network: Any, name: str) -> list[nn.Module]:
    """Cut the blocks of a vision transformer of timm into five equal depths.

    conv1 also embeds patches and positions, and conv5 ends in the final normalisation. Of n blocks
    stage k ends after round(k·n / 5).

    Args:
        network: the timm model, built for images of any size (`dynamic_img_size`).
        name: of the network, for the message.

    Raises:
        ValueError: there are fewer than five blocks.
    """
    blocks, last = network.blocks, len(STAGES)
    if len(blocks) < last:
        raise ValueError(
            f"{name} cannot be cut into conv1 … conv5: it has {len(blocks)} transformer blocks, "
            f"and at least {last} are needed"
        )
    embedding = copy(network)  # the same parameters, and later the same loaded weights
    embedding._modules = {
        key: module for key, module in network.named_children() if key not in PARTS_AFTER_EMBEDDING
    }
    ends = [round(stage * len(blocks) / last) for stage in range(last + 1)]
    return [
        TransformerStage(
            blocks[start:end],
            start,
            embedding if start == 0 else None,
            network.norm if end == len(blocks) else None,
        )
        for start, end in pairwise(ends)
    ]


def _embed_patches(embedding: Any, image: Tensor, context: TokenContext) -> Tensor:
    """Return embedded patches as a map, and put the other tokens into `context`."""
    grid = embedding.patch_embed.dynamic_feat_size(image.shape[2:])
    tokens = embedding._pos_embed(embedding.patch_embed(image))
    if isinstance(tokens, tuple):  # EVA: the rotary code is of each block or of all blocks
        tokens, rotation = tokens
        if rotation is not None and not embedding.rope_mixed:
            rotation = rotation.expand(len(embedding.feature_info), *rotation.shape)
        context.rotation = rotation
    tokens = embedding.norm_pre(tokens)
    context.prefix, patches = tokens.tensor_split([embedding.num_prefix_tokens], 1)
    return cast(Tensor, patches.mT.unflatten(2, grid))
