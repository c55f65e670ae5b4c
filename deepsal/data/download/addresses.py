"""Where the releases of data sets lie, and the checksums that say a download is the release.

Sets that live in a public repository come file by file from a pinned commit; `registry/NAME.txt`
lists their files with sha256. The others come as archives, whose md5 the field's reference
library has recorded; a name ends in the archive's own.
"""

from importlib.resources import files
from typing import NamedTuple

GITHUB_RAW = "https://raw.githubusercontent.com"
GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
JUDD_SERVER = "https://people.csail.mit.edu/tjudd/WherePeopleLook"
MIT_SERVER = "http://saliency.mit.edu"  # no https there, nor at FIGRIM: the checksum decides
FIGRIM_SERVER = "http://figrim.mit.edu"

REPOSITORY_ADDRESSES = {
    "osie": f"{GITHUB_RAW}/NUS-VIP/predicting-human-gaze-beyond-pixels/"
    "4a467890fcb40a2fec04cdded552760942bac7a4",
    "eyecrowd": f"{GITHUB_RAW}/NUS-VIP/saliency-in-crowd/8bb0416ee9942346f0a990f87a1325742fe3293f",
    "nus_scene": f"{GITHUB_RAW}/Yanakz/Scene/2cf042b013181a6339378827d094aafa9322ba0d",
}


class ReleaseArchive(NamedTuple):
    """An archive of a release, or a table of it that comes as it is.

    file: its name · url: its address · md5: its checksum · gives: what of the set's folder it
    holds, the table itself if it is one · into: the folder it is unpacked into.
    """

    file: str
    url: str
    md5: str
    gives: str
    into: str = "."


_SALICON_IMAGES = ReleaseArchive(
    "salicon_images.zip",
    f"{GOOGLE_DRIVE}1g8j-hTT-51IG1UFwP0xTGhLdgIUCW5e5",
    "eb2a1bb706633d1b31fc2e01422c5757",
    "images",
)

RELEASE_ARCHIVES = {
    "salicon2015": [
        _SALICON_IMAGES,
        ReleaseArchive(
            "salicon_fixations_2015.zip",
            f"{GOOGLE_DRIVE}1WVEiXba-I4GN33f0uUl4KhaN1rK7qzs6",
            "9a22db9d718200fb90252e5010c004c4",
            "fixations2015",
            "fixations2015",
        ),
    ],
    "salicon2017": [
        _SALICON_IMAGES,
        ReleaseArchive(
            "salicon_fixations_2017.zip",
            f"{GOOGLE_DRIVE}1P-jeZXCsjoKO79OhFUgnj6FGcyvmLDPj",
            "462b70f4f9e8ea446ac628e46cea8d3d",
            "fixations2017",
            "fixations2017",
        ),
    ],
    "mit1003": [
        ReleaseArchive(
            "ALLSTIMULI.zip",
            f"{JUDD_SERVER}/ALLSTIMULI.zip",
            "0d7df8b954ecba69b6796e77b9afe4b6",
            "ALLSTIMULI",
        ),
        ReleaseArchive(
            "DATA.zip", f"{JUDD_SERVER}/DATA.zip", "ea19d74ad0a0144428c53e9d75c2d71c", "DATA"
        ),
    ],
    "mit300": [
        ReleaseArchive(
            "BenchmarkIMAGES.zip",
            f"{MIT_SERVER}/BenchmarkIMAGES.zip",
            "03ed32bdf5e4289950cd28df89451260",
            "BenchmarkIMAGES",
        ),
    ],
    "cat2000": [
        ReleaseArchive(
            "trainSet.zip",
            f"{MIT_SERVER}/trainSet.zip",
            "56ad5c77e6c8f72ed9ef2901628d6e48",
            "trainSet",
        ),
        ReleaseArchive(
            "testSet.zip",
            f"{MIT_SERVER}/testSet.zip",
            "903ec668df2e5a8470aef9d8654e7985",
            "testSet",
        ),
    ],
    "toronto": [
        ReleaseArchive(
            "eyetrackingdata.zip",
            "https://www-sop.inria.fr/members/Neil.Bruce/eyetrackingdata.zip",
            "38d5c02217060d4d2d1a4649cc632af1",
            "eyetrackingdata",
        ),
    ],
    "figrim": [
        ReleaseArchive(
            "Fillers.zip",
            f"{FIGRIM_SERVER}/Fillers.zip",
            "dc0bc9561b5bc90e158ec32074dd1060",
            "Fillers",
        ),
        ReleaseArchive(
            "Targets.zip",
            f"{FIGRIM_SERVER}/Targets.zip",
            "2ad3a42ebc377efe4b39064405568201",
            "Targets",
        ),
        ReleaseArchive(
            "allImages_release.mat",
            f"{GITHUB_RAW}/cvzoya/figrim/master/targetData/allImages_release.mat",
            "c72843b05e95ab27594c1d11c849c897",
            "allImages_release.mat",
        ),
        ReleaseArchive(
            "allImages_fillers.mat",
            f"{GITHUB_RAW}/cvzoya/figrim/master/fillerData/allImages_fillers.mat",
            "ce4f8b4961005d62f7a21191a64cab5e",
            "allImages_fillers.mat",
        ),
    ],
    "pascal_s": [
        ReleaseArchive(
            "salObj.zip",
            "https://cbs.ic.gatech.edu/salobj/download/salObj.zip",
            "e48b4e5deac08bddcaec55ce56e4d420",
            "datasets",
        ),
    ],
}

DATASET_FOLDERS = {
    "salicon2015": ("salicon/fixations2015", "salicon/fixations"),
    "salicon2017": ("salicon/fixations2017", "salicon/fixations"),
}
"""Where a set lies, if not in a folder of its name: there if one of these is."""


def file_checksums(name: str) -> dict[str, str]:
    """Return the sha256 of every file of a set that comes file by file.

    >>> [len(file_checksums(name)) for name in ("osie", "nus_scene", "eyecrowd")]
    [701, 501, 502]
    """
    lines = (files("deepsal.data") / "registry" / f"{name}.txt").read_text().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)
