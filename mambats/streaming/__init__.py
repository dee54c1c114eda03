"""A trained model on a robot: measurements go in as they come, answers come out. Loads numpy and nothing heavier."""

from mambats.streaming.engine import AGE, NIS, Engine, Outputs, Packet, State, StepEvent

__all__ = ["AGE", "NIS", "Engine", "Outputs", "Packet", "State", "StepEvent"]
