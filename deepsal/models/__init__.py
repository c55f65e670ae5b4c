"""Networks: backbones in five stages, decoders, fine-tuning depths, and baselines."""

from deepsal.models.backbone import Backbone as Backbone
from deepsal.models.backbone import backbone as backbone
from deepsal.models.backbone import trained as trained
from deepsal.models.baselines.baseline import Baseline as Baseline
from deepsal.models.baselines.centre import Centre as Centre
from deepsal.models.baselines.centre import Uniform as Uniform
from deepsal.models.baselines.gbvs import GBVS as GBVS
from deepsal.models.baselines.human import Human as Human
from deepsal.models.baselines.itti import Itti as Itti
from deepsal.models.baselines.stored_maps import Maps as Maps
from deepsal.models.decoder import Mirror as Mirror
from deepsal.models.decoder import Readout as Readout
from deepsal.models.finetune import Finetune as Finetune
from deepsal.models.network import SaliencyNetwork as SaliencyNetwork
from deepsal.vocabulary import STAGES as STAGES
