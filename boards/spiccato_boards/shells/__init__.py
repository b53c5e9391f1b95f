"""What stands around the accelerator on a board, one file each; a board lists its shells."""
