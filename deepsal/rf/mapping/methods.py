"""Methods that compute a unit's field on a crop: Captum's, batched, and two that it lacks."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import (
    NeuronDeconvolution,
    NeuronGradient,
    NeuronGuidedBackprop,
    NeuronIntegratedGradients,
    NoiseTunnel,
    Occlusion,
)
from torch import Tensor

from deepsal.rf.hooks import find_layer, unsupported_nonlinearities
from deepsal.rf.mapping.engine.shared_forward import SharedForwardMode, SharedReplicaError
from deepsal.rf.mapping.engine.windowed_gradient import Box, WindowedGradient
from deepsal.rf.mapping.readout import FieldBatch, FieldRequest, UnitReadout, UnitSelector

NOISE_DEVIATION = 0.1
OCCLUDERS_PER_SIDE = 8
BACKWARD_METHODS = {"gradient", "guided", "deconv", "erf"}
"""Methods of one backward pass, whose gradients can be windows."""
REPEATING_METHODS = {"integrated", "smooth"}
"""Methods of which Captum makes `samples` copies of a batch."""
NOISE_BATCH_SIZE = 64


def unit_gradient(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Compute ∂z/∂image, signed, z the unit before its rectifier (Captum's NeuronGradient)."""
    return _attribute_backward(NeuronGradient, readout, request)


