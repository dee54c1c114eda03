"""Forecasts of tracks, leave-one-out: every sequence is forecast by models that were trained without it.

    python recipes/track_forecast.py read runs/forecast                    # labels to scenes.pt: needs MAMBATS_DATA
    python recipes/track_forecast.py forecast runs/forecast --seeds 0 1 2 --jobs 16
    python recipes/track_forecast.py table runs/forecast                   # all that lies there, pooled over sequences
    python recipes/track_forecast.py read runs/step --tracks               # the next step of the tracker, learned:
    python recipes/track_forecast.py forecast runs/step --horizons 0.1 --modes 1 --density 0.81 0.57 0.78 --keep
    python recipes/track_forecast.py motion runs/step $MAMBATS_DATA/fusion/kitti_tracking

`read --tracks` takes what trackers made of PointRCNN's detections in place of the labels. Model and optimiser are those
of recipes/track/forecast_kitti.yaml; a fit takes a quarter of a minute of a free core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from mambats.recipe import describe, load_recipe, rebuild
from mambats.task import Optimiser, parameter_groups
from mambats.track.forecast import (
    ForecastModule,
    KittiLabels,
    KittiTracks,
    Scene,
    TrajectoryForecaster,
    baselines,
    batch_of,
    forecast_loss,
    with_own_motion,
)
from mambats.track.forecast.report import Told

RECIPE = Path(__file__).parent / "track" / "forecast_kitti.yaml"
OWN = "forecast"
BAND = (1.69, 16.01)  # 95 % of chi-square of seven numbers


class Kept:
    """Scenes that were read before."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        self.name, self.classes = "kitti", tuple(classes)
        self.kept = [dense(one) for one in torch.load(folder / "scenes.pt")]

    def scenes(self) -> list[Scene]:
        """Return them."""
        return self.kept


def sparse(scene: Scene) -> dict[str, Any]:
    """Return what a scene holds where something is: a fortieth of its size."""
    there, known = scene.seen, scene.paths.isfinite().all(-1)
    parts = {"mean": scene.mean[there].float(), "covariance": scene.covariance[there].float()}
    parts |= {"age": scene.age[there].float(), "body": scene.body[there].short(), "path": scene.paths[known].float()}
    parts |= {"seen": torch.nonzero(there).short(), "known": torch.nonzero(known).short(), "labels": scene.labels}
    said = {"own": scene.own, "name": scene.name, "stamps": scene.stamps}
    return parts | said | {"shape": tuple(there.shape), "bodies": len(known)}


def dense(kept: dict[str, Any]) -> Scene:
    """Return the scene of `sparse`."""
    shape, frames = kept["shape"], kept["shape"][1]
    at, known = tuple(kept["seen"].long().T), tuple(kept["known"].long().T)
    seen, body = torch.zeros(shape, dtype=torch.bool), torch.full(shape, -1)
    mean, age = torch.zeros(*shape, 10).double(), torch.zeros(shape).double()
    covariance = torch.eye(4).double().repeat(*shape, 1, 1)
    paths = torch.full((kept["bodies"], frames, 2), torch.nan).double()
    seen[at], mean[at], age[at], body[at] = True, kept["mean"].double(), kept["age"].double(), kept["body"].long()
    covariance[at], paths[known] = kept["covariance"].double(), kept["path"].double()
    return Scene(
        kept["name"], kept["stamps"], kept["labels"], seen, mean, covariance, age, body, paths, kept.get("own")
    )


def read(words: argparse.Namespace) -> None:
    """Filter the labels, or run the trackers, and keep the scenes."""
    names = [str(RECIPE.parent / f"kitti_{kind}.yaml") for kind in ("car", "pedestrian", "cyclist")]
    source = KittiTracks(names, words.root) if words.tracks else KittiLabels(words.root)
    kept = [sparse(with_own_motion(one, source.classes)) for one in source.scenes()]
    torch.save(kept, words.folder / "scenes.pt")


def made(settings: dict[str, Any], words: argparse.Namespace) -> TrajectoryForecaster:
    """Return an untrained model: that of the recipe, with changes of the command line."""
    arguments = settings["init_args"]
    if words.modes:
        arguments["modes"] = words.modes
    if words.horizons:
        arguments["horizons"] = words.horizons
    if words.density:
        arguments["density"] = words.density
    if words.width:
        arguments["encoder"]["init_args"]["width"] = words.width
    return rebuild(settings)


