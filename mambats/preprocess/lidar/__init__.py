"""Sweeps of points (N, 3 or more): undistorted, thinned out, cropped, as pictures, in a fixed frame."""

from mambats.preprocess.lidar.crop import CropBox, CropRange, keep_rows
from mambats.preprocess.lidar.deskew import Deskew
from mambats.preprocess.lidar.ground import GroundRemoval
from mambats.preprocess.lidar.motion import FixedFrame
from mambats.preprocess.lidar.range_image import Projected, RangeImage
from mambats.preprocess.lidar.voxel import VoxelGrid, Voxels

__all__ = [
    "CropBox",
    "CropRange",
    "Deskew",
    "FixedFrame",
    "GroundRemoval",
    "Projected",
    "RangeImage",
    "VoxelGrid",
    "Voxels",
    "keep_rows",
]
