"""Tests of the attacks, and the signals that they are tested on."""
