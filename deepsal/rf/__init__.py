"""Receptive fields of any `nn.Module`: exact crops, signed fields, probes, measures, a verdict."""

from deepsal.rf import store as store
from deepsal.rf.backprojection import rendering as rendering
from deepsal.rf.backprojection.clamp import clamp as clamp
from deepsal.rf.claims import controls as controls
from deepsal.rf.claims.measurements import Portrait as Portrait
from deepsal.rf.claims.measurements import portrait as portrait
from deepsal.rf.claims.verdict import verdict as verdict
from deepsal.rf.geometry import Geometry as Geometry
from deepsal.rf.geometry import chain as chain
from deepsal.rf.geometry import geometry as geometry
from deepsal.rf.mapping.crop import Crop as Crop
from deepsal.rf.mapping.crop import crop as crop
from deepsal.rf.mapping.gradient_fields import Fields as Fields
from deepsal.rf.mapping.gradient_fields import fields as fields
from deepsal.rf.mapping.methods import METHODS as METHODS
from deepsal.rf.measures import profile as profile
from deepsal.rf.measures import shape as shape
from deepsal.rf.measures import similarity as similarity
from deepsal.rf.measures.fit import centre_surround as centre_surround
from deepsal.rf.measures.fit import fit as fit
from deepsal.rf.patches import TopK as TopK
from deepsal.rf.plot import grid as grid
from deepsal.rf.plot import sheets as sheets
from deepsal.rf.tuning.battery import probe as probe
from deepsal.rf.tuning.indices import tuning as tuning