def fit(model: TrajectoryForecaster, data: ForecastModule, settings: Optimiser, epochs: int) -> None:
    """Train a model as `mambats fit` does, without the rest."""
    scenes = data.scenes("train")
    model.calibrate(batch_of(scenes, [one.future(data.horizons) for one in scenes]))
    optimiser = torch.optim.AdamW(parameter_groups(model, settings.weight_decay), lr=settings.lr)
    loader, generator, step = data.train_dataloader(), torch.Generator().manual_seed(data.seed), 0
    for _ in range(epochs):
        for batch in loader:
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * settings.factor(step, epochs * len(loader))
            batch = batch.mirrored(torch.rand(int(batch.piece[-1]) + 1, generator=generator) < 0.5)
            loss = forecast_loss(model(batch), batch.truth, batch.asked, model.time, 1.0)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
    model.eval()


def fold(job: tuple[argparse.Namespace, str, int]) -> str:
    """Train without a sequence and forecast it; keep what was said of it."""
    words, name, seed = job
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    began, recipe = time.process_time(), load_recipe(RECIPE)
    task = recipe["model"]["init_args"]
    model = made(task["model"], words)
    data = ForecastModule(Kept(words.folder, list(model.classes)), model.horizons, test=[name], seed=seed)
    fit(model, data, rebuild(task["optimiser"]), words.epochs or recipe["trainer"]["max_epochs"])
    told = Told()
    with torch.no_grad():
        for batch in data.whole("test"):
            told.take(batch, {OWN: model(batch)} | baselines(model, batch))
    if words.keep:
        torch.save({"state": model.state_dict(), "spec": describe(model)}, words.folder / f"model_{name}_{seed}.pt")
    torch.save(told.kept(), words.folder / f"told_{name}_{seed}.pt")
    return f"{name}, seed {seed}: {time.process_time() - began:.0f} s"


def forecast(words: argparse.Namespace) -> None:
    """Train all folds of all seeds, several at once."""
    names = [one["name"] for one in torch.load(words.folder / "scenes.pt") if len(one["labels"])]
    jobs = [(words, name, seed) for seed in words.seeds for name in names]
    with ProcessPoolExecutor(words.jobs, mp_context=get_context("spawn")) as pool:
        for line in pool.map(fold, jobs):
            print(line, flush=True)
    table(words)


def table(words: argparse.Namespace) -> None:
    """Print the scores over all sequences, mean and deviation over seeds; keep them as results.json."""
    recipe = load_recipe(RECIPE)["model"]["init_args"]["model"]["init_args"]
    recipe["horizons"] = words.horizons or recipe["horizons"]
    found = dict[tuple[str, int, str], dict[str, list[float]]]()
    seeds = sorted({path.stem.split("_")[-1] for path in words.folder.glob("told_*.pt")})
    for seed in seeds:
        paths = sorted(words.folder.glob(f"told_*_{seed}.pt"))
        told = Told.joined([torch.load(path) for path in paths])
        for row in told.rows("kitti", OWN, recipe["classes"], recipe["horizons"], 10**8, int(seed)):
            place = found.setdefault((f"{row.source} ({row.windows:,})", row.horizon, row.model), {})
            place.setdefault(row.metric, []).append(row.value)
    for horizon in words.shown or recipe["horizons"]:
        shown = {key: value for key, value in found.items() if key[1] == round(10 * horizon)}
        names = ["fde", "miss", "nll", "coverage_50", "coverage_90", "coverage_95"]
        print(f"\n{horizon:g} s ahead, online, seeds {', '.join(seeds)}")
        print(f"| bodies (moments) | forecast | {' | '.join(names)} | minADE_K | minFDE_K |")
        print("|---|---|" + "---:|" * (len(names) + 2))
        for (source, _, model), values in shown.items():
            best = [one for name in ("min_ade", "min_fde") for one in values if one.startswith(name)]
            cells = [cell(values[name]) for name in names] + ([cell(values[one]) for one in best] or ["", ""])
            print(f"| {source} | {model} | {' | '.join(cells)} |")
    kept = [{"bodies": k[0], "horizon": k[1], "model": k[2], "scores": v} for k, v in found.items()]
    (words.folder / "results.json").write_text(json.dumps(kept, indent=1))


