"""The commands of the command line, one file each; `mambats.cli` loads the one that was asked for."""
