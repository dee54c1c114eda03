"""Score tracks with TrackEval; run by its own Python: GT_FOLDER TRACKERS_FOLDER OUT.json."""

import json
import sys
from pathlib import Path

import numpy as np
import trackeval

labels, tracks, out = sys.argv[1:]
data = trackeval.datasets.Kitti2DBox(
    {"GT_FOLDER": labels, "TRACKERS_FOLDER": tracks, "OUTPUT_FOLDER": tracks, "PRINT_CONFIG": False}
)
silent = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")
judge = trackeval.Evaluator(dict.fromkeys(silent, False))
quiet = {"PRINT_CONFIG": False}
metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
found = next(iter(judge.evaluate([data], metrics)[0]["Kitti2DBox"].values()))["COMBINED_SEQ"]
names = {
    "HOTA": {key: key for key in ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")},
    "CLEAR": {key: key for key in ("MOTA", "MODA", "MOTP", "IDSW", "Frag")}
    | {"TP": "CLR_TP", "FP": "CLR_FP", "FN": "CLR_FN", "recall": "CLR_Re", "precision": "CLR_Pr"}
    | {"MT": "MTR", "ML": "MLR"},
    "Identity": {key: key for key in ("IDF1", "IDP", "IDR")},
}
result = {
    kind: {
        ours: float(np.mean(scores[family][theirs])) for family, keys in names.items() for ours, theirs in keys.items()
    }
    for kind, scores in found.items()
}
Path(out).write_text(json.dumps(result, indent=1))
