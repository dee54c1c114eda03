"""Trackers of what a centre head finds, and their scores over whole drives; `raw_table.py` prints them."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from torch import Tensor

from mambats.track import (
    ByExistence,
    ConstantVelocity,
    Deleter,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Objects,
    Predictor,
    ScoreCalibration,
    Tracker,
    Updater,
    tell,
)
from mambats.track.association import SinglePass
from mambats.track.centre import Found, SweepBatch, SweepTable, ToldNoise, detections_of, poses_of, truth_of
from mambats.track.centre.codes import residual
from mambats.track.centre.precision import match
from mambats.track.centre.repeated import RepeatedInitiator, RepeatedUpdater, RepeatedVelocity
from mambats.track.centre.repeated_fit import Repeats, errors_of, fit_repeats
from mambats.track.metrics import HOTA, ClearMOT, PlainRule

CLASSES = ("car", "pedestrian", "cyclist")
PERIOD = 0.1  # s from sweep to sweep
CALIBRATED = 3  # one in so many held-out drives is for the score calibration; tracks are scored on the others
# Densities of acceleration, m/s^1.5, and deviations of the first velocity, m/s. Movers swing their speeds and turn.
ACCELERATION = {"car": 2.0, "pedestrian": 0.5, "cyclist": 1.0}
SPEED = {"car": 8.0, "pedestrian": 1.2, "cyclist": 4.0}


def tracker_of(name: str, calibration: ScoreCalibration, density: float, scale: float = 1.0) -> Tracker:
    """Return a tracker that believes what detections say of themselves."""
    return Tracker(
        ToldNoise(scale, calibration, least=-3.0),
        Predictor(ConstantVelocity([density, density, 1e-2], [1e-2, 1e-2, 1e-2, 1e-1])),
        SinglePass(Mahalanobis(limit=40.0, reach=8.0), Hungarian()),
        Updater(Existence(seen=0.9)),
        Initiator([SPEED[name], SPEED[name], 0.1], least=-1.0),
        Deleter(least=-3.0, silence=2.0),
        ByExistence(least=1.0),
    )


def remembering(name: str, calibration: ScoreCalibration, repeats: Repeats, factor: float, told: float) -> Tracker:
    """Return a tracker that knows that errors repeat; `told` is the share that velocities of the head count, 0 none."""
    tracker, density, errors = (
        tracker_of(name, calibration, ACCELERATION[name]),
        ACCELERATION[name],
        repeats.errors(factor),
    )
    tracker.predictor = Predictor(
        RepeatedVelocity([density, density, 1e-2], [1e-2, 1e-2, 1e-2, 1e-1], repeats.time.tolist())
    )
    tracker.updater = RepeatedUpdater(errors, Existence(seen=0.9), told=repeats.velocity / told if told else None)
    tracker.initiator = RepeatedInitiator(errors, [SPEED[name], SPEED[name], 0.1], least=-1.0)
    return tracker


def scored(
    name: str, tracker: Tracker, runs: list[tuple[Objects, ...]], poses: list[Tensor | None]
) -> dict[str, float]:
    """Return HOTA, MOTA, switches and consistency over sequences of (truth, detections)."""
    hota, clear, nis = HOTA(PlainRule(name, "centre")), ClearMOT(PlainRule(name, "centre")), list[Tensor]()
    frames, began, away = 0, time.perf_counter(), list[Tensor]()
    for (truth, found), pose in zip(runs, poses, strict=True):
        history = tracker.run(found, pose)
        tracks = tell(history, found)
        frames += len(truth)
        hota.update(truth, tracks)
        clear.update(truth, tracks)
        away.append(track_errors(truth, tracks))
        nis += [frame.told.nis for frame in history.frames]
    spent, squares = time.perf_counter() - began, torch.cat(nis)
    made = {key: float(value) for key, value in (hota.compute() | clear.compute()).items()}
    shown = {key: made[key] for key in ("HOTA", "DetA", "AssA", "MOTA", "IDSW")}
    inside = ((squares > 1.69) & (squares < 16.01)).double().mean()  # chi-square of 7, two-sided 95 %
    shown |= {"NIS/7": float(squares.mean() / 7), "inside 95 %": float(inside), "frames/s": frames / spent}
    velocity, nees = torch.cat(away).mean(0).tolist()
    return shown | {"track velocity [m/s]": velocity, "track NEES/7": nees}


def track_errors(truth: Objects, tracks: Objects) -> Tensor:
    """Errors (n, 2) of tracks within 2 m of a true box: of velocity along the ground in m/s, and e' P^-1 e / 7."""
    if truth.velocity is None or tracks.velocity is None or tracks.covariance is None or not len(truth.boxes):
        return torch.zeros(0, 2, dtype=torch.float64)
    apart = torch.cdist(tracks.boxes[:, :2], truth.boxes[:, :2])
    near, which = apart.masked_fill(tracks.frames[:, None] != truth.frames, torch.inf).min(1)
    kept, which = near <= 2.0, which[near <= 2.0]
    moving = tracks.velocity[kept, :2], truth.velocity[which, :2]
    error = residual(tracks.boxes[kept], moving[0], truth.boxes[which], moving[1])
    white = torch.linalg.solve(tracks.covariance[kept], error[:, :7, None])[..., 0]
    return torch.stack([error[:, 7:].norm(dim=1), (error[:, :7] * white).sum(1) / 7], 1)


