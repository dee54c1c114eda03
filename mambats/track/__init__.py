"""Tracking: from boxes of single frames to identities with calibrated states."""

from mambats.track.affinity import Affinity, CentreDistance, Mahalanobis, Overlap
from mambats.track.association import Assignment, Associator, Cascade, Greedy, Hungarian, Matches, Nearest, SinglePass
from mambats.track.base_rate import BaseRate
from mambats.track.camera import CameraEvidence
from mambats.track.detector import BoxNoise, Detections, Detector, ScoreCalibration
from mambats.track.existence import Existence
from mambats.track.history import Frame, History
from mambats.track.initiator import Initiator
from mambats.track.late import FrameArrival, LateFrames
from mambats.track.life import ByExistence, ByHits, Confirmer, Deleter
from mambats.track.motion import ConstantAcceleration, ConstantTurn, ConstantVelocity
from mambats.track.objects import BOX, Objects
from mambats.track.picture_box import PictureSensor
from mambats.track.picture_claim import PictureClaims
from mambats.track.picture_heir import PictureHeir
from mambats.track.picture_start import PictureStart
from mambats.track.picture_updater import PictureUpdater
from mambats.track.predictor import Predictor
from mambats.track.projection import Picture
from mambats.track.silhouette import Silhouette
from mambats.track.smoother import smoothed
from mambats.track.telling import MODES, Mode, tell
from mambats.track.tracker import Tracker, TrackerState
from mambats.track.tracks import Tracks
from mambats.track.two_sensors import run_pictured
from mambats.track.updater import Told, Updater

__all__ = [
    "BOX",
    "MODES",
    "Affinity",
    "Assignment",
    "Associator",
    "BaseRate",
    "BoxNoise",
    "ByExistence",
    "ByHits",
    "CameraEvidence",
    "Cascade",
    "CentreDistance",
    "Confirmer",
    "ConstantAcceleration",
    "ConstantTurn",
    "ConstantVelocity",
    "Deleter",
    "Detections",
    "Detector",
    "Existence",
    "Frame",
    "FrameArrival",
    "Greedy",
    "History",
    "Hungarian",
    "Initiator",
    "LateFrames",
    "Mahalanobis",
    "Matches",
    "Mode",
    "Nearest",
    "Objects",
    "Overlap",
    "Picture",
    "PictureClaims",
    "PictureHeir",
    "PictureSensor",
    "PictureStart",
    "PictureUpdater",
    "Predictor",
    "ScoreCalibration",
    "Silhouette",
    "SinglePass",
    "Told",
    "Tracker",
    "TrackerState",
    "Tracks",
    "Updater",
    "run_pictured",
    "smoothed",
    "tell",
]