def guided_backpropagation(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Run Captum's NeuronGuidedBackprop (Springenberg et al. 2015): a picture, no evidence."""
    _require_relu_modules(readout, request)
    return _attribute_backward(NeuronGuidedBackprop, readout, request)


def deconvolution(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Run Captum's NeuronDeconvolution (Zeiler & Fergus 2014): a picture, no evidence."""
    _require_relu_modules(readout, request)
    return _attribute_backward(NeuronDeconvolution, readout, request)


def integrated_gradients(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Run Captum's NeuronIntegratedGradients, not multiplied by the image.

    The mean gradient along the line from the crop's mean colour to the crop (Sundararajan et al.
    2017). Multiplied by the image, Captum's default, a surround almost vanishes.
    """
    engine = NeuronIntegratedGradients(readout, readout.target, multiply_by_inputs=False)
    field = engine.attribute(
        request.crops.clone(),
        UnitSelector(request),
        baselines=request.mean_colour().expand_as(request.crops).clone(),
        n_steps=request.samples,
        attribute_to_neuron_input=readout.rectifier is not None,
    )
    return _whole_crop_batch(field, _unit_activation(readout, request))


def smooth_gradient(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Run Captum's NoiseTunnel on NeuronGradient: SmoothGrad (Smilkov et al. 2017).

    The mean gradient over noisy copies of the crop; standard deviation 0.1 of its range.
    """
    tunnel = NoiseTunnel(NeuronGradient(readout, readout.target))
    fields = []
    for crop, units, positions in request.distinct_crops():
        crops = crop.repeat(len(units), 1, 1, 1)
        one = tunnel.attribute(
            crops.requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=request.samples,
            stdevs=NOISE_DEVIATION * (crop.max() - crop.min()).item(),
            neuron_selector=UnitSelector(FieldRequest(crops, units, positions), interleaved=True),
            attribute_to_neuron_input=readout.rectifier is not None,
        )
        fields.append(one.detach())
    return _whole_crop_batch(torch.cat(fields), _unit_activation(readout, request))


def occlusion(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Run Captum's Occlusion (Zeiler & Fergus 2014): z − z(a square hidden), signed.

    The square has an eighth of the crop's side, moves by half of its own and shows the crop's mean
    colour. Captum has no NeuronOcclusion: it receives the neuron as the network's output.
    """
    side = max(1, min(request.crops.shape[-2:]) // OCCLUDERS_PER_SIDE)
    step = max(1, side // 2)
    fields = []
    for crop, units, positions in request.distinct_crops():

        def read(image: Tensor, units: Tensor = units, positions: Tensor = positions) -> Tensor:
            return readout.activation(image)[:, units, *positions.T]

        fields.append(
            Occlusion(read).attribute(
                crop,
                sliding_window_shapes=(3, side, side),
                strides=(3, step, step),
                baselines=crop.mean((2, 3), keepdim=True).expand_as(crop),
                perturbations_per_eval=request.samples,
            )
        )
    return _whole_crop_batch(torch.cat(fields).float(), _unit_activation(readout, request))


def absolute_occlusion(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Return |`occlusion`|, which cannot show a surround."""
    batch = occlusion(readout, request)
    return batch._replace(field=batch.field.abs())


def spike_triggered_average(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Compute the spike-triggered average in white noise around the crop; forward passes only.

    E[(z(x+n) − z(x−n))·n] / 2σ² over pairs of noise images n, σ = 0.1: the gradient averaged over
    the noise (Stein's lemma). On a blank patch it is the classical white-noise analysis, reverse
    correlation (Chichilnisky 2001).
    """
    fields = []
    for crop, units, positions in request.distinct_crops():
        total = torch.zeros(len(units), crop[0].numel(), device=crop.device)
        for start in range(0, request.samples, NOISE_BATCH_SIZE):
            count = min(NOISE_BATCH_SIZE, request.samples - start)
            # other noise on every patch, so that it averages out; `map_receptive_fields` seeds it
            noise = NOISE_DEVIATION * torch.randn(count, *crop.shape[1:], device=crop.device)
            with torch.no_grad():
                z = readout.activation(torch.cat([crop + noise, crop - noise]))
            up, down = z[:, units, *positions.T].float().chunk(2)
            total += (up - down).T @ noise.flatten(1)
        scaled = total / (2 * NOISE_DEVIATION**2 * request.samples)
        fields.append(scaled.view(len(units), *crop.shape[1:]))
    return _whole_crop_batch(torch.cat(fields), _unit_activation(readout, request))


def effective_receptive_field(readout: UnitReadout, request: FieldRequest) -> FieldBatch:
    """Compute |∂z/∂image|, the effective receptive field (Luo et al. 2016); without sign."""
    batch = unit_gradient(readout, request)
    return batch._replace(field=batch.field.abs())


FIELD_METHODS: dict[str, Callable[[UnitReadout, FieldRequest], FieldBatch]] = {
    "gradient": unit_gradient,
    "guided": guided_backpropagation,
    "deconv": deconvolution,
    "integrated": integrated_gradients,
    "smooth": smooth_gradient,
    "occlusion": occlusion,
    "absolute_occlusion": absolute_occlusion,
    "sta": spike_triggered_average,
    "erf": effective_receptive_field,
}


def _attribute_backward(
    engine: Callable[..., Any], readout: UnitReadout, request: FieldRequest
) -> FieldBatch:
    select = UnitSelector(request)

    def attribute(crops: Tensor) -> Tensor:
        with warnings.catch_warnings():  # Captum removes these hooks again
            warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
            gradient: Tensor = engine(readout, readout.target).attribute(
                crops.requires_grad_(),
                neuron_selector=lambda output: select(output).sum(),  # one operator, not B
                attribute_to_neuron_input=readout.rectifier is not None,
            )
        return gradient.detach()

    if not request.windowed:
        return _whole_crop_batch(attribute(request.crops), select.activation)
    try:
        with SharedForwardMode(request.input_boxes):
            gradient = attribute(request.crops)
    except SharedReplicaError:
        gradient = attribute(request.crops.clone())
    if isinstance(gradient, WindowedGradient):
        return FieldBatch(gradient.window, gradient.box, select.activation)
    return _whole_crop_batch(gradient, select.activation)


def _require_relu_modules(readout: UnitReadout, request: FieldRequest) -> None:
    if names := unsupported_nonlinearities(
        readout.network, find_layer(readout.network, readout.name), request.crops[:1]
    ):
        raise ValueError(
            "guided backpropagation and deconvolution need every nonlinearity up to "
            f"{readout.name} to be an nn.ReLU module, which Captum can override; this network "
            f"has {names}; use method=gradient"
        )


def _unit_activation(readout: UnitReadout, request: FieldRequest) -> Tensor:
    with torch.no_grad():
        return UnitSelector(request)(readout.activation(request.crops))


def _whole_crop_batch(field: Tensor, activation: Tensor) -> FieldBatch:
    return FieldBatch(field, Box.whole(field.shape[2:]), activation)
