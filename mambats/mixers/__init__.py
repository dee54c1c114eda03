"""State-space layers, (B, T, D) -> (B, T, D), each with a carried state and a step."""

from mambats.mixers.block import Block
from mambats.mixers.mamba import Mamba, MambaSettings, MambaState
from mambats.mixers.settings import MixerSettings

__all__ = ["MIXERS", "Block", "Mamba", "MambaSettings", "MambaState", "MixerSettings"]

#: Small mixers of every kind by name: the laws walk them. A new mixer is one line here.
MIXERS: dict[str, MixerSettings] = {
    "mamba": MambaSettings(state_size=3),
    "mamba_hold": MambaSettings(state_size=4, hold=True, init="s4d_lin", conv_width=3),
    "mamba_no_conv": MambaSettings(state_size=2, conv_width=0, expand=1),
    "mamba_time_invariant": MambaSettings(state_size=4, hold=True, conv_width=1, time_invariant=True),
}
