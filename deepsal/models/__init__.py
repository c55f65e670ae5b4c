"""Networks: backbones in five stages, decoders, fine-tuning depths, and baselines."""

from deepsal.models.backbone import Backbone as Backbone
from deepsal.models.backbone import backbone_from_checkpoint as backbone_from_checkpoint
from deepsal.models.backbone import build_backbone as build_backbone
from deepsal.models.baselines.baseline import Baseline as Baseline
from deepsal.models.baselines.centre import Centre as Centre
from deepsal.models.baselines.centre import Uniform as Uniform
from deepsal.models.baselines.gbvs import GBVS as GBVS
from deepsal.models.baselines.human import HumanCeiling as HumanCeiling
from deepsal.models.baselines.itti import Itti as Itti
from deepsal.models.baselines.mixture_ceiling import MixtureCeiling as MixtureCeiling
from deepsal.models.baselines.observer_ceiling import ObserverCeiling as ObserverCeiling
from deepsal.models.baselines.stored_maps import StoredMaps as StoredMaps
from deepsal.models.finetune import FinetuneDepth as FinetuneDepth
from deepsal.models.network import MirrorDecoder as MirrorDecoder
from deepsal.models.network import ReadoutDecoder as ReadoutDecoder
from deepsal.models.network import SaliencyNetwork as SaliencyNetwork
from deepsal.vocabulary import STAGES as STAGES
