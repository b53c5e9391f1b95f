"""The tools by which a design gets onto a device, one file each; a board names its flow.

A flow writes a project for the vendor's tool, or builds a bitstream itself: see :class:`.flow.Flow`.
"""
