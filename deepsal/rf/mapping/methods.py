"""How a field is read from units on patches: Captum's methods, batched, and two it lacks."""

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
"""Methods that are one backward pass, which can be carried as windows."""
REPEATING_METHODS = {"integrated", "smooth"}
"""Methods of which Captum makes `samples` copies of a batch."""
NOISE_BATCH_SIZE = 64


def unit_gradient(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's NeuronGradient: ∂z/∂image, signed, z the unit before its rectifier."""
    return _attribute_backward(NeuronGradient, probe, question)


def guided_backpropagation(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's NeuronGuidedBackprop (Springenberg et al. 2015): a picture, no evidence."""
    _require_relu_modules(probe, question)
    return _attribute_backward(NeuronGuidedBackprop, probe, question)


def deconvolution(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's NeuronDeconvolution (Zeiler & Fergus 2014): a picture, no evidence."""
    _require_relu_modules(probe, question)
    return _attribute_backward(NeuronDeconvolution, probe, question)


def integrated_gradients(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's NeuronIntegratedGradients, not multiplied by the image.

    The mean gradient along the line from the crop's mean colour to the crop (Sundararajan et al.
    2017); multiplied by the image, Captum's default, a surround all but vanishes.
    """
    engine = NeuronIntegratedGradients(probe, probe.target, multiply_by_inputs=False)
    found = engine.attribute(
        question.crops.clone(),
        UnitSelector(question),
        baselines=question.background().expand_as(question.crops).clone(),
        n_steps=question.samples,
        attribute_to_neuron_input=probe.rectifier is not None,
    )
    return _whole_crop_batch(found, _unit_activation(probe, question))


def smooth_gradient(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's NoiseTunnel around NeuronGradient: SmoothGrad (Smilkov et al. 2017).

    The mean gradient over noisy copies of the crop; standard deviation 0.1 of its range.
    """
    tunnel = NoiseTunnel(NeuronGradient(probe, probe.target))
    found = []
    for crop, units, where in question.one_by_one():
        crops = crop.repeat(len(units), 1, 1, 1)
        one = tunnel.attribute(
            crops.requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=question.samples,
            stdevs=NOISE_DEVIATION * (crop.max() - crop.min()).item(),
            neuron_selector=UnitSelector(FieldRequest(crops, units, where), interleaved=True),
            attribute_to_neuron_input=probe.rectifier is not None,
        )
        found.append(one.detach())
    return _whole_crop_batch(torch.cat(found), _unit_activation(probe, question))


def occlusion(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Captum's Occlusion of the neuron (Zeiler & Fergus 2014): z − z(a square hidden), signed.

    The square has an eighth of the crop's side, moves by half of its own and shows the crop's mean
    colour. Captum has no NeuronOcclusion: the neuron is given to it as the network's output.
    """
    side = max(1, min(question.crops.shape[-2:]) // OCCLUDERS_PER_SIDE)
    step = max(1, side // 2)
    found = []
    for crop, units, where in question.one_by_one():

        def read(image: Tensor, units: Tensor = units, where: Tensor = where) -> Tensor:
            return probe.activation(image)[:, units, where[:, 0], where[:, 1]]

        found.append(
            Occlusion(read).attribute(
                crop,
                sliding_window_shapes=(3, side, side),
                strides=(3, step, step),
                baselines=crop.mean((2, 3), keepdim=True).expand_as(crop),
                perturbations_per_eval=question.samples,
            )
        )
    return _whole_crop_batch(torch.cat(found).float(), _unit_activation(probe, question))


def absolute_occlusion(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Return the size of occlusion's effect without its sign, which cannot show a surround."""
    answer = occlusion(probe, question)
    return answer._replace(field=answer.field.abs())


def spike_triggered_average(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Spike-triggered average in white noise around the crop; forward passes only, not Captum's.

    E[(z(x+n) − z(x−n))·n] / 2σ² over pairs of noise images n, σ = 0.1: the gradient averaged over
    the noise (Stein's lemma); on a blank patch the classical white-noise analysis (Chichilnisky
    2001).
    """
    found = []
    for crop, units, where in question.one_by_one():
        total = torch.zeros(len(units), crop[0].numel(), device=crop.device)
        for start in range(0, question.samples, NOISE_BATCH_SIZE):
            count = min(NOISE_BATCH_SIZE, question.samples - start)
            # other noise on every patch (`fields` seeds it), so that it averages out over them
            noise = NOISE_DEVIATION * torch.randn(count, *crop.shape[1:], device=crop.device)
            with torch.no_grad():
                z = probe.activation(torch.cat([crop + noise, crop - noise]))
            up, down = z[:, units, where[:, 0], where[:, 1]].float().chunk(2)
            total += (up - down).T @ noise.flatten(1)
        scaled = total / (2 * NOISE_DEVIATION**2 * question.samples)
        found.append(scaled.view(len(units), *crop.shape[1:]))
    return _whole_crop_batch(torch.cat(found), _unit_activation(probe, question))


def effective_receptive_field(probe: UnitReadout, question: FieldRequest) -> FieldBatch:
    """Effective receptive field (Luo et al. 2016): |∂z/∂image|; blind to sign."""
    answer = unit_gradient(probe, question)
    return answer._replace(field=answer.field.abs())


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
    engine: Callable[..., Any], probe: UnitReadout, question: FieldRequest
) -> FieldBatch:
    select = UnitSelector(question)

    def attribute(crops: Tensor) -> Tensor:
        with warnings.catch_warnings():  # guided, deconv: they are removed again
            warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
            found: Tensor = engine(probe, probe.target).attribute(
                crops.requires_grad_(),
                neuron_selector=lambda output: select(output).sum(),  # one operator, not B
                attribute_to_neuron_input=probe.rectifier is not None,
            )
        return found.detach()

    if not question.windowed:
        return _whole_crop_batch(attribute(question.crops), select.seen)
    try:
        with SharedForwardMode(question.needed):
            found = attribute(question.crops)
    except SharedReplicaError:
        found = attribute(question.crops.clone())
    if isinstance(found, WindowedGradient):
        return FieldBatch(found.inside, found.box, select.seen)
    return _whole_crop_batch(found, select.seen)


def _require_relu_modules(probe: UnitReadout, question: FieldRequest) -> None:
    if found := unsupported_nonlinearities(
        probe.network, find_layer(probe.network, probe.name), question.crops[:1]
    ):
        raise ValueError(
            f"guided backpropagation and deconvolution need every nonlinearity up to {probe.name} "
            f"to be an nn.ReLU module, which Captum can override; this network has {found}; "
            "use method=gradient"
        )


def _unit_activation(probe: UnitReadout, question: FieldRequest) -> Tensor:
    with torch.no_grad():
        return UnitSelector(question)(probe.activation(question.crops))


def _whole_crop_batch(field: Tensor, activation: Tensor) -> FieldBatch:
    return FieldBatch(field, Box(0, field.shape[2], 0, field.shape[3]), activation)