def tracked(name: str, held: SweepTable, found: Found, truth: SweepBatch, words: argparse.Namespace) -> dict[str, Any]:
    """Return the scores of tracks of one class over the drives that nothing was fitted on."""
    label, logit = CLASSES.index(name), torch.logit(found.score.double(), 1e-6)
    hit = match(found, truth).truth >= 0
    fitted = (found.score > 0) & (found.labels == label) & (held.drive % CALIBRATED == 0)[:, None]
    try:
        calibration = ScoreCalibration.fitted(logit[fitted], hit[fitted])
    except ValueError:  # a detector whose scores tell nothing
        calibration = ScoreCalibration()
    known, other = (drives_of(name, held, found, calibrated) for calibrated in (True, False))
    fit = (held.drive % CALIBRATED == 0, errors_of(found, held, label))
    try:
        repeats = fit_repeats(fit[1][fit[0]], held.drive[fit[0]], PERIOD) if words.white is False else None
    except ValueError:  # a detector that finds none of the class
        repeats = None
    scale = 1.0

    def tracker(factor: float) -> Tracker:
        """Whose covariances are so many times as large."""
        if repeats is None:
            return tracker_of(name, calibration, ACCELERATION[name], factor)
        return remembering(name, calibration, repeats, factor**0.5, words.told)

    # Tails are left out of the fit: covariances grow until the tracks' own errors fit, on the drives for calibration.
    for _ in range(words.rounds):
        nees = scored(name, tracker(scale), *known)["track NEES/7"]
        scale *= max(nees, 1.0) if nees < math.inf else 1.0
    told = {"noise x": scale} | scored(name, tracker(scale), *other)
    if repeats is not None:
        parts = zip(("scale", "share", "time"), repeats[:3], strict=True)
        told["repeats"] = {word: [round(one, 2) for one in part.tolist()] for word, part in parts}
    return told


def drives_of(
    name: str, held: SweepTable, found: Found, calibrated: bool
) -> tuple[list[tuple[Objects, ...]], list[Tensor | None]]:
    """Return truth and detections of one class, and poses, of the drives for calibration or of the others."""
    runs, poses = list[tuple[Objects, ...]](), list[Tensor | None]()
    for number in (one for one in held.drive.unique().tolist() if (one % CALIBRATED == 0) == calibrated):
        rows = held.drive == number
        drive, some = held.take(rows), Found(*(part[rows] for part in found))
        pair = truth_of(drive, CLASSES), detections_of(some, drive, CLASSES)
        runs.append(tuple(part.of_class(name) for part in pair))
        poses.append(poses_of(drive))
    return runs, poses
