"""Receptive fields of any `nn.Module`: exact crops, signed gradients, measures, pictures."""

from deepsal.rf import measure as measure
from deepsal.rf import plot as plot
from deepsal.rf import sheet as sheet
from deepsal.rf import sources as sources
from deepsal.rf import store as store
from deepsal.rf.crop import Crop as Crop
from deepsal.rf.crop import crop as crop
from deepsal.rf.fields import Fields as Fields
from deepsal.rf.fields import fields as fields
from deepsal.rf.methods import METHODS as METHODS
from deepsal.rf.theory import Geometry as Geometry
from deepsal.rf.theory import chain as chain
from deepsal.rf.theory import geometry as geometry
from deepsal.rf.topk import TopK as TopK
