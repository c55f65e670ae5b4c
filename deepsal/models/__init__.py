"""Networks: backbones in five stages, decoders, fine-tuning depths, and baselines."""

from deepsal.models.backbone import Backbone as Backbone
from deepsal.models.backbone import backbone as backbone
from deepsal.models.backbone import trained as trained
from deepsal.models.baselines import Baseline as Baseline
from deepsal.models.baselines import Centre as Centre
from deepsal.models.baselines import Uniform as Uniform
from deepsal.models.decoder import Mirror as Mirror
from deepsal.models.decoder import Readout as Readout
from deepsal.models.finetune import Finetune as Finetune
from deepsal.models.gbvs import GBVS as GBVS
from deepsal.models.human import Human as Human
from deepsal.models.itti import Itti as Itti
from deepsal.models.network import SaliencyNetwork as SaliencyNetwork
from deepsal.models.precomputed import Maps as Maps
from deepsal.vocabulary import STAGES as STAGES
