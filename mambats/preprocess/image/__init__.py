"""Pictures (..., H, W, C) with the camera that took them: resized, cropped, undistorted, normalised."""

from mambats.preprocess.image.camera import Camera, ImageSteps, Step
from mambats.preprocess.image.normalise import Normalise
from mambats.preprocess.image.resize import CropPad, Resize
from mambats.preprocess.image.undistort import Undistort

__all__ = ["Camera", "CropPad", "ImageSteps", "Normalise", "Resize", "Step", "Undistort"]
