"""Pre-trained networks as five stages, conv1 … conv5."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models as torchvision_models

from deepsal.models.stages import (
    RESNET_NAMES,
    VGG_STAGE_ENDS,
    resnet_stages,
    timm_stages,
    vgg_stages,
)
from deepsal.models.transformer_stages import (
    TokenContext,
    TransformerStage,
    is_transformer,
    transformer_stages,
)
from deepsal.models.weights import (
    IMAGENET_MEAN_STD,
    OFFLINE_CHOICES,
    RUN_PREFIX,
    TIMM_PREFIX,
    copy_weights,
    load_matching_state,
    load_run_weights,
    load_weights,
)
from deepsal.vocabulary import STAGES

LOG = logging.getLogger(__name__)
ANY_SIZE_MODULES = (
    *("vision_transformer", "deit", "eva"),
    *("swin_transformer", "swin_transformer_v2"),
)
"""Modules of timm whose transformers can take images of any size."""
INITIAL_SCALES = {"ConvNeXtBlock": 1e-6, "GlobalResponseNorm": 0.0}
"""Initial values of ConvNeXt's layer scales, and of its response normalisation (version 2)."""


class Backbone(nn.Module):
    """An encoder of five submodules, conv1 … conv5, each ending where its paper's stage ends.

    The names serve freezing, Captum's layers, log keys and figures. Normalisation of the image,
    (x − mean) / std, is part of it, so it takes RGB in [0, 1].

    Args:
        stages: five modules, applied one after the other, from a map to a map; pooling opens the
            next stage.
        mean, std: of the images that its weights were trained on, per channel.
        name: of the network, for messages.

    Attributes:
        channels, strides: of each stage's output, `{stage: int}`.
        frozen_stages: stages that do not learn; they stay in eval mode also while training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module],
        mean: Sequence[float] = IMAGENET_MEAN_STD[0],
        std: Sequence[float] = IMAGENET_MEAN_STD[1],
        name: str = "",
    ) -> None:
        super().__init__()
        self.name = name
        self.frozen_stages: frozenset[str] = frozenset()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        for stage, module in zip(STAGES, stages, strict=True):
            self.add_module(stage, module)
        for module in self.modules():  # attribution hooks read the input of a rectifier
            if "inplace" in vars(module):
                vars(module)["inplace"] = False
        self.channels, self.strides = self._shapes()

    def forward(self, image: Float[Tensor, "B 3 h w"]) -> dict[str, Tensor]:
        """Return every stage's output, `{stage: (B, channels, ~h/stride, ~w/stride)}`."""
        features = {}
        context = TokenContext()
        x = (image - self.mean) / self.std
        for stage, module in self.stages():
            x = module(x, context) if isinstance(module, TransformerStage) else module(x)
            features[stage] = x
        return features

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield (name, module) from conv1 to conv5."""
        return ((stage, self.get_submodule(stage)) for stage in STAGES)

    def reset_parameters(self) -> None:
        """Set scales that timm's modules do not reset themselves to their initial values."""
        for module in self.modules():
            if (start := INITIAL_SCALES.get(type(module).__name__)) is not None:
                for parameter in module.parameters(recurse=False):
                    nn.init.constant_(parameter, start)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode, except for frozen stages: their batch-norm statistics must not drift."""
        super().train(mode)
        for stage in self.frozen_stages:
            self.get_submodule(stage).eval()
        return self

    @torch.no_grad()
    def _shapes(self) -> tuple[dict[str, int], dict[str, int]]:
        side = 128
        features = self.eval()(torch.zeros(1, 3, side, 2 * side))
        self.train()
        channels = {stage: x.shape[1] for stage, x in features.items()}
        strides = {s: round(side / (x.shape[3] - x.shape[2])) for s, x in features.items()}
        return channels, strides


def build_backbone(name: str, weights: str | None, model: str | None = None) -> Backbone:
    """Build a backbone from a network of torchvision or timm.

    Args:
        name: alexnet, vgg16, vgg19, resnet18, resnet50, or any timm model that is a vision
            transformer or a chain of stages.
        weights: a torchvision enum name (`IMAGENET1K_V1`), null (random), a file (also the
            checkpoint of a run), `efficientnet_lite0` (packaged, no download; 1 and 2 are extras),
            or `timm` (timm's own weights).
        model: name of the network in its library; `timm/NAME` for that of timm where torchvision
            has one of the same name; None for `name`.

    Raises:
        ValueError: no such model, or one that cannot be cut; and the errors of `load_weights`.
    """
    full_name = model or name
    model, of_timm = full_name.removeprefix(TIMM_PREFIX), full_name.startswith(TIMM_PREFIX)
    network: Any
    if not of_timm and (model in VGG_STAGE_ENDS or model in RESNET_NAMES):
        network = getattr(torchvision_models, model)(weights=None)
        stages = vgg_stages(network, model) if model in VGG_STAGE_ENDS else resnet_stages(network)
        loaded = load_weights(model, weights)
    elif _is_timm(model):
        with _named_errors(model):
            network = _timm_model(model, pretrained=weights == "timm")
            if is_transformer(network):
                stages = transformer_stages(network, model)
            else:
                ends = [str(info["module"]) for info in network.feature_info]
                stages = timm_stages(network, ends, model)
        config = network.pretrained_cfg
        loaded = load_weights(full_name, None if weights == "timm" else weights)
        loaded = loaded._replace(mean=config["mean"], std=config["std"])
    else:
        raise ValueError(_unknown_model(model, of_timm))
    if not loaded.of_stages:
        copy_weights(network, stages, loaded)
    with _named_errors(model):
        backbone = Backbone(stages, loaded.mean, loaded.std, name)
    if loaded.of_stages and loaded.state:
        load_matching_state(backbone, loaded.state, f"{weights} holds no run of {name}")
    return backbone


def backbone_from_checkpoint(start: Backbone, checkpoint: str | Path) -> Backbone:
    """Return a copy of a backbone, in eval mode, with the weights of a run's checkpoint.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no backbone of this kind.
    """
    copy = deepcopy(start)
    load_run_weights(copy, checkpoint, RUN_PREFIX, start.name)
    return copy.eval()


def _is_timm(model: str) -> bool:
    import timm  # not at the top: it imports W&B

    return bool(timm.is_model(model))


def _unknown_model(model: str, of_timm: bool) -> str:
    """Return the error of an unknown name: the names that contain it, or else the nearest ones."""
    import timm

    own = [] if of_timm else [*VGG_STAGE_ENDS, *RESNET_NAMES]
    library = " of timm" if of_timm else ""
    names = [*dict.fromkeys([*own, *timm.list_models()])]
    containing = [name for name in names if model and model in name]
    near = ", ".join((containing or get_close_matches(model, names, 8, cutoff=0.5))[:8])
    hint = f"the nearest names: {near}; " if near else ""
    return (
        f"backbone.name={model}: no such model{library}; {hint}set backbone.name to one of "
        f"{', '.join(own)}{' or of ' if own else ''}timm.list_models()"
    )


def _timm_model(model: str, pretrained: bool) -> Any:
    import timm
    from timm.models import is_model_in_modules

    any_size = is_model_in_modules(model, ANY_SIZE_MODULES)
    options: dict[str, Any] = {"dynamic_img_size": True} if any_size else {}
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # two lines for each retry
    if pretrained:
        LOG.info(
            "loading %s's weights from %s or the cache; without a network an error follows after "
            "several tries (at once with HF_HUB_OFFLINE=1)",
            model,
            _timm_address(model),
        )
    try:
        network: Any = timm.create_model(model, pretrained=pretrained, **options)
    except Exception as error:  # the hub's client raises many types when it has no network
        if not pretrained:
            raise
        raise ConnectionError(
            f"backbone.weights=timm: cannot download {model}'s weights "
            f"({error.__cause__ or error}); {OFFLINE_CHOICES}"
        ) from error
    if any_size:  # zeros below and to the right of an image that patches do not fill
        network.patch_embed.dynamic_img_pad = True
    return network


def _timm_address(model: str) -> str:
    """Return the address of timm's own weights of a model."""
    import timm
    from huggingface_hub.constants import ENDPOINT

    config = timm.get_pretrained_cfg(model)
    assert config is not None  # of a name that `timm.is_model` knows
    return f"{ENDPOINT}/{config.hf_hub_id}" if config.hf_hub_id else str(config.url)


@contextmanager
def _named_errors(model: str) -> Iterator[None]:
    """Turn an error inside a library's network into one that names the option.

    Raises:
        ValueError: the network cannot be built or cut.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ValueError(
            f"backbone.name={model} cannot be built ({type(error).__name__}: {text})"
        ) from error