def motion(words: argparse.Namespace) -> None:
    """Track every sequence with the next step learned without it, beside constant velocity; print HOTA."""
    from track_table import Scored, read, renamed

    from mambats.track import tell
    from mambats.track.metrics import evaluate
    from mambats.track.motion_learned import LearnedPredictor
    from mambats.track.projection import in_picture
    from mambats.track.recipe import read_recipe

    root = Path(words.root)
    print("| class, online | next step | HOTA | DetA | AssA | MOTA | IDF1 | switches | NIS/7 | in 95 % band |")
    print("|---|---|" + "---:|" * 8)
    for label, kind in enumerate(("Car", "Pedestrian", "Cyclist")):
        if kind not in words.kinds:
            continue
        scored, nis = dict[str, list[Scored]](), dict[str, list[torch.Tensor]]()
        for path in sorted(words.folder.glob(f"model_*_{words.seeds[0]}.pt")):
            name = path.stem.split("_")[1]
            one, kept = read(root, kind, name), torch.load(path)
            for learned in (False, True):
                tracker = read_recipe(RECIPE.parent / f"kitti_{kind.lower()}.yaml").tracker
                if learned:
                    model = rebuild(kept["spec"])
                    model.load_state_dict(kept["state"])
                    tracker.predictor = LearnedPredictor(tracker.predictor.motion, model, label=label)
                history = tracker.run(one.detections)
                seen = in_picture(tell(history, one.detections), one.picture)
                row = "learned, leave-one-out" if learned else "constant velocity"
                scored.setdefault(row, []).append(Scored(name, one.labels, renamed(seen, one.labels)))
                nis.setdefault(row, []).append(history.consistency().nis)
        for row, sequences in scored.items():
            found, squares = evaluate(sequences, [kind])["TrackEval"][kind], torch.cat(nis[row])
            inside = ((squares > BAND[0]) & (squares < BAND[1])).double().mean()
            cells = [f"{100 * found[key]:.2f}" for key in ("HOTA", "DetA", "AssA", "MOTA", "IDF1")]
            told = f"{found['IDSW']:.0f} | {squares.mean() / 7:.2f} | {inside:.1%}"
            print(f"| {kind}, {len(sequences)} sequences | {row} | {' | '.join(cells)} | {told} |", flush=True)


def cell(values: list[float]) -> str:
    """Mean, and deviation over seeds where they differ."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f}" + (f" ± {spread:.3f}" if spread > 5e-5 else "")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    for name, action in (("read", read), ("forecast", forecast), ("table", table)):
        task = tasks.add_parser(name)
        task.add_argument("folder", type=Path)
        task.set_defaults(action=action)
        if name == "read":
            task.add_argument("--root", help="KITTI's tracking folder; default: that of MAMBATS_DATA")
            task.add_argument("--tracks", action="store_true", help="what trackers made of detections, not labels")
            continue
        task.add_argument("--shown", type=float, nargs="+", help="seconds ahead in the table; default: all")
        task.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        task.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
        task.add_argument("--epochs", type=int, help="default: the recipe's")
        task.add_argument("--modes", type=int, help="default: the recipe's")
        task.add_argument("--horizons", type=float, nargs="+", help="seconds ahead; default: the recipe's")
        task.add_argument("--density", type=float, nargs="+", help="of the filter's motion, by class; default: 8")
        task.add_argument("--keep", action="store_true", help="keep the models, for `motion`")
        task.add_argument("--width", type=int, help="of the encoder; default: the recipe's")
    task = tasks.add_parser("motion")
    task.add_argument("folder", type=Path)
    task.add_argument("root", help="KITTI's tracking folder")
    task.add_argument("--seeds", type=int, nargs=1, default=[0])
    task.add_argument("--kinds", nargs="+", default=["Car", "Pedestrian", "Cyclist"])
    task.set_defaults(action=motion)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    given.action(given)


if __name__ == "__main__":
    main()
