"""The laws as public checks: put your own mixer or encoder through them."""

from mambats.series.state import flatten_state, map_state, restore_state
from mambats.testing.compare import TOLERANCE, agree, require
from mambats.testing.encoder import check_absent_values, check_encoder, check_refusals, check_removed, check_trivial
from mambats.testing.estimator import check_covariances, check_estimator, check_run, needs_covariance
from mambats.testing.fusion import check_fusion_encoder
from mambats.testing.mixer import (
    check_gaps,
    check_halved_gaps,
    check_mixer,
    check_packed,
    check_reverse,
    check_row_mask,
)
from mambats.testing.rows import Rows, draw_rows
from mambats.testing.sensor_rows import Streams, draw_streams
from mambats.testing.sequence import (
    agree_states,
    check_batch_order,
    check_chunks,
    check_empty,
    check_lookahead,
    check_repeatable,
    check_state,
    check_state_gradients,
    check_steps,
)

__all__ = [
    "TOLERANCE",
    "Rows",
    "Streams",
    "agree",
    "agree_states",
    "check_absent_values",
    "check_batch_order",
    "check_chunks",
    "check_covariances",
    "check_empty",
    "check_encoder",
    "check_estimator",
    "check_fusion_encoder",
    "check_gaps",
    "check_halved_gaps",
    "check_lookahead",
    "check_mixer",
    "check_packed",
    "check_refusals",
    "check_removed",
    "check_repeatable",
    "check_reverse",
    "check_row_mask",
    "check_run",
    "check_state",
    "check_state_gradients",
    "check_steps",
    "check_trivial",
    "draw_rows",
    "draw_streams",
    "flatten_state",
    "map_state",
    "needs_covariance",
    "require",
    "restore_state",
]
