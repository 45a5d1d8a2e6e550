"""Fault injection: `make soak`, and a short form in tests/soak/test_soak.py.

Each part makes one kind of fault over and over: kills (of processes), full_disk, damaged_states,
damaged_audio and hostile_words (texts, lists and configurations that hypothesis draws). A trial is a
function of the seed and its number, so each can be repeated alone.
"""
