"""Saliency data: images with fixations as coordinates, and batches of them."""

from deepsal.data.batch import Batch as Batch
from deepsal.data.batch import GroundTruth as GroundTruth
from deepsal.data.batch import Sample as Sample
from deepsal.data.datamodule import SaliencyDataModule as SaliencyDataModule
from deepsal.data.dataset import SaliencyDataset as SaliencyDataset
from deepsal.data.dataset import Stimulus as Stimulus
from deepsal.data.datasets.card import DatasetCard as DatasetCard
from deepsal.data.datasets.cat2000 import cat2000 as cat2000
from deepsal.data.datasets.eyecrowd import eyecrowd as eyecrowd
from deepsal.data.datasets.figrim import figrim as figrim
from deepsal.data.datasets.mit300 import mit300 as mit300
from deepsal.data.datasets.mit1003 import mit1003 as mit1003
from deepsal.data.datasets.nus_scene import nus_scene as nus_scene
from deepsal.data.datasets.osie import osie as osie
from deepsal.data.datasets.pascal_s import pascal_s as pascal_s
from deepsal.data.datasets.salicon import salicon as salicon
from deepsal.data.datasets.toronto import toronto as toronto
from deepsal.data.download.fetch import fetch_dataset as fetch_dataset
from deepsal.data.download.fetch import fetch_if_missing as fetch_if_missing
from deepsal.data.formats.csv_folder import read_csv_folder as read_csv_folder
from deepsal.data.formats.csv_folder import write_csv_folder as write_csv_folder
from deepsal.data.formats.pysaliency_hdf5 import read_pysaliency_hdf5 as read_pysaliency_hdf5
from deepsal.data.index import dataset_cards as dataset_cards
from deepsal.data.inspect.check import check_dataset as check_dataset
from deepsal.data.mixture import mix_datasets as mix_datasets
from deepsal.data.popout.popout import popout_dataset as popout_dataset
