"""Two processes over gloo learn what one process learns: same windows, same order, same gradient."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import torch
from lightning import LightningModule, Trainer, seed_everything
from mambats.data import Loading, WindowDataModule
from mambats_datasets import Oscillators

class Linear(LightningModule):
    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(24, 8)
        self.errors, self.count = 0.0, 0

    def error(self, batch):
        past, target = batch.values[:, :24].transpose(1, 2), batch.target.transpose(1, 2)
        return (self.map(past) - target).square()

    def training_step(self, batch, index):
        return self.error(batch).mean()

    def validation_step(self, batch, index):
        self.errors += float(self.error(batch).sum())
        self.count += len(batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)

seed_everything(0, verbose=False)
devices = int(sys.argv[1])
data = WindowDataModule(Oscillators(rows=300, series=2), 24, 8, batch_size=20, loading=Loading(seed=3))
trainer = Trainer(
    max_epochs=2, devices=devices, accelerator="cpu", strategy="ddp" if devices > 1 else "auto", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
)
model = Linear()
trainer.fit(model, datamodule=data)
total = trainer.strategy.reduce(torch.tensor([model.errors, float(model.count)]), reduce_op="sum")
if trainer.is_global_zero:
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    with open(sys.argv[2], "w") as file:
        json.dump({"weights": weights.tolist(), "error": total.tolist()}, file)
"""


def trained(tmp_path, devices):
    script, out = tmp_path / "train.py", tmp_path / f"{devices}.json"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(devices), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    alone, together = trained(tmp_path, 1), trained(tmp_path, 2)
    assert together["weights"] == pytest.approx(alone["weights"], abs=1e-5)
    assert together["error"] == pytest.approx(alone["error"], rel=1e-5)
