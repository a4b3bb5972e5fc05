"""PyTorch checkpoints (``torch.save``) read without unpickling.

A checkpoint is a pickle program beside raw numbers. `machine` walks that program with an allow-list of opcodes and names and
keeps nothing but tensor descriptors; no object of the file's choosing is ever made, imported or called. `open` puts the
descriptors on the bytes, `weights` finds the checkpoints of a model folder.
"""
