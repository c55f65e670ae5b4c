"""Receptive fields of any `nn.Module`: exact crops, signed fields, probes, measures, a verdict."""

from deepsal.rf import store as store
from deepsal.rf.backprojection import rendering as rendering
from deepsal.rf.backprojection.clamp import clamp_backprojection as clamp_backprojection
from deepsal.rf.claims import controls as controls
from deepsal.rf.claims.measurements import NetworkMeasurements as NetworkMeasurements
from deepsal.rf.claims.measurements import measure_network as measure_network
from deepsal.rf.claims.verdict import decide_claims as decide_claims
from deepsal.rf.geometry import FieldGeometry as FieldGeometry
from deepsal.rf.geometry import chain_geometry as chain_geometry
from deepsal.rf.geometry import measure_geometry as measure_geometry
from deepsal.rf.mapping.crop import UnitCrop as UnitCrop
from deepsal.rf.mapping.crop import crop_for_unit as crop_for_unit
from deepsal.rf.mapping.gradient_fields import ReceptiveFields as ReceptiveFields
from deepsal.rf.mapping.gradient_fields import map_receptive_fields as map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS as FIELD_METHODS
from deepsal.rf.measures import profile as profile
from deepsal.rf.measures import shape as shape
from deepsal.rf.measures import similarity as similarity
from deepsal.rf.measures.fit import fit_field_models as fit_field_models
from deepsal.rf.measures.fit import is_centre_surround as is_centre_surround
from deepsal.rf.patches import StrongestPatchRecorder as StrongestPatchRecorder
from deepsal.rf.plot import grid as grid
from deepsal.rf.plot import sheets as sheets
from deepsal.rf.tuning.battery import record_responses as record_responses
from deepsal.rf.tuning.indices import tuning_indices as tuning_indices
