"""Saliency data: stimuli with fixations as coordinates, and the batches made of them."""

from deepsal.data.datamodule import SaliencyDataModule as SaliencyDataModule
from deepsal.data.folder import folder as folder
from deepsal.data.nus_scene import nus_scene as nus_scene
from deepsal.data.osie import osie as osie
from deepsal.data.popout import popout as popout
from deepsal.data.sample import Batch as Batch
from deepsal.data.sample import SaliencyDataset as SaliencyDataset
from deepsal.data.sample import Sample as Sample
from deepsal.data.sample import Stimulus as Stimulus
