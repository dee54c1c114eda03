"""Bodies in LiDAR sweeps and pictures, as peaks of a heat map from above: detector, training, scores, a baseline."""

from mambats.track.centre.clusters import ClusterDetector
from mambats.track.centre.drive import detections_of, find_in, poses_of, track_drive, truth_of
from mambats.track.centre.lift import ImageLift
from mambats.track.centre.model import CentreDetector, CentreLoss, Found, objects_of
from mambats.track.centre.module import SweepModule
from mambats.track.centre.overlap_precision import OverlapScores
from mambats.track.centre.precision import DetectionScores
from mambats.track.centre.reading import SweepReading
from mambats.track.centre.recorded import RecordedSweeps, Seat
from mambats.track.centre.recorded_picture import RecordedPicture
from mambats.track.centre.repeated import RepeatedErrors, RepeatedInitiator, RepeatedUpdater, RepeatedVelocity
from mambats.track.centre.sweeps import SweepBatch, SweepSource, SweepTable
from mambats.track.centre.task import DetectTask
from mambats.track.centre.told import ToldNoise

__all__ = [
    "CentreDetector",
    "CentreLoss",
    "ClusterDetector",
    "DetectTask",
    "DetectionScores",
    "Found",
    "ImageLift",
    "OverlapScores",
    "RecordedPicture",
    "RecordedSweeps",
    "RepeatedErrors",
    "RepeatedInitiator",
    "RepeatedUpdater",
    "RepeatedVelocity",
    "Seat",
    "SweepBatch",
    "SweepModule",
    "SweepReading",
    "SweepSource",
    "SweepTable",
    "ToldNoise",
    "detections_of",
    "find_in",
    "objects_of",
    "poses_of",
    "track_drive",
    "truth_of",
]
