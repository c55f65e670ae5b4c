"""Fine-tuning depth: the stages that learn, and their learning rates."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from deepsal.models.network import SaliencyNetwork
from deepsal.vocabulary import DEPTHS, STAGES

DEFAULT_LR_SCALE = 0.1
NORM_LAYERS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


class FinetuneDepth:
    """Fine-tune from a stage upwards; the stages below stay unchanged, buffers included.

    Args:
        depth: the first stage that learns (`all` = conv1, `none` = only the decoder).
        lr_scale: learning rate of a stage relative to the decoder's: one number, or one by stage;
            a stage that is not named has `DEFAULT_LR_SCALE`.
        norm_only: whether in the learning stages only the normalisation layers learn: their gains,
            biases and statistics (Frankle et al. 2021, "Training BatchNorm and only BatchNorm").

    Raises:
        ValueError: an unknown depth or stage; the message lists the choices.
    """

    def __init__(
        self,
        depth: str,
        lr_scale: float | Mapping[str, float] = DEFAULT_LR_SCALE,
        norm_only: bool = False,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"no depth {depth!r}; the choices are {list(DEPTHS)}")
        scale = lr_scale if isinstance(lr_scale, Mapping) else dict.fromkeys(STAGES, lr_scale)
        if unknown := [stage for stage in scale if stage not in STAGES]:
            raise ValueError(f"finetune.lr_scale names {unknown}; the stages are {list(STAGES)}")
        first = {"none": len(STAGES), "all": 0}.get(depth)
        self.depth = depth
        self.learning_stages = STAGES[STAGES.index(depth) if first is None else first :]
        self.lr_scale = {stage: scale.get(stage, DEFAULT_LR_SCALE) for stage in STAGES}
        self.norm_only = norm_only

    def freeze(self, network: SaliencyNetwork) -> None:
        """Freeze the stages below the depth, their batch-norm statistics included.

        Raises:
            ValueError: `norm_only`, and no learning stage has a normalisation layer that learns.
        """
        backbone = network.backbone
        backbone.frozen_stages = frozenset(STAGES) - frozenset(self.learning_stages)
        for stage, module in backbone.stages():
            learns = stage in self.learning_stages
            module.requires_grad_(learns and not self.norm_only)
            for layer in module.modules() if learns and self.norm_only else ():
                if isinstance(layer, NORM_LAYERS):
                    layer.requires_grad_(True)
        if self.norm_only and not any(p.requires_grad for p in backbone.parameters()):
            raise ValueError(
                f"no normalisation layer of {backbone.name or 'the backbone'} learns with finetune="
                f"{self.depth}; set finetune.norm_only=false"
            )
        backbone.train(backbone.training)

    def parameter_groups(self, network: SaliencyNetwork, lr: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: one per learning stage, one for the decoder.

        Args:
            network: the one that learns.
            lr: learning rate of the decoder.
        """
        of = network.backbone.get_submodule
        stages = [
            {
                "name": stage,
                "params": [p for p in of(stage).parameters() if p.requires_grad],
                "lr": lr * self.lr_scale[stage],
            }
            for stage in self.learning_stages
        ]
        return [*stages, {"name": "decoder", "params": network.decoder_parameters(), "lr": lr}]
