"""The parts of ``benchmarks.shadow_training``."""
