"""How deep fine-tuning goes: which stages learn, and how fast."""

from collections.abc import Mapping
from typing import Any

from deepsal.models.network import SaliencyNetwork
from deepsal.vocabulary import DEPTHS, STAGES


class FinetuneDepth:
    """Fine-tune from a stage upwards; everything below keeps its parameters *and* its buffers.

    Args:
        depth: the first stage that learns (`all` = conv1, `none` = only the decoder).
        lr_scale: learning rate of a stage relative to the decoder's: one number, or one by stage.
        name: what tables call it.

    Raises:
        ValueError: an unknown depth or stage; the message lists the choices.
    """

    def __init__(
        self, depth: str, lr_scale: float | Mapping[str, float] = 0.1, name: str = ""
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"no depth {depth!r}; the choices are {list(DEPTHS)}")
        scale = lr_scale if isinstance(lr_scale, Mapping) else dict.fromkeys(STAGES, lr_scale)
        if unknown := [stage for stage in scale if stage not in STAGES]:
            raise ValueError(f"finetune.lr_scale names {unknown}; the stages are {list(STAGES)}")
        first = {"none": len(STAGES), "all": 0}.get(depth)
        self.name = name
        self.depth = depth
        self.learning = STAGES[STAGES.index(depth) if first is None else first :]
        self.lr_scale = {stage: scale.get(stage, 1.0) for stage in STAGES}

    def freeze(self, network: SaliencyNetwork) -> None:
        """Stop the stages below the depth from learning, their batch-norm statistics included."""
        backbone = network.backbone
        backbone.frozen = frozenset(STAGES) - frozenset(self.learning)
        for stage, module in backbone.stages():
            module.requires_grad_(stage in self.learning)
        backbone.train(backbone.training)

    def groups(self, network: SaliencyNetwork, lr: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: one per learning stage, one for the rest."""
        of = network.backbone.get_submodule
        groups = [
            {"name": stage, "params": [*of(stage).parameters()], "lr": lr * self.lr_scale[stage]}
            for stage in self.learning
        ]
        return [*groups, {"name": "readout", "params": network.readout_parameters(), "lr": lr}]
