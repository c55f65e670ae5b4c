"""Saliency data: stimuli with fixations as coordinates, and the batches made of them."""

from deepsal.data.card import Card as Card
from deepsal.data.catalogue import cards as cards
from deepsal.data.check import check as check
from deepsal.data.datamodule import SaliencyDataModule as SaliencyDataModule
from deepsal.data.export import export as export
from deepsal.data.eyecrowd import eyecrowd as eyecrowd
from deepsal.data.fetch import fetch as fetch
from deepsal.data.fetch import fetched as fetched
from deepsal.data.folder import folder as folder
from deepsal.data.mix import mix as mix
from deepsal.data.nus_scene import nus_scene as nus_scene
from deepsal.data.osie import osie as osie
from deepsal.data.popout import popout as popout
from deepsal.data.sample import Batch as Batch
from deepsal.data.sample import SaliencyDataset as SaliencyDataset
from deepsal.data.sample import Sample as Sample
from deepsal.data.sample import Stimulus as Stimulus
