"""Receptive fields of any `nn.Module`: mapping, measures, tuning, and claims about them."""

from deepsal.rf.backprojection.clamp import clamp_backprojection as clamp_backprojection
from deepsal.rf.claims.controls import built_in_control as built_in_control
from deepsal.rf.claims.measurements import NetworkMeasurements as NetworkMeasurements
from deepsal.rf.claims.measurements import measure_network as measure_network
from deepsal.rf.claims.verdict import decide_claims as decide_claims
from deepsal.rf.geometry import FieldGeometry as FieldGeometry
from deepsal.rf.geometry import chain_geometry as chain_geometry
from deepsal.rf.geometry import measure_geometry as measure_geometry
from deepsal.rf.mapping.gradient_fields import ReceptiveFields as ReceptiveFields
from deepsal.rf.mapping.gradient_fields import map_receptive_fields as map_receptive_fields
from deepsal.rf.mapping.methods import FIELD_METHODS as FIELD_METHODS
from deepsal.rf.mapping.noise_fields import NoiseFields as NoiseFields
from deepsal.rf.mapping.reverse_correlation import reverse_correlation as reverse_correlation
from deepsal.rf.measures.fit import fit_field_models as fit_field_models
from deepsal.rf.measures.fit import is_centre_surround as is_centre_surround
from deepsal.rf.measures.profile import field_extent as field_extent
from deepsal.rf.patches import StrongestPatchRecorder as StrongestPatchRecorder
from deepsal.rf.patches import blank_image as blank_image
from deepsal.rf.patches import centred_patches as centred_patches
from deepsal.rf.patches import noise_images as noise_images
from deepsal.rf.patches import strongest_patches as strongest_patches
from deepsal.rf.plot.grid import draw_field_grid as draw_field_grid
from deepsal.rf.tuning.grating_indices import size_tuning_indices as size_tuning_indices
from deepsal.rf.tuning.grating_protocol import GratingProtocol as GratingProtocol
from deepsal.rf.tuning.grating_responses import record_grating_responses as record_grating_responses
from deepsal.rf.tuning.v1_comparison import v1 as v1
